"""Gaussian features in PyMC: x | k ~ N(μ_k, Σ_k)."""

import numpy as np
import pytensor.tensor as pt
from pytensor.tensor.variable import TensorVariable

from jointmix.families.elliptical.graph import compiled as compiled
from jointmix.families.elliptical.graph import log_scale, white, whitening
from jointmix.families.elliptical.graph import marginal as marginal
from jointmix.families.elliptical.graph import variables as variables
from jointmix.families.graph import Quadratic, Values
from jointmix.families.mvnormal.block import GaussianFeatures
from jointmix.families.rows import Rows

_LOG_2PI = float(np.log(2 * np.pi))


def log_density(block: GaussianFeatures, values: Values, rows: Rows) -> TensorVariable:
    """log N(x | μ_k, Σ_k), (obs, component)."""
    del block
    constant = 0.5 * values["mean"].type.shape[-1] * _LOG_2PI
    return -0.5 * (white(values, rows) ** 2).sum(-1) - log_scale(values) - constant


def quadratic(block: GaussianFeatures, values: Values) -> Quadratic:
    """|L_k⁻¹ (x − μ_k)|² as forms in the row."""
    spec, whiten = block.spec, whitening(values)
    k, d = spec.n_clusters, len(spec.features)
    form = pt.concatenate([whiten, np.zeros((k, d, len(spec.columns) - d))], axis=-1)
    return Quadratic(form, (whiten * values["mean"][:, None, :]).sum(-1), log_scale(values))
