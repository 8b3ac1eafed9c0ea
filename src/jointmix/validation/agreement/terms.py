"""What an implementation gives at points, and how large the numbers are that enter it."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np

from jointmix.families.mixture import component_log_density
from jointmix.families.parameters import Parameters
from jointmix.families.rows import Rows
from jointmix.model.spec import ModelSpec
from jointmix.validation.twin.family import Twin, twins
from jointmix.validation.twin.gaps import terms_of

#: Options of XLA: a thousand points take less time than it would take to make them faster.
LITTLE_OPTIMISED = {"xla_backend_optimization_level": 0}


@dataclass(frozen=True, eq=False)
class Terms:
    """Log densities at points, in nats on the model's scale; None for what is not told apart.

    Attributes
    ----------
    prior
        Blocks of unconstrained values, one or several → the log density of their prior as a
        density of q, Jacobian included, (point,).
    likelihood, total
        Σ_i w_i log p(x_i, y_i), and with all priors, (point,).
    rows
        w_i log p(x_i, y_i), (point, obs).
    features, response
        log p(x_i | k) and log p(y_i | x_i, k), (point, obs, component).
    discrete
        What of the features' is that of a discrete one, by what its twin calls its column, alike.
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
    discrete: dict[str, np.ndarray] | None = None
    gradient: np.ndarray | None = None
    underflow: np.ndarray | None = None


@dataclass(frozen=True, eq=False)
class Side:
    """One implementation: its name, and its terms at points (point, dim)."""

    name: str
    evaluate: Callable[[np.ndarray], Terms]
    notes: tuple[str, ...] = field(default=())
    #: Whether it may factor covariances or precisions, which loses digits.
    factors: bool = False


@dataclass(frozen=True, eq=False)
class Sizes:
    """Sums of the magnitudes of what enters each term: what rounding is relative to.

    Attributes
    ----------
    features, response
        (point, obs, component).
    discrete
        The same of each discrete feature, by what its twin calls its column.
    rows
        (point, obs).
    condition
        The largest factor by which a condition number has made them larger, (point,).
    """

    features: np.ndarray
    response: np.ndarray
    discrete: dict[str, np.ndarray]
    rows: np.ndarray
    condition: np.ndarray


def sizes(rows: Rows, parameters: Parameters, spec: ModelSpec, factors: bool = False) -> Sizes:
    """Magnitudes at parameters with one batch dim, each at least one.

    Each family says how large the numbers are that enter its log density. A row's size is the
    largest of its components' sizes weighted by their shares of the density. Of implementations
    that factor covariances, as all do that integrate over missing entries, they are larger by the
    `condition` of these.
    """
    shape = (len(parameters.weight), len(rows.y), parameters.weight.shape[-1])
    found = terms_of(twins(spec), parameters, rows.expanded, _size)
    found = {name: _largest(size, rows) for name, size in found.items()}
    response = 1 + found.pop("y", np.zeros(shape))
    features = sum(found.values(), np.ones(shape))
    discrete = {name: 1 + size for name, size in found.items() if name != "x"}
    factors = factors or not rows.complete
    weight = parameters.log_weight[..., None, :]
    joint = component_log_density(spec.blocks, rows, parameters)
    share = np.exp(joint - joint.max(-1, keepdims=True))
    total = (features + response + np.abs(weight)) * rows.weights[:, None]
    if not factors:
        whole = _shared(share, total)
        return Sizes(features, response, discrete, whole, np.ones(shape[0]))
    worse = condition(parameters, spec)[:, None, :]
    whole = _shared(share, total * worse)
    return Sizes(features * worse, response * worse, discrete, whole, worse.max((1, 2)))


def _shared(share: np.ndarray, size: np.ndarray) -> np.ndarray:
    """The largest of a row's; what is cut off is infinite, and no part of most rows."""
    return np.asarray(np.multiply(share, size, out=np.zeros(size.shape), where=share > 0).max(-1))


def _largest(size: np.ndarray, rows: Rows) -> np.ndarray:
    """Of what rows (..., obs, component) are completed by, where levels are missing."""
    if rows.completions is None:
        return size
    starts = np.cumsum(rows.completions.count) - rows.completions.count
    return np.asarray(np.maximum.reduceat(size, starts, axis=-2))


def _size(twin: Twin, own: Mapping[str, np.ndarray], rows: Rows) -> np.ndarray:
    return twin.size(Parameters(**own), rows)


def condition(parameters: Parameters, spec: ModelSpec) -> np.ndarray:
    """Condition numbers of the correlation matrices of (x, y), (point, component).

    The relative error of Cholesky's factor of a matrix, or of the inverse, is a rounding of this
    size, whatever the units of the columns (Higham 2002, Accuracy and Stability of Numerical
    Algorithms, theorem 10.6).
    """
    if "cholesky" not in parameters:
        return np.ones(parameters.weight.shape)
    factor = parameters.cholesky
    shared = [name for name in spec.predictors if name in spec.features]
    if "sigma" in parameters and shared:
        slope = np.zeros((*factor.shape[:-2], len(spec.features)))
        for name in shared:
            at = spec.predictors.index(name)
            slope[..., list(spec.features).index(name)] = parameters.slope[..., at]
        last = (slope[..., None, :] @ factor)[..., 0, :]
        last = np.concatenate([last, parameters.sigma[..., None]], axis=-1)
        wide = np.concatenate([factor, np.zeros((*factor.shape[:-1], 1))], axis=-1)
        factor = np.concatenate([wide, last[..., None, :]], axis=-2)
    # Of a matrix LL' it is the square of that of L.
    unit = factor / np.linalg.norm(factor, axis=-1, keepdims=True)
    return np.asarray(np.linalg.cond(unit) ** 2)
