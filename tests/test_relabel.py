"""Relabelling recovers planted permutations, and does what its authors published."""

from collections.abc import Callable
from itertools import permutations

import numpy as np
import pytest

from jointmix.base.errors import SchemaError
from jointmix.labels import (
    agreement,
    ecr,
    ecr_iterative,
    inverse,
    permute,
    pivotal,
    stephens,
    true_permutation_share,
)
from jointmix.labels.relabel import _mean_responsibility, _votes
from jointmix.model.simulate import four_clusters, simulate


def planted(rng: np.random.Generator, draws: int, k: int) -> np.ndarray:
    """Permutations (draw, cluster): entry j is the component that is cluster j."""
    return np.stack([rng.permutation(k) for _ in range(draws)])


def soft(rng: np.random.Generator, n: int, k: int, draws: int, spread: float) -> np.ndarray:
    """Responsibilities (draw, obs, cluster) in one labelling: noisy about fixed ones."""
    center = 4 * np.eye(k)[np.resize(np.arange(k), n)] + rng.normal(size=(n, k))
    logits = center + spread * rng.normal(size=(draws, n, k))
    share = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return share / share.sum(axis=-1, keepdims=True)


def scrambled(share: np.ndarray, plan: np.ndarray) -> np.ndarray:
    """Responsibilities whose component plan[draw, j] is cluster j."""
    return permute(share.swapaxes(1, 2), inverse(plan)).swapaxes(1, 2)


METHODS: dict[str, Callable[[np.ndarray, np.ndarray], np.ndarray]] = {
    "ecr": lambda share, pivot: ecr(share.argmax(-1), pivot),
    "version 1": lambda share, _: ecr_iterative(share.argmax(-1)),
    "version 2": lambda share, _: ecr_iterative(share.argmax(-1), share),
    "stephens": lambda share, _: stephens(share),
}


@pytest.mark.parametrize("k", [1, 2, 3, 4, 8])
@pytest.mark.parametrize("name", METHODS)
def test_planted_permutations_come_back(name: str, k: int) -> None:
    rng = np.random.default_rng(k)
    share = soft(rng, 30 * k, k, 120, 1.0)
    plan = planted(rng, 120, k)
    found = METHODS[name](scrambled(share, plan), share.mean(axis=0).argmax(-1))
    assert agreement(found, plan) == 1
    if name == "ecr":
        np.testing.assert_array_equal(found, plan)


def true_shares(n: int, seed: int, k: int) -> np.ndarray:
    """p(k | x, y) of simulated rows under draws about the truth, (draw, obs, cluster)."""
    truth = four_clusters(k)
    table = simulate(truth, n, seed)
    rng = np.random.default_rng(seed)
    x, y = table[list(truth.features)].to_numpy(), table[truth.response].to_numpy()
    draws = []
    for _ in range(150):
        mean = truth.mean + 0.1 * rng.normal(size=truth.mean.shape)
        line = truth.intercept + x @ (truth.slope + 0.1 * rng.normal(size=truth.slope.shape)).T
        level = (
            np.log(truth.weight)
            - np.log(truth.sigma)
            - 0.5 * ((y[:, None] - line) / truth.sigma) ** 2
        )
        for j in range(k):
            gap = x - mean[j]
            precision = np.linalg.inv(truth.covariance[j])
            level[:, j] -= 0.5 * np.einsum("ni,ij,nj->n", gap, precision, gap)
            level[:, j] -= 0.5 * np.linalg.slogdet(truth.covariance[j])[1]
        share = np.exp(level - level.max(axis=1, keepdims=True))
        draws.append(share / share.sum(axis=1, keepdims=True))
    return np.stack(draws)


@pytest.mark.parametrize("seed", [1, 2, 3])
@pytest.mark.parametrize("k", [3, 4])
@pytest.mark.parametrize("name", METHODS)
def test_the_four_clusters_come_back_in_every_draw(name: str, k: int, seed: int) -> None:
    share = true_shares(400, seed, k)
    plan = planted(np.random.default_rng(50 + seed), len(share), k)
    found = METHODS[name](scrambled(share, plan), share.mean(axis=0).argmax(-1))
    assert agreement(found, plan) == 1
    # Undone, the scrambled draws are what they were, to the last bit.
    back = permute(scrambled(share, plan).swapaxes(1, 2), found)
    order = found[0].tolist().index
    first = [plan[0].tolist().index(component) for component in found[0]]
    np.testing.assert_array_equal(back, share.swapaxes(1, 2)[:, first])
    assert order(found[0][0]) == 0


def best_by_enumeration(gain: np.ndarray) -> np.ndarray:
    """The permutation with the largest Σ_j gain[j, permutation[j]], of all K!."""
    k = len(gain)
    orders = list(permutations(range(k)))
    totals = [sum(gain[j, order[j]] for j in range(k)) for order in orders]
    return np.array(orders[int(np.argmax(totals))])


