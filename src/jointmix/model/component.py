"""One mixture component as a distribution of the row (x, y), for PyMC.

The log density is quadratic in v = (x, u, y), hence an inner product of natural parameters and
Φ(v) = (1, v, v v'):

    log N(x | μ_k, Σ_k) + log N(y | b_k + u'θ_k, σ_k²) = ⟨W_k, Φ(v)⟩

Means and scales enter squared before they are subtracted, so that about 2e-16 (m/s)² is lost in
absolute terms where columns or means reach m and a standard deviation is s: 1e-9 at m/s = 2,000.
The compiled kernel (`jointmix.kernel`) takes residuals first and loses nothing.
"""

from collections.abc import Callable
from typing import Any, Literal

import numpy as np
import pytensor.tensor as pt
from pytensor.tensor.variable import TensorVariable

from jointmix.model.spec import ModelSpec

Product = Literal["sum", "dot"]
_LOG_2PI = float(np.log(2 * np.pi))

#: Core dims of a component's parameters, in the order in which it takes them.
CORE = {
    "mean": "(d)",
    "cholesky": "(d,d)",
    "intercept": "()",
    "slope": "(r)",
    "sigma": "()",
    "extra": "(e)",
}


def parameter_names(spec: ModelSpec) -> tuple[str, ...]:
    """The parameters a component of this model takes, in order; `extra` are further predictors."""
    names = ["mean", "cholesky"] if spec.features else []
    if spec.response is not None:
        names += ["intercept", "slope", "sigma"]
    if set(spec.predictors) - set(spec.features):
        names.append("extra")
    return tuple(names)


def signature(spec: ModelSpec) -> str:
    """Core dims of the parameters and of a row, as CustomDist takes them."""
    width = len(spec.features) + (spec.response is not None)
    core = ",".join(CORE[name] for name in parameter_names(spec))
    return f"{core}->({width})"


def natural_parameters(spec: ModelSpec, parameters: dict[str, TensorVariable]) -> TensorVariable:
    """W (component, term): the constant, the linear and the quadratic terms of Φ.

    Parameters
    ----------
    parameters
        `mean` (component, feature), `cholesky` (component, feature, feature), `intercept`
        (component), `slope` (component, predictor) and `sigma` (component), as far as the model
        has them.
    """
    k, d, width = spec.n_clusters, len(spec.features), len(spec.columns)
    rows, offsets, log_scales = [], [], []
    if spec.features:
        whiten = pt.linalg.solve_triangular(parameters["cholesky"], np.eye(d), lower=True, b_ndim=2)
        rows.append(pt.concatenate([whiten, np.zeros((k, d, width - d))], axis=-1))
        offsets.append((whiten * parameters["mean"][:, None, :]).sum(-1))
        log_scales.append(pt.log(pt.diagonal(parameters["cholesky"], axis1=-2, axis2=-1)).sum(-1))
    if spec.response is not None:
        columns = [spec.columns.index(name) for name in spec.predictors]
        place = np.eye(width)[columns]
        sigma = parameters["sigma"]
        residual = np.eye(width)[-1]
        if columns:
            residual = residual - parameters["slope"] @ place
        rows.append((residual / sigma[:, None])[:, None, :])
        offsets.append((parameters["intercept"] / sigma)[:, None])
        log_scales.append(pt.log(sigma))
    form, offset = pt.concatenate(rows, axis=1), pt.concatenate(offsets, axis=1)
    quadratic = (form[:, :, :, None] * form[:, :, None, :]).sum(1)
    linear = (form * offset[:, :, None]).sum(1)
    n_terms = d + (spec.response is not None)
    constant = -0.5 * ((offset**2).sum(-1) + n_terms * _LOG_2PI) - sum(log_scales)
    i, j = np.triu_indices(width)
    twice = np.where(i == j, -0.5, -1.0)
    return pt.concatenate([constant[:, None], linear, quadratic[:, i, j] * twice], axis=1)


def sufficient_statistics(rows: TensorVariable) -> TensorVariable:
    """Φ(v) = (1, v, v_i v_j for i ≤ j) of each row: (obs, term)."""
    i, j = np.triu_indices(rows.type.shape[-1])
    return pt.concatenate([pt.ones_like(rows[:, :1]), rows, rows[:, i] * rows[:, j]], axis=1)


def log_density(spec: ModelSpec, product: Product) -> Callable[..., TensorVariable]:
    """The component's log density as CustomDist takes it, of rows (obs, D + 1).

    Inside a mixture it returns (obs, component), for a single component (obs,).
    """
    names, k, d = parameter_names(spec), spec.n_clusters, len(spec.features)
    sizes: dict[str, tuple[int, ...]] = {
        "mean": (d,),
        "cholesky": (d, d),
        "intercept": (),
        "slope": (len(spec.predictors),),
        "sigma": (),
    }
    n_extra = len(set(spec.predictors) - set(spec.features))
    width = d + (spec.response is not None)

    def logp(value: TensorVariable, *args: TensorVariable) -> TensorVariable:
        given = dict(zip(names, args, strict=True))
        parameters = {
            name: given[name].reshape((k, *size)) for name, size in sizes.items() if name in given
        }
        rows = value.reshape((-1, width))
        if "extra" in given:
            extra = given["extra"].reshape((-1, n_extra))
            rows = pt.concatenate([rows[:, :d], extra, rows[:, d:]], axis=1)
        rows = pt.specify_shape(rows, (None, len(spec.columns)))
        terms, weights = sufficient_statistics(rows), natural_parameters(spec, parameters)
        dot = product == "dot"
        result = terms @ weights.T if dot else (terms[:, None, :] * weights).sum(-1)
        return result if k > 1 else result[:, 0]

    return logp


def random_rows(spec: ModelSpec) -> Callable[..., np.ndarray]:
    """Draws of (x, y) given a component's parameters, as CustomDist takes it."""
    names, d = parameter_names(spec), len(spec.features)
    extra_names = [name for name in spec.predictors if name not in spec.features]
    order = [*spec.features, *extra_names]

    def random(*args: Any, rng: np.random.Generator, size: tuple[int, ...]) -> np.ndarray:
        given = dict(zip(names, args, strict=True))
        parts = []
        known = [np.zeros((*size, 0))]
        if "mean" in given:
            noise = rng.normal(size=(*size, d, 1))
            x = np.broadcast_to(given["mean"], (*size, d)) + (given["cholesky"] @ noise)[..., 0]
            parts.append(x)
            known.append(x)
        if "extra" in given:
            known.append(np.broadcast_to(given["extra"], (*size, len(extra_names))))
        if "sigma" in given:
            u = np.concatenate(known, axis=-1)[..., [order.index(n) for n in spec.predictors]]
            line = given["intercept"] + (u * given["slope"]).sum(-1)
            parts.append((line + given["sigma"] * rng.normal(size=size))[..., None])
        return np.concatenate(parts, axis=-1)

    return random
