"""A negative binomial response in PyMC: mean m = exp(b_k + u'θ_k + offset), variance m + m²/s_k."""

import pymc as pm
import pytensor.tensor as pt
from pytensor.tensor.variable import TensorVariable

from jointmix.base.schema import COMPONENT
from jointmix.families.graph import Values, coefficient_variables, linear
from jointmix.families.graph import count_rows as compiled_rows
from jointmix.families.negative_binomial.block import NegativeBinomialResponse
from jointmix.families.priors.graph import positive
from jointmix.families.protocol import Scaled
from jointmix.families.rising import log_rising
from jointmix.families.rows import Rows

__all__ = ["compiled_rows", "log_density", "variables"]


def variables(
    block: NegativeBinomialResponse, scaling: Scaled, locations: Values
) -> dict[str, TensorVariable]:
    """``intercept``, ``slope`` and ``size`` (component)."""
    found, known = coefficient_variables(block, scaling, locations), block.known(scaling)
    if "size" in known:
        size = pm.Deterministic("size", pt.as_tensor(known["size"]), dims=COMPONENT)
    else:
        # Dims alone would leave the shape open.
        shape = (block.spec.n_clusters,)
        size = positive("size", block.spec.priors.size, shape=shape, dims=COMPONENT)
    return found | {"size": size}


def log_density(block: NegativeBinomialResponse, values: Values, rows: Rows) -> TensorVariable:
    """log p(y | η_k, s_k), (obs, component)."""
    del block
    eta, y, size = linear(values, rows), rows.y[:, None], values["size"]
    spread = pt.softplus(eta - pt.log(size))
    rising = log_rising(y, size, pt.log1p)
    return y * eta + rising - (size + y) * spread - pt.gammaln(y + 1)
