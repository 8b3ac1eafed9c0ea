"""The ordering direction separates clusters better than any coordinate, and says how well."""

import json

import numpy as np
import oracles
import pytest
import xarray as xr
from conftest import how_many
from scipy.stats import norm

from jointmix.checks.separation import check as check_separation
from jointmix.families.parameters import Parameters
from jointmix.families.priors.priors import (
    Fixed,
    Normal,
    Priors,
    StudentT,
)
from jointmix.families.rows import Rows
from jointmix.kernel.allocate import mode_share
from jointmix.model.dataset import make_dataset
from jointmix.model.location import coordinates, householder
from jointmix.model.settings import SamplerSpec
from jointmix.model.simulate import four_clusters, simulate
from jointmix.model.spec import ModelSpec
from jointmix.modes.census import Mode
from jointmix.modes.em import fit_em
from jointmix.modes.free import standard_locations
from jointmix.modes.information import location_errors
from jointmix.modes.ordering import (
    LEAST_SEPARATION,
    Ordering,
    choose_ordering,
    location_covariance,
    separating_direction,
    separation,
)


def mode_of(values: oracles.Values) -> Mode:
    parameters = Parameters(**oracles.factored(values))
    return Mode(parameters, 0.0, 1, 0.0, 0.0, float(values["weight"].min()), 0.0, False)


def ordering_of(table: object, spec: ModelSpec) -> tuple[Ordering, np.ndarray, np.ndarray]:
    """The ordering chosen from EM's best mode, with ξ and its covariance there."""
    dataset = make_dataset(table, spec)
    mode, scaling = fit_em(dataset, spec).best, dataset.scaling
    rows = dataset.rows
    chosen = choose_ordering(mode, dataset, 1)
    return (
        chosen,
        standard_locations(scaling.to_model(mode.parameters), spec),
        location_errors(rows, scaling.to_model(mode.parameters), spec),
    )


def coordinate_gaps(xi: np.ndarray, covariance: np.ndarray) -> list[float]:
    return [oracles.smallest_gap(axis, xi, covariance) for axis in np.eye(xi.shape[1])]


def four_spec(**changes: object) -> ModelSpec:
    columns = {"features": ("x1", "x2"), "predictors": ("x1", "x2"), "response": "y"}
    starts = {"n_clusters": 4, "sampler": SamplerSpec(starts=8)}
    return ModelSpec(**(starts | columns | changes))


@pytest.mark.parametrize("size", [1, 2, 3, 7, 20])
def test_householder_is_a_reflection_onto_the_direction(size: int) -> None:
    rng = np.random.default_rng(size)
    for direction in (rng.normal(size=size), np.eye(size)[0], -np.eye(size)[0], np.eye(size)[-1]):
        c = direction / np.linalg.norm(direction)
        given = c.copy()
        h = householder(c)
        # A handful of roundings.
        np.testing.assert_allclose(h[:, 0], c, rtol=0, atol=1e-14)
        np.testing.assert_allclose(h, h.T, rtol=0, atol=1e-15)
        np.testing.assert_allclose(h @ h.T, np.eye(size), rtol=0, atol=1e-14)
        np.testing.assert_array_equal(c, given)


def test_separation_by_hand() -> None:
    xi = np.array([[0.0, 0.0], [3.0, 1.0], [1.0, 5.0]])
    covariance = oracles.blocks(
        np.array([np.diag([1.0, 4.0]), np.diag([3.0, 5.0]), np.diag([8.0, 0.0])])
    )
    # Along x: 0 (variance 1), 1 (8), 3 (3): gaps 1/√9 and 2/√11.
    # Along y: 0 (4), 1 (5), 5 (0): gaps 1/√9 and 4/√5.
    # Along (3, 4)/5: places 0, 13/5, 23/5; variances (9 + 64)/25, (27 + 80)/25, 72/25.
    by_hand = [1 / 3, 1 / 3, min(13 / 5 / np.sqrt(180 / 25), 10 / 5 / np.sqrt(179 / 25))]
    directions = np.array([[1.0, 0.0], [0.0, 1.0], [0.6, 0.8]])
    np.testing.assert_allclose(separation(directions, xi, covariance), by_hand, rtol=1e-14)
    assert separation(directions[2], xi, covariance) == pytest.approx(by_hand[2], rel=1e-14)


