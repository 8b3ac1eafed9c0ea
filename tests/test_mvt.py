"""Student-t features against SciPy, quadrature, differences, and a plain EM written here."""

import re
from dataclasses import replace
from itertools import product
from pathlib import Path

import arviz_stats as az
import numpy as np
import pymc as pm
import pytest
import xarray as xr
from scipy import stats
from scipy.optimize import brentq, minimize
from scipy.special import digamma, gammaln, logsumexp
from test_agreement import failures, points_of
from test_fused import with_gradient
from test_kernel import named, prior_of, rows_of, target_of
from test_missing import at, table_of

import jointmix as jm
from jointmix.base.errors import DataError, SpecError
from jointmix.checks.sampled import sampled_distances
from jointmix.families.mixture import component_log_density, log_likelihood, responsibility
from jointmix.families.parameters import Parameters
from jointmix.families.priors.priors import Fixed, Priors
from jointmix.families.rows import Rows
from jointmix.kernel.densities import densities
from jointmix.kernel.entry import value_and_gradient
from jointmix.kernel.problem import make_problem, n_free
from jointmix.model.dataset import make_dataset
from jointmix.model.graph import mixture_model
from jointmix.model.serialised import spec_from_dict, spec_to_dict
from jointmix.modes.climb import climb, expect
from jointmix.modes.information import location_errors
from jointmix.modes.mstep import make_problem as em_problem
from jointmix.modes.mstep import maximise
from jointmix.modes.starts import allocations
from jointmix.sampling import Target
from jointmix.validation.agreement.comparison import Comparison
from jointmix.validation.agreement.numpyro_side import numpyro_side
from jointmix.validation.agreement.plain_sides import kernel_side, numpy_side, scipy_side
from jointmix.validation.agreement.problem import Problem as ComparedProblem
from jointmix.validation.agreement.problem import random_points
from jointmix.validation.twin import build_twin

BASE = jm.ModelSpec(
    n_clusters=2, features=("a", "b", "c"), predictors=("a",), response="y",
    feature_family="student_t", standardize=False,
)  # fmt: skip
SPECS = {
    "full": BASE,
    "one feature": replace(BASE, features=("a",)),
    "tied, shared df": replace(BASE, covariance="tied", tails="shared"),
    "diagonal": replace(BASE, covariance="diagonal", n_clusters=3),
    "spherical, fixed df": replace(
        BASE, covariance="spherical", priors=Priors(feature_df=Fixed(value=[1.0, 30.0]))
    ),
    "one cluster": replace(BASE, n_clusters=1, tails="shared"),
    "no response": replace(BASE, response=None, predictors=()),
    "t response": replace(BASE, family="student_t"),
}


def scipy_rows(at: Target, q: np.ndarray) -> np.ndarray:
    """Log densities of the rows, by SciPy."""
    draw, spec, dataset = at.parameters(q), at.spec, at.dataset
    x, terms = dataset.select(spec.features), []
    for k in range(spec.n_clusters):
        sd = draw["sd"][k]
        shape = draw["correlation"][k] * np.outer(sd, sd)
        own = stats.multivariate_t(draw["mean"][k], shape, draw["feature_df"][k])
        term = np.log(draw["weight"][k]) + own.logpdf(x)
        if spec.response is not None:
            line = draw["intercept"][k] + dataset.select(spec.predictors) @ draw["slope"][k]
            y, sigma = dataset.select([spec.response])[:, 0], draw["sigma"][k]
            law = stats.norm if spec.family == "normal" else stats.t(draw["df"][k])
            term = term + law.logpdf((y - line) / sigma) - np.log(sigma)
        terms.append(term)
    return np.asarray(np.logaddexp.reduce(terms, axis=0))


@pytest.mark.parametrize("name", SPECS)
def test_density_equals_scipy_and_gradient_differences(name: str) -> None:
    own = target_of(rows_of(SPECS[name], 70), None)
    for q in 0.5 * np.random.default_rng(1).normal(size=(2, own.dim)):
        value, gradient = own.log_density(q)
        expected = scipy_rows(own, q).sum() + prior_of(own, q)[0]
        np.testing.assert_allclose(value, expected, rtol=1e-12)
        for way in np.random.default_rng(2).normal(size=(4, own.dim)):
            near, far = (
                own.log_density(q + h * way)[0] - own.log_density(q - h * way)[0]
                for h in (1e-4, 2e-4)
            )
            scale = 1 + np.abs(gradient) @ np.abs(way)
            # 1e-16 of the density over the step; its fourth power times a fifth derivative.
            assert abs(gradient @ way - (8 * near - far) / 12e-4) <= 1e-8 * scale


