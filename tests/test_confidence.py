"""How sure labels are: what is compared, with what, and the shares by hand and by SciPy."""

from dataclasses import replace

import numpy as np
import oracles
import pytest
from scipy.stats import multivariate_normal

from jointmix.families.parameters import Parameters
from jointmix.families.rows import Rows
from jointmix.labels import confidence as module
from jointmix.labels.assignment import switch_rate
from jointmix.labels.confidence import (
    Allocations,
    Responsibilities,
    _log_normal,
    agreement,
    compared_draws,
    confidence,
    label_parameters,
    other_method,
    true_permutation_share,
)
from jointmix.labels.relabel import ecr, stephens
from jointmix.model.spec import ModelSpec

K, DRAWS, N = 3, 60, 120
SPEC = ModelSpec(n_clusters=K, features=["a", "b"], predictors=["a", "b"], response="y")
TRUTH = {
    "weight": np.array([0.5, 0.3, 0.2]),
    "mean": np.array([[0.0, 0.0], [6.0, 0.0], [0.0, 6.0]]),
    "covariance": np.array([[[1.0, 0.3], [0.3, 0.5]], [[0.6, 0.0], [0.0, 1.2]], np.eye(2)]),
    "intercept": np.array([0.0, 2.0, -2.0]),
    "slope": np.array([[1.0, 0.0], [0.0, 1.0], [-1.0, 1.0]]),
    "sigma": np.array([0.5, 0.7, 0.9]),
}


#: The same clusters one standard deviation apart: rows change sides from draw to draw.
CLOSE = TRUTH | {"mean": TRUTH["mean"] / 6, "intercept": TRUTH["intercept"] / 4}


def known(
    seed: int = 1, truth: oracles.Values = TRUTH
) -> tuple[Rows, Parameters, np.ndarray, list[oracles.Values]]:
    """Rows, draws about the truth under random labels, what undoes those, and the draws."""
    rng = np.random.default_rng(seed)
    table = oracles.draw_columns(rng, truth, ("a", "b"), ("a", "b"), "y", N)
    x = oracles.columns(table, ("a", "b"), N)
    draws, plan = [], np.stack([rng.permutation(K) for _ in range(DRAWS)])
    for order in plan:
        near = oracles.displaced(truth, oracles.draw_direction(rng, truth), 0.03, x)
        draws.append({name: value[order] for name, value in near.items()})
    factored = [oracles.factored(draw) for draw in draws]
    stacked = {name: np.stack([draw[name] for draw in factored]) for name in factored[0]}
    return Rows(x, x, table["y"]), Parameters(**stacked), np.argsort(plan, axis=1), draws


@pytest.mark.parametrize(
    ("method", "other"), [("ecr", "stephens"), ("order_by", "ecr"), ("stephens", "ecr")]
)
def test_clear_clusters_are_sure_by_either_method(method: str, other: str) -> None:
    rows, parameters, permutation, _ = known()
    found = confidence(rows, parameters, permutation, SPEC, method)
    assert (found.agreement, found.other, found.n_compared) == (1.0, other, DRAWS)
    assert found.true_permutations == 1.0
    assert found.switch_rate == switch_rate(permutation) > 0.5


@pytest.mark.parametrize("method", ["ecr", "stephens"])
def test_draws_labelled_wrongly_are_the_share_of_disagreement(method: str) -> None:
    rows, parameters, permutation, _ = known()
    wrong = permutation.copy()
    wrong[:6] = wrong[:6][:, [1, 0, 2]]
    found = confidence(rows, parameters, wrong, SPEC, method)
    assert found.agreement == pytest.approx(1 - 6 / DRAWS, abs=1e-15)
    # Each draw's components still fall one by one into the clusters, whatever their names.
    assert found.true_permutations == 1.0


def test_sorted_clusters_that_cross_are_told_by_the_pivot() -> None:
    rows, parameters, permutation, draws = known()
    # Sorted by a variable that says nothing, half of all draws are exchanged.
    order = permutation.copy()
    order[::2] = order[::2][:, [1, 0, 2]]
    shares = oracles.responsibility(draws[0], rows.x, rows.u, rows.y)[:, permutation[0]]
    found = confidence(rows, parameters, order, SPEC, "order_by", shares.argmax(-1))
    assert (found.agreement, found.other) == (0.5, "ecr")


