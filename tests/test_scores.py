"""Scores: against ArviZ, numerical integration, fits made without the rows, planted outliers."""

from itertools import pairwise

import arviz_stats
import numpy as np
import pandas as pd
import pytest
import xarray as xr
from densities import blocks_of
from hypothesis import given
from hypothesis import strategies as st
from scipy.integrate import quad
from scipy.stats import kstest, norm
from synthetic import fitted_tree

import jointmix as jm
from jointmix.base.errors import SpecError
from jointmix.families.parameters import Parameters
from jointmix.families.rows import Rows
from jointmix.fitting.crossvalidation import kfold, reloo, stratified
from jointmix.kernel.pit_crps import pit_crps
from jointmix.model.simulate import four_clusters, simulate
from jointmix.posterior.densities import log_density
from jointmix.posterior.scores import loo

QUICK = jm.SamplerSpec(draws=200, tune=200, chains=2, starts=8)


@pytest.fixture(scope="module")
def tree(_four_cluster_fit: xr.DataTree) -> xr.DataTree:
    return _four_cluster_fit


@pytest.mark.kernel
@pytest.mark.parametrize("seed", range(12))
def test_pit_and_crps_by_integration(seed: int) -> None:
    rng = np.random.default_rng(seed)
    n_draws, n, k = 60, 3, 3
    log_weight = rng.normal(0, 2, (n_draws, n, k))
    # Clusters far apart or near, draws that differ by a tenth of an sd or by several.
    place = rng.normal(0, 10.0 ** rng.integers(0, 3), k)
    center = place + rng.normal(0, 10.0 ** rng.uniform(-2, 0.5), (n_draws, n, k))
    sigma = np.exp(rng.normal(0, rng.uniform(0.02, 0.5), (n_draws, k)))
    y = center[0, :, 0] + rng.normal(0, 2, n)
    # A predictor for each row, so that each has centres of its own.
    parameters = Parameters(
        weight=np.full((n_draws, k), 1 / k), intercept=np.zeros((n_draws, k)),
        slope=np.swapaxes(center, 1, 2).copy(), sigma=sigma,
    )  # fmt: skip
    pit, crps = pit_crps(
        Rows(np.zeros((n, 0)), np.eye(n), y), log_weight, parameters, blocks_of(parameters)[-1]
    )
    for row in range(n):
        weight = np.exp(log_weight[:, row])
        weight /= weight.sum()

        def below(t: float) -> float:
            return float((weight * norm.cdf(t, center[:, row], sigma)).sum())  # noqa: B023

        assert pit[row] == pytest.approx(below(y[row]), abs=1e-12)
        low, high = center[:, row].min() - 40, center[:, row].max() + 40
        low, high = min(low, y[row]), max(high, y[row])
        cuts = np.unique([low, high, y[row], *np.linspace(low, high, 40)])
        score = 0.0
        for a, b in pairwise(cuts):
            past = a >= y[row]
            score += quad(lambda t, past=past: (below(t) - past) ** 2, a, b, limit=200)[0]
        # Bins of a tenth of an sd, moments kept: errors of their cube.
        assert crps[row] == pytest.approx(score, abs=2e-4)


def test_as_arviz_has_it(tree: xr.DataTree) -> None:
    scores = loo(tree)
    density = log_density(tree)
    for kind in ("joint", "feature"):
        holder = xr.DataTree.from_dict(
            {
                "posterior": tree["posterior"].to_dataset(),
                "log_likelihood": density[[kind]],
            }
        )
        theirs = arviz_stats.loo(holder, var_name=kind, pointwise=True, reff=1.0)
        if kind == "joint":
            # Up to the search of their Pareto fit.
            assert scores.table.loc["joint", "elpd"] == pytest.approx(theirs.elpd, abs=1e-6)
            assert scores.table.loc["joint", "se"] == pytest.approx(theirs.se, rel=0.01)
            assert scores.table.loc["joint", "p"] == pytest.approx(theirs.p, abs=1e-6)
            np.testing.assert_allclose(scores.pointwise["pareto_k"], theirs.pareto_k, atol=1e-6)
        else:
            # Their weights leave out the features alone: near, as the rows have little influence.
            assert scores.table.loc["feature", "elpd"] == pytest.approx(theirs.elpd, abs=2)
    pointwise = scores.pointwise
    total = pointwise["feature"] + pointwise["conditional"]
    np.testing.assert_allclose(pointwise["joint"], total, rtol=1e-12)
    assert scores.table["subsampling_se"].eq(0).all()


def test_arviz_compares_and_plots(tree: xr.DataTree) -> None:
    other = tree.copy(deep=True)
    sigma = other["posterior"]["sigma"].values
    sigma *= 2
    both = {"a": loo(tree).elpd_data(), "b": loo(other).elpd_data()}
    assert list(arviz_stats.compare(both).index) == ["a", "b"]
    conditional = loo(tree).elpd_data("conditional")
    assert conditional.elpd_i.dims == ("obs",)
    with pytest.raises(SpecError, match="kind must be one of"):
        loo(tree).elpd_data("margin")
    with pytest.raises(SpecError, match="every row"):
        loo(tree, most_rows=10).elpd_data()


def test_a_true_model_is_calibrated(four_cluster_fit: xr.DataTree) -> None:
    scores = loo(four_cluster_fit)
    assert kstest(scores.pointwise["pit"].values, "uniform").pvalue > 1e-3
    # sigma is 0.5 and clusters are clear: CRPS of N(0, σ²) is σ / √π on average.
    assert float(scores.pointwise["crps"].mean()) == pytest.approx(0.5 / np.sqrt(np.pi), rel=0.15)
    assert "Central 90% intervals of y given x hold" in str(scores)