@pytest.mark.parametrize("df", [0.3, 1.0, 4.2, 80.0, 1e5])
@pytest.mark.parametrize("d", [1, 2, 5, 30])
def test_numpy_density_is_scipys(df: float, d: int) -> None:
    rng = np.random.default_rng(3)
    root = rng.normal(size=(d, 2 * d))
    mean, shape = rng.normal(size=d), root @ root.T / d
    x = mean + rng.standard_normal((40, d)) * 10 ** rng.uniform(-3, 4, (40, 1))
    spec = jm.ModelSpec(
        n_clusters=1, features=[f"x{i}" for i in range(d)], feature_family="student_t"
    )
    parameters = Parameters(
        mean=mean[None], cholesky=np.linalg.cholesky(shape)[None], feature_df=np.array([df])
    )
    rows = Rows(x, np.zeros((40, 0)), np.zeros(40))
    ours = spec.blocks[0].log_density(parameters, rows)[:, 0]
    theirs = stats.multivariate_t(mean, shape, df).logpdf(x)
    # SciPy's constant is a difference of log gammas of size ν log ν, of which 1e-16 are rounding.
    assert np.allclose(ours, theirs, rtol=1e-12, atol=1e-12 + 4e-16 * df * np.log(df + 1))


@pytest.mark.parametrize("name", ["tied, shared df", pytest.param("full", marks=pytest.mark.slow)])
def test_pymc_model_has_the_kernels_density(name: str) -> None:
    dataset = rows_of(SPECS[name], 40)
    own = target_of(dataset, None)
    model = mixture_model(dataset)
    logp = model.compile_logp(mode="FAST_COMPILE")
    for q in 0.5 * np.random.default_rng(4).normal(size=(2, own.dim)):
        # 1e-13 of each of 40 terms.
        assert float(logp(named(own.spec, False, q))) == pytest.approx(
            own.log_density(q)[0], rel=1e-11
        )


def test_pymc_has_the_same_distribution() -> None:
    rng = np.random.default_rng(5)
    x, factor = rng.normal(size=(20, 3)) * 4, np.tril(rng.normal(size=(3, 3))) + 2 * np.eye(3)
    parameters = Parameters(
        mean=np.array([[0.3, -1.0, 2.0]]), cholesky=factor[None], feature_df=np.array([2.7])
    )
    spec = replace(BASE, n_clusters=1)
    ours = spec.blocks[0].log_density(parameters, Rows(x, np.zeros((20, 1)), np.zeros(20)))[:, 0]
    law = pm.MvStudentT.dist(nu=2.7, mu=parameters.mean[0], scale=factor @ factor.T)
    assert np.allclose(ours, pm.logp(law, x).eval(), rtol=1e-12)


def test_many_degrees_of_freedom_are_gaussian() -> None:
    dataset = rows_of(BASE, 50)
    gaussian = replace(BASE, feature_family="normal")
    q = 0.4 * np.random.default_rng(6).normal(size=n_free(gaussian))
    normal = at(replace(dataset, spec=gaussian), q)
    heavy = normal.replace(feature_df=np.full(2, 1e9))
    ours = component_log_density(BASE.blocks, dataset.rows, heavy)
    theirs = component_log_density(gaussian.blocks, dataset.rows, normal)
    # The next term is (|z|⁴ − …)/4ν with |z|² < 500.
    assert np.allclose(ours, theirs, rtol=0, atol=1e-4)
    nearer = component_log_density(
        BASE.blocks, dataset.rows, heavy.replace(feature_df=np.full(2, 1e13))
    )
    assert np.allclose(nearer, theirs, rtol=1e-12, atol=1e-8)


def gaps(kind: str, d: int, predictors: tuple[str, ...], **more: object) -> jm.ModelSpec:
    return jm.ModelSpec(
        n_clusters=2, features=("a", "b", "c", "d")[:d], predictors=predictors,
        response="y" if predictors else None, covariance=kind, missing="model",
        feature_family="student_t", **more,
    )  # fmt: skip


