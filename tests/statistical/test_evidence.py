"""The evidence of two clusters against bridge sampling from a long run of NUTS.

Bridge sampling (Meng and Wong 1996, Statistica Sinica 6) is written out here, with densities from
SciPy; proposal and estimate take different halves of the draws (Overstall and Forster 2010).
"""

import arviz_stats as az
import numpy as np
import pandas as pd
import pytest
import xarray as xr
from scipy import stats
from scipy.special import expit, log_expit, logsumexp

import jointmix as jm

PRIORS = jm.Priors(
    weight=jm.Dirichlet(concentration=2.0),
    mean=jm.Normal(scale=4.0),
    sd=jm.InverseGamma(shape=2.0, scale=1.0),
    intercept=jm.Normal(scale=3.0),
    slope=jm.Normal(scale=2.0),
    sigma=jm.InverseGamma(shape=2.5, scale=0.5),
)


def rows(n: int = 50) -> pd.DataFrame:
    """Two clusters that overlap in x, and have lines of their own."""
    rng = np.random.default_rng(21)
    z = rng.integers(2, size=n)
    x = rng.normal(size=n) + 2.5 * z
    return pd.DataFrame({"x": x, "y": np.where(z == 1, 2 - x, 1 + x) + 0.7 * rng.normal(size=n)})


def fitted(sampler: str, draws: int) -> xr.DataTree:
    spec = jm.ModelSpec(
        n_clusters=2, features=["x"], predictors=["x"], response="y", ordering="mean[x]",
        standardize=False, priors=PRIORS,
        sampler=jm.SamplerSpec(sampler=sampler, draws=draws, retry_budget=0),
    )  # fmt: skip
    return jm.fit(rows(), spec, progress=False)


def coordinates(posterior: xr.Dataset) -> np.ndarray:
    """Free coordinates of draws whose means are sorted, (chain, draw, dim)."""
    weight, mean = posterior["weight"].values, posterior["mean"].values[..., 0]
    scales = [2 * np.log(posterior[name].values) for name in ("sd", "sigma")]
    return np.concatenate(
        [
            np.log(weight[..., :1] / weight[..., 1:]),
            mean[..., :1],
            np.log(np.diff(mean)),
            scales[0][..., 0],
            posterior["intercept"].values,
            posterior["slope"].values[..., 0],
            scales[1],
        ],
        axis=-1,
    )


def log_joint(q: np.ndarray, table: pd.DataFrame) -> np.ndarray:
    """Log of prior, likelihood and Jacobian at coordinates (draw, dim), means sorted."""
    weight = np.stack([log_expit(q[:, 0]), log_expit(-q[:, 0])], axis=-1)
    mean = np.stack([q[:, 1], q[:, 1] + np.exp(q[:, 2])], axis=-1)
    log_variance, level, slope, log_noise = q[:, 3:5], q[:, 5:7], q[:, 7:9], q[:, 9:11]
    x, y = (table[name].to_numpy()[:, None, None] for name in ("x", "y"))
    terms = weight + stats.norm.logpdf(x, mean, np.exp(log_variance / 2))
    terms = terms + stats.norm.logpdf(y, level + slope * x, np.exp(log_noise / 2))
    prior = stats.beta.logpdf(expit(q[:, 0]), 2.0, 2.0) + weight.sum(axis=-1)
    prior += stats.norm.logpdf(mean, 0, 4.0).sum(axis=-1) + q[:, 2]
    prior += stats.norm.logpdf(level, 0, 3.0).sum(axis=-1)
    prior += stats.norm.logpdf(slope, 0, 2.0).sum(axis=-1)
    for log_scale, shape, scale in ((log_variance, 2.0, 1.0), (log_noise, 2.5, 0.5)):
        own = stats.invgamma.logpdf(np.exp(log_scale), shape, scale=scale) + log_scale
        prior += own.sum(axis=-1)
    return np.asarray(prior + logsumexp(terms, axis=-1).sum(axis=0))


def bridge(draws: np.ndarray, table: pd.DataFrame) -> tuple[float, float]:
    """Log of the integral of `log_joint`, and its standard error, from (chain, draw, dim)."""
    half = draws.shape[1] // 2
    first, second = (part.reshape(-1, draws.shape[2]) for part in np.split(draws, [half], axis=1))
    proposal = stats.multivariate_normal(first.mean(axis=0), np.cov(first.T))
    other = proposal.rvs(len(second), random_state=np.random.default_rng(1))
    # Log ratios of the posterior, up to its integral, to the proposal.
    ours, theirs = (log_joint(each, table) - proposal.logpdf(each) for each in (second, other))
    shape = (draws.shape[0], draws.shape[1] - half)
    ess = float(az.ess(xr.DataArray(ours.reshape(shape), dims=("chain", "draw")), method="mean"))
    share = ess / (ess + len(other))
    found = 0.0
    for _ in range(100):
        upper = theirs - np.logaddexp(np.log(share) + theirs, np.log(1 - share) + found)
        lower = -np.logaddexp(np.log(share) + ours, np.log(1 - share) + found)
        step = logsumexp(upper) - logsumexp(lower) - np.log(len(other) / len(ours))
        if abs(step - found) < 1e-10:
            break
        found = float(step)
    # Relative variances of both means (Frühwirth-Schnatter 2004, Econometrics Journal 7).
    above, below = np.exp(upper - upper.max()), np.exp(lower - lower.max())
    chains = xr.DataArray(below.reshape(shape), dims=("chain", "draw"))
    variance = above.var() / above.mean() ** 2 / len(above)
    variance += below.var() / below.mean() ** 2 / float(az.ess(chains, method="mean"))
    return found, float(np.sqrt(variance))


@pytest.mark.slow
def test_the_evidence_of_two_clusters_is_that_of_bridge_sampling() -> None:
    nuts = fitted("nutpie", 4000)
    by_bridge, bridge_error = bridge(coordinates(nuts["posterior"].to_dataset()), rows())
    found = jm.log_evidence(fitted("independence", 2000))
    assert max(found.error, bridge_error) < 0.03
    # Of both orders of the labels, one of which `bridge` integrates over.
    gap = found.value - (by_bridge + np.log(2))
    assert abs(gap) < 3 * np.hypot(found.error, bridge_error)
