"""Pareto smoothing of many rows at once is ArviZ's of one row after another."""

import numpy as np
import pytest
from arviz_stats.base import array_stats

from jointmix.base.machine import limited_cores
from jointmix.posterior import pareto
from jointmix.posterior.leave_one_out import smoothed
from jointmix.posterior.pareto import pareto_smoothed, tail_length

DRAWS = (30, 100, 225, 226, 1000, 4000)


def log_weights(kind: str, n_draws: int, n_rows: int = 60) -> np.ndarray:
    rng = np.random.default_rng([n_draws, len(kind)])
    shape = (n_rows, n_draws)
    if kind == "chains that stand still":
        values = rng.normal(size=(n_rows, n_draws // 3 + 1))
        return np.repeat(values, 3, axis=1)[:, :n_draws]
    return {
        "light": lambda: rng.normal(size=shape),
        "heavy": lambda: rng.standard_t(2, size=shape),
        "nearly equal": lambda: 1e-6 * rng.normal(size=shape),
        "one draw alone": lambda: 300 * rng.normal(size=shape),
        "far from zero": lambda: rng.normal(size=shape) - 5_000,
    }[kind]()


@pytest.mark.parametrize("n_draws", DRAWS)
@pytest.mark.parametrize(
    "kind", ["light", "heavy", "nearly equal", "one draw alone", "far from zero"]
)
def test_it_is_arvizs(kind: str, n_draws: int) -> None:
    given = log_weights(kind, n_draws)
    with np.errstate(all="ignore"):
        expected, k = array_stats.psislw(-given, axis=-1)
    found, shape = pareto_smoothed(given)
    fitted = np.isfinite(k) & np.isfinite(expected).all(axis=1)
    assert np.array_equal(np.isfinite(shape), fitted)
    assert fitted.any()
    np.testing.assert_allclose(shape[fitted], k[fitted], rtol=1e-11, atol=1e-13)
    # Logarithms of weights are rounded in proportion to the largest of them.
    scale = np.ptp(given, axis=1, keepdims=True).max()
    np.testing.assert_allclose(found[fitted], expected[fitted], rtol=0, atol=1e-14 * (100 + scale))


@pytest.mark.parametrize("n_draws", DRAWS[1:])
def test_of_equal_draws_the_weights_together_are_arvizs(n_draws: int) -> None:
    """Which of them gets which quantile is nobody's concern."""
    given = log_weights("chains that stand still", n_draws)
    with np.errstate(all="ignore"):
        expected, k = array_stats.psislw(-given, axis=-1)
    found, shape = pareto_smoothed(given)
    np.testing.assert_allclose(shape, k, rtol=1e-11, atol=1e-13)
    np.testing.assert_allclose(np.sort(found), np.sort(expected), rtol=1e-12, atol=1e-12)


def test_cores_and_batches_change_no_bit(monkeypatch: pytest.MonkeyPatch) -> None:
    given = log_weights("heavy", 1000)
    found = pareto_smoothed(given)
    monkeypatch.setattr(pareto, "_NUMBERS", 1)
    with limited_cores(1):
        alone = pareto_smoothed(given)
    for ours, theirs in zip(found, alone, strict=True):
        assert np.array_equal(ours, theirs)


def test_rows_without_a_tail_are_left_as_they_are() -> None:
    given = np.zeros((3, 400))
    given[1] = np.random.default_rng(1).normal(size=400)
    # Most of the tail is of equal weights.
    given[2, :3] = 1.0
    weight, shape = smoothed(-given)
    assert np.isinf(shape[[0, 2]]).all()
    assert np.isfinite(shape[1])
    assert np.array_equal(weight[[0, 2]], given[[0, 2]])


@pytest.mark.parametrize(("n_draws", "tail"), [(25, 5), (225, 45), (226, 45), (4000, 189)])
def test_tails_are_as_long_as_arvizs(n_draws: int, tail: int) -> None:
    assert tail_length(n_draws) == tail == array_stats._get_ps_tails(n_draws, 1, "right")
