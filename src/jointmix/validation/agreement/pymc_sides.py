"""The package's PyMC model, compiled by Numba or by JAX."""

import warnings
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from jointmix.model.component import Product
from jointmix.model.graph import mixture_model
from jointmix.validation.agreement.problem import Problem
from jointmix.validation.agreement.terms import LITTLE_OPTIMISED, Side, Terms

if TYPE_CHECKING:
    from pytensor.compile.mode import Mode

Linker = Literal["numba", "jax"]
_NAMES: dict[Linker, str] = {"numba": "PyMC on Numba", "jax": "PyMC on JAX"}


def pymc_side(problem: Problem, linker: Linker) -> Side:
    """Rows, priors by variable and the gradient of the PyMC model; compiled here."""
    import pytensor
    import pytensor.tensor as pt

    product: Product = "sum" if linker == "numba" else "dot"
    model = mixture_model(problem.dataset, problem.direction, product)
    (rows,) = model.logp(vars=model.observed_RVs, sum=False)
    priors = [model.logp(vars=[variable]) for variable in model.free_RVs]
    names = [(problem.block_of(variable.name),) for variable in model.free_RVs]
    total = rows.sum() + sum(priors)
    gradient = pt.grad(total, model.value_vars) if priors else []
    outputs = [rows, *priors, *gradient]
    with warnings.catch_warnings():
        # JAX drops PyTensor's check that weights sum to one, and PyTensor says so.
        warnings.filterwarnings("ignore", message="Skipping", category=UserWarning)
        function = pytensor.function(
            model.value_vars, outputs, mode=_mode(linker), on_unused_input="ignore"
        )
        function(*(np.zeros(shape) for _, shape in problem.slices.values()))
    slices = list(problem.slices.values())

    def at(q: np.ndarray) -> Terms:
        found, own = np.empty((len(q), len(problem.rows.y))), np.empty((len(priors), len(q)))
        slope = np.empty_like(q)
        for i, point in enumerate(q):
            parts = [point[where].reshape(shape) for where, shape in slices]
            found[i], *rest = function(*parts)
            own[:, i] = rest[: len(priors)]
            if len(slices):
                slope[i] = np.concatenate([np.ravel(part) for part in rest[len(priors) :]])
        likelihood = found.sum(1)
        prior: dict[tuple[str, ...], np.ndarray] = dict(zip(names, own, strict=True))
        return Terms(prior, likelihood, likelihood + own.sum(0), found, gradient=slope)

    return Side(_NAMES[linker], at)


def _mode(linker: Linker) -> "Mode":
    """PyTensor's, with programs of JAX that are compiled fast and run slowly."""
    from pytensor.compile.mode import Mode, get_mode
    from pytensor.link.jax import JAXLinker

    usual = get_mode(linker.upper())
    if linker == "numba":
        return usual

    class LittleOptimised(JAXLinker):
        def jit_compile(self, fn: Any) -> Any:
            import jax

            return jax.jit(fn, compiler_options=LITTLE_OPTIMISED)

    return Mode(LittleOptimised(), usual.provided_optimizer)
