"""A normal response in PyMC: y | x, k ~ N(b_k + u'θ_k, σ_k²)."""

import numpy as np
import pytensor.tensor as pt
from pytensor.tensor.variable import TensorVariable

from jointmix.families.graph import Quadratic, Values, line_variables, residual
from jointmix.families.normal.block import NormalResponse
from jointmix.families.protocol import Scaled
from jointmix.families.rows import Rows

_LOG_2PI = float(np.log(2 * np.pi))


def variables(
    block: NormalResponse, scaling: Scaled, locations: Values
) -> dict[str, TensorVariable]:
    """``intercept``, ``slope`` and ``sigma``."""
    return line_variables(block, scaling, locations)


def log_density(block: NormalResponse, values: Values, rows: Rows) -> TensorVariable:
    """log N(y | b_k + u'θ_k, σ_k²), (obs, component)."""
    del block
    return -0.5 * (residual(values, rows) ** 2 + _LOG_2PI) - pt.log(values["sigma"])


def quadratic(block: NormalResponse, values: Values) -> Quadratic:
    """(y − b − u'θ)² / σ² as a form in the row."""
    spec, sigma = block.spec, values["sigma"]
    width = len(spec.columns)
    form = np.eye(width)[-1]
    if spec.predictors:
        places = [spec.columns.index(name) for name in spec.predictors]
        form = form - values["slope"] @ np.eye(width)[places]
    offset = (values["intercept"] / sigma)[:, None]
    return Quadratic((form / sigma[:, None])[:, None, :], offset, pt.log(sigma))
