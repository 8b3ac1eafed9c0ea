"""Missing features are integrated out: against quadrature over what is missing."""

import numpy as np
import oracles
import pytest
import xarray as xr
from scipy.special import logsumexp
from test_prediction import draws_of, new_table, tree_of

from jointmix.base.errors import DataError
from jointmix.posterior import prediction
from jointmix.posterior.allocations import responsibilities
from jointmix.posterior.draws import fitted_spec
from jointmix.posterior.prediction import _multimodal, predict

STRUCTURES = ["equal", "overlapping", "disjoint", "no predictors", "one cluster"]


def few(structure: str, count: int = 3) -> tuple[xr.DataTree, list[oracles.Values]]:
    """A tree of its first draws, and these draws."""
    tree = tree_of(structure).copy()
    posterior = tree["posterior"].to_dataset().isel(chain=[0], draw=slice(0, count))
    tree["posterior"] = xr.DataTree(posterior)
    return tree, list(draws_of(structure)[:count])


def filled(structure: str, table: dict, row: int, column: str, grid: np.ndarray) -> tuple:
    """x, u and y of one row, its missing column running along a grid."""
    spec = fitted_spec(tree_of(structure))
    one = {name: np.full(len(grid), values[row]) for name, values in table.items()}
    one[column] = grid
    x = np.stack([one[name] for name in spec.features], axis=1)
    u = [one[name] for name in spec.predictors]
    return x, np.stack(u, axis=1) if u else np.zeros((len(grid), 0)), one["y"]


def integrals(values: oracles.Values, x: np.ndarray, u: np.ndarray, y: np.ndarray, step: float):
    """p(x_o), p(k | x_o), p(k | x_o, y), E[y | x_o] and Var(y | x_o) by the rectangle rule."""
    terms = np.log(values["weight"]) + oracles.feature_terms(values, x)
    both = terms + oracles.response_terms(values, u, y)
    line = values["intercept"] + u @ values["slope"].T
    weight = np.exp(terms) * step
    total = weight.sum()
    mean = (weight * line).sum() / total
    second = (weight * (values["sigma"] ** 2 + line**2)).sum() / total
    joint = logsumexp(both, axis=0)
    return (
        np.log(total),
        weight.sum(0) / total,
        np.exp(joint - logsumexp(joint)),
        mean,
        second - mean**2,
    )


@pytest.mark.parametrize("structure", STRUCTURES)
@pytest.mark.parametrize("column", ["x1", "x2"])
def test_one_missing_feature_equals_quadrature(structure: str, column: str) -> None:
    tree, draws = few(structure)
    table = {k: v for k, v in new_table(structure, seed=8).items() if k != "unused"}
    old = tree["observed_data"]["x"].sel(feature=column).values
    width = np.ptp(old)
    grid = np.linspace(old.min() - 2 * width, old.max() + 2 * width, 40_001)
    gone = np.array([1, 4, 6])
    given = table | {column: np.where(np.isin(np.arange(8), gone), np.nan, table[column])}
    found, shares = predict(tree, given), responsibilities(tree, given)
    whole, all_shares = predict(tree, table), responsibilities(tree, table)
    kept = np.setdiff1d(np.arange(8), gone)
    # Rows that miss nothing are predicted as if the others were not there, but for rounding.
    for name in ("mean", "sd", "quantiles", "log_density"):
        np.testing.assert_allclose(found[name][kept], whole[name][kept], rtol=1e-10)
    np.testing.assert_allclose(
        shares["responsibility"][kept], all_shares["responsibility"][kept], atol=1e-12
    )
    for row in gone:
        x, u, y = filled(structure, given, row, column, grid)
        parts = [integrals(draw, x, u, y, grid[1] - grid[0]) for draw in draws]
        density, alone, both, mean, variance = (np.array(part) for part in zip(*parts, strict=True))
        # The rectangle rule on a smooth density that vanishes at both ends.
        one = found.isel(obs=row)
        assert float(one["log_density"]) == pytest.approx(logsumexp(density) - np.log(3), abs=1e-8)
        np.testing.assert_allclose(one["responsibility"], alone.mean(0), rtol=0, atol=1e-8)
        share = shares.isel(obs=row)
        np.testing.assert_allclose(share["responsibility"], both.mean(0), rtol=0, atol=1e-7)
        np.testing.assert_allclose(share["responsibility_features"], alone.mean(0), atol=1e-8)
        spread = float(one["sd"])
        assert float(one["mean"]) == pytest.approx(mean.mean(), abs=1e-7 * spread)
        expected = np.sqrt(variance.mean() + mean.var())
        assert spread == pytest.approx(expected, rel=1e-7)


@pytest.mark.parametrize("structure", STRUCTURES)
def test_all_features_missing_leaves_the_mixture(structure: str) -> None:
    tree, draws = few(structure)
    spec = fitted_spec(tree)
    table = {k: v for k, v in new_table(structure, seed=9).items() if k != "unused"}
    nothing = {name: np.full(8, np.nan) for name in spec.features}
    found = predict(tree, table | nothing)
    weight = np.mean([draw["weight"] for draw in draws], axis=0)
    np.testing.assert_allclose(found["responsibility"], np.tile(weight, (8, 1)), rtol=1e-12)
    assert not found["extrapolated"].any()
    means = []
    for draw in draws:
        line = np.tile(draw["intercept"], (8, 1))
        for index, name in enumerate(spec.predictors):
            if name in spec.features:
                line = line + draw["slope"][:, index] * draw["mean"][:, spec.features.index(name)]
            else:
                line = line + table[name][:, None] * draw["slope"][:, index]
        means.append(line @ draw["weight"])
    np.testing.assert_allclose(found["mean"], np.mean(means, axis=0), rtol=1e-10)


