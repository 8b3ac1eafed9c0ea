"""What must stay, or change by a known amount, when rows, columns, components or units change."""

from dataclasses import replace

import arviz as az
import numpy as np
import oracles
import pandas as pd
import pytest
import xarray as xr
from conftest import STRUCTURES, direction_of, table
from densities import component_log_density
from test_kernel import prior_of, target_of

from jointmix.families.parameters import Parameters
from jointmix.fitting.workflow import fit
from jointmix.kernel.values import unconstrain
from jointmix.model.dataset import make_dataset
from jointmix.model.location import coordinates
from jointmix.model.settings import SamplerSpec
from jointmix.model.spec import ModelSpec
from jointmix.modes.census import Mode
from jointmix.modes.em import fit_em
from jointmix.sampling import Target

FEATURES = ("a", "b", "c")
UNITS = {"a": 1e6, "b": 1e-8, "c": 3.0, "d": 1e3, "p": 1e8, "q": 0.02, "y": 1e-6}
OFFSETS = {"a": 1e3, "b": -7.0, "c": 0.5, "d": 0.0, "p": 1e4, "q": 30.0, "y": -1e3}


def target(spec: ModelSpec, rows: pd.DataFrame) -> Target:
    return target_of(make_dataset(rows, spec), direction_of(spec))


def moved(rows: pd.DataFrame) -> pd.DataFrame:
    """The table in other units: each column times its unit, from another zero."""
    return pd.DataFrame(
        {name: UNITS[name] * (rows[name] + OFFSETS[name] * rows[name].std()) for name in rows}
    )


# Log densities.


