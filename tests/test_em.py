"""EM finds optima of an independently written likelihood, and counts how it found them."""

from dataclasses import replace
from functools import cache
from itertools import combinations, permutations
from typing import Any

import numpy as np
import oracles
import pytest
from densities import component_log_density
from palmerpenguins import load_penguins
from scipy.special import logsumexp
from scipy.stats import multivariate_normal, norm
from sklearn.metrics import adjusted_rand_score
from sklearn.mixture import GaussianMixture

from jointmix.base.machine import limited_cores
from jointmix.families.limits import VARIANCE_FLOOR
from jointmix.families.mixture import log_likelihood, responsibility
from jointmix.families.parameters import Parameters
from jointmix.families.priors.priors import Fixed, Priors
from jointmix.kernel.allocate import mode_share
from jointmix.model.dataset import Dataset, make_dataset
from jointmix.model.scaling import standard_scaling
from jointmix.model.settings import SamplerSpec
from jointmix.model.simulate import four_clusters, simulate
from jointmix.model.spec import ModelSpec
from jointmix.modes import search
from jointmix.modes.census import Census, Mode
from jointmix.modes.em import fit_em
from jointmix.modes.mstep import Problem, make_problem, maximise
from jointmix.modes.ordering import choose_ordering

N = 160
TRUTH = {
    "weight": np.array([0.6, 0.4]),
    "mean": np.array([[20.0, 300.0], [26.0, 250.0]]),
    "covariance": np.array([[[4.0, 20.0], [20.0, 400.0]], [[9.0, -30.0], [-30.0, 225.0]]]),
    "intercept": np.array([5.0, -9.0]),
    "slope": np.array([[1.0, 0.05], [-0.5, 0.1]]),
    "sigma": np.array([1.0, 2.0]),
}


#: The same clusters farther apart, where EM converges in few steps.
APART = TRUTH | {"mean": np.array([[20.0, 300.0], [32.0, 200.0]])}


def table_of(seed: int = 1, n: int = N, truth: oracles.Values = TRUTH) -> dict[str, np.ndarray]:
    """Features a and b of different units, a predictor c, a response y."""
    rng = np.random.default_rng(seed)
    table = oracles.draw_columns(rng, truth, ("a", "b"), ("a", "b"), "y", n)
    return table | {"c": rng.normal(40, 3, n)}


def spec_of(**changes: object) -> ModelSpec:
    usual = {
        "n_clusters": 2,
        "features": ("a", "b"),
        "predictors": ("a", "c"),
        "response": "y",
        "sampler": SamplerSpec(starts=8),
    }
    return ModelSpec(**(usual | changes))


def by_role(dataset: Dataset, spec: ModelSpec) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    y = dataset.select([spec.response])[:, 0] if spec.response else np.zeros(len(dataset.values))
    return dataset.select(spec.features), dataset.select(spec.predictors), y


COVARIANCE = Priors(covariance=Fixed(value=[[6.0, 5.0], [5.0, 400.0]]))
CASES: dict[str, ModelSpec] = {
    f"{covariance}, {noise} noise": spec_of(
        covariance=covariance,
        noise=noise,
        priors=replace(
            COVARIANCE if covariance == "fixed" else Priors(),
            **({"sigma": Fixed(value=[1.5, 2.5])} if noise == "fixed" else {}),
        ),
    )
    for covariance in ("full", "diagonal", "spherical", "tied", "fixed")
    for noise in ("cluster", "shared", "fixed")
} | {
    "one cluster": spec_of(n_clusters=1),
    "three clusters": spec_of(n_clusters=3, sampler=SamplerSpec(starts=12)),
    "predictors are the features": spec_of(predictors=("a", "b")),
    "no predictors": spec_of(predictors=()),
    "no features": spec_of(features=()),
    "no features, shared noise": spec_of(features=(), noise="shared"),
    "response alone": spec_of(features=(), predictors=()),
    **{
        f"no response, {covariance}": spec_of(predictors=(), response=None, covariance=covariance)
        for covariance in ("full", "diagonal", "spherical", "tied")
    },
    "no intercept": spec_of(intercept=False),
    "no intercept, no features": spec_of(intercept=False, features=()),
    "fixed weight": spec_of(priors=Priors(weight=Fixed(value=[0.7, 0.3]))),
    "fixed common mean": spec_of(priors=Priors(mean=Fixed(value=[22.0, 280.0]))),
    "fixed means": spec_of(
        covariance="tied", priors=Priors(mean=Fixed(value=[[20.0, 290.0], [25.0, 255.0]]))
    ),
    "fixed intercepts": spec_of(priors=Priors(intercept=Fixed(value=[4.0, -8.0]))),
    "fixed common intercept": spec_of(priors=Priors(intercept=Fixed(value=2.0))),
    "fixed slopes": spec_of(priors=Priors(slope=Fixed(value=[[1.0, 0.2], [-0.5, 0.0]]))),
    "fixed slopes, no intercept": spec_of(
        intercept=False, priors=Priors(slope=Fixed(value=[[1.0, 0.2], [-0.5, 0.0]]))
    ),
    "fixed regression": spec_of(
        priors=Priors(intercept=Fixed(value=1.0), slope=Fixed(value=[0.7, 0.1]))
    ),
}


