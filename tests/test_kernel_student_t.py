"""A Student-t response in the kernel: against SciPy, fifty digits, and integrals."""

import dataclasses
from itertools import pairwise
from typing import Any

import mpmath
import numpy as np
import pytest
from densities import blocks_of
from mpmath import mpf
from scipy import stats
from scipy.integrate import quad
from test_kernel import prior_of, rows_of, target_of

from jointmix.base.errors import SpecError
from jointmix.families.compiling import jit
from jointmix.families.gamma_functions import digamma_step, log_gamma_step
from jointmix.families.parameters import Parameters
from jointmix.families.priors.priors import Fixed, Gamma, Priors
from jointmix.families.rows import Rows
from jointmix.families.student_t.rows import lower
from jointmix.kernel.allocate import allocate
from jointmix.kernel.pit_crps import pit_crps
from jointmix.kernel.predictive import density_at, predictive
from jointmix.kernel.problem import free_parameters
from jointmix.kernel.values import unconstrain
from jointmix.model.location import coordinates
from jointmix.model.spec import ModelSpec
from jointmix.sampling import Target

pytestmark = pytest.mark.kernel

BASE = ModelSpec(
    n_clusters=3, features=("a", "b"), predictors=("a", "p"), response="y", family="student_t",
    standardize=False,
)  # fmt: skip
SPECS: dict[str, ModelSpec] = {
    "learned": BASE,
    "fixed": dataclasses.replace(BASE, priors=Priors(df=Fixed(value=4.0))),
    "fixed, per cluster": dataclasses.replace(
        BASE, priors=Priors(df=Fixed(value=[1.0, 4.0, 30.0]))
    ),
    "one cluster": dataclasses.replace(BASE, n_clusters=1),
    "shared noise": dataclasses.replace(BASE, noise="shared"),
    "no features": dataclasses.replace(BASE, features=()),
    "no predictors, on the model's scale": dataclasses.replace(
        BASE, predictors=(), standardize=True
    ),
    "no intercept": dataclasses.replace(BASE, intercept=False),
}


def at_of(spec: ModelSpec, n: int = 70) -> Target:
    return target_of(rows_of(spec, n), None)


def scipy_rows(at: Target, q: np.ndarray) -> np.ndarray:
    """Log densities of the rows, by SciPy."""
    draw, spec = at.parameters(q), at.spec
    scaled = at.dataset.values
    if spec.standardize:
        scaled = (scaled - scaled.mean(0)) / scaled.std(0)
    columns = dict(zip(spec.columns, scaled.T, strict=True))
    x, u = (
        np.array([columns[name] for name in names]) for names in (spec.features, spec.predictors)
    )
    terms = []
    for k in range(spec.n_clusters):
        term = np.full(len(scaled), np.log(draw["weight"][k]))
        if spec.features:
            sd = draw["sd"][k]
            covariance = draw["correlation"][k] * np.outer(sd, sd)
            term += stats.multivariate_normal.logpdf(x.T, draw["mean"][k], covariance)
        line = draw["intercept"][k] + (draw["slope"][k] @ u if len(u) else 0.0)
        df = draw["df"][k]
        term += stats.t.logpdf(columns["y"], df, line, draw["sigma"][k])
        terms.append(term)
    return np.asarray(np.logaddexp.reduce(terms, axis=0))


@pytest.mark.parametrize("name", SPECS)
def test_density_equals_scipy_and_gradient_differences(name: str) -> None:
    at = at_of(SPECS[name])
    for q in 0.5 * np.random.default_rng(1).normal(size=(3, at.dim)):
        value, gradient = at.log_density(q)
        expected = scipy_rows(at, q).sum() + prior_of(at, q)[0]
        np.testing.assert_allclose(value, expected, rtol=1e-12)
        for way in np.random.default_rng(2).normal(size=(4, at.dim)):
            near, far = (
                at.log_density(q + h * way)[0] - at.log_density(q - h * way)[0]
                for h in (1e-4, 2e-4)
            )
            scale = 1 + np.abs(gradient) @ np.abs(way)
            # 1e-16 of the density over the step; its fourth power times a fifth derivative.
            assert abs(gradient @ way - (8 * near - far) / 12e-4) <= 1e-8 * scale