@pytest.mark.parametrize("seed", range(6))
def test_the_direction_beats_coordinates_pairs_and_chance(seed: int) -> None:
    rng = np.random.default_rng(seed)
    k, p = int(rng.integers(2, 6)), int(rng.integers(1, 6))
    xi = rng.normal(size=(k, p))
    size = k * p
    covariance = 0.01 * oracles.draw_covariance(rng, size).reshape(k, p, k, p)
    direction, gap = separating_direction(xi, covariance, rng)
    assert np.linalg.norm(direction) == pytest.approx(1, abs=1e-14)
    assert gap == pytest.approx(oracles.smallest_gap(direction, xi, covariance), rel=1e-12)
    pairs = [
        np.linalg.solve(
            covariance[a, :, a] + covariance[b, :, b] - covariance[a, :, b] - covariance[b, :, a],
            xi[a] - xi[b],
        )
        for a in range(k)
        for b in range(a)
    ]
    others = [*np.eye(p), *pairs, *rng.normal(size=(300, p))]
    best = max(oracles.smallest_gap(other, xi, covariance) for other in others)
    # The random ones may be luckier than the search by a little where many directions are tried.
    assert gap > 0.97 * best
    assert gap >= (1 - 1e-12) * max(
        oracles.smallest_gap(other, xi, covariance) for other in [*np.eye(p), *pairs]
    )


@pytest.mark.parametrize("seed", range(4))
def test_two_clusters_have_an_exact_best_direction(seed: int) -> None:
    rng = np.random.default_rng(seed)
    xi = rng.normal(size=(2, 4))
    covariance = np.stack([0.1 * oracles.draw_covariance(rng, 4) for _ in range(2)])
    step = xi[0] - xi[1]
    # Fisher: the largest gap is the Mahalanobis distance.
    distance = np.sqrt(step @ np.linalg.solve(covariance.sum(0), step))
    _, gap = separating_direction(xi, oracles.blocks(covariance), rng)
    assert gap == pytest.approx(distance, rel=1e-12)


def test_four_clusters_that_tie_on_every_coordinate() -> None:
    spec, table = four_spec(), simulate(four_clusters(), 1000, 3)
    chosen, xi, covariance = ordering_of(table, spec)
    assert chosen.kind == "direction"
    gap = oracles.smallest_gap(chosen.direction, xi, covariance)
    assert chosen.separation == pytest.approx(gap, rel=1e-12)
    assert f"{gap:.1f} standard errors" in chosen.text
    # Twenty-odd standard errors, where the best coordinate, a slope, has about five.
    assert gap > 15
    assert gap > 2 * max(coordinate_gaps(xi, covariance))
    means = coordinate_gaps(xi, covariance)[:2]
    assert max(means) < LEAST_SEPARATION


def test_crossing_lines_are_ordered_by_their_slopes() -> None:
    rng = np.random.default_rng(5)
    x, sign = rng.normal(size=400), np.resize([1, -1], 400)
    table = {"x": x, "y": sign * x + 0.2 * rng.normal(size=400)}
    spec = ModelSpec(n_clusters=2, features=["x"], predictors=["x"], response="y")
    chosen, *_ = ordering_of(table, spec)
    assert chosen.kind == "direction"
    assert [item.parameter for item in coordinates(spec)] == ["mean", "intercept", "slope"]
    # Slopes lie 2 / (0.2 √(2/200)) = 100 standard errors apart, the rest not at all.
    assert chosen.separation > 50
    assert abs(chosen.direction[2]) > 0.9


@pytest.mark.parametrize("seed", range(how_many(2, 5)))
@pytest.mark.parametrize("distance", [0.0, 0.5, 1.0])
def test_overlapping_clusters_are_not_constrained(distance: float, seed: int) -> None:
    # Means less than a standard deviation apart: no allocation is known, whatever EM says.
    rng = np.random.default_rng(100 + seed)
    z = rng.integers(0, 2, 300)
    x = rng.normal(size=300) + distance * z
    spec = ModelSpec(n_clusters=2, features=["x"], sampler=SamplerSpec(starts=8))
    chosen, xi, covariance = ordering_of({"x": x}, spec)
    assert (chosen.kind, chosen.direction) == ("none", None)
    assert "labels are weak" in chosen.text
    if chosen.separation < LEAST_SEPARATION:
        assert f"the best one by {chosen.separation:.1f})" in chosen.text
    else:
        # One cluster more has found something to fit, but nothing that BIC would pay for.
        worse = fit_em(make_dataset({"x": x}, spec), spec).best.bic
        alone = -2 * norm(x.mean(), x.std()).logpdf(x).sum() + 2 * np.log(300)
        # EM stops where about 0.01 of the log likelihood is left.
        assert chosen.evidence == pytest.approx(alone - worse, abs=0.05)
        assert f"lowers BIC by {-chosen.evidence:.1f})" in chosen.text
    # Two clusters on one coordinate: the gap is the difference over its standard error.
    variance = covariance[0, 0, 0, 0] + covariance[1, 0, 1, 0] - 2 * covariance[0, 0, 1, 0]
    gap = abs(xi[0, 0] - xi[1, 0]) / np.sqrt(variance)
    assert chosen.separation == pytest.approx(gap, rel=1e-9)


