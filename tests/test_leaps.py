"""Leaps of EM: where a geometric way ends, never down, to the optimum of clusters that overlap."""

from unittest.mock import patch

import numpy as np
import pandas as pd
import pytest
from scipy.optimize import minimize
from scipy.special import logsumexp
from scipy.stats import nbinom

import jointmix as jm
from jointmix.families.parameters import Parameters
from jointmix.model.dataset import make_dataset
from jointmix.modes import climb as climbing
from jointmix.modes.climb import climb, expect
from jointmix.modes.leaps import leap, replaced
from jointmix.modes.mstep import Problem, make_problem, maximise


def problem_of(table: pd.DataFrame, **options: object) -> Problem:
    return make_problem(make_dataset(table, jm.ModelSpec(n_clusters=2, **options)))  # type: ignore[arg-type]


def many_kinds() -> Problem:
    rng = np.random.default_rng(2)
    z = rng.integers(2, size=150)
    table = pd.DataFrame({"a": rng.normal(size=150) + z, "b": rng.normal(size=150)})
    table["word"] = np.array(["one", "other", "third"])[rng.integers(3, size=150)]
    table["n"] = rng.poisson(2 + 3 * z)
    table["y"] = table["a"] + rng.standard_t(4, size=150)
    features = {"a": "normal", "b": "normal", "word": "categorical", "n": "negative_binomial"}
    return problem_of(table, features=features, predictors=["a"], response="y", family="student_t")


def halves(column: np.ndarray) -> np.ndarray:
    """Responsibilities (1, cluster, obs) of the rows below the median and above it."""
    high = column > np.median(column)
    return np.stack([~high, high]).astype(float)[None]


def steps_of(problem: Problem, n: int) -> list[Parameters]:
    share = halves(problem.values[:, 0])
    found = [maximise(problem, share, None)]
    for _ in range(n):
        found.append(maximise(problem, expect(problem, found[-1])[0], found[-1]))
    return found


def test_a_leap_of_one_step_leads_to_where_the_steps_ended() -> None:
    problem = many_kinds()
    before, middle, after = steps_of(problem, 5)[-3:]
    found, length = leap(before, middle, after, np.ones(1), problem.spec)
    assert length.tolist() == [1.0]
    for name, value in after.items():
        # Logarithms and back.
        np.testing.assert_allclose(found[name], value, rtol=1e-12, atol=1e-14)


def test_a_leap_leads_to_where_a_geometric_way_ends() -> None:
    problem = problem_of(pd.DataFrame({"x": np.arange(9.0)}), features=["x"])
    end = {"weight": np.array([[0.3, 0.7]]), "mean": np.array([[[-1.0], [2.0]]]),
           "cholesky": np.array([[[[0.5]], [[2.0]]]])}  # fmt: skip

    def at(left: float) -> Parameters:
        weight = end["weight"] * np.exp(left * np.array([0.4, -0.2]))
        cholesky = end["cholesky"] * np.exp(left)
        return Parameters(
            weight=weight / weight.sum(), mean=end["mean"] - 3 * left, cholesky=cholesky
        )

    # The weights' sum bends their logarithms a little, which at 1e-6 of the way is beyond notice.
    way = [at(1e-6 * 0.99**step) for step in range(3)]
    found, length = leap(*way, np.full(1, 1e6), problem.spec)
    assert abs(length[0] - 100) < 0.01
    for name, value in end.items():
        np.testing.assert_allclose(found[name], value, rtol=1e-9)


def test_places_that_fell_are_replaced() -> None:
    one, other = (Parameters(weight=np.full((3, 2), value)) for value in (0.1, 0.9))
    found = replaced(one, np.array([1]), other)["weight"]
    assert found[:, 0].tolist() == [0.1, 0.9, 0.1]
    assert (one["weight"] == 0.1).all()


def spread_counts(seed: int) -> pd.DataFrame:
    """Counts of two clusters that overlap widely: sizes 1 and 4, means 3 and 12."""
    rng = np.random.default_rng(seed)
    z = rng.integers(2, size=400)
    size, mean = np.array([1.0, 4.0])[z], np.array([3.0, 12.0])[z]
    return pd.DataFrame({"n": rng.poisson(rng.gamma(size, mean / size))})


@pytest.mark.parametrize("seed", [0, 3, 8])
def test_overlapping_clusters_of_spread_counts_are_at_their_optimum_soon(seed: int) -> None:
    table = spread_counts(seed)
    problem = problem_of(table, features={"n": "negative_binomial"})
    with patch.object(climbing, "expect", wraps=expect) as counted:
        found = climb(problem, halves(table["n"].to_numpy()), 1e-6, 3000)
    # Without leaps 1,300 to 2,700.
    assert counted.call_count < 350
    n = table["n"].to_numpy()[:, None]

    def less(free: np.ndarray) -> float:
        weight = -np.logaddexp(0, [-free[0], free[0]])
        size, mean = np.exp(free[1:3]), np.exp(free[3:])
        return -float(
            logsumexp(weight + nbinom.logpmf(n, size, size / (size + mean)), axis=1).sum()
        )

    start = np.log([found.weight[0, 0] / found.weight[0, 1], *found["size_n"][0],
                    *found["rate_n"][0]])  # fmt: skip
    assert abs(-less(start) - expect(problem, found)[1][0]) < 1e-8
    best = minimize(less, start, method="Nelder-Mead",
                    options={"xatol": 1e-6, "fatol": 1e-9, "maxiter": 4000})  # fmt: skip
    # Far below what tells optima apart, 0.01.
    assert -best.fun - expect(problem, found)[1][0] < 1e-4


def test_starts_never_fall_and_are_those_that_climb_alone() -> None:
    problem = many_kinds()
    rng = np.random.default_rng(1)
    share = np.eye(2)[:, rng.integers(2, size=(4, 150))].swapaxes(0, 1)
    levels: list[np.ndarray] = []

    def noted(own: Problem, share: np.ndarray, previous: Parameters | None) -> Parameters:
        found = maximise(own, share, previous)
        if len(share) == 1:
            levels.append(expect(own, found)[1])
        return found

    with patch.object(climbing, "_PLAIN", 5):
        together = climb(problem, share, 1e-6, 900)
        for start in range(4):
            levels.clear()
            with patch.object(climbing, "maximise", noted):
                alone = climb(problem, share[[start]], 1e-6, 900)
            # After a leap a third step leads on from where it landed, or from where steps ended.
            gains = np.diff(np.concatenate(levels))
            assert (gains > -1e-9 * np.abs(levels[-1])).all()
            found = expect(problem, together.take([start]))[1]
            # Sums over more starts round differently, and way and stop with them.
            assert abs(found - expect(problem, alone)[1]) < 1e-4
