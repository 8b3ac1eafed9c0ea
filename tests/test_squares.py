"""Densities of many points by matrix products, against the kernel's."""

from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pytest

from jointmix.families.priors.priors import Fixed, Priors
from jointmix.kernel import densities as by
from jointmix.kernel.densities import SquaredDensity, densities
from jointmix.model.dataset import Dataset, make_dataset
from jointmix.model.spec import ModelSpec
from jointmix.modes.em import fit_em
from jointmix.sampling.proposal import Posterior

N, NAMES = 4100, ("a", "b", "c", "d")


def table(seed: int = 1, n: int = N) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    cluster, mix = rng.integers(3, size=n), rng.normal(size=(3, 5, 5)) / 2 + np.eye(5)
    x = 3 * rng.normal(size=(3, 5))[cluster] + np.einsum(
        "nij,nj->ni", mix[cluster], rng.normal(size=(n, 5))
    )
    y = (x * rng.normal(size=(3, 5))[cluster]).sum(1) + rng.normal(size=n)
    found = pd.DataFrame(x, columns=[*NAMES, "u"])
    return found.assign(y=y, times=rng.uniform(0.5, 2, size=n))


def spec_of(**model: Any) -> ModelSpec:
    usual = {"n_clusters": 3, "features": NAMES, "predictors": ("a", "c", "u"), "response": "y"}
    return ModelSpec(**usual | model)


def points(dataset: Dataset, n: int = 70) -> np.ndarray:
    """Unconstrained values about those that EM finds, (n, dim)."""
    rng, posterior = np.random.default_rng(3), Posterior(dataset, None)
    start = fit_em(dataset, dataset.spec, 1).best.parameters
    at = posterior.point(dataset.scaling.to_model(start))
    return at + 0.1 * rng.normal(size=(n, len(at)))


MODELS: dict[str, dict[str, Any]] = {
    "full": {},
    "diagonal": {"covariance": "diagonal"},
    "spherical": {"covariance": "spherical"},
    "tied, shared noise": {"covariance": "tied", "noise": "shared"},
    "fixed parts": {"priors": Priors(slope=Fixed(value=0.5), weight=Fixed(value=(0.2, 0.3, 0.5)))},
    "weights": {"row_weights": "times"},
    "no response": {"features": (*NAMES, "u", "y"), "predictors": (), "response": None},
    "no predictors": {"features": (*NAMES, "u"), "predictors": ()},
    "one cluster": {"n_clusters": 1},
    "as they come": {"standardize": False},
}


@pytest.mark.parametrize("model", MODELS.values(), ids=MODELS)
def test_products_give_the_kernels_densities(model: dict[str, Any]) -> None:
    dataset = make_dataset(table(), spec_of(**model))
    assert SquaredDensity.pays(dataset)
    posterior, at = Posterior(dataset, None), points(dataset)
    squared = SquaredDensity(dataset, posterior.problem)
    one, two = squared(at, 1), squared(at, 2)
    np.testing.assert_array_equal(one, two)
    # Rounding of one sum a row.
    np.testing.assert_allclose(one, densities(posterior.problem, at), rtol=1e-12, atol=N * 1e-12)
    # The kernel was not asked in its place.
    np.testing.assert_array_equal(posterior.log_densities(at, 1), one)
    assert squared._exact


@pytest.mark.parametrize(
    "model", [{"family": "student_t"}, {"feature_family": "student_t"}, {"features": ("a", "b")}]
)
def test_other_densities_are_the_kernels(
    model: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    dataset = make_dataset(table(), spec_of(**model))
    assert not SquaredDensity.pays(dataset)
    monkeypatch.setattr(SquaredDensity, "__call__", refuse)
    at = points(dataset, 3)
    posterior = Posterior(dataset, None)
    np.testing.assert_array_equal(
        posterior.log_densities(at, 1), densities(posterior.problem, at, 1)
    )


def refuse(*_: object) -> np.ndarray:
    raise AssertionError("products were made")


def test_rows_that_are_few_or_miss_entries_are_the_kernels() -> None:
    assert not SquaredDensity.pays(make_dataset(table(n=3000), spec_of()))
    gaps = table()
    gaps.loc[7, "b"] = np.nan
    assert not SquaredDensity.pays(make_dataset(gaps, replace(spec_of(), missing="model")))


def test_where_rounding_shows_the_kernel_takes_over(monkeypatch: pytest.MonkeyPatch) -> None:
    """A cluster far from zero and narrow: squares of what is large cancel."""
    rows = table() / 1000 + 3000
    dataset = make_dataset(rows, spec_of(standardize=False, predictors=()))
    posterior, at = Posterior(dataset, None), points(dataset)
    wanted = densities(posterior.problem, at, 1)
    squared = SquaredDensity(dataset, posterior.problem)
    assert np.abs(squared._found(at, 1) - wanted).max() > 1e-3
    np.testing.assert_array_equal(squared(at, 1), wanted)
    monkeypatch.setattr(SquaredDensity, "_found", refuse)
    np.testing.assert_array_equal(squared(at, 1), wanted)
    # It was found out once.
    monkeypatch.setattr(by, "_TRIED", 0)
    np.testing.assert_array_equal(squared(at[:2], 1), wanted[:2])


@pytest.mark.parametrize("far", [1e4, -1e4, 800.0, 40.0, -40.0])
def test_points_far_out_are_no_draws_and_leave_others_as_they_are(far: float) -> None:
    dataset = make_dataset(table(), spec_of())
    posterior, at = Posterior(dataset, None), points(dataset)
    wanted = posterior.log_densities(at, 1)
    at[40] = far
    found, others = posterior.log_densities(at, 1), np.arange(len(at)) != 40
    np.testing.assert_allclose(found[others], wanted[others], rtol=1e-12)
    assert found[40] < wanted.min() - 1000
