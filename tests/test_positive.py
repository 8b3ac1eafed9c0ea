"""Gamma and inverse Gaussian responses: against SciPy, R's glm and flexmix, and quadrature."""

import dataclasses
from pathlib import Path

import mpmath
import numpy as np
import pandas as pd
import pytest
import xarray as xr
from scipy import special, stats
from test_kernel import assert_gradient, prior_of, target_of

import jointmix as jm
from jointmix.base.errors import DataError, SpecError
from jointmix.families.compiling import jit
from jointmix.families.gamma.block import GammaResponse
from jointmix.families.gamma_functions import log_gamma_constant, log_less_digamma
from jointmix.families.mixture import component_log_density, log_likelihood
from jointmix.families.parameters import Parameters
from jointmix.families.priors.priors import Fixed, Gamma, HalfNormal, Normal, Priors
from jointmix.families.rows import Rows
from jointmix.families.words import words_of
from jointmix.kernel.pit_crps import pit_crps
from jointmix.kernel.predictive import density_at, predictive
from jointmix.model.dataset import Dataset, make_dataset
from jointmix.model.notes import notes
from jointmix.model.serialised import spec_from_dict, spec_to_dict
from jointmix.model.settings import SamplerSpec
from jointmix.model.spec import ModelSpec
from jointmix.modes.em import fit_em
from jointmix.posterior.draws import fitted_scaling, fitted_spec
from jointmix.sampling import Target
from jointmix.validation.agreement.comparison import Comparison
from jointmix.validation.agreement.plain_sides import numpy_side, scipy_side
from jointmix.validation.agreement.problem import Problem
from jointmix.validation.agreement.terms import Side, Terms
from jointmix.validation.calibration.replicates import true_arrays

pytestmark = pytest.mark.kernel

FAMILIES = ("gamma", "inverse_gaussian")
both = pytest.mark.parametrize("family", FAMILIES)
BASE = ModelSpec(
    n_clusters=3, features=("a", "b"), predictors=("a", "p"), response="y", offset="o",
    family="gamma",
)  # fmt: skip
SPECS: dict[str, ModelSpec] = {
    "offset": BASE,
    "own scale": dataclasses.replace(BASE, standardize=False),
    "one cluster": dataclasses.replace(BASE, n_clusters=1, offset=None),
    "no predictors": dataclasses.replace(BASE, features=(), predictors=(), offset=None),
    "no intercept": dataclasses.replace(BASE, intercept=False),
    "fixed": dataclasses.replace(
        BASE, priors=Priors(slope=Fixed(value=[0.2, -0.1]), shape=Fixed(value=[2.0, 9.0, 30.0]))
    ),
}


def law(family: str, mean: np.ndarray, shape: np.ndarray) -> stats.rv_continuous:
    if family == "gamma":
        return stats.gamma(shape, scale=mean / shape)
    return stats.invgauss(mean / shape, scale=shape)


def dataset_of(spec: ModelSpec, n: int = 70) -> Dataset:
    rng = np.random.default_rng(3)
    values = rng.normal(size=(n, len(spec.columns)))
    values[:, -1] = 7 * rng.gamma(2.0, size=n) + 20 * (rng.random(n) < 0.1)
    return Dataset(spec, values, np.arange(n), n, {}, "")


def scipy_rows(at: Target, q: np.ndarray) -> np.ndarray:
    """Log densities of the rows on the model's scale, by SciPy."""
    draw, spec, values = at.parameters(q), at.spec, at.dataset.values
    named = dict(zip(spec.columns, values.T, strict=True))
    scaled = (
        {name: (c - c.mean()) / c.std() for name, c in named.items()} if spec.standardize else named
    )
    exposure, y = np.exp(named["o"]) if spec.offset else np.ones(len(values)), named["y"]
    rate = y.sum() / exposure.sum() if spec.standardize else 1.0
    unit = y.mean() if spec.standardize and spec.family == "inverse_gaussian" else 1.0
    terms = []
    for k in range(spec.n_clusters):
        term = np.full(len(values), np.log(draw["weight"][k]))
        if spec.features:
            x = np.stack([scaled[name] for name in spec.features], axis=1)
            covariance = draw["correlation"][k] * np.outer(draw["sd"][k], draw["sd"][k])
            term += stats.multivariate_normal.logpdf(x, draw["mean"][k], covariance)
        line = draw["intercept"][k] + sum(
            draw["slope"][k][j] * scaled[name] for j, name in enumerate(spec.predictors)
        )
        mean = rate * exposure * np.exp(line) / unit
        terms.append(term + law(spec.family, mean, draw["shape"][k]).logpdf(y / unit))
    return np.asarray(np.logaddexp.reduce(terms, axis=0))


