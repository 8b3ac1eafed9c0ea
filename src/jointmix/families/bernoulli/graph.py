"""A yes or no in PyMC: y | x, k ~ Bernoulli(g⁻¹(b_k + u'θ_k + offset))."""

import numpy as np
import pytensor.tensor as pt
from pytensor.tensor.variable import TensorVariable

from jointmix.families.bernoulli.block import BernoulliResponse
from jointmix.families.graph import Values, coefficient_variables, linear
from jointmix.families.protocol import Scaled
from jointmix.families.rows import Rows

_ROOT_2 = float(np.sqrt(2))


def variables(
    block: BernoulliResponse, scaling: Scaled, locations: Values
) -> dict[str, TensorVariable]:
    """``intercept`` and ``slope``."""
    return coefficient_variables(block, scaling, locations)


def log_density(block: BernoulliResponse, values: Values, rows: Rows) -> TensorVariable:
    """log g⁻¹(±η_k), (obs, component)."""
    turned = (2 * rows.y[:, None] - 1) * linear(values, rows)
    if block.logistic:
        return -pt.softplus(-turned)
    near, far = pt.maximum(turned, -1.0), pt.minimum(turned, -1.0)
    tail = pt.log(0.5 * pt.erfcx(-far / _ROOT_2)) - 0.5 * far**2
    return pt.switch(turned > -1.0, pt.log1p(-0.5 * pt.erfc(near / _ROOT_2)), tail)


def compiled_rows(block: BernoulliResponse, rows: Rows) -> TensorVariable:
    """As those of the block, (obs, column)."""
    del block
    own = pt.stack([rows.offset, 2 * rows.y - 1], axis=1)
    return pt.concatenate([rows.u, own], axis=1)