GAPS = {
    "one": gaps("full", 1, ("u",)),
    "two": gaps("full", 2, ("u",)),
    "three, tied, shared df": gaps("tied", 3, (), tails="shared"),
    "four": gaps("full", 4, ("u",)),
    "diagonal": gaps("diagonal", 3, ("u",), family="student_t"),
    "spherical, fixed df": gaps("spherical", 3, (), priors=Priors(feature_df=Fixed(value=2.5))),
}


@pytest.mark.parametrize("name", GAPS)
def test_densities_of_rows_with_gaps_are_integrals(name: str) -> None:
    spec = GAPS[name]
    dataset = make_dataset(table_of(200), spec)
    parameters = at(dataset, 0.4 * np.random.default_rng(1).normal(size=n_free(spec)))
    parameters = parameters.replace(feature_df=np.array([2.2, 7.0]))
    chosen = [part.place[0] for part in dataset.rows.patterns if (~part.present).sum() in (1, 2)]
    # At the sinh of equal steps a sum is exact to rounding up to 1e6 scales away.
    step = np.linspace(-14.5, 14.5, 401)
    for n in chosen[:6]:
        row = dataset.rows.take(np.array([n]))
        gone = np.flatnonzero(np.isnan(row.x[0]))
        found = spec.blocks[0].log_density
        for k in range(2):
            sd = np.sqrt((parameters.cholesky[k] ** 2).sum(-1))
            axes = [parameters.mean[k, i] + sd[i] * np.sinh(step) for i in gone]
            cell = [sd[i] * np.cosh(step) * (step[1] - step[0]) for i in gone]
            x = np.repeat(row.x, len(step) ** len(gone), axis=0)
            x[:, gone] = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(len(x), -1)
            whole = Rows(x, np.zeros((len(x), 0)), np.zeros(len(x)))
            mass = np.prod(np.stack(np.meshgrid(*cell, indexing="ij")), axis=0).ravel()
            exact = np.log((np.exp(found(parameters, whole)[:, k]) * mass).sum())
            blocks = spec.blocks[:1]
            if np.isnan(row.x).all():
                assert exact == pytest.approx(0.0, abs=1e-9)
                continue
            own = component_log_density(blocks, row, parameters)[0, k] - np.log(
                parameters.weight[k]
            )
            assert own == pytest.approx(exact, abs=1e-9)


@pytest.mark.parametrize("name", GAPS)
def test_kernel_of_rows_with_gaps(name: str) -> None:
    spec = GAPS[name]
    dataset = make_dataset(table_of(150), spec)
    few = replace(dataset, values=dataset.values[:60], row=dataset.row[:60])
    # The same scale for some of the rows, so that the priors are the same.
    vars(few)["scaling"] = dataset.scaling
    whole, part = make_problem(dataset), make_problem(few)
    q = 0.4 * np.random.default_rng(2).normal(size=n_free(spec))
    value, gradient = value_and_gradient(whole, q)
    rows = dataset.rows.take(np.arange(60, len(dataset.values)))
    own = log_likelihood(component_log_density(spec.blocks, rows, at(dataset, q))).sum()
    assert value - value_and_gradient(part, q)[0] == pytest.approx(own, abs=1e-9)
    step = 1e-5
    for direction in np.eye(len(q)):
        up, down = densities(whole, np.stack([q + step * direction, q - step * direction]))
        # Differences of 150 rows leave 1e-9 of the value over the step.
        assert gradient @ direction == pytest.approx((up - down) / (2 * step), abs=1e-7 * -value)


def test_a_missing_predictor_that_is_a_t_feature_is_refused() -> None:
    spec = replace(GAPS["two"], predictors=("a",))
    with pytest.raises(DataError, match="Student-t feature") as caught:
        make_dataset(table_of(100), spec)
    assert "Column 'a' has missing entries" in str(caught.value)
    assert 'missing="drop"' in str(caught.value)
    table = table_of(100)
    table["a"] = np.nan_to_num(table["a"])
    # What is there may be a predictor.
    assert not make_dataset(table, spec).rows.complete


@pytest.mark.parametrize("name", GAPS)
def test_em_climbs_with_gaps(name: str) -> None:
    problem = em_problem(make_dataset(table_of(200), GAPS[name]))
    rows, y = problem.starting, problem.told_apart
    hard = allocations(rows.x, rows.u, y, 2, 4, np.random.default_rng(7))
    parameters = maximise(problem, np.eye(2)[:, hard].swapaxes(0, 1), None)
    share, before = expect(problem, parameters)
    for _ in range(15):
        parameters = maximise(problem, share, parameters)
        share, after = expect(problem, parameters)
        # The floor of variances, 1e-8, is added in each step.
        assert (after - before > -1e-6).all()
        before = after


