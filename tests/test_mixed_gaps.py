"""Features of levels with missing entries: their factor drops out of the row's density."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from scipy.special import logsumexp

import jointmix as jm
from jointmix.base.errors import DataError
from jointmix.families.mixture import component_log_density, log_likelihood
from jointmix.kernel.entry import value_and_gradient
from jointmix.kernel.problem import make_problem, n_free
from jointmix.kernel.values import parameters as expanded
from jointmix.model.dataset import make_dataset
from jointmix.model.packing import packed
from jointmix.modes.em import fit_em
from jointmix.posterior.draws import fitted_spec, observed_rows, posterior_parameters
from jointmix.validation.agreement.comparison import Comparison
from jointmix.validation.agreement.plain_sides import kernel_side, numpy_side, scipy_side
from jointmix.validation.agreement.problem import Problem, random_points

LEVELS = ("high", "low", "mid")


def table_of(n: int = 120, gaps: bool = True) -> pd.DataFrame:
    """Two clusters in two numbers and a word, with holes in all columns."""
    rng = np.random.default_rng(5)
    z = rng.integers(2, size=n)
    x = rng.normal(size=(n, 2)) + 3 * z[:, None]
    word = np.array(LEVELS, dtype=object)[np.where(rng.random(n) < 0.8, z, 2)]
    y = x[:, 0] * np.where(z == 1, -1, 1) + 0.3 * rng.normal(size=n)
    table = pd.DataFrame({"a": x[:, 0], "b": x[:, 1], "word": word, "y": y})
    if gaps:
        for name, rows in {"word": [0, 3, 5], "a": [1, 3], "y": [2, 3], "b": [4]}.items():
            table.loc[rows, name] = None if name == "word" else np.nan
    return table


def spec_of(**options: object) -> jm.ModelSpec:
    given: dict = {"n_clusters": 2, "features": ["a", "b", "word"], "predictors": ["a"],
                   "response": "y", "missing": "model",
                   "sampler": jm.SamplerSpec(sampler="laplace", draws=200, chains=2, starts=4),
                   **options}  # fmt: skip
    return jm.ModelSpec(**given)


@pytest.fixture(scope="module")
def tree() -> xr.DataTree:
    return jm.fit(table_of(), spec_of(), seed=1, progress=False)


def test_the_density_is_the_sum_over_levels(tree: xr.DataTree) -> None:
    spec, table = fitted_spec(tree), table_of()
    parameters = posterior_parameters(tree).take([0, 7])
    rows = [0, 3, 5]

    def density(word: pd.Series) -> np.ndarray:
        dataset = make_dataset(table.assign(word=word), spec, demand="density")
        return component_log_density(spec.blocks, dataset.users_rows, parameters)[:, rows]

    found = density(table["word"])
    each = [density(table["word"].fillna(level)) for level in LEVELS]
    np.testing.assert_allclose(found, logsumexp(each, axis=0), rtol=1e-12)


def test_the_kernel_has_the_density_of_levels_and_counts_beside_holes() -> None:
    """Against SciPy, also where a pattern lacks a feature and has the word: all levels count."""
    table = table_of().assign(visits=np.random.default_rng(6).poisson(2.0, size=120) * 1.0)
    table.loc[[1, 7], "visits"] = np.nan
    features = {"a": "normal", "b": "normal", "word": "categorical", "visits": "poisson"}
    problem = Problem(make_dataset(table, spec_of(features=features)), None)
    sides = [kernel_side(problem), numpy_side(problem), scipy_side(problem)]
    q = random_points(problem, np.zeros(problem.dim), 30, seed=1)
    differences = Comparison(problem, sides).run(q)
    assert all(item.agrees for item in differences), differences
    assert {"total", "x[word]", "x[visits]"} <= {item.term for item in differences}


def test_gradients_are_those_of_differences() -> None:
    dataset = make_dataset(table_of(), spec_of())
    problem = make_problem(dataset)
    point = np.random.default_rng(2).normal(0, 0.4, n_free(dataset.spec))
    value, gradient = value_and_gradient(problem, point)
    step = 1e-5
    for i in range(len(point)):
        ahead, behind = point.copy(), point.copy()
        ahead[i] += step
        behind[i] -= step
        slope = value_and_gradient(problem, ahead)[0] - value_and_gradient(problem, behind)[0]
        # Differences of the log density carry its rounding, 1e-16 of it, over the step.
        bound = 1e-7 * abs(gradient[i]) + 1e-14 * abs(value) / step
        assert abs(slope / (2 * step) - gradient[i]) < bound


def test_em_climbs_and_takes_what_rows_have() -> None:
    census = fit_em(table_of(), spec_of(), seed=2)
    whole = fit_em(table_of(gaps=False), spec_of(), seed=2)
    found, other = (each.best.parameters["probability_word"] for each in (census, whole))
    order = np.argsort(census.best.parameters["mean"][:, 0])
    turned = np.argsort(whole.best.parameters["mean"][:, 0])
    # Three of 120 words are missing: each moves a share of about 60 rows by 1/60 at most.
    np.testing.assert_allclose(found[order], other[turned], atol=3 / 60)


def test_imputed_levels_are_bayes_rule(tree: xr.DataTree) -> None:
    spec = fitted_spec(tree)
    found = jm.impute(tree)
    assert found["obs_word"].values.tolist() == [0, 3, 5]
    assert found["level_word"].values.tolist() == list(LEVELS)
    parameters = posterior_parameters(tree)
    rows = observed_rows(tree, spec).take(np.array([0, 3, 5]))
    joint = component_log_density(spec.blocks, rows, parameters)
    share = np.exp(joint - logsumexp(joint, axis=-1, keepdims=True))
    by_hand = np.einsum("snk,skl->nl", share, parameters["probability_word"]) / len(share)
    np.testing.assert_allclose(found["probability_word"].values, by_hand, rtol=1e-10)
    assert set(found["column"].values) == {"a", "b", "y"}


def test_levels_are_drawn_as_often_as_is_stated(tree: xr.DataTree) -> None:
    found = jm.impute(tree)
    codes = found["draws_word"].values.reshape(-1, 3)
    assert codes.dtype.kind == "i"
    for drawn, stated in zip(codes.T, found["probability_word"].values, strict=True):
        share = np.bincount(drawn, minlength=3) / len(drawn)
        # The binomial standard error; that of draws of which each has its own chances is smaller.
        assert (abs(share - stated) < 4.5 * np.sqrt(stated * (1 - stated) / len(drawn))).all()


def test_drawn_levels_and_numbers_share_the_drawn_cluster() -> None:
    """Row 7 lacks all but y, which either cluster may have: E[a 1(word)] by hand and of draws."""
    table = table_of()
    table.loc[7, ["a", "b"]], table.loc[7, "word"], table.loc[7, "y"] = np.nan, None, -1.5
    tree = jm.fit(table, spec_of(), seed=1, progress=False)
    spec, found, parameters = fitted_spec(tree), jm.impute(tree), posterior_parameters(tree)
    row = observed_rows(tree, spec).take(np.array([7]))
    joint = component_log_density(spec.blocks, row, parameters)[:, 0]
    share = np.exp(joint - logsumexp(joint, axis=-1, keepdims=True))
    assert 0.05 < share[:, 0].mean() < 0.95
    # a given y = b + θa + e: the regression of a on y.
    slope, variance = parameters.slope[..., 0], np.square(parameters.cholesky[..., 0, 0])
    gain = variance * slope / (slope**2 * variance + parameters["sigma"] ** 2)
    at = parameters.intercept + slope * parameters.mean[..., 0]
    center = parameters.mean[..., 0] + gain * (-1.5 - at)
    expected = np.einsum("sk,skl,sk->l", share, parameters["probability_word"], center)
    (place,) = np.flatnonzero((found["obs"].values == 7) & (found["column"].values == "a"))
    number = found["draws"].values[..., place].ravel()
    (word,) = np.flatnonzero(found["obs_word"].values == 7)
    both = number[:, None] * (
        found["draws_word"].values[..., [word]].reshape(-1, 1) == np.arange(3)
    )
    error = both.std(axis=0) / np.sqrt(len(both))
    assert (abs(both.mean(axis=0) - expected / len(both)) < 4.5 * error).all()


def test_replicates_and_checks_keep_the_holes(tree: xr.DataTree) -> None:
    drawn = jm.replicate(tree, 5)
    group = drawn["posterior_predictive"].to_dataset()
    holes = group["word"].isnull().all(("chain", "draw")).values
    assert np.flatnonzero(holes).tolist() == [0, 3, 5]
    checked = jm.predictive_checks(drawn)
    assert not checked.isna().any(axis=None)
    assert "share[word, low]" in set(checked.index)


def test_a_saved_fit_and_its_report_have_the_holes(tree: xr.DataTree, tmp_path: Path) -> None:
    loaded = jm.load(jm.save(tree, tmp_path / "f.nc"))
    xr.testing.assert_equal(jm.impute(loaded), jm.impute(tree))
    page = jm.report(loaded, tmp_path / "r.md", sections=["data"]).read_text("utf-8")
    assert "| word | feature |" in page
    assert "What rows miss" in page


def test_missing_factors_that_are_no_features_are_refused() -> None:
    with pytest.raises(DataError, match=r"'word' has missing entries.* make it a feature too"):
        jm.fit(table_of(), spec_of(features=["a", "b"], predictors=["a", "word"]), progress=False)


def test_check_says_what_would_be_kept() -> None:
    found = jm.check(table_of(), spec_of(missing="drop"))
    assert any("6 of them enter too" in issue.remedy for issue in found.issues)


def test_check_promises_no_rows_of_a_table_that_the_model_refuses() -> None:
    """Of six rows with holes three lack the word, a factor: if it is no feature, they go."""
    own = {"features": ["a", "b"], "predictors": ["a", "word"]}
    spec, table = spec_of(missing="drop", **own), table_of()
    found = {issue.code: issue for issue in jm.check(table, spec, em=False).issues}
    said = found["rows_left_out"].remedy
    assert said.startswith("With missing=\"model\", once rows without 'word' are out, 3 of them")
    model = spec_of(**own)
    with pytest.raises(DataError, match="make it a feature too"):
        make_dataset(table, model)
    rows = make_dataset(table.dropna(subset=["word"]), model).row
    assert len(rows) == len(table.dropna()) + 3
    spec = replace(spec, features=["a", "b", "word"])
    found = {issue.code: issue for issue in jm.check(table, spec, em=False).issues}
    assert "6 of them enter too" in found["rows_left_out"].remedy
    rows = make_dataset(table, replace(spec, missing="model")).row
    assert len(rows) == len(table.dropna()) + 6


def test_the_kernel_of_rows_with_holes_is_the_mixtures_density() -> None:
    """The kernel less the rows' density is the prior, which knows of no holes."""
    priors = []
    for gaps in (True, False):
        dataset = make_dataset(table_of(gaps=gaps), spec_of())
        problem = make_problem(dataset)
        point = np.random.default_rng(2).normal(0, 0.4, n_free(dataset.spec))
        at = packed(expanded(problem, dataset.spec, point), dataset.spec)
        rows = log_likelihood(component_log_density(dataset.blocks, dataset.rows, at))
        priors.append(value_and_gradient(problem, point)[0] - rows.sum())
    # Rounding of totals of a thousand.
    assert priors[0] == pytest.approx(priors[1], abs=1e-9)
