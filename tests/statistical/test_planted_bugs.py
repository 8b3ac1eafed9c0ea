"""The calibration harness finds planted bugs, and nothing where nothing is wrong."""

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

import numpy as np
import pytest
import xarray as xr
from conftest import how_many, more

from jointmix import InverseGamma, ModelSpec, Normal, Priors, SamplerSpec
from jointmix.families.priors import coefficients
from jointmix.families.priors.priors import ScalePrior
from jointmix.fitting.workflow import fit
from jointmix.posterior.allocations import allocation_draws
from jointmix.posterior.draws import observed_rows
from jointmix.validation.calibration import Calibration, calibrate, replicates
from jointmix.validation.calibration.replicates import Analysis

pytestmark = pytest.mark.slow

Columns = dict[str, np.ndarray]
#: Short chains, not drawn again where few draws are effective: ranks need no more.
SAMPLER = SamplerSpec(draws=200, tune=250, chains=4, starts=6, cores=1, retry_budget=0)
#: Two clusters, one feature that is the predictor.
TWO = ModelSpec(n_clusters=2, features=("x",), predictors=("x",), response="y", sampler=SAMPLER)


def one_cluster(shape: float, scale: float) -> ModelSpec:
    """One cluster, and inverse-gamma priors of both variances."""
    prior = InverseGamma(shape=shape, scale=scale)
    return replace(TWO, n_clusters=1, priors=Priors(sd=prior, sigma=prior))


#: So much noise that a few rows leave the prior its say: some, and nearly all.
ONE, NOISY = one_cluster(3.0, 6.0), one_cluster(3.0, 60.0)
#: Scales of which a few rows say little.
VAGUE = one_cluster(1.0, 1.0)


def run(spec: ModelSpec, n_rows: int, n: int, analyse: Analysis) -> Calibration:
    return calibrate(spec, n_rows, n, seed=11, analyse=analyse)


def with_posterior(tree: xr.DataTree, **changed: xr.DataArray) -> xr.DataTree:
    """A fit with some parameters' draws exchanged."""
    result = tree.copy()
    result["posterior"] = xr.DataTree(tree["posterior"].to_dataset().assign(changed))
    return result


_fits: dict[tuple[bytes, int], xr.DataTree] = {}


def right(table: Columns, spec: ModelSpec, seed: int) -> xr.DataTree:
    """The fit of a table, which all bugs that begin with it share."""
    rows = np.column_stack(list(table.values())).tobytes()
    key = (hashlib.sha256(repr(spec).encode() + rows).digest(), seed)
    if key not in _fits:
        _fits[key] = fit(table, spec, seed=seed)
    return _fits[key]


def half_the_prior_scale(table: Columns, spec: ModelSpec, seed: int) -> xr.DataTree:
    narrow = replace(spec.priors, mean=Normal(scale=0.5), slope=Normal(scale=0.5))
    return fit(table, replace(spec, priors=narrow), seed=seed)


@contextmanager
def changed_prior(by: float) -> Iterator[None]:
    """The kernel with another coefficient of the log scale in its priors of scales."""
    own = coefficients.positive

    def wrong(prior: ScalePrior) -> dict[str, float]:
        found = own(prior)
        return found | {"linear": found.get("linear", 0.0) + by}

    coefficients.positive = wrong
    try:
        yield
    finally:
        coefficients.positive = own


def a_likelihood_term_left_out(table: Columns, spec: ModelSpec, seed: int) -> xr.DataTree:
    """−log σ of each row, and −log sd of each feature: N q / 2 of q = log σ²."""
    with changed_prior(len(table["x"]) / 2):
        return fit(table, spec, seed=seed)


def no_jacobian(table: Columns, spec: ModelSpec, seed: int) -> xr.DataTree:
    """The density of a variance taken for that of its logarithm."""
    with changed_prior(-1.0):
        return fit(table, spec, seed=seed)


def slopes_sorted_alone(table: Columns, spec: ModelSpec, seed: int) -> xr.DataTree:
    tree = right(table, spec, seed)
    slope = tree["posterior"]["slope"]
    ordered = np.sort(slope.values, axis=slope.dims.index("cluster"))
    return with_posterior(tree, slope=slope.copy(data=ordered))