@both
@pytest.mark.parametrize("name", SPECS)
def test_density_equals_scipy_and_gradient_differences(name: str, family: str) -> None:
    at = target_of(dataset_of(dataclasses.replace(SPECS[name], family=family)), None)
    for q in 0.3 * np.random.default_rng(1).normal(size=(3, at.dim)):
        value, _ = at.log_density(q)
        expected = scipy_rows(at, q).sum() + prior_of(at, q)[0]
        np.testing.assert_allclose(value, expected, rtol=1e-12)
        ways = np.random.default_rng(2).normal(size=(4, at.dim))
        assert_gradient(at, q, ways, h=1e-5)


@both
@pytest.mark.parametrize("place", [-400.0, 400.0])
def test_means_that_overflow_leave_the_density_finite(family: str, place: float) -> None:
    spec = ModelSpec(n_clusters=1, predictors=("p",), response="y", family=family)
    at = target_of(dataset_of(spec), None)
    q = np.zeros(at.dim)
    q[0] = place
    value, gradient = at.log_density(q)
    assert np.isfinite(value)
    assert value < -100
    assert np.isfinite(gradient).all()


@jit(inner=False)
def constant(x: float) -> float:
    """The compiled function as Python can call it."""
    return log_gamma_constant(x)


@jit(inner=False)
def step(x: float) -> float:
    """The compiled function as Python can call it."""
    return log_less_digamma(x)


def test_gamma_functions_are_those_of_exact_arithmetic() -> None:
    block = ModelSpec(n_clusters=1, response="y", family="gamma").blocks[-1]
    assert isinstance(block, GammaResponse)
    for x in (1e-3, 0.3, 1.0, 9.999, 10.0, 57.0, 1e4, 1e8):
        with mpmath.workdps(50):
            at = mpmath.mpf(x)
            exact = float(at * mpmath.log(at) - at - mpmath.loggamma(at))
            slope = float(mpmath.log(at) - mpmath.digamma(at))
        for found in (constant(x), float(block.log_constant(np.array(x)))):
            # Below 10 terms of 25 cancel.
            assert found == pytest.approx(exact, rel=1e-14, abs=1e-14)
        for found in (step(x), float(block.constant_slope(np.array(x))) / x):
            assert found == pytest.approx(slope, rel=1e-13)


@pytest.mark.parametrize("mean", [5e-9, 1e-3, 0.2, 3.0, 80.0])
def test_the_best_shape_has_the_mean_of_the_deviance(mean: float) -> None:
    block = ModelSpec(n_clusters=1, response="y", family="gamma").blocks[-1]
    assert isinstance(block, GammaResponse)
    assert step(float(block.best_shape(np.array(mean)))) == pytest.approx(mean, rel=1e-12)


def draws(family: str) -> tuple[Rows, Parameters, ModelSpec]:
    """Three rows, and parameters of four draws of two clusters that differ by more than a tenth."""
    spec = ModelSpec(
        n_clusters=2, features=("x",), predictors=("u",), response="y", family=family, offset="o"
    )
    rng = np.random.default_rng(8)
    parameters = Parameters(
        weight=rng.dirichlet((3, 3), 4),
        mean=rng.normal(size=(4, 2, 1)),
        cholesky=rng.uniform(0.5, 1.5, (4, 2, 1, 1)),
        intercept=np.array([[0.2, 2.0], [0.4, 2.2], [-0.1, 1.8], [0.0, 2.4]]),
        slope=0.3 * rng.normal(size=(4, 2, 1)),
        shape=np.array([[0.6, 20.0], [1.5, 300.0], [4.0, 9.0], [2.0, 2e4]]),
    )
    y = np.array([0.02, 3.0, 25.0])
    offset = np.array([0.0, -0.5, 1.0])
    x, u = rng.normal(size=(3, 1)), rng.normal(size=(3, 1))
    return Rows(x, u, y, offset=offset), parameters, spec


