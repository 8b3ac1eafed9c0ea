"""A Laplace response in PyMC."""

import numpy as np
import pytensor.tensor as pt
from pytensor.tensor.variable import TensorVariable

from jointmix.families.graph import Values, line_variables, residual
from jointmix.families.protocol import Scaled
from jointmix.families.rows import Rows
from laplace.block import LaplaceResponse


def variables(
    block: LaplaceResponse, scaling: Scaled, locations: Values
) -> dict[str, TensorVariable]:
    """``intercept``, ``slope`` and ``sigma``."""
    return line_variables(block, scaling, locations)


def log_density(block: LaplaceResponse, values: Values, rows: Rows) -> TensorVariable:
    """log Laplace(y | b_k + u'θ_k, σ_k), (obs, component)."""
    del block
    return -pt.abs(residual(values, rows)) - pt.log(values["sigma"]) - float(np.log(2))