def test_a_missing_feature_lies_between_what_it_could_be() -> None:
    """Quantiles with a missing feature are those of simulation."""
    tree, draws = few("equal", 30)
    table = {k: v for k, v in new_table("equal", seed=10).items() if k != "unused"}
    given = table | {"x1": np.full(8, np.nan)}
    found = predict(tree, given, (0.1, 0.9))
    rng, each = np.random.default_rng(3), 4000
    simulated = []
    for draw in draws:
        mean, covariance = draw["mean"], draw["covariance"]
        log = np.log(draw["weight"]) - 0.5 * (
            (table["x2"][:, None] - mean[:, 1]) ** 2 / covariance[:, 1, 1]
            + np.log(covariance[:, 1, 1])
        )
        share = np.exp(log - logsumexp(log, axis=1, keepdims=True))
        values = np.empty((8, each))
        for row in range(8):
            z = rng.choice(3, each, p=share[row])
            slope = covariance[z, 0, 1] / covariance[z, 1, 1]
            center = mean[z, 0] + slope * (table["x2"][row] - mean[z, 1])
            sd = np.sqrt(covariance[z, 0, 0] - slope * covariance[z, 0, 1])
            x1 = center + sd * rng.normal(size=each)
            line = draw["intercept"][z] + draw["slope"][z, 0] * x1
            line = line + draw["slope"][z, 1] * table["x2"][row]
            values[row] = line + draw["sigma"][z] * rng.normal(size=each)
        simulated.append(values)
    y = np.concatenate(simulated, axis=1)
    for p in (0.1, 0.9):
        below = (y < found["quantiles"].sel(quantile=p).values[:, None]).mean(1)
        # Four Monte Carlo standard errors of a share.
        assert (np.abs(below - p) < 4 * np.sqrt(p * (1 - p) / y.shape[1])).all()


def test_a_missing_predictor_that_is_no_feature_is_refused() -> None:
    table = {k: v for k, v in new_table("overlapping").items() if k != "unused"}
    with pytest.raises(DataError, match=r"'c'.*missing entries"):
        predict(tree_of("overlapping"), table | {"c": np.full(8, np.nan)})


def test_one_in_a_hundred_of_the_fits_rows_is_extrapolated() -> None:
    tree = tree_of("equal")
    found = predict(tree)
    # Of 60 rows the 1% quantile lies between the lowest and the next.
    assert int(found["extrapolated"].sum()) == 1
    assert found["log_density"].values.argmin() == found["extrapolated"].values.argmax()
    far = {"x1": np.array([1e4, np.nan, np.nan]), "x2": np.array([0.0, 1e6, np.nan])}
    center = tree["posterior"]["mean"].mean(("chain", "draw")).values[0]
    near = {"x1": center[[0]], "x2": center[[1]]}
    assert predict(tree, far)["extrapolated"].values.tolist() == [True, True, False]
    assert not predict(tree, near)["extrapolated"].any()
    alone = near | {"x2": np.array([np.nan])}
    assert not predict(tree, alone)["extrapolated"].any()
    assert not predict(tree_of("no features"))["extrapolated"].any()


def test_a_row_that_is_the_border_itself_is_within(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of 101 rows the 1% quantile is a row, whose sums in two orders differ by rounding."""
    tree = tree_of("equal")
    border = np.sort(predict(tree)["log_density"].values)[1]
    for least, count in ((border, 1), (np.nextafter(border, np.inf), 1), (border + 1e-6, 2)):
        monkeypatch.setattr(prediction, "_least_density", lambda *_, value=least: value)
        assert int(predict(tree)["extrapolated"].sum()) == count


@pytest.mark.parametrize(
    ("weight", "line", "sigma", "expected"),
    [
        ([1.0], [0.0], [1.0], False),
        # Two equal normals have two peaks from 2 sd on, and a valley of 5% from about 2.4.
        ([0.5, 0.5], [0.0, 1.9], [1.0, 1.0], False),
        ([0.5, 0.5], [0.0, 2.2], [1.0, 1.0], False),
        ([0.5, 0.5], [0.0, 2.7], [1.0, 1.0], True),
        ([0.5, 0.5], [0.0, 50.0], [1.0, 1.0], True),
        ([0.5, 0.5], [1e6, 1e6 + 50.0], [1.0, 1.0], True),
        ([0.999, 0.001], [0.0, 50.0], [1.0, 1.0], False),
        # A wide cluster over a narrow one; three in a row, of which two are far.
        ([0.5, 0.5], [0.0, 0.0], [0.1, 10.0], False),
        ([0.3, 0.3, 0.4], [0.0, 1.0, 9.0], [1.0, 1.0, 1.0], True),
        ([0.5, 0.5, 0.0], [0.0, 0.5, 90.0], [1.0, 1.0, 1.0], False),
    ],
)
def test_peaks_with_a_valley_between_them(
    weight: list[float], line: list[float], sigma: list[float], expected: bool
) -> None:
    parts = (np.tile(np.array(part, dtype=float), (3, 1)) for part in (weight, line, sigma))
    share, center, sd = parts
    assert _multimodal(share, center, sd**2).tolist() == [expected] * 3