@pytest.mark.parametrize("seed", [1, 2])
@pytest.mark.parametrize("lines", [0, 1, 2])
def test_a_cluster_too_many_is_a_caution_and_two_that_overlap_are_none(
    lines: int, seed: int
) -> None:
    """One Gaussian in two clusters; or two at 1.5 standard deviations, told by their lines."""
    rng = np.random.default_rng(seed)
    z = rng.random(600) < 0.4
    x = rng.normal(size=(600, 2)) + 1.5 * z[:, None] * (lines == 2)
    slope = np.where(z, 1, -1) if lines == 2 else 1
    table = {"a": x[:, 0], "b": x[:, 1], "y": slope * x[:, 1] + 0.5 * rng.normal(size=600)}
    sampler = SamplerSpec(starts=6)
    response = {"predictors": ["a", "b"], "response": "y"} if lines else {}
    spec = ModelSpec(n_clusters=2, features=["a", "b"], sampler=sampler, **response)
    chosen, *_ = ordering_of(table, spec)
    evidence = None if np.isnan(chosen.evidence) else chosen.evidence
    known = json.dumps({"separation": chosen.separation, "evidence": evidence})
    (found,) = check_separation(xr.DataTree(xr.Dataset(attrs={"ordering": known})))
    assert found.status == ("ok" if lines == 2 else "caution")
    assert (found.value < found.threshold) == (lines < 2)
    assert ("superfluous" in found.message) == (evidence is not None and evidence <= 0)


@pytest.mark.slow
def test_errors_under_overlap_are_those_of_maximum_likelihood() -> None:
    """The spread of EM's estimates over many tables, where the allocation is far from known."""
    rng, times, n = np.random.default_rng(12), how_many(60, 120), 400
    spec = ModelSpec(
        n_clusters=2, features=["a"], predictors=["a"], response="y", standardize=False,
        noise="shared", covariance="tied", sampler=SamplerSpec(starts=3),
    )  # fmt: skip
    found, claimed, naive = [], [], []
    for _ in range(times):
        z = rng.integers(0, 2, n)
        a = rng.normal(size=n) + 2 * z
        table = {"a": a, "y": a * (1 + 0.5 * z) + rng.normal(size=n)}
        dataset = make_dataset(table, spec)
        mode, scaling = fit_em(dataset, spec).best, dataset.scaling
        rows = dataset.rows
        order = np.argsort(mode.parameters.mean[:, 0])
        found.append(mode.parameters.mean[order, 0])
        errors = location_errors(rows, mode.parameters, spec)[:, 0, :, 0] * 2.5**2
        claimed.append(np.sqrt(np.diag(errors)[order]))
        share = mode_share(rows, mode.parameters, spec.blocks)
        blocks = location_covariance(scaling.to_model(mode.parameters), spec, share, rows)
        naive.append(np.sqrt(blocks[order, 0, 0]) * 2.5)
    spread = np.std(found, axis=0, ddof=1)
    # Four standard errors of a standard deviation of so many estimates, and of the claims.
    error = 4 * np.sqrt(1 / (2 * times) + np.var(claimed, axis=0) / spread**2 / times)
    assert (np.abs(np.median(claimed, axis=0) / spread - 1) < error).all()
    assert (np.median(naive, axis=0) < 0.75 * spread).all()


def case(spec: ModelSpec) -> Ordering:
    chosen, *_ = ordering_of(simulate(four_clusters(), 300, 8), spec)
    return chosen


@pytest.mark.parametrize(
    ("name", "place"), [("mean[x2]", 1), ("intercept", 2), ("slope[x1]", 3), ("slope[x2]", 4)]
)
def test_a_named_variable(name: str, place: int) -> None:
    spec = four_spec(ordering=name)
    chosen, xi, covariance = ordering_of(simulate(four_clusters(), 300, 8), spec)
    assert chosen.kind == "variable"
    np.testing.assert_array_equal(chosen.direction, np.eye(5)[place])
    gap = oracles.smallest_gap(np.eye(5)[place], xi, covariance)
    assert chosen.separation == pytest.approx(gap, rel=1e-12)
    assert name in chosen.text


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"ordering": "sigma"}, "afterwards ordered by sigma"),
        ({"ordering": "none"}, "left free while sampling"),
        ({"n_clusters": 1}, "One cluster"),
        ({"priors": Priors(weight=Fixed(value=[0.1, 0.2, 0.3, 0.4]))}, "fixed values"),
    ],
)
def test_no_constraint(changes: dict[str, object], words: str) -> None:
    chosen = case(four_spec(**changes))
    assert (chosen.kind, chosen.direction) == ("none", None)
    assert words in chosen.text