def mixture(rows: Rows, parameters: Parameters) -> tuple[np.ndarray, np.ndarray]:
    """Weights and means of the parts, (row, draw, cluster)."""
    gap = rows.x[:, None, None, 0] - parameters.mean[..., 0]
    sd = parameters.cholesky[..., 0, 0]
    share = parameters.weight * stats.norm.pdf(gap, 0, sd)
    share /= share.sum(-1, keepdims=True)
    line = parameters.intercept + parameters.slope[..., 0] * rows.u[:, None, None, 0]
    return share / len(parameters.weight), np.exp(line + rows.offset[:, None, None])


@both
def test_predictions_are_those_of_the_mixture(family: str) -> None:
    rows, parameters, spec = draws(family)
    level = np.array([1e-4, 0.05, 0.31, 0.5, 0.9, 0.999, 1 - 1e-7])
    total, share, quantile = predictive(rows, parameters, spec.blocks, level)
    weight, mean = mixture(rows, parameters)
    each = law(family, mean, parameters["shape"])
    expected = (weight * mean).sum((1, 2))
    np.testing.assert_allclose(total[:, 0], expected, rtol=1e-12)
    variance = (weight * (each.var() + mean**2)).sum((1, 2)) - expected**2
    np.testing.assert_allclose(total[:, 1:4].sum(1), variance, rtol=1e-11)
    np.testing.assert_allclose(share[..., 0], weight.sum(1), rtol=1e-12)
    for place, probability in enumerate(level):
        at = quantile[:, place, None, None]
        below, height = ((weight * f(at)).sum((1, 2)) for f in (each.cdf, each.pdf))
        # Quantiles are right to 1e-9 of the spread.
        allowed = 1e-9 * np.sqrt(variance) * height + 1e-13
        assert (np.abs(below - probability) <= allowed).all()
    at = np.array([-1.0, 1e-3, 1.0, 7.0, 40.0])
    given = np.moveaxis(weight, 0, -1)
    found = density_at(at, given, rows, parameters, spec.blocks[-1])
    expected = np.stack([(weight * each.pdf(y)).sum((1, 2)) for y in at], axis=1)
    np.testing.assert_allclose(found, expected, rtol=1e-10)


@both
def test_pit_is_the_chance_and_the_crps_the_integral(family: str) -> None:
    rows, parameters, spec = draws(family)
    weight, mean = mixture(rows, parameters)
    log_weight = np.log(np.swapaxes(weight, 0, 1))
    pit, crps = pit_crps(rows, log_weight, parameters, spec.blocks[-1])
    for row, y in enumerate(rows.y):
        # Fine where densities are steep; the integrand jumps at y.
        t = np.sort([*np.geomspace(1e-12, 1e3, 20_000), y * (1 - 1e-12), y])
        each = law(family, mean[row], parameters["shape"])
        assert pit[row] == pytest.approx((weight[row] * each.cdf(y)).sum(), abs=1e-12)
        below = sum(
            weight[row, s, k]
            * law(family, mean[row, s, k], parameters["shape"][s, k]).cdf(t)
            for s in range(4) for k in range(2)
        )  # fmt: skip
        expected = np.trapezoid((below - (t >= y)) ** 2, t)
        assert crps[row] == pytest.approx(expected, rel=2e-3)


