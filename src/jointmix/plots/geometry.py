"""Where clusters lie in a plane, and the lines along which their responses run."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from scipy.linalg import eigh

from jointmix.base.schema import CHAIN, CLUSTER, DRAW, FEATURE, PREDICTOR
from jointmix.checks.duplicates import bhattacharyya
from jointmix.families.matrices import lower_factor
from jointmix.plots.reading import INTERVAL, Reading

_GRID = 25
#: Between-cluster variance, in units of that within, below which a direction separates nothing.
_NOTHING = 1e-9


@dataclass(frozen=True, kw_only=True)
class Line:
    """One cluster's response along a column, and its band, (points)."""

    at: np.ndarray
    mean: np.ndarray
    lower: np.ndarray
    upper: np.ndarray


def separating_pair(view: Reading) -> tuple[int, int]:
    """The two features whose clusters, of those that hold rows, overlap least.

    Overlap of two clusters is exp(−Bhattacharyya distance), averaged over pairs of clusters.
    """
    return max(combinations(range(len(view.features)), 2), key=_separation(view))


def separating_features(view: Reading, most: int) -> list[int]:
    """At most so many features, in their order: those in which clusters, one by one, overlap least.

    Of one cluster that holds rows, those that are most correlated with another.
    """
    places = range(len(view.features))
    if len(view.occupied) > 1:
        apart = _separation(view)
        size = [apart((i,)) for i in places]
    else:
        correlation = view.point["correlation"].values[view.occupied[0]]
        size = np.abs(correlation - np.eye(len(correlation))).max(axis=1).tolist()
    return sorted(sorted(places, key=lambda i: -size[i])[:most])


def _separation(view: Reading) -> Callable[[tuple[int, ...]], float]:
    """How little the clusters that hold rows overlap in some features."""
    mean, covariance = view.point["mean"].values, feature_covariance(view)
    clusters = list(combinations(view.occupied, 2))

    def separation(features: tuple[int, ...]) -> float:
        at, block = list(features), np.ix_(features, features)
        return sum(
            1 - float(np.exp(-bhattacharyya(mean[[a]][:, at] - mean[[b]][:, at],
                                      covariance[a][block], covariance[b][block])))
            for a, b in clusters
        )  # fmt: skip

    return separation


def feature_covariance(view: Reading) -> np.ndarray:
    """Covariance at the posterior mean of sd and correlation, (cluster, feature, feature)."""
    sd = view.point["sd"].transpose(CLUSTER, FEATURE).values
    return view.point["correlation"].values * sd[:, :, None] * sd[:, None, :]


def discriminants(weight: np.ndarray, mean: np.ndarray, covariance: np.ndarray) -> np.ndarray:
    """The two directions (2, feature) along which clusters differ most.

    Fisher's: they maximise a'Ba / a'Wa with B the clusters' scatter about their common mean and
    W = Σ_k π_k Σ_k, so that W is the identity in the plane (Hastie, Tibshirani and Friedman 2009,
    section 4.3). Where two clusters leave the second open, it is the direction, W-orthogonal to
    the first, in which the clusters' covariances differ most, Σ_k π_k (Σ_k − W)² in W's units
    (Cook and Weisberg 1991).

    Parameters
    ----------
    weight, mean, covariance
        Of the clusters: (cluster,), (cluster, feature) and (cluster, feature, feature), with two
        features at least.
    """
    share = weight / weight.sum()
    within = np.einsum("k,kij->ij", share, covariance)
    apart = mean - share @ mean
    between = np.einsum("k,ki,kj->ij", share, apart, apart)
    size, directions = eigh(between, within)
    # Directions that separate nothing are taken by how much covariances differ along them.
    open_ = int((size <= _NOTHING * max(1.0, size[-1])).sum())
    white = directions[:, :open_].T @ covariance @ directions[:, :open_] - np.eye(open_)
    differ = np.einsum("k,kij,kjl->il", share, white, white)
    directions[:, :open_] = directions[:, :open_] @ np.linalg.eigh(differ)[1]
    first, second = directions[:, -1], directions[:, -2]
    found = np.stack([first, second])
    largest = np.abs(found).argmax(axis=1)
    return found * np.sign(found[np.arange(2), largest])[:, None]


def ellipse(mean: np.ndarray, covariance: np.ndarray, radius: float) -> np.ndarray:
    """Outline of a bivariate density's central region, so many scales wide, (points, 2)."""
    angle = np.linspace(0, 2 * np.pi, 73)
    circle = np.stack([np.cos(angle), np.sin(angle)], axis=1)
    return mean + radius * circle @ lower_factor(covariance).T


def span(view: Reading, cluster: int, column: np.ndarray, points: int) -> np.ndarray:
    """Points over the central 95% of a cluster's rows, of all rows where it has none."""
    known = ~np.isnan(column)
    own = known & (view.chosen == cluster)
    low, high = np.quantile(column[own if own.any() else known], [0.025, 0.975])
    return np.linspace(low, high, points)


def held_offset(view: Reading, cluster: int) -> float:
    """The offset's mean in the rows allocated to a cluster; 0 without an offset."""
    if view.offset is None:
        return 0.0
    own = view.chosen == cluster
    held = own if own.any() else np.ones_like(own)
    return float(np.average(view.columns[view.offset][held], weights=view.rows.weights[held]))


def response_line(view: Reading, cluster: int, design: np.ndarray, at: np.ndarray) -> Line:
    """The response's mean and its interval at rows of predictors, (point, predictor)."""
    draws = view.posterior.isel({CLUSTER: cluster}).stack(sample=(CHAIN, DRAW))
    slope = draws["slope"].transpose("sample", PREDICTOR).values
    level = draws["intercept"].values if "intercept" in draws else np.zeros(slope.shape[0])
    lines = level[:, None] + slope @ design.T + held_offset(view, cluster)
    lines = view.line_words.expected(lines)
    lower, upper = np.quantile(lines, [(1 - INTERVAL) / 2, (1 + INTERVAL) / 2], axis=0)
    return Line(at=at, mean=lines.mean(axis=0), lower=lower, upper=upper)


def regression_line(view: Reading, cluster: int, predictor: int) -> Line:
    """The response along one predictor, the others and any offset held at the cluster's mean.

    It spans the central 95% of the rows allocated to the cluster.
    """
    at = span(view, cluster, view.columns[view.predictors[predictor]], _GRID)
    design = np.tile(view.predictor_centers[cluster], (len(at), 1))
    design[:, predictor] = at
    return response_line(view, cluster, design, at)


def projected(view: Reading, directions: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Means (cluster, 2) and covariances (cluster, 2, 2) of the features along two directions."""
    mean, covariance = view.point["mean"].values, feature_covariance(view)
    return mean @ directions.T, directions @ covariance @ directions.T


def chosen_features(view: Reading, names: Sequence[str]) -> np.ndarray:
    """Two Gaussian features as directions (2, feature)."""
    return np.eye(len(view.features))[[view.features.index(name) for name in names]]
