"""Relabelling: from draws to permutations that give each cluster the same label in every draw.

Each function returns permutations (draw, cluster): entry k is the component that becomes
cluster k.
"""

import numpy as np
from scipy.optimize import linear_sum_assignment

from jointmix.errors import SchemaError


def ecr(allocations: np.ndarray, pivot: np.ndarray, n_clusters: int | None = None) -> np.ndarray:
    """Equivalence classes representatives: the permutation that agrees most with a pivot.

    Papastamoulis and Iliopoulos (2010); each draw is one assignment problem.

    Parameters
    ----------
    allocations
        Component of each row, shape (draw, obs), values from 0 to K − 1.
    pivot
        Cluster of each row, shape (obs,), values from 0 to K − 1.
    n_clusters
        K; by default the largest label plus one.

    Returns
    -------
    numpy.ndarray
        Shape (draw, cluster).

    Raises
    ------
    SchemaError
        If the rows differ in number, or a label lies outside 0 … K − 1.
    """
    allocations, pivot = np.asarray(allocations), np.asarray(pivot)
    if allocations.ndim != 2 or allocations.shape[1:] != pivot.shape:
        raise SchemaError(
            "ecr needs allocations (draw, obs) and a pivot (obs); got shapes "
            f"{allocations.shape} and {pivot.shape}."
        )
    k = int(max(allocations.max(), pivot.max())) + 1 if n_clusters is None else n_clusters
    if min(allocations.min(), pivot.min()) < 0 or max(allocations.max(), pivot.max()) >= k:
        raise SchemaError(f"ecr needs labels from 0 to {k - 1}.")
    together = np.stack(
        [np.bincount(pivot * k + draw, minlength=k * k).reshape(k, k) for draw in allocations]
    )
    return assign(together)


def assign(agreement: np.ndarray) -> np.ndarray:
    """The permutations with the largest total agreement.

    Parameters
    ----------
    agreement
        Shape (draw, cluster, component): how well the component fits the cluster.

    Returns
    -------
    numpy.ndarray
        Shape (draw, cluster).
    """
    k = agreement.shape[-1]
    result = agreement.argmax(axis=-1)
    # Where each cluster's favourite component is another one, it is the optimum already.
    unsettled = (np.sort(result, axis=1) != np.arange(k)).any(axis=1)
    for draw in np.flatnonzero(unsettled):
        result[draw] = linear_sum_assignment(agreement[draw], maximize=True)[1]
    return result


def order_by(values: np.ndarray) -> np.ndarray:
    """Permutations that make ``values`` (draw, component) increase over the clusters."""
    return np.argsort(values, axis=-1, kind="stable")


def switch_rate(permutations: np.ndarray) -> float:
    """Share of draws whose permutation, shape (draw, cluster), is not the commonest one."""
    _, counts = np.unique(permutations, axis=0, return_counts=True)
    return float(1 - counts.max() / len(permutations))


def permute(values: np.ndarray, permutations: np.ndarray) -> np.ndarray:
    """Reorder axis 1 of ``values`` (draw, component, ...) by permutations (draw, cluster)."""
    index = permutations.reshape(*permutations.shape, *[1] * (values.ndim - 2))
    return np.take_along_axis(values, index, axis=1)
