"""The log density, with and without its gradient, as functions to be timed, each of one thread."""

from collections.abc import Callable, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np

from benchmark.bare import (
    jax_densities,
    jax_gradient,
    natural_parameters,
    numpy_gradient,
    statistics,
)
from benchmark.bare_families import bare_parameters, family_gradient
from benchmark.cases import Case, Posterior, make_posterior, start_at_truth
from benchmark.measure import timed
from benchmark.textbook import textbook_model, textbook_point, textbook_start
from jointmix.model.settings import SamplerSpec
from jointmix.modes.initial import draw_start

#: Points at which a gradient is taken in turn.
_POINTS = 8
_SEED = 1

#: Called with a number that says which point is due.
Call = Callable[[int], object]


def _target(posterior: Posterior) -> Any:
    from jointmix.sampling.target import Target

    start = start_at_truth(posterior, _SEED)
    return Target(posterior.dataset, start)


def kernel(posterior: Posterior) -> Call:
    """The kernel through the C function that nutpie calls."""
    from jointmix.kernel.entry import compiled

    target = _target(posterior)
    return _c_call(compiled()[0], target.points(_SEED, _POINTS), target.problem)


def evaluate(posterior: Posterior) -> Call:
    """The kernel from Python."""
    from jointmix.kernel.entry import evaluate as density

    target = _target(posterior)
    points, gradient, problem = target.points(_SEED, _POINTS), np.empty(target.dim), target.problem
    return lambda index: density(problem, points[index % _POINTS], gradient)


def densities_of_kernel(posterior: Posterior) -> Call:
    """The kernel without its gradient, at all points, as candidates are weighed."""
    from jointmix.kernel.densities import densities

    target = _target(posterior)
    points, problem = target.points(_SEED, _POINTS), target.problem
    return lambda _: densities(problem, points, cores=1)


def _c_call(function: Any, points: np.ndarray, data: np.ndarray) -> Call:
    """Calls of a function (dim, point, gradient, value, data), arguments made beforehand."""
    call = function.ctypes
    # These pointers keep the arrays behind them.
    gradient, value, *given = (
        array.ctypes.data_as(kind)
        for array, kind in zip(
            (np.empty(points.shape[1]), np.empty(1), data), call.argtypes[2:], strict=True
        )
    )
    inputs = [q.ctypes.data_as(call.argtypes[1]) for q in points]
    dim = points.shape[1]
    return lambda index: call(dim, inputs[index % _POINTS], gradient, value, *given)


def _jitted(density: Callable[[Any], Any], points: np.ndarray) -> Call:
    import jax

    function = jax.jit(jax.value_and_grad(density))
    given = [jax.device_put(point) for point in points]
    return lambda index: jax.block_until_ready(function(given[index % _POINTS]))


def model_jax(posterior: Posterior) -> Call:
    """The package's PyMC model on JAX."""
    from jointmix.model.graph import mixture_model
    from jointmix.sampling.jaxified import jaxified

    target = _target(posterior)
    direction = target.start.direction
    density, _ = jaxified(mixture_model(posterior.dataset, direction, "dot"))
    return _jitted(density, target.points(_SEED, _POINTS))


def _textbook_points(posterior: Posterior) -> np.ndarray:
    start = start_at_truth(posterior, _SEED)
    values = [
        draw_start(start, posterior.spec, rng)
        for rng in np.random.default_rng(_SEED).spawn(_POINTS)
    ]
    return np.stack([textbook_point(textbook_start(posterior, value)) for value in values])


def textbook_jax(posterior: Posterior) -> Call:
    """The textbook PyMC mixture on JAX."""
    from jointmix.sampling.jaxified import jaxified

    density, _ = jaxified(textbook_model(posterior))
    return _jitted(density, _textbook_points(posterior))


def textbook_numba(posterior: Posterior) -> Call:
    """The textbook PyMC mixture on Numba, through the C function that nutpie calls."""
    import nutpie

    points = _textbook_points(posterior)
    compiled = nutpie.compile_pymc_model(
        textbook_model(posterior), backend="numba", jitter_rvs=set()
    )
    return _c_call(compiled.compiled_logp_func, points, compiled.user_data)


def _bare(posterior: Posterior) -> tuple[np.ndarray, np.ndarray]:
    scaling = posterior.dataset.scaling
    phi = statistics(scaling.transform(posterior.dataset.values))
    return phi, natural_parameters(scaling.to_model(posterior.truth))


def bare_numpy(posterior: Posterior) -> Call:
    """The rows' arithmetic alone, in NumPy."""
    phi, natural = _bare(posterior)
    return lambda _: numpy_gradient(phi, natural)


def bare_jax(posterior: Posterior) -> Call:
    """The rows' arithmetic alone, compiled by JAX."""
    import jax

    if posterior.spec.family != "normal":
        family = family_gradient(posterior.spec.family, posterior.dataset.rows)
        own = bare_parameters(posterior.dataset.scaling.to_model(posterior.truth))
        given = jax.device_put(own)
        return lambda _: jax.block_until_ready(family(given))
    gradient = jax_gradient()
    phi, natural = (jax.device_put(array) for array in _bare(posterior))
    return lambda _: jax.block_until_ready(gradient(phi, natural))


def bare_densities(posterior: Posterior) -> Call:
    """The rows' arithmetic without a gradient, at as many points."""
    import jax

    phi, natural = _bare(posterior)
    given = jax.device_put(phi), jax.device_put(np.stack([natural] * _POINTS))
    compiled = jax_densities()
    return lambda _: jax.block_until_ready(compiled(*given))


BARE = ("bare-numpy", "bare-jax")
#: Those of other families too.
_OF_ALL = ("kernel", "evaluate", "densities", "model-jax", "bare-jax")
TEXTBOOK = ("textbook-jax", "textbook-numba")
_OF_NORMAL = "It is written for a normal response."
#: Name → title and the function that makes the calls.
GRADIENTS: dict[str, tuple[str, Callable[[Posterior], Call]]] = {
    "kernel": ("Kernel, as nutpie calls it", kernel),
    "evaluate": ("Kernel, called from Python", evaluate),
    "model-jax": ("Our PyMC model on JAX", model_jax),
    "textbook-jax": ("Textbook PyMC mixture on JAX", textbook_jax),
    "textbook-numba": ("Textbook PyMC mixture on Numba", textbook_numba),
    "bare-numpy": ("Bare arithmetic in NumPy", bare_numpy),
    "bare-jax": ("Bare arithmetic compiled by JAX", bare_jax),
    "densities": (f"Kernel without gradient, {_POINTS} points", densities_of_kernel),
    "bare-densities": (f"Bare densities compiled by JAX, {_POINTS} points", bare_densities),
}


def measure_costs(
    cases: Sequence[Case], functions: Sequence[str], seconds: float
) -> list[dict[str, Any]]:
    """Time functions on cases in this process, each for so many seconds.

    Returns
    -------
    list of dict
        As `results.Cost` takes them.
    """
    found = []
    for case in cases:
        posterior = make_posterior(case, SamplerSpec(backend="kernel"))
        for name in functions:
            own = {"case": case.name, "function": name}
            if posterior.spec.family != "normal" and name not in _OF_ALL:
                found.append(own | {"problem": _OF_NORMAL})
                continue
            found.append(own | asdict(timed(GRADIENTS[name][1](posterior), seconds)))
    return found
