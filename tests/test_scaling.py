"""Both scales describe one distribution: their densities differ by the Jacobian alone."""

from dataclasses import replace

import numpy as np
import oracles
import pytest
from densities import component_log_density

from jointmix.families.mixture import log_likelihood
from jointmix.families.parameters import Parameters
from jointmix.model.dataset import make_dataset
from jointmix.model.scaling import Scaling, standard_scaling
from jointmix.model.spec import ModelSpec

N = 200


def spec_of(structure: str, **changes: object) -> ModelSpec:
    features, predictors, response = oracles.STRUCTURES[structure]
    named = {"features": features, "predictors": predictors, "response": response}
    return ModelSpec(**({"n_clusters": 3} | named | changes))


def scaling_of(spec: ModelSpec, rng: np.random.Generator, offset: float, unit: float) -> Scaling:
    width = len(spec.columns)
    return Scaling(spec, offset * rng.normal(size=width), unit * rng.uniform(0.5, 2, width))


def standard_rows(spec: ModelSpec, rng: np.random.Generator) -> np.ndarray:
    return rng.normal(0, 2, (N, len(spec.columns)))


def model_values(spec: ModelSpec, rng: np.random.Generator) -> oracles.Values:
    d, r = len(spec.features), len(spec.predictors)
    return oracles.draw_values(rng, spec.n_clusters, d, r, spec.response is not None)