def every_row_counted_twice(table: Columns, spec: ModelSpec, seed: int) -> xr.DataTree:
    tree = right(table, spec, seed)
    twice = fit({name: np.tile(values, 2) for name, values in table.items()}, spec, seed=seed)
    draws = {str(name): values for name, values in twice["posterior"].data_vars.items()}
    return with_posterior(tree, **draws)


def variance_in_place_of_noise(table: Columns, spec: ModelSpec, seed: int) -> xr.DataTree:
    tree = right(table, spec, seed)
    return with_posterior(tree, sigma=tree["posterior"]["sigma"] ** 2)


def intercept_at_the_mean(table: Columns, spec: ModelSpec, seed: int) -> xr.DataTree:
    tree = right(table, spec, seed)
    draws = tree["posterior"].to_dataset()
    moved = draws["intercept"] + (draws["slope"] * table["x"].mean()).sum("predictor")
    return with_posterior(tree, intercept=moved)


def half_the_spread(table: Columns, spec: ModelSpec, seed: int) -> xr.DataTree:
    tree = right(table, spec, seed)
    mean = tree["posterior"]["mean"]
    center = mean.mean(("chain", "draw"))
    return with_posterior(tree, mean=(center + 0.5 * (mean - center)).transpose(*mean.dims))


def labels_switched_in_half_the_slopes(table: Columns, spec: ModelSpec, seed: int) -> xr.DataTree:
    tree = right(table, spec, seed)
    slope = tree["posterior"]["slope"]
    flipped = slope.isel(cluster=slice(None, None, -1)).values
    half = (slope["draw"] % 2 == 0).values[None, :, None, None]
    return with_posterior(tree, slope=slope.copy(data=np.where(half, flipped, slope.values)))


#: Bug, model, rows, replicates, and the beginning of the quantities that must tell of it.
PLANTED = [
    (half_the_prior_scale, NOISY, 4, 30, ("mean", "slope", "intercept")),
    (a_likelihood_term_left_out, ONE, 8, 30, ("sd", "sigma")),
    (no_jacobian, VAGUE, 3, 50, ("sd", "sigma")),
    (slopes_sorted_alone, TWO, 60, 30, ("slope",)),
    (every_row_counted_twice, TWO, 60, 30, ("mean", "slope", "intercept", "sd", "sigma")),
    (variance_in_place_of_noise, TWO, 60, 30, ("sigma",)),
    (intercept_at_the_mean, TWO, 60, 30, ("intercept",)),
    (half_the_spread, TWO, 60, 30, ("mean",)),
    # Each slope alone may belong to either cluster: only the clusters as a whole are wrong.
    (labels_switched_in_half_the_slopes, TWO, 60, 60, ("complete_log_likelihood",)),
]


#: Of the same kind as others.
ALIKE = (
    *(half_the_prior_scale, every_row_counted_twice, half_the_spread, intercept_at_the_mean),
    *(slopes_sorted_alone, variance_in_place_of_noise),
)


@pytest.mark.parametrize(
    ("bug", "spec", "n_rows", "n", "tell"),
    [
        pytest.param(*each, id=each[0].__name__, marks=[more] if each[0] in ALIKE else [])
        for each in PLANTED
    ],
)
def test_planted_bugs_are_caught(
    bug: Analysis, spec: ModelSpec, n_rows: int, n: int, tell: tuple[str, ...]
) -> None:
    found = run(spec, n_rows, n, bug)
    assert not found.passed
    assert any(name.startswith(tell) for name in found.miscalibrated), found.miscalibrated


def test_allocations_that_ignore_the_response_are_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    def without_y(tree: xr.DataTree, seed: int = 1) -> xr.DataArray:
        x = observed_rows(tree, TWO).x
        return allocation_draws(tree, {"x": x[:, 0]}, seed)

    monkeypatch.setattr(replicates, "allocation_draws", without_y)
    found = run(TWO, 60, 60, right)
    assert "complete_log_likelihood" in found.miscalibrated


@pytest.mark.parametrize(
    ("spec", "n_rows"),
    [
        pytest.param(TWO, 60, id="two clusters"),
        pytest.param(ONE, 4, id="one cluster, four rows"),
        pytest.param(replace(ONE, family="student_t"), 20, id="Student-t", marks=more),
    ],
)
def test_the_package_passes(spec: ModelSpec, n_rows: int) -> None:
    n = how_many(40, 60)
    found = run(spec, n_rows, n, right)
    assert found.passed, found.text
    assert len(found.fitted) == n
