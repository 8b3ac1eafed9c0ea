"""Densities and predictions of rows, from a fitted tree alone.

    p(y | x) = Σ_k p(k | x) N(y | b_k + u'θ_k, σ_k²),   p(k | x) ∝ π_k N(x | μ_k, Σ_k)

Everything is averaged over the posterior draws and streams over rows, so that no array of
draws × rows × clusters is held whole.
"""

import warnings
from collections.abc import Sequence
from dataclasses import replace
from typing import get_args

import numpy as np
import xarray as xr
from joblib import Parallel, delayed

from jointmix.base.arguments import choice, number_list, probabilities, whole_number
from jointmix.base.errors import DataError, PrecisionWarning, SpecError
from jointmix.base.machine import available_cores
from jointmix.base.schema import CHAIN, CLUSTER, DRAW, OBS
from jointmix.families.mixture import log_likelihood, log_terms
from jointmix.families.parameters import Parameters
from jointmix.families.patterns import Pattern, by_pattern, marginal
from jointmix.families.protocol import Predicted
from jointmix.families.rows import Rows
from jointmix.kernel.predictive import density_at, predictive
from jointmix.model.spec import ModelSpec
from jointmix.posterior.allocations import Batch, Weighting, each_batch
from jointmix.posterior.draws import (
    fitted_spec,
    observed_rows,
    posterior_parameters,
    row_batches,
    spread,
    table_rows,
    with_holes,
)
from jointmix.posterior.pointwise import log_densities
from jointmix.posterior.unknown_levels import by_cluster

#: Rows that one thread predicts at a time.
_BLOCK = 256
_MOST_NUMBERS = 500_000_000
#: Points at which a density is evaluated, at most.
_MOST_POINTS = 1_000_000
#: Share of the fit's rows whose density marks the border of what was fitted, and rows and draws
#: looked at.
_EXTRAPOLATED, _MOST_ROWS, _MOST_DRAWS = 0.01, 2_000, 1_000
#: Effective number of draws below which a prediction is said to be rough: a mean then has an error
#: of a tenth of its posterior standard deviation.
_FEW_DRAWS = 100
#: Quantiles between which a grid of points lies, but for a margin.
_REACH = (0.0005, 0.9995)
#: Height of a second peak against the first, and depth of the valley between them.
_PEAK, _VALLEY = 0.05, 0.05


def log_density(tree: xr.DataTree, table: object = None) -> xr.Dataset:
    """Log densities of each row in each draw.

    Parameters
    ----------
    tree
        A fitted tree.
    table
        New rows with all columns of the model; None takes the rows of the fit. Entries may be
        missing where the model takes such rows (``missing="model"``).

    Returns
    -------
    xarray.Dataset
        `joint`, log p(x, y); `feature`, log p(x); `conditional`, log p(y | x): dims chain, draw,
        obs; natural log, on the users' scale. Without a response `joint` equals `feature`;
        without features `joint` equals `conditional`. The log of the mean of p(x, y) over draws
        less that of p(x) is log p(y | x) as `loo` and the "joint" weighting of `predict` have it.

    Raises
    ------
    DataError
        If a column is missing, or the result would not fit in 12 GB.

    Examples
    --------
    >>> dict(jm.log_density(jm.load("penguins.nc"))["joint"].sizes)
    {'chain': 4, 'draw': 500, 'obs': 342}
    """
    spec, parameters = fitted_spec(tree), posterior_parameters(tree)
    rows, has_response = table_rows(tree, spec, table, spec.response, with_holes(spec))
    if spec.response is not None and not has_response:
        raise DataError(f"The log density needs the response; the table lacks {spec.response!r}.")
    n_draws, n_rows = len(parameters.weight), len(rows.x)
    if n_draws * n_rows > _MOST_NUMBERS:
        raise DataError(
            f"Log densities of {n_rows} rows in {n_draws} draws would need "
            f"{n_draws * n_rows * 24 / 1e9:.0f} GB; pass fewer rows at a time."
        )
    posterior = tree["posterior"].to_dataset()
    shape = (posterior.sizes[CHAIN], posterior.sizes[DRAW], n_rows)
    arrays = log_densities(rows, parameters, spec)
    coords = {name: posterior[name].values for name in (CHAIN, DRAW)}
    return xr.Dataset(
        {name: ((CHAIN, DRAW, OBS), each.reshape(shape)) for name, each in arrays.items()},
        coords={**coords, OBS: rows.label},
    )


