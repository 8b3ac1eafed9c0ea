"""A gamma response in PyMC: mean m = exp(b_k + u'θ_k + offset), variance m² / α_k."""

import numpy as np
import pytensor.tensor as pt
from pytensor.tensor.variable import TensorVariable

from jointmix.families.gamma.block import GammaResponse
from jointmix.families.graph import Values, linear, shape_variables
from jointmix.families.limits import MOST_RATIO
from jointmix.families.protocol import Scaled
from jointmix.families.rows import Rows

_LOG_ROOT_2PI = float(0.5 * np.log(2 * np.pi))
#: From here on the asymptotic series of log Γ is right to the last digit.
_FROM = 10.0
#: Its coefficients, of x⁻¹, x⁻³, …
_SERIES = (1 / 12, -1 / 360, 1 / 1260, -1 / 1680, 1 / 1188, -691 / 360360, 1 / 156)


def variables(
    block: GammaResponse, scaling: Scaled, locations: Values
) -> dict[str, TensorVariable]:
    """``intercept``, ``slope`` and ``shape`` (component)."""
    return shape_variables(block, scaling, locations)


def log_density(block: GammaResponse, values: Values, rows: Rows) -> TensorVariable:
    """log gamma(y | α_k, exp(η_k)), (obs, component)."""
    del block
    log_y, shape = pt.log(rows.y)[:, None], values["shape"]
    t = pt.minimum(log_y - linear(values, rows), MOST_RATIO)
    return _constant(shape) - log_y - shape * (pt.expm1(t) - t)


def _constant(x: TensorVariable) -> TensorVariable:
    """x log x − x − log Γ(x), x > 0."""
    far, near = pt.maximum(x, _FROM), pt.minimum(x, _FROM)
    series = sum(c * far ** -(2 * i + 1) for i, c in enumerate(_SERIES))
    exact = near * pt.log(near) - near - pt.gammaln(near)
    return pt.switch(x < _FROM, exact, 0.5 * pt.log(far) - _LOG_ROOT_2PI - series)


def compiled_rows(block: GammaResponse, rows: Rows) -> TensorVariable:
    """As those of the block, (obs, column)."""
    del block
    own = pt.stack([rows.offset, pt.log(rows.y)], axis=1)
    return pt.concatenate([rows.u, own], axis=1)
