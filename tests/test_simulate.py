"""Simulated tables have the moments that their truth says."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from jointmix.base.errors import DataError, SpecError
from jointmix.model.settings import SamplerSpec
from jointmix.model.simulate import four_clusters, simulate
from jointmix.model.spec import ModelSpec
from jointmix.model.truth import Truth
from jointmix.modes.em import fit_em

N = 20_000


def test_features_of_a_response_s_family_are_told_what_to_do() -> None:
    with pytest.raises(
        SpecError, match=r"The feature 'x' cannot be gamma, which responses.*make it one of these"
    ):
        ModelSpec(n_clusters=2, features={"x": "gamma"})


def truth(**changes: object) -> Truth:
    parts = {
        "weight": [0.2, 0.8],
        "mean": [[0.0, 10.0], [50.0, -5.0]],
        "covariance": [[[1.0, 0.6], [0.6, 2.0]], [[4.0, -1.0], [-1.0, 1.0]]],
        "intercept": [3.0, -1.0],
        "slope": [[2.0, 0.5], [-1.0, 1.5]],
        "sigma": [0.3, 0.7],
        "features": ["x1", "x2"],
        "predictors": ["x2", "u"],
        "response": "y",
    }
    return Truth(**(parts | changes))


def test_the_original_example() -> None:
    original = four_clusters()
    np.testing.assert_array_equal(original.mean, [[1, 1], [1, -1], [-1, 1], [-1, -1]])
    np.testing.assert_array_equal(original.slope, [[1, 4], [3, 2], [4, 1], [-3, -2]])
    np.testing.assert_array_equal(original.covariance, [0.1 * np.eye(2)] * 4)
    np.testing.assert_array_equal(original.weight, [0.25] * 4)
    np.testing.assert_array_equal(original.intercept, [0] * 4)
    np.testing.assert_array_equal(original.sigma, [0.5] * 4)
    assert original.features == original.predictors == ("x1", "x2")
    assert original.response == "y"


@pytest.mark.parametrize(("k", "d"), [(1, 1), (2, 1), (7, 1), (5, 2), (20, 2), (8, 10), (3, 30)])
def test_clusters_of_the_larger_examples_stay_apart(k: int, d: int) -> None:
    made = four_clusters(k, d)
    assert made.mean.shape == made.slope.shape == (k, d)
    gaps = np.linalg.norm(made.mean[:, None] - made.mean[None], axis=-1)[~np.eye(k, dtype=bool)]
    assert k == 1 or gaps.min() >= 2
    assert len({tuple(row) for row in made.slope.tolist()}) == k
    np.testing.assert_array_equal(made.slope, four_clusters(k, d).slope)


def test_moments_within_each_cluster() -> None:
    made = truth()
    table = simulate(made, N, seed=11)
    assert list(table.columns) == ["x1", "x2", "u", "y", "cluster"]
    # Bounds of 4.5 standard errors: 30 comparisons then fail by chance once in 5,000 seeds.
    share = (table["cluster"] == 0).mean()
    assert share == pytest.approx(0.2, abs=4.5 * np.sqrt(0.2 * 0.8 / N))
    for k, rows in table.groupby("cluster"):
        n, sd = len(rows), np.sqrt(np.diagonal(made.covariance[k]))
        mean = rows[["x1", "x2"]].mean().to_numpy()
        assert (np.abs(mean - made.mean[k]) < 4.5 * sd / np.sqrt(n)).all()
        covariance = rows[["x1", "x2"]].cov().to_numpy()
        variance = np.outer(sd**2, sd**2) + made.covariance[k] ** 2
        assert (np.abs(covariance - made.covariance[k]) < 4.5 * np.sqrt(variance / n)).all()
        residual = rows["y"] - made.intercept[k] - rows[["x2", "u"]] @ made.slope[k]
        assert abs(residual.mean()) < 4.5 * made.sigma[k] / np.sqrt(n)
        assert residual.std() == pytest.approx(
            made.sigma[k], abs=4.5 * made.sigma[k] / (2 * n) ** 0.5
        )
        assert abs(rows["u"].mean()) < 4.5 / np.sqrt(n)
        assert rows["u"].std() == pytest.approx(1, abs=4.5 / np.sqrt(2 * n))


def test_allocation_features_and_noise_are_independent() -> None:
    made = four_clusters()
    table = simulate(made, N, seed=12)
    cluster = table["cluster"].to_numpy()
    x = table[["x1", "x2"]].to_numpy()
    noise = x - made.mean[cluster]
    residual = table["y"].to_numpy() - (x * made.slope[cluster]).sum(axis=1)
    columns = np.column_stack([cluster, noise, residual])
    # Of independent draws, and of each row and the one before it, correlations are N(0, 1/N).
    together = np.corrcoef(columns.T)[~np.eye(4, dtype=bool)]
    lagged = np.corrcoef(columns[1:].T, columns[:-1].T)[:4, 4:]
    assert np.abs(together).max() < 4.5 / np.sqrt(N)
    assert np.abs(lagged).max() < 4.5 / np.sqrt(N)


def test_a_seed_gives_the_same_table_and_a_generator_moves_on() -> None:
    made = truth()
    pd.testing.assert_frame_equal(simulate(made, 50, 3), simulate(made, 50, 3))
    rng = np.random.default_rng(3)
    first, second = simulate(made, 50, rng), simulate(made, 50, rng)
    pd.testing.assert_frame_equal(first, simulate(made, 50, 3))
    assert not first["y"].equals(second["y"])


def test_without_noise_the_response_is_the_line() -> None:
    made = truth(sigma=[0.0, 0.0])
    table = simulate(made, 100, 4)
    k = table["cluster"].to_numpy()
    line = made.intercept[k] + (table[["x2", "u"]].to_numpy() * made.slope[k]).sum(axis=1)
    np.testing.assert_allclose(table["y"], line, rtol=1e-14)


def test_no_features_and_no_predictors() -> None:
    made = truth(
        mean=np.empty((2, 0)), covariance=np.empty((2, 0, 0)), slope=np.empty((2, 0)),
        features=[], predictors=[],
    )  # fmt: skip
    table = simulate(made, 5000, 5)
    assert list(table.columns) == ["y", "cluster"]
    means = table.groupby("cluster")["y"].mean()
    assert means[0] == pytest.approx(3, abs=4.5 * 0.3 / np.sqrt(1000 * 0.9))


def test_truth_is_a_frozen_copy() -> None:
    weight = np.array([0.2, 0.8])
    made = truth(weight=weight)
    weight[0] = 9
    assert made.weight[0] == 0.2
    with pytest.raises(ValueError, match="read-only"):
        made.mean[0, 0] = 1


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"weight": [0.5, 0.6]}, "weight"),
        ({"weight": [0.0, 1.0]}, "weight"),
        ({"weight": [1.0]}, "mean"),
        ({"mean": [[0.0, 1.0]]}, "mean"),
        ({"mean": [[np.nan, 0], [1, 1]]}, "mean"),
        ({"covariance": np.ones((2, 2, 2))}, "positive definite"),
        ({"covariance": [[[1, 0.5], [0, 1]]] * 2}, "symmetric"),
        ({"slope": [[1.0], [2.0]]}, "slope"),
        ({"intercept": 0.0}, "intercept"),
        ({"sigma": [-1.0, 1.0]}, "sigma"),
        ({"features": ["x1", "x1"]}, "only once"),
        ({"response": "u"}, "response"),
        ({"predictors": ["x2", "cluster"]}, "'cluster'"),
    ],
)
def test_contradictions_are_refused(changes: dict, words: str) -> None:
    with pytest.raises(SpecError, match=words):
        truth(**changes)


def test_counts_are_checked() -> None:
    with pytest.raises(SpecError, match="at least 1"):
        simulate(truth(), 0, 1)
    with pytest.raises(SpecError, match="n_clusters must be a whole number, at least 1"):
        four_clusters(0)


def test_rows_are_of_the_truths_family() -> None:
    """Distances from the line, in scales, are Student-t of each cluster's degrees of freedom."""
    df = np.array([1.5, 4.0])
    given = truth()
    k = len(given.weight)
    heavy = replace(given, family="student_t", shape={"df": df})
    table = simulate(heavy, 30_000, seed=5)
    normal = simulate(given, 30_000, seed=5)
    np.testing.assert_array_equal(table[list(given.features)], normal[list(given.features)])
    z = table["cluster"].to_numpy()
    u = table[list(given.predictors)].to_numpy()
    line = given.intercept[z] + (u * given.slope[z]).sum(axis=1)
    residual = (table[given.response] - line) / given.sigma[z]
    for cluster in range(k):
        assert stats.kstest(residual[z == cluster], stats.t(df[cluster]).cdf).pvalue > 1e-4


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"family": "student_t"}, "shape must hold df"),
        ({"shape": {"df": [3.0, 3.0]}}, "shape must hold nothing"),
        ({"family": "student_t", "shape": {"df": [3.0]}}, "df must hold finite numbers"),
        ({"family": "student_t", "shape": {"df": [3.0, 0.0]}}, "df must be > 0"),
        ({"family": "cauchy"}, "family"),
    ],
)
def test_a_familys_shape_is_checked(changes: dict, words: str) -> None:
    with pytest.raises(SpecError, match=words):
        replace(truth(), **changes)


