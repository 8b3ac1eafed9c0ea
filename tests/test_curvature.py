"""Second derivatives from scores of rows, against differences of the posterior's gradient."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from conftest import STRUCTURES, table
from scipy.special import logit

import jointmix as jm
from jointmix.kernel.entry import value_and_gradient
from jointmix.kernel.problem import make_problem, n_free
from jointmix.model.dataset import make_dataset
from jointmix.model.spec import ModelSpec
from jointmix.modes import curvature as subject
from jointmix.modes.curvature import curvature

#: More rows than one tile has, and than have their scores in memory at a time.
N = 600


def others() -> dict[str, ModelSpec]:
    """What `STRUCTURES` lacks: other families, and weights of rows."""
    base = STRUCTURES["four clusters, overlapping"]
    plain = {"n_clusters": 3, "predictors": ("u",)}
    return {
        "Student-t": replace(base, family="student_t"),
        "weights of rows": replace(base, row_weights="times"),
        "heavy tails": ModelSpec(features=("a", "b"), feature_family="student_t", n_clusters=2),
        "levels and counts": ModelSpec(features=("a", "word", "visits"), response="y", **plain),
        "counted": ModelSpec(features=("a",), response="visits", family="poisson", **plain),
        "spread counts": ModelSpec(response="visits", family="negative_binomial", **plain),
        "positive": ModelSpec(response="time", family="gamma", **plain),
    }


SPECS = STRUCTURES | others()


def mixed(n: int = N) -> pd.DataFrame:
    """The usual table with words, counts, times, a number of the line's own and weights."""
    rng = np.random.default_rng(5)
    extra = {
        "word": rng.choice(["high", "low", "mid"], n), "visits": rng.poisson(3.0, n),
        "time": rng.gamma(2.0, size=n), "u": rng.normal(size=n), "times": rng.integers(1, 5, n),
    }  # fmt: skip
    return pd.DataFrame(dict(table(n))).assign(**extra)


def by_differences(problem: np.ndarray, at: np.ndarray) -> np.ndarray:
    """By central differences: of third derivatives a step leaves less than rounding."""
    steps = 1e-5 * np.eye(len(at))
    ahead, behind = (
        np.array([value_and_gradient(problem, at + sign * step)[1] for step in steps])
        for sign in (1, -1)
    )
    found = (behind - ahead) / 2e-5
    return (found + found.T) / 2


@pytest.mark.parametrize("name", SPECS)
def test_it_is_that_of_the_posterior(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(subject, "_ROWS", 250)
    spec = SPECS[name]
    problem = make_problem(make_dataset(mixed(), spec))
    at = 0.5 * np.random.default_rng(1).normal(size=n_free(spec))
    found, expected = curvature(problem, at), by_differences(problem, at)
    # Differences to one side over 1e-5, where third derivatives are of the size of second ones.
    assert np.abs(found - expected).max() < 1e-4 * np.abs(expected).max(initial=1.0)


def test_rows_that_are_sure_of_their_cluster_add_what_they_have() -> None:
    """Of clusters far apart no row is in doubt; of a few rows between them each counts."""
    rng = np.random.default_rng(2)
    x = np.r_[rng.normal(0, 1, 300), rng.normal(300, 1, 300), 150.0]
    spec = ModelSpec(features=("x",), n_clusters=2, standardize=False)
    for rows in (x[:-1], x):
        problem = make_problem(make_dataset({"x": rows}, spec))
        at = np.zeros(n_free(spec))
        mode = jm.fit_em({"x": rows}, spec, seed=1).best.parameters
        at[0] = logit(mode.weight[0])
        at[1:3] = mode.mean.ravel() / spec.priors.mean.scale
        found, expected = curvature(problem, at), by_differences(problem, at)
        assert np.abs(found - expected).max() < 1e-4 * np.abs(expected).max()


def test_rows_that_miss_entries_are_taken_too() -> None:
    gaps = mixed()
    gaps.loc[::5, "a"] = np.nan
    spec = ModelSpec(features=("a", "b"), n_clusters=2, missing="model")
    problem = make_problem(make_dataset(gaps, spec))
    at = 0.5 * np.random.default_rng(1).normal(size=n_free(spec))
    found, expected = curvature(problem, at), by_differences(problem, at)
    assert np.abs(found - expected).max() < 1e-4 * np.abs(expected).max()