def test_two_components_in_one_cluster_are_no_true_permutation() -> None:
    rows, parameters, permutation, _ = known()
    arrays = {name: value.copy() for name, value in parameters.each().items()}
    for draw in range(9):
        first, second = permutation[draw, :2]
        for value in arrays.values():
            value[draw, second] = value[draw, first]
    doubled = Parameters(**arrays)
    assert confidence(rows, doubled, permutation, SPEC, "ecr").true_permutations == 1 - 9 / DRAWS


@pytest.mark.parametrize("method", ["ecr", "stephens", "none"])
def test_nothing_is_compared_where_labels_cannot_switch(method: str) -> None:
    rows, parameters, _, _ = known()
    one = ModelSpec(n_clusters=1, features=["a", "b"], predictors=["a", "b"], response="y")
    permutation = np.zeros((DRAWS, 1), dtype=int)
    found = confidence(rows, parameters.permute(np.array([0])), permutation, one, method)
    assert (found.agreement, found.other, found.n_compared) == (1.0, "none", 0)
    assert (found.true_permutations, found.switch_rate) == (1.0, 0.0)


@pytest.mark.kernel
def test_responsibilities_and_allocations_are_bayes_rule_by_blocks() -> None:
    rows, parameters, _, draws = known()
    values = Responsibilities(rows, parameters, SPEC)
    expected = np.stack([oracles.responsibility(draw, rows.x, rows.u, rows.y) for draw in draws])
    assert values.shape == expected.shape == (DRAWS, N, K)
    # Log densities of up to 1e3 carry 1e-13, the relative error of the probabilities.
    np.testing.assert_allclose(values[10:25], expected[10:25], rtol=1e-10, atol=1e-13)
    hard = Allocations(values)
    assert hard.shape == (DRAWS, N)
    np.testing.assert_array_equal(hard[5:8], expected[5:8].argmax(-1))


@pytest.mark.parametrize("truth", [TRUTH, CLOSE], ids=["apart", "close"])
def test_the_other_method_is_that_function_on_those_draws(truth: oracles.Values) -> None:
    rows, parameters, permutation, draws = known(truth=truth)
    values = Responsibilities(rows, parameters, SPEC)
    name, found = other_method(values, permutation, "ecr")
    assert name == "stephens"
    np.testing.assert_array_equal(found, stephens(values[0:DRAWS], permutation))
    shares = [oracles.responsibility(draw, rows.x, rows.u, rows.y) for draw in draws]
    mean = sum(share[:, order] for share, order in zip(shares, permutation, strict=True))
    hard = np.stack([share.argmax(-1) for share in shares])
    last = shares[-1][:, permutation[-1]]
    assert np.array_equal(last.argmax(-1), mean.argmax(-1)) == (truth is TRUTH)
    name, found = other_method(values, permutation, "stephens")
    assert name == "ecr"
    np.testing.assert_array_equal(found, ecr(hard, mean.argmax(-1), K))


@pytest.mark.parametrize(
    ("n_draws", "numbers", "count"),
    [
        (50, 10, 50),
        (4000, 10_000, 4000),
        (4000, 20_000, 2000),
        # However large the problem, 200 draws; however small, 10,000.
        (4000, 10**9, 200),
        (40_000, 1, 10_000),
        (40_000, 0, 10_000),
        (1, 10**9, 1),
    ],
)
def test_compared_draws_are_evenly_spaced(n_draws: int, numbers: int, count: int) -> None:
    kept = compared_draws(n_draws, numbers)
    assert len(kept) == count
    assert (kept[0], kept[-1]) == (0, n_draws - 1)
    if count > 1:
        assert np.ptp(np.diff(kept)) <= 1


def test_fewer_draws_are_compared_where_there_are_many_numbers(monkeypatch) -> None:
    rows, parameters, permutation, _ = known()
    monkeypatch.setattr(module, "_MOST_NUMBERS", 30 * N * K)
    monkeypatch.setattr(module, "_SAMPLED_NUMBERS", 30 * N * K)
    monkeypatch.setattr(module, "_LEAST_DRAWS", 2)
    found = confidence(rows, parameters, permutation, SPEC, "ecr")
    assert (found.n_compared, found.agreement) == (30, 1.0)
    # The share of switched labels is known of all draws.
    assert found.switch_rate == switch_rate(permutation)


def test_label_parameters_by_hand() -> None:
    _, parameters, _, draws = known()
    points = label_parameters(parameters, SPEC)
    assert points.shape == (DRAWS, K, 2 + 2 + 1 + 2 + 1)
    first = draws[0]
    sd = np.sqrt(np.diagonal(first["covariance"], axis1=1, axis2=2))
    line = (first["intercept"][:, None], first["slope"], np.log(first["sigma"])[:, None])
    expected = np.concatenate([first["mean"], np.log(sd), *line], axis=1)
    np.testing.assert_allclose(points[0], expected, rtol=0, atol=1e-14)