@cache
def fitted(case: str) -> tuple[Dataset, Mode]:
    """The data and the best mode of a case."""
    dataset = make_dataset(table_of(), CASES[case])
    return dataset, fit_em(dataset, CASES[case], seed=2).best


def fixed_names(spec: ModelSpec) -> tuple[str, ...]:
    fixed = [name for name, prior in vars(spec.priors).items() if isinstance(prior, Fixed)]
    return (*fixed, *(() if spec.intercept else ("intercept",)))


@pytest.mark.parametrize("case", CASES)
def test_the_best_mode_is_a_maximum(case: str) -> None:
    spec = CASES[case]
    dataset, mode = fitted(case)
    rows, values = by_role(dataset, spec), oracles.unfactored(mode.parameters.each())
    best = oracles.log_density(values, *rows).sum()
    # A sum of N numbers of order ten, each good to 1e-13 after scaling.
    assert mode.log_likelihood == pytest.approx(best, abs=1e-9)
    rng, step = np.random.default_rng(3), 1e-3
    for _ in range(12):
        direction = oracles.draw_direction(
            rng, values, spec.covariance, spec.noise, fixed_names(spec)
        )
        up, down, far, beyond = (
            oracles.log_density(oracles.displaced(values, direction, size, rows[1]), *rows).sum()
            for size in (step, -step, 0.05, -0.05)
        )
        drop = best - (up + down) / 2
        assert drop > 0
        # Along a parabola with this slope and curvature, so much is left to gain: EM stops at
        # 1e-7 by its own estimate, and the cubic term adds N · step⁴ / 72 = 2e-12.
        assert ((up - down) / 2) ** 2 / (4 * drop) < 1e-6
        assert max(far, beyond) < best


@pytest.mark.parametrize("case", CASES)
def test_what_is_fixed_or_shared_stays_so(case: str) -> None:
    spec, (_, mode) = CASES[case], fitted(case)
    values = oracles.unfactored(mode.parameters.each())
    for name in fixed_names(spec):
        wanted = 0.0 if not spec.intercept and name == "intercept" else None
        prior = getattr(spec.priors, name)
        wanted = prior.array if wanted is None else wanted
        # Scaled and back: a few roundings; columns lie up to ten sd from zero.
        np.testing.assert_allclose(
            values[name], np.broadcast_to(wanted, values[name].shape), rtol=1e-12, atol=1e-11
        )
    if spec.features and spec.covariance == "tied":
        np.testing.assert_allclose(values["covariance"][0], values["covariance"][1], rtol=1e-13)
    if spec.features and spec.covariance in ("diagonal", "spherical"):
        assert not values["covariance"][:, 0, 1].any()
    if spec.features and spec.covariance == "spherical":
        np.testing.assert_allclose(
            values["covariance"][:, 0, 0], values["covariance"][:, 1, 1], rtol=1e-13
        )
    if spec.response and spec.noise == "shared":
        assert np.ptp(values["sigma"]) == 0
    if spec.exchangeable:
        assert (np.diff(values["weight"]) <= 0).all()


