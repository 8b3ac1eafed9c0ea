"""Drawn rows: against the distributions that they come from, and as ArviZ takes them."""

import arviz_plots
import numpy as np
import pandas as pd
import pytest
import xarray as xr
from conftest import STRUCTURES, structures, table
from densities import response_mean
from scipy.stats import beta, halfnorm, invgamma, kstest, norm
from synthetic import fitted_tree

import jointmix as jm
from jointmix.base.errors import DataError, SchemaError, SpecError
from jointmix.base.machine import limited_cores
from jointmix.families.mixture import log_terms
from jointmix.posterior.allocations import responsibilities
from jointmix.posterior.densities import predictive_density
from jointmix.posterior.draws import (
    fitted_spec,
    observed_rows,
    observed_table,
    posterior_parameters,
)
from jointmix.posterior.prediction import predict
from jointmix.posterior.predictive_checks import predictive_checks
from jointmix.posterior.replication import predictive_draws, prior_predictive, replicate


@pytest.fixture(scope="module")
def tree() -> xr.DataTree:
    return fitted_tree(n_clusters=3, n_features=2, n_obs=30, predictors=["x2", "outside"], seed=8)


def with_gaps(tree: xr.DataTree) -> dict[str, np.ndarray]:
    """The fit's first thirty rows; every third misses a feature."""
    columns = {n: each[:30] for n, each in observed_table(tree, fitted_spec(tree)).items()}
    columns["x2"] = np.where(np.arange(30) % 3 == 0, np.nan, columns["x2"])
    return {name: column for name, column in columns.items() if name != "y"}


@pytest.mark.parametrize("gaps", [False, True])
def test_draws_fall_below_quantiles_as_often_as_they_should(tree: xr.DataTree, gaps: bool) -> None:
    given = with_gaps(tree) if gaps else None
    drawn = predictive_draws(tree, given, seed=4)
    assert drawn.dims == ("chain", "draw", "obs")
    assert drawn.name == "y"
    n = drawn.sizes["chain"] * drawn.sizes["draw"]
    assert n == 1000
    for q in (0.1, 0.5, 0.9):
        at = predict(tree, given, (q,))["quantiles"].isel(quantile=0)
        below = (drawn < at).mean(("chain", "draw")).values
        # Independent given the parameters, each of which is used once: less than binomial.
        assert np.abs(below - q).max() < 5 * np.sqrt(q * (1 - q) / n)
    xr.testing.assert_equal(predictive_draws(tree, given, seed=4), drawn)
    assert predictive_draws(tree, given, draws=20).sizes["draw"] == 5
    assert predictive_draws(tree, given, draws=2).sizes == {"chain": 2, "draw": 1, "obs": 30}


@pytest.mark.parametrize("gaps", [False, True])
def test_densities_on_a_grid(four_cluster_fit: xr.DataTree, gaps: bool) -> None:
    tree = four_cluster_fit
    given = with_gaps(tree)
    if not gaps:
        given["x2"] = observed_table(tree, fitted_spec(tree))["x2"][:30]
    found = predictive_density(tree, given, points=4001)
    at = found["point"].values
    total = np.trapezoid(found.values, at, axis=1)
    # The grid leaves out at most a thousandth of each row, and that far from its mean.
    assert (np.abs(total - 1) < 1.1e-3).all()
    mean = np.trapezoid(found.values * at, at, axis=1)
    predicted = predict(tree, given)
    assert (np.abs(mean - predicted["mean"]) < 0.01 * predicted["sd"]).all()
    if not gaps:
        parameters = posterior_parameters(tree)
        rows = observed_rows(tree, fitted_spec(tree)).take(slice(30))
        some = at[::500]
        share = responsibility_by_draw(tree)[:, :30]
        center = response_mean(rows.u, parameters)
        part = norm.pdf(some[:, None, None, None], center, parameters.sigma[:, None, :]) * share
        np.testing.assert_allclose(
            predictive_density(tree, given, some), part.sum(-1).mean(1).T, rtol=1e-9, atol=1e-14
        )


