"""Features of counts: Poisson or negative binomial in a cluster, beside Gaussian and other ones."""

from collections.abc import Mapping
from dataclasses import replace
from itertools import product
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from scipy.special import logsumexp
from scipy.stats import nbinom, poisson

import jointmix as jm
from jointmix.base.errors import DataError, SpecError
from jointmix.families.mixture import component_log_density, log_likelihood
from jointmix.families.parameters import Parameters
from jointmix.kernel.allocate import allocate
from jointmix.kernel.entry import value_and_gradient
from jointmix.kernel.problem import free_parameters, make_problem, n_free
from jointmix.kernel.values import parameters as expanded
from jointmix.model.dataset import Dataset, make_dataset
from jointmix.model.packing import packed
from jointmix.posterior.draws import fitted_spec, observed_rows, posterior_parameters
from jointmix.validation.calibration.replicates import true_arrays
from jointmix.validation.twin.family import twins
from jointmix.validation.twin.likelihood import scaled_rows as twin_rows

RATES = {"visits": (2.0, 9.0), "falls": (0.4, 1.2), "stays": (3.0, 12.0)}
SIZES = {"stays": (1.0, 4.0)}
FEATURES = {"a": "normal", "visits": "poisson", "falls": "poisson", "stays": "negative_binomial",
            "ward": "categorical"}  # fmt: skip


def table_of(n: int = 300, seed: int = 3) -> pd.DataFrame:
    """Two clusters in a number, two counts and a word; y on a line."""
    rng = np.random.default_rng(seed)
    z = rng.integers(2, size=n)
    a = rng.normal(size=n) + 2 * z
    ward = np.array(["north", "south"])[np.where(rng.random(n) < 0.8, z, 1 - z)]
    counts = {name: rng.poisson(np.array(rate)[z]) for name, rate in RATES.items()}
    rate, size = np.array(RATES["stays"])[z], np.array(SIZES["stays"])[z]
    counts["stays"] = rng.poisson(rng.gamma(size, rate / size))
    y = np.where(z == 1, 1 - a, a) + 0.3 * rng.normal(size=n)
    return pd.DataFrame({"a": a, **counts, "ward": ward, "y": y})


def spec_of(**options: object) -> jm.ModelSpec:
    given: dict = {"n_clusters": 2, "features": FEATURES, "predictors": ["a"], "response": "y",
                   "sampler": jm.SamplerSpec(draws=200, tune=200, chains=2, starts=5),
                   **options}  # fmt: skip
    return jm.ModelSpec(**given)


ONLY = {"features": {"visits": "poisson"}, "predictors": [], "response": None}
BOTH = {"predictors": ["visits", "a"]}
SPREAD = ONLY | {"features": {"stays": "negative_binomial"}}
STRUCTURES = pytest.mark.parametrize(
    "options",
    [{}, ONLY, SPREAD, BOTH],
    ids=["mixed", "counts alone", "spread counts alone", "a count that is a predictor too"],
)


def scipys(name: str, n: np.ndarray, parameters: Mapping[str, np.ndarray]) -> np.ndarray:
    """SciPy's log probabilities of counts n (obs,), (obs, component)."""
    rate = parameters[f"rate_{name}"]
    if name not in SIZES:
        return poisson.logpmf(n[:, None], rate)
    size = parameters[f"size_{name}"]
    return nbinom.logpmf(n[:, None], size, size / (size + rate))


@pytest.fixture(scope="module")
def tree() -> xr.DataTree:
    table = table_of()
    table["visits"] = table["visits"].astype(float)
    table.loc[[0, 4], "visits"] = np.nan
    table["stays"] = table["stays"].astype(float)
    table.loc[[4, 5], "stays"] = np.nan
    return jm.fit(table, spec_of(missing="model"), seed=1, progress=False)


