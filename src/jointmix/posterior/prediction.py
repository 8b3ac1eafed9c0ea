"""Densities and predictions of rows, from a fitted tree alone.

    p(y | x) = Σ_k p(k | x) N(y | b_k + u'θ_k, σ_k²),   p(k | x) ∝ π_k N(x | μ_k, Σ_k)

Everything is averaged over the posterior draws and streams over rows, so that no array of
draws × rows × clusters is held whole.
"""

import warnings
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, get_args, overload

import numpy as np
import xarray as xr
from joblib import Parallel, delayed

from jointmix.base.arguments import choice, probabilities
from jointmix.base.errors import PrecisionWarning, SpecError
from jointmix.base.machine import available_cores
from jointmix.base.pools import Pool
from jointmix.base.progress import ProgressOption
from jointmix.base.schema import CLUSTER, OBS
from jointmix.families.mixture import log_likelihood, log_terms
from jointmix.families.parameters import Parameters
from jointmix.families.patterns import Pattern, by_pattern, marginal
from jointmix.families.protocol import Predicted
from jointmix.families.rows import Rows
from jointmix.kernel.predictive import predictive
from jointmix.model.spec import ModelSpec
from jointmix.posterior.allocations import Weighting
from jointmix.posterior.draws import (
    fitted_spec,
    observed_rows,
    posterior_parameters,
    row_batches,
    spread,
    table_rows,
)
from jointmix.posterior.in_parts import Writing, read_column, require_out, write_parts
from jointmix.posterior.unknown_levels import by_cluster

if TYPE_CHECKING:
    pass

#: Rows that one thread predicts at a time.
_BLOCK = 256
#: Share of the fit's rows whose density marks the border of what was fitted, and rows and draws
#: looked at.
_EXTRAPOLATED, _MOST_ROWS, _MOST_DRAWS = 0.01, 2_000, 1_000
#: The relative error that two ways of summing the same densities may differ by.
_ROUNDING = 1e-10
#: Effective number of draws below which a prediction is said to be rough: a mean then has an error
#: of a tenth of its posterior standard deviation.
_FEW_DRAWS = 100
#: Height of a second peak against the first, and depth of the valley between them.
_PEAK, _VALLEY = 0.05, 0.05


@overload
def predict(
    tree: xr.DataTree,
    table: object = None,
    quantiles: Sequence[float] = ...,
    weighting: Weighting = ...,
    out: None = None,
    progress: ProgressOption = None,
    pool: None = None,
) -> xr.Dataset: ...


@overload
def predict(
    tree: xr.DataTree,
    table: object,
    quantiles: Sequence[float] = ...,
    weighting: Weighting = ...,
    *,
    out: str | Path,
    progress: ProgressOption = None,
    pool: Pool = None,
) -> Path: ...


