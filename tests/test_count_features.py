"""Features of counts: Poisson inside a cluster, beside Gaussian and other features."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from scipy.special import logsumexp
from scipy.stats import poisson

import jointmix as jm
from jointmix.base.errors import DataError, SpecError
from jointmix.families.mixture import component_log_density, log_likelihood
from jointmix.kernel.entry import value_and_gradient
from jointmix.kernel.problem import free_parameters, make_problem, n_free
from jointmix.kernel.values import parameters as expanded
from jointmix.model.dataset import make_dataset
from jointmix.model.packing import packed
from jointmix.posterior.draws import fitted_spec, observed_rows, posterior_parameters

RATES = {"visits": (2.0, 9.0), "falls": (0.4, 1.2)}
FEATURES = {"a": "normal", "visits": "poisson", "falls": "poisson", "ward": "categorical"}


def table_of(n: int = 300, seed: int = 3) -> pd.DataFrame:
    """Two clusters in a number, two counts and a word; y on a line."""
    rng = np.random.default_rng(seed)
    z = rng.integers(2, size=n)
    a = rng.normal(size=n) + 2 * z
    ward = np.array(["north", "south"])[np.where(rng.random(n) < 0.8, z, 1 - z)]
    counts = {name: rng.poisson(np.array(rate)[z]) for name, rate in RATES.items()}
    y = np.where(z == 1, 1 - a, a) + 0.3 * rng.normal(size=n)
    return pd.DataFrame({"a": a, **counts, "ward": ward, "y": y})


def spec_of(**options: object) -> jm.ModelSpec:
    given: dict = {"n_clusters": 2, "features": FEATURES, "predictors": ["a"], "response": "y",
                   "sampler": jm.SamplerSpec(draws=200, tune=200, chains=2, starts=5),
                   **options}  # fmt: skip
    return jm.ModelSpec(**given)


ONLY = {"features": {"visits": "poisson"}, "predictors": [], "response": None}
STRUCTURES = pytest.mark.parametrize("options", [{}, ONLY], ids=["mixed", "counts alone"])


@pytest.fixture(scope="module")
def tree() -> xr.DataTree:
    table = table_of()
    table["visits"] = table["visits"].astype(float)
    table.loc[[0, 4], "visits"] = np.nan
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
    if options:
        found = packed(expanded(problem, spec, at), spec)
        rows = component_log_density(spec.blocks, dataset.rows, found)
        by_hand = poisson.logpmf(table["visits"].to_numpy()[:, None], found["rate_visits"])
        np.testing.assert_allclose(rows, by_hand + np.log(found.weight), rtol=1e-12)


@STRUCTURES
def test_em_climbs(options: dict) -> None:
    table = table_of()
    few, many = (jm.fit_em(table, spec_of(**options), seed=2).best.log_likelihood for _ in range(2))
    assert few == many
    dataset = make_dataset(table, spec_of(**options))
    best = jm.fit_em(table, dataset.spec, seed=2).best
    rates = best.parameters["rate_visits"]
    at = log_likelihood(
        component_log_density(dataset.blocks, dataset.users_rows, best.parameters)
    ).sum()
    for factor in (0.99, 1.01):
        moved = best.parameters.replace(rate_visits=rates * np.array([factor, 1.0]))
        below = log_likelihood(component_log_density(dataset.blocks, dataset.users_rows, moved))
        assert below.sum() < at


def test_rates_are_found_and_holes_drop_out(tree: xr.DataTree) -> None:
    spec, parameters = fitted_spec(tree), posterior_parameters(tree)
    order = np.argsort(parameters["mean"][..., 0].mean(0))
    for name, true in RATES.items():
        draws = parameters[f"rate_{name}"][:, order]
        # Four posterior standard deviations.
        assert (np.abs(draws.mean(0) - true) < 4 * draws.std(0)).all()
    rows = observed_rows(tree, spec)
    assert np.flatnonzero(np.isnan(rows.discrete).any(1)).tolist() == [0, 4]
    one = parameters.take([0])
    with_hole = component_log_density(spec.blocks, rows.take(np.array([0])), one)
    discrete = rows.discrete[[0] * 200].copy()
    discrete[:, [own.column for own in spec.discrete].index("visits")] = np.arange(200)
    whole = replace(rows.take(np.zeros(200, dtype=int)), discrete=discrete)
    each = component_log_density(spec.blocks, whole, one)
    np.testing.assert_allclose(with_hole[:, 0], logsumexp(each, axis=1), rtol=1e-10)


def test_it_is_predicted_saved_and_reported(tree: xr.DataTree, tmp_path: Path) -> None:
    loaded = jm.load(jm.save(tree, tmp_path / "f.nc"))
    new = table_of(7, seed=9)
    xr.testing.assert_equal(jm.predict(loaded, new), jm.predict(tree, new))
    xr.testing.assert_equal(jm.responsibilities(loaded, new), jm.responsibilities(tree, new))
    page = jm.report(loaded, tmp_path / "r.md").read_text("utf-8")
    assert r"rate\_visits" in page
    assert "rate_visits" in jm.contrasts(tree).to_string()
    assert jm.impute(tree)["obs_visits"].values.tolist() == [0, 4]
    assert (jm.impute(tree)["rate_visits"] > 1.5).all()
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


def test_overlap_is_bhattacharyyas() -> None:
    dataset = make_dataset(table_of(60), spec_of(**ONLY))
    (block,) = dataset.blocks
    parameters = jm.fit_em(table_of(60), dataset.spec, seed=2).best.parameters
    one, other = (poisson.pmf(np.arange(200), rate) for rate in parameters["rate_visits"])
    by_hand = np.sqrt(one * other).sum()
    assert block.overlap(parameters, 0, 1) == pytest.approx(by_hand, rel=1e-10)  # type: ignore[attr-defined]
