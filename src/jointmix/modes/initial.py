"""Where chains start: draws around an EM mode, as values of the model's free variables."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from jointmix.families.parameters import Parameters
from jointmix.kernel.allocate import share_at
from jointmix.kernel.problem import sampled_name
from jointmix.model.dataset import Dataset
from jointmix.model.spec import ModelSpec
from jointmix.modes.census import Mode
from jointmix.modes.free import free_values, standard_locations
from jointmix.modes.mass import Peak
from jointmix.modes.ordering import Ordering, location_covariance

#: Chains start this many standard errors around the mode, wider than the posterior itself.
_SPREAD = 1.5
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
    others
        Parameters at further modes that may hold some of the posterior, sorted alike.
    known
        The posterior's modes near the parameters and near each of the others, with components as
        those; None where one is not known.
    """

    parameters: Parameters
    xi: np.ndarray
    factor: np.ndarray
    count: np.ndarray
    direction: np.ndarray | None
    others: tuple[Parameters, ...] = ()
    known: tuple[Peak | None, ...] = ()


def make_start(
    mode: Mode, dataset: Dataset, ordering: Ordering, others: Sequence[Mode] = ()
) -> Start:
    """The start at an EM mode, its components sorted along the ordering's direction."""
    spec, scaling, rows = dataset.spec, dataset.scaling, dataset.rows
    parameters = scaling.to_model(mode.parameters)
    share = share_at(dataset, mode.parameters)
    xi = standard_locations(parameters, spec)
    covariance = location_covariance(parameters, spec, share, rows)
    order = _order(xi, ordering)
    given = [scaling.to_model(other.parameters) for other in others]
    orders = [order, *(_order(standard_locations(each, spec), ordering) for each in given)]
    return Start(
        parameters=parameters.permute(order),
        xi=xi[order],
        factor=_factor(covariance[order]),
        count=np.maximum(rows.weighted(share).sum(0)[order], 2.0),
        direction=ordering.direction,
        others=tuple(each.permute(own) for each, own in zip(given, orders[1:], strict=True)),
        known=tuple(
            None if each.peak is None else each.peak.permuted(own, spec)
            for each, own in zip((mode, *others), orders, strict=True)
        ),
    )


def _order(xi: np.ndarray, ordering: Ordering) -> np.ndarray:
    """The order of components (component, location) along the ordering's direction."""
    if ordering.direction is None:
        return np.arange(len(xi))
    return np.argsort(xi @ ordering.direction)


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
    values, count = free_values(start.parameters, spec), start.count
    if "weight" in values:
        weight = values["weight"] * np.exp(_SPREAD * rng.normal(size=count.shape) / np.sqrt(count))
        values["weight"] = weight / weight.sum()
    if "location" in values:
        values["location"] = _draw_location(start, rng)
    for block in spec.blocks:
        for parameter in block.parameters:
            if not parameter.free or parameter.role == "location":
                continue
            if parameter.role == "probability":
                own = values[parameter.name]
                error = 1 / np.sqrt(1 + count[:, None] * own)
                moved = own * np.exp(_SPREAD * rng.normal(size=own.shape) * error)
                values[parameter.name] = moved / moved.sum(-1, keepdims=True)
                continue
            if parameter.role == "correlation":
                values[parameter.site] = _draw_partial(values[parameter.site], count, rng)
                continue
            name = sampled_name(parameter)
            noise = _log_noise(values[name], count, rng)
            if parameter.role == "shape":
                # How heavy tails are, rows say less well than how wide.
                noise *= _SHAPE_SPREAD
            # A variance moves by twice what its root does.
            values[name] = values[name] * np.exp(2 * noise if name.endswith("_variance") else noise)
    return values


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


def _draw_partial(partial: np.ndarray, count: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Partial correlations moved to (0, 1), (matrix, pair), jittered."""
    n = count if len(partial) == len(count) else count.sum(keepdims=True)
    noise = _SPREAD * rng.normal(size=partial.shape) / np.sqrt(n)[:, None]
    moved = np.tanh(np.arctanh(2 * partial - 1) + noise)
    return np.asarray((moved + 1) / 2)