LINKED = ["poisson", "negative_binomial", "gamma", "inverse_gaussian", "bernoulli", "binomial"]


@pytest.mark.parametrize("family", [*LINKED, "normal", "student_t"])
def test_every_family_has_its_moments(family: str) -> None:
    """Means and variances given the line, by their formulas."""
    binomial = family in ("bernoulli", "binomial")
    truth = four_clusters(
        2, 1, family, offset=None if family in ("normal", "student_t") else "log_hours",
        trials="n" if family == "binomial" else None, link="probit" if binomial else None,
    )  # fmt: skip
    n = 40_000
    hours = np.random.default_rng(1).normal(0, 0.3, n)
    trials = np.full(n, 30)
    table = simulate(truth, n, 2, {"log_hours": hours, "n": trials, "beside": trials})
    z = table["cluster"].to_numpy()
    line = truth.slope[z, 0] * table["x1"].to_numpy()
    if truth.offset is not None:
        np.testing.assert_array_equal(table["log_hours"], hours)
        line = line + hours
    m, tried = np.exp(line), 1
    if binomial:
        m, tried = stats.norm.cdf(line), 30 if family == "binomial" else 1
    variance = {
        "poisson": m, "negative_binomial": m + m**2 / 4, "gamma": m**2 / 4,
        "inverse_gaussian": m**3 / 4, "normal": 0.25, "student_t": 0.25 * 2,
    }.get(family, tried * m * (1 - m))  # fmt: skip
    expected = line if family in ("normal", "student_t") else tried * m
    off = (table["y"] - expected) / np.sqrt(variance)
    # Four standard errors of a mean, and of heavy-tailed squares a generous one.
    assert abs(off.mean()) < 4 / np.sqrt(n)
    assert (off**2).clip(upper=400).mean() == pytest.approx(1, abs=0.15)
    whole = family not in ("gamma", "inverse_gaussian", "normal", "student_t")
    assert (table["y"].dtype == np.int64) is whole
    assert list(table.columns) == [*truth.spec.columns, "cluster"]


