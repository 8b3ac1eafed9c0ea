"""What a calibration came to: a value, a table, text, JSON, and the file that it goes on from."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pandas as pd
import xarray as xr

from jointmix.base.arguments import file_path
from jointmix.base.errors import SchemaError, StorageError
from jointmix.base.shown import Glance, Shown, marked
from jointmix.model.serialised import spec_from_dict, spec_to_dict
from jointmix.model.spec import ModelSpec
from jointmix.posterior.draws import fitted_spec
from jointmix.storage.files import write_file
from jointmix.validation.calibration.replicates import Replicate
from jointmix.validation.calibration.uniformity import (
    coverage,
    distribution_function,
    holm,
    p_value,
    simultaneous_band,
)

SCHEMA = 1
#: Name of the fitted tree's attribute that holds a calibration.
ATTRIBUTE = "calibration"
#: Probability of a false alarm of all tests together.
LEVEL = 0.01
_INTERVALS = (0.5, 0.9)
#: Standard errors beyond which a share is marked.
_MARKED = 3.0
_NO_RANK = -1


@dataclass(frozen=True, eq=False, repr=False)
class Calibration(Shown):
    """Ranks of true values among posterior draws, over tables drawn from the prior.

    Attributes
    ----------
    spec
        The model that was calibrated, its priors on the scale of the drawn tables.
    n_rows
        Rows of each table.
    seed
        Of all randomness.
    n_ranked
        Draws among which each truth was ranked.
    replicates
        What each of them gave, by their numbers.
    date
        Of the last replicate, as YYYY-MM-DD.
    versions
        Of the packages.
    missing
        Shares of the tables' entries that were deleted at random, by column.

    Examples
    --------
    >>> spec = jm.ModelSpec(n_clusters=1, features=["x"], standardize=False)
    >>> jm.Calibration(spec, n_rows=20, seed=1, n_ranked=99, replicates=()).n_rows
    20
    """

    kind: ClassVar[str] = "calibration"
    spec: ModelSpec
    n_rows: int
    seed: int
    n_ranked: int
    replicates: tuple[Replicate, ...]
    date: str = ""
    versions: dict[str, str] | None = None
    missing: dict[str, float] = field(default_factory=dict)

    @property
    def of(self) -> tuple[object, ...]:
        """What it is the calibration of: the same whatever the number of replicates."""
        return spec_digest(self.spec), self.n_rows, self.seed, self.n_ranked, self.missing

    @cached_property
    def fitted(self) -> tuple[Replicate, ...]:
        """The replicates that have a fit."""
        return tuple(each for each in self.replicates if not each.failure)

    @cached_property
    def ranks(self) -> dict[str, np.ndarray]:
        """Quantity → ranks, from 0 to ``n_ranked``, (replicate,)."""
        names = self.fitted[0].ranks if self.fitted else {}
        return {name: np.array([each.ranks[name] for each in self.fitted]) for name in names}

    @cached_property
    def table(self) -> pd.DataFrame:
        """One row a quantity.

        ``mean_rank``, in (0, 1), one half when calibrated; ``p``, of the largest deviation of the
        ranks' distribution function, and ``p_holm``, adjusted for the number of quantities;
        ``coverage50`` and ``coverage90``, the shares of central intervals that hold the truth,
        with ``error90``, how many binomial standard errors the last is off; ``p_coverage``, the
        adjusted exact p-value of it.
        """
        n_values = self.n_ranked + 1
        lines: dict[str, dict[str, float]] = {}
        for name, ranks in self.ranks.items():
            shares = {level: coverage(ranks, n_values, level) for level in _INTERVALS}
            share, expected, p = shares[0.9]
            error = np.sqrt(expected * (1 - expected) / len(ranks))
            lines[name] = {
                "mean_rank": (ranks.mean() + 0.5) / n_values,
                "p": p_value(ranks, n_values),
                "coverage50": shares[0.5][0],
                "coverage90": share,
                "error90": (share - expected) / error,
                "p_coverage": p,
            }
        table = pd.DataFrame.from_dict(lines, orient="index").rename_axis("quantity")
        if lines:
            table.insert(2, "p_holm", holm(table["p"].to_numpy()))
            table["p_coverage"] = holm(table["p_coverage"].to_numpy())
        return table

    @property
    def passed(self) -> bool:
        """Whether every replicate has a fit and no adjusted p-value is below 1%."""
        complete = bool(self.fitted) and len(self.fitted) == len(self.replicates)
        return complete and not self.miscalibrated

    @property
    def miscalibrated(self) -> tuple[str, ...]:
        """Quantities whose ranks or coverage chance does not explain, worst first."""
        table = self._worst_first
        if table.empty:
            return ()
        worst = table[["p_holm", "p_coverage"]].min(axis=1)
        return tuple(str(name) for name in worst.index[worst < LEVEL])

    @property
    def _worst_first(self) -> pd.DataFrame:
        table = self.table
        if table.empty:
            return table
        worst = table[["p_holm", "p_coverage"]].min(axis=1)
        return table.loc[worst.sort_values(kind="stable").index]

    @property
    def poorly_covered(self) -> tuple[str, ...]:
        """Quantities whose 90% coverage is more than three standard errors off."""
        table = self.table
        if table.empty:
            return ()
        return tuple(str(name) for name in table.index[table["error90"].abs() > _MARKED])

    @property
    def short(self) -> int:
        """How many fits have fewer effective draws than are ranked."""
        return sum(each.ess < self.n_ranked for each in self.fitted)

    @property
    def text(self) -> str:
        """What it says, in a few sentences."""
        n, table = len(self.replicates), self.table
        if not self.fitted:
            return f"None of {n} tables could be fitted: {self.replicates[0].failure}"
        shares = [f"{100 * share:g}% of {name}" for name, share in self.missing.items()]
        without = f" without {' and '.join(shares)}, at random" if shares else ""
        parts = [
            f"Over {n} tables of {self.n_rows} rows drawn from the prior{without}, the ranks of "
            f"{len(table)} quantities "
        ]
        wrong = self.miscalibrated
        if wrong:
            many = f" and {len(wrong) - 3} more" if len(wrong) > 3 else ""
            parts[0] += f"are not uniform: {', '.join(wrong[:3])}{many} (Holm-adjusted p "
            parts[0] += f"{table[['p_holm', 'p_coverage']].min(axis=None):.2g})."
        else:
            parts[0] += (
                f"are uniform as far as can be told (least Holm-adjusted p "
                f"{table['p_holm'].min():.2g}), and their 90% intervals hold the truth in "
                f"{100 * table['coverage90'].min():.1f}% to {100 * table['coverage90'].max():.1f}%."
            )
        if len(self.fitted) < n:
            first = next(each for each in self.replicates if each.failure)
            lost = n - len(self.fitted)
            tables, which = ("table", "") if lost == 1 else ("tables", "the first ")
            parts.append(f"{lost} {tables} could not be fitted, {which}because: {first.failure}")
        if self.short:
            have, their = ("fit has", "its") if self.short == 1 else ("fits have", "their")
            parts.append(
                f"{self.short} {have} fewer than {self.n_ranked} effective draws; {their} ranks "
                "count all the same."
            )
        return " ".join(parts)

    def _printed(self) -> list[str]:
        return [self.text]

    def _glance(self) -> Glance:
        wrong, n = set(self.miscalibrated), len(self.replicates)
        return Glance(
            head=marked("ok" if self.passed else "fail", f"{n} tables of {self.n_rows} rows"),
            columns=("quantity", "p (Holm)", "50% intervals hold", "90% intervals hold"),
            rows=tuple(
                (
                    marked("fail" if name in wrong else "ok", str(name)),
                    f"{line['p_holm']:.2g}",
                    f"{line['coverage50']:.1%}",
                    f"{line['coverage90']:.1%}",
                )
                for name, line in self._worst_first.iterrows()
            ),
            notes=(self.text,),
        )

    def as_dict(self) -> dict[str, Any]:
        """The verdict and the table as dicts, lists, texts and numbers, fit for JSON."""
        verdicts = [each.verdict for each in self.fitted]
        return {
            "passed": self.passed,
            "text": self.text,
            "replicates": len(self.replicates),
            "failed": len(self.replicates) - len(self.fitted),
            "rows": self.n_rows,
            "ranked_draws": self.n_ranked,
            "seed": self.seed,
            "missing": self.missing,
            "date": self.date,
            "spec_sha256": spec_digest(self.spec),
            "short_of_draws": self.short,
            "divergent_fits": sum(each.divergences > 0 for each in self.fitted),
            "verdicts": {name: verdicts.count(name) for name in sorted(set(verdicts))},
            "beyond_three_errors": list(self.poorly_covered),
            "miscalibrated": list(self.miscalibrated),
            "quantities": self.table.reset_index().to_dict(orient="records"),
            "versions": self.versions or {},
        }

    def plain(self) -> dict[str, Any]:
        """`as_dict` with what is drawn: ``clusters``, ``band`` and ``curves``.

        ``band`` has the points ``at`` and the bounds ``lower`` and ``upper``; ``curves`` the ranks'
        distribution functions minus the uniform one at those points, by quantity.
        """
        found, n_values = self.as_dict(), self.n_ranked + 1
        found["clusters"] = self.spec.n_clusters
        if not self.fitted:
            return found | {"band": {}, "curves": {}}
        band = simultaneous_band(len(self.fitted), n_values)
        names = ("at", "lower", "upper")
        curves = {
            name: distribution_function(ranks, n_values) - band[0]
            for name, ranks in self.ranks.items()
        }
        return found | {
            "band": {key: values.tolist() for key, values in zip(names, band, strict=True)},
            "curves": {name: np.round(values, 5).tolist() for name, values in curves.items()},
        }


def spec_digest(spec: ModelSpec) -> str:
    """SHA-256 of a specification, hexadecimal."""
    text = json.dumps(spec_to_dict(spec), sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


def write_calibration(calibration: Calibration, path: str | Path) -> Path:
    """Write all replicates and what they came to as JSON, whole or not at all.

    Raises
    ------
    StorageError
        If the file cannot be written.
    """
    each = [asdict(item) for item in calibration.replicates]
    names = dict.fromkeys(name for item in each for name in item["ranks"])
    content = {
        "schema": SCHEMA,
        **calibration.as_dict(),
        "spec": spec_to_dict(calibration.spec),
        "number": [item["number"] for item in each],
        "ess": [round(item["ess"], 1) for item in each],
        "draws": [item["draws"] for item in each],
        "divergences": [item["divergences"] for item in each],
        "verdict": [item["verdict"] for item in each],
        "seconds": [round(item["seconds"], 3) for item in each],
        "failure": [item["failure"] for item in each],
        "ranks": {name: [item["ranks"].get(name, _NO_RANK) for item in each] for name in names},
    }
    # One key a line, so that a file can be looked at and compared.
    lines = [
        f"{json.dumps(key)}: {json.dumps(value, allow_nan=False)}" for key, value in content.items()
    ]
    return write_file(path, ("{\n" + ",\n".join(lines) + "\n}\n").encode())


def read_calibration(path: str | Path) -> Calibration:
    """Read what `write_calibration` wrote.

    Raises
    ------
    StorageError
        If the file cannot be read, or is none of those.
    """
    path = file_path(path)
    try:
        content = json.loads(path.read_bytes())
        if content["schema"] != SCHEMA:
            raise StorageError(
                f"{path}: has schema {content['schema']!r}, this version of jointmix reads "
                f"{SCHEMA}."
            )
        keys = [item.name for item in fields(Replicate) if item.name != "ranks"]
        ranks = content["ranks"]
        replicates = tuple(
            Replicate(
                ranks={name: of[i] for name, of in ranks.items() if of[i] != _NO_RANK},
                **{key: content[key][i] for key in keys},
            )
            for i in range(len(content["number"]))
        )
        spec = spec_from_dict(content["spec"])
        return Calibration(
            spec=spec,
            n_rows=int(content["rows"]),
            seed=int(content["seed"]),
            n_ranked=int(content["ranked_draws"]),
            replicates=replicates,
            date=str(content["date"]),
            versions=dict(content["versions"]),
            missing=dict(content.get("missing", {})),
        )
    except StorageError:
        raise
    except OSError as error:
        raise StorageError(f"{path}: cannot be read ({error.strerror}).") from error
    except (ValueError, KeyError, TypeError, IndexError, AttributeError) as error:
        raise StorageError(f"{path}: is no calibration that jointmix wrote.") from error


def merge_calibrations(paths: Sequence[str | Path]) -> Calibration:
    """One calibration of the replicates that several files hold.

    Parameters
    ----------
    paths
        Files of the same specification, number of rows and seed, written by `write_calibration`.

    Raises
    ------
    StorageError
        If one cannot be read, or they are of different calibrations.
    """
    found = [read_calibration(path) for path in paths]
    first = found[0]
    for path, each in zip(paths, found, strict=True):
        if each.of != first.of:
            raise StorageError(f"{path}: holds another calibration than {paths[0]}.")
    replicates = {item.number: item for each in found for item in each.replicates}
    ordered = tuple(replicates[number] for number in sorted(replicates))
    return replace(first, replicates=ordered, date=max(each.date for each in found))


def require_same_model(tree: xr.DataTree, spec: ModelSpec) -> xr.DataTree:
    """The fitted tree, if it is of the model that a specification calibrates.

    Raises
    ------
    SchemaError
        If it is not, or does not say which model it is of.
    SpecError
        If what it says is no model.
    """
    fitted, own = spec_to_dict(fitted_spec(tree).plain), spec_to_dict(spec.plain)
    for part in ("data", "model", "priors"):
        # Calibrated tables are on the priors' scale, and give their own sampler settings.
        theirs = {key: value for key, value in fitted[part].items() if key != "standardize"}
        ours = {key: value for key, value in own[part].items() if key != "standardize"}
        if json.dumps(theirs, sort_keys=True) != json.dumps(ours, sort_keys=True):
            raise SchemaError(f"The calibration is of another model than the fit ([{part}]).")
    return tree


def keep_calibration(tree: xr.DataTree, calibration: Calibration) -> xr.DataTree:
    """Keep what a calibration came to in a fitted tree, for its report; returns the tree.

    Raises
    ------
    SchemaError
        If the calibration is of another model than the fit.
    """
    require_same_model(tree, calibration.spec)
    tree.attrs[ATTRIBUTE] = json.dumps(calibration.plain())
    return tree
