"""Straight coordinates: exact both ways, their volume, and the normal approximation at the mode."""

from collections.abc import Callable
from dataclasses import replace
from functools import partial

import numpy as np
import pandas as pd
import pytest

import jointmix as jm
from jointmix.base.errors import SamplingError
from jointmix.families.parameters import Parameters
from jointmix.families.rows import with_weight
from jointmix.families.straight import Scaled, Triangular
from jointmix.kernel.densities import densities
from jointmix.kernel.entry import evaluate, value_and_gradient
from jointmix.kernel.problem import make_problem, n_free
from jointmix.kernel.values import relabelling, unconstrain
from jointmix.model.dataset import Dataset, make_dataset
from jointmix.modes.em import fit_em
from jointmix.modes.free import free_values
from jointmix.modes.mass import normal_at
from jointmix.modes.straight import (
    StraightCoordinates,
    StraightNormal,
    bends,
    straight_normal,
)

FEATURES = ["x1", "x2", "x3"]
STRUCTURES: dict[str, dict[str, object]] = {
    "full": {},
    "diagonal": {"covariance": "diagonal"},
    "spherical": {"covariance": "spherical", "noise": "shared"},
    "tied": {"covariance": "tied"},
    "fixed covariance": {
        "covariance": "fixed", "standardize": False,
        "priors": jm.Priors(covariance=jm.Fixed(value=1.0)),
    },
    "fixed means": {"priors": jm.Priors(mean=jm.Fixed(value=[0.0, 0.0, 0.0]))},
    "fixed slopes": {"priors": jm.Priors(slope=jm.Fixed(value=[1.0, 0.0]))},
    "fixed noise": {"noise": "fixed", "priors": jm.Priors(sigma=jm.Fixed(value=0.5))},
    "no intercept": {"intercept": False},
    "priors on sds": {
        "priors": jm.Priors(
            sd=jm.HalfNormal(scale=2.0), sigma=jm.LogNormal(loc=0.0, scale=1.0)
        )
    },
    "Student-t": {"family": "student_t"},
    "gamma": {"family": "gamma", "response": "size"},
    "inverse Gaussian": {"family": "inverse_gaussian", "response": "size"},
    "fixed shape": {
        "family": "gamma", "response": "size", "priors": jm.Priors(shape=jm.Fixed(value=9.0)),
    },
    "no features": {"features": []},
    "no response": {"response": None, "predictors": []},
    "one feature": {"features": ["x1"]},
    "one cluster": {"n_clusters": 1},
    "own units": {"standardize": False},
}  # fmt: skip


def table(seed: int, n: int = 200) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    z = rng.integers(2, size=n)
    mix = np.array([[1.0, 0.5, 0.2], [0.0, 1.0, 0.4], [0.0, 0.0, 0.6]])
    x = rng.normal(size=(n, 3)) @ mix + z[:, None] * np.array([4.0, 0.0, 1.5])
    y = x[:, 0] * (2 * z - 1) + 0.5 * rng.normal(size=n)
    return pd.DataFrame(x, columns=FEATURES).assign(y=y, size=np.exp(y / 4))


def dataset(changes: dict[str, object], seed: int = 1) -> Dataset:
    options = {"n_clusters": 2, "features": FEATURES, "predictors": ["x1", "x2"], "response": "y"}
    return make_dataset(table(seed), jm.ModelSpec(**(options | changes)))  # type: ignore[arg-type]


def mode(data: Dataset) -> np.ndarray:
    best = data.scaling.to_model(fit_em(data, data.spec, 1).best.parameters)
    return unconstrain(free_values(best, data.spec), data.spec, None)


def log_density_of(data: Dataset) -> Callable[[np.ndarray], tuple[float, np.ndarray]]:
    problem = make_problem(data)

    def log_density(q: np.ndarray) -> tuple[float, np.ndarray]:
        gradient = np.empty(len(q))
        return float(evaluate(problem, np.ascontiguousarray(q), gradient)), gradient

    return log_density


