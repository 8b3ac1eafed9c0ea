"""The normal approximation at the mode, importance weights, and what is made of both."""

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest
from arviz_stats.base import array_stats
from scipy import stats
from scipy.optimize import approx_fprime
from scipy.special import logsumexp
from test_sampling import check_normalised, draws_of, one_line, prepared, same, spec_of, two_lines

from jointmix.base.errors import SamplingError
from jointmix.families.mixture import component_log_density, log_likelihood
from jointmix.kernel.densities import densities
from jointmix.model.packing import packed
from jointmix.model.settings import SamplerSpec
from jointmix.model.spec import ModelSpec
from jointmix.modes.mass import Normal, normal_at
from jointmix.modes.straight import StraightNormal
from jointmix.sampling import Target, approximate
from jointmix.sampling.proposal import Posterior
from jointmix.sampling.weights import smoothed, systematic

FACTOR = np.array([[0.5, 0.0, 0.0], [1.0, 2.0, 0.0], [-0.3, 0.4, 0.1]])
NORMAL = Normal(np.array([1.0, -2.0, 3.0]), FACTOR, 0.0)


def plain(log_density: Any, dim: int, start: float = 0.5) -> Any:
    """A density of one's own as a target."""
    return SimpleNamespace(dim=dim, point=lambda _: np.full(dim, start), log_density=log_density)


def normal_of(target: Any) -> Normal:
    return normal_at(target.log_density, target.point(1))


def quadratic(center: np.ndarray, precision: np.ndarray) -> Any:
    def log_density(q: np.ndarray) -> tuple[float, np.ndarray]:
        slope = -precision @ (q - center)
        return float(slope @ (q - center) / 2), slope

    return log_density


# The normal.


def test_normal_is_scipys() -> None:
    exact = stats.multivariate_normal(NORMAL.center, FACTOR @ FACTOR.T)
    draws, log_density = NORMAL.draw(50_000, np.random.default_rng(1))
    # Covariances of condition 4e4 are inverted on SciPy's side.
    np.testing.assert_allclose(log_density, exact.logpdf(draws), atol=1e-9)
    white = np.linalg.solve(FACTOR, (draws - NORMAL.center).T)
    by_change_of_variables = stats.norm.logpdf(white).sum(0) - np.log(np.diagonal(FACTOR)).sum()
    np.testing.assert_allclose(by_change_of_variables, log_density, atol=1e-9)
    # Five standard errors of means and of squares of fifty thousand normal numbers.
    assert (np.abs(white.mean(1)) < 5 / np.sqrt(50_000)).all()
    assert (np.abs(white @ white.T / 50_000 - np.eye(3)) < 5 * np.sqrt(2 / 50_000)).all()


def test_the_mode_of_a_normal_is_the_normal() -> None:
    precision = np.linalg.inv(FACTOR @ FACTOR.T)
    found = normal_of(plain(quadratic(NORMAL.center, precision), 3))
    # L-BFGS stops at gradients of 1e-6, or where a curvature of 1e2 no longer shows in the density.
    np.testing.assert_allclose(found.center, NORMAL.center, atol=1e-5)
    # Central differences of a linear gradient: rounding over the step, 1e-16 × 1e2 / 1e-5.
    np.testing.assert_allclose(found.stretch, FACTOR, rtol=1e-6, atol=1e-7)
    assert (np.triu(found.stretch, 1) == 0).all()


def test_the_mode_of_a_posterior_is_one() -> None:
    spec = spec_of()
    dataset, start = prepared(two_lines(), spec)
    target = Target(dataset, start)
    found = normal_of(target)
    value, gradient = target.log_density(found.center)
    # In units of the curvature there: a millionth of a standard deviation from the mode.
    assert np.abs(found.stretch.T @ gradient).max() < 1e-4
    steps = np.random.default_rng(1).normal(size=(20, target.dim))
    assert all(target.log_density(found.center + found.stretch @ s)[0] < value for s in steps)
    curvature = approx_fprime(
        np.zeros(target.dim),
        lambda z: found.stretch.T @ target.log_density(found.center + found.stretch @ z)[1],
        1e-5,
    )
    # Forward differences err by the step times a third derivative of order one.
    np.testing.assert_allclose(curvature, -np.eye(target.dim), atol=1e-3)


