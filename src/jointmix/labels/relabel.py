"""Relabelling: from draws to permutations that give each cluster the same label in every draw.

Each function returns permutations (draw, cluster): entry k is the component that becomes
cluster k. Allocations and responsibilities may be any array that has a shape and gives a block
of draws when sliced (``values[first:last]``): a NumPy array, a memory map, a Zarr or HDF5 array.
They are read a bounded number of draws at a time.
"""

from collections.abc import Callable, Iterator
from typing import Protocol

import numpy as np

from jointmix.base.errors import SchemaError
from jointmix.labels.assignment import assign, inverse, permute

#: Numbers worked on at a time: 8 MB an array.
_BATCH_NUMBERS = 1_000_000
#: Draws tried as the first pivot, and draws on which they are compared.
_CANDIDATES, _COMPARED = 8, 200
_MOST_ITERATIONS = 100
#: Responsibilities are kept this far from 0 and 1, as logarithms of them are taken.
_LEAST_PROBABILITY = 1e-6


class Draws(Protocol):
    """An array over draws that is read by blocks: ``values[first:last]``."""

    @property
    def shape(self) -> tuple[int, ...]: ...

    def __getitem__(self, key: slice, /) -> np.ndarray: ...


def ecr(
    allocations: Draws,
    pivot: np.ndarray,
    n_clusters: int | None = None,
    weight: np.ndarray | None = None,
) -> np.ndarray:
    """Equivalence classes representatives: the permutation that agrees most with a pivot.

    Papastamoulis and Iliopoulos (2010), doi:10.1198/jcgs.2010.09008; each draw is one assignment
    problem.

    Parameters
    ----------
    allocations
        Component of each row, shape (draw, obs), whole numbers from 0 to K − 1.
    pivot
        Cluster of each row, shape (obs,), whole numbers from 0 to K − 1.
    n_clusters
        K; by default the largest label plus one.
    weight
        How often each row counts, shape (obs,); None for once each.

    Returns
    -------
    numpy.ndarray
        Shape (draw, cluster).

    Raises
    ------
    SchemaError
        If the rows differ in number, or a label is not a whole number from 0 to K − 1.
    """
    pivot = np.asarray(pivot)
    if len(allocations.shape) != 2 or allocations.shape[1:] != pivot.shape or not pivot.size:
        raise SchemaError(
            "ecr needs allocations (draw, obs) and a pivot (obs); got shapes "
            f"{allocations.shape} and {pivot.shape}."
        )
    k = _number_of_labels("ecr", allocations, pivot, n_clusters)
    return assign(cross_counts(allocations, pivot, k, weight))


def ecr_iterative(
    allocations: Draws,
    responsibilities: Draws | None = None,
    n_clusters: int | None = None,
    start: np.ndarray | None = None,
    weight: np.ndarray | None = None,
) -> np.ndarray:
    """ECR whose pivot is re-estimated from the relabelled draws until nothing changes.

    Version 1 of Papastamoulis and Iliopoulos (2010) and Rodriguez and Walker (2014),
    doi:10.1080/10618600.2012.735624: the pivot is each row's most frequent cluster. With
    responsibilities, version 2: each row's most probable cluster on average over the draws.

    Parameters
    ----------
    allocations
        Component of each row, shape (draw, obs), whole numbers from 0 to K − 1.
    responsibilities
        p(k | row) in each draw, shape (draw, obs, component); version 2 is used if given.
    n_clusters
        K; by default the largest label plus one, or the number of components.
    start
        Permutations (draw, cluster) to start from; by default those that ECR finds with the best
        of several draws as its pivot.
    weight
        As for `ecr`.

    Returns
    -------
    numpy.ndarray
        Shape (draw, cluster).

    Raises
    ------
    SchemaError
        If shapes disagree, or a label is not a whole number from 0 to K − 1.
    """
    if len(allocations.shape) != 2 or not all(allocations.shape):
        raise SchemaError(
            f"ecr_iterative needs allocations (draw, obs); got shape {allocations.shape}."
        )
    if responsibilities is not None:
        _require_responsibilities("ecr_iterative", responsibilities)
        if responsibilities.shape[:2] != allocations.shape:
            raise SchemaError(
                "ecr_iterative needs responsibilities of the same draws and rows as the "
                f"allocations; got shapes {responsibilities.shape} and {allocations.shape}."
            )
        n_clusters = n_clusters or responsibilities.shape[2]
    k = _number_of_labels("ecr_iterative", allocations, np.zeros(1, dtype=int), n_clusters)
    first = _start(start, allocations.shape[0], k)
    if first is None:
        pivot = _best_pivot(allocations, k, weight)
        first = assign(cross_counts(allocations, pivot, k, weight))

    def improve(permutation: np.ndarray) -> tuple[np.ndarray, float]:
        if responsibilities is None:
            pivot = _votes(allocations, permutation, k).argmax(axis=0)
        else:
            pivot = _mean_responsibility(responsibilities, permutation).argmax(axis=-1)
        counts = cross_counts(allocations, pivot, k, weight)
        better = assign(counts)
        return better, float(_total(counts, better))

    return _until_settled(improve, first)


