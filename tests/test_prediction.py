"""Predictions equal simulation, the exact distribution function, and conditioning by hand."""

from functools import cache

import numpy as np
import oracles
import pytest
import xarray as xr
from scipy.special import logsumexp
from synthetic import fitted_tree

from jointmix.base.errors import DataError, SchemaError, SpecError
from jointmix.posterior.allocations import responsibilities
from jointmix.posterior.densities import log_density
from jointmix.posterior.prediction import fitted_spec, predict

#: Structure -> arguments of `fitted_tree`.
TREES: dict[str, dict[str, object]] = {
    "equal": {"n_features": 2},
    "overlapping": {"n_features": 2, "predictors": ("c", "x2")},
    "disjoint": {"n_features": 2, "predictors": ("c",)},
    "no features": {"features": False, "predictors": ("c", "d")},
    "no predictors": {"n_features": 2, "predictors": ()},
    "one cluster": {"n_clusters": 1, "n_features": 2},
    "no response": {"response": False, "n_features": 2},
}
WITH_RESPONSE = [name for name in TREES if name != "no response"]
ROWS = 8


@cache
def tree_of(structure: str) -> xr.DataTree:
    tree = fitted_tree(n_obs=60, seed=4, **TREES[structure])
    tree["posterior"] = xr.DataTree(tree["posterior"].to_dataset().isel(draw=slice(0, 30)))
    return tree


@cache
def draws_of(structure: str) -> tuple[oracles.Values, ...]:
    """The posterior's draws, one after the other."""
    posterior, draws = tree_of(structure)["posterior"].to_dataset(), []
    for chain in range(posterior.sizes["chain"]):
        for draw in range(posterior.sizes["draw"]):
            one = posterior.isel(chain=chain, draw=draw)
            values = {name: one[name].transpose("cluster", ...).values for name in one}
            if "sd" in values:
                sd = values.pop("sd")
                values["covariance"] = values.pop("correlation") * sd[:, :, None] * sd[:, None, :]
            draws.append(values)
    return tuple(draws)


def new_table(structure: str, seed: int = 5, n: int = ROWS) -> dict[str, np.ndarray]:
    """Rows between and beyond the clusters, with a column that no model asks for."""
    tree, rng = tree_of(structure), np.random.default_rng(seed)
    spec = fitted_spec(tree)
    table = {"unused": np.array(["text"] * n)}
    for group, name, names in (("observed_data", "x", spec.features),
                               ("constant_data", "u", spec.predictors)):  # fmt: skip
        for j, column in enumerate(names):
            old = tree[group][name].values[:, j]
            table.setdefault(column, rng.uniform(old.min(), old.max(), n))
    if spec.response is not None:
        old = tree["observed_data"]["y"].values
        table[spec.response] = rng.uniform(old.min(), old.max(), n)
    return table


