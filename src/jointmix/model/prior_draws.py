"""Draws of all parameters from their priors, without PyMC, which loads slowly."""

from collections.abc import Iterator

import numpy as np

from jointmix.families.parameters import Parameters
from jointmix.families.priors.drawing import drawn
from jointmix.families.priors.priors import Fixed, InverseGamma
from jointmix.families.protocol import Block, Parameter
from jointmix.model.dataset import Dataset
from jointmix.model.scaling import Scaling
from jointmix.model.spec import ModelSpec


def prior_draws(dataset: Dataset, draws: int, seed: int) -> dict[str, np.ndarray]:
    """Draws from the prior on the model's scale, by name, each (draw, component, ...).

    Labels are free: an ordered prior is the same one with its components sorted.
    """
    spec, rng = dataset.spec, np.random.default_rng(seed)
    found = {"weight": _weights(spec, draws, rng)}
    for block in spec.blocks:
        free = {
            parameter.name: _values(parameter, (draws, *spec.shapes[parameter.name]), rng)
            for parameter in block.parameters
        }
        found |= free | dict(_known(block, dataset.scaling, found["weight"], free))
    return found


def _weights(spec: ModelSpec, draws: int, rng: np.random.Generator) -> np.ndarray:
    prior, shape = spec.priors.weight, (draws, spec.n_clusters)
    if isinstance(prior, Fixed):
        return np.broadcast_to(prior.array, shape).copy()
    return drawn(prior, shape, rng)


def _values(parameter: Parameter, shape: tuple[int, ...], rng: np.random.Generator) -> np.ndarray:
    """Draws (draw, component, ...) of a parameter; of what is not free anything of that shape."""
    if parameter.role == "correlation":
        if not parameter.free:
            return np.zeros(shape) + np.eye(shape[-1])
        matrices = (shape[0], parameter.free[0], *shape[2:])
        return np.broadcast_to(drawn(parameter.prior, matrices, rng), shape).copy()
    if not parameter.free:
        return np.ones(shape)
    if parameter.role in ("location", "probability"):
        return drawn(parameter.prior, shape, rng)
    own = drawn(parameter.prior, (shape[0], *parameter.free), rng)
    # The inverse-gamma family is one of the variance.
    of_variance = parameter.role == "scale" and isinstance(parameter.prior, InverseGamma)
    return np.broadcast_to(np.sqrt(own) if of_variance else own, shape).copy()


def _known(
    block: Block, scaling: Scaling, weight: np.ndarray, free: dict[str, np.ndarray]
) -> Iterator[tuple[str, np.ndarray]]:
    """What is fixed, (draw, component, ...), in the place of what `_values` gave it."""
    known, follows = block.known(scaling), block.follows(scaling)
    if not known:
        return
    arrays = block.packed(free)
    for name, value in known.items():
        arrays[name] = np.broadcast_to(value, arrays[name].shape)
    for name, (other, share) in follows.items():
        arrays[name] = arrays[name] + arrays[other] @ share
    variables = block.variables(Parameters(weight=weight, **arrays))
    for parameter in block.parameters:
        if not parameter.free:
            yield parameter.name, variables[parameter.name]