@pytest.mark.parametrize("shape", [1e-3, 1.0, 40.0, 1e6, 1e10])
def test_the_inverse_gaussian_distribution_function_neither_overflows_nor_cancels(
    shape: float,
) -> None:
    spec = ModelSpec(n_clusters=1, response="y", family="inverse_gaussian")
    parameters = Parameters(
        weight=np.ones((1, 1)), intercept=np.full((1, 1), 0.7), slope=np.zeros((1, 1, 0)),
        shape=np.full((1, 1), shape),
    )  # fmt: skip
    sd = np.sqrt(np.exp(2.1) / shape)
    y = np.exp(0.7) * np.exp(np.linspace(-4, 4, 9) * min(sd, 1.0))
    rows = Rows(np.zeros((9, 0)), np.zeros((9, 0)), y, offset=np.zeros(9))
    pit, _ = pit_crps(rows, np.zeros((1, 9, 1)), parameters, spec.blocks[-1])
    with mpmath.workdps(60):
        for found, value in zip(pit, y, strict=True):
            at, mean, lam = mpmath.mpf(float(value)), mpmath.exp(mpmath.mpf(0.7)), mpmath.mpf(shape)
            root = mpmath.sqrt(lam / at)
            exact = mpmath.ncdf(root * (at / mean - 1))
            exact += mpmath.exp(2 * lam / mean) * mpmath.ncdf(-root * (at / mean + 1))
            # A rounding of y is one of √λ times that in the normal score.
            assert found == pytest.approx(float(exact), abs=1e-14 * (10 + np.sqrt(shape)))


def sizes(family: str) -> pd.DataFrame:
    """The tables of which the golden numbers are, of four digits after the point."""
    rng = np.random.default_rng(2028)
    z, u, hours = np.arange(240) % 2, rng.uniform(-2, 2, 240), rng.integers(1, 9, 240)
    mean = hours * np.exp(np.where(z == 0, 0.2 + 0.5 * u, 2.0 - 0.3 * u))
    one, other = rng.standard_gamma(np.where(z == 0, 3.0, 12.0)), rng.random(240)
    if family == "gamma":
        y = mean * one / np.where(z == 0, 3.0, 12.0)
    else:
        half = 0.5 * mean / np.where(z == 0, 8.0, 200.0) * rng.standard_normal(240) ** 2
        root = 1 + half + np.sqrt(half * (2 + half))
        y = mean * np.where(other * (1 + root) < 1, root, 1 / root)
    table = pd.DataFrame({"u": np.round(u, 4), "log_hours": np.log(hours), "y": np.round(y, 4)})
    expected = {"gamma": 5438.87, "inverse_gaussian": 5646.3732}[family]
    assert table["y"].sum() == pytest.approx(expected, abs=1e-6)
    return table


def model(k: int, family: str = "gamma", **options: object) -> ModelSpec:
    given = {"predictors": ["u"], "response": "y", "offset": "log_hours", "family": family}
    return ModelSpec(n_clusters=k, **(given | options))


#: R 4.2.2: glm(y ~ u + offset(log_hours), Gamma("log")), and with inverse.gaussian("log") from
#: (1.5, 0): coefficients, the shape of the largest likelihood at them, and that likelihood's log.
GLM = {
    "gamma": (1.526179958022811, -0.166207160515456, 1.064381365539186, -941.2753190741466),
    "inverse_gaussian": (
        1.556603525396360, -0.068304175306427, 5.855707079335430, -975.4713101375337,
    ),
}  # fmt: skip
#: The variances that glm gives the coefficients at that shape.
GLM_VARIANCES = {
    "gamma": (3.954842518e-3, 2.884014452e-3),
    "inverse_gaussian": (1.048531637e-2, 8.242618264e-3),
}
#: R 4.2.2, flexmix 2.3.18: the best of 30 starts of a driver with glm.fit's weighted fit by the
#: log link and the shape of the largest likelihood: that, intercepts, slopes, shapes.
FLEXMIX = {
    "gamma": (-829.0296647970, [0.1646866, 1.9956008], [0.4113747, -0.3282861],
              [3.5198341, 12.5748359]),
    "inverse_gaussian": (-861.2869524022, [0.2999699, 2.0185118], [0.5710951, -0.2736420],
                         [7.6215786, 220.7227988]),
}  # fmt: skip


