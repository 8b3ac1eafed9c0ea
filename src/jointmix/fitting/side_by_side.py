"""Two fits side by side: which clusters are which, and what changed beyond its error."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr
from scipy.stats import norm

from jointmix.base.arguments import proportion, shown
from jointmix.base.errors import SchemaError
from jointmix.base.schema import CLUSTER
from jointmix.base.shown import Glance, Shown, marked
from jointmix.fitting.counterparts import Counterparts, counterparts
from jointmix.fitting.differing import Common, alone, differences, in_common
from jointmix.model.serialised import spec_to_dict
from jointmix.model.spec import ModelSpec
from jointmix.posterior.draws import fitted_spec
from jointmix.posterior.naming import cluster_names
from jointmix.posterior.summaries import entries, identified_parameters, statistics

_COLUMNS = ("first", "second", "difference", "error", "z")
_BOUNDS = ("first_lower", "first_upper", "second_lower", "second_upper")
_PLACE = ("parameter", "cluster", "entry")
_BY = {
    "rows": "the rows that both have",
    "columns": "their distributions of the columns that both have (Bhattacharyya distance)",
    "parameters": "their common parameters",
}
#: Relative difference of constants that is rounding.
_ROUNDING = 1e-9


@dataclass(frozen=True, eq=False, repr=False)
class Side(Shown):
    """Two fits side by side.

    Attributes
    ----------
    table
        One row a quantity of a pair of clusters, such as "mean[cluster 1, width]", by the first
        fit's clusters: ``first`` and ``second``, posterior means; ``difference``, second minus
        first; its ``error``; ``z``, their ratio; ``changed``, whether ``z`` lies beyond the limit;
        the bounds of both 89% intervals (``first_lower``, …); and ``parameter``, ``cluster`` (its
        number in the first fit; 0 of what all clusters share) and ``entry`` ("width"), which the
        name is made of.
    matching
        Cluster of the first fit → cluster of the second.
    only_first, only_second
        Clusters that have no counterpart.
    by
        What clusters were matched by: "rows", "columns" or "parameters".
    n_common, rand
        Rows that both fits have, and the adjusted Rand index of their two allocations.
    same
        Whether both are fits of the same model to the same values, so that only Monte Carlo errors
        part them. Errors are then those of the two means; else the two posterior standard
        deviations as of independent fits, which is too wide where tables share rows.
    limit, level
        ``z``, of either sign, beyond which a quantity changed, and the probability that any does
        by chance (Bonferroni over the table's rows).
    differing
        What else differs, as sentences: models, columns, clusters, verdicts.
    refused
        What both fits have and is not compared, since it means different things, as sentences.
    verdicts
        Of the two fits.

    Examples
    --------
    >>> tree = jm.load("penguins.nc")
    >>> side = jm.diff(tree, jm.identify(tree, "stephens"))
    >>> side.same, side.matching, side.differing
    (True, {1: 1, 2: 2, 3: 3}, ())
    """

    table: pd.DataFrame
    matching: dict[int, int]
    only_first: tuple[int, ...]
    only_second: tuple[int, ...]
    by: str
    n_common: int
    rand: float
    same: bool
    limit: float
    level: float
    differing: tuple[str, ...]
    refused: tuple[str, ...]
    verdicts: tuple[str, str]
    called: tuple[Mapping[int, str], Mapping[int, str]] = field(repr=False)

    @property
    def moved(self) -> pd.DataFrame:
        """The quantities that changed beyond their errors, the clearest first."""
        found = self.table[self.table["changed"]]
        order = found["z"].abs().sort_values(ascending=False, kind="stable").index
        return found.loc[order]

    @property
    def changed(self) -> bool:
        """Whether anything did: a quantity, the verdict, the number of clusters or the columns."""
        return bool(self.table["changed"].any()) or bool(self.differing)

    @property
    def text(self) -> str:
        """What changed, in sentences."""
        return " ".join(self._sentences())

    def lines(self) -> list[str]:
        """The sentences, the matching, and a line for each quantity that changed."""
        one, other = self.called
        pairs = [f"{one[number]} → {other[own]}" for number, own in self.matching.items()]
        return [
            *self._sentences(),
            f"Clusters: {'; '.join(pairs)}.",
            *(
                f"{name}: {line['first']:.4g} → {line['second']:.4g}, "
                f"{line['difference']:+.3g} ± {line['error']:.2g} (z = {line['z']:.1f})"
                for name, line in self.moved.iterrows()
            ),
        ]

    def as_dict(self) -> dict[str, Any]:
        """Plain values, ready for JSON."""
        return {
            "changed": self.changed,
            "text": self.text,
            "verdicts": list(self.verdicts),
            "differing": list(self.differing),
            "not_compared": list(self.refused),
            "matched_by": self.by,
            "matching": {str(number): own for number, own in self.matching.items()},
            "only_first": list(self.only_first),
            "only_second": list(self.only_second),
            "common_rows": self.n_common,
            "adjusted_rand": self.rand,
            "same_posterior": self.same,
            "limit": self.limit,
            "quantities": self.table.rename_axis("quantity").reset_index().to_dict("records"),
        }

    def _sentences(self) -> list[str]:
        n, moved = len(self.table), int(self.table["changed"].sum())
        errors = (
            "Monte Carlo errors, model and values being the same"
            if self.same
            else "posterior standard deviations, as of independent fits"
        )
        said = [
            f"{moved or 'None'} of {n} quantities {'differ' if moved > 1 else 'differs'} by more "
            f"than {self.limit:.1f} errors ({errors}; any would by chance with probability "
            f"{self.level:g}).",
            *self.differing,
            *self.refused,
        ]
        shared = "no rows" if not self.n_common else f"{self.n_common:,} rows"
        agree = f", whose allocations agree with a Rand index of {self.rand:.3f}"
        said.append(
            f"Clusters were matched by {_BY[self.by]}; the fits share {shared}"
            f"{agree if self.n_common else ''}."
        )
        return said

    def _printed(self) -> list[str]:
        return self.lines()

    def _glance(self) -> Glance:
        moved = int(self.table["changed"].sum())
        head = "nothing changed beyond its error"
        if moved:
            head = f"{moved} of {len(self.table)} quantities changed beyond their errors"
        elif self.differing:
            head = "the fits differ, but none of their common quantities beyond its error"
        return Glance(
            head=marked("caution" if self.changed else "ok", head),
            columns=("quantity", "first", "second", "difference", "error", "z"),
            rows=tuple(
                (
                    str(name),
                    *(f"{line[column]:.4g}" for column in _COLUMNS[:2]),
                    f"{line['difference']:+.3g}",
                    f"{line['error']:.2g}",
                    f"{line['z']:.1f}",
                )
                for name, line in self.moved.iterrows()
            ),
            notes=(*self._sentences(), self.lines()[len(self._sentences())]),
        )


def diff(first: xr.DataTree, second: xr.DataTree, *, level: float = 0.05) -> Side:
    """Hold two fits against each other: last month's and this month's, or one and a changed one.

    Clusters are matched one to one, by the rows that both fits have, known by the table's labels;
    where they share too few, by how alike the clusters are (Hungarian algorithm on Bhattacharyya
    distances). Every quantity that both fits have of a pair is compared: weights, means,
    standard deviations, correlations, slopes and whatever else the model has, entries being known
    by their columns' names; intercepts only where the predictors are the same.

    Parameters
    ----------
    first, second
        Fitted trees.
    level
        Probability that any quantity is said to have changed where none did.

    Returns
    -------
    Side
        What changed beyond its error, as a table, text (``str``, `lines`) and plain values
        (`as_dict`).

    Raises
    ------
    SchemaError
        If one is not a fit with identified draws.
    SpecError
        If ``level`` is no probability.

    Examples
    --------
    >>> import jointmix as jm
    >>> table = jm.simulate(jm.four_clusters(2), 200, seed=1)
    >>> quick = jm.SamplerSpec(sampler="laplace", draws=100, chains=2)
    >>> spec = jm.ModelSpec(n_clusters=2, features=["x1", "x2"], sampler=quick)
    >>> fits = [jm.fit(table, spec, seed=seed) for seed in (1, 2)]
    >>> jm.diff(*fits).matching
    {1: 1, 2: 2}
    """
    level = proportion("level", level)
    for tree in (first, second):
        if not isinstance(tree, xr.DataTree):
            raise SchemaError(f"diff takes two fitted DataTrees; got {shown(tree)}.")
    specs = fitted_spec(first), fitted_spec(second)
    found = counterparts(first, second)
    same, common = same_posterior(first, second), in_common(*specs)
    table = _compared(first, second, found, same, common)
    limit = float(norm.ppf(1 - level / (2 * max(1, len(table)))))
    table["changed"] = table["z"].abs() > limit
    verdicts = (str(first.attrs.get("verdict", "")), str(second.attrs.get("verdict", "")))
    called = cluster_names(first), cluster_names(second)
    return Side(
        table=table,
        matching=found.pairs,
        only_first=found.only_first,
        only_second=found.only_second,
        by=found.by,
        n_common=found.n_common,
        rand=found.rand,
        same=same,
        limit=limit,
        level=level,
        differing=(
            *differences(*specs),
            *alone("first", [called[0][number] for number in found.only_first]),
            *alone("second", [called[1][number] for number in found.only_second]),
            *_verdicts(verdicts),
        ),
        refused=common.refused,
        verdicts=verdicts,
        called=called,
    )


def same_posterior(first: xr.DataTree, second: xr.DataTree) -> bool:
    """Whether two trees are fits of the same model to the same values."""

    def model(spec: ModelSpec) -> dict[str, Any]:
        tables = spec_to_dict(spec)
        return {name: tables[name] for name in tables if name != "sampler"}

    values = [tree.attrs.get("data_hash") for tree in (first, second)]
    if values[0] is None or values[0] != values[1]:
        return False
    return model(fitted_spec(first)) == model(fitted_spec(second))


def _compared(
    first: xr.DataTree, second: xr.DataTree, found: Counterparts, same: bool, common: Common
) -> pd.DataFrame:
    called = cluster_names(first)
    one, other = (
        {
            name: statistics(draws)
            for name, draws in identified_parameters(tree).items()
            if name in common.parameters
        }
        for tree in (first, second)
    )
    lines: dict[str, list[Any]] = {}
    for place, (number, own) in enumerate(found.pairs.items()):
        for name in (name for name in one if name in other):
            once = name in common.shared
            if once and place:
                continue
            here, there = _entries(one[name], name, number), _entries(other[name], name, own)
            for label in (label for label in here if label in there):
                entry = label.removeprefix(name)[1:-1]
                if name == "slope" and entry not in common.predictors:
                    continue
                parts = [*([] if once else [called[number]]), *([entry] if entry else [])]
                inside = f"[{', '.join(parts)}]" if parts else ""
                lines[f"{name}{inside}"] = [
                    *_line(here[label], there[label], same), name, 0 if once else number, entry,
                ]  # fmt: skip
    columns = [*_COLUMNS, *_BOUNDS, *_PLACE]
    return pd.DataFrame.from_dict(lines, orient="index", columns=columns)


def _entries(found: xr.Dataset, name: str, cluster: int) -> dict[str, dict[str, float]]:
    own = found.sel({CLUSTER: cluster}, drop=True)
    values = {key: [value for _, value in entries(own[key], name)] for key in own.data_vars}
    labels = [label for label, _ in entries(own["mean"], name)]
    return {
        label: {str(key): values[key][place] for key in values}
        for place, label in enumerate(labels)
    }


def _line(here: dict[str, float], there: dict[str, float], same: bool) -> list[float]:
    """First, second, difference, error and z of one quantity, and both intervals."""
    kind = "mcse_mean" if same else "sd"
    # Constants have no Monte Carlo error.
    error = math.hypot(*(float(np.nan_to_num(each[kind])) for each in (here, there)))
    gap = there["mean"] - here["mean"]
    if error == 0:
        size = max(abs(here["mean"]), abs(there["mean"]))
        z = 0.0 if abs(gap) <= _ROUNDING * size else float(np.copysign(np.inf, gap))
    else:
        z = gap / error
    bounds = [each[end] for each in (here, there) for end in ("lower", "upper")]
    return [here["mean"], there["mean"], gap, error, z, *bounds]


def _verdicts(verdicts: tuple[str, str]) -> list[str]:
    first, second = (verdict or "none" for verdict in verdicts)
    return [] if first == second else [f"The verdict went from {first} to {second}."]
