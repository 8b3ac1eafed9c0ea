"""Leaps along the way that two steps of EM take, in coordinates without bounds.

Method: squared extrapolation with the third step length of Varadhan and Roland (2008,
doi:10.1111/j.1467-9469.2007.00585.x). Where clusters overlap, each step of EM takes a small part of
what is left, much in the direction of the last one: a leap takes many such steps at once.
"""

from collections.abc import Callable

import numpy as np

from jointmix.families.parameters import Parameters
from jointmix.model.spec import ModelSpec

#: Below it, numbers whose logarithm is a coordinate are taken to be it.
_LEAST = 1e-300


def leap(
    before: Parameters, middle: Parameters, after: Parameters, most: np.ndarray, spec: ModelSpec
) -> tuple[Parameters, np.ndarray]:
    """Where three successive parameters of each start lead, and how many steps long that is.

    Parameters
    ----------
    before, middle, after
        Of a batch of starts, on the standardised scale.
    most
        The longest leap, in steps, (start,).

    Returns
    -------
    tuple
        Parameters, and the lengths (start,): 1 leads to ``after`` itself.
    """
    first, second, third = (_coordinates(each, spec) for each in (before, middle, after))
    step = {name: second[name] - first[name] for name in first}
    bend = {name: third[name] - second[name] - step[name] for name in first}
    length = np.sqrt(_squared(step) / np.maximum(_squared(bend), _LEAST))
    length = np.clip(np.nan_to_num(length, nan=1.0), 1.0, most)
    found = {}
    for name, value in first.items():
        far = length.reshape(-1, *np.ones(value.ndim - 1, dtype=int))
        found[name] = value + 2 * far * step[name] + far**2 * bend[name]
    return _parameters(found, spec), length


def replaced(parameters: Parameters, places: np.ndarray, other: Parameters) -> Parameters:
    """The same, at some places of the batch those of another."""
    found = {name: value.copy() for name, value in parameters.items()}
    for name, value in found.items():
        value[places] = other[name][places]
    return Parameters(**found)


def _squared(values: dict[str, np.ndarray]) -> np.ndarray:
    """Sums of squares (start,)."""
    each = [(value**2).reshape(len(value), -1).sum(axis=1) for value in values.values()]
    return np.asarray(np.sum(each, axis=0))


def _coordinates(parameters: Parameters, spec: ModelSpec) -> dict[str, np.ndarray]:
    """Locations as they are, logs of the others; of factors of matrices those of the diagonal."""
    found = {}
    for name, value in parameters.items():
        own = spec.parameters.get(name)
        if own is None:
            found[name] = _on_diagonal(value, lambda at: np.log(np.maximum(at, _LEAST)))
        elif own.role == "location":
            found[name] = value
        else:
            found[name] = np.log(np.maximum(value, _LEAST))
    return found


def _parameters(coordinates: dict[str, np.ndarray], spec: ModelSpec) -> Parameters:
    """The inverse of `_coordinates`; weights and probabilities are made to sum to one."""
    found = {}
    for name, value in coordinates.items():
        own = spec.parameters.get(name)
        if own is None:
            found[name] = _on_diagonal(value, np.exp)
        elif own.role == "location":
            found[name] = value
        elif own.role in ("weight", "probability"):
            relative = np.exp(value - value.max(axis=-1, keepdims=True))
            found[name] = relative / relative.sum(axis=-1, keepdims=True)
        else:
            found[name] = np.exp(value)
    return Parameters(**found)


def _on_diagonal(matrices: np.ndarray, change: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
    found, places = matrices.copy(), np.arange(matrices.shape[-1])
    found[..., places, places] = change(matrices[..., places, places])
    return found
