"""Hard allocations from which EM starts: partitions of the rows, and of the regression lines."""

import warnings
from collections.abc import Iterator

import numpy as np
from scipy.cluster.vq import kmeans2

#: Directions in which points vary less than this, relative to the widest, are rounding.
_LEAST_VARIATION = 1e-7

#: Ways in which a cluster is split: each kind of start once.
_SPLITS = 6


def allocations(
    x: np.ndarray,
    u: np.ndarray,
    y: np.ndarray | None,
    n_clusters: int,
    n_starts: int,
    rng: np.random.Generator,
    weight: np.ndarray | None = None,
) -> np.ndarray:
    """Allocations for ``n_starts`` runs of EM, of several kinds in turn.

    Nearest of randomly chosen rows; k-means++ on all columns, on the features, and on all columns
    whitened by their overall covariance, for clusters that differ where the columns hardly vary;
    nearest of randomly chosen regression planes, for lines that cross over equal features; and
    allocations at random.

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
    weight
        Of the rows, (N,): they are chosen, and count, as often; None for one each.

    Returns
    -------
    numpy.ndarray
        Shape (start, obs), values from 0 to K − 1.
    """
    columns = np.column_stack([x, u] if y is None else [x, u, y])
    columns = np.unique(columns, axis=1)
    result = np.zeros((n_starts, len(columns)), dtype=int)
    if n_clusters == 1:
        return result
    whitened = _whitened(columns, weight)
    chance = None if weight is None else weight / weight.sum()
    kinds = [
        lambda: _nearest_row(columns, n_clusters, rng, chance),
        lambda: _kmeans(columns, n_clusters, rng, chance),
        *([lambda: _kmeans(x, n_clusters, rng, chance)] if x.shape[1] else []),
        *([lambda: _nearest_plane(u, y, n_clusters, rng, chance)] if y is not None else []),
        lambda: _kmeans(whitened, n_clusters, rng, chance),
        lambda: rng.integers(n_clusters, size=len(columns)),
    ]
    for start in range(n_starts):
        result[start] = kinds[start % len(kinds)]()
    return result


def moves(
    x: np.ndarray,
    u: np.ndarray,
    y: np.ndarray | None,
    share: np.ndarray,
    most: int,
    rng: np.random.Generator,
    weight: np.ndarray | None = None,
) -> np.ndarray:
    """Allocations in which one cluster is given up and another split in two.

    Parameters
    ----------
    x, u, y, weight
        As for `allocations`, by kinds of which clusters are split.
    share
        Responsibilities from which they depart, (cluster, obs).
    most
        How many are wanted at most; which ones is left to chance.

    Returns
    -------
    numpy.ndarray
        Shape (start, obs).
    """
    k, allocation = len(share), share.argmax(0)
    found = []
    for split, half in _halves(x, u, y, allocation, k, rng, weight):
        for given_up in range(k):
            if given_up == split:
                continue
            rest = np.delete(share, given_up, axis=0)
            places = np.delete(np.arange(k), given_up)
            moved = np.where(allocation == given_up, places[rest.argmax(0)], allocation)
            moved[half] = given_up
            found.append(moved)
    chosen = rng.permutation(len(found))[:most]
    return np.array([found[index] for index in np.sort(chosen)]).reshape(-1, share.shape[1])


def splits(
    x: np.ndarray,
    u: np.ndarray,
    y: np.ndarray | None,
    share: np.ndarray,
    rng: np.random.Generator,
    weight: np.ndarray | None = None,
) -> np.ndarray:
    """Responsibilities with one cluster more: each cluster split in two, in several ways.

    Parameters
    ----------
    x, u, y, share, weight
        As for `moves`.

    Returns
    -------
    numpy.ndarray
        Shape (start, cluster, obs), with K + 1 clusters.
    """
    k = len(share)
    found = []
    for split, half in _halves(x, u, y, share.argmax(0), k, rng, weight):
        more = np.concatenate([share, np.zeros((1, share.shape[1]))])
        more[k, half], more[split, half] = more[split, half], 0.0
        found.append(more)
    return np.array(found).reshape(-1, k + 1, share.shape[1])


def _halves(
    x: np.ndarray,
    u: np.ndarray,
    y: np.ndarray | None,
    allocation: np.ndarray,
    n_clusters: int,
    rng: np.random.Generator,
    weight: np.ndarray | None,
) -> Iterator[tuple[int, np.ndarray]]:
    """Clusters, and rows of theirs that are taken out, in each of several ways."""
    for cluster in range(n_clusters):
        inside = np.flatnonzero(allocation == cluster)
        if len(inside) < 4:
            continue
        own, counts = (None if each is None else each[inside] for each in (y, weight))
        for half in allocations(x[inside], u[inside], own, 2, _SPLITS, rng, counts):
            yield cluster, inside[half == 1]


def _whitened(points: np.ndarray, weight: np.ndarray | None) -> np.ndarray:
    """Points turned and scaled to unit covariance, along the directions in which they vary."""
    centred = points - np.average(points, axis=0, weights=weight)
    root = np.ones((1, 1)) if weight is None else np.sqrt(weight / weight.mean())[:, None]
    left, value, _ = np.linalg.svd(root * centred, full_matrices=False)
    kept = value > _LEAST_VARIATION * value.max(initial=0.0)
    return np.asarray(left[:, kept] * np.sqrt(len(points)) / root)


def _kmeans(
    points: np.ndarray, n_clusters: int, rng: np.random.Generator, chance: np.ndarray | None
) -> np.ndarray:
    if len(np.unique(points, axis=0)) < n_clusters:
        return _nearest_row(points, n_clusters, rng, chance)
    drawn = points
    if chance is not None:
        # As many points as there are, each as often as it counts.
        drawn = points[rng.choice(len(points), len(points), p=chance)]
    with warnings.catch_warnings():
        # Points that are tied may leave a cluster empty: a start like any other.
        warnings.filterwarnings("ignore", "One of the clusters is empty", UserWarning)
        centre, allocation = kmeans2(
            drawn, n_clusters, iter=10, minit="++", missing="warn", rng=rng
        )
    return allocation if chance is None else _nearest(points, centre)


def _nearest_row(
    points: np.ndarray, n_clusters: int, rng: np.random.Generator, chance: np.ndarray | None
) -> np.ndarray:
    return _nearest(points, points[rng.choice(len(points), n_clusters, replace=False, p=chance)])


def _nearest(points: np.ndarray, centre: np.ndarray) -> np.ndarray:
    return ((points[:, None, :] - centre) ** 2).sum(-1).argmin(1)


def _nearest_plane(
    u: np.ndarray,
    y: np.ndarray,
    n_clusters: int,
    rng: np.random.Generator,
    chance: np.ndarray | None,
) -> np.ndarray:
    design = np.column_stack([np.ones(len(u)), u])
    size = min(len(u), design.shape[1] + 1)
    residual = np.empty((len(u), n_clusters))
    for k in range(n_clusters):
        rows = rng.choice(len(u), size, replace=False, p=chance)
        coefficient = np.linalg.lstsq(design[rows], y[rows], rcond=None)[0]
        residual[:, k] = np.abs(y - design @ coefficient)
    return residual.argmin(1)
