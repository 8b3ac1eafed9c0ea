"""The implementations that are compared, and what is said of one that differs."""

import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial

import numpy as np

from jointmix.base.progress import Progress
from jointmix.validation.agreement.chart import Model
from jointmix.validation.agreement.comparison import Difference, odd_ones
from jointmix.validation.agreement.mistakes import explain_rows, explain_shape
from jointmix.validation.agreement.numpyro_side import numpyro_side
from jointmix.validation.agreement.observed import ModelError
from jointmix.validation.agreement.ordered import Order
from jointmix.validation.agreement.plain_sides import (
    kernel_side,
    numpy_side,
    scipy_side,
    sklearn_side,
)
from jointmix.validation.agreement.prior_mistakes import explain_prior
from jointmix.validation.agreement.problem import Problem
from jointmix.validation.agreement.pymc_sides import pymc_side
from jointmix.validation.agreement.sorting import sorted_columns
from jointmix.validation.agreement.structure import Structure
from jointmix.validation.agreement.terms import Side
from jointmix.validation.twin import build_twin, forms_of

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
        for form in forms_of(problem.dataset)
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
        makers[YOURS] = lambda: replace(numpyro_side(problem, YOURS, model, names), factors=True)
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
    problem: Problem,
    sides: list[Side],
    differences: list[Difference],
    q: np.ndarray,
    structure: Structure | None = None,
) -> list[str]:
    """Who differs from the rest, where, and by which mistake; the structure is your model's."""
    found = []
    for name in odd_ones(differences):
        own = [d for d in differences if name in (d.left, d.right) and not d.agrees]
        terms = ", ".join(dict.fromkeys(item.term for item in own))
        found.append(f"{name} differs from the others in: {terms}.")
        side = next(side for side in sides if side.name == name)
        terms_at = side.evaluate(q)
        told = structure if name == YOURS else None
        said = explain_rows(problem, q, terms_at, side.factors)
        if name == YOURS:
            said += explain_columns(problem, side)
        if said and told is not None and told.rows.beside:
            beside = ", ".join(told.rows.beside)
            said.append(f"The site {beside} stands beside those of x and y, and counts too.")
        said += explain_prior(problem, q, side, told)
        found += [f"{name}: {text}" for text in said]
    if not found and any(not item.agrees for item in differences):
        pairs = dict.fromkeys(f"{d.left} and {d.right}" for d in differences if not d.agrees)
        found.append(f"These do not agree: {'; '.join(pairs)}.")
    return found


def explain_columns(problem: Problem, side: Side) -> list[str]:
    """That a model sorts the columns inside its components where it is to sort components."""

    def likelihood(q: np.ndarray) -> np.ndarray:
        found = side.evaluate(q).likelihood
        return np.full(len(q), np.nan) if found is None else found

    return [
        f"The columns of {name} are sorted inside each component: jnp.sort goes along the last "
        f"axis; components are sorted by {name}[jnp.argsort({name}[:, 0])]."
        for name in sorted_columns(problem, likelihood)
    ]


def explain_order(problem: Problem, order: Order | None, structure: Structure | None) -> list[str]:
    """What is wrong with the order in which your model has its components."""
    if order is not None and order.others:
        names = (order.sorted, *order.others)
        return [
            f"Your model sorts {' and '.join(names)} separately, which is more than one order: "
            "labels allow a single one, and each other leaves part of the posterior out. Sort by "
            "one parameter, and take others along: order = jnp.argsort(mean[:, 0])."
        ]
    if order is not None and not problem.spec.exchangeable:
        return [
            f"Your model orders its components by {order.label}, but the specification tells them "
            "apart: part of its posterior is left out."
        ]
    if order is None and structure is not None and structure.ordered:
        return [
            f"Your model orders its components in {', '.join(structure.ordered)}, which is more "
            "than one order, or one of columns: labels allow a single one, as of mean[feature]; "
            "any other leaves part of the posterior out."
        ]
    return []