@pytest.mark.parametrize("case", CASES)
def test_the_likelihood_never_falls(case: str) -> None:
    spec = CASES[case]
    problem = make_problem(make_dataset(table_of(), spec))
    rng = np.random.default_rng(4)
    share = rng.dirichlet(np.full(spec.n_clusters, 0.3), (3, N)).swapaxes(1, 2)
    trace = []
    for _ in range(40):
        parameters = maximise(problem, share, None)
        component = component_log_density(
            problem.rows.x, problem.rows.u, problem.rows.y, parameters
        )
        trace.append(log_likelihood(component).sum(-1))
        share = responsibility(component).swapaxes(1, 2)
    # The variance floor of 1e-8 may take back so much of what N rows gained, and no more.
    assert np.diff(trace, axis=0).min() > -N * VARIANCE_FLOOR
    assert (trace[-1] > trace[0]).all() or spec.n_clusters == 1


# Free parameters counted by hand, for D = R = 2 and K = 2.
@pytest.mark.parametrize(
    ("case", "count"),
    [
        ("full, cluster noise", 1 + 4 + 6 + 2 + 4 + 2),
        ("diagonal, shared noise", 1 + 4 + 4 + 2 + 4 + 1),
        ("spherical, fixed noise", 1 + 4 + 2 + 2 + 4),
        ("tied, cluster noise", 1 + 4 + 3 + 2 + 4 + 2),
        ("fixed, fixed noise", 1 + 4 + 2 + 4),
        ("one cluster", 2 + 3 + 1 + 2 + 1),
        ("no features", 1 + 2 + 4 + 2),
        ("no response, spherical", 1 + 4 + 2),
        ("no intercept", 1 + 4 + 6 + 4 + 2),
        ("fixed weight", 4 + 6 + 2 + 4 + 2),
        ("fixed means", 1 + 3 + 2 + 4 + 2),
        ("fixed regression", 1 + 4 + 6 + 2),
    ],
)
def test_free_parameters(case: str, count: int) -> None:
    assert CASES[case].n_parameters == count


def test_criteria_from_their_definitions() -> None:
    spec = CASES["full, cluster noise"]
    dataset = make_dataset(table_of(), spec)
    for mode in fit_em(dataset, spec, seed=5).modes:
        values = oracles.unfactored(mode.parameters.each())
        share = oracles.responsibility(values, *by_role(dataset, spec))
        bic = -2 * mode.log_likelihood + 19 * np.log(N)
        entropy = -sum(p * np.log(p) for p in share.ravel() if p > 0)
        # Numbers of a thousand, each good to 1e-12.
        assert mode.bic == pytest.approx(bic, abs=1e-9)
        assert mode.icl == pytest.approx(bic + 2 * entropy, abs=1e-6)
        assert mode.smallest_share == pytest.approx(values["weight"].min(), abs=1e-15)


def test_one_cluster_is_least_squares() -> None:
    spec = CASES["one cluster"]
    table = table_of()
    census = fit_em(make_dataset(table, spec), spec)
    assert census.n_starts == 1
    values = oracles.unfactored(census.best.parameters.each())
    design = np.column_stack([np.ones(N), table["a"], table["c"]])
    coefficient, squares, *_ = np.linalg.lstsq(design, table["y"], rcond=None)
    x = np.column_stack([table["a"], table["b"]])
    # Coefficients: the design's condition number of ~1000 times 1e-15.
    np.testing.assert_allclose(values["intercept"][0], coefficient[0], rtol=1e-9)
    np.testing.assert_allclose(values["slope"][0], coefficient[1:], rtol=1e-9)
    np.testing.assert_allclose(values["mean"][0], x.mean(0), rtol=1e-13)
    # Variances: the floor adds 1e-8 of the column's own.
    assert values["sigma"][0] ** 2 == pytest.approx(squares[0] / N, rel=1e-7)
    np.testing.assert_allclose(
        values["covariance"][0], np.cov(x.T, bias=True), rtol=0, atol=2e-8 * x.var(0).max()
    )