def responsibility_by_draw(tree: xr.DataTree) -> np.ndarray:
    """p(k | x), (draw, obs, cluster)."""
    parameters = posterior_parameters(tree)
    first, _ = log_terms(
        fitted_spec(tree).blocks, observed_rows(tree, fitted_spec(tree)), parameters
    )
    weight = np.exp(first - first.max(-1, keepdims=True))
    return weight / weight.sum(-1, keepdims=True)


def test_replicates_have_the_mixtures_moments(four_cluster_fit: xr.DataTree) -> None:
    found = replicate(four_cluster_fit, draws=400, seed=2)
    drawn = found["posterior_predictive"].to_dataset()
    assert drawn.sizes == {"chain": 4, "draw": 100, "obs": 400}
    posterior = found["posterior"].to_dataset()
    mean = (posterior["weight"] * posterior["mean"].isel(feature=0)).sum("cluster")
    ours = drawn["x1"].mean("obs")
    # 160,000 values with an sd of about 1.05.
    assert abs(float((ours - mean).mean())) < 5 * 1.05 / 400
    # Inside a cluster y follows its line: the noise is what is left.
    z = found["allocation"]["allocation"].values
    places = tuple(np.ogrid[:4, :100, :400][:2])
    slope, sigma = posterior["slope"].values[*places, z], posterior["sigma"].values[*places, z]
    line = posterior["intercept"].values[*places, z]
    line = line + slope[..., 0] * drawn["x1"].values + slope[..., 1] * drawn["x2"].values
    white = (drawn["y"].values - line) / sigma
    assert kstest(white.ravel()[::7], "norm").pvalue > 1e-3
    share = (z[..., None] == np.arange(4)).mean((0, 1, 2))
    expected = posterior["weight"].mean(("chain", "draw"))
    np.testing.assert_allclose(share, expected, atol=5 * 0.44 / 400)
    observed = found["observed_data"].to_dataset()
    np.testing.assert_array_equal(observed["y"], four_cluster_fit["observed_data"]["y"])
    assert predictive_checks(found)["unusual"].sum() == 0


def test_arviz_plots_them(four_cluster_fit: xr.DataTree) -> None:
    found = replicate(four_cluster_fit, draws=40)
    plot = arviz_plots.plot_ppc_dist(found, var_names=["y", "x1"], backend="none")
    assert {"y", "x1"} <= set(plot.viz["plot"].data_vars)
    before = prior_predictive(table(), STRUCTURES["disjoint"], draws=20)
    arviz_plots.plot_ppc_dist(before, group="prior_predictive", backend="none")


def test_a_column_with_a_dims_name() -> None:
    tree = fitted_tree(n_clusters=2, n_features=1, names=["obs"], response_name="draw", seed=3)
    found = replicate(tree, draws=8)
    names = {"obs_column", "draw_column"}
    assert set(found["posterior_predictive"].data_vars) == names
    assert set(found["observed_data"].data_vars) == names


def test_predictors_that_are_no_features_are_kept() -> None:
    tree = fitted_tree(n_clusters=1, n_features=0, features=False, predictors=["p"], seed=3)
    rows = observed_rows(tree, fitted_spec(tree))
    found = replicate(tree, draws=200)
    posterior = found["posterior"].to_dataset()
    line = posterior["intercept"].values + posterior["slope"].values[..., 0] * rows.u[:, 0]
    white = (found["posterior_predictive"]["y"].values - line) / posterior["sigma"].values
    assert kstest(white.ravel()[::5], "norm").pvalue > 1e-3


