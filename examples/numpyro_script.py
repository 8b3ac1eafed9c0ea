# %% [markdown]
# # A NumPyro script held against jointmix
#
# The model of the original script: means, intercepts and slopes of K clusters, covariances 0.1·I
# and a noise of 0.5 that are known, and allocations that NumPyro sums over by enumeration.

# %%
import sys

import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist

import jointmix as jm
from jointmix.model.simulate import simulate


def script(x: np.ndarray, y: np.ndarray, n_clusters: int, axis: int) -> None:
    """The script; under enumeration ``thetas[assignment]`` is (cluster, 1, feature)."""
    d = x.shape[1]
    weight = jnp.full(n_clusters, 1 / n_clusters)
    cluster_probs = numpyro.sample("cluster_probs", dist.Dirichlet(weight))
    with numpyro.plate("components", n_clusters):
        locs = numpyro.sample("locs", dist.MultivariateNormal(jnp.zeros(d), 10 * jnp.eye(d)))
        intercepts = numpyro.sample("intercepts", dist.Normal(0, 10))
        thetas = numpyro.sample("thetas", dist.MultivariateNormal(jnp.zeros(d), 10 * jnp.eye(d)))
    with numpyro.plate("data", len(y)):
        assignment = numpyro.sample("assignment", dist.Categorical(cluster_probs))
        features = dist.MultivariateNormal(locs[assignment], 0.1 * jnp.eye(d))
        numpyro.sample("obs_x", features, obs=x)
        line = intercepts[assignment] + (x * thetas[assignment]).sum(axis=axis)
        numpyro.sample("obs_y", dist.Normal(line, 0.5), obs=y)


names = {
    "weight": "cluster_probs", "mean": "locs", "intercept": "intercepts", "slope": "thetas",
    "z": "assignment", "x": "obs_x", "y": "obs_y",
}  # fmt: skip


quick = "--quick" in sys.argv


def certify(truth: jm.Truth, n: int, axis: int, posterior: bool) -> jm.Certificate:
    """The script against jointmix on n rows of a truth."""
    k = len(truth.weight)
    table = simulate(truth, n, seed=1)
    x = table[list(truth.features)].to_numpy()
    y = table[truth.response].to_numpy()
    spec = jm.ModelSpec(
        n_clusters=k,
        features=truth.features,
        predictors=truth.predictors,
        response=truth.response,
        covariance="fixed",
        noise="fixed",
        standardize=False,
        priors=jm.Priors(
            weight=jm.Dirichlet(concentration=1 / k),
            mean=jm.Normal(scale=np.sqrt(10)),
            slope=jm.Normal(scale=np.sqrt(10)),
            intercept=jm.Normal(scale=10.0),
            covariance=jm.Fixed(value=0.1),
            sigma=jm.Fixed(value=0.5),
        ),
    )
    model = lambda: script(x, y, k, axis)  # noqa: E731
    points = 50 if quick else 1000
    return jm.crosscheck(table, spec, model=model, names=names, points=points, posterior=posterior)


# %% [markdown]
# The sum over features is one over the last axis. Densities, gradients and both posteriors agree.
# `--quick` leaves the posteriors out, which take NumPyro a minute or two, and most points.

# %%
right = certify(jm.four_clusters(), 1000, axis=-1, posterior=not quick)
print(*right.lines(), sep="\n")

# %% [markdown]
# With `axis=1` the sum is over rows. As a rule the shapes do not fit and NumPyro says so; where
# there are as many rows as features they do, and the script runs with wrong densities of y.

# %%
wrong = certify(jm.four_clusters(2, 20), 20, axis=1, posterior=False)
print(*wrong.lines(), sep="\n")
