"""A negative binomial response: against SciPy, mpmath, R, brute-force sums, and its own words."""

import dataclasses
from pathlib import Path

import mpmath
import numpy as np
import pandas as pd
import pytest
import xarray as xr
from scipy import special, stats
from test_kernel import assert_gradient, prior_of, target_of
from test_straight import mode

import jointmix as jm
from jointmix.base.errors import DataError, SpecError
from jointmix.families.compiling import jit
from jointmix.families.incomplete_beta import beta_height, lower_beta
from jointmix.families.parameters import Parameters
from jointmix.families.priors.priors import Fixed, Gamma, HalfNormal, Normal, Priors
from jointmix.families.rising import digamma_rising, log_rising
from jointmix.families.rows import Rows
from jointmix.kernel.pit_crps import pit_crps
from jointmix.kernel.predictive import density_at, predictive
from jointmix.model.dataset import Dataset, make_dataset
from jointmix.model.serialised import spec_from_dict, spec_to_dict
from jointmix.model.settings import SamplerSpec
from jointmix.model.spec import ModelSpec
from jointmix.modes.em import fit_em
from jointmix.modes.straight import StraightCoordinates
from jointmix.sampling import Target

pytestmark = pytest.mark.kernel

BASE = ModelSpec(
    n_clusters=3, features=("a", "b"), predictors=("a", "p"), response="y", offset="o",
    family="negative_binomial",
)  # fmt: skip
SPECS: dict[str, ModelSpec] = {
    "offset": BASE,
    "own scale, no offset": dataclasses.replace(BASE, standardize=False, offset=None),
    "one cluster": dataclasses.replace(BASE, n_clusters=1),
    "no predictors": dataclasses.replace(BASE, predictors=(), offset=None),
    "no intercept": dataclasses.replace(BASE, intercept=False, features=()),
    "fixed size": dataclasses.replace(BASE, priors=Priors(size=Fixed(value=[0.5, 3.0, 80.0]))),
}


def dataset_of(spec: ModelSpec, n: int = 70) -> Dataset:
    rng = np.random.default_rng(3)
    values = rng.normal(size=(n, len(spec.columns)))
    values[:, -1] = rng.poisson(rng.gamma(2.0, 3.0, n)) + 20 * (rng.random(n) < 0.1)
    return Dataset(spec, values, np.arange(n), n, {}, "")


def scipy_rows(at: Target, q: np.ndarray) -> np.ndarray:
    """Log densities of the rows, by SciPy, in the columns' own units but for the features'."""
    draw, spec, values = at.parameters(q), at.spec, at.dataset.values
    named = dict(zip(spec.columns, values.T, strict=True))
    scaled = (
        {name: (c - c.mean()) / c.std() for name, c in named.items()} if spec.standardize else named
    )
    exposure = np.exp(named["o"]) if spec.offset else np.ones(len(values))
    rate = named["y"].sum() / exposure.sum() if spec.standardize else 1.0
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
        mean, size = rate * exposure * np.exp(line), draw["size"][k]
        terms.append(term + stats.nbinom.logpmf(named["y"], size, size / (size + mean)))
    return np.asarray(np.logaddexp.reduce(terms, axis=0))


@pytest.mark.parametrize("name", SPECS)
def test_density_equals_scipy_and_gradient_differences(name: str) -> None:
    at = target_of(dataset_of(SPECS[name]), None)
    for q in 0.3 * np.random.default_rng(1).normal(size=(3, at.dim)):
        value, _ = at.log_density(q)
        expected = scipy_rows(at, q).sum() + prior_of(at, q)[0]
        np.testing.assert_allclose(value, expected, rtol=1e-12)
        ways = np.random.default_rng(2).normal(size=(4, at.dim))
        assert_gradient(at, q, ways)


def one_size(y: np.ndarray) -> Target:
    """One cluster without predictors, on the users' scale: q holds b / 2.5 and log s."""
    spec = ModelSpec(n_clusters=1, response="y", family="negative_binomial", standardize=False)
    return target_of(Dataset(spec, y[:, None], np.arange(len(y)), len(y), {}, ""), None)


