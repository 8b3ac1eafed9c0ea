"""Priors of the NumPyro model: its parameters, by sampling or from the specification."""

from typing import Any

import numpy as np

from jointmix.families.priors.priors import (
    Dirichlet,
    Fixed,
    Gamma,
    HalfNormal,
    HalfStudentT,
    InverseGamma,
    LogNormal,
    Normal,
    ScalePrior,
    StudentT,
)
from jointmix.model.location import coordinates
from jointmix.model.scaling import Scaling
from jointmix.model.spec import ModelSpec

Array = Any  # A JAX array: naming its type would import JAX.
Parameters = dict[str, Array]


def sample_parameters(
    spec: ModelSpec, scaling: Scaling, reflection: np.ndarray | None
) -> Parameters:
    """Parameters of the likelihood, by sampling or from the spec, as NumPyro statements.

    `weight` (component), `mean` (component, feature), `cholesky` of the covariance (component,
    feature, feature), `intercept`, `sigma` (component) and `slope` (component, predictor), as far
    as the model has them. With the reflection H of a direction components are ordered along it.
    """
    weight, location = _weight(spec), _location(spec, reflection)
    features, regression = _features(spec, scaling, location), _regression(spec, scaling, location)
    return {"weight": weight} | features | regression


def _weight(spec: ModelSpec) -> Array:
    import jax.numpy as jnp
    import numpyro
    import numpyro.distributions as dist

    prior, k = spec.priors.weight, spec.n_clusters
    if isinstance(prior, Dirichlet) and k > 1:
        return numpyro.sample("weight", dist.Dirichlet(jnp.full(k, prior.concentration)))
    known = prior.array if isinstance(prior, Fixed) else np.ones(1)
    return numpyro.deterministic("weight", jnp.asarray(known))


def free_location(spec: ModelSpec) -> dict[str, tuple[Normal | StudentT, int]]:
    """Prior and number of columns in ξ of each free location parameter, in ξ's order."""
    found: dict[str, tuple[Normal | StudentT, int]] = {}
    for item in coordinates(spec):
        _, width = found.get(item.parameter, (item.prior, 0))
        found[item.parameter] = (item.prior, width + 1)
    return found


def _location(spec: ModelSpec, reflection: np.ndarray | None) -> Parameters:
    """The free location parameters, each (component, column), from ξ or from inside the cone.

    With H the reflection, η = ξH has c'ξ_k as its first column: an ordered vector, whose
    unconstrained values NumPyro takes as the first one and the logs of the differences. |det H| is
    one, so the density of ξ is the prior's own and enters as a factor.
    """
    import jax.numpy as jnp
    import numpyro
    import numpyro.distributions as dist

    free, k = free_location(spec), spec.n_clusters
    standard = {
        name: dist.StudentT(prior.df) if isinstance(prior, StudentT) else dist.Normal()
        for name, (prior, _) in free.items()
    }
    if reflection is None:
        xi = {
            name: numpyro.sample(f"{name}_xi", standard[name].expand((k, width)).to_event(2))
            for name, (_, width) in free.items()
        }
    else:
        ordered, real = dist.constraints.ordered_vector, dist.constraints.real_matrix
        eta = numpyro.sample("place", dist.ImproperUniform(ordered, (), (k,)))[:, None]
        others = len(reflection) - 1
        if others:
            across = numpyro.sample("across", dist.ImproperUniform(real, (), (k, others)))
            eta = jnp.concatenate([eta, across], axis=1)
        ends = np.cumsum([width for _, width in free.values()])[:-1]
        xi = dict(zip(free, jnp.split(eta @ reflection, ends, axis=1), strict=True))
        density = sum(standard[name].log_prob(value).sum() for name, value in xi.items())
        numpyro.factor("location_prior", density)
    return {name: prior.loc + prior.scale * xi[name] for name, (prior, _) in free.items()}


