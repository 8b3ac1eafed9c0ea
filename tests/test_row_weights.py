"""Rows that count as often as a column says, held against rows that are repeated so often."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from conftest import STRUCTURES, direction_of, table
from test_fused import assert_same, with_gradient
from test_kernel import target_of
from test_model import STUDENT, draw_points

from jointmix import build_model
from jointmix.base.errors import SpecError
from jointmix.kernel.densities import densities
from jointmix.kernel.entry import value_and_gradient
from jointmix.kernel.problem import make_problem, n_free
from jointmix.model.dataset import make_dataset
from jointmix.model.spec import ModelSpec
from jointmix.validation.agreement.comparison import Comparison
from jointmix.validation.agreement.numpyro_side import numpyro_side
from jointmix.validation.agreement.plain_sides import (
    kernel_side,
    numpy_side,
    scipy_side,
    sklearn_side,
)
from jointmix.validation.agreement.problem import Problem, random_points
from jointmix.validation.agreement.pymc_sides import pymc_side
from jointmix.validation.twin import build_twin

#: More rows than one tile of the kernel holds.
N = 300


def weighted(n: int = N, seed: int = 11) -> pd.DataFrame:
    """The tests' rows with whole weights from 1 to 4, counts, yes or no, and an offset."""
    frame, rng = table(n), np.random.default_rng(seed)
    frame["w"] = rng.integers(1, 5, n)
    frame["o"] = rng.normal(0, 0.3, n)
    frame["count"] = rng.poisson(np.exp(0.2 * frame["p"].clip(-4, 4)))
    frame["yes"] = (frame["y"] > frame["y"].median()).astype(float)
    return frame


def repeated(frame: pd.DataFrame, name: str = "w") -> pd.DataFrame:
    """Each row as often as it counts."""
    return frame.loc[frame.index.repeat(frame[name])].reset_index(drop=True)


LINKED = {
    family: ModelSpec(
        n_clusters=2, features=["a", "b"], predictors=["p", "a"], response=response, offset="o",
        family=family,
    )
    for family, response in (("poisson", "count"), ("bernoulli", "yes"))
}  # fmt: skip
SPECS = (
    STRUCTURES
    | {f"student_t, {name}": spec for name, spec in STUDENT.items()}
    | LINKED
    | {f"{name}, own scale": replace(spec, standardize=False) for name, spec in LINKED.items()}
)


def some(*names: str) -> list[object]:
    """What only the slow tests run on."""
    return [pytest.param(name, marks=pytest.mark.slow) for name in names]


def pair(spec: ModelSpec) -> tuple[ModelSpec, ModelSpec]:
    """The model with row weights, and without."""
    return replace(spec, row_weights="w"), spec


@pytest.mark.parametrize("name", SPECS)
def test_weights_and_repeated_rows_have_one_log_density(name: str) -> None:
    with_weights, without = pair(SPECS[name])
    frame = weighted()
    one, many = make_dataset(frame, with_weights), make_dataset(repeated(frame), without)
    np.testing.assert_allclose(one.scaling.center, many.scaling.center, rtol=1e-12, atol=1e-13)
    np.testing.assert_allclose(one.scaling.scale, many.scaling.scale, rtol=1e-12)
    problems = [make_problem(each, direction_of(without)) for each in (one, many)]
    points = 0.4 * np.random.default_rng(2).normal(size=(3, n_free(without)))
    for point in points:
        found, expected = (value_and_gradient(problem, point) for problem in problems)
        assert found[0] == pytest.approx(expected[0], rel=1e-12)
        size = np.abs(expected[1]).max(initial=1.0)
        np.testing.assert_allclose(found[1], expected[1], rtol=1e-9, atol=1e-9 * size)
    level = densities(problems[0], points)
    assert level == pytest.approx(
        [value_and_gradient(problems[0], p)[0] for p in points], rel=1e-12
    )


@pytest.mark.parametrize("name", ["poisson", *some("four clusters, overlapping",
                                                   "student_t, prior")])  # fmt: skip
def test_independent_implementations_agree(name: str) -> None:
    with_weights, without = pair(SPECS[name])
    frame = weighted(40)
    frame["w"] = np.random.default_rng(4).gamma(2.0, 0.5, len(frame))
    problem = Problem(make_dataset(frame, with_weights), direction_of(without))
    twin = build_twin(problem.dataset, with_weights, "marginal", problem.direction)
    sides = [
        kernel_side(problem),
        pymc_side(problem, "jax"),
        numpyro_side(problem, "NumPyro", twin),
        numpy_side(problem),
        scipy_side(problem),
    ]
    if (mixture := sklearn_side(problem)) is not None:
        sides.append(mixture)
    center = 0.3 * np.random.default_rng(1).normal(size=problem.dim)
    differences = Comparison(problem, sides).run(random_points(problem, center, 100, seed=3))
    assert [each for each in differences if not each.agrees] == []
    assert {"rows", "likelihood", "total", "gradient"} <= {each.term for each in differences}


def test_allocations_are_enumerated_for_rows_that_count_once_only() -> None:
    dataset = make_dataset(weighted(), pair(SPECS["no response"])[0])
    with pytest.raises(SpecError, match="form='marginal'"):
        build_twin(dataset, dataset.spec, "enumerated")


@pytest.mark.parametrize("name", ["bernoulli", *some("four clusters, overlapping", "one cluster")])
def test_the_fused_model_is_the_same(name: str) -> None:
    with_weights, without = pair(SPECS[name])
    models = [
        build_model(weighted(), with_weights, direction_of(without), fused=fused)
        for fused in (False, True)
    ]
    plain, fused = (with_gradient(model) for model in models)
    alone = target_of(make_dataset(weighted(), with_weights), direction_of(without))
    for point in draw_points(models[0], np.random.default_rng(3), 2):
        right = plain(**point)
        assert_same(fused(**point), right)
        q = np.concatenate([np.ravel(point[value.name]) for value in models[0].value_vars])
        assert alone.log_density(q)[0] == pytest.approx(float(right[0]), rel=1e-12)
