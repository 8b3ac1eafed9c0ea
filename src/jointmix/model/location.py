"""The free location parameters of a cluster, ξ_k = (μ_k, b_k, θ_k) in units of their priors."""

from dataclasses import dataclass

import numpy as np

from jointmix.families.parameters import Parameters
from jointmix.families.priors.priors import Normal, StudentT
from jointmix.model.spec import ModelSpec


@dataclass(frozen=True)
class Coordinate:
    """One free location parameter: its name and column, and its prior's location and scale."""

    parameter: str
    column: str | None
    prior: Normal | StudentT


def coordinates(spec: ModelSpec) -> tuple[Coordinate, ...]:
    """The free location parameters of a cluster, block by block: means, intercept, slopes."""
    return tuple(
        Coordinate(parameter.name, label, parameter.prior)
        for parameter in spec.parameters.values()
        if parameter.role == "location" and parameter.free
        if isinstance(parameter.prior, Normal | StudentT)
        for label in parameter.labels
    )


def location_values(parameters: Parameters, spec: ModelSpec) -> np.ndarray:
    """The free location parameters, (..., cluster, location), in their own units."""
    parts = [np.zeros((*parameters.weight.shape, 0))]
    for parameter in spec.parameters.values():
        if parameter.role == "location" and parameter.free:
            values = parameters[parameter.name]
            parts.append(values if parameter.dims else values[..., None])
    return np.concatenate(parts, axis=-1)


def householder(direction: np.ndarray) -> np.ndarray:
    """The symmetric orthogonal H with H e₁ = c, shape (location, location)."""
    normal = direction.copy()
    normal[0] -= 1
    square = normal @ normal
    if square == 0:
        return np.eye(len(direction))
    return np.eye(len(direction)) - 2 * np.outer(normal, normal) / square
