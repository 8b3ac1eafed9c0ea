"""Values of the model's free variables at given parameters."""

import numpy as np

from jointmix.families.matrices import lower_factor
from jointmix.families.parameters import Parameters
from jointmix.families.priors.priors import Dirichlet
from jointmix.kernel.problem import sampled_name
from jointmix.model.location import coordinates, location_values
from jointmix.model.spec import ModelSpec

_LEAST_WEIGHT, _LEAST_VARIANCE = 1e-3, 1e-6
#: Correlations are moved to where their log odds are finite.
_LARGEST_PARTIAL = 0.999999


def standard_locations(parameters: Parameters, spec: ModelSpec) -> np.ndarray:
    """ξ: the free locations in units of their priors' scales, (..., cluster, location)."""
    items = coordinates(spec)
    loc = np.array([item.prior.loc for item in items])
    scale = np.array([item.prior.scale for item in items])
    return np.asarray((location_values(parameters, spec) - loc) / scale)


def free_values(parameters: Parameters, spec: ModelSpec) -> dict[str, np.ndarray]:
    """The free variables at parameters without batch dims, on the model's scale.

    Weights, variances and correlations at the edge of what is possible are moved inside.

    Returns
    -------
    dict
        By the names of `kernel.problem.free_parameters`, in the shapes that the PyMC model gives
        them.
    """
    values: dict[str, np.ndarray] = {}
    if spec.n_clusters > 1 and isinstance(spec.priors.weight, Dirichlet):
        weight = np.maximum(parameters.weight, _LEAST_WEIGHT)
        values["weight"] = weight / weight.sum()
    if coordinates(spec):
        values["location"] = standard_locations(parameters, spec)
    for block in spec.blocks:
        variables = block.variables(parameters)
        for parameter in block.parameters:
            if not parameter.free or parameter.role == "location":
                continue
            own = variables[parameter.name]
            if parameter.role == "probability":
                inside = np.maximum(own, _LEAST_WEIGHT)
                values[parameter.name] = inside / inside.sum(-1, keepdims=True)
                continue
            if parameter.role == "correlation":
                values[parameter.site] = _partial(own[: parameter.free[0]])
                continue
            own = own[tuple(slice(size) for size in parameter.free)]
            name = sampled_name(parameter)
            if parameter.role == "scale":
                own = np.sqrt(np.maximum(own**2, _LEAST_VARIANCE))
            values[name] = own**2 if name.endswith("_variance") else own
    return values


def _partial(correlation: np.ndarray) -> np.ndarray:
    """Partial correlations of a C-vine, moved to (0, 1): (matrix, pair)."""
    factor = lower_factor(correlation)
    row, column = np.tril_indices(factor.shape[1], -1)
    before = 1 - np.cumsum(factor**2, axis=-1) + factor**2
    partial = (factor / np.sqrt(np.maximum(before, 1e-12)))[:, row, column]
    return np.asarray((np.clip(partial, -_LARGEST_PARTIAL, _LARGEST_PARTIAL) + 1) / 2)