def test_trials_and_offsets_are_drawn_where_they_are_not_given() -> None:
    truth = four_clusters(family="binomial", trials="n", offset="o")
    table = simulate(truth, 2_000, 3)
    assert sorted(table["n"].unique()) == list(range(1, 21))
    assert abs(table["o"].std() - 1) < 0.1
    assert (table["y"] <= table["n"]).all()


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"family": "poisson"}, "sigma must be None for the family 'poisson'"),
        ({"sigma": None}, "sigma must hold numbers|sigma must hold finite numbers"),
        ({"family": "binomial", "sigma": None}, "trials"),
        ({"link": "probit"}, "link"),
        ({"offset": "o"}, "offset"),
        ({"family": "poisson", "sigma": None, "offset": "y"}, "'y'|response"),
    ],
)
def test_what_a_response_needs_is_checked(changes: dict, words: str) -> None:
    with pytest.raises(SpecError, match=words):
        replace(truth(), **changes)


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"n": [3]}, "given must have 4 rows; column 'n' has 1"),
        ({"n": [1, 2, 3, 0.5]}, "whole"),
        ({"n": [1, 2, np.nan, 4]}, "finite"),
        ({"n": ["a"] * 4}, "'n'"),
        (3, "table"),
    ],
)
def test_given_columns_are_checked(given: object, words: str) -> None:
    with pytest.raises(DataError, match=words):
        simulate(four_clusters(family="binomial", trials="n"), 4, 1, given)


