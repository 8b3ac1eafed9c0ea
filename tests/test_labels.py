"""Permutations: the best of all K! of them, applied, undone and counted."""

from itertools import permutations

import numpy as np
import oracles
import pytest

from jointmix.base.errors import SchemaError
from jointmix.labels import agreement, ecr, inverse, order_by, permute, switch_rate
from jointmix.labels.assignment import assign


def planted(rng: np.random.Generator, draws: int, k: int) -> np.ndarray:
    """Permutations (draw, cluster): entry j is the component that is cluster j."""
    return np.stack([rng.permutation(k) for _ in range(draws)])


@pytest.mark.parametrize("k", [1, 2, 3, 5, 8])
def test_ecr_recovers_planted_permutations(k: int) -> None:
    rng = np.random.default_rng(k)
    pivot = rng.permutation(np.resize(np.arange(k), 40 * k))
    plan = planted(rng, 50, k)
    allocations = plan[:, pivot]
    # A quarter of each draw's rows goes anywhere: most of a cluster still stays together.
    moved = rng.random(allocations.shape) < 0.25
    allocations = np.where(moved, rng.integers(0, k, allocations.shape), allocations)
    np.testing.assert_array_equal(ecr(allocations, pivot), plan)


@pytest.mark.parametrize("k", [2, 3, 4, 5])
def test_ecr_is_the_best_of_all_permutations(k: int) -> None:
    rng = np.random.default_rng(20 + k)
    pivot, allocations = rng.integers(0, k, 12), rng.integers(0, k, (60, 12))
    chosen = ecr(allocations, pivot, k)
    for draw, order in zip(allocations, chosen, strict=True):
        assert sorted(order) == list(range(k))
        agreement = [(np.array(p)[pivot] == draw).sum() for p in permutations(range(k))]
        assert (order[pivot] == draw).sum() == max(agreement)


@pytest.mark.parametrize("k", [2, 3, 5])
def test_assign_is_the_best_of_all_permutations(k: int) -> None:
    rng = np.random.default_rng(30 + k)
    agreement = rng.normal(size=(80, k, k))
    chosen = assign(agreement)
    for matrix, order in zip(agreement, chosen, strict=True):
        total = matrix[np.arange(k), order].sum()
        # The same k numbers summed in another order.
        assert total == pytest.approx(oracles.best_agreement(matrix), abs=1e-13)


def test_ecr_by_hand() -> None:
    # Component 2 holds the rows of cluster 0, component 0 those of 1, component 1 those of 2.
    assert ecr(np.array([[2, 2, 0, 0, 1]]), np.array([0, 0, 1, 1, 2])).tolist() == [[2, 0, 1]]


def test_ecr_with_clusters_that_hold_no_row() -> None:
    chosen = ecr(np.array([[1, 1, 1], [3, 3, 3]]), np.array([0, 0, 0]), n_clusters=4)
    assert chosen[:, 0].tolist() == [1, 3]
    assert np.sort(chosen, axis=1).tolist() == [[0, 1, 2, 3]] * 2


@pytest.mark.parametrize(
    ("allocations", "pivot", "k"),
    [
        (np.zeros(4, int), np.zeros(4, int), None),
        (np.zeros((2, 4), int), np.zeros(5, int), None),
        (np.full((2, 4), 3), np.zeros(4, int), 3),
        (np.zeros((2, 4), int), np.full(4, 2), 2),
        (np.full((2, 4), -1), np.zeros(4, int), None),
    ],
)
def test_ecr_refuses(allocations: np.ndarray, pivot: np.ndarray, k: int | None) -> None:
    with pytest.raises(SchemaError, match="ecr needs"):
        ecr(allocations, pivot, k)


def test_order_by_sorts_each_draw() -> None:
    rng = np.random.default_rng(3)
    values = rng.normal(size=(100, 5))
    ordered = permute(values, order_by(values))
    np.testing.assert_array_equal(ordered, np.sort(values, axis=1))
    assert order_by(np.array([[3.0, 1.0, 2.0]])).tolist() == [[1, 2, 0]]
    assert order_by(np.array([[1.0, 1.0, 0.0]])).tolist() == [[2, 0, 1]]


@pytest.mark.parametrize("shape", [(), (3,), (3, 2)])
def test_permute_equals_a_loop(shape: tuple[int, ...]) -> None:
    rng = np.random.default_rng(4)
    values, plan = rng.normal(size=(20, 4, *shape)), planted(rng, 20, 4)
    by_loop = np.stack([draw[order] for draw, order in zip(values, plan, strict=True)])
    np.testing.assert_array_equal(permute(values, plan), by_loop)


@pytest.mark.parametrize(
    ("others", "rate"), [([], 0.0), ([[1, 0, 2]] * 3, 0.3), ([[1, 0, 2], [2, 1, 0]], 0.2)]
)
def test_switch_rate_is_the_share_outside_the_commonest(
    others: list[list[int]], rate: float
) -> None:
    plan = np.array([[2, 0, 1]] * (10 - len(others)) + others)
    # One rounding.
    assert switch_rate(plan) == pytest.approx(rate, abs=1e-15)


def test_inverse_undoes_permute() -> None:
    rng = np.random.default_rng(6)
    values, plan = rng.normal(size=(30, 5, 2)), planted(rng, 30, 5)
    np.testing.assert_array_equal(permute(permute(values, plan), inverse(plan)), values)
    # Component 2 became cluster 0, component 0 cluster 1, component 1 cluster 2.
    assert inverse(np.array([[2, 0, 1]])).tolist() == [[1, 2, 0]]


def test_agreement_is_up_to_one_permutation_of_all_draws() -> None:
    rng = np.random.default_rng(7)
    plan, common = planted(rng, 40, 4), rng.permutation(4)
    assert agreement(plan[:, common], plan) == 1
    other = plan[:, common]
    other[:4] = other[:4][:, [1, 0, 2, 3]]
    # One rounding.
    assert agreement(other, plan) == pytest.approx(0.9, abs=1e-15)


def test_order_by_refuses_what_has_no_order() -> None:
    with pytest.raises(SchemaError, match="1 entries not finite"):
        order_by(np.array([[1.0, np.nan]]))
    with pytest.raises(SchemaError, match="order_by needs"):
        order_by(np.zeros(3))