def flat(q: np.ndarray) -> tuple[float, np.ndarray]:
    """A ridge along the second coordinate."""
    return float(-(q[0] ** 2)), np.array([-2 * q[0], 0.0])


def broken(q: np.ndarray) -> tuple[float, np.ndarray]:
    """Finite where it starts, and nowhere else."""
    inside = np.array_equal(q, np.full(2, 0.5))
    return (0.0, np.zeros(2)) if inside else (np.nan, np.full(2, np.nan))


@pytest.mark.parametrize("log_density", [flat, broken])
def test_a_mode_without_curvature_is_refused(log_density: Any) -> None:
    with pytest.raises(SamplingError, match="no mode with curvature in all directions"):
        normal_of(plain(log_density, 2))


def walled(q: np.ndarray) -> tuple[float, np.ndarray]:
    """Next to flat at the mode, and bounded far within the standard error that this suggests."""
    return float(-1e-7 * q @ q - ((q / 10) ** 8).sum()), -2e-7 * q - 0.8 * (q / 10) ** 7


def blip(q: np.ndarray) -> tuple[float, np.ndarray]:
    """A peak of a fiftieth of a nat on a wide normal: its curvature is that of a narrow one."""
    height = 0.02 * np.exp(-(q @ q) / 2e-6)
    return float(height - q @ q / 2), -q - 1e6 * height * q


@pytest.mark.parametrize("log_density", [walled, blip])
def test_a_curvature_that_is_not_the_posteriors_is_refused(log_density: Any) -> None:
    with pytest.raises(SamplingError, match="does not describe the posterior around it"):
        normal_of(plain(log_density, 2, start=1e-4))


# Weights.