@pytest.mark.parametrize("missing", [0.0, 0.25])
@pytest.mark.parametrize("tails", ["cluster", "shared"])
def test_scores_are_derivatives(missing: float, tails: str) -> None:
    spec = gaps("full", 3, (), tails=tails)
    dataset = make_dataset(table_of(60, missing=missing), spec)
    parameters = at(dataset, 0.2 * np.random.default_rng(8).normal(size=n_free(spec)))
    rows, step, (block,) = dataset.rows, 1e-6, spec.blocks
    share = responsibility(component_log_density(spec.blocks, rows, parameters))
    scores = block.scores(parameters, rows, share)

    def slope(name: str, change: np.ndarray) -> np.ndarray:
        ends = [
            log_likelihood(
                component_log_density(
                    spec.blocks, rows, parameters.replace(**{name: parameters[name] + s * change})
                )
            )
            for s in (step, -step)
        ]
        return (ends[0] - ends[1]) / (2 * step)

    for k, i in product(range(2), range(3)):
        unit = np.zeros((2, 3))
        unit[k, i] = 1.0
        assert np.allclose(slope("mean", unit), scores.location["mean"][:, k, i], atol=1e-6)
    pairs = list(zip(*np.tril_indices(3), strict=True))
    for k in range(2):
        for place, (i, j) in enumerate(pairs):
            # L (I + t E) with E symmetric moves Σ by t L (E + E') L'.
            inner = np.zeros((3, 3))
            inner[i, j] = 1.0
            change = np.zeros((2, 3, 3))
            change[k] = parameters.cholesky[k] @ inner
            found = scores.rest[:, k * len(pairs) + place]
            assert np.allclose(slope("cholesky", change), found, atol=1e-6)
    df = parameters.feature_df
    for place, unit in enumerate(np.eye(2) if tails == "cluster" else np.ones((1, 2))):
        own = scores.rest[:, 2 * len(pairs) + place]
        assert np.allclose(slope("feature_df", unit * df), own, atol=1e-6)
    assert np.isfinite(location_errors(rows, parameters, spec)).all()


def test_one_cluster_of_em_is_the_maximum_of_the_likelihood() -> None:
    rng = np.random.default_rng(21)
    x = stats.multivariate_t([1.0, -2.0], [[1.0, 0.5], [0.5, 2.0]], 3.0).rvs(400, random_state=rng)
    spec = replace(BASE, n_clusters=1, features=("a", "b"), predictors=(), response=None)
    problem = em_problem(make_dataset({"a": x[:, 0], "b": x[:, 1]}, spec))
    found = climb(problem, np.ones((1, 1, 400)), 1e-13, 3000)
    at_em = log_likelihood(component_log_density(spec.blocks, problem.rows, found.take(0))).sum()

    def loss(q: np.ndarray) -> float:
        factor = np.array([[np.exp(q[2]), 0], [q[3], np.exp(q[4])]])
        law = stats.multivariate_t(q[:2], factor @ factor.T, np.exp(q[5]))
        return -float(law.logpdf(problem.rows.x).sum())

    best = minimize(loss, [0, 0, 0, 0, 0, 1.0], method="BFGS", options={"gtol": 1e-5})
    # BFGS stops at slopes of 1e-5.
    assert at_em == pytest.approx(-best.fun, abs=1e-6)
    assert found.feature_df[0, 0] == pytest.approx(np.exp(best.x[5]), rel=1e-3)


