"""The regressor keeps scikit-learn's habits and gives what the package's own functions give."""

import subprocess
import sys
import warnings
from functools import cache
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pytest
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning, NotFittedError
from sklearn.linear_model import LinearRegression
from sklearn.model_selection import GridSearchCV, KFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import parametrize_with_checks

import jointmix as jm
from jointmix import JointMixtureRegressor, ModelSpec, SamplerSpec, four_clusters
from jointmix.base.errors import DataError, SpecError
from jointmix.model.simulate import simulate
from jointmix.posterior.prediction import fitted_spec, predict

TRUTH = four_clusters()


def rows(n: int, seed: int) -> tuple[pd.DataFrame, pd.Series]:
    table = pd.DataFrame(simulate(TRUTH, n, seed))
    return table[["x1", "x2"]], table["y"]


@cache
def fitted() -> JointMixtureRegressor:
    return JointMixtureRegressor(4, random_state=3).fit(*rows(500, 1))


#: Its tables have 15 rows of 30 columns; `test_weights_count_rows_as_if_repeated` has more.
FEW_ROWS = {
    "check_sample_weight_equivalence_on_dense_data": "a joint density needs more rows than columns"
}


@parametrize_with_checks([JointMixtureRegressor()], expected_failed_checks=lambda _: FEW_ROWS)
def test_scikit_learns_own_checks(estimator: Any, check: Any) -> None:
    with warnings.catch_warnings():
        # The checks' tables have ten rows, or two columns that are one.
        warnings.simplefilter("ignore", ConvergenceWarning)
        warnings.simplefilter("ignore", UserWarning)
        check(estimator)


def test_predictions_are_those_of_the_tree() -> None:
    X, _ = rows(200, 2)
    found = predict(fitted().tree_, X, (0.05, 0.9))
    mean, std = fitted().predict(X, return_std=True)
    np.testing.assert_array_equal(mean, found["mean"])
    np.testing.assert_array_equal(std, found["sd"])
    np.testing.assert_array_equal(fitted().predict(X), mean)
    np.testing.assert_array_equal(fitted().predict_quantiles(X, (0.05, 0.9)), found["quantiles"])
    np.testing.assert_array_equal(fitted().predict_proba(X), found["responsibility"])
    np.testing.assert_array_equal(fitted().score_samples(X), found["log_density"])
    spec = fitted_spec(fitted().tree_)
    assert (spec.features, spec.predictors, spec.response) == (("x1", "x2"), ("x1", "x2"), "y")


def test_the_fit_is_the_packages_own() -> None:
    X, y = rows(500, 1)
    spec = fitted_spec(fitted().tree_)
    tree = jm.fit(X.assign(y=y), spec, seed=3)
    for name, values in tree["posterior"].data_vars.items():
        np.testing.assert_array_equal(values, fitted().tree_["posterior"][name])
    assert fitted().verdict_ == tree.attrs["verdict"] != "OK"


