"""Levels that are missing and of which predictors are made: sums over all they may be."""

from itertools import product

import numpy as np
import pandas as pd
import pytest
from scipy.special import logsumexp
from test_fused import with_gradient

import jointmix as jm
from jointmix.base.errors import DataError
from jointmix.families.mixture import component_log_density, log_likelihood, responsibility
from jointmix.families.parameters import Parameters
from jointmix.kernel.allocate import allocate
from jointmix.kernel.densities import densities
from jointmix.kernel.entry import value_and_gradient
from jointmix.kernel.problem import make_problem, n_free
from jointmix.kernel.values import parameters as expanded
from jointmix.model.dataset import Dataset, make_dataset
from jointmix.model.packing import packed
from jointmix.model.rows import scaled_rows
from jointmix.modes import mstep
from jointmix.modes.climb import expect

LEVELS = {"word": ("high", "low", "mid"), "kind": ("p", "q")}
#: Rows in which words, kinds, a number that is no predictor, one that is, and the response lack.
HOLES = {"word": [0, 3, 5, 8, 9, 11], "kind": [5, 6, 9], "b": [8], "a": [9], "y": [3, 10]}
FORMULAS = {
    "normal": "y ~ a + word + kind",
    "student_t": "y ~ z * word + kind",
    "poisson": "count ~ z * word + kind",
    "gamma": "wait ~ z + word:kind",
}


def table_of(n: int = 120, holes: dict[str, list[int]] | None = None) -> pd.DataFrame:
    """Two clusters in two numbers and two words, and a response that depends on both words."""
    rng = np.random.default_rng(5)
    cluster, z = rng.integers(2, size=n), rng.normal(size=n)
    a, b = rng.normal(size=(2, n)) + 3 * cluster
    place = np.where(rng.random(n) < 0.6, cluster, rng.integers(3, size=n))
    kind = rng.integers(2, size=n)
    line = 0.4 * z + np.array([0.0, 1.0, -1.0])[place] * (1 - 2 * cluster) + 0.5 * kind
    table = pd.DataFrame({"a": a, "b": b, "z": z, "w": rng.integers(1, 4, size=n)})
    table["word"] = np.array(LEVELS["word"], dtype=object)[place]
    table["kind"] = np.array(LEVELS["kind"], dtype=object)[kind]
    table["y"] = line + 0.3 * rng.normal(size=n)
    table["count"] = rng.poisson(np.exp(line)) * 1.0
    table["wait"] = rng.gamma(3.0, np.exp(line))
    for name, rows in (holes or {}).items():
        table.loc[rows, name] = None if name in LEVELS else np.nan
    return table


def spec_of(family: str = "normal", **options: object) -> jm.ModelSpec:
    given: dict = {"n_clusters": 2, "features": ["a", "b", "word", "kind"], "family": family,
                   "formula": FORMULAS[family], "missing": "model",
                   "sampler": jm.SamplerSpec(sampler="laplace", draws=100, chains=2, starts=4),
                   **options}  # fmt: skip
    return jm.ModelSpec(**given)


def holes_of(family: str) -> dict[str, list[int]]:
    response = FORMULAS[family].split()[0]
    return {response if name == "y" else name: rows for name, rows in HOLES.items()}


def dataset_of(
    family: str = "normal", holes: dict[str, list[int]] | None = None, **options: object
) -> Dataset:
    table = table_of(holes=holes_of(family) if holes is None else holes)
    return make_dataset(table, spec_of(family, **options))


def point_of(dataset: Dataset, seed: int = 2) -> tuple[np.ndarray, np.ndarray, Parameters]:
    """A problem, unconstrained values, and the parameters that they are."""
    problem = make_problem(dataset)
    q = np.random.default_rng(seed).normal(0, 0.4, n_free(dataset.spec))
    return problem, q, packed(expanded(problem, dataset.spec, q), dataset.spec)


def by_hand(dataset: Dataset, parameters: Parameters) -> np.ndarray:
    """log density of each row and component, with every combination of levels filled in."""
    table = table_of(holes=holes_of(dataset.spec.family))
    gone = {name: table[name].isna() for name in LEVELS}
    each = []
    for word, kind in product(*LEVELS.values()):
        filled = table.assign(word=table["word"].fillna(word), kind=table["kind"].fillna(kind))
        rows = make_dataset(filled, dataset.spec, demand="density")
        scaled = scaled_rows(rows.users_rows, dataset.scaling)
        each.append(component_log_density(dataset.blocks, scaled, parameters))
    repeats = np.where(gone["word"], 1, 3) * np.where(gone["kind"], 1, 2)
    return logsumexp(each, axis=0) - np.log(repeats)[:, None]


