"""Relabelling at its edges: large K, offsets, ties, exact zeros, and what each error says."""

import numpy as np
import pytest

from jointmix.base.errors import SchemaError
from jointmix.labels import ecr, ecr_iterative, order_by, pivotal, stephens
from jointmix.labels.assignment import assign
from jointmix.labels.relabel import (
    _mean_responsibility,
    _spread,
    _taken,
    _total,
    _votes,
    kl_agreement,
)


def said(call) -> str:
    with pytest.raises(SchemaError) as caught:
        call()
    return str(caught.value)


def test_ties_keep_the_components_order_however_many() -> None:
    # NumPy's other sorts keep the order of up to sixteen ties by chance.
    values = np.zeros((2, 40))
    values[1, ::2] = -1
    expected = np.r_[np.arange(0, 40, 2), np.arange(1, 40, 2)]
    np.testing.assert_array_equal(order_by(values), [np.arange(40), expected])


def test_order_by_counts_what_is_not_finite() -> None:
    assert said(lambda: order_by(np.array([[1.0, np.nan, np.inf]]))) == (
        "order_by needs finite values (draw, component); got shape (1, 3) with 2 entries not "
        "finite."
    )


def test_votes_of_more_clusters_than_a_byte_counts() -> None:
    k = 200
    allocations = np.arange(k)[None, :]
    turned = np.roll(np.arange(k), 3)[None, :]
    votes = _votes(allocations, turned, k)
    # Component turned[j] is cluster j, so that row n, of component n, votes for cluster n + 3.
    np.testing.assert_array_equal(votes.argmax(0), (np.arange(k) + 3) % k)
    assert votes.sum() == k
    np.testing.assert_array_equal(
        ecr_iterative(np.repeat(allocations, 3, 0), n_clusters=k), np.tile(np.arange(k), (3, 1))
    )


@pytest.mark.parametrize("offset", [0.0, 1e9, -1e12])
def test_pivotal_does_not_depend_on_where_zero_lies(offset: float) -> None:
    rng = np.random.default_rng(1)
    pivot = np.array([[0.0, 5.0], [5.0, 0.0], [5.0, 5.0]])
    plan = np.stack([rng.permutation(3) for _ in range(40)])
    inverse = np.argsort(plan, axis=1)
    draws = pivot[inverse] + 0.2 * rng.normal(size=(40, 3, 2))
    np.testing.assert_array_equal(pivotal(draws + offset, pivot + offset), plan)


def test_a_parameter_that_never_varies_says_nothing() -> None:
    draws = np.array([[[0.0, 7.0], [1.0, 7.0]], [[1.1, 7.0], [0.1, 7.0]]])
    np.testing.assert_array_equal(
        pivotal(draws, np.array([[0.0, 7.0], [1.0, 7.0]])), [[0, 1], [1, 0]]
    )
    # Whole numbers and lists will do, and so will a scale of one's own.
    whole = np.array([[[0, 9], [4, 1]], [[4, 1], [0, 9]]])
    np.testing.assert_array_equal(pivotal(whole, [[0, 9], [4, 1]]), [[0, 1], [1, 0]])
    # By the second parameter alone, the first one being told to weigh nothing.
    np.testing.assert_array_equal(
        pivotal(np.array([[[0.0, 1.0], [9.0, 0.0]]]), [[0.0, 0.0], [9.0, 1.0]], scale=[1e6, 1e-3]),
        [[1, 0]],
    )


@pytest.mark.parametrize(
    ("parameters", "pivot"),
    [
        (np.zeros((3, 2, 2)), np.zeros((2, 3))),
        (np.zeros((3, 2, 2, 2)), np.zeros((2, 2, 2))),
        (np.zeros((3, 0, 2)), np.zeros((0, 2))),
    ],
)
def test_pivotal_says_which_shapes_it_got(parameters: np.ndarray, pivot: np.ndarray) -> None:
    assert said(lambda: pivotal(parameters, pivot)) == (
        "pivotal needs parameters (draw, component, parameter) and a pivot (cluster, parameter); "
        f"got shapes {parameters.shape} and {pivot.shape}."
    )


def test_certain_and_rounded_responsibilities_are_welcome() -> None:
    certain = np.eye(2)[np.array([[0, 0, 1], [1, 1, 0]])]
    np.testing.assert_array_equal(stephens(certain), [[0, 1], [1, 0]])
    np.testing.assert_array_equal(stephens(certain * (1 + 9e-4)), [[0, 1], [1, 0]])
    for wrong in (certain * (1 + 2e-3), certain * 0.9, certain * (1 - 2e-3)):
        assert said(lambda given=wrong: stephens(given)) == (
            "stephens needs responsibilities that are >= 0 and sum to 1 in each row."
        )