def test_locations_in_units_of_their_priors() -> None:
    priors = Priors(
        mean=Normal(loc=1.0, scale=2.0),
        intercept=StudentT(df=3.0, loc=-1.0, scale=4.0),
        slope=Normal(loc=0.5, scale=0.1),
    )
    spec = ModelSpec(
        n_clusters=2, features=["a"], predictors=["u", "a"], response="y",
        priors=priors, standardize=False,
    )  # fmt: skip
    values = {
        "weight": np.array([0.5, 0.5]),
        "mean": np.array([[3.0], [5.0]]),
        "covariance": np.ones((2, 1, 1)),
        "intercept": np.array([3.0, 7.0]),
        "slope": np.array([[0.6, 0.7], [0.4, 0.5]]),
        "sigma": np.ones(2),
    }
    rng = np.random.default_rng(9)
    dataset = make_dataset({name: rng.normal(size=30) for name in "auy"}, spec)
    xi = standard_locations(dataset.scaling.to_model(mode_of(values).parameters), spec)
    np.testing.assert_allclose(xi, [[1, 1, 1, 2], [2, 2, -1, 0]], rtol=0, atol=1e-14)
    names = [(item.parameter, item.column) for item in coordinates(spec)]
    assert names == [("mean", "a"), ("intercept", None), ("slope", "u"), ("slope", "a")]


@pytest.mark.parametrize(
    ("changes", "columns"),
    [({}, (0, 1, 2)), ({"intercept": False}, (1, 2)),
     ({"priors": Priors(slope=Fixed(value=1.0))}, (0,))],
)  # fmt: skip
def test_covariance_is_that_of_weighted_least_squares(
    changes: dict[str, object], columns: tuple[int, ...]
) -> None:
    rng, n = np.random.default_rng(10), 80
    spec = ModelSpec(
        **{"n_clusters": 3, "features": ("a", "b"), "predictors": ("c", "a"), "response": "y",
           "standardize": False, **changes}
    )  # fmt: skip
    values = oracles.draw_values(rng, 3, 2, 2)
    table = {name: rng.normal(size=n) for name in "abcy"}
    scaling = make_dataset(table, spec).scaling
    share, u = rng.dirichlet(np.ones(3), n), np.column_stack([table["c"], table["a"]])
    found = location_covariance(
        scaling.to_model(mode_of(values).parameters),
        spec,
        share,
        Rows(np.zeros((n, 2)), u, np.zeros(n)),
    )
    design = np.column_stack([np.ones(n), u])[:, columns]
    for j in range(3):
        means = values["covariance"][j] / share[:, j].sum()
        gram = sum(share[i, j] * np.outer(design[i], design[i]) for i in range(n))
        lines = values["sigma"][j] ** 2 * np.linalg.inv(gram)
        # The prior's scale is 2.5 for all of them; well conditioned, hence some roundings.
        np.testing.assert_allclose(found[j][:2, :2], means / 2.5**2, rtol=1e-12)
        np.testing.assert_allclose(found[j][2:, 2:], lines / 2.5**2, rtol=1e-11, atol=1e-15)
        assert not found[j][:2, 2:].any()
        np.testing.assert_allclose(found[j], found[j].T, rtol=1e-13)


def test_covariance_is_that_of_estimates() -> None:
    rng, size, times = np.random.default_rng(11), (60, 90), 600
    spec = ModelSpec(
        n_clusters=2, features=["a"], predictors=["a", "c"], response="y", standardize=False
    )
    values = oracles.draw_values(rng, 2, 1, 2)
    hard = np.repeat([0, 1], size)
    estimates, claims = np.empty((times, 2, 4)), np.empty((times, 2, 4, 4))
    for t in range(times):
        a = values["mean"][hard, 0] + np.sqrt(values["covariance"][hard, 0, 0]) * rng.normal(
            size=len(hard)
        )
        u = np.column_stack([a, rng.normal(size=len(hard))])
        line = values["intercept"][hard] + (u * values["slope"][hard]).sum(1)
        y = line + values["sigma"][hard] * rng.normal(size=len(hard))
        design = np.column_stack([np.ones(len(hard)), u])
        for j in range(2):
            own = hard == j
            estimates[t, j, 0] = a[own].mean()
            estimates[t, j, 1:] = np.linalg.lstsq(design[own], y[own], rcond=None)[0]
        if t == 0:
            scaling = make_dataset({"a": a, "c": u[:, 1], "y": y}, spec).scaling
        claims[t] = location_covariance(
            scaling.to_model(mode_of(values).parameters),
            spec,
            np.eye(2)[hard],
            Rows(a[:, None], u, y),
        )
    for j in range(2):
        covariance, claim = np.cov(estimates[:, j].T / 2.5), claims[:, j].mean(0)
        variance = np.diag(claim)
        # Four standard errors of a sample covariance (Wishart).
        error = 4 * np.sqrt((np.outer(variance, variance) + claim**2) / times)
        assert (np.abs(covariance - claim) < error).all()
