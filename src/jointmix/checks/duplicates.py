"""Are two clusters the same? Bhattacharyya distance between their distributions of (x, y)."""

from dataclasses import dataclass
from itertools import combinations

import numpy as np
import xarray as xr

from jointmix.checks.finding import Finding, Status, counted, skipped
from jointmix.schema import (
    CHAIN,
    CLUSTER,
    DRAW,
    FEATURE,
    FEATURE_BIS,
    OBS,
    PREDICTOR,
    require_group,
)

CODE = "duplicate clusters"
SUBJECT = "clusters"
SOURCE = "Bhattacharyya (1943); 0.1 means that two densities overlap by 90% (exp(−distance))"
CAUTION = 0.1


def bhattacharyya(shift: np.ndarray, first: np.ndarray, second: np.ndarray) -> float:
    """Bhattacharyya distance of two Gaussians, averaged over the rows of ``shift``.

    Δ'S⁻¹Δ/8 + log(det S / √(det S₁ det S₂))/2 with S = (S₁ + S₂)/2.

    Parameters
    ----------
    shift
        Differences of the means, (rows, D).
    first, second
        Covariances, (D, D).
    """
    pooled = (first + second) / 2
    # On the scale of correlations, units of 1e6 beside 1e-6 leave the solution accurate.
    scale = np.sqrt(np.diag(pooled))
    pooled, first, second = (m / np.outer(scale, scale) for m in (pooled, first, second))
    scaled = shift / scale
    quadratic = (scaled * np.linalg.solve(pooled, scaled.T).T).sum(axis=1).mean()
    log_dets = [np.linalg.slogdet(matrix)[1] for matrix in (pooled, first, second)]
    return float(quadratic / 8 + (log_dets[0] - (log_dets[1] + log_dets[2]) / 2) / 2)


@dataclass(frozen=True, kw_only=True)
class JointGaussians:
    """Each cluster's Gaussian of (x, y) at the posterior mean, given predictors outside x.

    Parameters
    ----------
    mean
        (rows, cluster, D + 1): the mean given each row's predictors outside x; one row
        where there are none.
    covariance
        (cluster, D + 1, D + 1).
    """

    mean: np.ndarray
    covariance: np.ndarray

    def distance(self, first: int, second: int) -> float:
        """Bhattacharyya distance between two clusters, averaged over rows."""
        return bhattacharyya(
            self.mean[:, first] - self.mean[:, second],
            self.covariance[first],
            self.covariance[second],
        )


def joint_gaussians(tree: xr.DataTree) -> JointGaussians:
    """Each cluster's Gaussian of the features, and of the response where there is one."""
    point = require_group(tree, "posterior").mean((CHAIN, DRAW))
    n_clusters = point.sizes[CLUSTER]
    mean, covariance = np.zeros((n_clusters, 0)), np.zeros((n_clusters, 0, 0))
    features: list[str] = []
    if "mean" in point:
        features = point[FEATURE].values.tolist()
        mean = point["mean"].transpose(CLUSTER, FEATURE).values
        sd = point["sd"].transpose(CLUSTER, FEATURE).values
        correlation = point["correlation"].transpose(CLUSTER, FEATURE, FEATURE_BIS).values
        covariance = correlation * sd[:, :, None] * sd[:, None, :]
    if "sigma" not in point:
        return JointGaussians(mean=mean[None], covariance=covariance)
    return _with_response(tree, point, features, mean, covariance)


def _with_response(
    tree: xr.DataTree,
    point: xr.Dataset,
    features: list[str],
    mean: np.ndarray,
    covariance: np.ndarray,
) -> JointGaussians:
    inside = np.zeros((point.sizes[CLUSTER], len(features)))
    given = np.zeros((1, point.sizes[CLUSTER]))
    if "intercept" in point:
        given = given + point["intercept"].values
    for name in point[PREDICTOR].values.tolist() if "slope" in point else ():
        slope = point["slope"].sel({PREDICTOR: name}).values
        if name in features:
            inside[:, features.index(name)] = slope
        else:
            u = tree["constant_data"]["u"].sel({PREDICTOR: name}).transpose(OBS).values
            given = given + u[:, None] * slope
    response = given + (inside * mean).sum(axis=1)
    cross = np.einsum("kij,kj->ki", covariance, inside)
    variance = (cross * inside).sum(axis=1) + point["sigma"].values ** 2
    column, row = cross[:, :, None], cross[:, None, :]
    joint = np.block([[covariance, column], [row, variance[:, None, None]]])
    repeated = np.broadcast_to(mean, (response.shape[0], *mean.shape))
    return JointGaussians(
        mean=np.concatenate([repeated, response[:, :, None]], axis=2), covariance=joint
    )


def check(tree: xr.DataTree) -> tuple[Finding, ...]:
    """Judge the smallest distance between two clusters at the posterior mean."""
    labels = require_group(tree, "posterior")[CLUSTER].values
    if labels.size == 1:
        return (skipped(CODE, SUBJECT, "there is one cluster only", SOURCE),)
    gaussians = joint_gaussians(tree)
    distances = {pair: gaussians.distance(*pair) for pair in combinations(range(labels.size), 2)}
    first, second = min(distances, key=distances.__getitem__)
    value = distances[first, second]
    status: Status = "caution" if value < CAUTION else "ok"
    return (
        Finding(
            code=CODE,
            subject=SUBJECT,
            status=status,
            value=value,
            threshold=CAUTION,
            message=f"The closest clusters, {labels[first]} and {labels[second]}, are at a "
            f"Bhattacharyya distance of {value:.2f} (overlap {np.exp(-value):.0%}).",
            remedy="" if status == "ok" else f"Fit with {counted(labels.size - 1, 'cluster')}.",
            source=SOURCE,
        ),
    )