@pytest.mark.parametrize("size", [1e-3, 0.7, 40.0, 1e5, 1e12])
def test_sizes_near_and_far_keep_all_digits(size: float) -> None:
    y = np.array([0.0, 1.0, 2.0, 17.0, 300.0, 40_000.0])
    at, mean = one_size(y), 25.0
    q = np.array([np.log(mean) / 2.5, np.log(size)])
    value, gradient = at.log_density(q)
    mpmath.mp.dps = 40
    s, m = mpmath.exp(mpmath.mpf(q[1])), mpmath.exp(mpmath.mpf(2.5 * q[0]))
    level, pull, of_size = mpmath.mpf(0), mpmath.mpf(0), mpmath.mpf(0)
    magnitude = 0.0
    for n in map(int, y):
        gammas = mpmath.loggamma(s + n) - mpmath.loggamma(s) - mpmath.loggamma(n + 1)
        level += gammas + s * mpmath.log(s / (s + m)) + n * mpmath.log(m / (s + m))
        magnitude += float(mpmath.loggamma(n + 1)) + n * (1 + abs(np.log(mean / size)))
        pull += s * (n - m) / (s + m)
        slope = mpmath.digamma(s + n) - mpmath.digamma(s)
        of_size += s * (slope + mpmath.log(s / (s + m)) + (m - n) / (s + m))
    prior, of_prior = prior_of(at, q)
    # The prior is taken off again, its rounding with it.
    assert value - prior == pytest.approx(float(level), abs=1e-14 * (magnitude + abs(prior)))
    assert gradient[0] - of_prior[0] == pytest.approx(2.5 * float(pull), rel=1e-11)
    rounding = 1e-13 * (magnitude + abs(of_prior[1]))
    assert gradient[1] - of_prior[1] == pytest.approx(float(of_size), abs=rounding)


def test_rising_factorials_are_those_of_mpmath() -> None:
    mpmath.mp.dps = 40
    for s in (1e-4, 0.3, 9.0, 11.0, 1e6, 1e14):
        for n in (0, 1, 3, 50, 10_000):
            known = mpmath.loggamma(mpmath.mpf(s) + n) - mpmath.loggamma(s) - n * mpmath.log(s)
            assert log_rising(float(n), s) == pytest.approx(float(known), rel=1e-12, abs=1e-15 * n)
            known = mpmath.digamma(mpmath.mpf(s) + n) - mpmath.digamma(s)
            found = digamma_rising(np.array(float(n)), np.array(s))
            assert found == pytest.approx(float(known), rel=1e-12, abs=1e-16)


@jit(inner=False)
def incomplete(a: float, b: float, x: float, rest: float) -> float:
    """The compiled function as Python can call it."""
    return lower_beta(a, b, x, rest)


@jit(inner=False)
def height(a: float, b: float, x: float, rest: float) -> float:
    """The compiled function as Python can call it."""
    return beta_height(a, b, x, rest)


def test_the_incomplete_beta_function_is_scipys() -> None:
    for a in (1e-3, 0.5, 1.0, 7.0, 150.0, 9_999.0, 1e6):
        for b in (0.2, 1.0, 3.0, 80.0, 4e4):
            mean, sd = a / (a + b), np.sqrt(a * b / (a + b) ** 2 / (a + b + 1))
            for z in (-6.0, -2.0, -0.5, 0.0, 0.3, 2.0, 6.0):
                x = mean + z * sd
                if 0 < x < 1:
                    # What a rounding of x moves it by; SciPy's own error is 5e-13 at (7, 4e4).
                    moved = 1e-16 * x * stats.beta.pdf(x, a, b)
                    assert incomplete(a, b, x, 1 - x) == pytest.approx(
                        special.betainc(a, b, x), abs=1e-12 + 10 * moved
                    )
    assert incomplete(2.0, 3.0, 0.0, 1.0) == 0.0
    assert incomplete(2.0, 3.0, 1.0, 0.0) == 1.0
    for n, y, p in ((10, 3, 0.2), (1000, 500, 0.5), (10**7, 9_990_000, 0.999)):
        mpmath.mp.dps = 40
        known = mpmath.binomial(n, y) * mpmath.mpf(p) ** y * (1 - mpmath.mpf(p)) ** (n - y)
        assert height(float(y), float(n - y), p, 1 - p) == pytest.approx(float(known), rel=1e-9)


