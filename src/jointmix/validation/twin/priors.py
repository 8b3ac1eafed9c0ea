"""Priors of the NumPyro model by role: its free parameters as sample sites, and back."""

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from jointmix.base.errors import SpecError
from jointmix.families.priors.priors import (
    LKJ,
    Dirichlet,
    Fixed,
    Gamma,
    HalfNormal,
    HalfStudentT,
    InverseGamma,
    LogNormal,
    StudentT,
)
from jointmix.families.protocol import Parameter
from jointmix.model.spec import ModelSpec
from jointmix.validation.twin.family import Array, Arrays

#: Given values may differ by rounding from those that the free ones among them imply.
_TOLERANCE = 1e-8


def free_parameters(spec: ModelSpec, *roles: str) -> Iterable[Parameter]:
    """Those of some roles that have free values, in the model's order."""
    return (item for item in spec.parameters.values() if item.free and item.role in roles)


def full_shape(parameter: Parameter, spec: ModelSpec) -> tuple[int, ...]:
    """Of all components, shared or not: (component, *core)."""
    return (spec.n_clusters, *(len(spec.entries[dim]) for dim in parameter.dims))


def site_of(parameter: Parameter) -> str:
    """The sample site of a free parameter; of a location ξ, of a scale what its prior is of."""
    match parameter.role:
        case "location":
            return f"{parameter.name}_xi"
        case "correlation":
            return f"{parameter.name}_cholesky"
        case "scale":
            unit = "variance" if isinstance(parameter.prior, InverseGamma) else "sd"
            return f"{parameter.site}_{unit}"
    return parameter.name


def sample_free(spec: ModelSpec, reflection: np.ndarray | None) -> Arrays:
    """The weights, and the free parameters, as NumPyro statements.

    Parameters
    ----------
    spec
        The model.
    reflection
        The reflection H of a direction along which components are ordered, or None.

    Returns
    -------
    dict
        (component, *core), on the model's scale; of a correlation its Cholesky factor.
    """
    import jax.numpy as jnp
    import numpyro
    import numpyro.distributions as dist

    found = {"weight": _weight(spec)} | _location(spec, reflection)
    for parameter in free_parameters(spec, "scale", "shape", "correlation"):
        shape, prior = full_shape(parameter, spec), parameter.prior
        if isinstance(prior, LKJ):
            lkj = dist.LKJCholesky(shape[-1], concentration=prior.eta)
            family = lkj.expand(parameter.free[:1]).to_event(1)
        else:
            family = _positive(parameter).expand(parameter.free).to_event(len(parameter.free))
        value = numpyro.sample(site_of(parameter), family)
        root = jnp.sqrt(value) if isinstance(prior, InverseGamma) else value
        found[parameter.name] = jnp.broadcast_to(root, shape)
    for parameter in free_parameters(spec, "probability"):
        k, n_levels = full_shape(parameter, spec)
        prior = parameter.prior
        assert isinstance(prior, Dirichlet)
        levels = dist.Dirichlet(jnp.full(n_levels, prior.concentration)).expand([k]).to_event(1)
        found[parameter.name] = numpyro.sample(site_of(parameter), levels)
    return found


def _weight(spec: ModelSpec) -> Array:
    import jax.numpy as jnp
    import numpyro
    import numpyro.distributions as dist

    prior, k = spec.priors.weight, spec.n_clusters
    if isinstance(prior, Dirichlet) and k > 1:
        return numpyro.sample("weight", dist.Dirichlet(jnp.full(k, prior.concentration)))
    known = prior.array if isinstance(prior, Fixed) else np.ones(1)
    return numpyro.deterministic("weight", jnp.asarray(known))


def _location(spec: ModelSpec, reflection: np.ndarray | None) -> Arrays:
    """The free location parameters from ξ, or from inside the cone.

    With H the reflection, η = ξH has c'ξ_k as its first column: an ordered vector, whose
    unconstrained values NumPyro takes as the first one and the logs of the differences. |det H| is
    one, so the density of ξ is the prior's own and enters as a factor.
    """
    import jax.numpy as jnp
    import numpyro
    import numpyro.distributions as dist

    free, k = {item.name: item for item in free_parameters(spec, "location")}, spec.n_clusters
    widths = [len(item.labels) for item in free.values()]
    priors: dict[str, Any] = {name: item.prior for name, item in free.items()}
    standard = {
        name: dist.StudentT(prior.df) if isinstance(prior, StudentT) else dist.Normal()
        for name, prior in priors.items()
    }
    if reflection is None:
        xi = {
            name: numpyro.sample(site_of(item), standard[name].expand((k, width)).to_event(2))
            for (name, item), width in zip(free.items(), widths, strict=True)
        }
    else:
        ordered, real = dist.constraints.ordered_vector, dist.constraints.real_matrix
        eta = numpyro.sample("place", dist.ImproperUniform(ordered, (), (k,)))[:, None]
        others = len(reflection) - 1
        if others:
            across = numpyro.sample("across", dist.ImproperUniform(real, (), (k, others)))
            eta = jnp.concatenate([eta, across], axis=1)
        parts = jnp.split(eta @ reflection, np.cumsum(widths)[:-1], axis=1)
        xi = dict(zip(free, parts, strict=True))
        density = sum(standard[name].log_prob(value).sum() for name, value in xi.items())
        numpyro.factor("location_prior", density)
    return {
        name: (prior.loc + prior.scale * xi[name]).reshape(full_shape(free[name], spec))
        for name, prior in priors.items()
    }


