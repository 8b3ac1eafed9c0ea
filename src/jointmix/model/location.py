"""The free location parameters of a cluster, ξ_k = (μ_k, b_k, θ_k) in units of their priors."""

from dataclasses import dataclass

import numpy as np

from jointmix.families.priors.priors import Fixed, Normal, StudentT
from jointmix.model.spec import ModelSpec


@dataclass(frozen=True)
class Coordinate:
    """One free location parameter: its name and column, and its prior's location and scale."""

    parameter: str
    column: str | None
    prior: Normal | StudentT


def coordinates(spec: ModelSpec) -> tuple[Coordinate, ...]:
    """The free location parameters of a cluster: means, then intercept, then slopes."""
    priors = spec.priors
    found: list[Coordinate] = []
    if not isinstance(priors.mean, Fixed):
        found += [Coordinate("mean", name, priors.mean) for name in spec.features]
    if spec.response is None:
        return tuple(found)
    if spec.free_intercept:
        assert not isinstance(priors.intercept, Fixed)
        found.append(Coordinate("intercept", None, priors.intercept))
    if not isinstance(priors.slope, Fixed):
        found += [Coordinate("slope", name, priors.slope) for name in spec.predictors]
    return tuple(found)


def householder(direction: np.ndarray) -> np.ndarray:
    """The symmetric orthogonal H with H e₁ = c, shape (location, location)."""
    normal = direction.copy()
    normal[0] -= 1
    square = normal @ normal
    if square == 0:
        return np.eye(len(direction))
    return np.eye(len(direction)) - 2 * np.outer(normal, normal) / square
