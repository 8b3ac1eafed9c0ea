"""BlackJAX's runners against densities with known moments, and PyMC's densities through them."""

import sys
from collections.abc import Callable, Iterator
from functools import cache
from typing import Any

import arviz_stats as az
import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
import pytest
import xarray as xr
from arviz_stats.base import array_stats
from conftest import built
from scipy import stats
from scipy.integrate import quad
from scipy.special import logsumexp

from jointmix.base.errors import MissingExtraError, SamplingError
from jointmix.kernel.fused import build_model
from jointmix.model.dataset import make_dataset
from jointmix.model.location import coordinates
from jointmix.model.spec import ModelSpec
from jointmix.sampling.blackjax_runs import nuts, pathfinder
from jointmix.sampling.control import Control
from jointmix.sampling.jaxified import jaxified

DIM = 5
MEAN = np.array([0.0, 1.0, -2.0, 30.0, 4.0])
_LOADING = np.random.default_rng(0).normal(size=(DIM, DIM))
COVARIANCE = _LOADING @ _LOADING.T + 0.5 * np.eye(DIM)
#: log ∫ exp(−(x − m)'S⁻¹(x − m)/2) dx
LOG_NORMALIZER = np.linalg.slogdet(2 * np.pi * COVARIANCE)[1] / 2

Draws = tuple[np.ndarray, dict[str, np.ndarray]]


@pytest.fixture(autouse=True)
def _single_precision_outside() -> Iterator[None]:
    """The runners must see to their precision themselves, and put back what they found."""
    with jax.enable_x64(False):
        yield
        assert jnp.zeros(1).dtype == np.float32


def gaussian(x: Any) -> Any:
    """log N(x | MEAN, COVARIANCE) but for its constant."""
    return -(x - MEAN) @ np.linalg.inv(COVARIANCE) @ (x - MEAN) / 2


def around(n: int, spread: float = 3.0, seed: int = 1) -> np.ndarray:
    return MEAN + spread * np.random.default_rng(seed).normal(size=(n, DIM))


def sampled(logp: Callable[[Any], Any] = gaussian, **options: Any) -> Draws:
    starts = options.pop("starts", around(2))
    settings = {"draws": 40, "tune": 50, "target_accept": 0.8, "dense": False, "seed": 1} | options
    return nuts(logp, starts, **settings)


def check_mean(values: np.ndarray, expected: float) -> None:
    """The mean of values (chain, draw) is that expected, but for four Monte Carlo errors.

    Beyond four lies one in 16,000 of normal errors; the seed is fixed.
    """
    array = xr.DataArray(values, dims=("chain", "draw"))
    assert abs(values.mean() - expected) < 4 * float(az.mcse(array))


@cache
def long_run(dense: bool) -> Draws:
    """Enough draws for moments; the target differs too."""
    target_accept = 0.8 if dense else 0.95
    return sampled(starts=around(4), draws=1000, tune=500, dense=dense, target_accept=target_accept)


@cache
def short_run() -> tuple[Draws, list[tuple[str, float, float, str]]]:
    """Few draws, more than are a multiple of the segments, and the progress told meanwhile."""
    told: list[tuple[str, float, float, str]] = []
    return sampled(draws=47, report=lambda *what: told.append(what)), told


@pytest.mark.parametrize("dense", [True, False])
def test_nuts_gives_means_and_covariances(dense: bool) -> None:
    positions, _ = long_run(dense)
    assert positions.shape == (4, 1000, DIM)
    assert positions.dtype == np.float64
    centred = positions - MEAN
    for i in range(DIM):
        check_mean(centred[..., i], 0)
        for j in range(i + 1):
            check_mean(centred[..., i] * centred[..., j], COVARIANCE[i, j])


