"""Are two clusters the same? Bhattacharyya distance between their distributions of (x, y).

A superfluous cluster is seldom a duplicate: it takes the outskirts of another, at distances at
which clusters that overlap lie too. Of it tells the check of separation.
"""

from itertools import combinations

import numpy as np
import xarray as xr

from jointmix.base.errors import SpecError
from jointmix.base.numbers import fixed, percent
from jointmix.base.schema import CLUSTER, require_group
from jointmix.checks.finding import Finding, Status, skipped
from jointmix.checks.sampled import sampled_distances
from jointmix.families import numeric_families
from jointmix.families.feature import Feature
from jointmix.families.matrices import inverse_lower, lower_factor
from jointmix.families.mixture import cluster_moments
from jointmix.families.moments import Outside
from jointmix.families.parameters import Parameters
from jointmix.model.spec import ModelSpec
from jointmix.posterior.draws import draw_parameters, fitted_spec, observed_rows, spread

CODE = "duplicate clusters"
SUBJECT = "clusters"
SOURCE = "Bhattacharyya (1943); 0.1 means that two densities overlap by 90% (exp(−distance))"
CAUTION = 0.1
#: Draws, and rows where predictors are no features, on which distances are computed.
_MOST_DRAWS, _MOST_ROWS = 200, 200
#: Variances of a linked response below this are rounding.
_LEAST_VARIANCE = 1e-12
#: Overlaps below this are nothing.
_LEAST_OVERLAP = 1e-300


