"""Every family keeps the contracts of a block; a Student-t response against SciPy and mpmath."""

from collections.abc import Callable, Iterator

import mpmath
import numpy as np
import pytest
from contracts import CONTRACTS, Case, cases_of
from laplace.block import LaplaceResponse
from scipy import stats
from scipy.optimize import minimize

from jointmix import families
from jointmix.families.mixture import component_log_density, log_likelihood, responsibility
from jointmix.families.parameters import Parameters
from jointmix.families.priors.priors import Fixed, Priors
from jointmix.families.rows import Rows
from jointmix.families.specified import Discrete
from jointmix.families.student_t.block import StudentTResponse
from jointmix.model.scaling import Scaling
from jointmix.model.spec import ModelSpec
from jointmix.modes.mstep import Problem, maximise

FEATURES = {
    **{kind: {"covariance": kind} for kind in ("full", "diagonal", "spherical", "tied")},
    "fixed covariance": {"covariance": "fixed", "priors": Priors(covariance=Fixed(value=[0.5, 2]))},
    "fixed means": {"priors": Priors(mean=Fixed(value=[[0.0, 1.0], [2.0, 0.5], [-1.0, 0.0]]))},
    "one cluster": {"n_clusters": 1},
    "one feature": {"features": ("a",)},
}
LEVELS = {2: "bernoulli", 5: "categorical"}
LINES = {
    "own noise": {},
    "shared noise": {"noise": "shared"},
    "fixed noise": {"noise": "fixed", "priors": Priors(sigma=Fixed(value=0.7))},
    "no intercept": {"intercept": False},
    "fixed intercept": {"priors": Priors(intercept=Fixed(value=[0.5, -1.0, 2.0]))},
    "fixed slopes": {"priors": Priors(slope=Fixed(value=[1.0, -0.5]))},
    "no predictors": {"predictors": ()},
    "one cluster": {"n_clusters": 1},
}


@pytest.fixture(autouse=True)
def registered() -> Iterator[None]:
    families.register(LaplaceResponse)
    yield
    del families._RESPONSES[LaplaceResponse.family]


def spec_of(**options: object) -> ModelSpec:
    given: dict = {"n_clusters": 3, "features": ("a", "b"), "predictors": ("b", "c"),
                   "response": "y", **options}  # fmt: skip
    return ModelSpec(**given)


def factories() -> Iterator[tuple[str, Callable[[], Case]]]:
    """Blocks by family and structure, made when a test runs."""
    for name, options in FEATURES.items():
        yield f"mvnormal, {name}", lambda options=options: cases_of(spec_of(**options))[0]
    heavy = FEATURES | {
        "shared df": {"tails": "shared"},
        "fixed dfs": {"priors": Priors(feature_df=Fixed(value=[2.5, 4.0, 30.0]))},
    }
    for name, options in heavy.items():
        chosen = {**options, "feature_family": "student_t"}
        yield f"mvt, {name}", lambda chosen=chosen: cases_of(spec_of(**chosen))[0]
    for n, kind in LEVELS.items():
        types = (Discrete("a", kind, "a", tuple("uvwxyz"[:n])),)
        own = {"features": (), "predictors": (), "types": types}
        yield f"categorical, {n} levels", lambda own=own: cases_of(spec_of(**own))[0]
    for kind, priors in {"poisson": {}, "negative_binomial": {"fixed": [1.5, 4.0, 30.0]}}.items():
        types = (Discrete("a", kind, "a"),)
        own = {"features": (), "predictors": (), "types": types}
        for name, value in {"free": None, **priors}.items():
            known = own if value is None else own | {"priors": Priors(size=Fixed(value=value))}
            yield f"{kind}_feature, {name}", lambda known=known: cases_of(spec_of(**known))[0]
    for family in ("normal", "student_t", LaplaceResponse.family):
        for name, options in LINES.items():
            chosen = {"features": (), **options, "family": family}
            yield f"{family}, {name}", lambda chosen=chosen: cases_of(spec_of(**chosen))[0]
    without_noise = {name: own for name, own in LINES.items() if "noise" not in own}
    linked = ("poisson", "negative_binomial", "bernoulli", "binomial", "gamma", "inverse_gaussian")
    for family in linked:
        trials = {"trials": "n"} if family == "binomial" else {}
        every = without_noise | {"offset": {"offset": "o"}}
        every |= {"probit": {"link": "probit"}} if family in ("bernoulli", "binomial") else {}
        for name, options in every.items():
            chosen = {"features": (), **options, **trials, "family": family}
            yield f"{family}, {name}", lambda chosen=chosen: cases_of(spec_of(**chosen))[0]
    own = {"negative_binomial": "size", "gamma": "shape", "inverse_gaussian": "shape"}
    for family, parameter in own.items():
        for name, value in (("fixed", 3.5), ("each fixed", [1.5, 4.0, 30.0])):
            priors = Priors(**{parameter: Fixed(value=value)})
            known = {"features": (), "family": family, "priors": priors}
            yield f"{family}, {name}", lambda known=known: cases_of(spec_of(**known))[0]
    for name, df in (("fixed df", 3.5), ("fixed dfs", [1.5, 4.0, 30.0])):
        fixed = {"features": (), "family": "student_t", "priors": Priors(df=Fixed(value=df))}
        yield f"student_t, {name}", lambda fixed=fixed: cases_of(spec_of(**fixed))[0]


