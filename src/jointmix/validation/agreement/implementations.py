"""The implementations that are compared, and what is said of one that differs."""

import time
from collections.abc import Callable, Mapping
from functools import partial

import numpy as np

from jointmix.base.progress import Progress
from jointmix.validation.agreement.chart import Model
from jointmix.validation.agreement.comparison import Difference, odd_ones
from jointmix.validation.agreement.mistakes import explain_rows, explain_shape
from jointmix.validation.agreement.numpyro_side import ModelError, numpyro_side
from jointmix.validation.agreement.plain_sides import (
    kernel_side,
    numpy_side,
    scipy_side,
    sklearn_side,
)
from jointmix.validation.agreement.prior_mistakes import explain_prior
from jointmix.validation.agreement.problem import Problem
from jointmix.validation.agreement.pymc_sides import pymc_side
from jointmix.validation.agreement.terms import Side
from jointmix.validation.twin import build_twin

#: The name of a model that is handed in.
YOURS = "your model"


def make_sides(
    problem: Problem,
    model: Model | None,
    names: Mapping[str, str] | None,
    report: Progress,
    seconds: dict[str, float],
) -> tuple[list[Side], list[str]]:
    """All implementations, and why a model that was handed in is not among them."""
    twins = {
        f"NumPyro {form}": build_twin(problem.dataset, problem.spec, form, problem.direction)
        for form in ("marginal", "enumerated")
    }
    makers: dict[str, Callable[[], Side | None]] = {
        "kernel": lambda: kernel_side(problem),
        "PyMC on Numba": lambda: pymc_side(problem, "numba"),
        "PyMC on JAX": lambda: pymc_side(problem, "jax"),
        **{name: partial(numpyro_side, problem, name, twin) for name, twin in twins.items()},
        "NumPy": lambda: numpy_side(problem),
        "SciPy": lambda: scipy_side(problem),
        "scikit-learn": lambda: sklearn_side(problem),
    }
    if model is not None:
        makers[YOURS] = lambda: numpyro_side(problem, YOURS, model, names)
    sides: list[Side] = []
    findings: list[str] = []
    for name, make in makers.items():
        report("compile", len(sides), len(makers), name)
        began = time.perf_counter()
        try:
            side = make()
        except ModelError as error:
            if name != YOURS:
                raise
            usual = explain_shape(problem, str(error))
            findings.append(f"Your model cannot be evaluated: {error}")
            findings += [usual] if usual else []
            continue
        seconds[f"compile: {name}"] = time.perf_counter() - began
        sides += [] if side is None else [side]
    return sides, findings


def explain(
    problem: Problem, sides: list[Side], differences: list[Difference], q: np.ndarray
) -> list[str]:
    """Who differs from the rest, where, and by which mistake."""
    found = []
    for name in odd_ones(differences):
        own = [d for d in differences if name in (d.left, d.right) and not d.agrees]
        terms = ", ".join(dict.fromkeys(item.term for item in own))
        found.append(f"{name} differs from the others in: {terms}.")
        side = next(side for side in sides if side.name == name)
        terms_at = side.evaluate(q)
        found += [f"{name}: {text}" for text in explain_rows(problem, q, terms_at)]
        found += [f"{name}: {text}" for text in explain_prior(problem, q, terms_at)]
    if not found and any(not item.agrees for item in differences):
        pairs = dict.fromkeys(f"{d.left} and {d.right}" for d in differences if not d.agrees)
        found.append(f"These do not agree: {'; '.join(pairs)}.")
    return found