@STRUCTURES
def test_kernel_numpy_pymc_and_scipy_agree(options: dict) -> None:
    table, dataset = table_of(60), make_dataset(table_of(60), spec_of(**options))
    spec, problem = dataset.spec, make_problem(dataset)
    model = jm.build_model(dataset, spec)
    variables = {each.name: model.rvs_to_values[each] for each in model.free_RVs}
    at = 0.4 * np.random.default_rng(5).normal(size=n_free(spec))
    value, gradient = value_and_gradient(problem, at)
    point, first = {}, 0
    for each in free_parameters(spec):
        point[variables[each.name].name] = at[first : first + each.size].reshape(each.shape)
        first += each.size
    pymc = float(model.compile_logp(mode="FAST_COMPILE")(point))
    assert abs(value - pymc) < 1e-10 * (1 + abs(value))
    for i, step in enumerate(1e-5 * np.eye(len(at))):
        apart = (
            value_and_gradient(problem, at + step)[0] - value_and_gradient(problem, at - step)[0]
        )
        # Rounding of a total of this size, over the step.
        assert abs(gradient[i] - apart / 2e-5) < 1e-7 * (1 + abs(gradient[i]) + abs(value))
    if "features" in options:
        found = packed(expanded(problem, spec, at), spec)
        rows = component_log_density(spec.blocks, dataset.rows, found)
        (name,) = options["features"]
        by_hand = scipys(name, table[name].to_numpy(), found)
        np.testing.assert_allclose(rows, by_hand + np.log(found.weight), rtol=1e-12)


@pytest.mark.parametrize("options", [{}, ONLY], ids=["mixed", "counts alone"])
def test_em_climbs(options: dict) -> None:
    table = table_of()
    few = jm.SamplerSpec(starts=2)
    options = options | {"sampler": few}
    dataset = make_dataset(table, spec_of(**options))
    best = jm.fit_em(table, dataset.spec, seed=2).best
    at = log_likelihood(
        component_log_density(dataset.blocks, dataset.users_rows, best.parameters)
    ).sum()
    names = [name for name in best.parameters if name.startswith(("rate_", "size_"))]
    assert names
    for name, factor in product(names, (0.99, 1.01)):
        at_best = best.parameters[name]
        moved = best.parameters.replace(**{name: at_best * np.array([factor, 1.0])})
        below = log_likelihood(component_log_density(dataset.blocks, dataset.users_rows, moved))
        assert below.sum() < at


@pytest.mark.parametrize("stated", [BOTH, {"predictors": [], "response": None,
                                           "formula": "y ~ visits + a"}])  # fmt: skip
def test_a_count_that_is_a_predictor_too_is_one_column_and_scaled_for_the_line(
    stated: dict,
) -> None:
    table = table_of()
    # Far from zero, where an intercept at no visits would be far from the rows.
    table["visits"] += 500
    options = stated | {"features": {"a": "normal", "visits": "poisson"}}
    dataset = make_dataset(table, spec_of(n_clusters=1, **options))
    assert dataset.columns == ("a", "visits", "y")
    visits, u = table["visits"].to_numpy(), dataset.rows.u
    assert (dataset.rows.discrete[:, 0] == visits).all()
    place = dataset.spec.predictors.index("visits")
    np.testing.assert_allclose(u[:, place], (visits - visits.mean()) / visits.std(), rtol=1e-12)
    twins_rows = twin_rows(dataset)
    assert (twins_rows.discrete == dataset.rows.discrete).all()
    assert (twins_rows.u == u).all()
    found = jm.fit_em(table, spec_of(n_clusters=1, **options)).best.parameters
    x = np.column_stack([np.ones(len(table)), visits, table["a"]])
    line, *_ = np.linalg.lstsq(x, table["y"], rcond=None)
    # Two solvers of a problem whose columns are 500 and 1 in size.
    np.testing.assert_allclose([found.intercept[0], *found.slope[0]], line, rtol=1e-8)
    np.testing.assert_allclose(found["rate_visits"], visits.mean(), rtol=1e-8)