def test_the_divergence_by_hand_keeps_off_zero() -> None:
    least = 1e-6
    p = np.array([[[1.0, 0.0], [0.25, 0.75]], [[0.5, 0.5], [0.0, 1.0]]])
    q = np.array([[1.0, 0.0], [0.4, 0.6]])
    bounded = np.array([[1 - least, least], [0.4, 0.6]])
    clipped = np.clip(p, least, 1 - least)
    expected = np.array(
        [
            [
                [sum(clipped[m, n, j] * np.log(bounded[n, k]) for n in range(2)) for j in range(2)]
                for k in range(2)
            ]
            for m in range(2)
        ]
    )
    np.testing.assert_allclose(kl_agreement(p, q), expected, rtol=1e-14)
    # Away from the bound, what sums to a little more or less than one is brought back to one.
    inner, target = np.array([[[0.3, 0.7], [0.6, 0.4]]]), np.array([[0.8, 0.2], [0.4, 0.6]])
    np.testing.assert_allclose(
        kl_agreement(inner * np.array([[1.0005], [0.9995]]), target * 0.9995),
        kl_agreement(inner, target),
        rtol=1e-14,
    )


def test_the_number_of_clusters_comes_from_the_responsibilities() -> None:
    soft = np.zeros((2, 4, 3))
    soft[0, :, :2] = [[0.9, 0.1], [0.9, 0.1], [0.1, 0.9], [0.1, 0.9]]
    soft[1, :, :2] = soft[0, :, 1::-1]
    hard = soft.argmax(-1)
    found = ecr_iterative(hard, soft)
    np.testing.assert_array_equal(found, [[0, 1, 2], [1, 0, 2]])
    assert ecr_iterative(hard).shape == (2, 2)
    assert ecr_iterative(hard, n_clusters=5).shape == (2, 5)
    # A number that is given counts, also beside responsibilities.
    assert "labels from 0 to 0; got 0 to 1." in said(lambda: ecr_iterative(hard, soft, 1))


def test_whole_numbers_may_be_floats() -> None:
    hard, pivot = np.array([[2.0, 2.0, 0.0, 1.0]]), np.array([0.0, 0.0, 1.0, 2.0])
    np.testing.assert_array_equal(ecr(hard, pivot), [[2, 0, 1]])
    np.testing.assert_array_equal(ecr(hard.astype(np.uint8), pivot), [[2, 0, 1]])
    assert said(lambda: ecr(hard + 0.5, pivot)) == (
        "ecr needs whole numbers as labels; got float64."
    )
    assert said(lambda: ecr(hard, pivot + 0.5)).startswith("ecr needs labels from 0 to 2")


def test_errors_name_the_function_and_the_range() -> None:
    hard = np.array([[0, 1, 2]])
    assert said(lambda: ecr(hard, np.array([0, 1, 3]), 3)) == (
        "ecr needs labels from 0 to 2; got 0 to 3."
    )
    assert said(lambda: ecr_iterative(hard - 1)) == (
        "ecr_iterative needs labels from 0 to 1; got -1 to 1."
    )
    assert said(lambda: ecr_iterative(hard, start=np.array([[0, 0, 1]]))) == (
        "start must hold a permutation of 0 to 2 for each of the 1 draws; got shape (1, 3)."
    )
    assert said(lambda: ecr_iterative(hard, np.ones((1, 3)))) == (
        "ecr_iterative needs responsibilities (draw, obs, component); got shape (1, 3)."
    )
    assert said(lambda: stephens(np.ones((1, 3)))).startswith("stephens needs responsibilities (")
    soft = np.full((1, 3, 2), 0.4)
    assert said(lambda: ecr_iterative(hard, soft)).startswith("ecr_iterative needs responsibiliti")


@pytest.mark.parametrize(
    ("n_draws", "count", "places"),
    [(1, 8, [0]), (3, 8, [0, 1, 2]), (9, 3, [0, 4, 8]), (100, 5, [0, 24, 49, 74, 99])],
)
def test_a_few_draws_are_spread_from_the_first_to_the_last(
    n_draws: int, count: int, places: list[int]
) -> None:
    assert _spread(n_draws, count) == places
    values = np.arange(n_draws * 2).reshape(n_draws, 2)
    np.testing.assert_array_equal(_taken(values, count), values[places])


def test_total_and_assignment_by_hand() -> None:
    agreement = np.array([[[1.0, 2.0], [3.0, 5.0]], [[9.0, 8.0], [7.0, 1.0]]])
    # First draw: 1 + 5 beats 2 + 3. Second: 8 + 7 beats 9 + 1.
    np.testing.assert_array_equal(assign(agreement), [[0, 1], [1, 0]])
    assert _total(agreement, np.array([[0, 1], [1, 0]])) == 21


def test_means_are_taken_over_all_blocks_of_draws(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(9)
    share = rng.dirichlet(np.ones(3), (20, 5))
    order = np.stack([rng.permutation(3) for _ in range(20)])
    expected = np.mean([own[:, labels] for own, labels in zip(share, order, strict=True)], axis=0)
    # Seven draws of five rows and three components at a time: three blocks.
    monkeypatch.setattr("jointmix.labels.relabel._BATCH_NUMBERS", 7 * 15)
    np.testing.assert_allclose(_mean_responsibility(share, order), expected, rtol=1e-14)