def mixed(**changes: object) -> Truth:
    """Two clusters in a number, a word, a yes or no, and counts of both kinds."""
    parts = {
        "weight": [0.4, 0.6],
        "mean": [[0.0], [1.5]],
        "covariance": [[[1.0]], [[0.5]]],
        "intercept": [0.0, 2.0],
        "slope": [[1.0, 0.5], [-1.0, 0.0]],
        "sigma": [0.4, 0.6],
        "features": {"x": "normal", "a word": "categorical", "old": "bernoulli",
                     "visits": "poisson", "calls": "negative_binomial"},
        "predictors": ["x", "u"],
        "response": "y",
        "levels": {"a word": ["low", "mid", "high"], "old": ["no", "yes"]},
        "discrete": {"probability_a_word": [[0.7, 0.2, 0.1], [0.1, 0.2, 0.7]],
                     "probability_old": [[0.9, 0.1], [0.3, 0.7]], "rate_visits": [1.0, 6.0],
                     "rate_calls": [8.0, 3.0], "size_calls": [2.0, 5.0]},
    }  # fmt: skip
    return Truth(**(parts | changes))


def test_discrete_features_have_the_moments_of_their_families() -> None:
    made, n = mixed(), N
    table = simulate(made, n, seed=21)
    columns = ["x", "a word", "old", "visits", "calls", "u", "y", "cluster"]
    assert sorted(table.columns) == sorted(columns)
    pd.testing.assert_frame_equal(table, simulate(made, n, seed=21))
    for k, rows in table.groupby("cluster"):
        own = {name: value[k] for name, value in made.discrete.items()}
        for name in ("a word", "old"):
            p = own[f"probability_{name.replace(' ', '_')}"]
            share = np.array([(rows[name] == label).mean() for label in made.levels[name]])
            assert (np.abs(share - p) < 4.5 * np.sqrt(p * (1 - p) / len(rows))).all()
        for name, size in (("visits", np.inf), ("calls", own["size_calls"])):
            rate = own[f"rate_{name}"]
            variance = rate + rate**2 / size
            assert abs(rows[name].mean() - rate) < 4.5 * np.sqrt(variance / len(rows))
            # The variance of a sample variance has the excess kurtosis 6/s + 1/variance.
            spread = variance * np.sqrt((2 + 6 / size + 1 / variance) / len(rows))
            assert abs(rows[name].var() - variance) < 4.5 * spread
        residual = rows["y"] - made.intercept[k] - rows[["x", "u"]] @ made.slope[k]
        assert abs(residual.mean()) < 4.5 * made.sigma[k] / np.sqrt(len(rows))


def test_missing_entries_are_as_many_as_asked_for_whatever_they_were() -> None:
    whole = simulate(mixed(), N, seed=22)
    shares = {"x": 0.3, "a word": 0.2, "visits": 0.1, "y": 0.4}
    table = simulate(mixed(), N, seed=22, missing=shares)
    for name in table:
        gone, share = table[name].isna(), shares.get(name, 0.0)
        assert abs(gone.mean() - share) <= 4.5 * np.sqrt(share * (1 - share) / N)
        assert (table[name][~gone] == whole[name][~gone]).all()
    low = whole["a word"] == "low"
    parted = table["x"].isna()[low].mean() - table["x"].isna()[~low].mean()
    assert abs(parted) < 4.5 * np.sqrt(0.21 * (1 / low.sum() + 1 / (~low).sum()))