def test_of_predictors_that_are_features_truths_may_be_missing_and_counts_not() -> None:
    table = table_of()
    table["smokes"] = table["falls"] > 0
    features = {"a": "normal", "visits": "poisson", "smokes": "bernoulli"}

    def with_a_hole(name: str) -> Dataset:
        holes = table.astype({name: object})
        holes.loc[3, name] = None
        spec = spec_of(features=features, predictors=["a", name], missing="model")
        return make_dataset(holes, spec)

    with pytest.raises(DataError, match=r"'visits' has missing.*over whose counts nothing"):
        with_a_hole("visits")
    rows = with_a_hole("smokes").rows
    assert rows.completions is not None
    assert rows.completions.count.tolist() == [1, 1, 1, 2] + [1] * (len(table) - 4)


def test_lines_in_counts_explain_what_rows_say() -> None:
    rng = np.random.default_rng(4)
    z = rng.integers(2, size=150)
    visits = rng.poisson(np.where(z == 1, 9.0, 2.0))
    y = np.where(z == 1, 30 - visits, visits) + rng.normal(size=150)
    table = pd.DataFrame({"visits": visits, "y": y})
    spec = spec_of(features={"visits": "poisson"}, predictors=["visits"])
    tree = jm.fit(table, spec, seed=1, progress=False)
    at = posterior_parameters(tree)
    line = at.intercept[:, None] + at.slope[..., 0][:, None] * visits[:, None]
    logs = np.log(at.weight)[:, None] + poisson.logpmf(visits[:, None], at["rate_visits"][:, None])
    given = np.exp(logs - logsumexp(logs, axis=-1, keepdims=True))
    mean = jm.predict(tree, table[["visits"]])["mean"]
    # Averages over draws in another order.
    np.testing.assert_allclose(mean, (given * line).sum(-1).mean(0), rtol=1e-9)
    share = given / given.sum(1, keepdims=True)
    middle = (share * line).sum(1)
    explained = (share * (line - middle[:, None]) ** 2).sum(1)
    found = jm.r_squared(tree)["cluster_r2"].values.reshape(explained.shape)
    np.testing.assert_allclose(found, explained / (explained + at.sigma**2), rtol=1e-9)


def test_rates_are_found_and_holes_drop_out(tree: xr.DataTree) -> None:
    spec, parameters = fitted_spec(tree), posterior_parameters(tree)
    order = np.argsort(parameters["mean"][..., 0].mean(0))
    named = {f"rate_{name}": rate for name, rate in RATES.items()}
    named |= {f"size_{name}": size for name, size in SIZES.items()}
    for name, true in named.items():
        draws = parameters[name][:, order]
        # Four posterior standard deviations.
        assert (np.abs(draws.mean(0) - true) < 4 * draws.std(0)).all()
    rows = observed_rows(tree, spec)
    assert np.flatnonzero(np.isnan(rows.discrete).any(1)).tolist() == [0, 4, 5]
    one = parameters.take([0])
    for row, name in ((0, "visits"), (5, "stays")):
        with_hole = component_log_density(spec.blocks, rows.take(np.array([row])), one)
        discrete = rows.discrete[[row] * 2_000].copy()
        discrete[:, [own.column for own in spec.discrete].index(name)] = np.arange(2_000)
        whole = replace(rows.take(np.full(2_000, row)), discrete=discrete)
        each = component_log_density(spec.blocks, whole, one)
        np.testing.assert_allclose(with_hole[:, 0], logsumexp(each, axis=1), rtol=1e-10)