@both
def test_one_cluster_of_em_is_the_glm_of_r(family: str) -> None:
    best = fit_em(sizes(family), model(1, family)).best
    b, slope, shape, value = GLM[family]
    assert best.log_likelihood == pytest.approx(value, abs=1e-8)
    found = [best.parameters.intercept[0], best.parameters.slope[0, 0]]
    assert found == pytest.approx([b, slope], abs=1e-6)
    # The floor of variances is 1e-8.
    assert best.parameters["shape"][0] == pytest.approx(shape, rel=1e-6)


@both
def test_em_finds_what_flexmix_finds(family: str) -> None:
    best = fit_em(sizes(family), model(2, family)).best
    value, intercept, slope, shape = FLEXMIX[family]
    assert best.log_likelihood == pytest.approx(value, abs=1e-3)
    order = np.argsort(best.parameters.intercept)
    assert np.allclose(best.parameters.intercept[order], intercept, atol=2e-3)
    assert np.allclose(best.parameters.slope[order, 0], slope, atol=2e-3)
    assert np.allclose(best.parameters["shape"][order], shape, rtol=2e-3)


def test_without_predictors_em_is_not_below_flexmix_own_gamma() -> None:
    # R 4.2.2, flexmix 2.3.18: the best of 30 starts of FLXMRglm(family = "Gamma"), whose link is
    # the inverse and whose shapes are the rows over the deviance, not those of the likelihood.
    table = sizes("gamma")
    rates = {"y": table["y"] / np.exp(table["log_hours"])}
    best = fit_em(rates, model(2, predictors=[], offset=None)).best
    assert -590.4085203136937 < best.log_likelihood < -589.5
    assert np.exp(best.parameters.intercept) == pytest.approx([7.04, 0.845], rel=0.05)


@both
def test_units_of_response_and_exposure_change_nothing_but_their_numbers(family: str) -> None:
    table = sizes(family)
    grams = table.assign(y=1000 * table["y"], log_hours=table["log_hours"] + np.log(60))
    sampler = SamplerSpec(chains=1, draws=50, tune=100)
    specs = model(2, family, sampler=sampler)
    one, other = (fit_em(each, specs, seed=3).best for each in (table, grams))
    assert one.log_likelihood - 240 * np.log(1000) == pytest.approx(other.log_likelihood, abs=1e-6)
    shift = np.log(1000) - np.log(60)
    assert np.allclose(one.parameters.intercept + shift, other.parameters.intercept, atol=1e-6)
    assert np.allclose(one.parameters.slope, other.parameters.slope, atol=1e-6)
    unit = 1000.0 if family == "inverse_gaussian" else 1.0
    assert np.allclose(unit * one.parameters["shape"], other.parameters["shape"], rtol=1e-6)
    # Priors too: the density of the same unconstrained values differs by what units change.
    targets = [target_of(make_dataset(each, specs), None) for each in (table, grams)]
    at = 0.3 * np.random.default_rng(4).normal(size=targets[0].dim)
    first, second = (target.log_density(at)[0] for target in targets)
    shift = 240 * np.log(1000) if family == "gamma" else 0.0
    assert first - shift == pytest.approx(second, rel=1e-12)


@both
def test_tied_rows_end_at_what_the_prior_leaves_and_are_named(family: str) -> None:
    rng = np.random.default_rng(4)
    x = np.repeat([0.0, 8.0], [60, 40]) + rng.normal(size=100)
    table = {"x": x, "y": np.where(x > 4, rng.gamma(3.0, size=100), 2.0)}
    sampler = SamplerSpec(chains=2, draws=300, tune=300)
    spec = ModelSpec(n_clusters=2, features=["x"], response="y", family=family, sampler=sampler)
    data = make_dataset(table, spec)
    best = fit_em(table, spec).best
    level = log_likelihood(component_log_density(spec.blocks, data.users_rows, best.parameters))
    assert np.isfinite(level.sum())
    assert best.parameters.weight == pytest.approx([0.6, 0.4], abs=0.02)
    (tied,) = (note for note in notes(data) if note.code == "ties")
    assert "as the prior of its shape bounds it" in tied.remedy
    fit = jm.fit(table, spec, seed=3, progress=False)
    assert "exact_in_clusters" in fit.attrs["notes"]
    said = str(jm.diagnose(fit))
    assert "'y' is constant: shape, put at" in " ".join(said.split())
    # Of 60 rows without spread the posterior is Gamma(1 + 30, 0.01), but for the mean's freedom.
    shape = fit["posterior"]["shape"].values.reshape(-1, 2).max(axis=1).mean()
    unit = fitted_scaling(fit, spec).response[1]
    assert shape / unit == pytest.approx(30.5 / 0.01, rel=0.05)


