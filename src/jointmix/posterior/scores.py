"""How well a fit predicts rows that it has not seen: leave-one-out densities, PIT and CRPS."""

import json
from dataclasses import dataclass

import numpy as np
import pandas as pd
import xarray as xr
from arviz_stats.utils import ELPDData

from jointmix.base.arguments import whole_number
from jointmix.base.errors import SpecError
from jointmix.base.numbers import percent
from jointmix.base.schema import OBS
from jointmix.base.shown import Glance, Shown
from jointmix.families.mixture import log_likelihood, log_terms
from jointmix.families.parameters import Parameters
from jointmix.families.rows import Rows
from jointmix.kernel.pit_crps import pit_crps
from jointmix.model.packing import packed
from jointmix.model.settings import LARGEST_PARETO_SHAPE
from jointmix.model.spec import ModelSpec
from jointmix.posterior.draws import (
    fitted_spec,
    observed_rows,
    posterior_parameters,
    row_batches,
    spread,
)
from jointmix.posterior.leave_one_out import left_out
from jointmix.tables.labels import label_text

#: Draws that are used, evenly spaced.
_MOST_DRAWS = 2_000
#: Draws of the rough value that every row is given when only some are left out, and densities of
#: rows and draws that it takes: with more rows draws differ less, so that as good a value needs
#: fewer.
_ROUGH_DRAWS, _LEAST_ROUGH, _ROUGH_DENSITIES = 50, 5, 5_000_000
KINDS = ("joint", "feature", "conditional")
#: Central intervals whose coverage the text states.
_INTERVAL = 0.9