def plain_em(x: np.ndarray, start: np.ndarray, steps: int = 100) -> float:
    """Log likelihood where Peel and McLachlan's EM of t mixtures ends, from allocations."""
    n, d = x.shape
    share, df = np.eye(2)[start], np.full(2, 20.0)
    heavy, level = np.ones((n, 2)), -np.inf
    for _ in range(steps):
        pulled = share * heavy
        mean = (pulled.T @ x) / pulled.sum(0)[:, None]
        away = x[:, None] - mean
        shape = np.einsum("nk,nki,nkj->kij", pulled, away, away) / share.sum(0)[:, None, None]
        square = np.einsum("nki,kij,nkj->nk", away, np.linalg.inv(shape), away)
        for k in range(2):
            own, old = share[:, k], df[k]
            u = (old + d) / (old + square[:, k])
            rest = 1 + (own @ (np.log(u) - u)) / own.sum()
            rest += digamma((old + d) / 2) - np.log((old + d) / 2)

            def slope(v: float, rest: float = rest) -> float:
                return float(np.log(v / 2) - digamma(v / 2) + rest)

            df[k] = brentq(slope, 0.5, 200.0) if slope(0.5) * slope(200.0) < 0 else (
                0.5 if slope(0.5) < 0 else 200.0
            )  # fmt: skip
        heavy = (df + d) / (df + square)
        log_det = np.linalg.slogdet(shape)[1]
        constant = gammaln((df + d) / 2) - gammaln(df / 2) - d / 2 * np.log(df * np.pi)
        terms = np.log(share.mean(0)) + constant - log_det / 2
        terms = terms - (df + d) / 2 * np.log1p(square / df)
        before, level = level, float(logsumexp(terms, axis=1).sum())
        share = np.exp(terms - logsumexp(terms, axis=1, keepdims=True))
        if level - before < 1e-3:
            break
    return level


def two_clusters(n: int, seed: int, df: float = 4.0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    z = rng.integers(0, 2, n)
    wide = rng.standard_normal((n, 2)) / np.sqrt(rng.chisquare(df, (n, 1)) / df)
    return wide * [0.7, 0.5] + np.array([[-1.5, 0.0], [1.5, 1.0]])[z]


def test_two_clusters_of_em_are_not_below_thirty_starts_of_another() -> None:
    x = two_clusters(150, 5)
    spec = replace(BASE, features=("a", "b"), predictors=(), response=None)
    problem = em_problem(make_dataset({"a": x[:, 0], "b": x[:, 1]}, spec))
    rng = np.random.default_rng(11)
    hard = allocations(problem.rows.x, problem.rows.u, None, 2, 8, rng)
    found = climb(problem, np.eye(2)[:, hard].swapaxes(0, 1), 1e-10, 1000)
    ours = log_likelihood(component_log_density(spec.blocks, problem.rows, found)).sum(-1)
    theirs = [plain_em(problem.rows.x, rng.integers(0, 2, 150)) for _ in range(30)]
    # Ours stops where a step gains less than 1e-10, some steps before the top.
    assert max(theirs) - 1e-4 <= ours.max() <= max(theirs) + 0.5


def test_a_mapping_names_the_family_and_files_keep_it() -> None:
    features = {"a": "student_t", "b": "student_t", "n": "poisson"}
    spec = jm.ModelSpec(
        n_clusters=2, features=features, tails="shared",
        priors=Priors(feature_df=jm.Gamma(shape=3.0, rate=0.2)),
    )  # fmt: skip
    assert (spec.features, spec.feature_family) == (("a", "b"), "student_t")
    assert spec_from_dict(spec_to_dict(spec)) == spec
    plain = replace(BASE, tails="shared")
    assert spec_from_dict(spec_to_dict(plain)) == plain
    gaussian = jm.ModelSpec(n_clusters=2, features=["a"])
    assert not {"feature_family", "tails"} & {*spec_to_dict(gaussian)["model"]}
    assert "feature_df" not in spec_to_dict(gaussian)["priors"]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"features": {"a": "student_t", "b": "normal"}}, "Numeric features have one density"),
        ({"features": {"a": "normal"}, "feature_family": "student_t"}, "contradicts the features"),
        ({"features": {"a": "poisson"}, "feature_family": "student_t"}, "the model has none"),
        ({"features": ["a"], "tails": "shared"}, "features that have none"),
        ({"features": ["a"], "tails": "all", "feature_family": "student_t"}, "tails must be one"),
        (
            {"features": {"a": "student_t"}, "priors": Priors(feature_df=Fixed(value=0.0))},
            "The fixed feature_df must be > 0",
        ),
        (
            {"features": ["a"], "priors": Priors(feature_df=Fixed(value=4.0))},
            "The model has no feature_df",
        ),
        (
            {
                "features": ["a"], "feature_family": "student_t", "tails": "shared",
                "priors": Priors(feature_df=Fixed(value=[4.0, 5.0])),
            },
            "The fixed feature_df must have one of the shapes",
        ),
    ],
)  # fmt: skip
def test_what_cannot_be_is_refused(options: dict, words: str) -> None:
    with pytest.raises(SpecError, match=words):
        jm.ModelSpec(n_clusters=2, **options)