@pytest.mark.parametrize("seed", [1, 2])
def test_equals_a_gaussian_mixture_of_features_and_response(seed: int) -> None:
    table = table_of(seed, 400)
    spec = spec_of(predictors=("a", "b"))
    mode = fit_em(make_dataset(table, spec), spec, seed).best
    rows = np.column_stack([table["a"], table["b"], table["y"]])
    reference = GaussianMixture(
        2, reg_covar=0, tol=1e-12, max_iter=5000, n_init=5, random_state=seed
    ).fit(rows)
    # EM stops at 1e-7 below its limit, scikit-learn far closer.
    assert mode.log_likelihood == pytest.approx(reference.score_samples(rows).sum(), abs=1e-6)
    means, covariances = oracles.stacked(oracles.unfactored(mode.parameters.each()))
    order = np.argsort(-reference.weights_)
    # 1e-7 below the maximum, parameters lie within sqrt(2e-7) = 4e-4 standard errors of it,
    # and a standard error is about a tenth of a standard deviation here.
    sd = np.sqrt(np.diagonal(covariances, axis1=1, axis2=2))
    assert (np.abs(means - reference.means_[order]) / sd).max() < 1e-4
    scaled = (covariances - reference.covariances_[order]) / sd[:, :, None] / sd[:, None, :]
    assert np.abs(scaled).max() < 1e-4
    np.testing.assert_allclose(mode.parameters.weight, reference.weights_[order], atol=1e-4)


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [("full", "full"), ("tied", "tied"), ("diagonal", "diag"), ("spherical", "spherical")],
)
def test_equals_a_gaussian_mixture_without_response(ours: str, theirs: str) -> None:
    table, spec = table_of(3, 400, APART), CASES[f"no response, {ours}"]
    mode = fit_em(make_dataset(table, spec), spec).best
    rows = np.column_stack([table["a"], table["b"]])
    reference = GaussianMixture(
        2, covariance_type=theirs, reg_covar=0, tol=1e-12, max_iter=5000, n_init=5, random_state=1
    ).fit(rows)
    # As above.
    assert mode.log_likelihood == pytest.approx(reference.score_samples(rows).sum(), abs=1e-6)
    assert mode.bic == pytest.approx(reference.bic(rows), abs=1e-5)


LENGTHS = ("bill_length_mm", "bill_depth_mm", "flipper_length_mm")


@pytest.mark.parametrize(("k", "bic", "parameters"), [(2, 5866.4, 29), (3, 5833.203, 44)])
def test_penguins(k: int, bic: float, parameters: int) -> None:
    table = load_penguins()[[*LENGTHS, "body_mass_g", "species"]].dropna()
    table["mass"] = table["body_mass_g"] / 1000
    spec = ModelSpec(n_clusters=k, features=LENGTHS, predictors=LENGTHS, response="mass")
    dataset = make_dataset(table, spec)
    assert len(dataset.values) == 342
    assert spec.n_parameters == parameters
    mode = fit_em(dataset, spec).best
    # The decimals to which the reference values are known.
    assert mode.bic == pytest.approx(bic, abs=5e-4 if k == 3 else 5e-2)
    if k == 3:
        assert mode.log_likelihood == pytest.approx(-2788.236, abs=5e-4)
        values = oracles.unfactored(mode.parameters.each())
        share = oracles.responsibility(values, *by_role(dataset, spec))
        rand = adjusted_rand_score(table["species"], share.argmax(1))
        assert rand == pytest.approx(0.960, abs=5e-4)


def test_crossing_lines_over_equal_features() -> None:
    rng = np.random.default_rng(6)
    x, sign = rng.normal(size=400), np.resize([1, -1], 400)
    table = {"x": x, "y": sign * x + 0.2 * rng.normal(size=400)}
    spec = ModelSpec(n_clusters=2, features=["x"], predictors=["x"], response="y")
    values = fit_em(make_dataset(table, spec), spec).best.parameters
    # Four standard errors of a slope: 0.2 / sqrt(200) each, some more where the lines meet.
    np.testing.assert_allclose(np.sort(values.slope[:, 0]), [-1, 1], atol=4 * 0.02)
    np.testing.assert_allclose(values.intercept, 0, atol=4 * 0.02)
    np.testing.assert_allclose(values.sigma, 0.2, atol=4 * 0.015)


def test_the_four_clusters() -> None:
    truth = four_clusters()
    table = simulate(truth, 600, 7)
    spec = ModelSpec(
        n_clusters=4, features=truth.features, predictors=truth.predictors, response="y"
    )
    values = fit_em(make_dataset(table, spec), spec).best.parameters
    match = [int(np.abs(values.mean - mean).sum(1).argmin()) for mean in truth.mean]
    assert sorted(match) == [0, 1, 2, 3]
    # Four to five standard errors with 150 rows a cluster: sd / √150 for means, and
    # 0.5 / √(0.1 · 150) = 0.13 for slopes.
    np.testing.assert_allclose(values.mean[match], truth.mean, atol=4.5 * 0.026)
    np.testing.assert_allclose(values.slope[match], truth.slope, atol=4.5 * 0.13)
    np.testing.assert_allclose(values.sigma[match], 0.5, atol=4.5 * 0.03)


