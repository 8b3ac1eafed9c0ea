"""Allocations: against loops over draws, enumeration of all partitions, and frequencies."""

from itertools import product

import numpy as np
import pytest
import xarray as xr
from synthetic import fitted_tree

from jointmix.base.errors import DataError, SpecError
from jointmix.families.mixture import log_terms, responsibility
from jointmix.kernel.partition import expected_loss, improve
from jointmix.posterior.allocations import (
    allocation_draws,
    coclustering,
    responsibilities,
)
from jointmix.posterior.draws import (
    fitted_spec,
    observed_rows,
    posterior_parameters,
)
from jointmix.posterior.partitions import partition

VI = {n: np.array([0.0, *(m * np.log2(m) for m in range(1, n + 1))]) / n for n in (6, 7, 60)}


@pytest.fixture(scope="module")
def tree() -> xr.DataTree:
    return fitted_tree(n_clusters=3, n_features=2, predictors=["x2", "outside"], seed=8)


def shares(tree: xr.DataTree) -> tuple[np.ndarray, np.ndarray]:
    """p(k | x) and p(k | x, y) by draw, (draw, obs, cluster)."""
    parameters = posterior_parameters(tree)
    first, second = log_terms(
        fitted_spec(tree).blocks, observed_rows(tree, fitted_spec(tree)), parameters
    )
    return responsibility(first), responsibility(first + second)


def overlapping() -> xr.DataTree:
    """A tree whose means are drawn together, so that rows are uncertain."""
    tree = fitted_tree(n_clusters=3, n_features=1, seed=3)
    for name in ("mean", "intercept", "slope"):
        values = tree["posterior"][name].values
        values[:] = 0.25 * values + 0.75 * values.mean(axis=2, keepdims=True)
    return tree


def test_side_by_side_with_intervals_and_bits() -> None:
    tree = overlapping()
    found = responsibilities(tree, quantiles=(0.1, 0.9))
    features, both = shares(tree)
    for name, share in (("responsibility_features", features), ("responsibility", both)):
        np.testing.assert_allclose(found[name], share.mean(0), rtol=0, atol=1e-11)
        bounds = np.quantile(share, [0.1, 0.9], axis=0).transpose(1, 2, 0)
        np.testing.assert_allclose(found[f"{name}_quantiles"], bounds, rtol=0, atol=1e-10)
        p = share.mean(0)
        bits = -(p * np.log2(np.maximum(p, 1e-300))).sum(-1)
        entropy = found[name.replace("responsibility", "entropy")]
        np.testing.assert_allclose(entropy, bits, rtol=0, atol=1e-9)
    p, q = both.mean(0), features.mean(0)
    told = (p * np.log2(np.maximum(p, 1e-300) / q)).sum(-1)
    np.testing.assert_allclose(found["information"], told, rtol=1e-9, atol=1e-9)
    assert float(found["information"].max()) > 0.5
    assert "responsibility_quantiles" not in responsibilities(tree, quantiles=())
    with pytest.raises(SpecError, match="quantiles"):
        responsibilities(tree, quantiles=(0.5, 1.0))


def test_without_a_response_nothing_was_told() -> None:
    tree = fitted_tree(n_clusters=2, n_features=2, response=None, seed=2)
    found = responsibilities(tree)
    assert "information" not in found
    np.testing.assert_array_equal(found["responsibility"], found["responsibility_features"])


@pytest.mark.parametrize("with_response", [True, False])
def test_draws_come_as_often_as_their_probability(with_response: bool) -> None:
    tree = overlapping()
    features, both = shares(tree)
    table = None
    if not with_response:
        table = {"x1": tree["observed_data"]["x"].values[:, 0]}
    drawn = allocation_draws(tree, table, seed=5)
    assert drawn.dims == ("chain", "draw", "obs")
    assert drawn.dtype == np.int8
    share = both if with_response else features
    n_draws = len(share)
    for k in range(3):
        often = (drawn == k + 1).mean(("chain", "draw")).values
        p = share[..., k]
        # Independent given the parameters: Σ_s p_s (1 − p_s) / n².
        error = np.sqrt((p * (1 - p)).sum(0)) / n_draws
        # Some hundred comparisons: 5 standard errors, and one draw where p is all but 0 or 1.
        assert (np.abs(often - p.mean(0)) <= 5 * error + 1 / n_draws).all()
    xr.testing.assert_equal(allocation_draws(tree, table, seed=5), drawn)
    assert not allocation_draws(tree, table, seed=6).equals(drawn)


def test_many_draws_are_refused(tree: xr.DataTree, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("jointmix.posterior.allocations._MOST_NUMBERS", 1_000)
    with pytest.raises(DataError, match="fewer rows at a time"):
        allocation_draws(tree)


def test_coclustering_by_hand_and_in_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    tree = overlapping()
    _, both = shares(tree)
    expected = np.einsum("sik,sjk->ij", both, both) / len(both)
    np.fill_diagonal(expected, 1.0)
    found = coclustering(tree)
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-11)
    monkeypatch.setattr("jointmix.posterior.allocations._BATCH_NUMBERS", 5_000)
    some = coclustering(tree, rows=[7, 3, 11])
    assert some["obs"].values.tolist() == some["obs_bis"].values.tolist() == [3, 7, 11]
    np.testing.assert_allclose(some, found.sel(obs=[3, 7, 11], obs_bis=[3, 7, 11]), atol=1e-11)
    assert coclustering(tree, most=10).shape == (10, 10)