def draws() -> tuple[Rows, Parameters, ModelSpec]:
    """Three rows, and parameters of four draws of two clusters that differ by more than a tenth."""
    spec = dataclasses.replace(BASE, n_clusters=2, features=("x",), predictors=("u",))
    rng = np.random.default_rng(8)
    parameters = Parameters(
        weight=rng.dirichlet((3, 3), 4),
        mean=rng.normal(size=(4, 2, 1)),
        cholesky=rng.uniform(0.5, 1.5, (4, 2, 1, 1)),
        intercept=np.array([[0.2, 2.0], [0.4, 2.2], [-0.1, 1.8], [0.0, 2.4]]),
        slope=0.3 * rng.normal(size=(4, 2, 1)),
        size=rng.uniform(0.8, 9.0, (4, 2)),
    )
    y, offset = np.array([0.0, 3.0, 25.0]), np.array([0.0, -0.5, 1.0])
    x, u = rng.normal(size=(3, 1)), rng.normal(size=(3, 1))
    return Rows(x, u, y, offset=offset), parameters, spec


def mixture(rows: Rows, parameters: Parameters) -> tuple[np.ndarray, np.ndarray]:
    """Weights and means of the parts, (row, draw, cluster)."""
    gap = rows.x[:, None, None, 0] - parameters.mean[..., 0]
    share = parameters.weight * stats.norm.pdf(gap, 0, parameters.cholesky[..., 0, 0])
    share /= share.sum(-1, keepdims=True)
    line = parameters.intercept + parameters.slope[..., 0] * rows.u[:, None, None, 0]
    return share / len(parameters.weight), np.exp(line + rows.offset[:, None, None])


def test_predictions_are_those_of_the_mixture() -> None:
    rows, parameters, spec = draws()
    level = np.array([1e-6, 0.05, 0.31, 0.5, 0.9, 0.999, 1 - 1e-9])
    total, share, quantile = predictive(rows, parameters, spec.blocks, level)
    weight, mean = mixture(rows, parameters)
    size = parameters.size
    center = (weight * mean).sum((1, 2))
    np.testing.assert_allclose(total[:, 0], center, rtol=1e-12)
    variance = (weight * (mean + mean**2 / size + mean**2)).sum((1, 2)) - center**2
    np.testing.assert_allclose(total[:, 1:4].sum(1), variance, rtol=1e-11)
    np.testing.assert_allclose(share[..., 0], weight.sum(1), rtol=1e-12)
    law = stats.nbinom(size, size / (size + mean))
    below = (weight * law.cdf(np.arange(3000)[:, None, None, None])).sum((2, 3))
    for row in range(3):
        assert quantile[row].tolist() == np.searchsorted(below[:, row], level).tolist()
    at = np.array([0.0, 1.0, 7.0])
    found = density_at(at, np.moveaxis(weight, 0, -1), rows, parameters, spec.blocks[-1])
    mass = law.pmf(at[:, None, None, None])
    np.testing.assert_allclose(found, (weight * mass).sum((2, 3)).T, rtol=1e-11)
    pit, crps = pit_crps(rows, np.log(np.swapaxes(weight, 0, 1)), parameters, spec.blocks[-1])
    j = np.arange(3000)
    for row, y in enumerate(rows.y):
        low = 0.0 if y == 0 else below[int(y) - 1, row]
        assert low < pit[row] < below[int(y), row]
        # Parts that lie close are gathered into one, within a tenth of their spread.
        assert crps[row] == pytest.approx(((below[:, row] - (j >= y)) ** 2).sum(), rel=2e-3)


