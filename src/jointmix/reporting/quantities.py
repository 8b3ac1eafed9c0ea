"""Numbers behind the report's pictures and sentences, from draws and responsibilities."""

from dataclasses import dataclass
from itertools import combinations

import numpy as np
import xarray as xr

from jointmix.base.schema import (
    CHAIN,
    CLUSTER,
    DRAW,
    FEATURE,
    OBS,
    PREDICTOR,
)
from jointmix.checks.duplicates import bhattacharyya
from jointmix.families.matrices import lower_factor
from jointmix.reporting.fitted import INTERVAL, FittedView

SHARP = 0.9
_GRID = 25


def entropy_bits(responsibility: xr.DataArray) -> xr.DataArray:
    """Entropy of each row's responsibilities, −Σ_k r_k log₂ r_k, in bits, [obs]."""
    safe = responsibility.where(responsibility > 0, 1.0)
    return -(safe * np.log2(safe)).sum(CLUSTER)


def sharp_share(view: FittedView, responsibility: xr.DataArray) -> float:
    """Share of rows whose largest responsibility exceeds 0.9."""
    return view.average(responsibility.max(CLUSTER) > SHARP)


def thinned(n: int, limit: int) -> np.ndarray:
    """Positions of at most ``limit`` of ``n`` rows: always the same rows for the same n."""
    if n <= limit:
        return np.arange(n)
    # A regular step could fall in with a pattern in the table's order.
    return np.sort(np.random.default_rng(0).choice(n, limit, replace=False))


def separating_pair(view: FittedView) -> tuple[int, int]:
    """The two features whose clusters, of those that hold rows, overlap least.

    Overlap of two clusters is exp(−Bhattacharyya distance), averaged over pairs of clusters.
    """
    mean, covariance = view.point["mean"].values, feature_covariance(view)
    clusters = list(combinations(view.occupied, 2))

    def separation(pair: tuple[int, int]) -> float:
        at, block = list(pair), np.ix_(pair, pair)
        return sum(
            1 - float(np.exp(-bhattacharyya(mean[[a]][:, at] - mean[[b]][:, at],
                                      covariance[a][block], covariance[b][block])))
            for a, b in clusters
        )  # fmt: skip

    return max(combinations(range(mean.shape[1]), 2), key=separation)


def feature_covariance(view: FittedView) -> np.ndarray:
    """Covariance at the posterior mean of sd and correlation, (cluster, feature, feature)."""
    sd = view.point["sd"].transpose(CLUSTER, FEATURE).values
    return view.point["correlation"].values * sd[:, :, None] * sd[:, None, :]


def ellipse(mean: np.ndarray, covariance: np.ndarray, probability: float) -> np.ndarray:
    """Outline of a bivariate Gaussian's central region, (points, 2)."""
    angle = np.linspace(0, 2 * np.pi, 73)
    radius = np.sqrt(-2 * np.log1p(-probability))
    circle = np.stack([np.cos(angle), np.sin(angle)], axis=1)
    return mean + radius * circle @ lower_factor(covariance).T


@dataclass(frozen=True, kw_only=True)
class Line:
    """One cluster's regression along one predictor, and its band, (points)."""

    at: np.ndarray
    mean: np.ndarray
    lower: np.ndarray
    upper: np.ndarray


def predictor_centers(view: FittedView) -> np.ndarray:
    """Mean of each predictor in each cluster, by responsibility, (cluster, predictor)."""
    share = view.allocation["responsibility"].transpose(OBS, CLUSTER).values
    u = np.stack([view.columns[name] for name in view.predictors], axis=1)
    share = view.rows.weighted(share)
    total = share.sum(axis=0)[:, None]
    center = np.average(u, axis=0, weights=view.rows.weight)
    # A cluster that no row belongs to is drawn at the centre of all rows.
    return np.where(total > 0, share.T @ u / np.maximum(total, 1e-300), center)


def regression_line(view: FittedView, cluster: int, predictor: int) -> Line:
    """The response along one predictor, the others and any offset held at the cluster's mean.

    It spans the central 95% of the rows allocated to the cluster.
    """
    draws = view.posterior.isel({CLUSTER: cluster}).stack(sample=(CHAIN, DRAW))
    slope = draws["slope"].transpose("sample", PREDICTOR).values
    level = draws["intercept"].values if "intercept" in draws else np.zeros(slope.shape[0])
    centers = predictor_centers(view)[cluster].copy()
    centers[predictor] = 0.0
    column = view.columns[view.predictors[predictor]]
    rows = view.allocation["allocation"].values == view.clusters[cluster]
    low, high = np.quantile(column[rows] if rows.any() else column, [0.025, 0.975])
    at = np.linspace(low, high, _GRID)
    lines = (level + slope @ centers)[:, None] + slope[:, [predictor]] * at
    if view.offset is not None:
        offset = view.columns[view.offset]
        held = rows if rows.any() else np.ones_like(rows)
        lines = lines + np.average(offset[held], weights=view.rows.weights[held])
    lines = view.line_words.expected(lines)
    lower, upper = np.quantile(lines, [(1 - INTERVAL) / 2, (1 + INTERVAL) / 2], axis=0)
    return Line(at=at, mean=lines.mean(axis=0), lower=lower, upper=upper)