@pytest.mark.parametrize("dense", [True, False])
def test_statistics(dense: bool) -> None:
    positions, statistics = long_run(dense)
    statistics = dict(statistics)
    assert not statistics.pop("partial")
    assert set(statistics) == {
        *("logp", "diverging", "depth", "n_steps", "step_size", "energy", "acceptance_rate")
    }
    for values in statistics.values():
        assert type(values) is np.ndarray
        assert values.shape == (4, 1000)
        assert np.isfinite(values).all()
    distance = np.linalg.solve(np.linalg.cholesky(COVARIANCE), (positions - MEAN)[..., None])
    # Two ways to a quadratic form of condition 1e2, of size 1e1.
    np.testing.assert_allclose(statistics["logp"], -(distance[..., 0] ** 2).sum(-1) / 2, atol=1e-10)
    kinetic = statistics["energy"] + statistics["logp"]
    assert (kinetic > 0).all()
    # Momenta are normal: half of a chi-square with DIM degrees of freedom.
    check_mean(kinetic, DIM / 2)
    depth, n_steps = statistics["depth"], statistics["n_steps"]
    # The last doubling may end at its first step.
    assert ((2 ** (depth - 1) <= n_steps) & (n_steps < 2**depth)).all()
    assert statistics["diverging"].dtype == bool
    assert not statistics["diverging"].any()
    step = statistics["step_size"]
    assert (step == step[:, :1]).all()
    assert len(set(step[:, 0])) == 4
    # A mean of probabilities, which rounding may take beyond 1.
    accepted = statistics["acceptance_rate"]
    assert ((accepted > 0) & (accepted < 1 + 1e-12)).all()


def test_mass_matrix_and_target_set_the_steps() -> None:
    """In units of the principal axes the narrowest direction no longer sets the step.

    Measured: 5.6 gradients against 10.9, of which the target accounts for 2, and acceptance
    rates of 0.90 against 0.96, of which the mass matrix accounts for 0.02.
    """
    (_, dense), (_, diagonal) = long_run(True), long_run(False)
    assert 1.5 * dense["n_steps"].mean() < diagonal["n_steps"].mean()
    assert dense["acceptance_rate"].mean() + 0.03 < diagonal["acceptance_rate"].mean()


@pytest.mark.slow
def test_divergences_are_counted() -> None:
    """A step size adapted to the mouth of a funnel is too long for its neck."""

    def funnel(x: Any) -> Any:
        return -((x[0] / 3) ** 2) / 2 - (x[1:] ** 2).sum() * jnp.exp(-x[0]) / 2 - 2 * x[0]

    notes: list[str] = []
    _, statistics = sampled(
        funnel, starts=around(2, 1.0) - MEAN, draws=200, report=lambda *told: notes.append(told[3])
    )
    divergences = int(statistics["diverging"].sum())
    assert divergences > 0
    gradients = statistics["n_steps"].mean()
    assert notes[-1] == f"{divergences} divergences, {gradients:.1f} gradients a draw"