def check_census(census: Census, starts: int) -> None:
    assert census.n_starts >= starts
    assert sum(mode.n_starts for mode in census.modes) == census.n_starts
    sound = [mode for mode in census.modes if not mode.collapsed]
    weighed = [mode.log_mass for mode in sound if not np.isnan(mode.log_mass)]
    rest = [mode.log_likelihood for mode in sound if np.isnan(mode.log_mass)]
    assert weighed == sorted(weighed, reverse=True)
    assert rest == sorted(rest, reverse=True)
    assert [mode.log_likelihood for mode in sound[len(weighed) :]] == rest
    collapsed = [mode.collapsed for mode in census.modes]
    assert collapsed == sorted(collapsed)


# Without features, runs that stopped apart end in one optimum and are counted together.
@pytest.mark.parametrize("features", [("a", "b"), ()])
@pytest.mark.parametrize("k", [1, 2, 3])
def test_the_census_counts_every_start(k: int, features: tuple[str, ...]) -> None:
    spec = spec_of(n_clusters=k, features=features, sampler=SamplerSpec(starts=13))
    census = fit_em(make_dataset(table_of(), spec), spec, seed=8)
    check_census(census, 13 if k > 1 else 1)
    dataset = make_dataset(table_of(), spec)
    share = []
    for mode in census.modes:
        parameters = dataset.scaling.to_model(mode.parameters)
        share.append(mode_share(dataset.rows, parameters, dataset.blocks))
    for (one, ours), (other, theirs) in combinations(zip(census.modes, share, strict=True), 2):
        gap = abs(one.log_likelihood - other.log_likelihood)
        apart = min(np.abs(ours - theirs[:, list(p)]).sum() / 2 for p in permutations(range(k)))
        assert gap > 0.01 or apart > 0.02 * N


def test_a_cluster_on_tied_rows_is_flagged() -> None:
    rng = np.random.default_rng(9)
    rows = rng.normal(size=(150, 2)) + 4 * rng.integers(0, 2, (150, 1))
    rows[:25] = [2.0, -3.0]
    table = {"a": rows[:, 0], "b": rows[:, 1]}
    spec = ModelSpec(n_clusters=3, features=["a", "b"], sampler=SamplerSpec(starts=24))
    dataset = make_dataset(table, spec)
    census = fit_em(dataset, spec)
    check_census(census, 24)
    scale = standard_scaling(dataset.values, spec).scale
    spikes = 0
    for mode in census.modes:
        covariance = oracles.unfactored(mode.parameters.each())["covariance"]
        least = np.linalg.eigvalsh(covariance / np.outer(scale, scale)).min()
        rows = 150 * mode.parameters.weight.min()
        # Two means, two variances and a covariance are its own; a few rows more leave no doubt,
        # nor does a mode of the posterior.
        few = rows < 5 and not np.isfinite(mode.log_mass)
        assert mode.collapsed or (least > 1e-7 and not few)
        assert not mode.collapsed or least < 1e-7 or rows < 8
        spikes += np.isclose(mode.parameters.weight, 25 / 150, atol=1e-6).any() and least < 1e-7
    assert spikes
    # The likelihood of a spike is higher than a sound mode's, and yet it comes after.
    assert max(mode.log_likelihood for mode in census.modes) > census.best.log_likelihood


def same(one: Census, other: Census) -> bool:
    """Whether two censuses are equal to the last bit."""

    def content(mode: Mode) -> list[object]:
        parameters = mode.parameters.each().items()
        arrays = [(name, value.shape, value.tobytes()) for name, value in parameters]
        return [mode.log_likelihood, mode.n_starts, *arrays]

    return [content(mode) for mode in one.modes] == [content(mode) for mode in other.modes]


def test_a_seed_fixes_the_census() -> None:
    # Of two clusters all starts find the same; of three they do not.
    spec = CASES["three clusters"]
    dataset = make_dataset(table_of(), spec)
    census = fit_em(dataset, spec, 3)
    assert same(fit_em(dataset, spec, 3), census)
    assert same(fit_em(dataset, spec, np.random.default_rng(3)), census)
    assert not same(fit_em(dataset, spec, 4), census)