def counts() -> pd.DataFrame:
    """The table of which the golden numbers are."""
    rng = np.random.default_rng(2030)
    z, u, hours = np.arange(300) % 2, rng.uniform(-2, 2, 300), rng.integers(1, 9, 300)
    mean = hours * np.exp(np.where(z == 0, 0.2 + 0.7 * u, 2.5 - 0.4 * u))
    size = np.where(z == 0, 2.0, 6.0)
    y = rng.poisson(rng.gamma(size, mean / size))
    assert y.sum() == 9586
    return pd.DataFrame({"u": u, "log_hours": np.log(hours), "y": y})


def model(k: int, **options: object) -> ModelSpec:
    given = {"predictors": ["u"], "response": "y", "offset": "log_hours",
             "family": "negative_binomial"}  # fmt: skip
    return ModelSpec(n_clusters=k, **(given | options))


def test_one_cluster_of_em_is_the_maximum_of_r() -> None:
    # R 4.2.2: optim(method = "BFGS", reltol 1e-16) of -sum(dnbinom(y, size =, mu =, log = TRUE)).
    best = fit_em(counts(), model(1)).best
    assert best.log_likelihood == pytest.approx(-1259.3951442087, abs=1e-7)
    found = [best.parameters.intercept[0], best.parameters.slope[0, 0]]
    # The likelihood within 1e-8 of its top leaves the square root of that.
    assert found == pytest.approx([1.93579904, -0.17864017], abs=1e-4)
    assert np.log(best.parameters.size[0]) == pytest.approx(-0.26997822, abs=1e-4)


def test_em_finds_what_r_finds_from_thirty_starts() -> None:
    # R 4.2.2: the best of 30 random starts of optim(method = "BFGS") of the mixture of two dnbinom.
    best = fit_em(counts(), model(2)).best
    assert best.log_likelihood >= -1171.92446844 - 2e-3
    order = np.argsort(best.parameters.intercept)
    assert np.allclose(best.parameters.intercept[order], [0.43668, 2.47972], atol=0.01)
    assert np.allclose(best.parameters.slope[order, 0], [0.71448, -0.37449], atol=0.01)
    assert np.allclose(best.parameters.size[order], [2.50572, 7.03671], rtol=0.03)


def test_em_of_counts_without_overdispersion_ends_at_poissons() -> None:
    rng = np.random.default_rng(12)
    # Sums of binomials: spread less than Poisson's everywhere.
    u = rng.normal(size=150)
    table = {"u": u, "y": rng.binomial(20, 1 / (1 + np.exp(-u)))}
    spec = model(1, offset=None)
    best = fit_em(table, spec).best
    poisson = fit_em(table, dataclasses.replace(spec, family="poisson")).best
    assert 1e3 < best.parameters.size[0] <= 1e3 * table["y"].mean()
    assert best.log_likelihood == pytest.approx(poisson.log_likelihood, abs=0.2)
    assert np.allclose(best.parameters.slope, poisson.parameters.slope, atol=1e-3)


def test_counts_that_are_not_overdispersed_are_named() -> None:
    rng = np.random.default_rng(1)
    z, u = np.arange(300) % 2, rng.normal(size=300)
    mean = np.exp(np.where(z == 0, 1.0 + 0.5 * u, 3.0 - 0.5 * u))
    spec = model(2, features=["x"], offset=None)
    x = 8.0 * z + rng.normal(size=300)
    tables = {
        "poisson": {"x": x, "u": u, "y": np.where(z == 0, rng.binomial(9, 0.3, 300), 20)},
        "spread": {"x": x, "u": u, "y": rng.poisson(rng.gamma(3.0, mean / 3.0))},
    }
    issues = {
        name: spec.blocks[-1].checks.mode_issue(make_dataset(table, spec).users_rows, z)
        for name, table in tables.items()
    }
    assert issues["spread"] is None
    assert issues["poisson"] is not None
    assert issues["poisson"].code == "no_overdispersion"
    assert 'family="poisson"' in issues["poisson"].remedy