def test_score_is_that_of_a_full_fit_and_beats_one_line() -> None:
    X, y = rows(500, 1)
    new, truth = rows(2_000, 4)
    spec = ModelSpec(
        n_clusters=4,
        features=["x1", "x2"],
        predictors=["x1", "x2"],
        response="y",
        sampler=SamplerSpec(draws=250, tune=500),
    )
    full = predict(jm.fit(X.assign(y=y), spec, seed=5), new)["mean"].to_numpy()
    r2 = 1 - np.mean((truth - full) ** 2) / np.var(truth)
    score = fitted().score(new, truth)
    # The mode and the mean differ by O(1/N) in parameters: less than a hundredth of R².
    assert abs(score - r2) < 0.01
    assert score > LinearRegression().fit(X, y).score(new, truth) + 0.1


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_pipelines_and_searches() -> None:
    X, y = rows(300, 6)
    search = GridSearchCV(
        make_pipeline(StandardScaler(), JointMixtureRegressor(draws=50, random_state=1)),
        {"jointmixtureregressor__n_clusters": [1, 4]},
        cv=KFold(3, shuffle=True, random_state=1),
    ).fit(X, y)
    assert search.best_params_ == {"jointmixtureregressor__n_clusters": 4}
    plain = JointMixtureRegressor(4, draws=50, random_state=1).fit(X, y)
    # The model is fitted to standardised columns either way; what is left is rounding, which the
    # search for the mode stretches to its tolerance.
    np.testing.assert_allclose(search.predict(X), plain.predict(X), atol=1e-3 * y.std())


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_whole_numbers_repeat_a_fit_and_generators_go_on() -> None:
    X, y = rows(100, 7)

    def mean_of(state: object) -> np.ndarray:
        return JointMixtureRegressor(2, draws=10, random_state=state).fit(X, y).predict(X)

    np.testing.assert_array_equal(mean_of(np.int64(4)), mean_of(4))
    generator = np.random.RandomState(4)
    assert (mean_of(generator) != mean_of(generator)).any()


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_columns_without_names_and_names_that_collide() -> None:
    X, y = rows(100, 8)
    plain = JointMixtureRegressor(1, draws=10, random_state=0).fit(X.to_numpy(), y.to_numpy())
    assert fitted_spec(plain.tree_).columns == ("x0", "x1", "y")
    same = X.set_axis(["y", "y_"], axis=1)
    named = JointMixtureRegressor(1, draws=10, random_state=0).fit(same, y)
    assert fitted_spec(named.tree_).columns == ("y", "y_", "y__")
    np.testing.assert_array_equal(named.predict(same), plain.predict(X.to_numpy()))
    with pytest.raises(ValueError, match="feature names should match"):
        named.predict(X)


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_one_cluster_has_no_classes() -> None:
    X, y = rows(100, 9)
    one = JointMixtureRegressor(1, draws=10).fit(X, y)
    assert not hasattr(one, "predict_proba")
    assert hasattr(fitted(), "predict_proba")
    np.testing.assert_allclose(fitted().predict_proba(X).sum(1), 1, rtol=1e-14)


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_few_rows_carry_few_clusters() -> None:
    X, y = rows(20, 10)
    with pytest.warns(
        UserWarning, match=r"n_clusters=9 needs at least \d+ rows .* got 20; fitting"
    ):
        small = JointMixtureRegressor(9, draws=10, random_state=1).fit(X, y)
    assert 1 <= small.n_clusters_ < 9
    assert small.tree_["posterior"].sizes["cluster"] == small.n_clusters_
    assert small.n_clusters == 9


def test_a_fit_not_to_be_used_says_so() -> None:
    rng = np.random.default_rng(11)
    x = rng.normal(size=60)
    y = x.round()
    with pytest.warns(ConvergenceWarning, match="DO NOT USE: .+"):
        found = JointMixtureRegressor(6, draws=10, random_state=1).fit(x[:, None], y)
    assert found.verdict_ == "DO NOT USE"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"n_clusters": 0}, "n_clusters"),
        ({"n_clusters": 2.5}, "n_clusters"),
        ({"covariance": "round"}, "covariance"),
        ({"sampler": "guess"}, "sampler"),
        ({"draws": 0}, "draws"),
        ({"starts": -1}, "starts"),
        ({"priors": "flat"}, "priors"),
    ],
)
def test_parameters_out_of_range(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(SpecError, match=message):
        JointMixtureRegressor(**arguments).fit(*rows(60, 12))


def test_tables_that_cannot_be_fitted() -> None:
    X, y = rows(60, 13)
    with pytest.raises(DataError, match="'y'"):
        JointMixtureRegressor(2).fit(X, 0 * y)
    with pytest.raises(DataError, match="x2"):
        JointMixtureRegressor(2).fit(X.assign(x2=X["x1"]), y)
    with pytest.raises(ValueError, match="NaN"):
        JointMixtureRegressor(2).fit(X.where(X["x1"] > 0), y)
    with pytest.raises(NotFittedError):
        JointMixtureRegressor(2).predict(X)
    with pytest.raises(SpecError, match="quantile"):
        fitted().predict_quantiles(X, (0.5, 1.5))


def test_clones_are_not_fitted() -> None:
    again = clone(fitted())
    assert again.get_params() == fitted().get_params()
    assert not hasattr(again, "tree_")


def test_without_scikit_learn_it_says_what_to_install() -> None:
    code = (
        "import sys; sys.modules['sklearn'] = None\n"
        "import jointmix\n"
        "try:\n    jointmix.JointMixtureRegressor\n"
        "except jointmix.JointmixError as error:\n    print(type(error).__name__, error)\n"
    )
    said = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    ).stdout
    assert said == (
        "MissingExtraError JointMixtureRegressor needs the extra sklearn: "
        "pip install 'jointmix[sklearn]'.\n"
    )


