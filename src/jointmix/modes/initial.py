"""Where chains start: draws around an EM mode, as values of the model's free variables."""

from dataclasses import dataclass

import numpy as np

from jointmix.families.matrices import lower_factor
from jointmix.families.parameters import Parameters
from jointmix.families.priors.priors import Dirichlet, InverseGamma
from jointmix.families.protocol import Parameter
from jointmix.kernel.allocate import mode_share
from jointmix.model.dataset import Dataset
from jointmix.model.location import coordinates
from jointmix.model.spec import ModelSpec
from jointmix.modes.em import Mode
from jointmix.modes.ordering import Ordering, location, location_covariance

#: Chains start this many standard errors around the mode, wider than the posterior itself.
_SPREAD = 1.5
_LEAST_VARIANCE = 1e-6
_SHAPE_SPREAD = 3.0


@dataclass(frozen=True, eq=False)
class Start:
    """The mode around which chains start, with the scale of the jitter.

    Attributes
    ----------
    parameters
        At the mode, on the model's scale, components in the order of the constraint.
    xi, factor
        Location parameters (component, location), and factors F of their sampling covariance FF'
        (component, location, location).
    count
        Expected number of rows of each component, (component,).
    direction
        Along which the components are ordered, (location,), or None.
    """

    parameters: Parameters
    xi: np.ndarray
    factor: np.ndarray
    count: np.ndarray
    direction: np.ndarray | None


def make_start(mode: Mode, dataset: Dataset, ordering: Ordering) -> Start:
    """The start at an EM mode, its components sorted along the ordering's direction."""
    spec, scaling, rows = dataset.spec, dataset.scaling, dataset.rows
    share = mode_share(rows, scaling.to_model(mode.parameters), spec.blocks)
    xi = location(mode, spec, scaling)
    covariance = location_covariance(mode, spec, scaling, share, rows)
    order = np.arange(spec.n_clusters)
    if ordering.direction is not None:
        order = np.argsort(xi @ ordering.direction)
    return Start(
        parameters=scaling.to_model(mode.parameters).permute(order),
        xi=xi[order],
        factor=_factor(covariance[order]),
        count=np.maximum(share.sum(0)[order], 2.0),
        direction=ordering.direction,
    )


def _factor(covariance: np.ndarray) -> np.ndarray:
    """F with FF' the covariance (component, location, location), in units of the prior's scales.

    Where a component's rows leave a direction open, as the slope of a predictor that is constant
    there, the direction's variance is that of the prior, 1.
    """
    jitter = covariance + 1e-12 * np.eye(covariance.shape[-1])
    value, vector = np.linalg.eigh(jitter)
    if value.size and (value.max() > 1 or value.min() <= 0):
        return np.asarray(vector * np.sqrt(np.clip(value, 1e-12, 1.0))[:, None, :])
    return np.linalg.cholesky(jitter)


def draw_start(start: Start, spec: ModelSpec, rng: np.random.Generator) -> dict[str, np.ndarray]:
    """Values of the model's free variables, jittered around the mode, inside the constraint."""
    values: dict[str, np.ndarray] = {}
    count = start.count
    if spec.n_clusters > 1 and isinstance(spec.priors.weight, Dirichlet):
        spread = rng.normal(size=count.shape) / np.sqrt(count)
        weight = np.maximum(start.parameters.weight, 1e-3) * np.exp(_SPREAD * spread)
        values["weight"] = weight / weight.sum()
    if coordinates(spec):
        values["location"] = _draw_location(start, rng)
    for block in spec.blocks:
        variables = block.variables(start.parameters)
        for parameter in block.parameters:
            if parameter.free and parameter.role != "location":
                value = variables[parameter.name]
                values |= _draw_free(parameter, value, count, rng)
    return values


def _draw_free(
    parameter: Parameter, value: np.ndarray, count: np.ndarray, rng: np.random.Generator
) -> dict[str, np.ndarray]:
    """Free values behind a scale, shape or correlation (component, ...), jittered."""
    if parameter.role == "correlation":
        return {parameter.site: _draw_partial(value[: parameter.free[0]], count, rng)}
    own = value[tuple(slice(size) for size in parameter.free)]
    noise = _log_noise(own, count, rng)
    if parameter.role == "shape":
        # How heavy tails are, rows say less well than how wide.
        return {parameter.site: own * np.exp(_SHAPE_SPREAD * noise)}
    return _scale_value(parameter.site, parameter.prior, own, noise)


def _draw_location(start: Start, rng: np.random.Generator) -> np.ndarray:
    noise = (start.factor @ rng.normal(size=(*start.xi.shape, 1)))[..., 0]
    spread = _SPREAD
    while start.direction is not None and spread > 1e-6:
        if (np.diff((start.xi + spread * noise) @ start.direction) > 0).all():
            break
        spread /= 2
    return start.xi + spread * noise


def _log_noise(value: np.ndarray, count: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Jitter of log standard deviations (component, ...), whose standard error is 1/√(2n)."""
    n = count if len(value) == len(count) else count.sum(keepdims=True)
    error = 1 / np.sqrt(2 * n)
    return _SPREAD * rng.normal(size=value.shape) * error.reshape(-1, *[1] * (value.ndim - 1))


def _scale_value(
    name: str, prior: object, sd: np.ndarray, log_noise: np.ndarray
) -> dict[str, np.ndarray]:
    sd = np.sqrt(np.maximum(sd**2, _LEAST_VARIANCE)) * np.exp(log_noise)
    if isinstance(prior, InverseGamma):
        return {f"{name}_variance": sd**2}
    return {f"{name}_sd": sd}


def _draw_partial(
    correlation: np.ndarray, count: np.ndarray, rng: np.random.Generator
) -> np.ndarray:
    """Partial correlations of a C-vine, moved to (0, 1): (matrix, pair)."""
    factor = lower_factor(correlation)
    row, column = np.tril_indices(factor.shape[1], -1)
    before = 1 - np.cumsum(factor**2, axis=-1) + factor**2
    partial = (factor / np.sqrt(np.maximum(before, 1e-12)))[:, row, column]
    n = count if len(factor) == len(count) else count.sum(keepdims=True)
    noise = _SPREAD * rng.normal(size=partial.shape) / np.sqrt(n)[:, None]
    moved = np.tanh(np.arctanh(np.clip(partial, -0.999999, 0.999999)) + noise)
    return np.asarray((moved + 1) / 2)