FACTORIES = dict(factories())


def test_all_registered_families_are_here() -> None:
    named = {name.split(",")[0] for name in FACTORIES}
    assert set(families.response_families()) | set(families._FEATURES) == named


@pytest.mark.parametrize("contract", CONTRACTS, ids=lambda contract: contract.__name__)
@pytest.mark.parametrize("name", FACTORIES)
def test_contract(contract: Callable[[Case], None], name: str) -> None:
    if name.startswith("laplace") and contract.__name__ == "steps_end_where_scores_vanish":
        # Its density has a kink: scores jump at the optimum instead of vanishing there.
        return
    contract(FACTORIES[name]())


@pytest.mark.parametrize(
    ("options", "count", "own"),
    [
        # K − 1 weights, then means, (co)variances, b, θ, σ.
        ({}, 2 + 6 + 9 + 3 + 6 + 3, 2 + 3 + 1 + 2 + 1),
        ({"covariance": "tied", "noise": "shared"}, 2 + 6 + 3 + 3 + 6 + 1, 2 + 1 + 2),
        ({"priors": Priors(mean=Fixed(value=0.0))}, 2 + 9 + 12, 3 + 4),
        ({"priors": Priors(slope=Fixed(value=1.0))}, 2 + 15 + 3 + 3, 5 + 2),
        ({"priors": Priors(weight=Fixed(value=[0.2, 0.3, 0.5]))}, 15 + 12, 9),
        ({"intercept": False, "covariance": "spherical"}, 2 + 6 + 3 + 6 + 3, 2 + 1 + 2 + 1),
        ({"noise": "fixed", "priors": Priors(sigma=Fixed(value=1.0))}, 2 + 15 + 9, 8),
        ({"n_clusters": 1}, 2 + 3 + 1 + 2 + 1, 9),
        ({"family": "student_t"}, 29 + 3, 9 + 1),
        ({"feature_family": "student_t"}, 29 + 3, 9 + 1),
        ({"feature_family": "student_t", "tails": "shared"}, 29 + 1, 9),
        ({"family": "student_t", "priors": Priors(df=Fixed(value=4.0))}, 29, 9),
        ({"family": "laplace"}, 29, 9),
        ({"family": "binomial", "trials": "n"}, 26, 8),
        ({"family": "negative_binomial"}, 26 + 3, 8 + 1),
        ({"family": "negative_binomial", "priors": Priors(size=Fixed(value=4.0))}, 26, 8),
        ({"family": "gamma"}, 29, 9),
        ({"family": "inverse_gaussian", "priors": Priors(shape=Fixed(value=4.0))}, 26, 8),
    ],
)
def test_free_values_by_hand(options: dict, count: int, own: int) -> None:
    spec = spec_of(**options)
    assert (spec.n_parameters, spec.n_own_parameters) == (count, own)


def one_response(values: np.ndarray) -> Rows:
    return Rows(np.zeros((len(values), 0)), np.zeros((len(values), 0)), values)


def t_parameters(df: np.ndarray, sigma: np.ndarray) -> Parameters:
    k = len(df)
    return Parameters(intercept=np.zeros(k), slope=np.zeros((k, 0)), sigma=sigma, df=df)


def student_t(**options: object) -> StudentTResponse:
    options = {"features": (), "predictors": (), "family": "student_t", **options}
    (block,) = spec_of(**options).blocks
    assert isinstance(block, StudentTResponse)
    return block


def test_the_t_density_is_scipys() -> None:
    df, sigma = np.array([0.6, 1.0, 4.3]), np.array([0.2, 1.0, 7.0])
    y = np.concatenate([np.linspace(-30, 30, 61), [1e-8, 1e6, -1e12]])
    ours = student_t().log_density(t_parameters(df, sigma), one_response(y))
    # A few units in the last place of the terms, which are below 100.
    assert np.allclose(ours, stats.t.logpdf(y[:, None], df, 0, sigma), rtol=1e-13, atol=1e-13)


