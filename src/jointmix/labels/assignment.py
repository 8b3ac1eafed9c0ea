"""Permutations (draw, cluster): entry k is the component that becomes cluster k."""

import numpy as np
from scipy.optimize import linear_sum_assignment

from jointmix.base.errors import SchemaError


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
    """The permutations that make a variable increase over the clusters.

    Parameters
    ----------
    values
        Shape (draw, component).

    Returns
    -------
    numpy.ndarray
        Shape (draw, cluster); ties keep the components' order.

    Raises
    ------
    SchemaError
        If the values have another shape or are not all finite.
    """
    values = np.asarray(values)
    if values.ndim != 2 or not np.isfinite(values).all():
        raise SchemaError(
            "order_by needs finite values (draw, component); got shape "
            f"{values.shape} with {int((~np.isfinite(values)).sum())} entries not finite."
        )
    return np.argsort(values, axis=-1, kind="stable")


def permute(values: np.ndarray, permutations: np.ndarray) -> np.ndarray:
    """Reorder axis 1 of ``values`` (draw, component, ...) by permutations (draw, cluster)."""
    index = permutations.reshape(*permutations.shape, *[1] * (values.ndim - 2))
    return np.take_along_axis(values, index, axis=1)


def inverse(permutations: np.ndarray) -> np.ndarray:
    """The permutations (draw, component) that undo ``permutations`` (draw, cluster).

    Entry j is the cluster that component j became, so that ``permute`` with it gives back what
    was permuted, and ``inverse(p)[draw, z]`` relabels allocations z of a draw.
    """
    return np.argsort(permutations, axis=-1)


def switch_rate(permutations: np.ndarray) -> float:
    """Share of draws whose permutation, shape (draw, cluster), is not the commonest one."""
    _, counts = np.unique(permutations, axis=0, return_counts=True)
    return float(1 - counts.max() / len(permutations))