def stephens(
    responsibilities: Draws, start: np.ndarray | None = None, weight: np.ndarray | None = None
) -> np.ndarray:
    """Relabelling that brings each draw's responsibilities nearest to their mean.

    Minimises Σ_draws KL(p_draw ‖ q) over the permutations, with q the mean of the permuted
    responsibilities, in turn until a fixed point: algorithm 2 of Stephens (2000),
    doi:10.1111/1467-9868.00265.

    Parameters
    ----------
    responsibilities
        p(k | row) in each draw, shape (draw, obs, component).
    start
        Permutations (draw, cluster) to start from; by default those that match the
        responsibilities of the best of several draws.
    weight
        As for `ecr`.

    Returns
    -------
    numpy.ndarray
        Shape (draw, cluster).

    Raises
    ------
    SchemaError
        If the shapes are others, or the responsibilities of a row do not sum to one.
    """
    _require_responsibilities("stephens", responsibilities)
    n_draws, _, k = responsibilities.shape
    first = _start(start, n_draws, k)
    if first is None:
        target = _best_responsibility(responsibilities, weight)
        first = assign(_overlaps(responsibilities, target, weight))

    def improve(permutation: np.ndarray) -> tuple[np.ndarray, float]:
        closeness = kl_agreement(
            responsibilities, _mean_responsibility(responsibilities, permutation), weight
        )
        better = assign(closeness)
        return better, _total(closeness, better)

    return _until_settled(improve, first)


def pivotal(
    parameters: np.ndarray, pivot: np.ndarray, scale: np.ndarray | float | None = None
) -> np.ndarray:
    """Pivotal reordering: the permutation whose parameters lie nearest to a pivot's.

    Marin, Mengersen and Robert (2005), doi:10.1016/S0169-7161(05)25016-2; solved as an assignment
    problem.

    Parameters
    ----------
    parameters
        Shape (draw, component, parameter).
    pivot
        Shape (cluster, parameter), such as the draw with the highest posterior density.
    scale
        What each parameter is divided by, shape (parameter,), or 1 to take them as they are; by
        default their standard deviation over all draws and components, so that units do not
        matter.

    Returns
    -------
    numpy.ndarray
        Shape (draw, cluster).

    Raises
    ------
    SchemaError
        If the shapes disagree, or a value is not finite.
    """
    parameters, pivot = np.asarray(parameters, dtype=float), np.asarray(pivot, dtype=float)
    if parameters.ndim != 3 or parameters.shape[1:] != pivot.shape or not pivot.size:
        raise SchemaError(
            "pivotal needs parameters (draw, component, parameter) and a pivot (cluster, "
            f"parameter); got shapes {parameters.shape} and {pivot.shape}."
        )
    if not (np.isfinite(parameters).all() and np.isfinite(pivot).all()):
        raise SchemaError("pivotal needs finite parameters; some are NaN or infinite.")
    unit = parameters.std(axis=(0, 1)) if scale is None else np.asarray(scale, dtype=float)
    # A parameter that never varies says nothing about labels.
    unit = np.where(unit == 0, 1.0, unit)
    center = parameters.mean(axis=(0, 1))
    # The squared norms do not depend on the permutation: the inner products decide.
    scaled = (parameters - center) / unit
    return assign(np.einsum("kp,mjp->mkj", (pivot - center) / unit, scaled))