def test_prior_of_the_degrees_of_freedom() -> None:
    at, normal = at_of(BASE), at_of(dataclasses.replace(BASE, family="normal"))
    q = np.random.default_rng(7).normal(size=at.dim)
    expected = prior_of(normal, q[:-3])[0]
    expected += (stats.gamma.logpdf(np.exp(q[-3:]), 2.0, scale=10.0) + q[-3:]).sum()
    np.testing.assert_allclose(prior_of(at, q)[0], expected, rtol=1e-13)


@pytest.mark.parametrize("log_df", [-2.0, 0.0, 1.0, 3.0, 8.0, 20.0])
def test_one_row_to_fifty_digits(log_df: float) -> None:
    spec = ModelSpec(
        n_clusters=1, predictors=("p",), response="y", family="student_t", standardize=False
    )
    at = at_of(spec, 5)
    q = np.array([0.3, -0.2, 0.4, log_df])
    value, gradient = at.log_density(q)

    def exact(b: Any, slope: Any, log_variance: Any, log_nu: Any) -> Any:
        nu, sigma, total = mpmath.exp(log_nu), mpmath.exp(log_variance / 2), mpf(0)
        for p, y in at.dataset.values.tolist():
            e = (mpf(y) - mpf(2.5) * b - mpf(2.5) * slope * mpf(p)) / sigma
            total += mpmath.loggamma((nu + 1) / 2) - mpmath.loggamma(nu / 2)
            total -= mpmath.log(nu * mpmath.pi) / 2 + mpmath.log(sigma)
            total -= (nu + 1) / 2 * mpmath.log1p(e * e / nu)
        shape, scale = mpf(1), mpf(0.01)
        total -= (b * b + slope * slope) / 2 + mpmath.log(2 * mpmath.pi)
        total += (
            shape * mpmath.log(scale) - shape * log_variance - scale * mpmath.exp(-log_variance)
        )
        rate = mpf(0.1)
        return total + 2 * mpmath.log(rate) + 2 * log_nu - rate * nu

    with mpmath.workdps(50):
        point = [mpf(number) for number in q.tolist()]
        expected = exact(*point)
        assert abs(mpf(value) / expected - 1) <= 1e-13
        slopes = [
            mpmath.diff(
                lambda t, i=i: exact(*point[:i], t, *point[i + 1 :]), point[i], h=mpf(10) ** -20
            )
            for i in range(4)
        ]
        scale = max(abs(slope) for slope in slopes)
        for i, slope in enumerate(slopes):
            # Beyond ν = 1e8 the rows say next to nothing of ν, and its prior everything.
            assert abs(mpf(gradient[i]) - slope) <= 1e-12 * min(scale, 100 * abs(slope) + 1)


def test_values_there_and_back() -> None:
    at = at_of(BASE)
    assert [parameter.name for parameter in free_parameters(BASE)][-1] == "df"
    q = np.random.default_rng(3).normal(size=at.dim)
    draw = at.parameters(q)
    np.testing.assert_allclose(draw["df"], np.exp(q[-3:]), rtol=1e-14)
    values = {
        "weight": draw["weight"], "location": q[2 : 2 + 3 * len(coordinates(BASE))].reshape(3, -1),
        "feature_variance": draw["sd"] ** 2, "noise_variance": draw["sigma"] ** 2,
        "partial_correlation": (1 + draw["correlation"][:, 1:, 0]) / 2, "df": draw["df"],
    }  # fmt: skip
    np.testing.assert_allclose(unconstrain(values, BASE, None), q, rtol=1e-12, atol=1e-12)


def test_what_a_specification_refuses() -> None:
    with pytest.raises(SpecError, match="family must be one of normal, student_t"):
        dataclasses.replace(BASE, family="cauchy")
    with pytest.raises(SpecError, match="fixed df must be > 0"):
        dataclasses.replace(BASE, priors=Priors(df=Fixed(value=0.0)))
    with pytest.raises(SpecError, match="fixed df must have one of the shapes"):
        dataclasses.replace(BASE, priors=Priors(df=Fixed(value=[1.0, 2.0])))
    with pytest.raises(SpecError, match="prior of df must be one of Gamma, Fixed"):
        Priors(df=Priors().sigma)
    assert Gamma(shape=2.0, rate=0.1) == Priors().df


# Distribution functions.


@jit(inner=False)
def _lower(z: float, df: float) -> float:
    return lower(z, df)


@jit(inner=False)
def _steps(x: float) -> tuple[float, float]:
    return log_gamma_step(x), digamma_step(x)


