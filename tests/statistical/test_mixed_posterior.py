"""Levels, counts and holes: posteriors against models by hand, sampled by NumPyro's NUTS."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from conftest import more

import jointmix as jm
from jointmix.posterior.draws import fitted_spec
from jointmix.validation.agreement import use_double_precision
from jointmix.validation.agreement.posterior import compare_posteriors

pytest.importorskip("funsor")
pytestmark = pytest.mark.slow

LEVELS = ("high", "low", "mid")
CHAINS, TUNE, DRAWS = 2, 300, 500


def mixed_table(n: int, seed: int, holes: dict[str, float]) -> pd.DataFrame:
    """Two clusters in numbers, a word, a truth value and a count, with holes at random."""
    rng = np.random.default_rng(seed)
    z = np.arange(n) % 2
    a = rng.normal(size=n) + 3.0 * z - 1.5
    b = 0.5 * a + rng.normal(size=n)
    word = np.array(LEVELS, dtype=object)[np.where(rng.random(n) < 0.7, z, 2)]
    table = pd.DataFrame(
        {"a": a, "b": b, "word": word, "smokes": rng.random(n) < np.where(z, 0.7, 0.3),
         "visits": rng.poisson(np.where(z, 5.0, 2.0)) * 1.0,
         "y": np.where(z, 1 - a, a) + 0.5 * rng.normal(size=n)}
    )  # fmt: skip
    for name, share in holes.items():
        table.loc[rng.random(n) < share, name] = None if name == "word" else np.nan
    return table[~table[["a", "b", "y"]].isna().all(axis=1)].reset_index(drop=True)


def joint_model(table: pd.DataFrame, spec: jm.ModelSpec) -> Callable[[], None]:
    """Gaussian features, levels, counts and y on a, by the joint Gaussian of numbers and y."""
    import jax.numpy as jnp
    import numpyro
    import numpyro.distributions as dist
    from jax.scipy.special import logsumexp

    p, k, d = spec.priors, spec.n_clusters, len(spec.features)
    values, y = table[[*spec.features, "y"]].to_numpy(float), table["y"]
    there = ~np.isnan(values)
    levels = {own.column: own for own in spec.discrete if own.family != "poisson"}

    def model() -> None:
        weight = numpyro.sample("weight", dist.Dirichlet(jnp.full(k, p.weight.concentration)))
        with numpyro.plate("clusters", k):
            mean = numpyro.sample("mean", dist.Normal(0, p.mean.scale).expand([d]).to_event(1))
            square = dist.InverseGamma(p.sd.shape, p.sd.scale).expand([d]).to_event(1)
            sd = jnp.sqrt(numpyro.sample("variance", square))
            factor = jnp.ones((k, 1, 1))
            if d > 1:
                factor = numpyro.sample("factor", dist.LKJCholesky(d, p.correlation.eta))
            b = numpyro.sample("intercept", dist.Normal(0, p.intercept.scale))
            slope = numpyro.sample("slope", dist.Normal(0, p.slope.scale))
            noise = dist.InverseGamma(p.sigma.shape, p.sigma.scale)
            sigma = jnp.sqrt(numpyro.sample("noise", noise))
        # (x, y) is Gaussian: of a row that misses entries, the others' part of it.
        first = jnp.eye(d)[0]
        half = sd[..., None] * factor
        center = jnp.concatenate([mean, (b + slope * mean[:, 0])[:, None]], axis=1)
        wide = jnp.concatenate([half, slope[:, None, None] * (first @ half)[:, None, :]], axis=1)
        noise = jnp.zeros((d + 1, d + 1)).at[d, d].set(1.0)
        joint = wide @ jnp.swapaxes(wide, 1, 2) + sigma[:, None, None] ** 2 * noise
        total = jnp.zeros((len(y), k)) + jnp.log(weight)
        for kind in np.unique(there, axis=0):
            rows, own = np.flatnonzero((there == kind).all(axis=1)), np.flatnonzero(kind)
            part = dist.MultivariateNormal(center[:, own], joint[:, own[:, None], own])
            total = total.at[rows].add(part.log_prob(values[rows[:, None], own][:, None, :]))
        for own in spec.discrete:
            total += of_feature(own, table[own.column], levels.get(own.column), p, k)
        numpyro.factor("rows", logsumexp(total, axis=1).sum())

    return model


def of_feature(own: Any, column: pd.Series, levels: Any, p: jm.Priors, k: int) -> Any:
    """Its term, (row, cluster), with its prior."""
    import jax.numpy as jnp
    import numpyro
    import numpyro.distributions as dist

    there = ~column.isna().to_numpy()[:, None]
    with numpyro.plate(f"clusters of {own.column}", k):
        if levels is None:
            rate = numpyro.sample(own.column, dist.LogNormal(p.rate.loc, p.rate.scale))
            term = dist.Poisson(rate).log_prob(column.fillna(0).to_numpy(float)[:, None])
        else:
            code = {label: i for i, label in enumerate(LEVELS if own.column != "smokes" else
                                                       (False, True))}  # fmt: skip
            codes = column.map(code).fillna(0).to_numpy(int)
            even = jnp.full(len(code), p.probability.concentration)
            share = numpyro.sample(own.column, dist.Dirichlet(even))
            term = jnp.log(share).T[codes]
    return jnp.where(there, term, 0.0)


def classes_table(n: int, seed: int) -> pd.DataFrame:
    """Three classes in four words and a count."""
    rng = np.random.default_rng(seed)
    z = np.arange(n) % 3
    words = {
        name: np.array(LEVELS)[np.where(rng.random(n) < 0.85, (z + i) % 3, rng.integers(3, size=n))]
        for i, name in enumerate(("p", "q", "r", "s"))
    }
    return pd.DataFrame(words | {"visits": rng.poisson(1.0 + 4.0 * z)})


def classes_model(table: pd.DataFrame, spec: jm.ModelSpec) -> Callable[[], None]:
    import jax.numpy as jnp
    import numpyro
    import numpyro.distributions as dist
    from jax.scipy.special import logsumexp

    p, k = spec.priors, spec.n_clusters

    def model() -> None:
        weight = numpyro.sample("weight", dist.Dirichlet(jnp.full(k, p.weight.concentration)))
        total = jnp.log(weight)
        for own in spec.discrete:
            levels = None if own.family == "poisson" else own
            total = total + of_feature(own, table[own.column], levels, p, k)
        numpyro.factor("rows", logsumexp(total, axis=1).sum())

    return model


def by_hand(model: Callable[[], None], tree: xr.DataTree, spec: jm.ModelSpec) -> xr.Dataset:
    """Draws of a model's sites, started at the fit's means, under the names and dims of the fit."""
    import jax
    from numpyro.infer import MCMC, NUTS, init_to_value

    fitted = tree["posterior"].to_dataset()
    mean = fitted.mean(("chain", "draw"))
    sites = {own.column: f"{'rate' if own.family == 'poisson' else 'probability'}_{own.stem}"
             for own in spec.discrete}  # fmt: skip
    values: dict[str, Any] = {site: mean[name].values for site, name in sites.items()}
    values["weight"] = mean["weight"].values
    if "mean" in mean:
        values |= {name: mean[name].values for name in ("mean", "intercept")}
        values |= {"slope": mean["slope"].values[:, 0], "variance": mean["sd"].values ** 2}
        values |= {"noise": mean["sigma"].values ** 2}
    kernel = NUTS(model, init_strategy=init_to_value(values=values))
    mcmc = MCMC(kernel, num_warmup=TUNE, num_samples=DRAWS, num_chains=CHAINS,
                chain_method="sequential", progress_bar=False)  # fmt: skip
    mcmc.run(jax.random.PRNGKey(5))
    draws = {name: np.asarray(own) for name, own in mcmc.get_samples(group_by_chain=True).items()}
    found = {name: draws[site] for site, name in sites.items()} | {"weight": draws["weight"]}
    if "mean" in mean:
        found |= {name: draws[name] for name in ("mean", "intercept")}
        found |= {"slope": draws["slope"][..., None], "sd": np.sqrt(draws["variance"])}
        found |= {"sigma": np.sqrt(draws["noise"])}
        if "factor" in draws:
            found["correlation"] = draws["factor"] @ np.swapaxes(draws["factor"], -1, -2)
    own = {name: (fitted[name].transpose("chain", "draw", "cluster", ...).dims, value)
           for name, value in found.items()}  # fmt: skip
    names = {dim: fitted[dim] for dim in fitted.dims if dim not in ("chain", "draw")}
    return xr.Dataset(own, coords=names)


MIXED = {"a": "normal", "word": "categorical", "smokes": "bernoulli", "visits": "poisson"}
#: Table, features, clusters, and the model by hand.
CASES: dict[str, tuple[pd.DataFrame, Any, int]] = {
    "numbers, levels and counts": (mixed_table(160, 1, {}), MIXED, 2),
    "three classes": (classes_table(240, 2),
                      {**dict.fromkeys("pqrs", "categorical"), "visits": "poisson"}, 3),
    "holes in numbers": (mixed_table(100, 3, {"a": 0.15, "b": 0.2, "y": 0.1}), ["a", "b"], 2),
    "holes in everything": (
        mixed_table(100, 4, {"a": 0.1, "b": 0.1, "word": 0.2, "visits": 0.2, "y": 0.1}),
        {"a": "normal", "b": "normal", "word": "categorical", "visits": "poisson"}, 2,
    ),
}  # fmt: skip


#: It has all that the others have, but for three classes.
USUAL = ("holes in everything",)


@pytest.mark.parametrize(
    "name", [*USUAL, *(pytest.param(n, marks=more) for n in CASES if n not in USUAL)]
)
def test_the_posterior_is_that_of_a_model_by_hand(name: str) -> None:
    use_double_precision()
    table, features, k = CASES[name]
    line = {"predictors": ["a"], "response": "y"} if "a" in table else {}
    spec = jm.ModelSpec(
        n_clusters=k, features=features, missing="model", standardize=False,
        sampler=jm.SamplerSpec(draws=2000, chains=4), **line,
    )  # fmt: skip
    tree = jm.fit(table, spec, seed=1, progress=False)
    spec = fitted_spec(tree)
    make = joint_model if line else classes_model
    theirs = by_hand(make(table, spec), tree, spec)
    found = compare_posteriors(tree["posterior"].to_dataset(), theirs, ())
    # Of two independent sets of draws, and some hundred comparisons: that one exceeds the bound
    # has a chance of a hundredth, that one exceeds 3.5 standard errors of a tenth.
    assert found.n >= 40
    assert found.largest < found.bound, found
    assert found.rms < found.rms_bound, found