@pytest.mark.parametrize("rows", [[-1], [10**6], []])
def test_rows_that_are_not_there(tree: xr.DataTree, rows: list[int]) -> None:
    with pytest.raises(DataError, match="rows must name rows of the fit"):
        coclustering(tree, rows=rows)


def test_too_many_pairs(tree: xr.DataTree, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("jointmix.posterior.allocations._MOST_PAIRED", 5)
    with pytest.raises(DataError, match="at most 5 rows"):
        coclustering(tree, most=6)


def entropy(labels: np.ndarray) -> float:
    p = np.unique(labels, return_counts=True)[1] / len(labels)
    return float(-(p * np.log2(p)).sum())


def variation(a: np.ndarray, b: np.ndarray) -> float:
    return 2 * entropy(a * 100 + b) - entropy(a) - entropy(b)


def binder(a: np.ndarray, b: np.ndarray) -> float:
    return float(((a[:, None] == a) != (b[:, None] == b)).mean())


@pytest.mark.kernel
@pytest.mark.parametrize("loss", ["vi", "binder"])
@pytest.mark.parametrize("seed", range(12))
def test_the_best_of_all_partitions(loss: str, seed: int) -> None:
    n, k, rng = 6 + seed % 2, 3, np.random.default_rng(seed)
    center = rng.integers(0, k, n)
    drawn = np.where(rng.random((n, 40)) < 0.3, rng.integers(0, k, (n, 40)), center[:, None])
    drawn = drawn.astype(np.int8)
    measure = variation if loss == "vi" else binder
    f = VI[n] if loss == "vi" else np.arange(n + 1.0) ** 2 / n**2

    def expected(c: np.ndarray) -> float:
        return float(np.mean([measure(c, drawn[:, s].astype(int)) for s in range(40)]))

    # Labels do not matter: the first row is in group 0, each new group has the next number.
    everything = [
        np.array(c)
        for c in product(range(k), repeat=n)
        if all(c[i] <= max(c[:i], default=-1) + 1 for i in range(n))
    ]
    least = min(expected(c) for c in everything)
    starts = [center, *drawn.T[:8]]
    found = [improve(drawn, f, start, k, rng.permutation(n)) for start in starts]
    group, value = min(found, key=lambda each: each[1])
    assert value == pytest.approx(expected(group), abs=1e-12)
    assert value == pytest.approx(least, abs=1e-12)
    assert expected_loss(drawn, f, center) == pytest.approx(expected(center), abs=1e-12)


@pytest.mark.parametrize("loss", ["vi", "binder"])
def test_a_partition_needs_no_labels(loss: str) -> None:
    tree = overlapping()
    found = partition(tree, loss)
    n = tree["observed_data"].sizes["obs"]
    sizes = np.unique(found["partition"].values, return_counts=True)[1]
    assert list(sizes) == sorted(sizes, reverse=True)
    assert sizes.sum() == n
    assert len(sizes) == int(found["n_groups"])
    assert 0 < float(found["expected_loss"]) <= float(found["best_allocation_loss"])
    switched = tree.copy(deep=True)
    rng = np.random.default_rng(4)
    posterior = switched["posterior"].to_dataset()
    for chain, draw in product(range(posterior.sizes["chain"]), range(posterior.sizes["draw"])):
        order = rng.permutation(3)
        for name in ("weight", "mean", "sd", "correlation", "intercept", "slope", "sigma"):
            values = switched["posterior"][name].values
            values[chain, draw] = values[chain, draw][order]
    again = partition(switched, loss)
    # The draws of allocations differ; so may the rows that are about as well in either group.
    same = found["partition"].values[:, None] == found["partition"].values
    also = again["partition"].values[:, None] == again["partition"].values
    assert (same != also).mean() < 0.05
    np.testing.assert_allclose(coclustering(switched), coclustering(tree), atol=1e-11)


def test_clear_clusters_are_the_partition(tree: xr.DataTree) -> None:
    found = partition(tree)
    best = tree["allocation"]["responsibility"].values.argmax(1)
    assert len({(a, b) for a, b in zip(best, found["partition"].values, strict=True)}) == 3
    xr.testing.assert_equal(partition(tree), found)


def test_an_unknown_loss(tree: xr.DataTree) -> None:
    with pytest.raises(SpecError, match="loss must be one of vi, binder"):
        partition(tree, "rand")  # type: ignore[arg-type]


def test_too_many_rows(tree: xr.DataTree, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("jointmix.posterior.partitions._MOST_PARTITIONED", 10)
    with pytest.raises(DataError, match="at most 10 rows"):
        partition(tree)