@dataclass(frozen=True, eq=False, repr=False)
class Scores(Shown):
    """Predictive scores of a fit.

    Attributes
    ----------
    table
        One row a density: ``joint`` p(x, y), ``feature`` p(x) and ``conditional`` p(y | x), as far
        as the model has them. ``elpd``, the expected log predictive density of all rows, each as
        often as it weighs; ``se``, its standard error; ``p``, the effective number of parameters;
        ``subsampling_se``, the error from leaving out some rows only, 0 if all were.
    pointwise
        By row (obs), those left out: ``joint``, ``feature`` and ``conditional``, log densities on
        the users' scale; ``pareto_k``, NaN where a refit replaced the approximation; with a
        response, by the joint density (`predict` with ``weighting="joint"``), ``pit``,
        F(y | x, rest), and ``crps``, the continuous ranked probability score of
        y given x in the response's units; ``row``, the row's number in the table, and ``place``,
        that among the rows of the fit; with row weights, ``weight``.
    method
        "loo", "kfold", or "loo with refits".
    n_rows, n_draws
        Rows that were fitted, and draws used.

    Examples
    --------
    >>> scores = jm.loo(jm.load("penguins.nc"))
    >>> scores.table.index.tolist()
    ['joint', 'feature', 'conditional']
    """

    table: pd.DataFrame
    pointwise: xr.Dataset
    method: str
    n_rows: int
    n_draws: int

    @property
    def influential(self) -> pd.DataFrame:
        """The rows whose Pareto k exceeds 0.7, the largest first, by the table's row labels.

        Columns ``row``, ``place``, ``pareto_k``, ``joint``. Their densities are not to be trusted.
        """
        shape = self.pointwise["pareto_k"].values
        place = np.flatnonzero(shape > LARGEST_PARETO_SHAPE)
        order = place[np.argsort(-shape[place], kind="stable")]
        columns = ["row", "place", "pareto_k", "joint"]
        return self.pointwise[columns].isel({OBS: order}).to_dataframe()[columns]

    @property
    def text(self) -> str:
        """The scores in sentences."""
        return " ".join(self._sentences())

    def _sentences(self) -> list[str]:
        both = {"feature", "conditional"} <= set(self.table.index)
        # Of one kind of column, the joint density is the only one.
        parts = [
            f"{f'{name} ' if both else ''}{line['elpd']:.1f} ± {line['se']:.1f}"
            for name, line in self.table.iterrows()
            if both or name == "joint"
        ]
        said = [f"Expected log predictive density ({self.method}): {', '.join(parts)}."]
        used = self.pointwise.sizes[OBS]
        if used < self.n_rows:
            error = float(self.table["subsampling_se"].max())
            said.append(f"{used} of {self.n_rows} rows were left out, an error of {error:.1f}.")
        if "pit" in self.pointwise:
            told = self.pointwise.isel({OBS: ~np.isnan(self.pointwise["pit"].values)})
            pit = told["pit"].values
            weight = told["weight"].values if "weight" in told else None
            inside = np.average(np.abs(pit - 0.5) <= _INTERVAL / 2, weights=weight)
            said.append(
                f"Central {_INTERVAL:.0%} intervals of y{' given x' if both else ''} hold "
                f"{percent(float(inside))} of the rows; mean CRPS "
                f"{float(np.average(told['crps'].values, weights=weight)):.4g}."
            )
        high = self.influential
        if len(high):
            named = ", ".join(label_text(label) for label in high.index[:5].to_numpy())
            rows, them = ("row", "its") if len(high) == 1 else (f"{len(high)} rows:", "their")
            said.append(
                f"Pareto k exceeds {LARGEST_PARETO_SHAPE} in table {rows} {named}"
                f"{', …' if len(high) > 5 else ''}; {them} log density is optimistic: "
                "jointmix.reloo fits anew without each such row, jointmix.kfold without a tenth "
                "of all rows at a time."
            )
        return said

    def _printed(self) -> list[str]:
        return [self.text]

    def _glance(self) -> Glance:
        return Glance(
            head=f"Expected log predictive density ({self.method})",
            columns=("density", "elpd", "se", "p"),
            rows=tuple(
                (str(name), f"{line['elpd']:.1f}", f"{line['se']:.1f}", f"{line['p']:.1f}")
                for name, line in self.table.iterrows()
            ),
            notes=tuple(self._sentences()[1:]),
        )

    def elpd_data(self, kind: str = "joint") -> ELPDData:
        """One of the densities as ArviZ has it, for `arviz.compare` and `arviz.plot_khat`.

        Raises
        ------
        SpecError
            If there is no such density, or some rows only were left out.
        """
        if kind not in self.table.index:
            raise SpecError(f"kind must be one of {list(self.table.index)}; got {kind!r}.")
        if self.pointwise.sizes[OBS] < self.n_rows:
            raise SpecError("ArviZ needs every row left out; raise most_rows, or fit without pool.")
        line, high = self.table.loc[kind], len(self.influential)
        return ELPDData(
            elpd=float(line["elpd"]),
            se=float(line["se"]),
            p=float(line["p"]),
            n_samples=self.n_draws,
            n_data_points=self.n_rows,
            scale="log",
            warning=high > 0,
            good_k=LARGEST_PARETO_SHAPE,
            elpd_i=self.pointwise[kind] * self.pointwise.get("weight", 1.0),
            pareto_k=self.pointwise["pareto_k"],
        )


