"""Student-t features in PyMC: x | k ~ t(ν_k; μ_k, Σ_k)."""

import numpy as np
import pymc as pm
import pytensor.tensor as pt
from pytensor.tensor.variable import TensorVariable

from jointmix.base.schema import COMPONENT
from jointmix.families.elliptical import graph
from jointmix.families.elliptical.graph import log_scale, white
from jointmix.families.elliptical.graph import marginal as marginal
from jointmix.families.graph import Values
from jointmix.families.mvt.block import StudentTFeatures
from jointmix.families.priors.graph import positive
from jointmix.families.protocol import Scaled
from jointmix.families.rising import log_rising
from jointmix.families.rows import Rows

_LOG_2PI = float(np.log(2 * np.pi))


def variables(
    block: StudentTFeatures, scaling: Scaled, locations: Values
) -> dict[str, TensorVariable]:
    """``mean``, ``cholesky`` and ``feature_df`` (component)."""
    found, known = graph.variables(block, scaling, locations), block.known(scaling)
    own, prior = block.parameters[-1], block.spec.priors.feature_df
    if not own.shared and "feature_df" not in known:
        # Dims alone would leave the shape open.
        return found | {"feature_df": positive(own.site, prior, shape=own.free, dims=COMPONENT)}
    if "feature_df" in known:
        df = pt.as_tensor(known["feature_df"])
    else:
        df = pt.broadcast_to(positive(own.site, prior, shape=own.free), (block.spec.n_clusters,))
    return found | {"feature_df": pm.Deterministic("feature_df", df, dims=COMPONENT)}


def log_density(block: StudentTFeatures, values: Values, rows: Rows) -> TensorVariable:
    """log t(x | ν_k, μ_k, Σ_k), (obs, component)."""
    del block
    df, half = values["feature_df"], 0.5 * values["mean"].type.shape[-1]
    # PyMC's own density takes the difference of two log gamma functions, of size ν log ν.
    constant = log_rising(half, df / 2, pt.log1p) - half * _LOG_2PI
    square = (white(values, rows) ** 2).sum(-1)
    return constant - log_scale(values) - (df / 2 + half) * pt.log1p(square / df)


def compiled(block: StudentTFeatures, values: Values) -> dict[str, TensorVariable]:
    """Those of the ellipsoid, and ν."""
    return graph.compiled(block, values) | {"feature_df": values["feature_df"]}
