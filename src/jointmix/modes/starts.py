"""Hard allocations from which EM starts: partitions of the rows, and of the regression lines."""

import warnings

import numpy as np
from scipy.cluster.vq import kmeans2


def allocations(
    x: np.ndarray,
    u: np.ndarray,
    y: np.ndarray | None,
    n_clusters: int,
    n_starts: int,
    rng: np.random.Generator,
) -> np.ndarray:
    """Allocations for ``n_starts`` runs of EM, of several kinds in turn.

    k-means++ on all columns, on the features, nearest of randomly chosen rows, and nearest of
    randomly chosen regression planes, for lines that cross over equal features.

    Parameters
    ----------
    x, u
        Scaled features (N, D) and predictors (N, R).
    y
        Scaled response (N,), or None.
    n_clusters, n_starts
        Clusters and starts.
    rng
        Source of all randomness.

    Returns
    -------
    numpy.ndarray
        Shape (start, obs), values from 0 to K − 1.
    """
    columns = np.column_stack([x, u] if y is None else [x, u, y])
    columns = np.unique(columns, axis=1)
    kinds = ["rows", "columns"] + (["features"] if x.shape[1] else [])
    kinds = [*kinds, "planes"] if y is not None else kinds
    result = np.zeros((n_starts, len(columns)), dtype=int)
    if n_clusters == 1:
        return result
    for start in range(n_starts):
        kind = kinds[start % len(kinds)]
        if kind == "planes":
            assert y is not None
            result[start] = _nearest_plane(u, y, n_clusters, rng)
        elif kind == "rows":
            result[start] = _nearest_row(columns, n_clusters, rng)
        else:
            result[start] = _kmeans(x if kind == "features" else columns, n_clusters, rng)
    return result


def _kmeans(points: np.ndarray, n_clusters: int, rng: np.random.Generator) -> np.ndarray:
    if len(np.unique(points, axis=0)) < n_clusters:
        return _nearest_row(points, n_clusters, rng)
    with warnings.catch_warnings():
        # Points that are tied may leave a cluster empty: a start like any other.
        warnings.filterwarnings("ignore", "One of the clusters is empty", UserWarning)
        return kmeans2(points, n_clusters, iter=10, minit="++", missing="warn", rng=rng)[1]


def _nearest_row(points: np.ndarray, n_clusters: int, rng: np.random.Generator) -> np.ndarray:
    centre = points[rng.choice(len(points), n_clusters, replace=False)]
    return ((points[:, None, :] - centre) ** 2).sum(-1).argmin(1)


def _nearest_plane(
    u: np.ndarray, y: np.ndarray, n_clusters: int, rng: np.random.Generator
) -> np.ndarray:
    design = np.column_stack([np.ones(len(u)), u])
    size = min(len(u), design.shape[1] + 1)
    residual = np.empty((len(u), n_clusters))
    for k in range(n_clusters):
        rows = rng.choice(len(u), size, replace=False)
        coefficient = np.linalg.lstsq(design[rows], y[rows], rcond=None)[0]
        residual[:, k] = np.abs(y - design @ coefficient)
    return residual.argmin(1)