@pytest.fixture(scope="module", params=FAMILIES)
def fitted(request: pytest.FixtureRequest) -> xr.DataTree:
    wide = Priors(
        intercept=Normal(scale=100.0), slope=Normal(scale=100.0), shape=Gamma(shape=1.0, rate=1e-6)
    )
    sampler = SamplerSpec(chains=2, draws=500, tune=500)
    spec = model(1, request.param, priors=wide, sampler=sampler)
    return jm.fit(sizes(request.param), spec, seed=5, progress=False)


def exact_posterior(family: str) -> dict[str, tuple[float, float]]:
    """Means and sds of b, θ and the shape under the wide priors, by sums over a grid."""
    table, (b, slope, shape, _) = sizes(family), GLM[family]
    u, y = table["u"].to_numpy(), table["y"].to_numpy()
    sd = np.sqrt(GLM_VARIANCES[family])
    grid_b, grid_slope = (
        b + 9 * sd[0] * np.linspace(-1, 1, 121),
        slope + 7 * sd[1] * np.linspace(-1, 1, 81),
    )
    log_shape = np.log(shape) + np.linspace(-0.9, 0.9, 201)
    line = grid_b[:, None, None] + grid_slope[:, None] * u + table["log_hours"].to_numpy()
    ratio = y * np.exp(-line)
    a = np.exp(log_shape)
    if family == "gamma":
        half = (ratio - 1 - np.log(ratio)).sum(-1)
        constant = a * np.log(a) - a - special.gammaln(a)
    else:
        half = ((ratio - 1) ** 2 / (2 * y)).sum(-1)
        constant = 0.5 * log_shape
    # The shape's prior is flat: of its log it is the shape.
    height = len(y) * constant + log_shape - half[..., None] * a
    mass = np.exp(height - height.max())
    mass /= mass.sum()
    grids = {"intercept": (grid_b, (1, 2)), "slope": (grid_slope, (0, 2)), "shape": (a, (0, 1))}
    found = {}
    for name, (at, others) in grids.items():
        own = mass.sum(axis=others)
        mean = (own * at).sum()
        found[name] = mean, np.sqrt((own * (at - mean) ** 2).sum())
    return found


def test_the_posterior_under_wide_priors_is_that_of_quadrature(fitted: xr.DataTree) -> None:
    exact = exact_posterior(fitted_spec(fitted).family)
    for name, (mean, sd) in exact.items():
        draws = fitted["posterior"][name].values.ravel()
        # Four Monte Carlo errors of 500 effective draws or more.
        assert draws.mean() == pytest.approx(mean, abs=4 * sd / np.sqrt(500))
        assert draws.std() == pytest.approx(sd, rel=4 / np.sqrt(1000))


def test_predictions_of_new_rows_are_those_of_a_saved_fit(
    fitted: xr.DataTree, tmp_path: Path
) -> None:
    rows = pd.DataFrame({"u": [0.0, 1.0], "log_hours": np.log([1.0, 10.0])})
    found = jm.predict(fitted, rows, quantiles=(0.05, 0.5, 0.95))
    posterior = fitted["posterior"].to_dataset().stack(s=("chain", "draw"))
    shape = posterior["shape"].values[0][:, None]
    mean = np.exp(
        posterior["intercept"].values[0][:, None]
        + posterior["slope"].values.reshape(-1)[:, None] * rows["u"].values
        + rows["log_hours"].values
    )
    name = fitted_spec(fitted).family
    own = law(name, mean, shape)
    assert found["mean"].values == pytest.approx(mean.mean(0), rel=1e-9)
    assert found["sd"].values ** 2 == pytest.approx(own.var().mean(0) + mean.var(0), rel=1e-9)
    for quantile, level in zip(found["quantiles"].values.T, (0.05, 0.5, 0.95), strict=True):
        assert own.cdf(quantile).mean(0) == pytest.approx([level] * 2, abs=1e-8)
    assert (found["quantiles"] > 0).all()
    with pytest.raises(DataError, match="log_hours"):
        jm.predict(fitted, rows[["u"]])
    jm.save(fitted, tmp_path / "sizes.nc")
    again = jm.predict(jm.load(tmp_path / "sizes.nc"), rows, quantiles=(0.05, 0.5, 0.95))
    assert again.equals(found)
    at = np.geomspace(1e-2, 1e4, 300)
    grid = jm.predictive_density(fitted, rows, at)
    # Of log y; the tails beyond the points have less.
    assert np.trapezoid(grid * at, np.log(at), axis=1) == pytest.approx([1.0, 1.0], abs=3e-3)
    assert (jm.predictive_density(fitted, rows, 20)["point"] > 0).all()