@pytest.mark.parametrize("name", STRUCTURES)
def test_the_map_goes_there_and_back_and_its_volume_is_right(name: str) -> None:
    data = dataset(STRUCTURES[name])
    rng = np.random.default_rng(2)
    at = mode(data)
    chart = StraightCoordinates(data.spec, at)
    np.testing.assert_allclose(chart.coordinates(at[None]), 0, rtol=0, atol=1e-14)
    straight = 0.1 * rng.normal(size=(20, n_free(data.spec)))
    values, log_volume = chart.values(straight)
    np.testing.assert_allclose(chart.coordinates(values), straight, rtol=0, atol=1e-12)
    assert chart.coordinates(values[:0]).shape == chart.values(straight[:0])[0].shape
    slopes, of_volume = chart.slopes(straight[0])
    # Differences over 1e-5 of functions of the order of one leave some 1e-10.
    assert np.linalg.slogdet(slopes)[1] == pytest.approx(log_volume[0], abs=1e-7)
    step = 1e-4 * np.eye(len(at))[0]
    ahead, behind = (chart.values((straight[0] + s * step)[None])[1][0] for s in (1, -1))
    assert of_volume[0] == pytest.approx((ahead - behind) / 2e-4, abs=1e-6)


def test_every_scale_is_straightened_and_each_value_once() -> None:
    for changes in STRUCTURES.values():
        data = dataset(changes)
        places = [bend.places for bend in bends(data.spec, mode(data))]
        found = np.concatenate(places) if places else np.zeros(0)
        assert len(found) == len(np.unique(found))
    kinds = {type(bend) for bend in bends(dataset({}).spec, mode(dataset({})))}
    assert kinds == {Scaled, Triangular}


