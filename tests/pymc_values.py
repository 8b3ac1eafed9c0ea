"""The PyMC model's own densities, and its maps from unconstrained values to parameters."""

import math
from collections.abc import Callable
from functools import cache

import numpy as np
import pymc as pm
import pytensor
import pytensor.tensor as pt
from conftest import PARAMETERS
from pytensor.graph.replace import vectorize_graph

#: Structures of which a model is compiled on every run: each kind of part once. Compiling takes
#: seconds; the others are left to the slow tests.
USUAL = (
    "one cluster, no response",
    "four clusters, overlapping",
    "only a response",
    "spherical",
    "tied",
    "fixed covariance, per cluster",
    "no intercept",
    "mixed location priors",
    "half-t",
)


def constrained(model: pm.Model) -> Callable[[dict[str, np.ndarray]], dict[str, np.ndarray]]:
    """A function from draws of the unconstrained values to draws of the model's parameters.

    Both sides are dicts of arrays with one leading dim; the parameters are those of
    `conftest.PARAMETERS` that the model has.
    """
    values = [model.rvs_to_values[variable] for variable in model.free_RVs]
    batched = {v: pt.TensorType("float64", (None, *v.type.shape))(v.name) for v in values}
    names = [name for name in PARAMETERS if name in model.named_vars]
    outputs = model.replace_rvs_by_values([model[name] for name in names])
    outputs = vectorize_graph(outputs, replace=batched)
    with pytensor.config.change_flags(mode="FAST_COMPILE"):
        function = pytensor.function(list(batched.values()), outputs, on_unused_input="ignore")

    def convert(draws: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        n_draws = len(next(iter(draws.values())))
        results = function(*(draws[value.name] for value in values))
        # Parameters that do not vary over the draws come without the leading dim.
        return {
            name: result
            if result.ndim == model[name].ndim + 1
            else np.broadcast_to(result, (n_draws, *result.shape))
            for name, result in zip(names, results, strict=True)
        }

    return convert


def unconstrained(model: pm.Model) -> Callable[[dict[str, np.ndarray]], dict[str, np.ndarray]]:
    """A function from values of the free variables to values of their unconstrained twins."""
    inputs, outputs, names = [], [], []
    for variable in model.free_RVs:
        value = variable.type()
        transform = model.rvs_to_transforms[variable]
        inputs.append(value)
        names.append((variable.name, model.rvs_to_values[variable].name))
        moved = value if transform is None else transform.forward(value, *variable.owner.inputs)
        outputs.append(moved)
    with pytensor.config.change_flags(mode="FAST_COMPILE"):
        function = pytensor.function(inputs, outputs, on_unused_input="ignore")

    def convert(values: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        results = function(*(values[name] for name, _ in names))
        return {twin: result for (_, twin), result in zip(names, results, strict=True)}

    return convert


def split(model: pm.Model, vector: np.ndarray) -> dict[str, np.ndarray]:
    """Values by name from vectors (..., dim) of all unconstrained values, in the model's order."""
    shapes = {value.name: value.type.shape for value in model.value_vars}
    ends = np.cumsum([math.prod(shape) for shape in shapes.values()])[:-1]
    parts = np.split(vector, ends, axis=-1)
    return {
        name: part.reshape(*vector.shape[:-1], *shape)
        for (name, shape), part in zip(shapes.items(), parts, strict=True)
    }


def joined(model: pm.Model, values: dict[str, np.ndarray]) -> np.ndarray:
    """The vector of unconstrained values by name: (dim,)."""
    return np.concatenate([np.ravel(values[value.name]) for value in model.value_vars])


@cache
def densities(model: pm.Model) -> Callable[[np.ndarray], tuple[np.ndarray, float, np.ndarray]]:
    """From the vector (dim,): log likelihood (obs,), log prior, gradient of their total (dim,).

    Compiled once a session: two test files ask for the same models.
    """
    (likelihood,) = model.logp(vars=model.observed_RVs, sum=False)
    prior = model.logp(vars=model.free_RVs)
    gradients = pt.grad(likelihood.sum() + prior, model.value_vars)
    with pytensor.config.change_flags(mode="FAST_COMPILE"):
        function = pytensor.function(model.value_vars, [likelihood, prior, *gradients])

    def evaluate(vector: np.ndarray) -> tuple[np.ndarray, float, np.ndarray]:
        rows, own, *parts = function(*split(model, vector).values())
        return rows, float(own), np.concatenate([np.ravel(part) for part in parts])

    return evaluate