def test_it_is_predicted_saved_and_reported(tree: xr.DataTree, tmp_path: Path) -> None:
    loaded = jm.load(jm.save(tree, tmp_path / "f.nc"))
    new = table_of(7, seed=9)
    xr.testing.assert_equal(jm.predict(loaded, new), jm.predict(tree, new))
    xr.testing.assert_equal(jm.responsibilities(loaded, new), jm.responsibilities(tree, new))
    page = jm.report(loaded, tmp_path / "r.md").read_text("utf-8")
    assert r"rate\_visits" in page
    assert r"size\_stays" in page
    assert "Counts of stays have a size s of their own in each cluster" in page
    assert "counts of stays spread more than Poisson's" in page
    contrasts = jm.contrasts(tree).to_string()
    assert all(name in contrasts for name in ("rate_visits", "rate_stays", "size_stays"))
    assert jm.impute(tree)["obs_visits"].values.tolist() == [0, 4]
    assert (jm.impute(tree)["rate_visits"] > 1.5).all()
    assert (jm.impute(tree)["rate_stays"] > 2.0).all()
    assert jm.predictive_checks(jm.replicate(tree, 20)).notna().all(axis=None)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"visits": -1.0}, "The feature 'visits' is no count in 300 rows, such as -1"),
        ({"visits": 0.5}, "The feature 'visits' is no count in 300 rows, such as 0.5"),
        ({"visits": 0}, "The feature 'visits' is zero in all rows"),
    ],
)
def test_what_is_no_count_is_named(changes: dict, message: str) -> None:
    with pytest.raises(DataError, match=message):
        jm.fit(table_of().assign(**changes), spec_of(), progress=False)


def test_new_rows_are_held_to_it(tree: xr.DataTree) -> None:
    with pytest.raises(DataError, match=r"is no count in 1 rows, such as 1\.5"):
        jm.predict(tree, table_of(3).assign(visits=[1.0, 1.5, 2.0]))


def test_priors_of_rates() -> None:
    prior = jm.Priors(rate=jm.Gamma(shape=2.0, rate=0.5))
    assert spec_of(priors=prior).priors.rate.shape == 2.0
    with pytest.raises(SpecError, match="The prior of rate must be one of Gamma, LogNormal"):
        jm.Priors(rate=jm.Normal())  # type: ignore[arg-type]
    with pytest.raises(SpecError, match="has no rate"):
        jm.ModelSpec(n_clusters=1, features={"a": "normal"}, priors=prior)


def test_the_twin_has_the_same_density() -> None:
    dataset = make_dataset(table_of(60), spec_of(**SPREAD))
    ((block,), (twin,)) = dataset.blocks, twins(dataset.spec)
    rows = replace(dataset.rows, discrete=dataset.rows.discrete.copy())
    rows.discrete[3] = np.nan
    own = {"rate_stays": np.array([2.5, 40.0]), "size_stays": np.array([0.3, 1e4])}
    ours = block.log_density(Parameters(**own), rows)
    # Log gammas of 1e4 lose eleven digits after the point.
    np.testing.assert_allclose(twin.log_density(own, rows), ours, atol=1e-9)


def test_calibration_draws_truths_of_counts() -> None:
    spec = make_dataset(table_of(60), spec_of()).spec
    drawn = true_arrays(spec, 0, 1)
    assert drawn["rate_visits"].shape == drawn["size_stays"].shape == (len(drawn["weight"]), 2)
    # The prior of rates is log-normal about 1, sd 2: its median's standard error is 2.5/√n.
    logs = np.log(np.concatenate([drawn["rate_visits"], drawn["rate_stays"]]))
    assert np.median(logs) == pytest.approx(1.0, abs=5 * 2.5 / np.sqrt(logs.size))


def test_priors_of_sizes() -> None:
    fixed = spec_of(priors=jm.Priors(size=jm.Fixed(value=[1.0, 4.0])))
    assert fixed.n_parameters == spec_of().n_parameters - 2
    best = jm.fit_em(table_of(), fixed, seed=2).best
    # The M-step leaves it where it is.
    assert sorted(best.parameters["size_stays"]) == [1.0, 4.0]
    model = jm.build_model(table_of(60), fixed)
    assert "size_stays" in {each.name for each in model.deterministics}


