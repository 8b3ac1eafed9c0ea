"""A NumPyro model as a user would write it, and the same with one mistake at a time."""

from collections.abc import Callable

import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
from jax.scipy.special import logsumexp

from jointmix.model.spec import ModelSpec

NAMES = {
    "weight": "cluster_probs", "mean": "locs", "variance": "variances", "slope": "thetas",
    "correlation_cholesky": "L", "intercept": "intercepts", "noise_variance": "noise",
    "z": "assignment", "x": "obs_x", "y": "obs_y",
}  # fmt: skip

#: Mistake → words that the certificate must say of it.
ENUMERATED = {
    "wrong axis": r"sum\(axis=1\)",
    "sd for variance": "standard deviations for variances",
    "variance for sd": "y is given the variance sigma²",
    "missing intercept": "intercept is missing",
    "missing Jacobian": "lacks the Jacobian",
    "weights not normalised": "the weights are not normalised",
    "transposed Cholesky": "Cholesky factor of x is transposed",
    "swapped slopes": "slopes of predictors 0 and 1 are exchanged",
    "left out row": r"1 of \d+ rows \(7\): they are left out",
    "float32": "single precision",
    "prior scale halved": r"prior of the slope has the scale 1\.25 in place of 2\.5",
    "labels shuffled": "slopes belong to other components",
    "weights shuffled": "weights belong to other components",
    "y twice": "term of y counts twice",
}  # fmt: skip
#: Those that a model summed over components can have too, where x and y are not told apart.
MARGINAL = {name: words for name, words in ENUMERATED.items() if name != "wrong axis"} | {
    "left out row": r"1 of \d+ rows \(7\)",
    "no logsumexp": "Log densities are averaged",
}


def users_model(
    spec: ModelSpec, values: np.ndarray, mistake: str = "", enumerated: bool = True
) -> Callable[[], None]:
    """The model of a specification with free full covariances, on the columns' own scale."""
    k, d, r = spec.n_clusters, len(spec.features), len(spec.predictors)
    x, y = values[:, :d], values[:, -1]
    u = values[:, [spec.columns.index(name) for name in spec.predictors]]
    if mistake == "float32":
        x, u, y = (jnp.asarray(part, dtype=jnp.float32) for part in (x, u, y))
        x, u, y = (part.astype(jnp.float64) for part in (x, u, y))
    priors = spec.priors
    kept = np.ones(len(y), dtype=bool)
    kept[7 % len(y)] = mistake != "left out row"

    def parameters() -> dict[str, jnp.ndarray]:
        weight = numpyro.sample(
            "cluster_probs", dist.Dirichlet(jnp.full(k, priors.weight.concentration))
        )
        if mistake == "missing Jacobian":
            log_noise = numpyro.sample(
                "log_noise", dist.ImproperUniform(dist.constraints.real, (), (k,))
            )
            noise = jnp.exp(2 * log_noise)
            own = dist.InverseGamma(priors.sigma.shape, priors.sigma.scale).log_prob(noise)
            numpyro.factor("sigma_prior", own.sum())
        else:
            family = dist.InverseGamma(priors.sigma.shape, priors.sigma.scale)
            noise = numpyro.sample("noise", family.expand([k]).to_event(1))
        half = 0.5 if mistake == "prior scale halved" else 1.0
        with numpyro.plate("components", k):
            mean = numpyro.sample("locs", dist.Normal(0, priors.mean.scale).expand([d]).to_event(1))
            intercept = numpyro.sample("intercepts", dist.Normal(0, priors.intercept.scale))
            theta = dist.Normal(0, half * priors.slope.scale).expand([r]).to_event(1)
            slope = numpyro.sample("thetas", theta)
            variance = numpyro.sample(
                "variances",
                dist.InverseGamma(priors.sd.shape, priors.sd.scale).expand([d]).to_event(1),
            )
            factor = numpyro.sample("L", dist.LKJCholesky(d, priors.correlation.eta))
        sd = variance ** (0.25 if mistake == "sd for variance" else 0.5)
        factor = sd[..., None] * factor
        return changed(
            {"weight": weight, "mean": mean, "factor": factor, "intercept": intercept,
             "slope": slope, "sigma": jnp.sqrt(noise)}
        )  # fmt: skip

    def changed(p: dict[str, jnp.ndarray]) -> dict[str, jnp.ndarray]:
        match mistake:
            case "variance for sd":
                p["sigma"] = p["sigma"] ** 2
            case "missing intercept":
                p["intercept"] = 0 * p["intercept"]
            case "weights not normalised":
                p["weight"] = p["weight"] * (1 + p["weight"].max())
            case "transposed Cholesky":
                p["factor"] = jnp.swapaxes(p["factor"], -1, -2)
            case "swapped slopes":
                p["slope"] = p["slope"][:, ::-1] if r == 2 else p["slope"][:, [1, 0, *range(2, r)]]
            case "labels shuffled":
                p["slope"] = jnp.roll(p["slope"], 1, axis=0)
            case "weights shuffled":
                p["weight"] = p["weight"][::-1]
        return p

    def with_sites() -> None:
        p = parameters()
        with numpyro.plate("data", len(y)):
            probs = p["weight"]
            # NumPyro refuses such weights; as a factor they pass unseen.
            loose = mistake == "weights not normalised"
            family = dist.Categorical(jnp.ones(k) / k if loose else probs)
            z = numpyro.sample("assignment", family, infer={"enumerate": "parallel"})
            if loose:
                numpyro.factor("odds", jnp.log(k * probs)[z])
            axis = 1 if mistake == "wrong axis" else -1
            line = p["intercept"][z] + (u * p["slope"][z]).sum(axis=axis)
            clouds = dist.MultivariateNormal(p["mean"][z], scale_tril=p["factor"][z])
            noise = dist.Normal(line, p["sigma"][z])
            twice = 2.0 if mistake == "y twice" else 1.0
            with numpyro.handlers.mask(mask=kept):
                numpyro.sample("obs_x", clouds, obs=x)
                with numpyro.handlers.scale(scale=twice):
                    numpyro.sample("obs_y", noise, obs=y)

    def summed() -> None:
        p = parameters()
        clouds = dist.MultivariateNormal(p["mean"], scale_tril=p["factor"])
        features = clouds.log_prob(x[:, None, :])
        line = p["intercept"] + u @ p["slope"].T
        response = dist.Normal(line, p["sigma"]).log_prob(y[:, None])
        joint = features + response * (2.0 if mistake == "y twice" else 1.0)
        rows = logsumexp(jnp.log(p["weight"]) + joint, axis=1)
        if mistake == "no logsumexp":
            rows = (p["weight"] * joint).sum(1)
        numpyro.factor("rows", rows * kept)

    return with_sites if enumerated else summed


def names_for(mistake: str, enumerated: bool = True) -> dict[str, str]:
    """The map of names for `users_model`."""
    names = dict(NAMES)
    if mistake == "missing Jacobian":
        del names["noise_variance"]
        names["log_sigma"] = "log_noise"
    if not enumerated:
        names = {own: site for own, site in names.items() if own not in ("x", "y", "z")}
    return names
