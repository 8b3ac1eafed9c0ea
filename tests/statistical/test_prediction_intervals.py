"""Predictive intervals hold as many new responses as they say, over many data sets."""

import numpy as np
import pytest
from conftest import how_many

import jointmix as jm
from jointmix.model.simulate import simulate
from jointmix.model.truth import Truth

pytestmark = pytest.mark.slow

N_SETS, N_ROWS, N_NEW = how_many(30, 200), 150, 200
#: Room for three standard errors of the mean over data sets, of 200 a hundredth.
ROOM = 0.01 * np.sqrt(200 / N_SETS)
QUICK = jm.SamplerSpec(draws=250, tune=250, chains=2, starts=8)


def random_truth(rng: np.random.Generator) -> Truth:
    """Two clusters in one feature, from clear to overlapping, with slopes of any sign."""
    gap = rng.uniform(1.5, 6.0)
    share = rng.uniform(0.25, 0.75)
    return Truth(
        weight=np.array([share, 1 - share]),
        mean=np.array([[-gap / 2], [gap / 2]]),
        covariance=rng.uniform(0.3, 1.5, (2, 1, 1)),
        intercept=rng.normal(0, 3, 2),
        slope=rng.normal(0, 2, (2, 1)),
        sigma=rng.uniform(0.3, 1.5, 2),
        features=["x"],
        predictors=["x"],
        response="y",
    )


def test_coverage_over_many_data_sets() -> None:
    rng = np.random.default_rng(2026)
    spec = jm.ModelSpec(n_clusters=2, features=["x"], predictors=["x"], response="y", sampler=QUICK)
    held = {0.5: [], 0.9: []}
    score = []
    for index in range(N_SETS):
        truth = random_truth(rng)
        tree = jm.fit(simulate(truth, N_ROWS, rng), spec, seed=index)
        new = simulate(truth, N_NEW, rng)
        found = jm.predict(tree, new, (0.05, 0.25, 0.75, 0.95))["quantiles"].values
        y = new["y"].to_numpy()
        for level, (low, high) in {0.9: (0, 3), 0.5: (1, 2)}.items():
            held[level].append(float(((y >= found[:, low]) & (y <= found[:, high])).mean()))
        if index % 4 == 0:
            score.append(float(jm.loo(tree).pointwise["pit"].mean()))
    # The narrow interval varies more with the estimate of the noise.
    for level, allowed in ((0.9, ROOM), (0.5, np.inf)):
        error = 3 * np.std(held[level]) / np.sqrt(N_SETS)
        assert error < allowed
        assert abs(np.mean(held[level]) - level) < min(allowed, error), (
            np.mean(held[level]),
            error,
        )
    assert abs(np.mean(score) - 0.5) < ROOM