@pytest.mark.parametrize(
    ("options", "kinds"),
    [
        ({"response": None}, ["joint", "feature"]),
        ({"n_features": 0, "predictors": ["p"]}, ["joint", "conditional"]),
    ],
)
def test_models_without_one_of_the_two(options: dict[str, object], kinds: list[str]) -> None:
    scores = loo(fitted_tree(n_clusters=2, seed=3, **options))
    assert list(scores.table.index) == kinds
    assert ("pit" in scores.pointwise) == ("conditional" in kinds)
    assert scores.table["elpd"].round(6).nunique() == 1


def test_some_rows_stand_for_all(tree: xr.DataTree) -> None:
    few = tree.isel(draw=slice(None, None, 5), missing_dims="ignore")
    whole, gaps, errors = loo(few).table["elpd"], [], []
    for seed in range(40):
        part = loo(few, most_rows=100, seed=seed)
        assert part.pointwise.sizes["obs"] == 100
        gap = part.table["elpd"] - whole
        gaps.append(gap.to_numpy())
        errors.append(part.table["subsampling_se"].to_numpy())
        assert np.abs(gap).max() < 0.02 * abs(whole).max()
    # The variance is what the estimate has no bias for: a part without one of the few rows that
    # matter has a small error too. Over 40 parts the root of its mean has a standard error of 0.11.
    ratio = np.sqrt(np.mean(np.square(gaps), axis=0) / np.mean(np.square(errors), axis=0))
    assert (ratio > 0.67).all()
    assert (ratio < 1.33).all()
    assert "100 of 400 rows were left out" in part.text


@pytest.fixture(scope="module")
def outlier() -> tuple[pd.DataFrame, xr.DataTree]:
    """Two clusters, and a row far from both, the third of those that are complete."""
    rng = np.random.default_rng(2)
    x = np.concatenate([rng.normal(-3, 1, 40), rng.normal(3, 1, 40)])
    table = pd.DataFrame({"x": x, "y": x + rng.normal(size=80)})
    table.loc[3] = (3.0, 40.0)
    table.loc[1, "x"] = np.nan
    spec = jm.ModelSpec(
        n_clusters=2, features=["x"], predictors=["x"], response="y", sampler=QUICK, missing="drop"
    )
    return table, jm.fit(table, spec, seed=1)


def test_influential_rows_are_named_and_left_out(
    outlier: tuple[pd.DataFrame, xr.DataTree],
) -> None:
    table, tree = outlier
    scores = loo(tree)
    assert scores.influential["row"].iloc[0] == 3
    assert scores.influential.index[0] == 3
    assert scores.influential["place"].iloc[0] == 2
    assert "in table row" in scores.text
    again = reloo(tree, scores)
    assert again.influential.empty
    assert again.method == "loo with refits"
    spec = jm.ModelSpec(n_clusters=2, features=["x"], predictors=["x"], response="y", sampler=QUICK)
    without = jm.fit(table.drop(index=[1, 3]), spec, seed=1)
    alone = log_density(without, table.loc[[3]])["joint"].values.ravel()
    exact = np.log(np.mean(np.exp(alone - alone.max()))) + alone.max()
    assert float(again.pointwise["joint"][2]) == pytest.approx(exact, abs=1e-9)
    # The approximation is optimistic.
    assert exact < float(scores.pointwise["joint"][2]) - 1
    kept = np.setdiff1d(np.arange(79), scores.influential["place"])
    np.testing.assert_array_equal(again.pointwise["joint"][kept], scores.pointwise["joint"][kept])
    assert reloo(tree, again) is again
    with pytest.raises(SpecError, match="use kfold, or raise most_refits"):
        reloo(tree, scores, most_refits=0)
    with pytest.raises(SpecError, match="scores of every row"):
        reloo(tree, loo(tree, most_rows=20))


def test_folds_agree_with_leaving_one_out() -> None:
    truth = four_clusters(2, 1)
    table = simulate(truth, 150, seed=4)
    spec = jm.ModelSpec(
        n_clusters=2, features=["x1"], predictors=["x1"], response="y", sampler=QUICK
    )
    tree = jm.fit(table, spec, seed=2)
    one, folds = loo(tree), kfold(tree, folds=5)
    for kind in ("joint", "feature", "conditional"):
        gap = (folds.pointwise[kind] - one.pointwise[kind]).values
        # Five folds take a fifth of the rows away: their fits are a little worse.
        assert abs(gap.sum()) < 4 * np.sqrt(len(gap) * gap.var()) + 2
    assert folds.pointwise["pareto_k"].isnull().all()
    assert kstest(folds.pointwise["pit"].values, "uniform").pvalue > 1e-3
    assert folds.method == "5-fold cross-validation"


@pytest.mark.parametrize("folds", [1, 10**6])
def test_folds_out_of_range(tree: xr.DataTree, folds: int) -> None:
    with pytest.raises(SpecError, match="folds must"):
        kfold(tree, folds)


@given(st.lists(st.integers(0, 3), min_size=5, max_size=80), st.integers(2, 5), st.integers(0, 99))
def test_folds_share_out_every_cluster(allocation: list[int], folds: int, seed: int) -> None:
    labels = np.array(allocation)
    places = stratified(labels, folds, seed)
    assert sorted(np.concatenate(places)) == list(range(len(labels)))
    for cluster in range(4):
        counts = [int((labels[place] == cluster).sum()) for place in places]
        assert max(counts) - min(counts) <= 1


def test_too_few_rows_asked_for(tree: xr.DataTree) -> None:
    with pytest.raises(SpecError, match="most_rows"):
        loo(tree, most_rows=1)