@pytest.mark.parametrize("name", structures("disjoint", "no features", "fixed mean", "one cluster"))
def test_every_structure_has_prior_tables(name: str) -> None:
    spec = STRUCTURES[name]
    found = prior_predictive(table(), spec, draws=6, seed=1)
    drawn = found["prior_predictive"].to_dataset()
    expected = {*spec.features, *((spec.response,) if spec.response else ())}
    assert set(drawn.data_vars) == expected
    assert drawn.sizes == {"chain": 1, "draw": 6, "obs": 40}
    assert all(np.isfinite(drawn[each]).all() for each in drawn.data_vars)
    assert set(found["prior"].data_vars) == set(found["prior"].data_vars) & {
        *("weight", "mean", "sd", "correlation", "intercept", "slope", "sigma")
    }
    xr.testing.assert_equal(
        prior_predictive(table(), spec, draws=6, seed=1)["prior"], found["prior"]
    )
    assert (
        len(predictive_checks(found))
        == 6 * len(expected) + len(expected) * (len(expected) - 1) // 2
    )


def test_priors_on_the_users_scale() -> None:
    spec, rows = STRUCTURES["half-normal"], table()
    prior = prior_predictive(rows, spec, draws=3000, seed=3)["prior"].to_dataset()
    scale, center = rows.std(ddof=0), rows.mean()

    def p_value(values: xr.DataArray, distribution: object) -> float:
        return float(kstest(values.values[:, :, 0].ravel(), distribution.cdf).pvalue)  # type: ignore[attr-defined]

    for i, name in enumerate("ab"):
        mean = (prior["mean"].isel(feature=i) - center[name]) / scale[name]
        assert p_value(mean, norm(0, 2.5)) > 1e-3
        assert p_value(prior["sd"].isel(feature=i) / scale[name], halfnorm(scale=0.8)) > 1e-3
        slope = prior["slope"].isel(predictor=i) * scale[name] / scale["y"]
        assert p_value(slope, norm(0, 2.5)) > 1e-3
    assert p_value(prior["sigma"] / scale["y"], halfnorm(scale=1.3)) > 1e-3
    assert p_value(prior["weight"], beta(2, 2)) > 1e-3
    # LKJ with eta 1 in two dimensions: uniform.
    correlation = prior["correlation"].isel(feature=0, feature_bis=1)
    assert p_value((correlation + 1) / 2, beta(1, 1)) > 1e-3
    spec = STRUCTURES["inverse gamma"]
    prior = prior_predictive(rows, spec, draws=3000, seed=3)["prior"].to_dataset()
    assert p_value((prior["sigma"] / scale["y"]) ** 2, invgamma(2, scale=0.3)) > 1e-3


def test_one_cluster_for_two_is_unusual() -> None:
    rng = np.random.default_rng(1)
    x = np.concatenate([rng.normal(-4, 1, 60), rng.normal(4, 1, 60)])
    spec = jm.ModelSpec(
        n_clusters=1,
        features=["x"],
        response="y",
        sampler=jm.SamplerSpec(draws=100, tune=200, chains=2),
    )
    found = predictive_checks(
        replicate(jm.fit({"x": x, "y": x + rng.normal(size=120)}, spec, seed=1), draws=200)
    )
    assert bool(found.loc["kurtosis[x]", "unusual"])
    assert not bool(found.loc["mean[x]", "unusual"])


def test_statistics_by_hand() -> None:
    rng = np.random.default_rng(3)
    y, a = rng.normal(size=(2, 5, 30)), rng.normal(size=(2, 5, 30))
    dims = ("chain", "draw", "obs")
    found = predictive_checks(
        xr.DataTree.from_dict(
            {
                "posterior_predictive": xr.Dataset({"y": (dims, y), "a": (dims, a)}),
                # The first drawn table itself: its statistics are equal.
                "observed_data": xr.Dataset({"y": ("obs", y[0, 0]), "a": ("obs", a[0, 0])}),
            }
        )
    )
    means = y.mean(-1).ravel()
    row = found.loc["mean[y]"]
    assert row["observed"] == pytest.approx(means[0])
    assert row["p"] == ((means > means[0]).sum() + 0.5) / 10
    assert row["q50"] == pytest.approx(np.median(means))
    r = [np.corrcoef(y[i, j], a[i, j])[0, 1] for i in range(2) for j in range(5)]
    assert found.loc["correlation[y, a]", "q95"] == pytest.approx(np.quantile(r, 0.95))
    assert found.loc["maximum[a]", "observed"] == a[0, 0].max()


