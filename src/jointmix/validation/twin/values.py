"""From parameters to the free variables of the NumPyro model, the inverse of its priors."""

import numpy as np

from jointmix.base.errors import SpecError
from jointmix.families.priors.priors import (
    Dirichlet,
    Fixed,
    InverseGamma,
    ScalePrior,
)
from jointmix.model.spec import ModelSpec
from jointmix.validation.twin.parameters import (
    Array,
    correlated,
    free_location,
    scale_site,
)

#: Given values may differ by rounding from those that the free ones among them imply.
_TOLERANCE = 1e-8


def free_values(spec: ModelSpec, values: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Values of the model's sample sites from parameters with any batch dims in front.

    Raises
    ------
    SpecError
        If a value that is needed is absent or has another shape, weights do not sum to one or
        the diagonal of a correlation matrix is not one.
    """
    k, d, free = spec.n_clusters, len(spec.features), {}
    if isinstance(spec.priors.weight, Dirichlet) and k > 1:
        free["weight"] = _given(values, "weight", (k,))
        _check_ones("The weights' sum", free["weight"].sum(-1))
    for name, (prior, width) in free_location(spec).items():
        shape = (k,) if name == "intercept" else (k, width)
        xi = (_given(values, name, shape) - prior.loc) / prior.scale
        free[f"{name}_xi"] = xi[..., None] if name == "intercept" else xi
    if d and spec.covariance != "fixed":
        sd = _given(values, "sd", (k, d))
        own = {"tied": sd[..., :1, :], "spherical": sd[..., :1]}.get(spec.covariance, sd)
        free |= _free_scale("feature", spec.priors.sd, own)
    if correlated(spec):
        correlation = _given(values, "correlation", (k, d, d))
        _check_ones("A correlation's diagonal", np.einsum("...ii->...i", correlation))
        factor = np.linalg.cholesky(correlation)
        free["correlation_cholesky"] = (
            factor[..., :1, :, :] if spec.covariance == "tied" else factor
        )
    if spec.response is not None and spec.noise != "fixed":
        sigma = _given(values, "sigma", (k,))
        own = sigma[..., :1] if spec.noise == "shared" else sigma
        free |= _free_scale("noise", spec.priors.sigma, own)
    return free


def _given(values: dict[str, np.ndarray], name: str, shape: tuple[int, ...]) -> np.ndarray:
    value = np.asarray(values[name], dtype=float) if name in values else None
    if value is None or value.shape[value.ndim - len(shape) :] != shape:
        got = "nothing" if value is None else value.shape
        raise SpecError(f"values must hold {name!r} with the last dims {shape}; got {got}.")
    return value


def _check_ones(what: str, value: np.ndarray) -> None:
    if not np.allclose(value, 1, rtol=0, atol=_TOLERANCE):
        raise SpecError(f"{what} must be one; got {value.tolist()}.")


def _free_scale(name: str, prior: ScalePrior | Fixed, sd: np.ndarray) -> dict[str, np.ndarray]:
    return {scale_site(name, prior): sd**2 if isinstance(prior, InverseGamma) else sd}


def check_consistent(values: dict[str, np.ndarray], implied: dict[str, Array]) -> None:
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