def _positive(parameter: Parameter) -> Array:
    """The prior of a scale or a shape; the inverse gamma is one of the scale's square."""
    import numpyro.distributions as dist

    match prior := parameter.prior:
        case InverseGamma():
            return dist.InverseGamma(prior.shape, prior.scale)
        case HalfNormal():
            return dist.HalfNormal(prior.scale)
        case HalfStudentT():
            return dist.FoldedDistribution(dist.StudentT(prior.df, 0.0, prior.scale))
        case LogNormal():
            return dist.LogNormal(prior.loc, prior.scale)
        case Gamma():
            return dist.Gamma(prior.shape, prior.rate)
    raise TypeError(f"{prior!r} is no prior of a positive number")


def positive_log_density(prior: object, value: np.ndarray) -> np.ndarray:
    """`_positive` by `scipy.stats`: log densities of a scale or a shape, or of a scale's square."""
    from scipy.stats import gamma, halfnorm, invgamma, lognorm, t

    match prior:
        case InverseGamma():
            found = invgamma.logpdf(value, prior.shape, scale=prior.scale)
        case HalfNormal():
            found = halfnorm.logpdf(value, scale=prior.scale)
        case HalfStudentT():
            found = np.log(2) + t.logpdf(value, prior.df, scale=prior.scale)
        case LogNormal():
            found = lognorm.logpdf(value, prior.scale, scale=np.exp(prior.loc))
        case Gamma():
            found = gamma.logpdf(value, prior.shape, scale=1 / prior.rate)
        case _:
            raise TypeError(f"{prior!r} is no prior of a positive number")
    return np.asarray(found)


def free_values(spec: ModelSpec, values: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Values of the model's sample sites from parameters with any batch dims in front.

    Raises
    ------
    SpecError
        If a value that is needed is absent or has another shape, weights do not sum to one or
        the diagonal of a correlation matrix is not one.
    """
    free = {}
    for parameter in spec.parameters.values():
        if not parameter.free:
            continue
        prior: Any = parameter.prior
        value = _given(values, parameter.name, full_shape(parameter, spec))
        match parameter.role:
            case "weight":
                _check_ones("The weights' sum", value.sum(-1))
            case "probability":
                _check_ones(f"The sum of {parameter.name}", value.sum(-1))
            case "location":
                value = (value - prior.loc) / prior.scale
                value = value if parameter.dims else value[..., None]
            case "correlation":
                _check_ones("A correlation's diagonal", np.einsum("...ii->...i", value))
                value = np.linalg.cholesky(value)[..., : parameter.free[0], :, :]
            case _:
                own: tuple[Any, ...] = tuple(slice(size) for size in parameter.free)
                value = value[(..., *own)]
                if isinstance(prior, InverseGamma):
                    value = value**2
        free[site_of(parameter)] = value
    return free


def _given(values: Mapping[str, np.ndarray], name: str, shape: tuple[int, ...]) -> np.ndarray:
    value = np.asarray(values[name], dtype=float) if name in values else None
    if value is None or value.shape[value.ndim - len(shape) :] != shape:
        got = "nothing" if value is None else value.shape
        raise SpecError(f"values must hold {name!r} with the last dims {shape}; got {got}.")
    return value


def _check_ones(what: str, value: np.ndarray) -> None:
    if not np.allclose(value, 1, rtol=0, atol=_TOLERANCE):
        raise SpecError(f"{what} must be one; got {value.tolist()}.")


def check_consistent(values: Mapping[str, np.ndarray], implied: Arrays) -> None:
    """Refuse parameters that differ from those that the free ones and the spec imply.

    Raises
    ------
    SpecError
        If a name is unknown to the model, or a value cannot occur under the spec.
    """
    for name, value in values.items():
        if name not in implied:
            raise SpecError(f"The model has no parameter {name!r}.")
        own = np.asarray(implied[name])
        if own.shape != np.shape(value) or not np.allclose(
            own, value, rtol=_TOLERANCE, atol=_TOLERANCE
        ):
            raise SpecError(
                f"The given {name} cannot occur under the specification, by which it is "
                f"{own.tolist()}; got {np.asarray(value).tolist()}."
            )