def test_what_a_fit_says_is_in_ratios_of_means(fitted: xr.DataTree, tmp_path: Path) -> None:
    jm.report(fitted, tmp_path / "sizes.md")
    page = (tmp_path / "sizes.md").read_text(encoding="utf-8")
    assert "the expected y per unit of exposure is" in page
    assert "it is multiplied by" in page
    assert "Rows scatter about it with a shape of" in page
    assert "ratio of means" in page
    assert "noise σ" not in page
    assert "the variance of the response is its" in page
    computed = page.partition("## Cross-check")[0].replace("because there is one cluster only", "")
    assert "Not computed, because" not in computed
    r2 = jm.r_squared(fitted)
    # One cluster: what it explains is what the model explains.
    assert np.allclose(r2["cluster_r2"][..., 0], r2["bayesian_r2"], rtol=1e-9)
    loo = jm.loo(fitted)
    assert np.isfinite(loo.pointwise["crps"]).all()
    drawn = jm.replicate(fitted, draws=20)["posterior_predictive"]["y"].values
    assert drawn.min() > 0


def test_equations_and_sentences() -> None:
    gamma, other = (words_of(model(2, family).blocks[-1]) for family in FAMILIES)
    assert "<mi>Gamma</mi>" in gamma.term
    assert "<msub><mi>α</mi><mi>k</mi></msub>" in gamma.term
    assert "<msub><mi>λ</mi><mi>k</mi></msub>" in other.term
    assert gamma.structure[-1] == (
        "Each cluster has its own shape α: the variance of the response is its squared mean over α."
    )
    fixed = words_of(model(2, priors=Priors(shape=Fixed(value=2.0))).blocks[-1])
    assert fixed.structure[-1].startswith("The shape α is fixed by the user")
    assert other.kind("regressions") == "inverse Gaussian regressions"
    assert [node.label for node in gamma.nodes] == ["α", "b, θ"]


@both
@pytest.mark.parametrize(
    ("y", "said"),
    [
        ([1, 2, -1, 4, 0, 3], "negative or 0 in 2 rows"),
        ([1, 2.5, 0, 4, 0, 3], "is 0 in 2 rows, and the family"),
        ([0, 0, 0, 0, 0, 0], "is 0 in 6 rows"),
        ([2, 2, 2, 2, 2, 2], "constant|varies|same"),
    ],
)
def test_what_is_not_positive_is_named(family: str, y: list[float], said: str) -> None:
    table = {"u": [0.0, 1, 2, 4, 3, 7], "y": y}
    with pytest.raises(DataError, match=said):
        make_dataset(table, model(1, family, offset=None))


@both
def test_a_response_computed_from_its_predictors_is_named(family: str) -> None:
    u = np.linspace(-1, 1, 30)
    table = {"u": u, "log_hours": np.arange(30) / 30, "y": np.exp(1 + 2 * u + np.arange(30) / 30)}
    (found,) = (
        note for note in notes(make_dataset(table, model(1, family)))
        if note.code == "exact_response"
    )  # fmt: skip
    assert "The log of the response 'y' is an exact linear function of 'u'" in found.message
    # √(0.01 / (1 + 1 + 15))
    assert "a coefficient of variation near 0.024" in found.message