@pytest.mark.parametrize("df", [0.1, 0.5, 1, 2, 2.5, 4, 10, 30, 300, 3e3, 9e4, 1.1e5, 1e7, 1e12])
def test_distribution_function_to_fifty_digits(df: float) -> None:
    with mpmath.workdps(50):
        nu = mpf(df)
        for z in (-50.0, -9.0, -5.0, -3.3, -1.0, -0.01, 0.0, 0.3, 1.0, 2.0, 4.0, 20.0, 1e4):
            if df < 2e5:
                tail = mpmath.betainc(nu / 2, 0.5, 0, nu / (nu + mpf(z) ** 2), regularized=True) / 2
            else:
                # The next term is 1e-15.
                tail = mpmath.ncdf(-abs(z)) + abs(z) * (z * z + 1) / (4 * nu) * mpmath.npdf(z)
            assert abs(mpf(_lower(z, df)) - (tail if z < 0 else 1 - tail)) <= 1e-13


@pytest.mark.parametrize(
    ("z", "df"),
    [
        (-1e160, 1.0),
        (-1e200, 0.1),
        (-1e200, 1e-30),
        (-1e-30, 1e-30),
        (-1e30, 1e-160),
        (-1e200, 3.0),
    ],
)
def test_distribution_function_where_squares_leave_float64(z: float, df: float) -> None:
    with mpmath.workdps(400):
        a, ratio = mpf(df) / 2, mpf(z) ** 2 / mpf(df)
        # Of x = 1/(1 + ratio) the series DLMF 8.17.7 of I_x(a, 1/2), whose terms fall at once.
        x, rest = 1 / (1 + ratio), ratio / (1 + ratio)
        first = mpmath.hyp2f1(a, mpf(1) / 2, a + 1, x) if x < 0.5 else None
        if first is None:
            upper = mpmath.betainc(mpf(1) / 2, a, 0, rest, regularized=True)
            tail = (1 - upper) / 2
        else:
            tail = x**a / (a * mpmath.beta(a, mpf(1) / 2)) * first / 2
        for sign, expected in ((1, tail), (-1, 1 - tail)):
            assert abs(mpf(_lower(sign * z, df)) - expected) <= 1e-13
        # Small probabilities are right too, not only close.
        assert _lower(z, df) == pytest.approx(float(tail), rel=1e-12, abs=1e-300)


def test_values_that_are_no_numbers_or_infinite() -> None:
    assert np.isnan(_lower(np.nan, 1.0))
    assert (_lower(-np.inf, 3.0), _lower(np.inf, 3.0)) == (0.0, 1.0)
    assert (_lower(-np.inf, 1e6), _lower(np.inf, 1e6)) == (0.0, 1.0)


def test_steps_of_the_gamma_function() -> None:
    with mpmath.workdps(50):
        for x in (1e-3, 0.1, 0.5, 1.0, 3.3, 9.99, 10.1, 50.0, 1e4, 1e9):
            first = mpmath.loggamma(mpf(x) + 0.5) - mpmath.loggamma(mpf(x))
            second = mpmath.digamma(mpf(x) + 0.5) - mpmath.digamma(mpf(x))
            found = _steps(x)
            assert abs(mpf(found[0]) - first) <= 2e-15 * max(1, abs(first))
            assert abs(mpf(found[1]) / second - 1) <= 3e-15


def draws(n_draws: int, k: int, df: tuple[float, float], seed: int = 4) -> Parameters:
    rng = np.random.default_rng(seed)
    return Parameters(
        weight=rng.dirichlet(np.ones(k), n_draws),
        mean=rng.normal(0, 2, (n_draws, k, 2)),
        cholesky=np.tril(0.1 * rng.normal(size=(n_draws, k, 2, 2))) + np.eye(2),
        intercept=rng.normal(0, 3, k) + rng.normal(0, 0.2, (n_draws, k)),
        slope=rng.normal(size=k)[:, None] + rng.normal(0, 0.1, (n_draws, k, 1)),
        sigma=np.exp(rng.normal(0, 0.2, (n_draws, k))),
        df=rng.uniform(*df, (n_draws, k)),
    )


def feature_terms(x: np.ndarray, parameters: Parameters) -> np.ndarray:
    """log π_k p(x | k), (draw, row, cluster), by SciPy."""
    shape = parameters.weight.shape
    covariance = parameters.cholesky @ np.swapaxes(parameters.cholesky, -1, -2)
    return np.array(
        [
            [
                np.log(parameters.weight[s, c])
                + stats.multivariate_normal.logpdf(x, parameters.mean[s, c], covariance[s, c])
                for c in range(shape[1])
            ]
            for s in range(shape[0])
        ]
    ).transpose(0, 2, 1)


