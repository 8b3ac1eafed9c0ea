"""Draws weighed by p(x): y given x as the joint density has it, against sums over all draws."""

import warnings
from functools import cache

import numpy as np
import oracles
import pytest
import xarray as xr
from scipy.special import logsumexp
from test_prediction import WITH_RESPONSE, by_role, draws_of, feature_share, new_table, tree_of

import jointmix as jm
from jointmix.base.errors import PrecisionWarning, SpecError
from jointmix.posterior.draws import fitted_spec

pytestmark = pytest.mark.filterwarnings("ignore::jointmix.base.errors.PrecisionWarning")


@cache
def far_table(structure: str) -> dict[str, np.ndarray]:
    """Rows within the fit's, and four of its standard deviations beyond them."""
    table, tree = dict(new_table(structure)), tree_of(structure)
    x = tree["observed_data"]["x"].values if "x" in tree["observed_data"] else np.zeros((2, 0))
    for j, name in enumerate(fitted_spec(tree).features):
        table[name] = table[name] + np.where(np.arange(8) < 4, 0, 4 * x[:, j].std())
    # Where p(y | x) is all but zero, the parts of less than 1e-15 that are left out would show.
    near = jm.predict(tree, table, 0.3, weighting="joint")["quantiles"]
    return table | {"y": near.values[:, 0]}


def parts_of(structure: str, table: dict[str, np.ndarray]) -> tuple[np.ndarray, ...]:
    """Draws' weights (draw, obs); p(k | x), lines and sigma, (draw, obs, cluster)."""
    x, u, _ = by_role(structure, table)
    values = draws_of(structure)
    density = np.array(
        [logsumexp(np.log(v["weight"]) + oracles.feature_terms(v, x), axis=1) for v in values]
    )
    share = np.array([feature_share(v, x) for v in values])
    line = np.array([v["intercept"] + u @ v["slope"].T for v in values])
    sigma = np.array([np.broadcast_to(v["sigma"], line.shape[1:]) for v in values])
    return np.exp(density - logsumexp(density, axis=0)), share, line, sigma


@pytest.mark.parametrize("structure", WITH_RESPONSE)
def test_the_conditional_density_is_joint_over_features(structure: str) -> None:
    tree, table = tree_of(structure), far_table(structure)
    found = jm.log_density(tree, table)
    both, given = (
        logsumexp(found[name].values.reshape(-1, 8), axis=0) for name in ("joint", "feature")
    )
    height = jm.predictive_density(tree, table, table["y"], weighting="joint")
    np.testing.assert_allclose(np.log(np.diagonal(height)), both - given, rtol=1e-10, atol=1e-10)
    # x given: the mean over draws of p(y | x).
    alike = logsumexp(found["conditional"].values.reshape(-1, 8), axis=0) - np.log(120)
    height = jm.predictive_density(tree, table, table["y"])
    # Parts of less than 1e-15 are left out.
    np.testing.assert_allclose(np.diagonal(height), np.exp(alike), rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize("structure", WITH_RESPONSE)
def test_moments_shares_and_quantiles_are_weighted_sums(structure: str) -> None:
    table = far_table(structure)
    weight, share, line, sigma = parts_of(structure, table)
    each = weight[..., None] * share
    result = jm.predict(tree_of(structure), table, (0.05, 0.9), weighting="joint")
    mean = (each * line).sum((0, 2))
    np.testing.assert_allclose(result["mean"], mean, rtol=1e-10)
    variance = (each * (sigma**2 + (line - mean[:, None]) ** 2)).sum((0, 2))
    np.testing.assert_allclose(result["sd"] ** 2, variance, rtol=1e-9)
    parts = ("variance_within", "variance_between", "variance_parameters")
    np.testing.assert_allclose(sum(result[name] for name in parts), variance, rtol=1e-9)
    np.testing.assert_allclose(result["responsibility"], each.sum(0), atol=1e-11)
    np.testing.assert_allclose(result["effective_draws"], 1 / (weight**2).sum(0), rtol=1e-9)
    x, u, _ = by_role(structure, table)
    for p in (0.05, 0.9):
        at = result["quantiles"].sel(quantile=p).values
        below = [oracles.conditional_cdf(v, x, u, at) for v in draws_of(structure)]
        np.testing.assert_allclose((weight * below).sum(0), p, atol=1e-9)
    alike = jm.predict(tree_of(structure), table)
    np.testing.assert_array_equal(result["log_density"], alike["log_density"])
    assert "effective_draws" not in alike
    if structure == "no features":
        np.testing.assert_allclose(result["mean"], alike["mean"], rtol=1e-12)
        np.testing.assert_allclose(result["effective_draws"], 120, rtol=1e-12)
    else:
        assert not np.allclose(result["mean"], alike["mean"], rtol=1e-6)


def test_features_that_are_missing_weigh_nothing() -> None:
    tree, table = tree_of("equal"), far_table("equal")
    some = {**table, "x1": np.full(8, np.nan)}
    result, heights = jm.predict(tree, some, (), weighting="joint"), []
    for v in draws_of("equal"):
        terms = oracles.feature_terms(
            {**v, "mean": v["mean"][:, 1:], "covariance": v["covariance"][:, 1:, 1:]},
            table["x2"][:, None],
        )
        heights.append(np.exp(logsumexp(np.log(v["weight"]) + terms, axis=1)))
    weight = np.array(heights) / np.sum(heights, axis=0)
    np.testing.assert_allclose(result["effective_draws"], 1 / (weight**2).sum(0), rtol=1e-9)
    none = {**some, "x2": np.full(8, np.nan)}
    xr.testing.assert_allclose(
        jm.predict(tree, none, weighting="joint").drop_vars("effective_draws"),
        jm.predict(tree, none),
        rtol=1e-12,
    )


def test_draws_follow_the_weights() -> None:
    tree, table, n = tree_of("overlapping"), far_table("overlapping"), 200
    far = {name: np.repeat(values[[0, 6]], n) for name, values in table.items()}
    drawn = jm.predictive_draws(tree, far, weighting="joint").values.reshape(120, 2, n)
    y = drawn.swapaxes(0, 1).reshape(2, -1)
    expected = jm.predict(tree, table, (), weighting="joint").isel(obs=[0, 6])
    alike = jm.predict(tree, table, ()).isel(obs=[0, 6])
    # Four standard errors of a mean of independent values; resampling only makes them more even.
    error = expected["sd"].values / np.sqrt(y.shape[1])
    assert (np.abs(y.mean(1) - expected["mean"].values) < 4 * error).all()
    assert np.abs(y.mean(1) - alike["mean"].values)[1] > 4 * error[1]


def test_few_effective_draws_are_told() -> None:
    tree, table = tree_of("equal"), {"x1": [0.0, 60.0], "x2": [0.0, 60.0]}
    with pytest.warns(PrecisionWarning, match=r"2 of 2 rows rest on fewer than 100 effective"):
        jm.predict(tree, table, weighting="joint")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        jm.predict(tree, table)


@pytest.mark.parametrize("function", [jm.predict, jm.predictive_density, jm.predictive_draws])
def test_a_weighting_that_is_none(function: object) -> None:
    with pytest.raises(SpecError, match="weighting must be one of equal, joint; got 'draws'"):
        function(tree_of("equal"), weighting="draws")