def by_role(
    structure: str, table: dict[str, np.ndarray]
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    spec = fitted_spec(tree_of(structure))
    n = len(table["unused"])
    x, u = (oracles.columns(table, names, n) for names in (spec.features, spec.predictors))
    return x, u, table[spec.response] if spec.response else np.zeros(n)


def feature_share(values: oracles.Values, x: np.ndarray) -> np.ndarray:
    """p(k | x), (obs, cluster)."""
    terms = np.log(values["weight"]) + oracles.feature_terms(values, x)
    return np.exp(terms - logsumexp(terms, axis=1, keepdims=True))


@pytest.mark.parametrize("structure", WITH_RESPONSE)
def test_moments_and_quantiles_equal_simulation(structure: str) -> None:
    rng, table, each = np.random.default_rng(6), new_table(structure), 200
    x, u, _ = by_role(structure, table)
    share, line, sigma = [], [], []
    for values in draws_of(structure):
        share.append(feature_share(values, x))
        line.append(values["intercept"] + u @ values["slope"].T)
        sigma.append(np.broadcast_to(values["sigma"], line[-1].shape))
    # Cells (row, draw × cluster): every cluster is simulated, however small its share in the row.
    weight, center, spread = (
        np.stack(part, axis=1).reshape(ROWS, -1) for part in (share, line, sigma)
    )
    weight = weight / len(share)
    y = center[..., None] + spread[..., None] * rng.normal(size=(*center.shape, each))
    result = predict(tree_of(structure), table, (0.1, 0.5, 0.9))
    assert result["mean"].dims == ("obs",)

    def total(cells: np.ndarray) -> np.ndarray:
        return (weight * cells).sum(axis=1)

    def four_errors(variance: np.ndarray) -> np.ndarray:
        """Four Monte Carlo standard errors, from the variance of one number in each cell."""
        return 4 * np.sqrt((weight**2 * variance).sum(axis=1) / each)

    mean = total(y.mean(-1))
    assert (np.abs(result["mean"] - mean) < four_errors(spread**2)).all()
    away = center - mean[:, None]
    square = total(((y - mean[:, None, None]) ** 2).mean(-1))
    of_squares = 2 * spread**4 + 4 * spread**2 * away**2
    assert (np.abs(result["sd"] ** 2 - square) < four_errors(of_squares)).all()
    for p in (0.1, 0.5, 0.9):
        at = result["quantiles"].sel(quantile=p).values[:, None, None]
        below = total((y < at).mean(-1))
        assert (np.abs(below - p) < four_errors(np.full_like(spread, 0.25))).all()


@pytest.mark.kernel
@pytest.mark.parametrize("structure", WITH_RESPONSE)
def test_quantiles_invert_the_distribution_function(structure: str) -> None:
    probability, table = np.array([1e-4, 0.05, 0.5, 0.975]), new_table(structure)
    x, u, _ = by_role(structure, table)
    result = predict(tree_of(structure), table, probability)
    quantiles, slack = result["quantiles"].values, 1e-9 * result["sd"].values[:, None]
    # Each row stands once below and once above each of its quantiles.
    at = np.concatenate([quantiles - slack, quantiles + slack], axis=1)
    places = np.repeat(np.arange(ROWS), at.shape[1])
    cdf = np.mean(
        [
            oracles.conditional_cdf(values, x[places], u[places], at.ravel())
            for values in draws_of(structure)
        ],
        axis=0,
    ).reshape(at.shape)
    # p(k | x) carries the 1e-13 of log densities of a thousand, which shows where the
    # distribution function is flat.
    assert (cdf[:, :4] <= probability + 1e-12).all()
    assert (cdf[:, 4:] >= probability - 1e-12).all()


@pytest.mark.parametrize("structure", WITH_RESPONSE)
def test_the_variance_has_three_parts(structure: str) -> None:
    table = new_table(structure)
    x, u, _ = by_role(structure, table)
    result = predict(tree_of(structure), table)
    within, between, center = [], [], []
    for values in draws_of(structure):
        share, line = feature_share(values, x), values["intercept"] + u @ values["slope"].T
        within.append((share * values["sigma"] ** 2).sum(1))
        center.append((share * line).sum(1))
        between.append((share * line**2).sum(1) - center[-1] ** 2)
    # E[line²] − E[line]² cancels: 1e-16 of the line's square, which the tolerance is part of.
    size = float(np.max(np.square(center)))
    parts = {
        "variance_within": np.mean(within, axis=0),
        "variance_between": np.mean(between, axis=0),
        "variance_parameters": np.var(center, axis=0),
    }
    for name, value in parts.items():
        np.testing.assert_allclose(result[name], value, rtol=1e-10, atol=1e-13 * size)
    np.testing.assert_allclose(result["mean"], np.mean(center, axis=0), rtol=1e-11)
    total = sum(result[name] for name in parts)
    np.testing.assert_allclose(result["sd"] ** 2, total, rtol=1e-14)


def test_a_regression_on_the_features_conditions_a_gaussian_mixture() -> None:
    table, tree = new_table("equal"), tree_of("equal")
    x, _, _ = by_role("equal", table)
    lines = [oracles.conditional_mean(values, x) for values in draws_of("equal")]
    scale = tree["observed_data"]["y"].values.std()
    # 1e-10 of the response's sd: the stacked covariance is solved instead of the slope read.
    np.testing.assert_allclose(
        predict(tree, table)["mean"], np.mean(lines, axis=0), rtol=0, atol=1e-10 * scale
    )
    for index in (0, 33, 119):
        one = tree.copy()
        kept = {"chain": [index // 30], "draw": [index % 30]}
        one["posterior"] = xr.DataTree(tree["posterior"].to_dataset().isel(kept))
        np.testing.assert_allclose(
            predict(one, table)["mean"], lines[index], rtol=0, atol=1e-10 * scale
        )
        assert not predict(one, table)["variance_parameters"].any()


@pytest.mark.parametrize("structure", TREES)
def test_responsibilities_are_bayes_rule(structure: str) -> None:
    table, tree = new_table(structure), tree_of(structure)
    rows, spec = by_role(structure, table), fitted_spec(tree_of(structure))
    result = responsibilities(tree, table)
    features = np.mean([feature_share(values, rows[0]) for values in draws_of(structure)], axis=0)
    both = np.mean([oracles.responsibility(v, *rows) for v in draws_of(structure)], axis=0)
    # Log densities of a thousand carry 1e-12.
    np.testing.assert_allclose(result["responsibility_features"], features, rtol=0, atol=1e-11)
    np.testing.assert_allclose(result["responsibility"], both, rtol=0, atol=1e-11)
    np.testing.assert_array_equal(result["allocation"], both.argmax(1) + 1)
    if spec.response is not None:
        predicted = predict(tree, table)["responsibility"]
        np.testing.assert_allclose(predicted, features, rtol=0, atol=1e-11)
    table.pop(spec.response or "unused")
    without = responsibilities(tree, {**table, "more": np.zeros(ROWS)})
    assert ("responsibility" in without) == (spec.response is None)
    np.testing.assert_array_equal(
        without["responsibility_features"], result["responsibility_features"]
    )
    if spec.response is not None:
        np.testing.assert_array_equal(without["allocation"], features.argmax(1) + 1)


@pytest.mark.parametrize("structure", TREES)
def test_log_densities(structure: str) -> None:
    table, tree = new_table(structure), tree_of(structure)
    rows = by_role(structure, table)
    result = log_density(tree, table)
    joint = np.array([oracles.log_density(values, *rows) for values in draws_of(structure)])
    feature = np.array(
        [
            logsumexp(np.log(values["weight"]) + oracles.feature_terms(values, rows[0]), axis=1)
            for values in draws_of(structure)
        ]
    )
    for name, value in {"joint": joint, "feature": feature, "conditional": joint - feature}.items():
        assert result[name].dims == ("chain", "draw", "obs")
        ours = result[name].values.reshape(value.shape)
        # Relative to the joint's size: the conditional is a difference of such numbers.
        size = np.maximum(1, np.abs(joint))
        assert (np.abs(ours - value) / size).max() < 1e-11
    if structure != "no response":
        density = predict(tree, table)["log_density"]
        by_hand = logsumexp(feature, axis=0) - np.log(len(feature))
        np.testing.assert_allclose(density, by_hand, rtol=1e-11, atol=1e-11)


@pytest.mark.parametrize("structure", TREES)
def test_without_a_table_the_rows_of_the_fit(structure: str) -> None:
    tree = tree_of(structure)
    spec, table = fitted_spec(tree), {}
    if spec.response is not None:
        u, y = tree["constant_data"]["u"].values, tree["observed_data"]["y"].values
        table = dict(zip(spec.predictors, u.T, strict=True)) | {spec.response: y}
    if spec.features:
        table |= dict(zip(spec.features, tree["observed_data"]["x"].values.T, strict=True))
    functions = [responsibilities, log_density, *([predict] if spec.response else [])]
    for function in functions:
        xr.testing.assert_equal(function(tree), function(tree, table))
        assert function(tree).sizes["obs"] == 60


def test_rows_are_taken_one_by_one(monkeypatch: pytest.MonkeyPatch) -> None:
    table, tree = new_table("overlapping"), tree_of("overlapping")
    whole = [f(tree, table) for f in (predict, responsibilities, log_density)]
    # Three rows at a time, and a last batch of two.
    for name in ("draws._BATCH_NUMBERS", "allocations._BATCH_NUMBERS"):
        monkeypatch.setattr(f"jointmix.posterior.{name}", 3 * 120 * 3)
    monkeypatch.setattr("jointmix.posterior.prediction._BLOCK", 3)
    for before, function in zip(whole, (predict, responsibilities, log_density), strict=True):
        xr.testing.assert_allclose(function(tree, table), before, rtol=1e-12)


def test_the_response_is_not_used_in_predicting() -> None:
    tree, table = tree_of("overlapping"), new_table("overlapping")
    expected = predict(tree, table)
    for column in (None, np.full(ROWS, np.nan), np.array(["unknown"] * ROWS)):
        others = {name: value for name, value in table.items() if name != "y"}
        given = others if column is None else others | {"y": column}
        xr.testing.assert_equal(predict(tree, given), expected)


def test_clusters_keep_their_coordinates() -> None:
    tree = tree_of("equal")
    for function in (predict, responsibilities):
        result = function(tree, new_table("equal"))
        assert result["cluster"].values.tolist() == [1, 2, 3]
        assert result["obs"].values.tolist() == list(range(ROWS))
    assert predict(tree, None, 0.5)["quantile"].values.tolist() == [0.5]


@pytest.mark.parametrize("quantiles", [(0.0, 0.5), (0.5, 1.0), (-0.1,), (np.nan,), 1.5])
def test_quantiles_outside_zero_to_one(quantiles: object) -> None:
    with pytest.raises(SpecError, match=r"quantiles must lie in \(0, 1\)"):
        predict(tree_of("equal"), None, quantiles)


def test_no_response_to_predict() -> None:
    with pytest.raises(SpecError, match="no response"):
        predict(tree_of("no response"))


@pytest.mark.parametrize("function", [predict, responsibilities, log_density])
def test_a_missing_column_is_named(function: object) -> None:
    table = new_table("overlapping")
    with pytest.raises(DataError, match="'x1'"):
        function(tree_of("overlapping"), {k: v for k, v in table.items() if k != "x1"})
    with pytest.raises(DataError, match=r"'c'.*missing entries"):
        function(tree_of("overlapping"), table | {"c": np.full(ROWS, np.nan)})


def test_the_log_density_needs_the_response() -> None:
    table = new_table("equal")
    table.pop("y")
    with pytest.raises(DataError, match="lacks 'y'"):
        log_density(tree_of("equal"), table)


def test_a_table_of_rows_for_a_model_of_the_response_alone() -> None:
    tree = fitted_tree(n_obs=40, features=False, predictors=(), seed=2)
    assert predict(tree).sizes["obs"] == 40
    with pytest.raises(DataError, match="none of the model's columns"):
        predict(tree, {"other": np.zeros(3)})


def test_log_densities_that_would_not_fit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("jointmix.posterior.densities._MOST_NUMBERS", 7_199)
    with pytest.raises(DataError, match="60 rows in 120 draws would need 0 GB"):
        log_density(tree_of("equal"))


@pytest.mark.parametrize("function", [predict, responsibilities, log_density])
def test_draws_that_were_never_identified_are_refused(function: object) -> None:
    tree = tree_of("equal").copy()
    raw = tree["posterior"].to_dataset().rename(cluster="component")
    tree["posterior"] = xr.DataTree(raw)
    with pytest.raises(SchemaError, match="Identify the draws first"):
        function(tree)
    with pytest.raises(SchemaError, match="DataTree is required"):
        function(raw)