def _scale(name: str, prior: ScalePrior, shape: tuple[int, ...]) -> Array:
    """A standard deviation; the inverse-gamma family is the prior of its square."""
    import jax.numpy as jnp
    import numpyro
    import numpyro.distributions as dist

    match prior:
        case InverseGamma():
            family = dist.InverseGamma(prior.shape, prior.scale)
        case HalfNormal():
            family = dist.HalfNormal(prior.scale)
        case HalfStudentT():
            family = dist.FoldedDistribution(dist.StudentT(prior.df, 0.0, prior.scale))
        case LogNormal():
            family = dist.LogNormal(prior.loc, prior.scale)
        case Gamma():
            family = dist.Gamma(prior.shape, prior.rate)
    value = numpyro.sample(scale_site(name, prior), family.expand(shape).to_event(len(shape)))
    return jnp.sqrt(value) if isinstance(prior, InverseGamma) else value


def scale_site(name: str, prior: ScalePrior | Fixed) -> str:
    return f"{name}_variance" if isinstance(prior, InverseGamma) else f"{name}_sd"


def _features(spec: ModelSpec, scaling: Scaling, location: Parameters) -> Parameters:
    """μ (component, feature) and the Cholesky factors of Σ (component, feature, feature)."""
    import jax.numpy as jnp
    import numpyro

    k, d = spec.n_clusters, len(spec.features)
    if not d:
        return {}
    center, unit = scaling.feature
    mean = location.get("mean")
    if isinstance(spec.priors.mean, Fixed):
        mean = jnp.broadcast_to((spec.priors.mean.array - center) / unit, (k, d))
    if spec.covariance == "fixed":
        covariance = spec.fixed_covariance() / unit[:, None] / unit
        known = np.sqrt(np.einsum("kii->ki", covariance))
        sd = jnp.asarray(known)
        factor = jnp.asarray(np.linalg.cholesky(covariance) / known[:, :, None])
    else:
        shape = {"tied": (1, d), "spherical": (k, 1)}.get(spec.covariance, (k, d))
        sd = jnp.broadcast_to(_scale("feature", spec.priors.sd, shape), (k, d))
        factor = _correlation_factor(spec)
    numpyro.deterministic("mean", mean)
    numpyro.deterministic("sd", sd)
    numpyro.deterministic("correlation", factor @ jnp.swapaxes(factor, 1, 2))
    return {"mean": mean, "cholesky": sd[:, :, None] * factor}


def _correlation_factor(spec: ModelSpec) -> Array:
    """Cholesky factors of the correlation matrices, (component, feature, feature)."""
    import jax.numpy as jnp
    import numpyro
    import numpyro.distributions as dist

    k, d = spec.n_clusters, len(spec.features)
    if not correlated(spec):
        return jnp.broadcast_to(jnp.eye(d), (k, d, d))
    prior = dist.LKJCholesky(d, concentration=spec.priors.correlation.eta)
    n_matrices = 1 if spec.covariance == "tied" else k
    factor = numpyro.sample("correlation_cholesky", prior.expand((n_matrices,)).to_event(1))
    return jnp.broadcast_to(factor, (k, d, d))


def correlated(spec: ModelSpec) -> bool:
    return len(spec.features) > 1 and spec.covariance in ("full", "tied")


def _regression(spec: ModelSpec, scaling: Scaling, location: Parameters) -> Parameters:
    """b (component), θ (component, predictor) and σ (component)."""
    import jax.numpy as jnp
    import numpyro

    if spec.response is None:
        return {}
    k, r, priors = spec.n_clusters, len(spec.predictors), spec.priors
    (center, unit), (y_center, y_unit) = scaling.predictor, scaling.response
    slope = location.get("slope", jnp.zeros((k, r)))
    if isinstance(priors.slope, Fixed):
        slope = jnp.broadcast_to(priors.slope.array * unit / y_unit, (k, r))
    if "intercept" in location:
        intercept = location["intercept"][:, 0]
    else:
        known = priors.intercept.array if isinstance(priors.intercept, Fixed) else 0.0
        # The line through (0, b) on the users' scale, read at the predictors' centre.
        at_center = known + (slope * y_unit / unit * center).sum(-1)
        intercept = jnp.broadcast_to((at_center - y_center) / y_unit, (k,))
    if isinstance(priors.sigma, Fixed):
        sigma = jnp.asarray(priors.sigma.array / y_unit)
    else:
        sigma = _scale("noise", priors.sigma, (1,) if spec.noise == "shared" else (k,))
    sigma = jnp.broadcast_to(sigma, (k,))
    found = {"intercept": intercept, "slope": slope, "sigma": sigma}
    return {name: numpyro.deterministic(name, value) for name, value in found.items()}