def test_the_triangular_map_is_what_it_says_and_its_volume_that_of_automatic_derivatives() -> None:
    jax = pytest.importorskip("jax")
    jnp = jax.numpy
    d, k, units = 4, 2, np.array([1.0, 2.0, 0.5, 3.0])
    rng = np.random.default_rng(3)
    n = d + d * (d - 1) // 2 + k * d
    at = 0.3 * rng.normal(size=n)
    scales, pairs = np.arange(d), d + np.arange(d * (d - 1) // 2)
    locations = (n - k * d + np.arange(k * d)).reshape(k, d)
    bend = Triangular(scales, pairs, locations, units, 2.0, at)
    row, column = np.tril_indices(d, -1)

    def factor(values):  # type: ignore[no-untyped-def]
        partial = jnp.zeros((d, d)).at[row, column].set(jnp.tanh(values[pairs] / 2))
        rows = []
        for i in range(d):
            left, own = 1.0, []
            for j in range(i):
                own.append(partial[i, j] * jnp.sqrt(left))
                left = left * (1 - partial[i, j] ** 2)
            rows.append(jnp.array([*own, jnp.sqrt(left), *[0.0] * (d - i - 1)]))
        return jnp.exp(values[:d] / 2)[:, None] * jnp.array(rows)

    def straight(values):  # type: ignore[no-untyped-def]
        there, whiten = jnp.linalg.inv(factor(at)), jnp.linalg.inv(factor(values))
        own, first = jnp.diag(whiten), jnp.diag(there)
        t = 1.5 * ((own / first) ** (2 / 3) - 1)
        ratio = (there / first[:, None])[row, column]
        sheared = (whiten[row, column] - ratio * own[row]) * jnp.exp(at[:d] / 2)[column]
        moved = (values[locations] - at[locations]) * units @ whiten.T
        return jnp.concatenate([t, sheared, moved.ravel()])

    with jax.enable_x64(True):
        values = at + 0.2 * rng.normal(size=n)
        found = np.asarray(straight(jnp.asarray(values)))
        log_volume = -np.linalg.slogdet(np.asarray(jax.jacfwd(straight)(jnp.asarray(values))))[1]
    np.testing.assert_allclose(bend.coordinates(values[None])[0], found, rtol=0, atol=1e-12)
    back, volume = bend.values(found[None])
    np.testing.assert_allclose(back[0], values, rtol=0, atol=1e-12)
    assert volume[0] == pytest.approx(log_volume, abs=1e-10)


def test_second_derivatives_are_those_of_first_ones() -> None:
    data = dataset({})
    at, rng = mode(data), np.random.default_rng(4)
    pull = rng.normal(size=len(at))
    chart = StraightCoordinates(data.spec, at)
    zero, step = np.zeros(len(at)), 1e-4
    found = chart.curvature(zero, pull)

    def gradient(straight: np.ndarray) -> np.ndarray:
        slopes, of_volume = chart.slopes(straight)
        return slopes.T @ pull + of_volume

    for i in rng.choice(len(at), size=6, replace=False):
        move = step * np.eye(len(at))[i]
        expected = (gradient(move) - gradient(-move)) / (2 * step)
        # Second differences over 1e-3 of values of the order of ten.
        np.testing.assert_allclose(found[i], expected, rtol=0, atol=1e-4)


def test_coordinates_of_nothing_weigh_nothing() -> None:
    data = dataset({})
    chart = StraightCoordinates(data.spec, mode(data))
    places = bends(data.spec, mode(data))[0].places
    straight = np.zeros((2, n_free(data.spec)))
    straight[1, places[0]] = -1.6
    values, log_volume = chart.values(straight)
    assert np.isfinite(values).all()
    assert np.isfinite(log_volume).tolist() == [True, False]


def test_densities_are_those_that_gradients_come_with() -> None:
    data = dataset({"family": "student_t"})
    log_density, problem, at = log_density_of(data), make_problem(data), mode(data)
    points = at + 0.1 * np.random.default_rng(5).normal(size=(7, len(at)))
    expected = [log_density(point)[0] for point in points]
    for cores in (1, 2, 20):
        np.testing.assert_allclose(densities(problem, points, cores), expected, rtol=1e-13)
    assert densities(problem, points[:0]).shape == (0,)


@pytest.mark.parametrize("name", ["full", "tied", "Student-t", "no features", "own units"])
def test_the_normal_sits_at_the_mode_with_the_curvature_there(name: str) -> None:
    data = dataset(STRUCTURES[name])
    log_density = log_density_of(data)
    normal = straight_normal(log_density, data.spec, mode(data), len(data.values))

    def height(z: np.ndarray) -> float:
        values, log_volume = normal.values(z[None])
        return float(log_density(values[0])[0] + log_volume[0])

    zero = np.zeros(len(normal.center))
    top, step = height(zero), 0.05
    assert top == pytest.approx(normal.log_density + normal.log_det, abs=1e-8)
    for i in range(len(zero)):
        move = step * np.eye(len(zero))[i]
        ahead, behind = height(move) - top, height(-move) - top
        # The density is N(0, I): slope 0 and curvature −1 up to higher derivatives.
        assert (ahead - behind) / (2 * step) == pytest.approx(0, abs=5e-3)
        assert (ahead + behind) / step**2 == pytest.approx(-1, abs=2e-2)


def test_some_rows_lead_to_the_mode_of_all() -> None:
    data = dataset({})
    log_density, n = log_density_of(data), len(data.values)
    some = data.rows.take(np.arange(0, n, 2))
    halved = make_problem(data, rows=with_weight(some, np.full(len(some.y), 2.0)))
    asked: list[int] = []

    def counted(q: np.ndarray) -> tuple[float, np.ndarray]:
        asked.append(1)
        return log_density(q)

    start = mode(data)
    plain = straight_normal(counted, data.spec, start, n)
    without = len(asked)
    asked.clear()
    rough = straight_normal(counted, data.spec, start, n, partial(value_and_gradient, halved))
    # One curvature of all rows for two; at most .05 standard deviations are left to go.
    assert len(asked) < 2 * len(start) < without
    assert rough.log_mass == pytest.approx(plain.log_mass, abs=0.05**2)
    apart = plain.standardised(plain.chart.coordinates(rough.values(np.zeros((1, len(start))))[0]))
    assert np.linalg.norm(apart) < 0.05


def test_a_known_mode_spares_a_curvature_and_of_many_rows_all() -> None:
    options = {"n_clusters": 2, "features": FEATURES, "predictors": ["x1"], "response": "y"}
    data = make_dataset(table(1, 5_000), jm.ModelSpec(**options))  # type: ignore[arg-type]
    log_density, n, start = log_density_of(data), len(data.values), mode(data)
    asked: list[int] = []

    def counted(q: np.ndarray) -> tuple[float, np.ndarray]:
        asked.append(1)
        return log_density(q)

    def apart(found: StraightNormal) -> float:
        at = found.values(np.zeros((1, len(start))))[0]
        return float(np.linalg.norm(plain.standardised(plain.chart.coordinates(at))))

    plain, peak = straight_normal(log_density, data.spec, start, n), normal_at(log_density, start)
    once = straight_normal(counted, data.spec, start, n, known=peak)
    assert len(start) < len(asked) < 1.5 * len(start)
    assert apart(once) < 0.05
    assert once.log_mass == pytest.approx(plain.log_mass, abs=0.05**2)
    asked.clear()
    # Of many rows there is a rough density, which is not asked where the mode is known.
    known = straight_normal(counted, data.spec, start, n, log_density, peak)
    assert len(asked) < len(start)
    assert apart(known) < 0.05
    # Between charts laid around points half a standard deviation apart the curvature changes by
    # a share of 1/√n or so, and its log determinant by as much for each direction, up and down.
    assert known.log_mass == pytest.approx(plain.log_mass, abs=0.01)


def test_a_known_mode_that_is_far_off_does_no_harm() -> None:
    data = dataset({})
    log_density, n, start = log_density_of(data), len(data.values), mode(data)
    plain, found = straight_normal(log_density, data.spec, start, n), normal_at(log_density, start)
    away = replace(found, center=found.center + 5 * found.stretch[:, 0])
    known = straight_normal(log_density, data.spec, start, n, known=away)
    assert known.log_mass == pytest.approx(plain.log_mass, abs=0.05**2)


@pytest.mark.parametrize("name", ["full", "tied", "Student-t", "no features", "levels"])
def test_components_in_another_order_are_the_values_moved(name: str) -> None:
    options = {"n_clusters": 3, "features": FEATURES, "predictors": ["x1", "x2"], "response": "y"}
    options |= {"features": [*FEATURES, "kind"]} if name == "levels" else STRUCTURES[name]
    kind = np.random.default_rng(3).choice(["a", "b", "c"], 200)
    data = make_dataset(
        table(2).assign(kind=kind),
        jm.ModelSpec(**(options | {"n_clusters": 3})),  # type: ignore[arg-type]
    )
    best = data.scaling.to_model(fit_em(data, data.spec, 1).best.parameters)
    order = np.array([2, 0, 1])

    def point(parameters: Parameters) -> np.ndarray:
        return unconstrain(free_values(parameters, data.spec), data.spec, None)

    moved = relabelling(data.spec, order)
    np.testing.assert_allclose(moved @ point(best), point(best.permute(order)), atol=1e-9)
    assert abs(np.linalg.det(moved)) == pytest.approx(1)
    # Clusters that are alike a priori may change places.
    log_density, normal = log_density_of(data), normal_at(log_density_of(data), point(best))
    there = normal.moved(moved)
    z = 0.1 * np.random.default_rng(1).normal(size=len(moved))
    step = normal.stretch @ z
    near, far = log_density(normal.center + step)[0], log_density(there.center + moved @ step)[0]
    assert near == pytest.approx(far, rel=1e-12)
    assert there.log_mass == pytest.approx(normal.log_mass)
    square = np.linalg.solve(there.stretch, moved @ step)
    assert square @ square == pytest.approx(z @ z)


def test_a_rough_density_without_a_peak_does_no_harm() -> None:
    data = dataset({})
    log_density, n = log_density_of(data), len(data.values)

    def flat(q: np.ndarray) -> tuple[float, np.ndarray]:
        return float(q.sum()), np.ones(len(q))

    plain = straight_normal(log_density, data.spec, mode(data), n)
    rough = straight_normal(log_density, data.spec, mode(data), n, flat)
    assert rough.log_mass == plain.log_mass


def test_without_a_peak_there_is_no_normal() -> None:
    data = dataset({})

    def rising(q: np.ndarray) -> tuple[float, np.ndarray]:
        return float(q.sum()), np.ones(len(q))

    with pytest.raises(SamplingError, match="no mode with curvature in all directions"):
        straight_normal(rising, data.spec, mode(data), 200)