def test_the_score_of_overdispersion_is_standard_normal_for_poisson_counts() -> None:
    from jointmix.families.negative_binomial.checks import excess

    rng = np.random.default_rng(5)
    found = []
    for _ in range(400):
        u = rng.normal(size=(200, 1))
        y = rng.poisson(np.exp(1.0 + 0.4 * u[:, 0] + 0.5)).astype(float)
        found.append(excess(Rows(np.zeros((200, 0)), u, y, offset=np.full(200, 0.5)), True))
    # Its mean is about −p/√(2n), its sd 1; five standard errors.
    assert abs(np.mean(found) + 2 / 20) < 0.25
    assert np.std(found) == pytest.approx(1.0, abs=0.18)


def test_straight_coordinates_go_there_and_back() -> None:
    data = make_dataset(counts(), model(2))
    at = mode(data)
    chart = StraightCoordinates(data.spec, at)
    straight = 0.1 * np.random.default_rng(2).normal(size=(20, len(at)))
    values, log_volume = chart.values(straight)
    np.testing.assert_allclose(chart.coordinates(values), straight, rtol=0, atol=1e-12)
    slopes, _ = chart.slopes(straight[0])
    # Differences over 1e-5 of functions of the order of one leave some 1e-10.
    assert np.linalg.slogdet(slopes)[1] == pytest.approx(log_volume[0], abs=1e-7)


@pytest.fixture(scope="module")
def fitted() -> xr.DataTree:
    wide = Priors(
        intercept=Normal(scale=100.0), slope=Normal(scale=100.0), size=Gamma(shape=1.0, rate=1e-3)
    )
    sampler = SamplerSpec(chains=2, draws=1500, tune=500)
    return jm.fit(counts(), model(1, priors=wide, sampler=sampler), seed=5, progress=False)


def test_the_posterior_under_wide_priors_is_about_the_maximum(fitted: xr.DataTree) -> None:
    posterior = fitted["posterior"].to_dataset()
    b = posterior["intercept"].values.ravel()
    slope, size = posterior["slope"].values.ravel(), posterior["size"].values.ravel()
    # R's optimHess at the maximum; five Monte Carlo errors, and the skewness of 300 rows.
    assert b.mean() == pytest.approx(1.93579904, abs=0.012)
    assert slope.mean() == pytest.approx(-0.17864017, abs=0.009)
    assert b.var() == pytest.approx(4.5495e-3, rel=0.15)
    assert slope.var() == pytest.approx(3.8597e-3, rel=0.15)
    assert np.log(size).var() == pytest.approx(6.5513e-3, rel=0.15)
    # The prior is flat in s, which moves log s by its variance.
    assert np.log(size).mean() == pytest.approx(-0.26997822 + 6.55e-3, abs=0.015)


def test_what_a_fit_says(fitted: xr.DataTree, tmp_path: Path) -> None:
    jm.report(fitted, tmp_path / "counts.md")
    page = (tmp_path / "counts.md").read_text(encoding="utf-8")
    assert "the expected y per unit of exposure is" in page
    assert "rate ratio" in page
    assert "counts spread more than Poisson's" in page
    assert "a size of 0.7" in page
    computed = page.partition("## Cross-check")[0].replace("because there is one cluster only", "")
    assert "Not computed, because" not in computed
    assert np.isfinite(jm.loo(fitted).pointwise["crps"]).all()
    drawn = jm.replicate(fitted, draws=20)["posterior_predictive"]["y"].values
    assert (drawn == np.round(drawn)).all()
    r2 = jm.r_squared(fitted)
    assert np.allclose(r2["cluster_r2"][..., 0], r2["bayesian_r2"], rtol=1e-9)
    assert "size" in jm.summary(fitted).index.str.partition("[").to_frame()[0].to_numpy()


