"""Twenty simulations of the four-cluster example: found, converged, and covered."""

import arviz_stats as az
import numpy as np
import pytest
import xarray as xr
from conftest import more
from scipy.stats import binom

from jointmix import ModelSpec, SamplerSpec, fit, four_clusters
from jointmix.model.simulate import simulate

pytestmark = pytest.mark.slow

LEVEL = 0.999


@pytest.mark.parametrize(
    "seed", [*range(1, 4), *(pytest.param(s, marks=more) for s in range(4, 21))]
)
def test_every_chain_finds_the_four_clusters(seed: int) -> None:
    truth = four_clusters()
    spec = ModelSpec(
        n_clusters=4,
        features=truth.features,
        predictors=truth.predictors,
        response=truth.response,
        sampler=SamplerSpec(sampler="nutpie"),
    )
    tree = fit(simulate(truth, 1000, seed), spec, seed=seed)
    assert (tree["modes"]["chain_mode"] == 1).all()
    assert not tree["sample_stats"]["diverging"].any()
    posterior = tree["posterior"].to_dataset()
    row, column = np.tril_indices(2, -1)
    correlation = posterior["correlation"].values[..., row, column]
    parameters = posterior.drop_vars("correlation").assign(
        correlation=(("chain", "draw", "cluster", "pair"), correlation)
    )
    for name, values in parameters.data_vars.items():
        assert (az.rhat(values) <= 1.01).all(), name
        assert (az.ess(values, method="bulk") >= 400).all(), name
    check_coverage(posterior)


def check_coverage(posterior: xr.Dataset) -> None:
    """Central 99.9% intervals hold the truth, but for what chance explains."""
    truth = four_clusters()
    center = posterior["mean"].mean(("chain", "draw")).values
    match = np.linalg.norm(center[:, None] - truth.mean, axis=-1).argmin(1)
    assert sorted(match) == [0, 1, 2, 3]
    sd = np.sqrt(np.diagonal(truth.covariance, axis1=1, axis2=2))
    expected = {name: getattr(truth, name) for name in ("weight", "mean", "intercept", "slope")}
    expected |= {"sigma": truth.sigma, "sd": sd}
    missed = count = 0
    for name, values in expected.items():
        tails = ((1 - LEVEL) / 2, (1 + LEVEL) / 2)
        low, high = posterior[name].quantile(tails, ("chain", "draw")).values
        missed += ((values[match] < low) | (values[match] > high)).sum()
        count += values.size
    # More misses than this would come by chance in one data set of 1e5.
    assert missed <= binom.ppf(1 - 1e-5, count, 1 - LEVEL)
