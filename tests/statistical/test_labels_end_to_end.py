"""From a table to labels where no coordinate, only slopes, or nothing tells clusters apart."""

import json

import numpy as np
import pandas as pd
import pytest
from conftest import more

from jointmix import ModelSpec, SamplerSpec, diagnose, fit
from jointmix.labels import agreement

pytestmark = pytest.mark.slow

SHORT = SamplerSpec(draws=500, tune=500)
SEEDS = [1, *(pytest.param(seed, marks=more) for seed in (2, 3))]


@pytest.mark.parametrize("seed", SEEDS)
def test_crossing_lines_with_equal_features(seed: int) -> None:
    rng = np.random.default_rng(seed)
    x, z = rng.normal(size=400), rng.integers(0, 2, 400)
    y = np.where(z == 0, 1.0, -1.0) * x + 0.2 * rng.normal(size=400)
    spec = ModelSpec(n_clusters=2, features=["x"], predictors=["x"], response="y", sampler=SHORT)
    tree = fit(pd.DataFrame({"x": x, "y": y}), spec, seed=seed)
    assert diagnose(tree).verdict == "OK", str(diagnose(tree))
    slope = np.sort(tree["posterior"]["slope"].mean(("chain", "draw")).values.ravel())
    assert slope == pytest.approx([-1, 1], abs=0.1)
    assert json.loads(tree.attrs["ordering"])["kind"] == "direction"


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("distance", [0.0, 1.0])
def test_clusters_that_overlap_are_called_weak(distance: float, seed: int) -> None:
    rng = np.random.default_rng([seed, int(10 * distance)])
    x = rng.normal(size=300) + distance * rng.integers(0, 2, 300)
    spec = ModelSpec(n_clusters=2, features=["x"], sampler=SHORT)
    tree = fit(pd.DataFrame({"x": x}), spec, seed=seed)
    ordering = json.loads(tree.attrs["ordering"])
    assert ordering["kind"] == "none"
    assert "labels are weak" in ordering["text"]
    diagnosis = diagnose(tree)
    assert diagnosis.verdict != "OK"
    assert "separation" in {each.code for each in diagnosis.concerns}


@pytest.mark.parametrize("ordering", ["none", "mean[x]", "weight", "auto"])
def test_every_ordering_gives_the_same_posterior(ordering: str) -> None:
    """Two far clusters: whatever labels are ordered by, the sorted means have the same law."""
    rng = np.random.default_rng(8)
    x = rng.normal(size=300) + 6 * (np.arange(300) < 100)
    spec = ModelSpec(n_clusters=2, features=["x"], ordering=ordering, sampler=SHORT)
    tree = fit(pd.DataFrame({"x": x}), spec, seed=3)
    assert diagnose(tree).verdict == "OK", str(diagnose(tree))
    means = np.sort(tree["posterior"]["mean"].values[..., 0], axis=-1).reshape(-1, 2)
    own = [x[x < 3], x[x >= 3]]
    for draws, part in zip(means.T, own, strict=True):
        error = part.std() / np.sqrt(len(part))
        # The prior is wide: means within a tenth of their standard error, sds within a tenth.
        assert abs(draws.mean() - part.mean()) < 0.1 * error + 4 * error / np.sqrt(1000)
        assert draws.std() == pytest.approx(error, rel=0.12)
    permutation = tree["labels"]["permutation"].values.reshape(-1, 2)
    assert agreement(permutation, np.tile([0, 1], (len(permutation), 1))) == 1