def test_smoothed_weights_estimate_a_known_mean() -> None:
    """From N(0, 1.5²) to N(0.5, 1)."""
    wide, target = stats.norm(0, 1.5), stats.norm(0.5, 1)
    x = wide.rvs(size=20_000, random_state=np.random.default_rng(1))
    log_ratio = target.logpdf(x) - wide.logpdf(x)
    log_weight, shape = smoothed(log_ratio)
    weight = np.exp(log_weight)
    # Weights are bounded here: no tail to speak of.
    assert shape < 0.5
    np.testing.assert_allclose(weight.sum(), 1, rtol=1e-12)
    error = np.sqrt((weight**2 * (x - 0.5) ** 2).sum())
    assert abs(weight @ x - 0.5) < 4 * error
    # The order is kept, and all but the largest are the ratios themselves.
    order = np.argsort(log_ratio)
    assert (np.diff(log_weight[order]) >= -1e-12).all()
    shift = (log_weight - log_ratio)[order[: len(x) // 2]]
    np.testing.assert_allclose(shift, shift[0], atol=1e-10)


def test_a_narrow_proposal_is_found_out() -> None:
    narrow = stats.norm(0, 0.4)
    x = narrow.rvs(size=4000, random_state=np.random.default_rng(1))
    assert smoothed(stats.norm.logpdf(x) - narrow.logpdf(x))[1] > 0.7


@pytest.mark.parametrize("high", [1.0, 700.0])
def test_a_tail_of_equal_weights_and_one_more_has_no_shape(high: float) -> None:
    ratio = np.zeros(1000)
    ratio[7] = high
    log_weight, shape = smoothed(ratio)
    assert shape == np.inf
    np.testing.assert_allclose(log_weight, ratio - logsumexp(ratio), rtol=1e-12)


def test_points_of_no_density_have_no_weight() -> None:
    ratio = np.random.default_rng(1).normal(size=2000)
    ratio[::5] = -np.inf
    ratio[1] = np.nan
    log_weight, shape = smoothed(ratio)
    alone, expected = smoothed(ratio[np.isfinite(ratio)])
    assert (log_weight[~np.isfinite(ratio)] == -np.inf).all()
    np.testing.assert_array_equal(log_weight[np.isfinite(ratio)], alone)
    assert shape == expected


def test_equal_weights_and_too_few() -> None:
    log_weight, shape = smoothed(np.full(400, 3.0))
    np.testing.assert_allclose(log_weight, -np.log(400), rtol=1e-12)
    assert shape == -np.inf
    few = np.full(400, -np.inf)
    few[:50] = 1.0
    log_weight, shape = smoothed(few)
    assert shape == np.inf
    np.testing.assert_allclose(np.exp(log_weight[:50]), 1 / 50)
    assert (log_weight[50:] == -np.inf).all()


# Runs.


def test_laplace_is_marked_and_reproducible() -> None:
    spec = spec_of(sampler="laplace")
    tree = draws_of(spec, 1)
    check_normalised(tree, spec)
    assert tree.attrs["approximation"] == "laplace"
    assert tree.attrs["backend"] == "laplace on kernel"
    assert tree.attrs["pareto_shape"] < 0.7
    # What the rows add to the prior, as the labels' step computes it where a sampler does not.
    found = tree["sample_stats"]["log_likelihood"].values
    dataset, _ = prepared(two_lines(), spec)
    at = packed({name: tree["posterior"][name].values for name in spec.shapes}, spec)
    wanted = log_likelihood(component_log_density(spec.blocks, dataset.rows, at))
    np.testing.assert_allclose(found, wanted.sum(-1), rtol=1e-9)
    assert same(tree, draws_of(spec, 1))
    assert not same(tree, draws_of(spec, 2))


def test_draws_of_a_straight_normal_have_its_density() -> None:
    """By the Jacobian of the map from standard normals, which differences give."""
    dataset, start = prepared(two_lines(), spec_of())
    normal = Posterior(dataset, start.direction).normal_near(start.parameters)
    draws, log_density = normal.draw(300, np.random.default_rng(5))
    straight = normal.chart.coordinates(draws)
    z = normal.standardised(straight)
    for place in (0, 299):
        jacobian = approx_fprime(z[place], lambda at: normal.values(at[None])[0][0], 1e-7)
        expected = stats.norm.logpdf(z[place]).sum() - np.linalg.slogdet(jacobian)[1]
        # One-sided differences of a map whose second derivatives are of order one.
        np.testing.assert_allclose(log_density[place], expected, atol=1e-4)


def test_laplace_holds_where_a_normal_of_unconstrained_values_does_not() -> None:
    rng = np.random.default_rng(2)
    center, cluster = 4 * rng.normal(size=(4, 6)), rng.integers(4, size=320)
    x = center[cluster] + rng.normal(size=(320, 6)) @ np.triu(rng.normal(size=(6, 6)))
    table = pd.DataFrame(x, columns=list("abcdef"))
    spec = ModelSpec(
        n_clusters=4, features=list("abcdef"),
        sampler=SamplerSpec(sampler="laplace", draws=500, chains=2),
    )  # fmt: skip
    dataset, start = prepared(table, spec)
    crooked = normal_of(Target(dataset, start))
    draws, log_q = crooked.draw(4000, np.random.default_rng(1))
    log_p = densities(Target(dataset, start).problem, draws)
    assert smoothed(log_p - log_q)[1] > 0.7
    tree = draws_of(spec, 1, table)
    assert tree.attrs["pareto_shape"] < 0.7


def test_candidates_of_no_density_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    def nowhere(_: Posterior, points: np.ndarray, __: int | None) -> np.ndarray:
        return np.full(len(points), -np.inf)

    monkeypatch.setattr(Posterior, "log_densities", nowhere)
    with pytest.raises(SamplingError, match="no density at any of 1,600 candidates"):
        draws_of(spec_of(1, sampler="laplace"), 1, one_line())


def test_unreliable_weights_are_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    """Candidates come back as they are, each once, and k̂ says so."""
    original = Posterior.normal_near

    def narrow(posterior: Posterior, *near: Any) -> StraightNormal:
        found = original(posterior, *near)
        return replace(found, stretch=found.stretch / 4)

    monkeypatch.setattr(Posterior, "normal_near", narrow)
    tree = draws_of(spec_of(1, sampler="laplace"), 1, one_line())
    assert tree.attrs["pareto_shape"] > 0.7
    slope = tree["posterior"]["slope"].values.ravel()
    assert len(np.unique(slope)) == len(slope)


def test_starts_differ_between_paths_and_seeds() -> None:
    spec = spec_of()
    dataset, start = prepared(two_lines(), spec)
    target = Target(dataset, start)
    points = target.points(1, 8)
    assert points.shape == (8, target.dim)
    assert len(np.unique(points, axis=0)) == 8
    np.testing.assert_array_equal(points, target.points(1, 8))
    assert not np.isin(points, target.points(2, 8)).any()
    assert all(np.isfinite(target.log_density(point)[0]) for point in points)


@pytest.mark.slow
def test_pathfinder_is_marked_and_reproducible() -> None:
    spec = spec_of(1, sampler="pathfinder")
    tree = draws_of(spec, 1, one_line())
    check_normalised(tree, spec)
    assert tree.attrs["approximation"] == "pathfinder"
    assert tree.attrs["pareto_shape"] < 0.7
    assert same(tree, draws_of(spec, 1, one_line()))


# Draws at singular correlations.


def test_singular_draws_are_exchanged_for_others_chosen() -> None:
    def parameters(q: np.ndarray) -> dict[str, np.ndarray]:
        """One cluster of two features, correlated by q."""
        ones = np.ones_like(q)
        return {"correlation": np.stack([ones, q, q, ones], -1).reshape(-1, 1, 2, 2)}

    rng = np.random.default_rng(8)
    candidates, chosen = np.array([0.2, 1.0, -0.7, 0.5, -1.0]), np.array([1, 0, 4, 2, 1, 2])
    found = approximate.invertible(parameters, candidates, chosen, rng)
    np.testing.assert_array_equal(found[[1, 3, 5]], [0, 2, 2])
    assert set(found[[0, 2, 4]]) <= {0, 2}
    with pytest.raises(SamplingError, match="exact functions"):
        approximate.invertible(parameters, candidates, np.array([1, 4]), rng)
    found = approximate.invertible(lambda q: {"mu": q}, candidates, chosen, rng)
    assert found is chosen


# What is chosen by weight.


def test_candidates_are_chosen_as_often_as_they_weigh() -> None:
    rng = np.random.default_rng(2)
    weight = rng.dirichlet(np.full(30, 0.5))
    chosen = systematic(weight, 40, rng)
    expected = 40 * weight
    counts = np.bincount(chosen, minlength=30)
    # Equal steps pass each candidate the whole part of its expected number, or once more.
    assert (counts >= np.floor(expected)).all()
    assert (counts <= np.ceil(expected)).all()
    # Those that come again stand together.
    assert np.count_nonzero(np.diff(chosen)) + 1 == len(np.unique(chosen))
    often = np.mean(
        [np.bincount(systematic(weight, 40, rng), minlength=30) for _ in range(4000)], 0
    )
    # Five standard errors of a number that takes two values, one apart.
    assert (np.abs(often - expected) < 5 * 0.5 / np.sqrt(4000)).all()


@pytest.mark.parametrize("spread", [0.0, 0.5, 1.0])
def test_a_mean_over_the_chosen_errs_as_much_as_its_draws_say(spread: float) -> None:
    rng = np.random.default_rng(4)
    z = []
    for _ in range(800):
        # In order, as those of one path lie together: what is chosen must not be.
        x = np.sort(rng.normal(size=1200))
        weight = np.exp(spread * x / 2 + spread * rng.normal(size=1200))
        draws = x[systematic(weight, 300, rng)].reshape(2, 150)
        # The weights move the mean of a normal by half their spread.
        error = array_stats.mcse(draws, method="mean", chain_axis=0, draw_axis=1)
        z.append((draws.mean() - spread / 2) / error)
    # Four standard errors of chi-squared over its number, and 2% for errors that are estimates:
    # choosing with replacement gives 1.3, 1.4 and 2.1.
    assert np.mean(np.square(z)) == pytest.approx(1, abs=4 * np.sqrt(2 / 800) + 0.02)