def loo(tree: xr.DataTree, most_rows: int = 5_000, seed: int = 1) -> Scores:
    """Leave-one-out scores by Pareto-smoothed importance sampling.

    Vehtari, Gelman and Gabry (2017, doi:10.1007/s11222-016-9696-4). All densities take the weights
    of the whole row's, so that joint = feature + conditional row by row. With more rows than
    ``most_rows`` as many drawn at random are left out, and the sum over all is estimated by the
    difference from a rough value that every row has (Magnusson, Vehtari, Jonasson and Andersen
    2020, PMLR 108). Of a fit that holds a sample of its rows (`fit` with ``pool``), sums are
    estimates for all rows. At most 2,000 draws are used.

    Row weights that are whole numbers stand for repeated rows: one of them is left out, and its
    density counts as often as the row weighs. Of other weights, a row is left out with all its
    weight, and its density counts as much.

    Parameters
    ----------
    tree
        A fitted tree.
    most_rows
        Rows that are left out one by one.
    seed
        Of the rows drawn.

    Raises
    ------
    SchemaError
        If the tree is not a fit with identified draws.
    SpecError
        If ``most_rows`` is below 2.

    Examples
    --------
    >>> scores = jm.loo(jm.load("penguins.nc"))
    >>> bool(scores.table.loc['joint', 'elpd'] < scores.table.loc['feature', 'elpd'])
    True
    """
    most_rows, seed = whole_number("most_rows", most_rows, 2), whole_number("seed", seed, 0)
    spec, thinned = fitted_spec(tree), _thinned(tree)
    rows = observed_rows(tree, spec)
    n, place = len(rows.y), np.arange(len(rows.y))
    rough = _plugged_in(tree, rows, spec)
    if n > most_rows:
        place = np.sort(np.random.default_rng(seed).choice(n, most_rows, replace=False))
        if rough is None:
            draws = max(_LEAST_ROUGH, min(_ROUGH_DRAWS, _ROUGH_DENSITIES // n))
            few = thinned.take(spread(len(thinned.weight), draws).tolist())
            guess = mean_density(rows, few, spec)
            sums = {name: float(rows.weights @ each) for name, each in guess.items()}
            rough = Rough(guess, sums)
    chosen = rows.take(place)
    values = {name: np.empty(len(place)) for name in ("joint", "feature", "pareto_k")}
    if spec.response is not None:
        values |= {name: np.empty(len(place)) for name in ("pit", "crps")}
    for part in left_out(chosen, thinned, spec):
        values["joint"][part.place], values["feature"][part.place] = part.density
        values["pareto_k"][part.place] = part.shape
        if spec.response is not None:
            weight = part.feature + part.weight.T[..., None]
            found = pit_crps(part.rows, weight, thinned, spec.blocks[-1], spec.blocks[:-1])
            values["pit"][part.place], values["crps"][part.place] = found
    return make_scores(tree, place, values, "loo", rough)


@dataclass(frozen=True, eq=False)
class Rough:
    """Log densities near those of rows that are left out, which all rows have.

    Attributes
    ----------
    values
        Of the rows that a fit holds, ``joint`` and ``feature``, (obs,).
    sums
        Over all rows that were fitted, each as often as it weighs.
    """

    values: dict[str, np.ndarray]
    sums: dict[str, float]

    def of(self, kind: str) -> tuple[np.ndarray, float]:
        """One of `KINDS`: of each row, (obs,), and the sum."""
        if kind == "conditional":
            return _part(self.values, kind), self.sums["joint"] - self.sums["feature"]
        return self.values[kind], self.sums[kind]


def _plugged_in(tree: xr.DataTree, rows: Rows, spec: ModelSpec) -> Rough | None:
    """By the parameters at the mode; None of a fit that holds all rows that were fitted."""
    if "plugged_in" not in tree.attrs:
        return None
    modes = tree["modes"].to_dataset()
    at = modes.sel(mode=modes.attrs["start_mode"])
    variables = {name: at[name].values[None] for name in spec.parameters}
    values = mean_density(rows, packed(variables, spec), spec)
    return Rough(values, json.loads(tree.attrs["plugged_in"]))


def score_new(tree: xr.DataTree, rows: Rows) -> dict[str, np.ndarray]:
    """Scores of rows that a fit has not seen, by name, each (obs,)."""
    spec, thinned = fitted_spec(tree), _thinned(tree)
    density = mean_density(rows, thinned, spec)
    values = {**density, "pareto_k": np.full(len(rows.y), np.nan)}
    if spec.response is not None:
        values |= {name: np.empty(len(rows.y)) for name in ("pit", "crps")}
        for place, part in row_batches(rows, thinned):
            of_x, _ = log_terms(spec.blocks, part, thinned)
            found = pit_crps(part, of_x, thinned, spec.blocks[-1], spec.blocks[:-1])
            values["pit"][place], values["crps"][place] = found
    return values


def _thinned(tree: xr.DataTree) -> Parameters:
    parameters = posterior_parameters(tree)
    return parameters.take(spread(len(parameters.weight), _MOST_DRAWS).tolist())


def mean_density(rows: Rows, parameters: Parameters, spec: ModelSpec) -> dict[str, np.ndarray]:
    """Logs of the posterior means of p(x, y) and p(x), (obs,)."""
    joint, feature = np.empty(len(rows.y)), np.empty(len(rows.y))
    size = np.log(len(parameters.weight))
    for place, part in row_batches(rows, parameters):
        of_x, of_y = log_terms(spec.blocks, part, parameters)
        joint[place] = log_likelihood(log_likelihood(of_x + of_y).T) - size
        feature[place] = log_likelihood(log_likelihood(of_x).T) - size
    return {"joint": joint, "feature": feature}


def make_scores(
    tree: xr.DataTree,
    place: np.ndarray,
    values: dict[str, np.ndarray],
    method: str,
    rough: Rough | None = None,
) -> Scores:
    """Scores of the fit's rows at ``place``.

    Parameters
    ----------
    values
        As `score_new` gives them, (obs,).
    rough
        Log densities of all rows, if some only were left out.
    """
    spec, thinned = fitted_spec(tree), _thinned(tree)
    everything = observed_rows(tree, spec)
    rows = everything.take(place)
    seen = mean_density(rows, thinned, spec)
    # A fit may hold some of its rows: what is said is of all of them.
    n, counts = int(tree.attrs.get("n_fitted", len(everything.y))), rows.weights
    values = {**values, "conditional": values["joint"] - values["feature"]}
    kinds = [
        *(("joint",) if spec.response is not None or spec.clustering else ()),
        *(("feature",) if spec.clustering else ()),
        *(("conditional",) if spec.response is not None else ()),
    ]
    lines = []
    for kind in kinds:
        pointwise = values[kind]
        scale, m = n / len(place), len(place)
        optimism = _part(seen, kind) - pointwise
        total, error = float(counts @ pointwise), 0.0
        if rough is not None:
            guess, known = rough.of(kind)
            gap = counts * (pointwise - guess[place])
            total = float(known + n * gap.mean())
            error = float(n * np.sqrt((1 - m / n) * gap.var(ddof=1) / m))
        lines.append(
            {
                "density": kind,
                "elpd": total,
                "se": float(np.sqrt(scale) * sum_error(pointwise, rows)),
                "p": float(scale * (counts @ optimism)),
                "subsampling_se": error,
            }
        )
    names = [*(kind for kind in KINDS if kind in kinds), "pareto_k", "pit", "crps"]
    pointwise_values = {name: (OBS, values[name]) for name in names if name in values}
    if rows.weight is not None:
        pointwise_values["weight"] = (OBS, rows.weight)
    number = tree["constant_data"].to_dataset()["row"].values[place]
    return Scores(
        pd.DataFrame(lines).set_index("density"),
        xr.Dataset(
            {**pointwise_values, "row": (OBS, number), "place": (OBS, place)},
            coords={OBS: rows.label},
        ),
        method,
        n,
        len(thinned.weight),
    )


def sum_error(values: np.ndarray, rows: Rows, ddof: int = 1) -> float:
    """Standard error of the sum of values of rows (obs,), each as often as it weighs.

    With c copies of weight u each, √(C / (C − ddof) Σ c u² (v − v̄)²), C = Σ c: of repeated rows, or
    of rows with weights of their own.
    """
    n = float(rows.copies.sum())
    center = np.average(values, weights=rows.weight)
    square = (rows.weights * rows.units) @ (values - center) ** 2
    return float(np.sqrt(n / (n - ddof) * square))


def _part(density: dict[str, np.ndarray], kind: str) -> np.ndarray:
    if kind == "conditional":
        return density["joint"] - density["feature"]
    return density[kind]
