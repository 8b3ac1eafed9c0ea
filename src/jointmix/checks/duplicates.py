"""Are two clusters the same? Bhattacharyya distance between their distributions of (x, y)."""

from itertools import combinations

import numpy as np
import xarray as xr

from jointmix.base.schema import (
    CHAIN,
    CLUSTER,
    DRAW,
    FEATURE,
    FEATURE_BIS,
    OBS,
    PREDICTOR,
    require_group,
)
from jointmix.checks.finding import Finding, Status, counted, skipped
from jointmix.families.matrices import inverse_lower, lower_factor
from jointmix.posterior.draws import spread

CODE = "duplicate clusters"
SUBJECT = "clusters"
SOURCE = "Bhattacharyya (1943); 0.1 means that two densities overlap by 90% (exp(−distance))"
CAUTION = 0.1
#: Draws, and rows where predictors are no features, on which distances are computed.
_MOST_DRAWS, _MOST_ROWS = 200, 200


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

    Of the clusters' Gaussians of (x, y), given predictors that are no features at at most 200
    evenly spaced rows.
    """
    posterior = require_group(tree, "posterior")
    # Draws of a lost chain can be too large to be squared: their distances are not finite.
    with np.errstate(over="ignore", invalid="ignore"):
        mean, covariance = _gaussians(tree, posterior)
        return {
            (one, other): bhattacharyya(
                mean[:, :, one] - mean[:, :, other], covariance[:, one], covariance[:, other]
            )
            for one, other in combinations(range(posterior.sizes[CLUSTER]), 2)
        }


def _gaussians(tree: xr.DataTree, draws: xr.Dataset) -> tuple[np.ndarray, np.ndarray]:
    """Means (draw, row, cluster, D) and covariances (draw, cluster, D, D) of (x, y)."""

    total = draws.sizes[CHAIN] * draws.sizes[DRAW]
    kept = spread(total, _MOST_DRAWS)

    def values(name: str, *dims: str) -> np.ndarray:
        array = draws[name].transpose(CHAIN, DRAW, CLUSTER, *dims).values
        return array.reshape(total, *array.shape[2:])[kept]

    size = (len(kept), draws.sizes[CLUSTER])
    mean, covariance = np.zeros((*size, 0)), np.zeros((*size, 0, 0))
    features: list[str] = []
    if "mean" in draws:
        features = draws[FEATURE].values.tolist()
        mean, sd = values("mean", FEATURE), values("sd", FEATURE)
        covariance = values("correlation", FEATURE, FEATURE_BIS)
        covariance = covariance * sd[..., :, None] * sd[..., None, :]
    if "sigma" not in draws:
        return mean[:, None], covariance
    inside, given = np.zeros((*size, len(features))), np.zeros((size[0], 1, size[1]))
    if "intercept" in draws:
        given = given + values("intercept")[:, None]
    for name in draws[PREDICTOR].values.tolist() if "slope" in draws else ():
        slope = values("slope", PREDICTOR)[..., draws[PREDICTOR].values.tolist().index(name)]
        if name in features:
            inside[..., features.index(name)] = slope
        else:
            u = tree["constant_data"]["u"].sel({PREDICTOR: name}).transpose(OBS).values
            rows = u[spread(len(u), _MOST_ROWS)]
            given = given + rows[None, :, None] * slope[:, None, :]
    response = given + (inside * mean).sum(axis=-1)[:, None]
    cross = np.einsum("mkij,mkj->mki", covariance, inside)
    variance = (cross * inside).sum(axis=-1) + values("sigma") ** 2
    joint = np.block(
        [[covariance, cross[..., None]], [cross[..., None, :], variance[..., None, None]]]
    )
    repeated = np.broadcast_to(mean[:, None], (*response.shape[:2], *mean.shape[1:]))
    return np.concatenate([repeated, response[..., None]], axis=-1), joint


def check(tree: xr.DataTree) -> tuple[Finding, ...]:
    """Judge the two clusters whose distance is smallest in the median draw."""
    labels = require_group(tree, "posterior")[CLUSTER].values
    if labels.size == 1:
        return (skipped(CODE, SUBJECT, "there is one cluster only", SOURCE),)
    distances = cluster_distances(tree)
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
            f"Bhattacharyya distance of {value:.2f} in the median draw (overlap "
            f"{np.exp(-value):.0%}), and below {CAUTION} in {close:.0%} of the draws.",
            remedy="" if status == "ok" else f"Fit with {counted(labels.size - 1, 'cluster')}.",
            source=SOURCE,
        ),
    )