def published(
    method: str, allocations: np.ndarray, share: np.ndarray, rounds: int = 100
) -> np.ndarray:
    """The three iterative algorithms as published: from the identity, K! permutations tried."""
    draws, n, k = share.shape
    order = np.tile(np.arange(k), (draws, 1))
    for _ in range(rounds):
        mean = np.mean([share[m][:, order[m]] for m in range(draws)], axis=0)
        if method == "version 1":
            votes = np.zeros((n, k))
            for m in range(draws):
                for j in range(k):
                    votes[allocations[m] == order[m, j], j] += 1
            pivot = votes.argmax(axis=1)
        else:
            pivot = mean.argmax(axis=1)
        better = np.empty_like(order)
        for m in range(draws):
            if method == "stephens":
                safe = np.clip(share[m], 1e-6, 1 - 1e-6)
                safe = safe / safe.sum(axis=1, keepdims=True)
                target = np.clip(mean, 1e-6, 1 - 1e-6)
                target = target / target.sum(axis=1, keepdims=True)
                cost = [
                    [(safe[:, c] * np.log(safe[:, c] / target[:, j])).sum() for c in range(k)]
                    for j in range(k)
                ]
                better[m] = best_by_enumeration(-np.array(cost))
            else:
                counts = [
                    [((pivot == j) & (allocations[m] == c)).sum() for c in range(k)]
                    for j in range(k)
                ]
                better[m] = best_by_enumeration(np.array(counts))
        if np.array_equal(better, order):
            break
        order = better
    return order


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("name", ["version 1", "version 2", "stephens"])
def test_the_published_algorithms_give_the_same_labels(name: str, seed: int) -> None:
    rng = np.random.default_rng(seed)
    k = int(rng.integers(2, 5))
    share = scrambled(soft(rng, 12 * k, k, 40, 1.5), planted(rng, 40, k))
    allocations = share.argmax(-1)
    theirs = published(name, allocations, share)
    start = np.tile(np.arange(k), (40, 1))
    ours = (
        stephens(share, start)
        if name == "stephens"
        else ecr_iterative(allocations, share if name == "version 2" else None, k, start)
    )
    assert agreement(ours, theirs) == 1
    # From its own start too, up to one permutation of all draws.
    assert agreement(METHODS[name](share, np.zeros(0)), theirs) == 1


@pytest.mark.parametrize("seed", range(20))
def test_random_permutations_are_a_fixed_point_that_no_other_start_betters(seed: int) -> None:
    """Overlapping clusters, from several starts: the objective of the default start is the best."""
    rng = np.random.default_rng(200 + seed)
    k = 3
    share = scrambled(soft(rng, 30, k, 60, 2.5), planted(rng, 60, k))

    def divergence(order: np.ndarray) -> float:
        put = permute(share.swapaxes(1, 2), order)
        safe = np.clip(put, 1e-6, 1)
        return float((safe * (np.log(safe) - np.log(safe.mean(axis=0)))).sum())

    others = [divergence(stephens(share, planted(rng, 60, k))) for _ in range(5)]
    # Rounding and the smoothing of probabilities below 1e-6.
    assert divergence(stephens(share)) <= min(others) * (1 + 1e-3)


def test_stephens_cannot_be_bettered_by_changing_one_draw() -> None:
    rng = np.random.default_rng(9)
    share = scrambled(soft(rng, 20, 3, 15, 2.0), planted(rng, 15, 3))
    order = stephens(share)
    mean = np.mean([share[m][:, order[m]] for m in range(15)], axis=0)
    for m in range(15):
        costs = {
            other: (share[m][:, other] * -np.log(mean)).sum() for other in permutations(range(3))
        }
        assert costs[tuple(order[m].tolist())] == pytest.approx(min(costs.values()), rel=1e-12)


@pytest.mark.parametrize("k", [2, 3, 4])
def test_pivotal_is_the_nearest_of_all_permutations(k: int) -> None:
    rng = np.random.default_rng(k)
    points = rng.normal(size=(50, k, 3)) * [1.0, 100.0, 1e-4]
    pivot = points[7]
    found = pivotal(points, pivot)
    unit = points.std(axis=(0, 1))
    raw = pivotal(points, pivot, scale=1.0)
    for draw, order, plain in zip(points, found, raw, strict=True):
        gain = -((((pivot[:, None] - draw[None]) / unit) ** 2).sum(-1))
        assert gain[np.arange(k), order].sum() == pytest.approx(
            gain[np.arange(k), best_by_enumeration(gain)].sum(), rel=1e-12
        )
        # As published: the largest inner product of the parameters as they are.
        product = pivot @ draw.T
        assert product[np.arange(k), plain].sum() == pytest.approx(
            product[np.arange(k), best_by_enumeration(product)].sum(), rel=1e-9
        )
    np.testing.assert_array_equal(found[7], np.arange(k))


def test_pivotal_does_not_depend_on_units() -> None:
    rng = np.random.default_rng(3)
    points = rng.normal(size=(40, 3, 2))
    there = points * [1e9, 1e-9] + [5e9, 0.0]
    np.testing.assert_array_equal(pivotal(points, points[0]), pivotal(there, there[0]))


