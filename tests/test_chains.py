"""Effective sizes and R-hats of many quantities are those that ArviZ has of each."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from arviz_stats.base import array_stats

from jointmix.base import chains
from jointmix.base.chains import effective_sizes, r_hats

rng = np.random.default_rng(20261130)


def autoregressive(rho: float, shape: tuple[int, ...]) -> np.ndarray:
    noise = rng.normal(size=shape)
    found = noise.copy()
    for t in range(1, shape[-1]):
        found[..., t] = rho * found[..., t - 1] + noise[..., t]
    return found


DRAWS: dict[str, Callable[[tuple[int, ...]], np.ndarray]] = {
    "independent": lambda shape: rng.normal(size=shape),
    "slow": lambda shape: autoregressive(0.95, shape),
    "antithetic": lambda shape: autoregressive(-0.7, shape),
    "chains apart": lambda shape: rng.normal(size=shape) + np.arange(shape[-2])[:, None],
    "heavy tails": lambda shape: rng.standard_cauchy(size=shape),
    "ties": lambda shape: rng.integers(3, size=shape).astype(float),
    "truth values": lambda shape: (rng.random(shape) < 0.1).astype(float),
    "one chain still": lambda shape: np.concatenate(
        [np.ones((*shape[:-2], 1, shape[-1])), rng.normal(size=shape)[..., 1:, :]], axis=-2
    ),
    "chains still": lambda shape: np.broadcast_to(
        np.arange(shape[-2], dtype=float)[:, None], shape
    ).copy(),
    "constant": lambda shape: np.full(shape, 2.5),
    "growing": lambda shape: np.broadcast_to(np.arange(shape[-1], dtype=float), shape).copy(),
    "far from zero": lambda shape: 1e9 + autoregressive(0.5, shape),
}
SHAPES = [(5, 4, 250), (2, 3, 1, 60), (3, 2, 101), (4, 2, 4), (4, 3, 5), (4, 1, 9), (2, 2, 3)]


def theirs(function: Any, draws: np.ndarray, **options: Any) -> np.ndarray:
    with np.errstate(all="ignore"):
        return np.asarray(function(draws, **options), dtype=float)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("kind", DRAWS)
def test_they_are_arvizs(kind: str, shape: tuple[int, ...]) -> None:
    draws = DRAWS[kind](shape)
    pairs = {
        "bulk": (effective_sizes(draws), theirs(array_stats.ess, draws, method="bulk")),
        "mean": (effective_sizes(draws, "mean"), theirs(array_stats.ess, draws, method="mean")),
        "tail": (
            effective_sizes(draws, "tail", 0.9),
            theirs(array_stats.ess, draws, method="tail", prob=0.9),
        ),
        "r_hat": (r_hats(draws), theirs(array_stats.rhat, draws)),
    }
    for name, (found, expected) in pairs.items():
        assert found.shape == shape[:-2], name
        # Sums in another order; Fourier transforms differ in the last places of a variance.
        np.testing.assert_allclose(found, expected, rtol=1e-8, err_msg=name)


def test_a_quantity_with_nan_is_nan_and_others_are_not() -> None:
    draws = rng.normal(size=(3, 2, 50))
    draws[1, 0, 7] = np.nan
    draws[2, 1, 3] = np.inf
    for found in (effective_sizes(draws), effective_sizes(draws, "tail"), r_hats(draws)):
        assert np.isnan(found).tolist() == [False, True, False]
    np.testing.assert_allclose(effective_sizes(draws), array_stats.ess(draws), rtol=1e-8)


def test_blocks_do_not_matter(monkeypatch: pytest.MonkeyPatch) -> None:
    draws = autoregressive(0.5, (20, 4, 40))
    whole = effective_sizes(draws), effective_sizes(draws, "tail"), r_hats(draws)
    monkeypatch.setattr(chains, "_NUMBERS", 500)
    parts = effective_sizes(draws), effective_sizes(draws, "tail"), r_hats(draws)
    np.testing.assert_array_equal(whole, parts)


def test_the_largest_numbers_do_not_matter() -> None:
    draws = autoregressive(0.5, (3, 4, 100))
    found = effective_sizes(draws * 2.0**900, "mean")
    np.testing.assert_array_equal(found, effective_sizes(draws, "mean"))