def bhattacharyya(shift: np.ndarray, first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Bhattacharyya distance of two Gaussians, averaged over the rows of ``shift``.

    Δ'S⁻¹Δ/8 + log(det S / √(det S₁ det S₂))/2 with S = (S₁ + S₂)/2.

    Parameters
    ----------
    shift
        Differences of the means, (..., rows, D).
    first, second
        Covariances, (..., D, D).

    Returns
    -------
    numpy.ndarray
        Shape (...).
    """
    pooled = (first + second) / 2
    # On the scale of correlations, units of 1e6 beside 1e-6 leave the solution accurate.
    scale = np.sqrt(np.diagonal(pooled, axis1=-2, axis2=-1))
    outer = scale[..., :, None] * scale[..., None, :]
    pooled, first, second = (matrix / outer for matrix in (pooled, first, second))
    scaled = shift / scale[..., None, :]
    factors = [lower_factor(matrix) for matrix in (pooled, first, second)]
    white = scaled @ np.swapaxes(inverse_lower(factors[0]), -1, -2)
    quadratic = (white**2).sum(axis=-1).mean(axis=-1)
    diagonals = [np.diagonal(factor, axis1=-2, axis2=-1) for factor in factors]
    log_dets = [2 * np.log(diagonal).sum(axis=-1) for diagonal in diagonals]
    return np.asarray(quadratic / 8 + (log_dets[0] - (log_dets[1] + log_dets[2]) / 2) / 2)


def cluster_distances(tree: xr.DataTree) -> dict[tuple[int, int], np.ndarray]:
    """Distance of each pair of clusters in each of at most 200 evenly spaced draws, (draw,).

    Of Gaussians with the clusters' moments of (x, y), given predictors that are no features at at
    most 200 evenly spaced rows; of a linked response with those of y at the rows' predictors. Of
    features that are not Gaussian see `jointmix.checks.sampled`.
    """
    spec = fitted_spec(tree)
    if spec.feature_family != numeric_families()[0]:
        rows = observed_rows(tree, spec)
        rows = rows.take(spread(len(rows.y), _MOST_ROWS))
        with np.errstate(over="ignore", invalid="ignore"):
            sampled = sampled_distances(_kept(tree, spec), rows, spec)
        return {pair: own + _discrete(tree, spec, *pair) for pair, own in sampled.items()}
    # Draws of a lost chain can be too large to be squared: their distances are not finite.
    with np.errstate(over="ignore", invalid="ignore"):
        mean, covariance = _gaussians(tree, spec)
        found = {
            (one, other): bhattacharyya(
                mean[:, :, one] - mean[:, :, other], covariance[:, one], covariance[:, other]
            )
            for one, other in combinations(range(spec.n_clusters), 2)
        }
        # Features are independent inside clusters: distances of a product add up.
        found = {pair: distance + _discrete(tree, spec, *pair) for pair, distance in found.items()}
        if not spec.linked:
            return found
        level, variance = _responses(tree, spec)
        shift, square = level[..., None], variance[..., None, None]
        return {
            (one, other): distance
            + bhattacharyya(
                shift[:, :, one, None] - shift[:, :, other, None],
                square[:, :, one], square[:, :, other],
            ).mean(axis=1)
            for (one, other), distance in found.items()
        }  # fmt: skip


def _kept(tree: xr.DataTree, spec: ModelSpec) -> Parameters:
    """The draws on which distances are computed."""
    parameters = draw_parameters(require_group(tree, "posterior"), CLUSTER, spec)
    return parameters.take(spread(len(parameters.weight), _MOST_DRAWS))


def _discrete(tree: xr.DataTree, spec: ModelSpec, one: int, other: int) -> np.ndarray | float:
    """Distances (draw,) of the discrete features' distributions in two clusters."""
    if not spec.discrete:
        return 0.0
    kept = _kept(tree, spec)
    total = np.zeros(len(kept.weight))
    for block in spec.blocks:
        if isinstance(block, Feature):
            total -= np.log(np.maximum(block.overlap(kept, one, other), _LEAST_OVERLAP))
    return total


def _gaussians(tree: xr.DataTree, spec: ModelSpec) -> tuple[np.ndarray, np.ndarray]:
    """Means (draw, row, cluster, D) and covariances (draw, cluster, D, D) of (x, y)."""
    rows, kept = observed_rows(tree, spec), _kept(tree, spec)
    outside = np.where([name in spec.features for name in spec.predictors], 0.0, rows.u)
    held = outside[spread(len(outside), _MOST_ROWS)] if outside.any() else outside[:1]
    moments = cluster_moments(spec.blocks, kept, Outside(held, np.zeros((held.shape[1],) * 2)))
    return moments.mean, moments.covariance


def _responses(tree: xr.DataTree, spec: ModelSpec) -> tuple[np.ndarray, np.ndarray]:
    """Means and variances (draw, row, cluster) of a linked response at at most 200 rows."""
    rows = observed_rows(tree, spec)
    rows = rows.take(spread(len(rows.y), _MOST_ROWS))
    kept = _kept(tree, spec)
    block = spec.predicted
    mean = block.mean(kept, rows)
    variance = np.broadcast_to(block.variance(kept, rows), mean.shape)
    return mean, np.maximum(variance, _LEAST_VARIANCE)


def check(tree: xr.DataTree) -> tuple[Finding, ...]:
    """Judge the two clusters whose distance is smallest in the median draw."""
    labels = require_group(tree, "posterior")[CLUSTER].values
    if labels.size == 1:
        return (skipped(CODE, SUBJECT, "there is one cluster only", SOURCE),)
    try:
        distances = cluster_distances(tree)
    except SpecError as error:
        return (skipped(CODE, SUBJECT, str(error).rstrip("."), SOURCE),)
    finite = {pair: values[np.isfinite(values)] for pair, values in distances.items()}
    medians = {pair: float(np.median(values)) for pair, values in finite.items() if values.size}
    if not medians:
        return (skipped(CODE, SUBJECT, "covariances of the draws leave float64", SOURCE),)
    first, second = min(medians, key=medians.__getitem__)
    value = medians[first, second]
    close = float((finite[first, second] < CAUTION).mean())
    status: Status = "caution" if value < CAUTION else "ok"
    return (
        Finding(
            code=CODE,
            subject=SUBJECT,
            status=status,
            value=value,
            threshold=CAUTION,
            message=f"The closest clusters, {labels[first]} and {labels[second]}, are at a "
            f"Bhattacharyya distance of {fixed(value, 2, CAUTION)} in the median draw (overlap "
            f"{percent(float(np.exp(-value)), 0)}), and below {CAUTION} in {percent(close, 0)} of "
            "the draws.",
            remedy=""
            if status == "ok"
            else "Fit with fewer clusters: these two describe one group.",
            source=SOURCE,
        ),
    )
