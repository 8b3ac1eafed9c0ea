"""Features in ellipsoids in PyMC: μ_k, Σ_k, and z = L_k⁻¹ (x − μ_k)."""

from dataclasses import replace

import numpy as np
import pymc as pm
import pytensor.tensor as pt
from pytensor.tensor.variable import TensorVariable

from jointmix.base.schema import COMPONENT, FEATURE, FEATURE_BIS
from jointmix.families.elliptical.block import Elliptical
from jointmix.families.graph import Values
from jointmix.families.priors.graph import scale_of
from jointmix.families.priors.priors import LKJ
from jointmix.families.protocol import Parameter, Scaled
from jointmix.families.rows import Rows


def variables(block: Elliptical, scaling: Scaled, locations: Values) -> dict[str, TensorVariable]:
    """``mean`` (component, feature) and ``cholesky`` (component, feature, feature)."""
    known = block.known(scaling)
    fixed = pt.as_tensor(known["mean"]) if "mean" in known else None
    mean = pm.Deterministic("mean", locations.get("mean", fixed), dims=(COMPONENT, FEATURE))
    if "cholesky" in known:
        sd = np.sqrt((known["cholesky"] ** 2).sum(-1))
        sd, factor = pt.as_tensor(sd), pt.as_tensor(known["cholesky"] / sd[..., None])
    else:
        sd, factor = _free_covariance(block)
    pm.Deterministic("sd", sd, dims=(COMPONENT, FEATURE))
    correlation = factor @ pt.swapaxes(factor, -1, -2)
    pm.Deterministic("correlation", correlation, dims=(COMPONENT, FEATURE, FEATURE_BIS))
    return {"mean": mean, "cholesky": sd[:, :, None] * factor}


def _free_covariance(block: Elliptical) -> tuple[TensorVariable, TensorVariable]:
    """Standard deviations (K, D) and correlation factors (K, D, D) with their priors."""
    k, d = block.spec.n_clusters, len(block.spec.features)
    _, scales, correlation = block.parameters[:3]
    sd = pt.broadcast_to(scale_of(scales), (k, d))
    if not correlation.free:
        return sd, pt.as_tensor(np.broadcast_to(np.eye(d), (k, d, d)).copy())
    return sd, pt.broadcast_to(_correlation_factor(correlation, d), (k, d, d))


def _correlation_factor(correlation: Parameter, size: int) -> TensorVariable:
    """Cholesky factors of LKJ correlation matrices, (matrix, size, size), by a C-vine.

    Partial correlations p_ij = 2u_ij − 1 with u_ij ~ Beta(a_j, a_j), a_j = η + (D − 2 − j)/2
    (Lewandowski, Kurowicka and Joe 2009); row i of the factor is p_ij ∏_{l<j} √(1 − p_il²).
    """
    assert isinstance(correlation.prior, LKJ)
    n_matrices = correlation.free[0]
    row, column = np.tril_indices(size, -1)
    shape = correlation.prior.eta + (size - 2 - column) / 2
    half = pm.Beta(correlation.site, shape, shape, shape=correlation.free)
    partial = pt.zeros((n_matrices, size, size))[:, row, column].set(2 * half - 1)
    rest = pt.cumprod(pt.sqrt(1 - partial**2), axis=-1)
    before = pt.concatenate([pt.ones((n_matrices, size, 1)), rest[:, :, :-1]], axis=-1)
    return (partial + np.eye(size)) * before


def white(values: Values, rows: Rows) -> TensorVariable:
    """z, (obs, component, feature)."""
    deviation = rows.x[:, None, :] - values["mean"]
    return (deviation[:, :, None, :] * whitening(values)).sum(-1)


def marginal(
    block: Elliptical, values: Values, rows: Rows, present: np.ndarray
) -> tuple[Values, Rows] | None:
    """μ and the factor of Σ of the features that are present; None where none is."""
    del block
    there = np.flatnonzero(present)
    if not there.size:
        return None
    factor = values["cholesky"][:, there]
    inner = pt.linalg.cholesky(factor @ pt.swapaxes(factor, -1, -2))
    left = {"mean": values["mean"][:, there], "cholesky": inner}
    return {**values, **left}, replace(rows, x=rows.x[:, there])


def compiled(block: Elliptical, values: Values) -> dict[str, TensorVariable]:
    """``cholesky`` as a factor with scales of one: only their product counts."""
    del block
    sd = pt.ones(values["mean"].type.shape)
    return {"mean": values["mean"], "sd": sd, "factor": values["cholesky"]}


def whitening(values: Values) -> TensorVariable:
    """L⁻¹, (component, feature, feature)."""
    eye = np.eye(values["mean"].type.shape[-1])
    return pt.linalg.solve_triangular(values["cholesky"], eye, lower=True, b_ndim=2)


def log_scale(values: Values) -> TensorVariable:
    """log det L, (component)."""
    return pt.log(pt.diagonal(values["cholesky"], axis1=-2, axis2=-1)).sum(-1)