class Blocks:
    """An array over draws that counts how many draws are read at a time."""

    def __init__(self, values: np.ndarray) -> None:
        self.values, self.shape, self.most = values, values.shape, 0

    def __getitem__(self, key: slice) -> np.ndarray:
        block = self.values[key]
        self.most = max(self.most, len(block))
        return block


@pytest.mark.parametrize("name", METHODS)
def test_draws_are_read_by_blocks(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(4)
    share = scrambled(soft(rng, 60, 3, 300, 1.0), planted(rng, 300, 3))
    hard = share.argmax(-1)
    call: dict[str, Callable[[object, object], np.ndarray]] = {
        "ecr": lambda _, z: ecr(z, hard[0]),
        "version 1": lambda _, z: ecr_iterative(z),
        "version 2": lambda p, z: ecr_iterative(z, p),
        "stephens": lambda p, _: stephens(p),
    }
    whole = call[name](share, hard)
    monkeypatch.setattr("jointmix.labels.relabel._BATCH_NUMBERS", 7 * 180)
    blocks = Blocks(share), Blocks(hard)
    np.testing.assert_array_equal(call[name](*blocks), whole)
    assert blocks[0].most <= 7
    assert blocks[1].most <= 21


def test_a_memory_map_will_do(tmp_path) -> None:
    rng = np.random.default_rng(5)
    share = scrambled(soft(rng, 40, 3, 50, 1.0), planted(rng, 50, 3))
    stored = np.lib.format.open_memmap(
        tmp_path / "p.npy", mode="w+", dtype="float32", shape=share.shape
    )
    stored[:] = share
    np.testing.assert_array_equal(stephens(stored), stephens(share))


HARD, SOFT = np.zeros((3, 4), dtype=int), np.full((3, 4, 2), 0.5)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: ecr_iterative(np.zeros(4, dtype=int)), "needs allocations"),
        (lambda: ecr_iterative(HARD + 0.5), "whole numbers"),
        (lambda: ecr_iterative(HARD - 1), "labels from 0"),
        (lambda: ecr_iterative(HARD, SOFT[:2]), "same draws and rows"),
        (lambda: ecr_iterative(HARD, start=np.ones((3, 1), dtype=int)), "start must hold"),
        (lambda: stephens(SOFT[0]), "needs responsibilities"),
        (lambda: stephens(np.log(SOFT)), "sum to 1"),
        (lambda: stephens(3 * SOFT), "sum to 1"),
        (lambda: stephens(SOFT, np.zeros((3, 2), dtype=int)), "start must hold"),
        (lambda: stephens(np.zeros((0, 4, 2))), "needs responsibilities"),
        (lambda: pivotal(np.zeros((3, 2)), np.zeros((2, 1))), "needs parameters"),
        (lambda: pivotal(np.full((3, 2, 1), np.nan), np.zeros((2, 1))), "finite"),
        (lambda: ecr(HARD[:, :0], np.zeros(0, dtype=int)), "ecr needs"),
    ],
)
def test_refusals_say_what_is_needed(call: Callable[[], object], words: str) -> None:
    with pytest.raises(SchemaError, match=words):
        call()


@pytest.mark.parametrize("seed", range(4))
def test_votes_and_means_are_counted_draw_by_draw(seed: int) -> None:
    rng = np.random.default_rng(300 + seed)
    k, share = 4, soft(rng, 25, 4, 30, 2.0)
    hard, order = share.argmax(-1), planted(rng, 30, 4)
    votes, mean = np.zeros((k, 25)), np.zeros((25, k))
    for m in range(30):
        for j in range(k):
            votes[j] += hard[m] == order[m, j]
            mean[:, j] += share[m][:, order[m, j]] / 30
    np.testing.assert_array_equal(_votes(hard, order, k), votes)
    # Sums of thirty numbers in another order.
    np.testing.assert_allclose(_mean_responsibility(share, order), mean, rtol=0, atol=1e-14)


def test_groups_of_different_spread_are_told_apart_by_their_densities() -> None:
    rng = np.random.default_rng(11)
    points = np.stack(
        [rng.normal(0, 0.05, (2000, 2)), rng.normal(4, 1, (2000, 2)), rng.normal(-9, 1, (2000, 2))],
        axis=1,
    )
    # Tight beside wide: four sd of the wide one apart, each is nearest to its own density.
    assert true_permutation_share(points) > 0.998
    mixed = points.copy()
    mixed[:300, 0] = mixed[:300, 1]
    # In three hundred draws two components lie in one group.
    assert true_permutation_share(mixed) == pytest.approx(0.85, abs=0.003)
    # A permutation of a draw is still one.
    turned = points.copy()
    turned[:500] = turned[:500][:, [2, 0, 1]]
    assert true_permutation_share(turned) > 0.998
    assert np.isnan(true_permutation_share(points[..., :0]))
