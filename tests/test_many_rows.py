"""Work on many rows: in parts, in the same places, and without more of them than it needs."""

import gc
import tracemalloc
from dataclasses import replace

import numpy as np
import pytest

import jointmix as jm
from jointmix.base import threads
from jointmix.base.threads import row_parts
from jointmix.families import steps
from jointmix.families.parameters import Parameters
from jointmix.families.steps import Products
from jointmix.kernel import allocate as allocating
from jointmix.kernel.allocate import allocate
from jointmix.kernel.entry import value_and_gradient
from jointmix.kernel.problem import make_problem, n_free
from jointmix.model.dataset import Dataset, make_dataset
from jointmix.model.simulate import four_clusters, simulate
from jointmix.modes.mstep import make_problem as em_problem

TRUTH = four_clusters(3, 4)
SPEC = jm.ModelSpec(
    n_clusters=3, features=TRUTH.features, predictors=TRUTH.predictors, response="y"
)


def dataset_of(n: int, **changes: object) -> Dataset:
    return make_dataset(simulate(TRUTH, n, seed=3), replace(SPEC, **changes))


def at_random(dataset: Dataset) -> tuple[np.ndarray, Parameters]:
    rng = np.random.default_rng(4)
    best = jm.fit_em(dataset, dataset.spec, seed=1).best.parameters
    return rng.normal(size=n_free(dataset.spec)), dataset.scaling.to_model(best)


@pytest.mark.parametrize("gaps", [False, True])
def test_products_of_many_rows_add_up_to_those_that_are_held(
    monkeypatch: pytest.MonkeyPatch, gaps: bool
) -> None:
    rng = np.random.default_rng(1)
    values, weight = rng.normal(size=(20_001, 5)), rng.random((2, 3, 20_001))
    if gaps:
        values[rng.random(values.shape) < 0.1] = np.nan
    few = Products(values)
    assert few.held is not None
    w = np.column_stack([np.ones(len(values)), np.nan_to_num(values, nan=0.0)])
    by_hand = np.einsum("skn,ni,nj->skij", weight, w, w)
    np.testing.assert_allclose(few.summed(weight), by_hand, rtol=1e-11, atol=1e-9)
    monkeypatch.setattr(steps, "_HELD", 0)
    many = Products(values)
    assert many.held is None
    # The same sums of 20,001 numbers in another order.
    np.testing.assert_allclose(many.summed(weight), few.summed(weight), rtol=1e-11, atol=1e-9)
    found = many.summed(weight)
    monkeypatch.setattr(threads, "available_cores", lambda: 7)
    np.testing.assert_array_equal(Products(values).summed(weight), found)


@pytest.mark.parametrize("step", [8192, 96])
@pytest.mark.parametrize("n", [1, 8191, 8192, 131_072, 131_073, 1_000_000])
def test_parts_are_all_rows_once_and_begin_where_tiles_do(n: int, step: int) -> None:
    parts = row_parts(n, step)
    places = [part.start for part in parts] + [n]
    assert places[0] == 0
    assert [part.stop for part in parts] == places[1:]
    assert all(part.start % step == 0 for part in parts)
    assert len(parts) <= 16


def test_responsibilities_do_not_depend_on_how_rows_are_divided(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    dataset = dataset_of(30_000)
    parameters = at_random(dataset)[1].batched()
    whole = allocate(dataset.rows, parameters, dataset.blocks, True)
    parts = allocate(dataset.rows, parameters, dataset.blocks, True, least=0)
    for one, other in zip(whole[:2], parts[:2], strict=True):
        np.testing.assert_array_equal(one, other)
    # Four sums in place of one, of 30,000 terms.
    np.testing.assert_allclose(parts[2], whole[2], rtol=1e-13)
    monkeypatch.setattr(threads, "available_cores", lambda: 5)
    parted: list[int] = []

    def counted(function, items, *more):  # type: ignore[no-untyped-def]
        parted.append(len(items))
        return threads.on_cores(function, items, *more)

    monkeypatch.setattr(allocating, "on_cores", counted)
    again = allocate(dataset.rows, parameters, dataset.blocks, True, least=0)
    np.testing.assert_array_equal(again[2], parts[2])
    assert 8 <= parted[0] <= 16


def test_problems_of_the_same_rows_share_them_and_outlive_the_dataset() -> None:
    dataset = dataset_of(20_000)
    q, _ = at_random(dataset)
    tracemalloc.start()
    first = make_problem(dataset)
    before = tracemalloc.get_traced_memory()[0]
    others = [make_problem(dataset, np.eye(1, 9)[0]) for _ in range(3)]
    assert tracemalloc.get_traced_memory()[0] - before < 20_000 * 8
    tracemalloc.stop()
    expected = value_and_gradient(first, q)
    assert sum(each.nbytes for each in (first, *others)) < 20_000 * 8
    copies = [np.array(first) for _ in range(2)]
    del dataset, others
    gc.collect()
    # Whatever takes the place of what was let go.
    filled = [np.full(20_000, np.nan) for _ in range(50)]
    found = value_and_gradient(first, q)
    np.testing.assert_array_equal(found[1], expected[1])
    assert found[0] == expected[0]
    del filled, copies


def test_em_climbs_on_the_rows_that_are_sampled() -> None:
    dataset = dataset_of(300)
    problem = em_problem(dataset)
    assert problem.rows is dataset.rows
    assert problem.values is dataset.scaled
    other = dataset.under(replace(SPEC, n_clusters=2, ordering="none"))
    assert other.rows is dataset.rows
    assert other.scaling.spec is other.spec
    # Another scale, or another response, has rows of its own.
    for changed in ({"standardize": False}, {"covariance": "spherical"}):
        own = dataset.under(replace(SPEC, **changed))
        assert own.rows is not dataset.rows
    raw = dataset_of(300, standardize=False)
    assert em_problem(raw).rows is not raw.rows


def test_rows_that_are_let_go_are_made_again() -> None:
    dataset = dataset_of(300)
    before = dataset.rows
    dataset.release()
    assert dataset.rows is not before
    np.testing.assert_array_equal(dataset.rows.x, before.x)


def test_adjoining_predictors_are_no_copy() -> None:
    dataset = dataset_of(300)
    assert np.shares_memory(dataset.users_rows.u, dataset.values)
    apart = dataset_of(300, predictors=("x3", "x1"))
    np.testing.assert_array_equal(apart.users_rows.u, apart.select(("x3", "x1")))


def test_the_groups_of_a_fit_share_index_and_columns() -> None:
    quick = jm.SamplerSpec(sampler="laplace", draws=20, chains=2)
    tree = jm.fit(simulate(TRUTH, 300, seed=3), replace(SPEC, sampler=quick), seed=1)
    assert np.shares_memory(tree["observed_data"]["x"].values, tree["constant_data"]["u"].values)
    labels = [tree[name].indexes["obs"] for name in ("observed_data", "constant_data")]
    assert np.shares_memory(*(each.values for each in labels))