def by_role(spec: ModelSpec, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    table = dict(zip(spec.columns, rows.T, strict=True))
    y = table[spec.response] if spec.response else np.zeros(len(rows))
    x, u = (oracles.columns(table, names, len(rows)) for names in (spec.features, spec.predictors))
    return x, u, y


# Rows and parameters of size offset lose offset / unit · 1e-16 of a standard deviation each,
# which slopes and curvatures of up to ~1e3 enlarge.
@pytest.mark.parametrize(
    ("offset", "unit", "tolerance"),
    [(0.0, 1.0, 1e-12), (10.0, 1e-3, 1e-8), (1e9, 1e6, 1e-9), (1e-9, 1e-8, 1e-11)],
)
@pytest.mark.parametrize("structure", oracles.STRUCTURES)
def test_densities_differ_by_the_jacobian(
    structure: str, offset: float, unit: float, tolerance: float
) -> None:
    rng, spec = np.random.default_rng(5), spec_of(structure)
    scaling = scaling_of(spec, rng, offset, unit)
    values, rows = model_values(spec, rng), standard_rows(spec, rng)
    users_rows = scaling.center + scaling.scale * rows
    users = scaling.to_users(Parameters(**oracles.factored(values)))
    on_users = oracles.log_density(oracles.unfactored(users.each()), *by_role(spec, users_rows))
    model = Parameters(**oracles.factored(values))
    rows = scaling.transform(users_rows)
    on_model = log_likelihood(component_log_density(*by_role(spec, rows), model))
    size = np.maximum(1, np.abs(on_users))
    assert (np.abs(on_model + scaling.log_jacobian - on_users) / size).max() < tolerance


@pytest.mark.parametrize("structure", oracles.STRUCTURES)
def test_there_and_back(structure: str) -> None:
    rng, spec = np.random.default_rng(6), spec_of(structure)
    scaling = scaling_of(spec, rng, 3.0, 10.0)
    start = Parameters(**oracles.factored(model_values(spec, rng)))
    for once, back in (("to_users", "to_model"), ("to_model", "to_users")):
        end = getattr(scaling, back)(getattr(scaling, once)(start))
        for name, value in start.each().items():
            # Two roundings of numbers of a hundred.
            np.testing.assert_allclose(end.each()[name], value, rtol=1e-13, atol=1e-12)


def test_parameters_by_hand() -> None:
    spec = ModelSpec(n_clusters=1, features=["a"], predictors=["u", "a"], response="y")
    scaling = Scaling(spec, np.array([10.0, -3.0, 100.0]), np.array([2.0, 4.0, 50.0]))
    one = Parameters(
        weight=np.ones(1),
        mean=np.array([[0.5]]),
        cholesky=np.array([[[1.5]]]),
        intercept=np.array([0.2]),
        slope=np.array([[0.8, -0.4]]),
        sigma=np.array([0.1]),
    )
    users = scaling.to_users(one).each()
    # y = 100 + 50 (0.2 + 0.8 (u + 3)/4 − 0.4 (a − 10)/2) = 240 + 10 u − 10 a
    by_hand = {"weight": 1, "mean": 11, "cholesky": 3, "intercept": 240, "sigma": 5}
    for name, value in by_hand.items():
        assert users[name].item() == pytest.approx(value, rel=1e-14)
    np.testing.assert_allclose(users["slope"], [[10.0, -10.0]], rtol=1e-14)
    # The features' and the response's units: 2 and 50; the predictor's has no density.
    assert scaling.log_jacobian == pytest.approx(-np.log(100), rel=1e-14)


def test_draws_are_scaled_one_by_one() -> None:
    rng, spec = np.random.default_rng(7), spec_of("overlapping")
    scaling = scaling_of(spec, rng, 3.0, 10.0)
    draws = [oracles.factored(model_values(spec, rng)) for _ in range(6)]
    batch = Parameters(
        **{
            name: np.stack([draw[name] for draw in draws]).reshape(2, 3, *draws[0][name].shape)
            for name in draws[0]
        }
    )
    for convert in (scaling.to_users, scaling.to_model):
        together = convert(batch)
        for index, draw in enumerate(draws):
            alone = convert(Parameters(**draw)).each()
            for name, value in together.take((index // 3, index % 3)).each().items():
                np.testing.assert_allclose(value, alone[name], rtol=1e-14, atol=1e-13)


@pytest.mark.parametrize("covariance", ["spherical", "full", "diagonal", "tied"])
def test_standardised_columns(covariance: str) -> None:
    rng = np.random.default_rng(8)
    columns = ("a", "b", "c", "y")
    rows = np.array([1e9, 5.0, -2.0, 0.0]) + np.array([1e6, 3.0, 0.01, 1.0]) * rng.normal(
        size=(N, 4)
    )
    spec = spec_of("overlapping", covariance=covariance)
    dataset = make_dataset(dict(zip(columns, rows.T, strict=True)), replace(spec, n_clusters=1))
    scaling = standard_scaling(dataset.values, spec)
    scaled = scaling.transform(dataset.values)
    # The mean of numbers of 1e9 with an sd of 1e6 is known to 1e-13 sd at best.
    np.testing.assert_allclose(scaled.mean(0), 0, atol=1e-11)
    if covariance == "spherical":
        # One scale for the features: their variances average to one, their ratio stays.
        assert scaled[:, :2].var(0).mean() == pytest.approx(1, rel=1e-12)
        assert scaling.feature[1][0] == scaling.feature[1][1]
        np.testing.assert_allclose(scaled[:, 2:].std(0), 1, rtol=1e-12)
    else:
        np.testing.assert_allclose(scaled.std(0), 1, rtol=1e-12)
    assert scaling.center.shape == scaling.scale.shape == (4,)


def test_a_spherical_covariance_stays_spherical() -> None:
    rng = np.random.default_rng(9)
    spec = spec_of("no response", covariance="spherical")
    rows = rng.normal(size=(N, 3)) * [1.0, 30.0, 0.2]
    dataset = make_dataset(dict(zip("abc", rows.T, strict=True)), spec)
    factor = np.array([0.5, 1.0, 2.0])[:, None, None] * np.eye(3)
    model = Parameters(weight=np.full(3, 1 / 3), mean=rng.normal(size=(3, 3)), cholesky=factor)
    users = standard_scaling(dataset.values, spec).to_users(model)
    sd = np.sqrt((rows.var(0)).mean())
    np.testing.assert_allclose(users.cholesky, sd * factor, rtol=1e-14)


def test_raw_scale_is_left_alone() -> None:
    rng = np.random.default_rng(10)
    spec = spec_of("disjoint", standardize=False)
    table = {name: rng.normal(50, 7, N) for name in spec.columns}
    dataset = make_dataset(table, spec)
    scaling = dataset.scaling
    np.testing.assert_array_equal(scaling.transform(dataset.values), dataset.values)
    assert scaling.log_jacobian == 0
    parameters = Parameters(**oracles.factored(model_values(spec, rng)))
    for name, value in scaling.to_users(parameters).each().items():
        np.testing.assert_array_equal(value, parameters.each()[name])
    standard = dataset.under(replace(spec, standardize=True)).scaling
    np.testing.assert_array_equal(standard.scale, dataset.values.std(0))


@pytest.mark.parametrize("offset", [3.0, 1e9])
def test_no_intercept_on_the_users_scale(offset: float) -> None:
    rng = np.random.default_rng(11)
    spec = spec_of("equal", intercept=False)
    scaling = scaling_of(spec, rng, offset, 10.0)
    users = Parameters(
        **oracles.factored(model_values(spec, rng) | {"intercept": np.zeros(spec.n_clusters)})
    )
    back = scaling.to_users(scaling.to_model(users))
    # A sum of slope × centre of this size cannot vanish more exactly.
    np.testing.assert_allclose(back.intercept, 0, atol=1e-14 * offset)
    rows = scaling.center + scaling.scale * standard_rows(spec, rng)
    _, u, _ = by_role(spec, scaling.transform(rows))
    line = scaling.to_model(users).intercept + u @ scaling.to_model(users).slope.T
    center, scale = scaling.response
    np.testing.assert_allclose(
        center + scale * line, rows[:, :3] @ users.slope.T, rtol=0, atol=1e-14 * offset * 10 + 1e-11
    )
