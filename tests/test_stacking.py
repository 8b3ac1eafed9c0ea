"""Weights of modes: the maximum that other optimisers find, from exact leave-one-out densities."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.optimize import minimize
from scipy.stats import norm, t

from jointmix.families.parameters import Parameters
from jointmix.families.rows import Rows
from jointmix.fitting.scouts import group_chains
from jointmix.model.spec import ModelSpec
from jointmix.posterior.leave_one_out import loo_densities
from jointmix.posterior.stacking import stack, stacking_weights

SPEC = ModelSpec(n_clusters=1, features=("x",))


@pytest.mark.parametrize("seed", range(5))
def test_weights_are_the_maximum(seed: int) -> None:
    rng = np.random.default_rng(seed)
    density = rng.normal([0.0, -0.3, -0.1], size=(200, 3))
    weight = stacking_weights(density)

    def loss(free: np.ndarray) -> float:
        share = np.exp(free - free.max())
        return -float(np.log(np.exp(density) @ (share / share.sum())).sum())

    best = min(minimize(loss, rng.normal(size=3), tol=1e-12).fun for _ in range(4))
    found = -float(np.log(np.exp(density) @ weight).sum())
    assert weight.sum() == pytest.approx(1, abs=1e-12)
    # The optimiser stops at a relative gradient of about 1e-8.
    assert found == pytest.approx(best, abs=1e-5)


def test_a_group_that_is_worse_everywhere_gets_nothing() -> None:
    density = np.stack([np.zeros(50), np.full(50, -2.0)], axis=1)
    assert stacking_weights(density) == pytest.approx([1, 0], abs=1e-6)
    assert stacking_weights(np.zeros((50, 2))) == pytest.approx([0.5, 0.5])


def test_leave_one_out_densities_of_a_normal_mean() -> None:
    """One cluster of one feature with known variance: the exact answer is a normal density."""
    rng = np.random.default_rng(3)
    n, draws = 40, 4000
    x = rng.normal(size=n)
    mean = x.mean() + rng.normal(size=draws) / np.sqrt(n)
    parameters = Parameters(
        weight=np.ones((draws, 1)), mean=mean[:, None, None], cholesky=np.ones((draws, 1, 1, 1))
    )
    found, _, shape = loo_densities(
        Rows(x[:, None], np.zeros((n, 0)), np.zeros(n)), parameters, SPEC
    )
    rest = (x.sum() - x) / (n - 1)
    exact = norm.logpdf(x, rest, np.sqrt(1 + 1 / (n - 1)))
    assert (shape < 0.5).all()
    # Monte Carlo error of a log mean of 4,000 weights, four times.
    assert np.abs(found - exact).max() < 4 * 0.01
    assert abs((found - exact).mean()) < 2e-3


def test_stacking_finds_the_group_that_predicts() -> None:
    rng = np.random.default_rng(4)
    n, draws = 300, 200
    x = rng.normal(size=n)
    rows = Rows(x[:, None], np.zeros((n, 0)), np.zeros(n))

    def group(center: float) -> Parameters:
        mean = center + rng.normal(size=(draws, 1, 1)) / np.sqrt(n)
        return Parameters(weight=np.ones((draws, 1)), mean=mean, cholesky=np.ones((draws, 1, 1, 1)))

    weight, unreliable = stack(rows, [group(0.0), group(1.5)], SPEC)
    assert weight[0] > 0.95
    assert unreliable.shape == (2,)


def levels(*means: float) -> np.ndarray:
    rng = np.random.default_rng(5)
    return np.array(means)[:, None] + t.rvs(10, size=(len(means), 400), random_state=rng)


@pytest.mark.parametrize(
    ("means", "mode", "expected"),
    [
        ((0, 0, 0, 0), (0, 0, 0, 0), [0, 0, 0, 0]),
        ((0, 0, -9, 0), (0, 0, 0, 0), [0, 0, 1, 0]),
        ((-9, 0, -9, 0), (0, 0, 0, 0), [1, 0, 1, 0]),
        ((0, 0, 0.1, 0), (0, 0, 1, 0), None),
        ((-20, -9, 0, 0), (1, 1, 0, 0), [2, 1, 0, 0]),
    ],
)
def test_chains_that_sit_together(
    means: tuple[float, ...], mode: tuple[int, ...], expected: list[int] | None
) -> None:
    group = group_chains(levels(*means), np.array(mode))
    if expected is None:
        # The same level in another mode is another group; which comes first is chance.
        assert len({group[2]} & {group[0], group[1], group[3]}) == 0
        assert group[0] == group[1] == group[3]
    else:
        assert group.tolist() == expected


def test_a_chain_that_stood_still_has_no_tail_to_smooth() -> None:
    rng = np.random.default_rng(6)
    x = rng.normal(size=30)
    rows = Rows(x[:, None], np.zeros((30, 0)), np.zeros(30))
    still = Parameters(
        weight=np.ones((400, 1)), mean=np.full((400, 1, 1), 0.3), cholesky=np.ones((400, 1, 1, 1))
    )
    joint, feature, shape = loo_densities(rows, still, SPEC)
    # Every draw says the same, with and without a row.
    np.testing.assert_allclose(joint, norm.logpdf(x, 0.3), rtol=1e-12)
    np.testing.assert_allclose(feature, joint, rtol=1e-12)
    assert np.isinf(shape).all()
    # Too few draws to have a tail.
    few = Parameters(
        weight=np.ones((20, 1)), mean=rng.normal(size=(20, 1, 1)), cholesky=np.ones((20, 1, 1, 1))
    )
    joint, _, shape = loo_densities(rows, few, SPEC)
    assert np.isfinite(joint).all()
    assert np.isinf(shape).all()
    # Two values only, in all draws.
    two = np.where(np.arange(400) % 40 == 0, 0.9, 0.3)
    mixed = Parameters(
        weight=np.ones((400, 1)), mean=two[:, None, None], cholesky=np.ones((400, 1, 1, 1))
    )
    joint, _, shape = loo_densities(rows, mixed, SPEC)
    density = norm.pdf(x[:, None], two)
    by_hand = -np.log((1 / density).mean(axis=1))
    assert np.isfinite(joint).all()
    failed = np.isinf(shape)
    np.testing.assert_allclose(joint[failed], by_hand[failed], rtol=1e-10)
    assert not np.isnan(shape).any()
    # A chain that stood still for most of its draws.
    mean = np.where(np.arange(400) < 60, rng.normal(size=400), 0.3)
    partly = Parameters(
        weight=np.ones((400, 1)), mean=mean[:, None, None], cholesky=np.ones((400, 1, 1, 1))
    )
    joint, _, shape = loo_densities(rows, partly, SPEC)
    assert np.isfinite(joint).all()
    weight, unreliable = stack(rows, [still, partly], SPEC)
    assert weight.sum() == pytest.approx(1)
    assert unreliable[0] == 1


def test_the_response_given_the_features_is_left_out_with_them() -> None:
    """One cluster with known noise: p(y | x, rest) in closed form."""
    rng = np.random.default_rng(7)
    n, draws = 50, 6000
    x, y = rng.normal(size=(2, n))
    level = y.mean() + rng.normal(size=(draws, 1)) / np.sqrt(n)
    center = x.mean() + rng.normal(size=(draws, 1, 1)) / np.sqrt(n)
    parameters = Parameters(
        weight=np.ones((draws, 1)),
        mean=center,
        cholesky=np.ones((draws, 1, 1, 1)),
        intercept=level,
        slope=np.zeros((draws, 1, 1)),
        sigma=np.ones((draws, 1)),
    )
    spec = replace(SPEC, predictors=("x",), response="y")
    joint, feature, _ = loo_densities(Rows(x[:, None], x[:, None], y), parameters, spec)
    sd = np.sqrt(1 + 1 / (n - 1))
    exact_x = norm.logpdf(x, (x.sum() - x) / (n - 1), sd)
    exact_y = norm.logpdf(y, (y.sum() - y) / (n - 1), sd)
    # Monte Carlo error of log means of 6,000 weights, four times.
    assert np.abs(feature - exact_x).max() < 0.04
    assert np.abs(joint - feature - exact_y).max() < 0.04