def wards(n: int, seed: int) -> tuple[pd.DataFrame, np.ndarray]:
    rng = np.random.default_rng(seed)
    z = rng.integers(2, size=n)
    table = pd.DataFrame(
        {"ward": rng.choice(["south", "north"], n), "x": rng.normal(6.0 * z, 1.0), "b": z > 2}
    )
    table["b"] = rng.random(n) < 0.5
    y = table["x"] + np.where(table["ward"] == "south", 4.0, 0.0) + rng.normal(0, 0.3, n)
    return table, y.to_numpy()


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.filterwarnings("ignore:X does not have valid feature names")
@pytest.mark.parametrize("kind", ["words", "category", "polars"])
def test_columns_of_words_are_factors(kind: str) -> None:
    X, y = wards(120, 1)
    X = X[["ward", "x"]]
    given: Any = X.astype({"ward": "category"}) if kind == "category" else X
    given = pl.DataFrame(X.to_dict("list")) if kind == "polars" else given
    found = JointMixtureRegressor(2, draws=10, random_state=1).fit(given, y)
    spec = fitted_spec(found.tree_)
    assert (spec.features, spec.predictors) == (("x",), ("ward[south]", "x"))
    assert found.n_features_in_ == 2
    assert found.feature_names_in_.tolist() == ["ward", "x"]
    slope = found.tree_["posterior"]["slope"].sel(predictor="ward[south]").mean(("chain", "draw"))
    # Twice the standard error of a difference of noise .3 in two groups of about 30.
    np.testing.assert_allclose(slope, 4, atol=0.2)
    mean = predict(found.tree_, X.head(5))["mean"]
    np.testing.assert_array_equal(found.predict(given[:5]), mean)
    with pytest.raises(DataError, match=r"'east' in row 0 .*, which no row of the fit has"):
        found.predict(pd.DataFrame({"ward": ["east"], "x": [1.0]}))
    with pytest.raises(DataError, match="needs such a table again"):
        found.predict(np.zeros((2, 2)))
    with pytest.raises(ValueError, match="feature names should match"):
        found.predict(X.rename(columns={"ward": "place"}))


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_words_alone_cluster_nothing() -> None:
    X, y = wards(60, 2)
    found = JointMixtureRegressor(1, draws=10, random_state=1).fit(X[["ward"]], y)
    assert fitted_spec(found.tree_).features == ()
    assert found.predict(X[["ward"]]).std() > 1
    np.testing.assert_array_equal(found.score_samples(X[["ward"]]), 0)


@pytest.mark.filterwarnings("ignore:X does not have valid feature names")
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_weights_count_rows_as_if_repeated() -> None:
    X, y = rows(80, 14)
    weight = np.random.default_rng(3).integers(0, 3, 80)
    one = JointMixtureRegressor(1, draws=50, random_state=1)
    weighed = clone(one).fit(X, y, sample_weight=weight)
    repeated = clone(one).fit(np.repeat(X, weight, axis=0), np.repeat(y, weight))
    assert fitted_spec(weighed.tree_).row_weights == "sample_weight"
    # EM and the curvature sum the same terms in another order.
    np.testing.assert_allclose(
        weighed.predict(X.to_numpy()), repeated.predict(X.to_numpy()), rtol=1e-9
    )
    with pytest.raises(DataError, match="negative"):
        one.fit(X, y, sample_weight=weight - 1.0)