def test_same_seed_same_draws(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """Also when the chains were paused in between; and nothing is printed."""
    control, slept = Control(), []

    def sleep(seconds: float) -> None:
        slept.append(seconds)
        if len(slept) == 3:
            control.resume()

    (first, statistics), _ = short_run()
    capfd.readouterr()
    monkeypatch.setattr("jointmix.sampling.control.time.sleep", sleep)
    control.pause()
    again, repeated = sampled(draws=47, control=control)
    assert len(slept) == 3
    np.testing.assert_array_equal(first, again)
    for name, values in statistics.items():
        np.testing.assert_array_equal(values, repeated[name])
    assert not np.array_equal(first[0], first[1])
    assert capfd.readouterr() == ("", "")


def test_each_chain_goes_on_from_its_own_start() -> None:
    """Two wells 200 standard deviations apart: no chain gets from one into the other."""
    centers = np.array([-100.0, 100.0])

    def logp(x: Any) -> Any:
        return jax.scipy.special.logsumexp(-((x[0] - centers) ** 2) / 2)

    starts = np.array([[101.0], [-99.0], [-100.0]])
    positions, _ = sampled(logp, starts=starts)
    assert (np.sign(positions) == np.sign(starts)[:, None]).all()


def test_chains_share_no_noise() -> None:
    positions, statistics = sampled(starts=np.repeat(around(1), 3, axis=0))
    assert len(np.unique(positions.reshape(3, -1), axis=0)) == 3
    # Nor while they adapt.
    assert len(np.unique(statistics["step_size"][:, 0])) == 3
    positions, _ = long_run(True)
    white = np.linalg.solve(np.linalg.cholesky(COVARIANCE), (positions - MEAN)[..., None])[..., 0]
    for i in range(DIM):
        between = np.corrcoef(white[..., i])[np.triu_indices(4, 1)]
        # 30 correlations, each with a standard error of 1/√n for n ≥ 500 effective draws.
        assert np.abs(between).max() < 4 / np.sqrt(500)


def test_progress() -> None:
    _, told = short_run()
    assert {(stage, total) for stage, _, total, _ in told} == {("sample", 2 * (50 + 47))}
    done = [step for _, step, _, _ in told]
    assert done == sorted(set(done))
    assert (done[0], done[-1]) == (0, 2 * (50 + 47))
    assert len(told) <= 22


def test_stopped_draws_come_back() -> None:
    """They are those of the whole run, of which a segment had another length."""
    control = Control()

    def report(stage: str, done: float, total: float, note: str) -> None:
        del stage, total, note
        if done >= 2 * (50 + 11):
            control.stop()

    (whole, statistics), _ = short_run()
    part, partial = sampled(draws=20, report=report, control=control)
    assert (whole.shape[1], bool(statistics["partial"])) == (47, False)
    assert (part.shape[1], bool(partial["partial"])) == (11, True)
    # Two programs may round differently.
    np.testing.assert_allclose(part, whole[:, :11], rtol=1e-9)
    np.testing.assert_array_equal(partial["n_steps"], statistics["n_steps"][:, :11])


def test_draws_come_back_after_ctrl_c() -> None:
    def report(stage: str, done: float, total: float, note: str) -> None:
        del stage, total, note
        if done >= 2 * (50 + 9):
            raise KeyboardInterrupt

    part, partial = sampled(draws=47, seed=2, report=report)
    assert partial["partial"]
    assert part.shape == (2, 9, DIM)
    (whole, _), _ = short_run()
    assert not np.array_equal(part, whole[:, :9])


def test_stopped_before_the_first_draws() -> None:
    control = Control()
    control.stop()
    with pytest.raises(KeyboardInterrupt, match="before the first draws"):
        sampled(control=control)


def test_a_start_of_no_density_is_named() -> None:
    starts = around(2)
    starts[1] = np.nan
    with pytest.raises(SamplingError, match=r"^The log density at a start is nan"):
        sampled(starts=starts)
    with pytest.raises(SamplingError, match="gradient is not finite"):
        sampled(lambda x: -jnp.sqrt(jnp.abs(x)).sum(), starts=np.zeros((1, DIM)))


@pytest.mark.parametrize("package", ["jax", "blackjax"])
def test_without_blackjax(package: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(MissingExtraError, match=r"pip install 'jointmix\[jax\]'"):
        sampled()
    with pytest.raises(MissingExtraError, match=r"pip install 'jointmix\[jax\]'"):
        pathfinder(gaussian, around(2), draws=10, seed=1)


def smoothed(log_p: np.ndarray, log_q: np.ndarray) -> tuple[np.ndarray, float]:
    """Pareto-smoothed weights (candidate,), which sum to one, and k̂."""
    log_weight, shape = array_stats.psislw(log_q - log_p)
    return np.exp(log_weight - logsumexp(log_weight)), float(shape)


def check_weighted(weight: np.ndarray, values: np.ndarray, expected: float) -> None:
    """As `check_mean`, for weighted independent candidates."""
    mean = weight @ values
    assert abs(mean - expected) < 4 * np.sqrt((weight**2) @ (values - mean) ** 2)


@cache
def gaussian_candidates() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    return pathfinder(gaussian, around(3), draws=1000, seed=1)


def test_pathfinder_is_exact_for_a_gaussian() -> None:
    positions, log_p, log_q = gaussian_candidates()
    assert positions.shape == (3000, DIM)
    assert log_p.shape == log_q.shape == (3000,)
    assert positions.dtype == log_p.dtype == log_q.dtype == np.float64
    np.testing.assert_allclose(log_p, [gaussian(x) for x in positions], rtol=0, atol=1e-10)
    # Rounding of a Cholesky factor of condition 1e1; log q is normalised, log p is not.
    np.testing.assert_allclose(log_p - log_q, LOG_NORMALIZER, rtol=0, atol=1e-9)
    # All weights are equal: nothing is left for k̂ to be estimated from.
    weight, centred = np.full(3000, 1 / 3000), positions - MEAN
    for i in range(DIM):
        check_weighted(weight, centred[:, i], 0)
        for j in range(i + 1):
            check_weighted(weight, centred[:, i] * centred[:, j], COVARIANCE[i, j])


def test_the_approximation_lies_where_newtons_step_leads() -> None:
    """Before L-BFGS has come near the mode, the step from the start reaches it."""
    _, log_p, log_q = pathfinder(gaussian, around(1), draws=10, seed=1, max_iterations=1)
    np.testing.assert_allclose(log_p - log_q, LOG_NORMALIZER, rtol=0, atol=1e-9)


def test_pathfinder_weights_correct_what_is_not_gaussian() -> None:
    """Five skewed variables with tails lighter than a normal's, mixed linearly.

    Their moments are integrals; weights are bounded, so that their errors are normal.
    """
    shift, unmix = np.array([0.0, 0.5, 1.0, 2.0, 4.0]), np.linalg.inv(_LOADING)

    def logp(x: Any) -> Any:
        z = unmix @ x
        return -((z - shift) ** 2 / 2 + z**4 / 20).sum()

    def moment(power: int, center: float, at: float) -> float:
        def integrand(z: float) -> float:
            return (z - center) ** power * np.exp(-((z - at) ** 2) / 2 - z**4 / 20)

        return quad(integrand, -10, 10)[0]

    starts = np.random.default_rng(2).normal(size=(6, DIM)) @ _LOADING.T
    positions, log_p, log_q = pathfinder(logp, starts, draws=1000, seed=1)
    weight, k_hat = smoothed(log_p, log_q)
    assert k_hat < 0.7
    z, normalizer = positions @ unmix.T, abs(np.linalg.det(_LOADING))
    for i, at in enumerate(shift):
        mass = moment(0, 0, at)
        mean = moment(1, 0, at) / mass
        normalizer *= mass
        check_weighted(weight, z[:, i], mean)
        check_weighted(weight, (z[:, i] - mean) ** 2, moment(2, mean, at) / mass)
    ratio = np.exp(log_p - log_q)
    assert ratio.std() > 0.1 * ratio.mean()
    assert abs(ratio.mean() - normalizer) < 4 * ratio.std() / np.sqrt(len(ratio))


def test_a_mode_counts_once_however_many_paths_end_in_it() -> None:
    """Two normals 20 standard deviations apart, of weights 0.3 and 0.7, with paths 3 to 1."""
    centers = np.array([-10.0, 10.0])

    def logp(x: Any) -> Any:
        parts = jnp.log(jnp.array([0.3, 0.7])) - (x[0] - centers) ** 2 / 2
        return jax.scipy.special.logsumexp(parts) - (x[1] ** 2) / 2 - jnp.log(2 * jnp.pi)

    starts = np.array([[-9.0, 1.0], [-11.0, 0.0], [-10.0, -1.0], [9.0, 1.0]])
    positions, log_p, log_q = pathfinder(logp, starts, draws=500, seed=1)
    assert (positions[:, 0] < 0).mean() == 0.75
    ratio = np.exp(log_p - log_q)
    # Each mode is met exactly: the ratio is that of the masses, whatever the candidate.
    np.testing.assert_allclose(ratio[positions[:, 0] < 0], 0.3 / 0.75, rtol=1e-9)
    np.testing.assert_allclose(ratio[positions[:, 0] > 0], 0.7 / 0.25, rtol=1e-9)


def nowhere_beyond(x: Any) -> Any:
    """The Gaussian, without a value where the fourth coordinate exceeds 100."""
    return jnp.where(x[3] > 100, jnp.nan, 1.0) * gaussian(x)


def test_failed_paths_are_dropped() -> None:
    starts, notes = around(3), []
    starts[1, 3] = 200
    positions, log_p, log_q = pathfinder(
        nowhere_beyond, starts, draws=50, seed=2, report=lambda *told: notes.append(told)
    )
    assert positions.shape == (100, DIM)
    assert not np.isclose(positions[:50], gaussian_candidates()[0][:50]).any()
    assert np.isfinite(log_p).all()
    np.testing.assert_allclose(log_p - log_q, LOG_NORMALIZER, rtol=0, atol=1e-9)
    assert notes[0] == ("sample", 0, 3, "0 paths failed")
    assert notes[-1] == ("sample", 3, 3, "1 paths failed")


def test_no_path_succeeds() -> None:
    starts = around(2)
    starts[:, 3] = 200
    with pytest.raises(SamplingError, match=r"^No path of Pathfinder has a finite ELBO") as caught:
        pathfinder(nowhere_beyond, starts, draws=50, seed=1)
    assert "\n" not in str(caught.value)


def test_same_seed_same_candidates() -> None:
    again = pathfinder(gaussian, around(3), draws=1000, seed=1)
    for ours, theirs in zip(gaussian_candidates(), again, strict=True):
        np.testing.assert_array_equal(ours, theirs)


@pytest.mark.parametrize("name", ["four clusters, overlapping", "no features", "half-t"])
def test_jaxified_is_the_models_density(name: str) -> None:
    _, model = built(name)
    logp, unravel = jaxified(model)
    reference = model.compile_logp(mode="FAST_COMPILE")
    shapes = {value.name: value.type.shape for value in model.value_vars}
    rng = np.random.default_rng(3)
    points = [{key: rng.normal(size=shape) for key, shape in shapes.items()} for _ in range(4)]
    flat = np.stack([np.concatenate([p[v.name].ravel() for v in model.value_vars]) for p in points])
    with jax.enable_x64(True):
        evaluate = jax.jit(jax.value_and_grad(logp))
        found, gradients = map(np.asarray, zip(*map(evaluate, flat), strict=True))
        direction = 1e-5 * rng.normal(size=flat.shape[1])
        ahead, behind = (float(evaluate(flat[0] + h * direction)[0]) for h in (1, -1))
    np.testing.assert_allclose(found, [reference(point) for point in points], rtol=1e-10)
    # Rounding of a density of size 1e3 to 1e-12, of a difference of 1e-2.
    np.testing.assert_allclose(gradients[0] @ direction, (ahead - behind) / 2, rtol=1e-6)
    back = unravel(flat.reshape(2, 2, -1))
    assert list(back) == list(shapes)
    for key, value in back.items():
        expected = np.stack([point[key] for point in points])
        np.testing.assert_array_equal(value, expected.reshape(2, 2, *shapes[key]))


def regression_means(design: np.ndarray, y: np.ndarray, scale: float) -> tuple[np.ndarray, float]:
    """Posterior means of coefficients ~ N(0, 2.5²) and of σ, with σ² ~ InvGamma(1, scale).

    Given σ² the coefficients are normal and y ~ N(0, σ²I + 2.5² XX'); log σ² on a grid.
    """
    log_variance = np.linspace(-5, 3, 300)
    log_weight, conditional = [], []
    for variance in np.exp(log_variance):
        covariance = variance * np.eye(len(y)) + 2.5**2 * design @ design.T
        log_weight.append(
            stats.multivariate_normal.logpdf(y, cov=covariance)
            + stats.invgamma.logpdf(variance, 1, scale=scale)
            + np.log(variance)
        )
        precision = design.T @ design / variance + np.eye(design.shape[1]) / 2.5**2
        conditional.append(np.linalg.solve(precision, design.T @ y / variance))
    weight = np.exp(np.array(log_weight) - logsumexp(log_weight))
    return weight @ np.array(conditional), float(weight @ np.exp(log_variance / 2))


def test_nuts_on_a_model_of_ours() -> None:
    """K = 1, whose posterior means are known up to an integral over a variance."""
    rng = np.random.default_rng(4)
    x = rng.normal(3, 2, 60)
    table = pd.DataFrame({"x": x, "y": 1 + 0.5 * x + rng.normal(size=60)})
    spec = ModelSpec(n_clusters=1, features=("x",), predictors=("x",), response="y")
    dataset = make_dataset(table, spec)
    logp, unravel = jaxified(build_model(dataset, spec, None, "dot"))
    starts = 0.3 * rng.normal(size=(4, 5))
    positions, statistics = nuts(
        logp, starts, draws=1000, tune=300, target_accept=0.8, dense=True, seed=1
    )
    draws = unravel(positions)
    scaled_x, scaled_y = dataset.scaling.transform(dataset.values).T
    ones = np.ones((60, 1))
    (mean,), sd = regression_means(ones, scaled_x, 0.05)
    line, sigma = regression_means(np.column_stack([ones, scaled_x]), scaled_y, 0.01)
    expected = dict(zip(("mean", "intercept", "slope"), (mean, *line), strict=True))
    for place, item in enumerate(coordinates(spec)):
        check_mean(2.5 * draws["location"][..., 0, place], expected[item.parameter])
    check_mean(np.exp(draws["feature_variance_log__"][..., 0, 0] / 2), sd)
    check_mean(np.exp(draws["noise_variance_log__"][..., 0] / 2), sigma)
    assert not statistics["diverging"].any()
    # 3,500 of 4,000 draws would be usual: a Gaussian posterior but for two variances.
    for i in range(5):
        assert az.ess(xr.DataArray(positions[..., i], dims=("chain", "draw"))) > 1000
