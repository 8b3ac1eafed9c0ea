"""A Poisson response in PyMC: y | x, k ~ Poisson(exp(b_k + u'θ_k + offset))."""

import pytensor.tensor as pt
from pytensor.tensor.variable import TensorVariable

from jointmix.families.graph import Values, coefficient_variables, linear
from jointmix.families.graph import count_rows as compiled_rows
from jointmix.families.limits import MOST_EXPONENT
from jointmix.families.poisson.block import PoissonResponse
from jointmix.families.protocol import Scaled
from jointmix.families.rows import Rows

__all__ = ["compiled_rows", "log_density", "variables"]


def variables(
    block: PoissonResponse, scaling: Scaled, locations: Values
) -> dict[str, TensorVariable]:
    """``intercept`` and ``slope``."""
    return coefficient_variables(block, scaling, locations)


def log_density(block: PoissonResponse, values: Values, rows: Rows) -> TensorVariable:
    """log Poisson(y | exp(η_k)), (obs, component)."""
    del block
    eta, y = linear(values, rows), rows.y[:, None]
    return y * eta - pt.exp(pt.minimum(eta, MOST_EXPONENT)) - pt.gammaln(y + 1)
