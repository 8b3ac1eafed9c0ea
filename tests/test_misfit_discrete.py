"""Departures of words and counts from the model within clusters are found and named."""

from collections.abc import Callable

import numpy as np
import pandas as pd
import pytest
import xarray as xr

import jointmix as jm
from jointmix.checks.misfit import check
from jointmix.families.feature import Feature
from jointmix.families.parameters import Parameters
from jointmix.families.rows import Rows
from jointmix.families.specified import Discrete
from jointmix.posterior.misfit import deviations

QUICK = jm.SamplerSpec(sampler="laplace", draws=60, chains=2, starts=4)
FEATURES = {
    "x1": "normal", "x2": "normal", "sex": "bernoulli", "ward": "categorical", "visits": "poisson",
}  # fmt: skip
WARDS = np.array(["east", "north", "west"])


def clean(rng: np.random.Generator, n: int) -> tuple[pd.DataFrame, np.ndarray]:
    """Two clusters four standard deviations apart, all features independent inside."""
    z, x = rng.integers(2, size=n), rng.normal(size=(n, 2))
    x[:, 0] += 4 * z
    table = pd.DataFrame(x, columns=["x1", "x2"])
    table["sex"] = rng.random(n) < np.array([0.3, 0.6])[z]
    ward = rng.random(n) + 0.2 * z
    table["ward"] = WARDS[np.digitize(ward, [0.4, 0.8])]
    table["visits"] = rng.poisson(np.array([2.0, 6.0])[z])
    table["y"] = np.where(z == 1, 1.5, -1.0) * x[:, 0] + 0.5 * rng.normal(size=n)
    return table, z


def paired(rng: np.random.Generator, n: int) -> pd.DataFrame:
    table, _ = clean(rng, n)
    same = rng.random(n) < 0.5
    return table.assign(ward=np.where(same & table["sex"], "north", table["ward"]))


def following(rng: np.random.Generator, n: int) -> pd.DataFrame:
    table, _ = clean(rng, n)
    return table.assign(sex=table["x2"] + rng.normal(size=n) > 0.3)


def overspread(rng: np.random.Generator, n: int) -> pd.DataFrame:
    table, z = clean(rng, n)
    return table.assign(visits=rng.poisson(rng.gamma(3.0, np.array([2.0, 6.0])[z] / 3.0)))


def leaning(rng: np.random.Generator, n: int) -> pd.DataFrame:
    table, z = clean(rng, n)
    rate = np.array([2.0, 6.0])[z] * np.exp(0.3 * table["x2"] - 0.045)
    return table.assign(visits=rng.poisson(rate))


def shifted(rng: np.random.Generator, n: int) -> pd.DataFrame:
    table, _ = clean(rng, n)
    return table.assign(y=table["y"] + 0.4 * table["sex"])


#: What is planted, what is said, and what is advised.
PLANTED: dict[str, tuple[Callable[..., pd.DataFrame], str, str]] = {
    "two words": (paired, "'sex' and 'ward' depend on each other within clusters", "one column of"),
    "a word on a number": (following, "'sex' depends on 'x2' within clusters", "more clusters"),
    "spread counts": (overspread, "counts of 'visits' are spread", '{\'visits\': "negative_bin'),
    "a count on a number": (leaning, "'visits' depends on 'x2' within clusters", "more clusters"),
    "a response on a word": (
        shifted, "'y' changes with 'sex' within clusters, which is no predictor", "Add 'sex'",
    ),
}  # fmt: skip


def fitted(table: pd.DataFrame, **changes: object) -> xr.DataTree:
    options = {"features": FEATURES, "predictors": ["x1"], "response": "y"} | changes
    spec = jm.ModelSpec(n_clusters=2, sampler=QUICK, **options)  # type: ignore[arg-type]
    return jm.fit(table, spec, progress=False)


@pytest.mark.parametrize("name", PLANTED)
def test_what_is_planted_is_named_with_what_to_try(name: str) -> None:
    make, said, advice = PLANTED[name]
    (finding,) = check(fitted(make(np.random.default_rng(11), 500)))
    assert finding.status == "caution"
    assert said in finding.message
    assert advice in finding.remedy


def test_what_is_advised_helps() -> None:
    table = overspread(np.random.default_rng(12), 500)
    (finding,) = check(fitted(table, features=FEATURES | {"visits": "negative_binomial"}))
    assert finding.status == "ok"


def test_rows_of_the_model_raise_nothing_and_all_is_tested() -> None:
    table, _ = clean(np.random.default_rng(13), 500)
    table["ward"] = table["ward"].where(np.arange(500) % 9 > 0)
    found = fitted(table, missing="model")
    (finding,) = check(found)
    assert finding.status == "ok"
    kinds = [each.kind for each in deviations(found)]
    assert [kinds.count(kind) for kind in ("together", "follows", "spread")] == [3, 6, 1]


@pytest.mark.parametrize("family", ["categorical", "poisson", "negative_binomial"])
def test_functions_have_the_moments_they_say(family: str) -> None:
    """Under the model: means zero, variances one, uncorrelated, by sums over all values."""
    levels = tuple("uvwxyz") if family == "categorical" else ()
    spec = jm.ModelSpec(
        n_clusters=1, features=(), types=(Discrete("a", family, "a", levels),), response=None
    )
    (block,) = spec.blocks
    assert isinstance(block, Feature)
    values = np.arange(6.0 if levels else 3_000.0)
    nothing = np.zeros((len(values), 0))
    rows = Rows(nothing, nothing, values, discrete=values[:, None])
    p = np.array([[0.3, 0.002, 0.25, 0.25, 0.1, 0.098]])
    parameters = Parameters(
        probability_a=p, rate_a=np.array([6.5]), size_a=np.array([2.5]), weight=np.ones(1)
    )
    found = block.told_apart(parameters, rows, 0, 200.0)
    mass = np.exp(block.log_density(parameters, rows)[:, 0])
    # Of the rarest levels, 0.2 of 200 rows expected, one group is made.
    assert len(found) == (4 if levels else 2)
    np.testing.assert_allclose(found @ mass, 0, atol=1e-10)
    np.testing.assert_allclose((found * mass) @ found.T, np.eye(len(found)), atol=1e-10)