def test_cores_change_no_bit(four_cluster_fit: xr.DataTree) -> None:
    drawn = replicate(four_cluster_fit, draws=40, seed=2)
    found = []
    for cores in (1, 3):
        with limited_cores(cores):
            found.append(predictive_checks(drawn))
    pd.testing.assert_frame_equal(found[0], found[1], check_exact=True)


def test_tables_of_some_rows_are_held_to_the_same_rows(tree: xr.DataTree) -> None:
    drawn = replicate(tree, draws=8, rows=11)
    place = np.linspace(0, 29, 11).round().astype(int)
    every = observed_table(tree, fitted_spec(tree))
    for name in ("x1", "x2", "y"):
        assert drawn["posterior_predictive"][name].shape == (4, 2, 11)
        np.testing.assert_array_equal(drawn["observed_data"][name], every[name][place])
    np.testing.assert_array_equal(
        drawn["observed_data"]["obs"], replicate(tree, 1)["observed_data"]["obs"][place]
    )
    xr.testing.assert_identical(replicate(tree, 4, rows=30), replicate(tree, 4))


def test_a_prior_is_that_of_all_rows_whatever_rows_are_drawn() -> None:
    found = [prior_predictive(table(), STRUCTURES["disjoint"], 5, rows=n) for n in (7, None)]
    xr.testing.assert_identical(found[0]["prior"], found[1]["prior"])
    assert found[0]["prior_predictive"].sizes["obs"] == 7


def test_refusals(tree: xr.DataTree, monkeypatch: pytest.MonkeyPatch) -> None:
    features_only = fitted_tree(n_clusters=2, n_features=1, response=False, seed=2)
    for function in (predictive_draws, predictive_density):
        with pytest.raises(SpecError, match="no response"):
            function(features_only)
        with pytest.raises(DataError, match="outside"):
            function(tree, {"x1": np.zeros(3), "x2": np.zeros(3)})
    for points in (1, [], [0.0, np.inf]):
        with pytest.raises(SpecError, match="points must be"):
            predictive_density(tree, points=points)
    for call in (
        lambda: predictive_draws(tree, draws=0),
        lambda: replicate(tree, draws=0),
        lambda: prior_predictive(table(), STRUCTURES["disjoint"], draws=0),
    ):
        with pytest.raises(SpecError, match="draws must be a whole number, at least 1"):
            call()
    for call in (
        lambda: replicate(tree, rows=0),
        lambda: prior_predictive(table(), STRUCTURES["disjoint"], rows=0),
    ):
        with pytest.raises(SpecError, match="rows must be a whole number, at least 1"):
            call()
    with pytest.raises(SchemaError, match="predictive_checks takes"):
        predictive_checks(tree)
    monkeypatch.setattr("jointmix.posterior.replication._MOST_NUMBERS", 100)
    monkeypatch.setattr("jointmix.posterior.densities._MOST_NUMBERS", 100)
    for call in (
        lambda: predictive_draws(tree),
        lambda: replicate(tree),
        lambda: prior_predictive(table(), STRUCTURES["disjoint"]),
        lambda: predictive_density(tree),
    ):
        with pytest.raises(DataError, match="would need"):
            call()
    assert "responsibility" in responsibilities(tree)


def test_columns_that_cannot_name_variables() -> None:
    names = ["a/b", "a_b", "../x"]
    drawn = replicate(fitted_tree(names=names, n_features=3, n_obs=40), draws=4)
    variables = ["a_b", "a_b_column", ".._x", "y"]
    assert list(drawn["posterior_predictive"].data_vars) == variables
    assert list(drawn["observed_data"].data_vars) == variables