@pytest.mark.parametrize("probability", [0.5, 0.9])
def test_ellipses_hold_their_share(probability: float) -> None:
    df = np.array([0.7, 5.0])
    found = BASE.blocks[0].region(probability, Parameters(feature_df=df))
    assert np.allclose(found**2 / 2, stats.f.ppf(probability, 2, df), rtol=1e-10)
    gaussian = replace(BASE, feature_family="normal").blocks[0]
    found = gaussian.region(probability, Parameters(weight=np.ones(1)))
    assert found**2 == pytest.approx(stats.chi2.ppf(probability, 2))


def test_white_columns_are_standard_normal_numbers() -> None:
    rng = np.random.default_rng(31)
    spec = replace(BASE, response=None, predictors=())
    parameters = Parameters(
        mean=rng.normal(size=(2, 3)), cholesky=np.tril(rng.normal(size=(2, 3, 3))) + 2 * np.eye(3),
        feature_df=np.array([1.2, 9.0]), weight=np.full(2, 0.5),
    )  # fmt: skip
    (block,), n = spec.blocks, 6_000
    cluster = np.arange(n) % 2
    none = Rows(np.zeros((n, 3)), np.zeros((n, 0)), np.zeros(n))
    rows = replace(none, x=block.draw(parameters, none, cluster, rng))
    white = block.checks.white(parameters, rows, cluster)
    for part in (white, white[cluster == 0], white**2 - 1):
        # Five standard errors: neighbours in a row are independent, not only uncorrelated.
        correlation = np.corrcoef(part.T)[np.triu_indices(3, 1)]
        assert np.abs(correlation).max() < 5 / np.sqrt(len(part))
    assert min(stats.kstest(column, "norm").pvalue for column in white.T) > 1e-4


def test_missing_entries_are_drawn_from_the_conditional_t() -> None:
    rng, n = np.random.default_rng(32), 4_000
    spec = gaps("full", 3, ())
    parameters = Parameters(
        mean=np.array([[0.0, 1.0, -1.0]]), feature_df=np.array([3.0]),
        cholesky=np.array([[[1.0, 0, 0], [0.5, 1.2, 0], [-0.4, 0.3, 0.7]]]), weight=np.ones(1),
    )  # fmt: skip
    x = np.tile([2.5, np.nan, np.nan], (n, 1))
    rows = Rows(x, np.zeros((n, 0)), np.zeros(n))
    block, cluster = spec.blocks[0], np.zeros((1, n), dtype=int)
    stretch = block.stretch(parameters.batched(), rows, cluster, rng)[0]
    covariance = parameters.cholesky[0] @ parameters.cholesky[0].T
    # Of the conditional distribution, by its textbook form.
    center = 1.0 + covariance[1, 0] / covariance[0, 0] * 2.5
    left = covariance[1, 1] - covariance[1, 0] ** 2 / covariance[0, 0]
    scale = np.sqrt((3 + 2.5**2 / covariance[0, 0]) / 4 * left)
    drawn = center + np.sqrt(left) * stretch * rng.standard_normal(n)
    assert stats.kstest(drawn, stats.t(4, center, scale).cdf).pvalue > 1e-4


@pytest.mark.parametrize("numpyro", [False, pytest.param(True, marks=pytest.mark.slow)])
@pytest.mark.parametrize("name", ["gaps", "complete"])
def test_all_implementations_agree_at_random_and_extreme_points(name: str, numpyro: bool) -> None:
    spec = replace(BASE, covariance="tied", tails="shared") if name == "complete" else GAPS["four"]
    table = table_of(60, missing=0.2 * (name == "gaps"))
    problem = ComparedProblem(make_dataset(table, spec), None)
    sides = [kernel_side(problem), numpy_side(problem), scipy_side(problem)]
    if numpyro:
        pytest.importorskip("funsor")
        twin = build_twin(problem.dataset, problem.spec)
        sides.append(numpyro_side(problem, "NumPyro", twin))
    differences = Comparison(problem, sides).run(points_of(problem, 150, seed=3))
    assert failures(differences) == []
    assert {"rows", "features", "total"} <= {x.term for x in differences}