@pytest.mark.parametrize("df", [0.5, 3.0, 200.0])
def test_the_t_scores_are_those_of_exact_arithmetic(df: float) -> None:
    y, sigma = np.array([-40.0, -0.3, 0.0, 1e-3, 2.0]), 1.7
    block = student_t(n_clusters=1)
    parameters = t_parameters(np.array([df]), np.array([sigma]))
    scores = block.scores(parameters, one_response(y), np.ones((5, 1)))

    def log_density(value: float, log_sigma: mpmath.mpf, log_df: mpmath.mpf) -> mpmath.mpf:
        nu, s = mpmath.exp(log_df), mpmath.exp(log_sigma)
        z = mpmath.mpf(value) / s
        constant = mpmath.loggamma((nu + 1) / 2) - mpmath.loggamma(nu / 2)
        constant -= mpmath.log(nu * mpmath.pi) / 2 + log_sigma
        return constant - (nu + 1) / 2 * mpmath.log1p(z * z / nu)

    with mpmath.workdps(40):
        log_sigma, log_df = mpmath.log(sigma), mpmath.log(df)
        for i, value in enumerate(y):
            of_sigma = mpmath.diff(lambda s, v=value: log_density(v, s, log_df), log_sigma)
            of_df = mpmath.diff(lambda d, v=value: log_density(v, log_sigma, d), log_df)
            # Differences of digammas of about five lose as many digits as 1 / ν.
            assert scores.rest[i] == pytest.approx([float(of_sigma), float(of_df)], abs=1e-12)


def test_t_draws_are_of_their_clusters() -> None:
    df, sigma, n = np.array([0.8, 3.0, 50.0]), np.array([0.5, 2.0, 1.0]), 20_000
    rng = np.random.default_rng(12)
    cluster = np.arange(3 * n) % 3
    rows = one_response(np.zeros(3 * n))
    y = student_t().draw(t_parameters(df, sigma), rows, cluster, rng)
    for k in range(3):
        law = stats.t(df[k], 0, sigma[k])
        assert stats.kstest(y[cluster == k], law.cdf).pvalue > 1e-4


def climb(spec: ModelSpec, values: np.ndarray, share: np.ndarray) -> tuple[Parameters, np.ndarray]:
    """EM from responsibilities (start, cluster, obs), and its log likelihoods (step, start)."""
    width = values.shape[1]
    problem = Problem(spec, Scaling(spec, np.zeros(width), np.ones(width)), values)
    parameters, levels = maximise(problem, share, None), []
    for _ in range(400):
        component = component_log_density(spec.blocks, problem.rows, parameters)
        levels.append(log_likelihood(component).sum(axis=-1))
        if len(levels) > 3 and (levels[-1] - levels[-2] < 1e-10).all():
            break
        share = np.swapaxes(responsibility(component), -1, -2)
        parameters = maximise(problem, share, parameters)
    return parameters, np.array(levels)


@pytest.mark.parametrize("k", [1, 2, 3])
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"noise": "shared"},
        {"intercept": False},
        {"priors": Priors(df=Fixed(value=2.5))},
        {"priors": Priors(slope=Fixed(value=0.3))},
    ],
    ids=["free", "shared noise", "no intercept", "fixed df", "fixed slopes"],
)
def test_em_with_a_t_response_climbs_in_every_step(k: int, options: dict) -> None:
    spec, n_open = spec_of(n_clusters=k, family="student_t", **options), 0
    for seed, df in ((1, 0.8), (2, 2.0), (3, 60.0)):
        rng = np.random.default_rng(seed)
        z = rng.integers(0, k, 150)
        x = rng.normal(size=(150, 3)) + 2 * z[:, None]
        y = z + x[:, 1] - 0.5 * x[:, 2] + 0.4 * rng.standard_t(df, 150)
        values = np.column_stack([x, y])
        # Not by a standard deviation, which the farthest row alone would set.
        low, middle, high = np.quantile(values, [0.2, 0.5, 0.8], axis=0)
        values = (values - middle) / (high - low)
        start = np.eye(k)[:, rng.integers(0, k, (4, 150))].swapaxes(0, 1)
        found, levels = climb(spec, values, start)
        # Starts that close on a few rows end where the floor of variances sets the scale: each
        # step adds it, which narrow clusters feel by the square of it.
        is_open = found.sigma.min(axis=-1) > 0.03
        n_open += int(is_open.sum())
        # Rounding of sums of 150 terms.
        assert np.diff(levels[:, is_open], axis=0).min(initial=0.0) > -1e-8
    assert n_open >= 4


def test_one_cluster_of_em_is_the_maximum_of_the_t_likelihood() -> None:
    rng = np.random.default_rng(21)
    x = rng.normal(size=(500, 2))
    y = 0.5 + x @ [1.0, -2.0] + 0.3 * rng.standard_t(3, 500)
    values = np.column_stack([x, y])
    spec = spec_of(n_clusters=1, features=(), predictors=("p", "q"), family="student_t")
    found, levels = climb(spec, values, np.ones((1, 1, 500)))

    def loss(q: np.ndarray) -> float:
        return -float(stats.t.logpdf(y, np.exp(q[4]), q[0] + x @ q[1:3], np.exp(q[3])).sum())

    best = minimize(loss, [0, 0, 0, 0, 1.0], method="BFGS", options={"gtol": 1e-6})
    # EM stops where a step gains less than 1e-10, BFGS at slopes of 1e-6.
    assert levels[-1, 0] == pytest.approx(-best.fun, abs=1e-7)
    ours = [found.intercept[0, 0], *found.slope[0, 0], np.log(found.sigma[0, 0])]
    assert np.allclose([*ours, np.log(found.df[0, 0])], best.x, atol=2e-4)