def test_a_saved_fit_predicts_the_same(fitted: xr.DataTree, tmp_path: Path) -> None:
    jm.save(fitted, tmp_path / "fit.nc")
    again = jm.load(tmp_path / "fit.nc")
    rows = pd.DataFrame({"u": [0.0, 1.0], "log_hours": np.log([1.0, 10.0])})
    one, other = (jm.predict(tree, rows, quantiles=(0.05, 0.5, 0.95)) for tree in (fitted, again))
    xr.testing.assert_identical(one, other)
    posterior = fitted["posterior"].to_dataset().stack(s=("chain", "draw"))
    mean = np.exp(
        posterior["intercept"].values[0][:, None]
        + posterior["slope"].values.reshape(-1)[:, None] * rows["u"].values
        + rows["log_hours"].values
    )
    assert one["mean"].values == pytest.approx(mean.mean(0), rel=1e-9)
    inside = (mean + mean**2 / posterior["size"].values[0][:, None]).mean(0)
    assert one["sd"].values ** 2 == pytest.approx(inside + mean.var(0), rel=1e-9)
    with pytest.raises(DataError, match="log_hours"):
        jm.predict(fitted, rows[["u"]])
    with pytest.raises(DataError, match="give its logarithm"):
        jm.predict(fitted, rows.assign(log_hours=400.0))
    with pytest.raises(DataError, match="no whole number"):
        jm.log_density(fitted, rows.assign(y=[1.5, 2.0]))
    assert np.isfinite(jm.log_density(fitted, rows.assign(y=[0, 0]))["joint"]).all()


@pytest.mark.parametrize(
    ("y", "said"),
    [
        ([1, 2, -1, 4, 0, 3], "negative in 1 rows, down to -1"),
        ([1, 2.5, 0, 4, 0, 3], "no whole number in 1 rows, such as 2.5"),
        ([0, 0, 0, 0, 0, 0], "0 in all 6 rows"),
        ([0, 1e17, 0, 0, 0, 0], "reaches 1e\\+17"),
    ],
)
def test_what_no_count_is_is_named(y: list[float], said: str) -> None:
    table = {"u": [0.0, 1, 2, 4, 3, 7], "y": y}
    with pytest.raises(DataError, match=said):
        make_dataset(table, model(1, offset=None))


def test_what_a_specification_may_not_say() -> None:
    with pytest.raises(SpecError, match="has no sigma"):
        model(2, priors=Priors(sigma=HalfNormal()))
    with pytest.raises(SpecError, match="has no size"):
        model(2, family="poisson", priors=Priors(size=Gamma()))
    with pytest.raises(SpecError, match="must be one of Gamma, Fixed"):
        model(2, priors=Priors(size=HalfNormal()))
    with pytest.raises(SpecError, match="size must be > 0"):
        model(2, priors=Priors(size=Fixed(value=0.0)))
    with pytest.raises(SpecError, match="shapes"):
        model(2, priors=Priors(size=Fixed(value=[1.0, 2.0, 3.0])))
    spec = model(2, priors=Priors(size=Fixed(value=[1.0, 2.0])))
    assert not spec.exchangeable
    assert spec_from_dict(spec_to_dict(spec)) == spec
    assert "size" not in spec_to_dict(model(2, family="poisson"))["priors"]


@pytest.mark.slow
@pytest.mark.usefixtures("little_compiled")
def test_its_implementations_agree() -> None:
    certificate = jm.crosscheck(counts(), model(2), points=20, posterior=False, seed=2)
    assert certificate.passed, certificate.findings
    assert {"kernel", "PyMC on JAX", "NumPyro enumerated"} <= set(certificate.implementations)


def test_counts_of_hundred_thousands_have_their_mode_found() -> None:
    rng = np.random.default_rng(3)
    z = rng.integers(2, size=60)
    x = rng.normal(size=60) + 3 * z
    mean, size = np.exp(np.where(z, 11, 8) + 0.5 * x), np.where(z, 5, 1.5)
    y = rng.negative_binomial(size, size / (size + mean))
    spec = ModelSpec(
        n_clusters=2, features=("x",), predictors=("x",), response="y", family="negative_binomial"
    )
    found = fit_em({"x": x, "y": y}, spec)
    of_x = stats.norm.logpdf(x[:, None], [0.0, 3.0]) + np.log(0.5)
    line = np.exp(np.array([8.0, 11.0]) + 0.5 * x[:, None])
    sizes = np.array([1.5, 5.0])
    of_y = stats.nbinom.logpmf(y[:, None], sizes, sizes / (sizes + line))
    truth = special.logsumexp(of_x + of_y, axis=1).sum()
    # Twelve free values are worth some six nats.
    assert truth < found.best.log_likelihood < truth + 20
