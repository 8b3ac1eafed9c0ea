"""Quantities that labels do not enter: right, and unchanged by any permutation."""

from dataclasses import replace

import numpy as np
import oracles
import pytest
from densities import component_log_density
from scipy.special import logsumexp
from scipy.stats import multivariate_normal, norm

from jointmix.families.parameters import Parameters
from jointmix.families.rows import Rows
from jointmix.model.spec import ModelSpec
from jointmix.posterior.invariants import (
    N_POINTS,
    Points,
    choose_points,
    invariants,
    outside_moments,
    overall_moments,
)

K, D = 3, 2
SPECS = {
    "inside": ModelSpec(n_clusters=K, features=("a", "b"), predictors=("b", "a"), response="y"),
    "outside": ModelSpec(n_clusters=K, features=("a", "b"), predictors=("p", "a"), response="y"),
    "no features": ModelSpec(n_clusters=K, predictors=("p", "q"), response="y"),
    "no response": ModelSpec(n_clusters=K, features=("a", "b")),
    "no predictors": ModelSpec(n_clusters=K, features=("a", "b"), response="y"),
}


def material(spec: ModelSpec, seed: int, n: int = 60) -> tuple[list[oracles.Values], Rows]:
    rng = np.random.default_rng(seed)
    draws = []
    for _ in range(6):
        values = oracles.draw_values(rng, K, len(spec.features), len(spec.predictors))
        drop = () if spec.features else ("mean", "covariance")
        drop += () if spec.response else ("intercept", "slope", "sigma")
        draws.append({name: value for name, value in values.items() if name not in drop})
    columns = {name: rng.normal(size=n) for name in ("a", "b", "p", "q", "y")}

    def stack(names: tuple[str, ...]) -> np.ndarray:
        return np.stack([columns[name] for name in names], 1) if names else np.zeros((n, 0))

    return draws, Rows(stack(spec.features), stack(spec.predictors), columns["y"])


def batch(draws: list[oracles.Values]) -> Parameters:
    arrays = [oracles.factored(draw) for draw in draws]
    return Parameters(**{name: np.stack([each[name] for each in arrays]) for name in arrays[0]})


def points_of(rows: Rows, draws: list[oracles.Values], spec: ModelSpec) -> Points:
    return choose_points(rows, batch(draws).take(0), spec)


@pytest.mark.parametrize("name", SPECS)
def test_overall_moments_are_those_of_simulated_rows(name: str) -> None:
    spec = SPECS[name]
    draws, rows = material(spec, 3)
    mean, covariance = overall_moments(batch(draws), outside_moments(rows, spec), spec)
    values, rng, n = draws[1], np.random.default_rng(4), 400_000
    z = rng.choice(K, n, p=values["weight"])
    columns = {}
    if spec.features:
        x = np.empty((n, D))
        for j in range(K):
            own = z == j
            x[own] = rng.multivariate_normal(values["mean"][j], values["covariance"][j], own.sum())
        columns = dict(zip(spec.features, x.T, strict=True))
    simulated = [*columns.values()]
    if spec.response:
        picked = rng.integers(len(rows.y), size=n)
        u = [columns.get(p, rows.u[picked, i]) for i, p in enumerate(spec.predictors)]
        line = values["intercept"][z] + sum(
            values["slope"][z, i] * column for i, column in enumerate(u)
        )
        simulated.append(line + values["sigma"][z] * rng.normal(size=n))
    sample = np.stack(simulated, axis=1)
    sd = sample.std(axis=0)
    # Five standard errors of a mean, and of a covariance with heavier tails than normal.
    assert (np.abs(mean[1] - sample.mean(axis=0)) < 5 * sd / np.sqrt(n)).all()
    centred = sample - sample.mean(axis=0)
    product = centred[:, :, None] * centred[:, None, :]
    error = 5 * product.std(axis=0) / np.sqrt(n)
    assert (np.abs(covariance[1] - product.mean(axis=0)) < error).all()


@pytest.mark.parametrize("name", SPECS)
def test_density_and_prediction_at_the_points(name: str) -> None:
    spec = SPECS[name]
    draws, rows = material(spec, 5)
    points = points_of(rows, draws, spec)
    found = invariants(batch(draws), np.zeros((2, 3)), points, spec)
    for m, values in enumerate(draws):
        for i, place in enumerate(points.place):
            x, u, y = rows.x[place], rows.u[place], rows.y[place]
            log_x = np.log(values["weight"])
            if spec.features:
                log_x = log_x + [
                    multivariate_normal.logpdf(x, values["mean"][j], values["covariance"][j])
                    for j in range(K)
                ]
            joint = log_x
            if spec.response:
                line = values["intercept"] + values["slope"] @ u
                joint = log_x + norm.logpdf(y, line, values["sigma"])
                expected = float(np.exp(log_x - logsumexp(log_x)) @ line)
                value = float(found["prediction"][m // 3, m % 3, i])
                assert value == pytest.approx(expected, rel=1e-10)
            value = float(found["density"][m // 3, m % 3, i])
            assert value == pytest.approx(logsumexp(joint), rel=1e-10)
    assert ("prediction" in found) == (spec.response is not None)


@pytest.mark.parametrize("name", SPECS)
def test_permuting_components_changes_nothing(name: str) -> None:
    spec = SPECS[name]
    draws, rows = material(spec, 6)
    points = points_of(rows, draws, spec)
    rng = np.random.default_rng(7)
    turned = []
    for values in draws:
        order = rng.permutation(K)
        turned.append({key: value[order] for key, value in values.items()})
    one = invariants(batch(draws), np.zeros((2, 3)), points, spec)
    other = invariants(batch(turned), np.zeros((2, 3)), points, spec)
    for key in one.data_vars:
        scale = float(np.abs(one[key]).max())
        np.testing.assert_allclose(one[key], other[key], rtol=1e-12, atol=1e-12 * scale)


def test_points_run_from_the_densest_to_the_sparsest_row() -> None:
    spec = SPECS["inside"]
    draws, rows = material(spec, 8)
    points = points_of(rows, draws, spec)
    mode = batch(draws).take(0)
    level = logsumexp(component_log_density(rows.x, rows.u, rows.y, mode), axis=1)
    assert len(points.place) == N_POINTS
    assert points.place[0] == level.argmax()
    assert points.place[-1] == level.argmin()
    assert (np.diff(level[points.place]) < 0).all()
    few = rows.take(np.arange(4))
    assert sorted(choose_points(few, mode, spec).place) == [0, 1, 2, 3]


def test_moments_of_a_t_response_stay_finite_and_smooth_where_it_has_no_variance() -> None:
    """The squared scale takes the variance's place at any ν, also in R² and distances."""
    spec = replace(SPECS["outside"], family="student_t")
    draws, rows = material(spec, 9)
    normal = batch(draws)
    expected = overall_moments(normal, outside_moments(rows, spec), SPECS["outside"])
    for df in (0.7, 2.0, 2.0001, 50.0):
        heavy = normal.replace(df=np.full(normal.sigma.shape, df))
        points = choose_points(rows, heavy.take(0), spec)
        found = invariants(heavy, np.zeros((2, 3)), points, spec)
        assert all(np.isfinite(values).all() for values in found.data_vars.values())
        flat = found["overall_covariance"].values.reshape(6, 3, 3)
        np.testing.assert_allclose(flat, expected[1], rtol=1e-13)
        variance = spec.predicted.variance(heavy, rows.take(slice(1)))
        assert np.isfinite(variance).all() == (df > 2)
