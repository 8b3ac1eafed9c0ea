"""An inverse Gaussian response in PyMC: mean m = exp(b_k + u'θ_k + offset), variance m³ / λ_k."""

import numpy as np
import pytensor.tensor as pt
from pytensor.tensor.variable import TensorVariable

from jointmix.families.graph import Values, linear, shape_variables
from jointmix.families.inverse_gaussian.block import InverseGaussianResponse
from jointmix.families.limits import MOST_RATIO
from jointmix.families.protocol import Scaled
from jointmix.families.rows import Rows

_LOG_2PI = float(np.log(2 * np.pi))


def variables(
    block: InverseGaussianResponse, scaling: Scaled, locations: Values
) -> dict[str, TensorVariable]:
    """``intercept``, ``slope`` and ``shape`` (component)."""
    return shape_variables(block, scaling, locations)


def log_density(block: InverseGaussianResponse, values: Values, rows: Rows) -> TensorVariable:
    """log inverse Gaussian(y | exp(η_k), λ_k), (obs, component)."""
    del block
    y, shape = rows.y[:, None], values["shape"]
    log_y = pt.log(y)
    t = pt.minimum(log_y - linear(values, rows), MOST_RATIO)
    return 0.5 * (pt.log(shape) - _LOG_2PI - 3 * log_y - shape * pt.expm1(t) ** 2 / y)


def compiled_rows(block: InverseGaussianResponse, rows: Rows) -> TensorVariable:
    """As those of the block, (obs, column)."""
    del block
    own = pt.stack([rows.offset, pt.log(rows.y), 1 / rows.y], axis=1)
    return pt.concatenate([rows.u, own], axis=1)