@pytest.mark.slow
def test_fused_model_of_rows_with_gaps_is_the_kernel() -> None:
    dataset = make_dataset(table_of(60), GAPS["three, tied, shared df"])
    problem = ComparedProblem(dataset, None)
    found = with_gradient(jm.build_model(dataset, dataset.spec, fused=True))
    q = random_points(problem, np.zeros(problem.dim), 2, seed=4)
    right = kernel_side(problem).evaluate(q)
    for i, point in enumerate(q):
        own, *slopes = found(*(point[at].reshape(size) for at, size in problem.slices.values()))
        # Some thousand roundings, in gradients by the largest entry.
        assert abs(own - right.total[i]) <= 1e-12 * abs(right.total[i])
        gradient = np.concatenate([np.ravel(slope) for slope in slopes])
        assert np.abs(gradient - right.gradient[i]).max() <= 1e-9 * np.abs(gradient).max()


def test_tables_are_drawn_from_a_truth() -> None:
    truth = jm.four_clusters(2, 3, feature_family="student_t", discrete={"word": "categorical"})
    assert truth.spec.feature_family == "student_t"
    assert {**truth.shape} == {"feature_df": pytest.approx([4.0, 4.0])}
    table = jm.simulate(truth, 20_000, seed=3, missing={"x2": 0.1})
    assert table["x2"].isna().mean() == pytest.approx(0.1, abs=0.01)
    for k in range(2):
        own = table.loc[table["cluster"] == k, "x1"]
        law = stats.t(4.0, truth.mean[k, 0], np.sqrt(truth.covariance[k, 0, 0]))
        assert stats.kstest(own, law.cdf).pvalue > 1e-4
    with pytest.raises(SpecError, match="features of the family 'student_t'"):
        replace(truth, shape={})


def test_distances_of_clusters_are_those_of_their_densities() -> None:
    spec = replace(BASE, features=("a", "b"), predictors=("a",))
    parameters = Parameters(
        weight=np.array([[0.3, 0.7]]), mean=np.array([[[0.0, 0.0], [1.5, 0.5]]]),
        cholesky=np.array([[[[1.0, 0], [0.4, 0.8]], [[0.7, 0], [-0.2, 1.1]]]]),
        feature_df=np.array([[2.0, 8.0]]), intercept=np.array([[0.0, 0.5]]),
        slope=np.array([[[1.0], [0.3]]]), sigma=np.array([[0.6, 0.9]]),
    )  # fmt: skip
    none = Rows(np.zeros((1, 2)), np.zeros((1, 1)), np.zeros(1))
    many = parameters.take(np.zeros(100, dtype=int))
    found = np.exp(-sampled_distances(many, none, spec)[0, 1])
    step = np.linspace(-8, 8, 161)
    axis = np.sinh(step)
    x, y, z = (each.ravel() for each in np.meshgrid(axis, axis, axis))
    mass = np.prod(np.meshgrid(*[np.cosh(step) * (step[1] - step[0])] * 3), axis=0).ravel()
    rows = Rows(np.stack([x, y], axis=1), x[:, None], z)
    density = component_log_density(spec.blocks, rows, parameters.take(0))
    density = density - np.log(parameters.weight[0])
    exact = (np.exp(density.sum(axis=1) / 2) * mass).sum()
    # The standard error of 100 draws, and five of them.
    assert found.mean() == pytest.approx(exact, abs=5 * found.std() / 10)
    assert found.std() < 0.03


def test_outliers_make_no_clusters() -> None:
    rng, n = np.random.default_rng(41), 240
    z = rng.integers(0, 2, n)
    wide = np.where(rng.random(n) < 0.05, 5.0, 1.0)[:, None]
    x = rng.standard_normal((n, 2)) * [0.7, 0.5] * wide + np.array([[-2.0, 0.0], [2.0, 1.0]])[z]
    table, sampler = {"a": x[:, 0], "b": x[:, 1]}, jm.SamplerSpec(starts=8)
    bic = {
        family: [
            jm.fit_em(table, jm.ModelSpec(
                n_clusters=k, features=["a", "b"], feature_family=family, sampler=sampler
            )).best.bic
            for k in (1, 2, 3)
        ]
        for family in ("normal", "student_t")
    }  # fmt: skip
    assert np.argmin(bic["student_t"]) == 1
    assert bic["normal"][2] < bic["normal"][1] - 50