@pytest.mark.parametrize("k", [1, 4])
def test_the_columns_order_does_not_matter_to_a_density(k: int) -> None:
    rng = np.random.default_rng(k)
    values = oracles.draw_values(rng, k, 4, 3)
    x, u, y = rng.normal(0, 4, (50, 4)), rng.normal(size=(50, 3)), rng.normal(0, 5, 50)
    of_x, of_u = rng.permutation(4), rng.permutation(3)
    turned = values | {
        "mean": values["mean"][:, of_x],
        "covariance": values["covariance"][:, of_x][:, :, of_x],
        "slope": values["slope"][:, of_u],
    }
    before = component_log_density(x, u, y, Parameters(**oracles.factored(values)))
    after = component_log_density(x[:, of_x], u[:, of_u], y, Parameters(**oracles.factored(turned)))
    # Another Cholesky factor, of a matrix of condition number below 1000.
    np.testing.assert_allclose(after, before, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("k", [1, 3])
def test_affine_units_move_a_density_by_the_jacobian(k: int) -> None:
    rng = np.random.default_rng(10 + k)
    values = oracles.draw_values(rng, k, 2, 2)
    x, y = rng.normal(0, 4, (50, 2)), rng.normal(0, 5, 50)
    turn, shift = np.array([[2.0, 0.5], [-1.0, 3.0]]), np.array([4.0, -7.0])
    unit, level = 0.01, 3.0
    # x' = A x + t and y' = c y + l; then y | x' has the slope c A⁻ᵀ θ.
    slope = unit * values["slope"] @ np.linalg.inv(turn)
    other = values | {
        "mean": values["mean"] @ turn.T + shift,
        "covariance": turn @ values["covariance"] @ turn.T,
        "slope": slope,
        "intercept": unit * values["intercept"] + level - slope @ shift,
        "sigma": unit * values["sigma"],
    }
    u = x @ turn.T + shift
    before = component_log_density(x, x, y, Parameters(**oracles.factored(values)))
    after = component_log_density(u, u, unit * y + level, Parameters(**oracles.factored(other)))
    jacobian = -np.log(abs(np.linalg.det(turn))) - np.log(unit)
    # Covariances of condition number 1000 turned into others: 1e-13 of each square, up to 1e3.
    np.testing.assert_allclose(after, before + jacobian, rtol=1e-11, atol=1e-11)


@pytest.mark.parametrize(
    "name", ["four clusters, overlapping", "tied", "no features", "no response"]
)
def test_the_posterior_density_follows_its_rows(name: str) -> None:
    rows = table(60)
    spec = replace(STRUCTURES[name], standardize=False)
    order = np.random.default_rng(1).permutation(60)
    at, permuted = target(spec, rows), target(spec, rows.iloc[order])
    doubled = target(spec, pd.concat([rows, rows]))
    parts = [target(spec, part) for part in (rows[:23], rows[23:])]
    for q in 0.5 * np.random.default_rng(2).normal(size=(5, at.dim)):
        value, gradient = at.log_density(q)
        prior, of_prior = prior_of(at, q)
        size = np.abs(gradient).max()
        # Sums of the same rows in another order: 1e-12 of the value.
        found, slope = permuted.log_density(q)
        assert abs(found - value) < 1e-12 * abs(value)
        assert np.abs(slope - gradient).max() < 1e-12 * size
        found, slope = doubled.log_density(q)
        assert abs(found - prior - 2 * (value - prior)) < 1e-12 * abs(found)
        assert np.abs(slope - of_prior - 2 * (gradient - of_prior)).max() < 2e-12 * size
        both = [part.log_density(q) for part in parts]
        assert abs(both[0][0] + both[1][0] - prior - value) < 1e-12 * abs(value)
        assert np.abs(both[0][1] + both[1][1] - of_prior - gradient).max() < 1e-12 * size


@pytest.mark.parametrize(
    "name",
    ["one cluster", "four clusters, overlapping", "diagonal", "tied", "no features", "no response"],
)
def test_units_do_not_reach_the_model(name: str) -> None:
    rows = table(60)
    spec = STRUCTURES[name]
    at, other = target(spec, rows), target(spec, moved(rows))
    for q in 0.5 * np.random.default_rng(3).normal(size=(5, at.dim)):
        value, gradient = at.log_density(q)
        found, slope = other.log_density(q)
        # Offsets of up to 1e4 sd cost 1e-12 of a standard deviation in each row.
        assert abs(found - value) < 1e-10 * abs(value)
        assert np.abs(slope - gradient).max() < 1e-10 * np.abs(gradient).max()


def test_a_column_turned_around_turns_its_parameters() -> None:
    spec, rows = STRUCTURES["one feature"], table(60)
    direction = direction_of(spec)
    assert direction is not None
    # ξ = (μ, b, θ): mean and slope change sign, under priors about zero, and the direction too.
    sign = np.array([-1.0, 1.0, -1.0])
    at = target(spec, rows)
    turned = target_of(make_dataset(rows.assign(a=-rows["a"]), spec), direction * sign)
    for q in 0.5 * np.random.default_rng(4).normal(size=(5, at.dim)):
        found = at.parameters(q)
        location = np.column_stack([found["mean"], found["intercept"], found["slope"]])
        natural = {
            "weight": found["weight"],
            "location": location / [item.prior.scale for item in coordinates(spec)],
            "feature_variance": found["sd"] ** 2,
            "noise_variance": found["sigma"] ** 2,
        }
        # Logs of differences of numbers of size one.
        np.testing.assert_allclose(unconstrain(natural, spec, direction), q, atol=1e-12)
        mirrored = natural | {"location": natural["location"] * sign}
        value, _ = turned.log_density(unconstrain(mirrored, spec, direction * sign))
        assert abs(value - at.log_density(q)[0]) < 1e-12 * abs(value)


# EM's optimum.


def best(rows: pd.DataFrame, spec: ModelSpec) -> Mode:
    return fit_em(make_dataset(rows, spec), spec, seed=1).best


SPEC = ModelSpec(
    n_clusters=2,
    features=FEATURES,
    predictors=("a", "p"),
    response="y",
    sampler=SamplerSpec(starts=8),
)


def test_duplicating_all_rows_doubles_the_likelihood_at_the_same_optimum() -> None:
    rows = table(120)
    one, two = best(rows, SPEC), best(pd.concat([rows, rows]), SPEC)
    # EM stops within 1e-7 of the maximum, whose curvature then leaves 1e-3 of a parameter.
    assert two.log_likelihood == pytest.approx(2 * one.log_likelihood, abs=1e-5)
    for name, value in one.parameters.each().items():
        np.testing.assert_allclose(two.parameters.each()[name], value, rtol=1e-3, atol=1e-3)


def test_the_columns_order_does_not_matter_to_the_optimum() -> None:
    rows = table(120)
    other_spec = replace(SPEC, features=("c", "a", "b"), predictors=("p", "a"))
    one, other = best(rows, SPEC), best(rows[["y", "p", "c", "b", "a"]], other_spec)
    assert other.log_likelihood == pytest.approx(one.log_likelihood, abs=1e-5)
    own, turned = one.parameters, other.parameters
    assert own.mean is not None
    assert own.slope is not None
    np.testing.assert_allclose(turned.mean, own.mean[:, [2, 0, 1]], rtol=1e-3, atol=1e-3)
    np.testing.assert_allclose(turned.slope, own.slope[:, [1, 0]], rtol=1e-3, atol=1e-3)


def test_a_linear_change_of_features_turns_the_optimum() -> None:
    # Full covariances follow any regular matrix, not scales alone.
    rows = table(120)
    turn = np.array([[1.0, 0.4, 0.0], [-0.2, 2.0, 0.1], [0.5, 0.0, 3.0]])
    x = rows[list(FEATURES)].to_numpy() @ turn.T
    spec = replace(SPEC, predictors=("p",))
    one = best(rows, spec)
    other = best(rows.assign(**dict(zip(FEATURES, x.T, strict=True))), spec)
    jacobian = -120 * np.log(abs(np.linalg.det(turn)))
    assert other.log_likelihood == pytest.approx(one.log_likelihood + jacobian, abs=1e-5)
    assert one.parameters.mean is not None
    np.testing.assert_allclose(
        other.parameters.mean, one.parameters.mean @ turn.T, rtol=1e-3, atol=1e-3
    )


# Whole fits.

SHORT = replace(SPEC, features=("a", "b"), sampler=SamplerSpec(draws=1000, tune=500, starts=8))


def summary(tree: xr.DataTree, name: str) -> tuple[np.ndarray, np.ndarray]:
    """Posterior means of a quantity, columns in alphabetical order, and their standard errors."""
    group = "invariant" if name in tree["invariant"] else "posterior"
    values = tree[group][name]
    columns = ("feature", "predictor", "variable", "variable_bis")
    values = values.sortby([dim for dim in values.dims if dim in columns])
    error = az.mcse(values.to_dataset(name="v"))["v"]
    return values.mean(("chain", "draw")).values, error.values


def assert_within_four_errors(
    one: xr.DataTree, other: xr.DataTree, name: str, unit: np.ndarray | float, shift: float = 0.0
) -> None:
    mean, error = summary(one, name)
    found, its_error = summary(other, name)
    combined = np.sqrt((error * np.abs(unit)) ** 2 + its_error**2)
    assert (np.abs(found - (unit * mean + shift)) < 4 * combined).all(), name


@pytest.mark.slow
@pytest.mark.parametrize("seed", [1, 2])
def test_fits_agree_whatever_the_rows_order_and_the_units(seed: int) -> None:
    rows = table(150, seed)
    order = np.random.default_rng(seed).permutation(150)
    one = fit(rows, SHORT, seed=10 + seed)
    permuted = fit(rows.iloc[order], SHORT, seed=20 + seed)
    for name in ("log_likelihood", "overall_mean", "overall_covariance"):
        assert_within_four_errors(one, permuted, name, 1.0)
    far = moved(rows)
    scaled = fit(far, SHORT, seed=30 + seed)
    jacobian = -150 * sum(np.log(UNITS[name]) for name in ("a", "b", "y"))
    assert_within_four_errors(one, scaled, "log_likelihood", 1.0, jacobian)
    own = np.array([UNITS[name] for name in ("a", "b", "y")])
    assert_within_four_errors(one, scaled, "overall_covariance", np.outer(own, own))
    for name, scale in (
        ("weight", 1.0),
        ("sd", np.array([UNITS["a"], UNITS["b"]])),
        ("sigma", UNITS["y"]),
        ("slope", UNITS["y"] / np.array([UNITS["a"], UNITS["p"]])),
    ):
        assert_within_four_errors(one, scaled, name, scale)


@pytest.mark.slow
def test_fits_agree_whatever_the_columns_order() -> None:
    rows = table(150, 3)
    one = fit(rows, SHORT, seed=1)
    spec = replace(SHORT, features=("b", "a"), predictors=("p", "a"))
    other = fit(rows[["p", "y", "b", "a"]], spec, seed=2)
    for name in ("log_likelihood", "weight", "mean", "sd", "slope", "sigma", "intercept"):
        assert_within_four_errors(one, other, name, 1.0)