@pytest.mark.parametrize("options", [ONLY, SPREAD], ids=["counts", "spread counts"])
def test_overlap_is_bhattacharyyas(options: dict) -> None:
    dataset = make_dataset(table_of(60), spec_of(**options))
    (block,) = dataset.blocks
    (name,) = options["features"]
    given = {f"rate_{name}": np.array([2.5, 8.0]), f"size_{name}": np.array([0.7, 4.0])}
    parameters = Parameters(weight=np.full(2, 0.5), **given)
    one, other = np.exp(scipys(name, np.arange(2_000), parameters)).T
    by_hand = np.sqrt(one * other).sum()
    assert block.overlap(parameters, 0, 1) == pytest.approx(by_hand, rel=1e-10)  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("rate", "size"),
    [((0.2, 3.0), (0.05, 50.0)), ((1e3, 1.2e3), (0.3, 2.0)), ((3e5, 3.01e5), (1e4, 2e4))],
    ids=["small", "wide", "large"],
)
def test_overlap_of_spread_counts_of_any_rate(
    rate: tuple[float, float], size: tuple[float, float]
) -> None:
    dataset = make_dataset(table_of(60), spec_of(**SPREAD))
    (block,) = dataset.blocks
    given = {"rate_stays": np.array([rate]), "size_stays": np.array([size])}
    n = np.arange(2_000_000.0)
    one, other = scipys("stays", n, {name: value[0] for name, value in given.items()}).T
    by_hand = np.exp(0.5 * (one + other)).sum()
    found = block.overlap(Parameters(weight=np.full((1, 2), 0.5), **given), 0, 1)  # type: ignore[attr-defined]
    # What lies beyond 1 − 1e-18 of either has a root of 1e-9; SciPy's log gammas lose 1e-10.
    assert found == pytest.approx(by_hand, rel=1e-7)


def test_counts_of_poissons_spread_end_at_poissons() -> None:
    table = table_of()
    rates = {}
    for family in ("poisson", "negative_binomial"):
        spec = spec_of(features={"a": "normal", "visits": family}, n_clusters=1)
        rates[family] = jm.fit_em(table.assign(visits=np.arange(300) % 5), spec, seed=2).best
    spread = rates["negative_binomial"]
    assert spread.parameters["size_visits"].min() > 100
    assert spread.log_likelihood == pytest.approx(rates["poisson"].log_likelihood, abs=0.5)
    dataset = make_dataset(table.assign(visits=np.arange(300) % 5), spec)
    allocation = np.zeros(300, dtype=int)
    issue = dataset.blocks[1].checks.mode_issue(dataset.users_rows, allocation)
    assert issue is not None
    # 60 rows each of 0 to 4, about their mean of 2: Σ (n − 2)² = 600 = Σ n.
    assert issue.value == pytest.approx(0, abs=1e-12)
    assert "{'visits': \"poisson\"}" in issue.remedy
    more = make_dataset(table, spec_of(**SPREAD))
    assert more.blocks[0].checks.mode_issue(more.users_rows, allocation) is None


def test_a_feature_of_holes_alone_says_nothing() -> None:
    """Wherever its rate and size are, rows have the densities of the model without it."""
    table, without = table_of(80), dict(FEATURES)
    del without["stays"]
    full = make_dataset(table, spec_of(missing="model"))
    fewer = make_dataset(table, spec_of(features=without))
    best = jm.fit_em(table, full.spec, seed=2).best.parameters
    place = [own.column for own in full.spec.discrete].index("stays")
    holes = full.users_rows.discrete.copy()
    holes[:, place] = np.nan
    rows = replace(full.users_rows, discrete=holes)
    np.testing.assert_allclose(
        component_log_density(full.blocks, rows, best),
        component_log_density(fewer.blocks, fewer.users_rows, best),
        rtol=1e-12,
    )
    share, _, value = allocate(rows, best.batched(), full.blocks)
    other, _, by_fewer = allocate(fewer.users_rows, best.batched(), fewer.blocks)
    np.testing.assert_allclose(share, other, atol=1e-13)
    assert value == pytest.approx(by_fewer, rel=1e-13)


def test_the_order_of_features_does_not_matter() -> None:
    table, turned = table_of(120), dict(reversed(FEATURES.items()))
    one, other = (
        jm.fit_em(table, spec_of(features=features), seed=2).best for features in (FEATURES, turned)
    )
    assert one.log_likelihood == pytest.approx(other.log_likelihood, abs=1e-4)