@pytest.mark.parametrize("family", FORMULAS)
def test_the_density_is_the_sum_over_levels(family: str) -> None:
    """Of the mixture, the kernel, its gradient, and its responsibilities, weights among them."""
    dataset = dataset_of(family, row_weights="w")
    assert dataset.completions is not None
    # A row without a response has none: its factor drops out.
    count = {place: part.alternatives for part in dataset.rows.patterns for place in part.place}
    assert [count[row] for row in range(12)] == [3, 1, 1, 1, 1, 6, 2, 1, 3, 6, 1, 3]
    problem, q, parameters = point_of(dataset)
    expected = by_hand(dataset, parameters)
    found = component_log_density(dataset.blocks, dataset.rows, parameters)
    np.testing.assert_allclose(found, expected, rtol=1e-12, atol=1e-11)
    share, _, (value,) = allocate(dataset.rows, parameters.batched(), dataset.blocks)
    np.testing.assert_allclose(share[0].T, responsibility(expected), atol=1e-12)
    assert value == pytest.approx(dataset.rows.weights @ log_likelihood(expected), rel=1e-12)
    whole, gradient = value_and_gradient(problem, q)
    assert densities(problem, q[None])[0] == pytest.approx(whole, rel=1e-12)
    # What is left is the prior's, which knows no rows.
    other, at, same = point_of(make_dataset(table_of(), dataset.spec))
    plain = make_dataset(table_of(), dataset.spec)
    rows = log_likelihood(component_log_density(plain.blocks, plain.rows, same))
    if family == "normal":
        prior = value_and_gradient(other, at)[0] - plain.rows.weights @ rows
        assert whole - value == pytest.approx(prior, abs=1e-9)
    step = 1e-5
    for i, own in enumerate(np.eye(len(q)) * step):
        ahead, behind = (value_and_gradient(problem, q + sign * own)[0] for sign in (1, -1))
        # Differences of the log density carry its rounding over the step, and its third slope.
        bound = 1e-7 * max(abs(gradient[i]), 10.0) + 1e-14 * abs(whole) / step
        assert abs((ahead - behind) / (2 * step) - gradient[i]) < bound


@pytest.mark.parametrize("fused", [False, True])
def test_pymc_has_the_kernels_density_and_gradient(fused: bool) -> None:
    # Each pattern takes seconds to compile.
    dataset = dataset_of("normal", {"word": [0, 5], "kind": [5]}, row_weights="w")
    problem, q, _ = point_of(dataset)
    value, gradient = value_and_gradient(problem, q)
    model = jm.build_model(dataset, dataset.spec, fused=fused)
    point, first = list[np.ndarray](), 0
    for start in model.initial_point().values():
        point.append(q[first : first + start.size].reshape(start.shape))
        first += start.size
    total, *slopes = with_gradient(model)(*point)
    assert total == pytest.approx(value, rel=1e-11)
    found = np.concatenate([np.ravel(slope) for slope in slopes])
    np.testing.assert_allclose(found, gradient, rtol=1e-9, atol=1e-9)


def test_em_climbs_and_reaches_the_rows_density() -> None:
    dataset = dataset_of("normal", row_weights="w")
    problem = mstep.make_problem(dataset)
    hard = np.random.default_rng(1).integers(2, size=len(problem.table.y))[problem.group]
    at, values = mstep.maximise(problem, problem.parted(np.eye(2)[:, hard][None]), None), []
    for _ in range(15):
        share, value = expect(problem, at)
        values.append(value[0])
        np.testing.assert_allclose(problem.joined(share).sum(axis=1), 1.0, atol=1e-12)
        last, at = at, mstep.maximise(problem, share, at)
    assert (np.diff(values) > 0).all()
    model = dataset.scaling.to_model(problem.scaling.to_users(last)).take(0)
    found = by_hand(dataset, model).astype(float)
    whole = dataset.rows.weights @ log_likelihood(found)
    whole += dataset.scaling.total_jacobian(dataset.rows)
    # Sums of a thousand, on two scales.
    assert values[-1] + problem.scaling.total_jacobian(problem.table) == pytest.approx(whole)


def test_too_many_combinations_are_refused() -> None:
    rng = np.random.default_rng(3)
    names = np.array([f"l{i:02}" for i in range(40)], dtype=object)
    words = {name: names[rng.permutation(np.arange(400) % 40)] for name in ("one", "two")}
    table = pd.DataFrame({"a": rng.normal(size=400), "y": rng.normal(size=400), **words})
    table.loc[3, ["one", "two"]] = None
    spec = jm.ModelSpec(n_clusters=1, features=["a", "one", "two"], formula="y ~ a + one + two",
                        missing="model")  # fmt: skip
    with pytest.raises(DataError, match=r"in row 3 .*, and they have 1600 combinations of levels"):
        make_dataset(table, spec)


def test_products_with_numbers_that_are_missing_are_refused() -> None:
    table = table_of(holes={"word": [0], "a": [4]})
    with pytest.raises(DataError, match=r"'a' has missing entries: 1.*'word:a' is made of it"):
        make_dataset(table, spec_of(formula="y ~ word * a"))