def test_allocation_equals_scipy() -> None:
    rng, parameters = np.random.default_rng(5), draws(4, 3, (0.7, 9.0))
    x, u, y = rng.normal(size=(600, 2)), rng.normal(size=(600, 1)), rng.normal(0, 4, 600)
    joint, features, likelihood = allocate(
        Rows(x, u, y), parameters, blocks_of(parameters), with_features=True
    )
    given = feature_terms(x, parameters)
    line = parameters.intercept[:, None] + np.einsum("nr,skr->snk", u, parameters.slope)
    df, sigma = parameters.df[:, None], parameters.sigma[:, None]
    both = given + stats.t.logpdf(y[:, None], df, line, sigma)
    total = np.logaddexp.reduce(both, axis=2)
    np.testing.assert_allclose(likelihood, total.sum(1), rtol=1e-12)
    np.testing.assert_allclose(
        joint, np.exp(both - total[..., None]).transpose(0, 2, 1), atol=1e-12
    )
    alone = np.exp(given - np.logaddexp.reduce(given, axis=2)[..., None])
    np.testing.assert_allclose(features, alone.transpose(0, 2, 1), atol=1e-12)


@pytest.mark.parametrize("df", [(0.6, 1.5), (1.5, 3.0), (5.0, 50.0)])
def test_quantiles_density_and_scores_by_integration(df: tuple[float, float]) -> None:
    rng, parameters = np.random.default_rng(6), draws(40, 2, df)
    x, u = rng.normal(size=(3, 2)), rng.normal(size=(3, 1))
    probability = np.array([0.0005, 0.05, 0.5, 0.95, 0.9995])
    total, share, quantile = predictive(
        Rows(x, u, np.zeros(len(x))), parameters, blocks_of(parameters), probability
    )
    given = feature_terms(x, parameters)
    weight = np.exp(given - np.logaddexp.reduce(given, axis=2)[..., None])
    line = parameters.intercept[:, None] + np.einsum("nr,skr->snk", u, parameters.slope)
    np.testing.assert_allclose(total[:, 0], (weight * line).sum(2).mean(0), rtol=1e-12)
    np.testing.assert_allclose(share[..., 0], weight.mean(0), atol=1e-12)
    assert np.isinf(total[:, 1]).all() == (df[0] <= 2)
    y, at = rng.normal(0, 3, 3), np.array([-2.0, 0.5, 7.0])
    pit, crps = pit_crps(Rows(x, u, y), given, parameters, blocks_of(parameters)[-1])
    each = weight.transpose(0, 2, 1) / len(weight)
    height = density_at(at, each, Rows(x, u, y), parameters, blocks_of(parameters)[-1])
    # The weights of `pit_crps` are over all draws: those in which x is likely count more.
    over_all = np.exp(given - np.logaddexp.reduce(given, axis=(0, 2))[None, :, None])
    for row in range(3):
        parts = stats.t(parameters.df, line[:, row], parameters.sigma)
        for point, p in zip(quantile[row], probability, strict=True):
            below = (weight[:, row] * parts.cdf(point)).sum() / 40
            assert below == pytest.approx(p, abs=1e-11)
        for i, point in enumerate(at):
            expected = (weight[:, row] * parts.pdf(point)).sum() / 40
            assert height[row, i] == pytest.approx(expected, rel=1e-12)

        def below_all(t: float) -> float:
            return float((over_all[:, row] * parts.cdf(t)).sum())  # noqa: B023

        assert pit[row] == pytest.approx(below_all(y[row]), abs=1e-12)
        cuts = np.unique([y[row], *np.linspace(-30, 30, 31)])
        score = quad(lambda t: below_all(t) ** 2, -np.inf, cuts[0])[0]
        score += quad(lambda t: (1 - below_all(t)) ** 2, cuts[-1], np.inf)[0]
        for a, b in pairwise(cuts):
            score += quad(lambda t, past=a >= y[row]: (below_all(t) - past) ** 2, a, b)[0]
        # Parts are gathered into bins of a tenth of a scale; tails with ν < 1 end slowly.
        assert crps[row] == pytest.approx(score, abs=1e-3 if df[0] > 1 else 1e-2)
