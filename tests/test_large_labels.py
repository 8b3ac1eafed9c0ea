"""Labels of large fits, by a sample of the rows and some draws, against all rows and draws."""

from dataclasses import replace

import numpy as np
import pytest
from test_identify import CHAINS, DRAWS, SPECS, known

import jointmix as jm
from jointmix.kernel.allocate import allocate, likelihoods, mean_shares
from jointmix.labels import confidence, gathering
from jointmix.labels.draws import Identified, identify_draws
from jointmix.labels.sample import stratified
from jointmix.model.dataset import make_dataset
from jointmix.model.simulate import four_clusters, simulate

ROWS = 3_000


@pytest.fixture
def large(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every fit counts as large."""
    monkeypatch.setattr(gathering, "_MOST_NUMBERS", 0)
    monkeypatch.setattr(confidence, "_MOST_NUMBERS", 0)


def both(
    monkeypatch: pytest.MonkeyPatch,
    seed: int,
    rows_a_cluster: int,
    draws: int = DRAWS,
    emptied: int | None = None,
) -> tuple[Identified, Identified]:
    """The same draws identified by all rows, and by a sample of them.

    In every other draw a cluster may be moved to where no rows are.
    """
    case = known(SPECS["joint"], seed, ROWS)
    if emptied is not None:
        mean = case.raw["mean"].values.reshape(len(case.plan), 3, -1)
        for draw in range(0, len(case.plan), 2):
            mean[draw, case.plan[draw] == emptied] += 50.0
    # Sorted labels are sure of themselves; matched ones of an empty cluster are not.
    spec = case.spec if emptied is None else replace(case.spec, ordering="weight")
    own = (case.raw, case.dataset.under(spec), case.census, case.ordering)
    whole = identify_draws(*own)
    monkeypatch.setattr(gathering, "_MOST_NUMBERS", 0)
    monkeypatch.setattr(confidence, "_MOST_NUMBERS", 0)
    monkeypatch.setattr(gathering, "_MEAN_NUMBERS", 0)
    monkeypatch.setattr(gathering, "_LEAST_DRAWS", draws)
    monkeypatch.setattr(gathering, "FEW_ROWS", -(-rows_a_cluster // 3))
    monkeypatch.setattr(gathering, "SAMPLE_ROWS", rows_a_cluster)
    return whole, identify_draws(*own)


@pytest.mark.parametrize("rows_a_cluster", [100, 10_000])
def test_a_sample_of_rows_gives_the_same_labels(
    monkeypatch: pytest.MonkeyPatch, rows_a_cluster: int
) -> None:
    whole, some = both(monkeypatch, 1, rows_a_cluster)
    assert np.array_equal(whole.gathered.permutation, some.gathered.permutation)
    assert whole.posterior.identical(some.posterior)
    # Of the same numbers in another order.
    for name in ("log_likelihood", "share", "share_features", "occupied"):
        ours, theirs = (getattr(each.gathered, name) for each in (whole, some))
        np.testing.assert_allclose(ours, theirs, rtol=1e-12, atol=1e-14)
    assert some.gathered.share_draws == CHAINS * DRAWS
    assert (whole.gathered.share_error, some.confidence.agreement) == (0.0, 1.0)


def test_what_a_sample_leaves_in_doubt_is_settled_by_all_rows(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Of four rows a cluster no lead is five standard errors."""
    asked = []

    def counted(*given: object) -> object:
        asked.append((len(given[0].y), len(given[1].weight)))  # type: ignore[attr-defined]
        return allocate(*given)  # type: ignore[arg-type]

    monkeypatch.setattr(gathering, "allocate", counted)
    whole, some = both(monkeypatch, 2, 4)
    assert np.array_equal(whole.gathered.permutation, some.gathered.permutation)
    assert asked.count((ROWS, 1)) >= CHAINS * DRAWS
    # First six rows, then twelve, each for all draws.
    sizes = {rows for rows, _ in asked}
    assert {6, 12, ROWS} <= sizes


def test_clusters_that_are_empty_in_some_draws_are_found_so(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    whole, some = both(monkeypatch, 5, 100, emptied=2)
    ours, theirs = whole.gathered.occupied, some.gathered.occupied
    assert (theirs[::2].min(axis=1) < 1e-9).all()
    assert (theirs[1::2] == 1).all()
    np.testing.assert_allclose(ours, theirs, rtol=1e-12, atol=1e-14)


def test_means_over_some_draws_are_off_by_what_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    whole, some = both(monkeypatch, 3, 100, draws=8)
    found = some.gathered
    off = np.sqrt(((whole.gathered.share - found.share) ** 2).mean())
    assert found.share_draws == CHAINS * 8
    # The error is itself estimated, from two chains.
    assert found.share_error / 4 < off < 4 * found.share_error


def test_a_sample_stands_for_all_rows_of_each_cluster() -> None:
    spec = jm.ModelSpec(n_clusters=2, features=["x1"], row_weights="w")
    table = simulate(four_clusters(2, 1), 2_000, 1)
    weight = np.random.default_rng(1).integers(1, 5, 2_000)
    rows = make_dataset(table.assign(w=weight), spec).rows
    pivot = (np.arange(2_000) >= 1_900).astype(int)
    found = stratified(rows, pivot, 2)
    counts = np.bincount(found.pivot)
    assert counts.tolist() == [500, 100]
    for cluster in range(2):
        own, all_of_it = found.weight[found.pivot == cluster], weight[pivot == cluster]
        assert own.sum() == pytest.approx(all_of_it.sum(), rel=1e-12)
    assert found.error[1] == 0
    # 500 rows of unequal weights tell a share no better than 500 of equal ones.
    assert found.error[0] >= weight[pivot == 0].sum() / np.sqrt(500)


def test_a_lead_within_its_error_is_no_certainty() -> None:
    rows = make_dataset(
        simulate(four_clusters(2, 1), 4_000, 1), jm.ModelSpec(n_clusters=2, features=["x1"])
    ).rows
    found = stratified(rows, np.arange(4_000) % 2, 2)
    swapped = 1 - found.pivot
    close = found.pivot.copy()
    # 45% of the first cluster's rows are elsewhere: it leads by 10%, two standard errors.
    close[np.flatnonzero(found.pivot == 0)[:225]] = 1
    labels, sure = found.ecr(np.stack([found.pivot, swapped, close]))
    assert labels.tolist() == [[0, 1], [1, 0], [0, 1]]
    assert sure.tolist() == [True, True, False]


def test_shares_added_up_are_those_kept_apart() -> None:
    case = known(SPECS["joint"], 4)
    parameters = case.census.start.parameters
    at = case.dataset.scaling.to_model(parameters).batched()
    rows, blocks = case.dataset.rows, case.spec.blocks
    joint, features, value = allocate(rows, at, blocks, True)
    labels = np.array([[2, 0, 1]])
    together = mean_shares(rows, at, labels, blocks)
    for ours, theirs in zip((joint, features), together, strict=True):
        assert np.array_equal(ours[0][labels[0]], theirs)
    assert np.array_equal(likelihoods(rows, at, blocks), value)


@pytest.mark.usefixtures("large")
def test_a_large_fit_is_the_same_and_says_over_how_many_draws(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    table = simulate(four_clusters(4, 2), 300, 1)
    sampler = jm.SamplerSpec(sampler="independence", draws=150, retry_budget=0)
    spec = jm.ModelSpec(n_clusters=4, features=["x1", "x2"], sampler=sampler)
    large = jm.fit(table, spec, seed=1)
    monkeypatch.undo()
    whole = jm.fit(table, spec, seed=1)
    assert large["posterior"].to_dataset().identical(whole["posterior"].to_dataset())
    assert "log_likelihood" not in large["sample_stats"]
    ours, theirs = (each["invariant"]["log_likelihood"] for each in (large, whole))
    # A density less its prior, both of some hundreds.
    np.testing.assert_allclose(ours, theirs, rtol=1e-12)
    found = large["allocation"]
    assert found.attrs["draws"] == 600
    assert 0 < found.attrs["error"] < 0.01
    assert not whole["allocation"].attrs
    again = jm.identify(large, "stephens")
    assert np.array_equal(again["allocation"]["allocation"], whole["allocation"]["allocation"])