def predict(
    tree: xr.DataTree,
    table: object = None,
    quantiles: Sequence[float] = (0.05, 0.5, 0.95),
    weighting: Weighting = "equal",
    out: str | Path | None = None,
    progress: ProgressOption = None,
    pool: Pool = None,
) -> xr.Dataset | Path:
    """Predict the response from the features and predictors.

    p(y | x) of the draws is averaged over them, Σ_s w_s p(y | x, θ_s), in one of two ways that
    answer two questions. With equal weights x is taken as given, as in a regression: a value to
    predict at says nothing of the parameters. With w_s ∝ p(x | θ_s) the row is one more from the
    population of the fit's, so that x tells of the parameters before y is seen: p(x, y) / p(x),
    each averaged over the posterior, as the conditional density of `loo` and `kfold`, and their
    PIT and CRPS, have it. Among the fit's rows the two hardly differ. Far from them they do, and
    the second then rests on the few draws under which such a row is likely.

    Parameters
    ----------
    tree
        A fitted tree.
    table
        New rows with the features and predictors (the response is not used); None takes the
        rows of the fit. Missing features are integrated out, exactly: inside a cluster they are
        Gaussian given the others, through their slopes too. Student-t features may be missing
        where they are no predictors.
    quantiles
        Probabilities in (0, 1).
    weighting
        "equal", x is given; or "joint", x is of the population. The fit's own rows are taken as
        new ones with the same columns.
    out
        A folder, not there yet, for a table in parts (a Parquet file or folder by its place, a
        pyarrow Dataset, a polars LazyFrame, a Dask DataFrame; any other table is one part): each
        part's predictions are a Parquet file of the same rows, with a column for each that
        `to_frame` has and the rows' labels, or numbers through all parts, in ``row``. Only the
        needed columns of a few rows are in memory. The folder is there when all is written; the
        same call goes on where an interrupted one has stopped (OUT.unfinished).
    progress
        Of writing to ``out``, as `fit` takes it.
    pool
        Who writes the parts to ``out``, as `compare` takes it, each by itself: processes of this
        machine, an executor, or the workers of a Dask cluster, who find table and folder at the
        same place, or hold the partitions of a Dask DataFrame. The files are the same whoever
        writes them.

    Returns
    -------
    xarray.Dataset or Path
        ``out``, where it is given; else, in the response's units, by row: `mean`, `sd`, and
        `quantiles` (obs, quantile) of the posterior predictive distribution, from its own
        distribution function, whole numbers where the response is of such; the variance's parts
        `variance_within` (the clusters' noise), `variance_between` (not knowing the cluster) and
        `variance_parameters` (not knowing the parameters), which add up to sd²; `responsibility`
        (obs, cluster), p(k | x); `log_density` (obs), the log of the posterior mean of p(x), of the
        features that are there. Two flags: `extrapolated`, p(x) is lower than for 99% of the rows
        of the fit, in the same features; `multimodal`, p(y | x) falls by 5% or more between two
        peaks of which the lower has 5% or more of the higher's height, each cluster's predictive
        distribution being taken as normal. Where a cluster's response has no variance, as a
        Student-t with two degrees of freedom, `sd` and the variance's parts are infinite. With
        "joint" there is `effective_draws` besides, 1 / Σ w_s².

    Raises
    ------
    DataError
        If a column is absent, or a predictor that is no feature holds missing entries: the model
        has no distribution for it.
    SpecError
        If the model has no response, a quantile lies outside (0, 1), the weighting is unknown, or
        there is a pool without ``out``.
    StorageError
        If ``out`` is there already, another process writes it, or it cannot be written.
    SamplingError
        If the pool's workers die time and again, or its cluster is lost.
    MissingExtraError
        If a table in parts, or ``out``, is given and pyarrow is not installed.

    Warns
    -----
    PrecisionWarning
        If a row's prediction rests on fewer than 100 effective draws.

    Examples
    --------
    >>> jm.predict(jm.load("penguins.nc"), load_penguins()[:2])["quantiles"].dims
    ('obs', 'quantile')
    >>> jm.predict(jm.load("penguins.nc"), load_penguins()[:2], out="predicted").name
    'predicted'
    """
    choice("weighting", weighting, get_args(Weighting))
    require_out(out, pool)
    if out is None:
        found = predictions(tree, table, quantiles, weighting)
        if weighting == "joint":
            _warn_of_few(found["effective_draws"].values)
        return found
    _require_response(fitted_spec(tree))
    level = probabilities("quantiles", quantiles).tolist()
    arguments = {"quantiles": level, "weighting": weighting}
    writing = Writing(what="predict", arguments=arguments, work=_of_part)
    path = write_parts(tree, table, out, writing, progress, pool)
    if weighting == "joint":
        _warn_of_few(read_column(path, "effective_draws"))
    return path


def _of_part(
    tree: xr.DataTree, rows: object, _: object, quantiles: Sequence[float], weighting: Weighting
) -> xr.Dataset:
    return predictions(tree, rows, quantiles, weighting)


def _warn_of_few(effective: np.ndarray) -> None:
    few = int((effective < _FEW_DRAWS).sum())
    if few:
        warnings.warn(
            f"Predictions of {few} of {effective.size} rows rest on fewer than {_FEW_DRAWS} "
            f"effective draws, {effective.min():.1f} at the least: few draws find such rows "
            "likely. Take more draws, or x as given (weighting='equal').",
            PrecisionWarning,
            stacklevel=3,
        )


def _require_response(spec: ModelSpec) -> None:
    if spec.response is None:
        raise SpecError("This model has no response to predict.")


def predictions(
    tree: xr.DataTree, table: object, quantiles: Sequence[float], weighting: Weighting
) -> xr.Dataset:
    """As `predict`, without its warnings."""
    spec, parameters = fitted_spec(tree), posterior_parameters(tree)
    _require_response(spec)
    probability = probabilities("quantiles", quantiles)
    rows, _ = table_rows(tree, spec, table, None, spec.clustering)
    fitted = observed_rows(tree, spec)
    parts, order = [], []
    for pattern in by_pattern(rows, parameters, spec.blocks):
        least = _least_density(fitted, parameters, pattern.present, spec)
        moments = _predicted(pattern, probability, weighting)
        # A row of the fit can be the 1% itself, and its sums differ by rounding.
        moments["extrapolated"] = moments["log_density"] < least - _ROUNDING * (1 + abs(least))
        parts.append(moments)
        order.append(pattern.place)
    dims = {"responsibility": (OBS, CLUSTER), "quantiles": (OBS, "quantile")}
    back = np.argsort(np.concatenate(order))
    return xr.Dataset(
        {
            name: (dims.get(name, (OBS,)), np.concatenate([part[name] for part in parts])[back])
            for name in parts[0]
        },
        coords={
            OBS: rows.label,
            CLUSTER: tree["posterior"][CLUSTER].values,
            "quantile": probability,
        },
    )