def predict(
    tree: xr.DataTree,
    table: object = None,
    quantiles: Sequence[float] = (0.05, 0.5, 0.95),
    weighting: Weighting = "equal",
) -> xr.Dataset:
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

    Returns
    -------
    xarray.Dataset
        In the response's units, by row: `mean`, `sd`, and `quantiles` (obs, quantile) of the
        posterior predictive distribution, from its own distribution function, whole numbers where
        the response is of such; the variance's
        parts `variance_within` (the clusters' noise), `variance_between` (not knowing the
        cluster) and `variance_parameters` (not knowing the parameters), which add up to sd²;
        `responsibility` (obs, cluster), p(k | x); `log_density` (obs), the log of the posterior
        mean of p(x), of the features that are there. Two flags: `extrapolated`, p(x) is lower
        than for 99% of the rows of the fit, in the same features; `multimodal`, p(y | x) falls by
        5% or more between two peaks of which the lower has 5% or more of the higher's height,
        each cluster's predictive distribution being taken as normal. Where a cluster's response has
        no variance, as a Student-t with two degrees of freedom, `sd` and the variance's parts are
        infinite. With "joint" there is `effective_draws` besides, 1 / Σ w_s².

    Raises
    ------
    DataError
        If a column is absent, or a predictor that is no feature holds missing entries: the model
        has no distribution for it.
    SpecError
        If the model has no response, a quantile lies outside (0, 1) or the weighting is unknown.

    Warns
    -----
    PrecisionWarning
        If a row's prediction rests on fewer than 100 effective draws.

    Examples
    --------
    >>> jm.predict(jm.load("penguins.nc"), load_penguins()[:2])["quantiles"].dims
    ('obs', 'quantile')
    """
    choice("weighting", weighting, get_args(Weighting))
    found = _predictions(tree, table, quantiles, weighting)
    if weighting == "joint":
        effective = found["effective_draws"].values
        few = int((effective < _FEW_DRAWS).sum())
        if few:
            warnings.warn(
                f"Predictions of {few} of {effective.size} rows rest on fewer than {_FEW_DRAWS} "
                f"effective draws, {effective.min():.1f} at the least: few draws find such rows "
                "likely. Take more draws, or x as given (weighting='equal').",
                PrecisionWarning,
                stacklevel=2,
            )
    return found


def _predictions(
    tree: xr.DataTree, table: object, quantiles: Sequence[float], weighting: Weighting
) -> xr.Dataset:
    spec, parameters = fitted_spec(tree), posterior_parameters(tree)
    if spec.response is None:
        raise SpecError("This model has no response to predict.")
    probability = probabilities("quantiles", quantiles)
    rows, _ = table_rows(tree, spec, table, None, spec.clustering)
    parts, order = [], []
    for pattern in by_pattern(rows, parameters, spec.blocks):
        least = _least_density(observed_rows(tree, spec), parameters, pattern.present, spec)
        moments = _predicted(pattern, probability, weighting)
        moments["extrapolated"] = moments["log_density"] < least
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


def predictive_density(
    tree: xr.DataTree,
    table: object = None,
    points: Sequence[float] | int = 200,
    weighting: Weighting = "equal",
) -> xr.DataArray:
    """The density p(y | x) of the response on a grid.

    Parameters
    ----------
    tree
        A fitted tree.
    table
        As for `predict`: new rows, in which features may be missing; None takes the fit's.
    points
        Values of the response; or how many, at least 2, evenly spaced over what the rows'
        predictive distributions reach: from 0.05% to 99.95%, and a tenth of that on either side.
        Of a response of whole numbers, those among them, and the density is their probability.
    weighting
        Of the draws, as for `predict`.

    Returns
    -------
    xarray.DataArray
        (obs, point), per unit of the response, averaged over all draws; the coordinate ``point``
        holds the values of the response.

    Raises
    ------
    DataError
        If a column is absent, a predictor that is no feature holds missing entries, or rows times
        points would not fit in 4 GB.
    SpecError
        If the model has no response, the points are too few or not finite, or the weighting is
        unknown.

    Examples
    --------
    >>> jm.predictive_density(jm.load("penguins.nc"), load_penguins()[:2]).shape
    (2, 200)
    """
    choice("weighting", weighting, get_args(Weighting))
    spec, parameters = fitted_spec(tree), posterior_parameters(tree)
    if spec.response is None:
        raise SpecError("This model has no response to predict.")
    at = _points(tree, table, points, weighting)
    rows, _ = table_rows(tree, spec, table, None, spec.clustering)
    if len(rows.y) * len(at) > _MOST_NUMBERS:
        raise DataError(
            f"Densities of {len(rows.y)} rows at {len(at)} points would need "
            f"{len(rows.y) * len(at) * 8 / 1e9:.0f} GB; pass fewer rows at a time."
        )
    found = np.empty((len(rows.y), len(at)))

    def evaluate(batch: Batch) -> None:
        n, weight = batch.alternatives, batch.draw_weights(weighting)
        share = batch.parts * np.repeat(weight, n, axis=-1)[:, None]
        own = density_at(at, share, batch.rows, batch.parameters, spec.blocks[-1])
        found[batch.place] = own.reshape(len(batch.place), n, len(at)).sum(axis=1)

    each_batch(evaluate, rows, parameters, spec)
    coords = {OBS: rows.label, "point": at}
    return xr.DataArray(found, coords=coords, dims=(OBS, "point"), name=spec.response)


def _points(
    tree: xr.DataTree, table: object, points: Sequence[float] | int, weighting: Weighting
) -> np.ndarray:
    spec = fitted_spec(tree)
    whole, positive = spec.blocks[-1].whole, spec.blocks[-1].positive
    if isinstance(points, int):
        points = whole_number("points", points, 2, _MOST_POINTS)
        reach = _predictions(tree, table, _REACH, weighting)["quantiles"].values
        low, high = float(reach.min()), float(reach.max())
        margin = (high - low) / 10
        if whole:
            return np.unique(np.round(np.linspace(max(low - margin, 0.0), high + margin, points)))
        least = max(low - margin, low / 10) if positive else low - margin
        return np.linspace(least, high + margin, points)
    at = number_list("points", points)
    if at.size == 0 or not np.isfinite(at).all():
        raise SpecError("points must be finite values of the response, at least one.")
    if whole and (at != np.round(at)).any():
        raise SpecError(f"points must be whole numbers for a {spec.family} response.")
    return at


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
        density += (weight[:, k] / sd[:, k])[:, None] * np.exp(-0.5 * white**2)
    left = np.maximum.accumulate(density, axis=1)
    right = np.maximum.accumulate(density[:, ::-1], axis=1)[:, ::-1]
    lower = np.minimum(left, right)
    high = lower >= _PEAK * density.max(axis=1, keepdims=True)
    return np.asarray((high & (density < (1 - _VALLEY) * lower)).any(axis=1))