def test_cores_change_no_bit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("jointmix.modes.climb._FEW_NUMBERS", 1_000)
    table = simulate(four_clusters(3, 2), 600, 4)
    spec = ModelSpec(n_clusters=3, features=("x1", "x2"), predictors=("x1",), response="y")
    found = []
    for cores in (1, 3):
        with limited_cores(cores):
            census = fit_em(table, spec, 1)
            ordering = choose_ordering(census.start, make_dataset(table, spec), 1)
            found.append((census, ordering.evidence))
    (one, merged), (other, merged_again) = found
    assert merged == merged_again
    assert len(one.modes) == len(other.modes)
    for ours, theirs in zip(one.modes, other.modes, strict=True):
        assert (ours.log_likelihood, ours.n_starts) == (theirs.log_likelihood, theirs.n_starts)
        np.testing.assert_equal(ours.log_mass, theirs.log_mass)
        for name in ours.parameters:
            np.testing.assert_array_equal(ours.parameters[name], theirs.parameters[name])


def test_the_rows_order_does_not_matter() -> None:
    spec, table = CASES["full, cluster noise"], table_of()
    order = np.random.default_rng(10).permutation(N)
    one, other = (
        fit_em(make_dataset(rows, spec), spec).best
        for rows in (table, {name: column[order] for name, column in table.items()})
    )
    # Both stop within 1e-7 of the same maximum.
    assert one.log_likelihood == pytest.approx(other.log_likelihood, abs=1e-6)
    for name, value in one.parameters.each().items():
        np.testing.assert_allclose(value, other.parameters.each()[name], rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("case", ["full, cluster noise", "tied, shared noise", "no features"])
def test_units_change_the_likelihood_by_the_jacobian(case: str) -> None:
    spec, table = CASES[case], table_of()
    unit = {"a": 1e6, "b": 1e-3, "c": 50.0, "y": 0.01}
    moved = {name: unit[name] * (column + 1000) for name, column in table.items()}
    one, other = (fit_em(make_dataset(rows, spec), spec).best for rows in (table, moved))
    jacobian = -N * sum(np.log(unit[name]) for name in (*spec.features, "y"))
    # Adding 1000 to columns with an sd of 2 costs a relative 1e-13 of each deviation; then the
    # 1e-7 at which EM stops dominates.
    assert other.log_likelihood == pytest.approx(one.log_likelihood + jacobian, abs=1e-6)
    slope = one.parameters.slope * unit["y"] / [unit[name] for name in spec.predictors]
    np.testing.assert_allclose(other.parameters.slope, slope, rtol=1e-4)


def test_a_large_table_costs_few_passes_over_all_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ends of the subset that are the same, or hopeless, are not each run to all rows' optimum."""
    truth = four_clusters()
    table = simulate(truth, 40_000, 1)
    spec = ModelSpec(
        n_clusters=4, features=truth.features, predictors=truth.predictors, response=truth.response
    )
    polished: list[int] = []
    usual = search.climb

    def counted(problem: Problem, share: np.ndarray, *rest: Any, **options: Any) -> Parameters:
        if len(problem.values) == 40_000:
            polished.append(len(share))
        return usual(problem, share, *rest, **options)

    monkeypatch.setattr(search, "climb", counted)
    found = fit_em(table, spec)
    # One of them, and the best again until nothing is left to gain.
    assert polished == [1, 1]
    assert found.best.n_starts > found.n_starts / 2
    x, y = table[list(truth.features)].to_numpy(), table[truth.response].to_numpy()
    joint = np.log(truth.weight) + np.stack(
        [
            multivariate_normal.logpdf(x, truth.mean[k], truth.covariance[k])
            + norm.logpdf(
                y,
                truth.intercept[k] + table[list(truth.predictors)].to_numpy() @ truth.slope[k],
                truth.sigma[k],
            )
            for k in range(4)
        ],
        axis=1,
    )
    likelihood = float(logsumexp(joint, axis=1).sum())
    # Twice the gain over the truth is chi-squared with as many degrees as there are free values.
    assert 0 < found.best.log_likelihood - likelihood < spec.n_parameters