def kl_agreement(
    responsibilities: Draws, target: np.ndarray, weight: np.ndarray | None = None
) -> np.ndarray:
    """Σ_n w_n p_nj log q_nk of each draw, (draw, cluster, component).

    Its largest total over a permutation is the smallest Kullback-Leibler divergence from q.
    """
    n_draws, _, k = responsibilities.shape
    log_target = np.log(_smoothed(target)).T
    log_target = log_target if weight is None else log_target * weight
    result = np.empty((n_draws, k, k))
    for part, block in _blocks(responsibilities):
        result[part] = log_target @ _smoothed(block)
    return result


def _blocks(values: Draws) -> Iterator[tuple[slice, np.ndarray]]:
    n_draws, *rest = values.shape
    size = max(1, _BATCH_NUMBERS // max(1, int(np.prod(rest))))
    for first in range(0, n_draws, size):
        part = slice(first, min(first + size, n_draws))
        yield part, np.asarray(values[part])


def _number_of_labels(
    name: str, allocations: Draws, pivot: np.ndarray, n_clusters: int | None
) -> int:
    """K, after a look at all labels."""
    low, high = int(pivot.min()), int(pivot.max())
    for _, block in _blocks(allocations):
        if not np.issubdtype(block.dtype, np.integer) and not np.array_equal(block, block // 1):
            raise SchemaError(f"{name} needs whole numbers as labels; got {block.dtype}.")
        low, high = min(low, int(block.min())), max(high, int(block.max()))
    k = high + 1 if n_clusters is None else n_clusters
    if low < 0 or high >= k or not np.array_equal(pivot, pivot // 1):
        raise SchemaError(f"{name} needs labels from 0 to {k - 1}; got {low} to {high}.")
    return k


def _require_responsibilities(name: str, values: Draws) -> None:
    if len(values.shape) != 3 or not all(values.shape):
        raise SchemaError(
            f"{name} needs responsibilities (draw, obs, component); got shape {values.shape}."
        )
    first = np.asarray(values[0:1])
    # Single precision and rounded output are welcome; counts and log probabilities are not.
    if (first < 0).any() or not np.allclose(first.sum(axis=-1), 1, rtol=0, atol=1e-3):
        raise SchemaError(f"{name} needs responsibilities that are >= 0 and sum to 1 in each row.")


def _start(start: np.ndarray | None, n_draws: int, k: int) -> np.ndarray | None:
    if start is None:
        return None
    start = np.asarray(start)
    if start.shape != (n_draws, k) or not (np.sort(start, axis=1) == np.arange(k)).all():
        raise SchemaError(
            f"start must hold a permutation of 0 to {k - 1} for each of the {n_draws} draws; "
            f"got shape {start.shape}."
        )
    return start


def _until_settled(
    improve: Callable[[np.ndarray], tuple[np.ndarray, float]], permutation: np.ndarray
) -> np.ndarray:
    """Repeat a step that cannot lower the agreement until it no longer raises it."""
    best = -np.inf
    for _ in range(_MOST_ITERATIONS):
        better, agreement = improve(permutation)
        # Rounding alone may move the sum of many logarithms.
        if agreement <= best + 1e-12 * abs(best):
            break
        settled = np.array_equal(better, permutation)
        permutation, best = better, agreement
        if settled:
            break
    return permutation


def _total(agreement: np.ndarray, permutation: np.ndarray) -> float:
    return float(np.take_along_axis(agreement, permutation[..., None], axis=-1).sum())


def cross_counts(
    allocations: Draws, pivot: np.ndarray, k: int, weight: np.ndarray | None
) -> np.ndarray:
    """Rows that lie in each cluster of the pivot and component of a draw, (draw, k, k)."""
    place = np.asarray(pivot, dtype=np.int64) * k
    kind = np.int64 if weight is None else np.float64
    result = np.empty((allocations.shape[0], k, k), dtype=kind)
    for part, block in _blocks(allocations):
        for draw, labels in zip(range(part.start, part.stop), block, strict=True):
            cell = place + labels.astype(np.int64, copy=False)
            result[draw] = np.bincount(cell, weight, k * k).reshape(k, k)
    return result


def _votes(allocations: Draws, permutation: np.ndarray, k: int) -> np.ndarray:
    """Draws that put each row in each cluster, (cluster, obs)."""
    cluster = inverse(permutation).astype(np.int8 if k < 128 else np.int64)
    votes = np.zeros((k, allocations.shape[1]), dtype=np.int64)
    for part, block in _blocks(allocations):
        for own, labels in zip(cluster[part], block, strict=True):
            relabelled = own[labels.astype(np.int64, copy=False)]
            for index in range(k):
                votes[index] += relabelled == index
    return votes


def _mean_responsibility(responsibilities: Draws, permutation: np.ndarray) -> np.ndarray:
    """Mean over draws of the permuted responsibilities, (obs, cluster)."""
    n_draws, n_rows, k = responsibilities.shape
    total = np.zeros((n_rows, k))
    for part, block in _blocks(responsibilities):
        total += permute(block.swapaxes(1, 2), permutation[part]).sum(axis=0).T
    return total / n_draws


def _overlaps(responsibilities: Draws, target: np.ndarray, weight: np.ndarray | None) -> np.ndarray:
    """Σ_n w_n q_nk p_nj, the rows expected in cluster k and component j, (draw, k, k)."""
    counts = target.T if weight is None else target.T * weight
    return np.concatenate([counts @ block for _, block in _blocks(responsibilities)])


def _smoothed(values: np.ndarray) -> np.ndarray:
    bounded = np.clip(values, _LEAST_PROBABILITY, 1 - _LEAST_PROBABILITY)
    return np.asarray(bounded / bounded.sum(axis=-1, keepdims=True))


def _spread(n_draws: int, count: int) -> list[int]:
    """Evenly spaced draws, at most ``count``."""
    return np.unique(np.linspace(0, n_draws - 1, min(count, n_draws)).astype(int)).tolist()


def _best_pivot(allocations: Draws, k: int, weight: np.ndarray | None) -> np.ndarray:
    """The allocations of that of a few draws with which many others agree most."""
    compared = _taken(allocations, _COMPARED)

    def agreement(pivot: np.ndarray) -> float:
        counts = cross_counts(compared, pivot, k, weight)
        return _total(counts, assign(counts))

    return max(_taken(allocations, _CANDIDATES).astype(np.int64), key=agreement)


def _best_responsibility(responsibilities: Draws, weight: np.ndarray | None) -> np.ndarray:
    """The responsibilities of that of a few draws with which many others overlap most."""
    compared = _taken(responsibilities, _COMPARED)

    def agreement(target: np.ndarray) -> float:
        overlaps = _overlaps(compared, target, weight)
        return _total(overlaps, assign(overlaps))

    return max(_taken(responsibilities, _CANDIDATES), key=agreement)


def _taken(values: Draws, count: int) -> np.ndarray:
    n_draws, *rest = values.shape
    most = max(_CANDIDATES, _BATCH_NUMBERS // max(1, int(np.prod(rest))))
    places = _spread(n_draws, min(count, most))
    return np.concatenate([np.asarray(values[place : place + 1]) for place in places])