@pytest.fixture(scope="module")
def tiny() -> tuple[np.ndarray, xr.DataTree]:
    x = np.array([-1.2, -0.7, -0.4, -0.1, 0.0, 0.2, 0.3, 0.5, 0.9, 1.4, 4.5])
    spec = jm.ModelSpec(
        n_clusters=1, features={"a": "student_t"}, standardize=False,
        sampler=jm.SamplerSpec(sampler="independence", draws=1_000),
    )  # fmt: skip
    return x, jm.fit({"a": x}, spec, seed=1, progress=False)


def test_posterior_is_that_of_quadrature(tiny: tuple[np.ndarray, xr.DataTree]) -> None:
    x, tree = tiny
    mean, log_variance, log_df = np.meshgrid(
        np.linspace(-4, 4, 161), np.linspace(-8, 6, 161), np.linspace(-6, 6, 161), indexing="ij"
    )
    variance, df = np.exp(log_variance), np.exp(log_df)
    # Normal(0, 2.5), InverseGamma(1, 0.05) of the variance, Gamma(2, 0.1); and Jacobians of logs.
    height = stats.norm.logpdf(mean, 0, 2.5) - log_variance - 0.05 / variance
    height += 2 * log_df - 0.1 * df
    constant = gammaln((df + 1) / 2) - gammaln(df / 2) - np.log(df * np.pi * variance) / 2
    for value in x:
        height += constant - (df + 1) / 2 * np.log1p((value - mean) ** 2 / (variance * df))
    mass = np.exp(height - height.max())
    mass /= mass.sum()
    posterior = tree["posterior"].to_dataset()
    columns = {"mean": mean, "sd": np.sqrt(variance), "feature_df": df}
    for name, exact in columns.items():
        draws = posterior[name].values.reshape(posterior.sizes["chain"], -1)
        for power in (1, 2):
            error = az.mcse(draws**power, method="mean")
            # Grids of 161 steps are exact to 1e-3 of a posterior standard deviation or better.
            assert (draws**power).mean() == pytest.approx(
                (mass * exact**power).sum(), abs=4 * error
            )


def test_a_fit_names_itself_in_report_summary_and_recipe(
    tiny: tuple[np.ndarray, xr.DataTree], tmp_path: Path
) -> None:
    x, tree = tiny
    assert any(str(name).startswith("feature_df") for name in jm.summary(tree).index)
    jm.report(tree, tmp_path / "report.html")
    text = (tmp_path / "report.html").read_text(encoding="utf-8")
    for words in ("multivariate Student-t density of the features", "not its standard deviation",
                  "The cluster has its own degrees of freedom ν of the features"):  # fmt: skip
        assert words in text
    assert "Gaussian" not in re.sub(r"<script.*?</script>", "", text, flags=re.DOTALL)
    draws = tree["posterior"].to_dataset()
    df, mean, sd = (draws[name].values[..., 0] for name in ("feature_df", "mean", "sd"))
    law = stats.t(df[..., None], mean.reshape(*df.shape, 1), sd.reshape(*df.shape, 1))
    assert np.allclose(jm.log_density(tree, {"a": x})["feature"], law.logpdf(x), rtol=1e-10)
    saved = jm.save(tree, tmp_path / "fit.nc")
    assert jm.load(saved or tmp_path / "fit.nc").attrs["spec"] == tree.attrs["spec"]


@pytest.mark.parametrize(
    ("options", "improper"),
    [
        # 60 rows at zero leave s^(1 − 60) after the mean, and 5 others s^5ν: ∫ ds diverges.
        ({"feature_family": "student_t", "df": 2.0}, True),
        ({"feature_family": "student_t", "df": 12.0}, False),
        ({"feature_family": "student_t"}, True),
        ({}, False),
    ],
)
def test_one_cluster_closes_on_ties_if_its_tails_reach_the_rest(
    options: dict, improper: bool
) -> None:
    df = {"feature_df": Fixed(value=options.pop("df"))} if "df" in options else {}
    priors = Priors(sd=jm.HalfNormal(), **df)
    spec = jm.ModelSpec(n_clusters=1, features=["a"], priors=priors, **options)
    table = {"a": np.concatenate([np.zeros(60), [0.4, -1.2, 2.0, 0.9, -0.3]])}
    found = jm.check(table, spec, em=False).issues
    assert any(issue.code == "improper" for issue in found) == improper