def _least_density(
    rows: Rows, parameters: Parameters, present: np.ndarray, spec: ModelSpec
) -> float:
    """The log of p(x) that 1% of the fit's rows lie below, in the features that are present."""
    if not present.any():
        return -np.inf
    if not rows.complete:
        there = ~np.isnan(rows.x[:, present]).any(axis=1)
        # Of features alone levels that are missing drop out.
        rows = replace(rows, y=np.zeros(len(rows.y)), completions=None).take(there)
    if not len(rows.y):
        return -np.inf
    some = fitted = rows.take(spread(len(rows.y), _MOST_ROWS))
    model = parameters.take(spread(len(parameters.weight), _MOST_DRAWS).tolist())
    blocks = tuple(block for block in spec.blocks if not block.of_response)
    if not present.all():
        some, model, blocks = marginal(some, model, present, blocks)
    parts = []
    for _, part in row_batches(some, model):
        density = log_likelihood(log_terms(blocks, part, model)[0])
        parts.append(log_likelihood(density.T) - np.log(len(density)))
    return fitted.quantile(np.concatenate(parts), _EXTRAPOLATED)


def _predicted(
    pattern: Pattern, probability: np.ndarray, weighting: Weighting
) -> dict[str, np.ndarray]:
    """What `predict` gives for rows that miss the same, in threads of a few hundred rows each."""

    response = pattern.blocks[-1]
    assert isinstance(response, Predicted)
    may_peak = response.may_peak
    scale = np.median(response.squared_scale(pattern.parameters), axis=0)

    n, weighted = pattern.alternatives, weighting == "joint"
    size = max(1, _BLOCK // n)

    def block(first: int) -> list[np.ndarray]:
        part = pattern.rows.take(slice(n * first, n * (first + size)))
        total, share, quantile = predictive(
            part, pattern.parameters, pattern.blocks, probability, weighted, n
        )
        if n > 1:
            total, share = by_cluster(total, share, part, pattern, weighted)
        variance = np.where(np.isfinite(share[..., 2]), share[..., 2], scale)
        peaks = np.zeros(len(share), dtype=bool)
        if may_peak:
            peaks = _multimodal(share[..., 0], share[..., 1], variance)
        return [total, share[..., 0], quantile, peaks]

    found = Parallel(n_jobs=available_cores(), prefer="threads")(
        delayed(block)(first) for first in range(0, len(pattern.place), size)
    )
    total, share, quantile, peaks = (np.concatenate(parts) for parts in zip(*found, strict=True))
    mean, within, between, uncertain, density, effective = total.T
    return {
        "mean": mean,
        "sd": np.sqrt(within + between + uncertain),
        "variance_within": within,
        "variance_between": between,
        "variance_parameters": uncertain,
        "responsibility": share,
        "log_density": density,
        "multimodal": peaks,
        "quantiles": quantile,
        **({"effective_draws": effective} if weighting == "joint" else {}),
    }


def _multimodal(weight: np.ndarray, center: np.ndarray, variance: np.ndarray) -> np.ndarray:
    """Whether a mixture of normals has two peaks with a valley between them, (obs,).

    Parameters
    ----------
    weight, center, variance
        Of the normals of each row, (obs, cluster).
    """
    # A cluster that a row never belongs to has no peak.
    sd = np.where(variance > 0, np.sqrt(variance), 1.0)
    grid = center[..., None] + sd[..., None] * np.linspace(-4, 4, 65)
    grid = np.sort(grid.reshape(len(grid), -1), axis=1)
    density = np.zeros(grid.shape)
    for k in range(weight.shape[1]):
        white = (grid - center[:, k, None]) / sd[:, k, None]
        # Beyond float64's squares a normal density is zero.
        with np.errstate(over="ignore"):
            density += (weight[:, k] / sd[:, k])[:, None] * np.exp(-0.5 * white**2)
    left = np.maximum.accumulate(density, axis=1)
    right = np.maximum.accumulate(density[:, ::-1], axis=1)[:, ::-1]
    lower = np.minimum(left, right)
    high = lower >= _PEAK * density.max(axis=1, keepdims=True)
    return np.asarray((high & (density < (1 - _VALLEY) * lower)).any(axis=1))