def test_a_fit_finds_the_truth_of_discrete_features_beside_holes() -> None:
    made, n = mixed(), 800
    table = simulate(made, n, seed=23, missing={"a word": 0.2, "x": 0.1, "calls": 0.1})
    spec = replace(made.spec, missing="model", sampler=SamplerSpec(starts=2))
    # Features are taken by their names and families; levels are the table's, in their own order.
    spec = replace(spec, features=made.features, types=None)
    best = fit_em(table, spec, seed=1).best.parameters
    order = np.argsort(best["mean"][:, 0])
    labels = sorted(made.levels["a word"])
    places = [made.levels["a word"].index(label) for label in labels]
    right = dict(made.discrete) | {"weight": made.weight, "mean": made.mean}
    right["probability_a_word"] = right["probability_a_word"][:, places]
    held = n * 0.8 * made.weight[:, None]
    for name in ("probability_a_word", "probability_old"):
        p = right[name]
        assert (np.abs(best[name][order] - p) < 4.5 * np.sqrt(p * (1 - p) / held)).all()
    for name in ("rate_visits", "rate_calls"):
        rate = right[name]
        size = made.discrete["size_calls"] if name == "rate_calls" else np.inf
        sd = np.sqrt((rate + rate**2 / size) / held[:, 0])
        assert (np.abs(best[name][order] - rate) < 4.5 * sd).all()
    # Clusters that overlap tell less of themselves than known ones: twice the error of those.
    assert np.abs(best["weight"][order] - made.weight).max() < 9 * np.sqrt(0.24 / n)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"levels": {"a word": ["low", "mid", "high"]}}, "levels must hold the labels of a word"),
        ({"levels": {"a word": ["low", "mid"], "old": ["no", "yes"]}}, "in the shape \\(2, 2\\)"),
        ({"levels": {"a word": ["l", "m", "h"], "old": ["n", "y", "z"]}}, "levels of 'old' must"),
        ({"levels": {"a word": ["l", "l", "h"], "old": ["n", "y"]}}, "must be different texts"),
        ({"discrete": {}}, "discrete must hold probability_a_word, probability_old, rate_visits"),
        ({"predictors": ["x", "old"]}, "'old' is a feature of the family 'bernoulli'"),
    ],
)
def test_discrete_truths_that_contradict_themselves(changes: dict, message: str) -> None:
    with pytest.raises(SpecError, match=message):
        mixed(**changes)


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("probability_old", [[0.9, 0.2], [0.3, 0.7]], "sum to 1 in each cluster"),
        ("rate_visits", [0.0, 1.0], "rate_visits must be > 0"),
        ("size_calls", [1.0], "size_calls must hold finite numbers in the shape \\(2,\\)"),
    ],
)
def test_values_of_discrete_truths_are_possible(name: str, value: list, message: str) -> None:
    with pytest.raises(SpecError, match=message):
        mixed(discrete={**mixed().discrete, name: value})


def test_shares_missing_are_refused_by_name() -> None:
    for missing, message in (({"z": 0.2}, "no feature and no response"), ({"x": 1}, "must lie in")):
        with pytest.raises(SpecError, match=message):
            simulate(mixed(), 5, seed=1, missing=missing)


def test_the_example_takes_features_of_levels_and_counts() -> None:
    families = {"word": "categorical", "old": "bernoulli", "n": "poisson",
                "m": "negative_binomial"}  # fmt: skip
    made = four_clusters(5, discrete=families)
    np.testing.assert_allclose(made.discrete["probability_word"][3], [0.8, 0.1, 0.1])
    np.testing.assert_allclose(made.discrete["probability_old"][1], [0.2, 0.8])
    assert made.discrete["rate_n"].tolist() == [1, 4, 9, 16, 1]
    # What a seed draws of Gaussian features alone stays as it was.
    plain = simulate(four_clusters(), 3, seed=1)
    assert list(plain.columns) == ["x1", "x2", "y", "cluster"]
    with pytest.raises(SpecError, match="family of the feature 'x1'"):
        four_clusters(discrete={"x1": "normal"})
