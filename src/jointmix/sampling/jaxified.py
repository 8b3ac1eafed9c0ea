"""PyMC models as JAX functions of one vector of unconstrained values."""

import math
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import numpy as np
import pymc as pm

from jointmix.sampling.backends import pymc_jax

LogDensity = Callable[..., Any]
Unravel = Callable[[np.ndarray], dict[str, np.ndarray]]


def jaxified(model: pm.Model) -> tuple[LogDensity, Unravel]:
    """A model's log density as a JAX function of one vector, to be called with 64 bits.

    Parameters
    ----------
    model
        The model, with its data, which become constants of the function.

    Returns
    -------
    logp : callable
        From a vector (dim,), the unconstrained value variables in the order of
        ``model.free_RVs``, to the log density, a scalar.
    unravel : callable
        From positions (..., dim) to a dict of value variables' names to arrays (..., *shape).
    """
    import jax

    split = splitter(model)
    with jax.enable_x64(True):
        # Whatever the name of its option says, by default this is log p, not its negative.
        density = pymc_jax().get_jaxified_logp(model)

    def logp(position: Any) -> Any:
        return density(split(position))

    def unravel(positions: np.ndarray) -> dict[str, np.ndarray]:
        return dict(zip((value.name for value in model.value_vars), split(positions), strict=True))

    return logp, unravel


def splitter(model: pm.Model) -> Callable[[Any], list[Any]]:
    """A function from vectors (..., dim) to the values of a model's value variables."""
    shapes = [value.type.shape for value in model.value_vars]
    ends = np.cumsum([0, *map(math.prod, shapes)])

    def split(positions: Any) -> list[Any]:
        parts = [positions[..., first:last] for first, last in pairwise(ends)]
        lead = positions.shape[:-1]
        return [part.reshape(*lead, *shape) for part, shape in zip(parts, shapes, strict=True)]

    return split
