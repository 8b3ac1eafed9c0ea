"""Discrete features that the kernel takes together, or by tables: the same densities."""

import numpy as np
import pandas as pd
import pytest

import jointmix as jm
from jointmix.families import together
from jointmix.families.mixture import component_log_density, log_likelihood, responsibility
from jointmix.kernel.allocate import allocate
from jointmix.kernel.entry import value_and_gradient
from jointmix.kernel.problem import make_problem, n_free
from jointmix.kernel.values import parameters as expanded
from jointmix.model.dataset import Dataset, make_dataset
from jointmix.model.packing import packed

pytestmark = pytest.mark.kernel

#: Levels of features; the last is of more than a group's cells.
LEVELS = (2, 5, 3, 7, 2, 4, 6, 5, 3, 2, 300)


def dataset_of(n: int, options: dict) -> Dataset:
    """Rows with every level, and holes in words, counts and numbers."""
    rng = np.random.default_rng(7)
    codes = {f"c{i}": rng.permutation(np.arange(n) % size) for i, size in enumerate(LEVELS)}
    table = pd.DataFrame({name: [f"l{c:03d}" for c in code] for name, code in codes.items()})
    table["a"], table["n"] = rng.normal(size=n), rng.poisson(rng.gamma(1.5, 3.0, n)).astype(float)
    for name in table.columns.drop("c10"):
        table.loc[rng.random(n) < 0.1, name] = None if name.startswith("c") else np.nan
    spec = jm.ModelSpec(n_clusters=3, missing="model", **options)
    return make_dataset(table, spec, demand="density")


FEATURES = {
    "levels": {"features": {f"c{i}": "categorical" for i in range(10)}},
    "a long one": {"features": {f"c{i}": "categorical" for i in (0, 10, 1)}},
    "with numbers": {"features": {"a": "normal"} | {f"c{i}": "categorical" for i in range(7)}},
    "counts": {"features": {"n": "negative_binomial", "c1": "categorical", "c2": "categorical"}},
}


@pytest.mark.parametrize("n", [700, 6_000])
@pytest.mark.parametrize("options", FEATURES.values(), ids=FEATURES)
def test_responsibilities_are_those_of_the_densities(options: dict, n: int) -> None:
    dataset = dataset_of(n, options)
    problem = make_problem(dataset)
    point = np.random.default_rng(1).normal(0, 0.5, n_free(dataset.spec))
    at = packed(expanded(problem, dataset.spec, point), dataset.spec)
    component = component_log_density(dataset.blocks, dataset.rows, at)
    share, _, value = allocate(dataset.rows, at.batched(), dataset.blocks)
    np.testing.assert_allclose(share[0].T, responsibility(component), atol=1e-13)
    # Sums of thousands of terms in another order.
    assert value[0] == pytest.approx(log_likelihood(component).sum(), rel=1e-12)


@pytest.mark.parametrize("options", FEATURES.values(), ids=FEATURES)
def test_gradients_are_sums_of_scores(options: dict) -> None:
    """The gradient grows with the rows as the mixture's own differences do."""
    few, many = dataset_of(700, options), dataset_of(6_000, options)
    problems = [make_problem(each) for each in (few, many)]
    point = np.random.default_rng(1).normal(0, 0.5, n_free(few.spec))

    def rows(dataset: Dataset, problem: np.ndarray, at: np.ndarray) -> float:
        own = packed(expanded(problem, dataset.spec, at), dataset.spec)
        return float(log_likelihood(component_log_density(dataset.blocks, dataset.rows, own)).sum())

    step, priors = 1e-5, []
    for dataset, problem in zip((few, many), problems, strict=True):
        value, gradient = value_and_gradient(problem, point)
        # Rounding of totals of this size, over the step.
        noise = 1e-14 * abs(value) / step
        for i in range(0, len(point), max(1, len(point) // 12)):
            ahead, behind = point.copy(), point.copy()
            ahead[i], behind[i] = point[i] + step, point[i] - step
            found = [value_and_gradient(problem, each)[0] for each in (ahead, behind)]
            slope = (found[0] - found[1]) / (2 * step)
            assert abs(slope - gradient[i]) < 1e-7 * abs(gradient[i]) + noise
            by_rows = rows(dataset, problem, ahead) - rows(dataset, problem, behind)
            priors.append(slope - by_rows / (2 * step))
    # What is not the rows' is the prior's, which knows no rows.
    np.testing.assert_allclose(*np.reshape(priors, (2, -1)), atol=10 * noise)


def test_what_is_taken_together_is_what_pays() -> None:
    blocks = dataset_of(6_000, FEATURES["levels"]).blocks
    rows = dataset_of(6_000, FEATURES["levels"]).rows
    (joint,) = together(blocks, rows)
    # 3·6·4, 8·3·5, 7·6·4, and 3 cells: 256 at most, and a packed double for the four groups.
    assert joint.compiled_size == 72 + 120 + 168 + 3
    assert joint.compiled_rows(rows).shape == (1, 6_000)
    (spread, *_) = together(dataset_of(6_000, FEATURES["counts"]).blocks, rows)
    assert spread.family == "tabled_counts"
    few = dataset_of(30, FEATURES["counts"])
    assert together(few.blocks, few.rows)[0] is few.blocks[0]
