"""What an implementation gives at points, and how large the numbers are that enter it."""

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from jointmix.families.mixture import component_log_density
from jointmix.families.parameters import Parameters
from jointmix.families.rows import Rows
from jointmix.model.spec import ModelSpec
from jointmix.validation.twin.family import twins


@dataclass(frozen=True, eq=False)
class Terms:
    """Log densities at points, in nats on the model's scale; None for what is not told apart.

    Attributes
    ----------
    prior
        Blocks of unconstrained values, one or several → the log density of their prior as a
        density of q, Jacobian included, (point,).
    likelihood, total
        Σ_i log p(x_i, y_i), and with all priors, (point,).
    rows
        log p(x_i, y_i), (point, obs).
    features, response
        log p(x_i | k) and log p(y_i | x_i, k), (point, obs, component).
    gradient
        Of the total in q, (point, dim).
    underflow
        Where the implementation's sum over components underflows, (point,): likelihood, total
        and gradient are not compared there.
    """

    prior: dict[tuple[str, ...], np.ndarray] | None = None
    likelihood: np.ndarray | None = None
    total: np.ndarray | None = None
    rows: np.ndarray | None = None
    features: np.ndarray | None = None
    response: np.ndarray | None = None
    gradient: np.ndarray | None = None
    underflow: np.ndarray | None = None


@dataclass(frozen=True, eq=False)
class Side:
    """One implementation: its name, and its terms at points (point, dim)."""

    name: str
    evaluate: Callable[[np.ndarray], Terms]
    notes: tuple[str, ...] = field(default=())


@dataclass(frozen=True, eq=False)
class Sizes:
    """Sums of the magnitudes of what enters each term: what rounding is relative to.

    Attributes
    ----------
    features, response
        (point, obs, component).
    rows
        (point, obs).
    """

    features: np.ndarray
    response: np.ndarray
    rows: np.ndarray


def sizes(rows: Rows, parameters: Parameters, spec: ModelSpec) -> Sizes:
    """Magnitudes at parameters with one batch dim, each at least one.

    Each family says how large the numbers are that enter its log density. A row's size is the
    largest of its components' sizes weighted by their shares of the density.
    """
    shape = (len(parameters.weight), len(rows.y), parameters.weight.shape[-1])
    found = {"x": np.ones(shape), "y": np.ones(shape)}
    for twin in twins(spec):
        found[twin.column] += twin.size(parameters, rows)
    features, response = found["x"], found["y"]
    weight = np.log(parameters.weight)[..., None, :]
    joint = component_log_density(spec.blocks, rows, parameters)
    share = np.exp(joint - joint.max(-1, keepdims=True))
    total = features + response + np.abs(weight)
    return Sizes(features, response, (share * total).max(-1))
