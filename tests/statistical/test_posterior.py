"""Posteriors against other ways of computing them: quadrature, and Gibbs samplers."""

from collections.abc import Callable

import arviz_stats as az
import numpy as np
import pandas as pd
import pytest
import xarray as xr
from gibbs import Block, Draws, gibbs
from scipy import stats
from scipy.integrate import quad

from jointmix import Dirichlet, InverseGamma, ModelSpec, Normal, Priors, SamplerSpec, fit

pytestmark = pytest.mark.slow

#: Monte Carlo standard errors allowed; one number in 2,100 exceeds them by chance.
MOST_ERRORS = 3.5


def spec_of(n_clusters: int, features: tuple[str, ...], response: str | None) -> ModelSpec:
    return ModelSpec(
        n_clusters=n_clusters,
        features=features,
        predictors=("u",) if response else (),
        response=response,
        covariance="diagonal",
        standardize=False,
        priors=Priors(
            weight=Dirichlet(concentration=2.0),
            mean=Normal(scale=5.0),
            intercept=Normal(scale=5.0),
            slope=Normal(scale=5.0),
            sd=InverseGamma(shape=2.0, scale=0.5),
            sigma=InverseGamma(shape=2.0, scale=0.5),
        ),
        sampler=SamplerSpec(draws=2500, tune=1000),
    )


def as_chains(values: np.ndarray) -> xr.DataArray:
    """One long chain as four, so that its Monte Carlo error is computed like the other's."""
    return xr.DataArray(values.reshape(4, -1), dims=("chain", "draw"))


def check_against_draws(ours: xr.DataArray, theirs: np.ndarray) -> None:
    """Means and standard deviations of one number, both with Monte Carlo error."""
    other = as_chains(theirs)
    for method, function in (("mean", np.mean), ("sd", np.std)):
        errors = [float(az.mcse(values, method=method)) for values in (ours, other)]
        gap = float(function(ours.values) - function(other.values))
        assert abs(gap) < MOST_ERRORS * np.hypot(*errors), (method, gap, errors)


def by_location(values: np.ndarray, key: np.ndarray) -> np.ndarray:
    """Clusters sorted in each draw by ``key`` (draw, cluster)."""
    order = key.argsort(1)
    return np.take_along_axis(values, order.reshape(*order.shape, *[1] * (values.ndim - 2)), 1)


def sorted_posterior(tree: xr.DataTree, key: str, column: str) -> Callable[..., xr.DataArray]:
    """The fit's draws, clusters sorted by the posterior means of one variable."""
    posterior = tree["posterior"].to_dataset()
    dim = "feature" if key == "mean" else "predictor"
    center = posterior[key].sel({dim: column}).mean(("chain", "draw")).values
    order = np.argsort(center)

    def pick(name: str, cluster: int, **at: str) -> xr.DataArray:
        return posterior[name].isel(cluster=order[cluster]).sel(**at).drop_vars("cluster")

    return pick


def test_one_cluster_equals_quadrature() -> None:
    """μ and σ² of a normal sample: σ² by quadrature over μ's normal, given σ²."""
    rng = np.random.default_rng(1)
    x = rng.normal(1.0, 1.5, 30)
    tree = fit(pd.DataFrame({"x": x}), spec_of(1, ("x",), None), seed=2)
    mean, sd = (tree["posterior"][name].squeeze(drop=True) for name in ("mean", "sd"))

    def log_joint(variance: float) -> float:
        """log p(x | σ²) + log p(σ²), with μ integrated out: x ~ N(0, σ²I + 25·11')."""
        covariance = variance * np.eye(len(x)) + 25.0
        likelihood = stats.multivariate_normal.logpdf(x, np.zeros(len(x)), covariance)
        return likelihood + stats.invgamma.logpdf(variance, 2.0, scale=0.5)

    top = log_joint(float(x.var()))

    def expected(function: Callable[[float], float]) -> float:
        return quad(
            lambda v: function(v) * np.exp(log_joint(v) - top),
            1e-2,
            40,
            points=[1, 2, 4],
            limit=200,
        )[0]

    def center(variance: float) -> float:
        return x.sum() / variance / (len(x) / variance + 1 / 25)

    total = expected(lambda _: 1.0)
    sd_mean = expected(np.sqrt) / total
    sd_sd = np.sqrt(expected(lambda v: v) / total - sd_mean**2)
    mean_mean = expected(center) / total
    second = expected(lambda v: center(v) ** 2 + 1 / (len(x) / v + 1 / 25)) / total
    for draws, first, spread in (
        (mean, mean_mean, np.sqrt(second - mean_mean**2)),
        (sd, sd_mean, sd_sd),
    ):
        assert abs(draws.mean() - first) < MOST_ERRORS * az.mcse(draws)
        assert abs(draws.values.std() - spread) < MOST_ERRORS * az.mcse(draws, method="sd")


def test_mixture_of_regressions_equals_gibbs() -> None:
    """Two lines that cross, of the same predictor: overlapping, so that allocations matter."""
    rng = np.random.default_rng(3)
    n = 200
    z = (rng.random(n) < 0.35).astype(int)
    u = rng.normal(size=n)
    y = np.where(z == 1, 1.5 + 2 * u, 0.5 - u) + np.where(z == 1, 0.7, 0.4) * rng.normal(size=n)
    tree = fit(pd.DataFrame({"u": u, "y": y}), spec_of(2, (), "y"), seed=4)
    design = np.column_stack([np.ones(n), u])
    block = Block(target=y, design=design, prior_sd=5.0, shape=2.0, scale=0.5)
    draws = gibbs([block], z, 2.0, 20_000, seed=5)
    slope = draws.coefficient[0][..., 1]
    pick = sorted_posterior(tree, "slope", "u")
    coefficient = by_location(draws.coefficient[0], slope)
    for k in range(2):
        check_against_draws(pick("weight", k), by_location(draws.weight, slope)[:, k])
        check_against_draws(pick("intercept", k), coefficient[:, k, 0])
        check_against_draws(pick("slope", k, predictor="u"), coefficient[:, k, 1])
        noise = np.sqrt(by_location(draws.variance[0], slope)[:, k])
        check_against_draws(pick("sigma", k), noise)


def test_gaussian_mixture_equals_gibbs() -> None:
    """Two overlapping clusters of two independent features."""
    rng = np.random.default_rng(6)
    n = 200
    z = (rng.random(n) < 0.4).astype(int)
    x = np.where(z[:, None] == 1, [3.0, 1.0], [0.0, 0.0]) + rng.normal(size=(n, 2)) * [1.0, 0.8]
    tree = fit(pd.DataFrame({"a": x[:, 0], "b": x[:, 1]}), spec_of(2, ("a", "b"), None), seed=7)
    one = np.ones((n, 1))
    blocks = [
        Block(target=x[:, i], design=one, prior_sd=5.0, shape=2.0, scale=0.5) for i in range(2)
    ]
    draws: Draws = gibbs(blocks, z, 2.0, 20_000, seed=8)
    key = draws.coefficient[0][..., 0]
    pick = sorted_posterior(tree, "mean", "a")
    for k in range(2):
        check_against_draws(pick("weight", k), by_location(draws.weight, key)[:, k])
        for index, name in enumerate(("a", "b")):
            center = by_location(draws.coefficient[index], key)[:, k, 0]
            check_against_draws(pick("mean", k, feature=name), center)
            spread = np.sqrt(by_location(draws.variance[index], key)[:, k])
            check_against_draws(pick("sd", k, feature=name), spread)