def test_parameters_that_all_clusters_share_tell_nothing() -> None:
    _, parameters, _, _ = known()
    arrays = parameters.each()
    arrays["sigma"] = np.broadcast_to(arrays["sigma"][:, :1], (DRAWS, K))
    assert label_parameters(Parameters(**arrays), SPEC).shape == (DRAWS, K, 7)
    half = Parameters(weight=arrays["weight"], mean=arrays["mean"], cholesky=arrays["cholesky"])
    features = ModelSpec(n_clusters=K, features=["a", "b"])
    assert label_parameters(half, features).shape == (DRAWS, K, 4)


def test_shapes_tell_clusters_apart_by_their_logarithm() -> None:
    _, parameters, _, _ = known()
    df = np.random.default_rng(8).uniform(2, 40, (DRAWS, K))
    student = replace(SPEC, family="student_t")
    points = label_parameters(parameters.replace(df=df), student)
    np.testing.assert_array_equal(points[..., :-1], label_parameters(parameters, SPEC))
    np.testing.assert_array_equal(points[..., -1], np.log(df))


@pytest.mark.parametrize("unit", [1e-6, 1.0, 1e6])
def test_true_permutations_have_no_unit(unit: float) -> None:
    rng = np.random.default_rng(3)
    centers = np.array([[0.0, 0.0], [8.0, 0.0], [0.0, 8.0]])
    points = centers + rng.normal(size=(300, 3, 2))
    points[:30, 1] = points[:30, 0]
    assert true_permutation_share(points * np.array([unit, 1 / unit])) == 0.9
    # What never varies says nothing, whatever its value.
    offset = true_permutation_share(points + np.array([1e6, -1e6]))
    assert offset == 0.9


def test_groups_are_scored_by_the_normal_density_of_their_members() -> None:
    rng = np.random.default_rng(4)
    members = rng.normal(size=(9, 2)) @ np.array([[2.0, 0.5], [0.0, 1.0]]) + 3
    points = rng.normal(3, 2, (20, 2))
    covariance = np.cov(members.T)
    expected = multivariate_normal(members.mean(0), covariance).logpdf(points) + np.log(2 * np.pi)
    # The ridge on the diagonal is 1e-6 of the variances, over an eigenvalue of half of them.
    np.testing.assert_allclose(_log_normal(points, members), expected, rtol=0, atol=1e-3)
    ridge = covariance + (1e-9 + 1e-6 * np.trace(covariance) / 2) * np.eye(2)
    exact = multivariate_normal(members.mean(0), ridge).logpdf(points) + np.log(2 * np.pi)
    np.testing.assert_allclose(_log_normal(points, members), exact, rtol=1e-10, atol=1e-10)


def test_a_group_on_a_line_still_has_a_density() -> None:
    members = np.outer(np.arange(10.0), [1.0, 1.0])
    score = _log_normal(np.array([[4.5, 4.5], [4.5, 4.6]]), members)
    # Along the line the variance is 2 · 55/6; across, the ridge of 1e-9 + 1e-6 · 55/6 alone.
    ridge = 1e-9 + 1e-6 * 55 / 6
    top = -0.5 * np.log((2 * 55 / 6 + ridge) * ridge)
    # The second point lies 0.1 / √2 off, both along the line and across.
    away = 0.5 * 0.1**2 / 2 * (1 / ridge + 1 / (2 * 55 / 6 + ridge))
    # Factorising a matrix of condition number 2e6 costs that many roundings.
    np.testing.assert_allclose(score, [top, top - away], rtol=1e-8)


@pytest.mark.parametrize(("n", "scored"), [(0, False), (3, False), (4, True)])
def test_a_group_too_small_for_a_covariance_attracts_nothing(n: int, scored: bool) -> None:
    members = np.array([[0.0, 0.0], [1.0, 0.2], [0.1, 1.0], [1.3, 1.4]])[:n]
    score = _log_normal(np.zeros((5, 2)), members)
    assert score.shape == (5,)
    assert np.isfinite(score).all() if scored else (score == -np.inf).all()


def test_agreement_compares_draw_by_draw() -> None:
    one = np.array([[0, 1, 2], [0, 1, 2], [1, 2, 0], [2, 1, 0]])
    turned = one[:, [1, 2, 0]]
    assert agreement(one, turned) == 1.0
    turned[3] = [0, 1, 2]
    assert agreement(one, turned) == 0.75