def test_what_a_specification_may_not_say() -> None:
    with pytest.raises(SpecError, match="no noise besides its own spread"):
        model(2, noise="shared")
    with pytest.raises(SpecError, match="has no sigma"):
        model(2, priors=Priors(sigma=HalfNormal()))
    with pytest.raises(SpecError, match="has no shape"):
        model(2, family="poisson", priors=Priors(shape=Fixed(value=2.0)))
    with pytest.raises(SpecError, match="has one link only"):
        model(2, link="log")
    with pytest.raises(SpecError, match="fixed shape must be > 0"):
        model(2, priors=Priors(shape=Fixed(value=[1.0, -2.0])))
    with pytest.raises(SpecError, match="prior of shape must be one of Gamma, Fixed"):
        Priors(shape=HalfNormal())
    spec = model(2, "inverse_gaussian", priors=Priors(shape=Gamma(shape=2.0, rate=0.5)))
    assert spec_from_dict(spec_to_dict(spec)) == spec
    assert not model(2, priors=Priors(shape=Fixed(value=[1.0, 2.0]))).exchangeable


@both
def test_calibration_draws_parameters_of_a_table_that_the_family_can_have(family: str) -> None:
    spec = ModelSpec(n_clusters=2, predictors=["u"], response="y", offset="o", family=family)
    drawn = true_arrays(spec, 0, 1)
    assert {"weight", "intercept", "slope", "shape"} <= drawn.keys()
    assert (drawn["shape"] > 0).all()


def test_a_fixed_inverse_gaussian_shape_is_calibrated_in_units_of_the_table() -> None:
    known = Priors(shape=Fixed(value=2.0))
    with pytest.raises(SpecError, match="fixed shape is on the columns' scale"):
        jm.calibrate(model(2, "inverse_gaussian", priors=known), n_rows=30, replicates=10)


@pytest.mark.slow
@pytest.mark.usefixtures("little_compiled")
@both
def test_its_implementations_agree(family: str) -> None:
    certificate = jm.crosscheck(sizes(family), model(2, family), points=20, posterior=False, seed=2)
    assert certificate.passed, certificate.findings
    assert {"kernel", "PyMC on JAX", "NumPyro enumerated"} <= set(certificate.implementations)


@both
def test_what_is_cut_off_is_not_compared_and_named(family: str) -> None:
    problem = Problem(make_dataset(sizes(family), model(2, family)), None)
    points = np.zeros((3, problem.dim))
    # Intercepts and slopes, of one cluster and of both.
    where, shape = problem.slices["location"]
    points[1][where].reshape(shape)[0, 0] = points[2][where].reshape(shape)[:, 0] = -150.0
    comparison = Comparison(problem, [numpy_side(problem), scipy_side(problem)])
    assert all(each.agrees for each in comparison.run(points))
    (note,) = comparison.notes()
    assert note.startswith("At 2 of 3 points a response is so far from a component's mean")

    def wrong(points: np.ndarray) -> Terms:
        terms = scipy_side(problem).evaluate(points)
        return dataclasses.replace(terms, rows=terms.rows * 1.001)

    # Where one component is cut off, the rest still is compared.
    comparison = Comparison(problem, [numpy_side(problem), Side("wrong", wrong)])
    differ = [each.term for each in comparison.run(points[1:2]) if not each.agrees]
    assert differ == ["rows"]


def test_rows_far_from_a_cluster_do_not_stop_the_search() -> None:
    """A cubic of one cluster's rows is e^(10^4) times too small in the other's."""
    rng = np.random.default_rng(7)
    z = rng.integers(2, size=160)
    x = rng.normal(size=160) + 4 * z
    mean = np.exp(np.where(z, 1.5 - 0.2 * x, 0.5 + 0.2 * x))
    table = {"x": x, "y": rng.wald(mean, 8 * mean)}
    for family in ("gamma", "inverse_gaussian"):
        spec = jm.ModelSpec(n_clusters=2, formula="y ~ bs(x, df=6)", features=["x"], family=family)
        assert np.isfinite(fit_em(table, spec).best.log_likelihood)
