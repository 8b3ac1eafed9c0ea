"""Successes of trials in PyMC: y | x, k ~ Binomial(n, g⁻¹(b_k + u'θ_k + offset))."""

import numpy as np
import pytensor.tensor as pt
from pytensor.tensor.variable import TensorVariable

from jointmix.families.binomial.block import BinomialResponse
from jointmix.families.graph import Values, coefficient_variables, linear
from jointmix.families.protocol import Scaled
from jointmix.families.rows import Rows

_ROOT_2 = float(np.sqrt(2))


def variables(
    block: BinomialResponse, scaling: Scaled, locations: Values
) -> dict[str, TensorVariable]:
    """``intercept`` and ``slope``."""
    return coefficient_variables(block, scaling, locations)


def log_density(block: BinomialResponse, values: Values, rows: Rows) -> TensorVariable:
    """y log g⁻¹(η_k) + (n − y) log g⁻¹(−η_k) + log of n over y, (obs, component)."""
    eta, constant, y, rest = linear(values, rows), *_counted(rows)
    below = (lambda t: -pt.softplus(-t)) if block.logistic else _log_normal_below
    found = y[:, None] * below(eta) + rest[:, None] * below(-eta)
    return found if constant is None else found + constant[:, None]


def _counted(rows: Rows) -> tuple[TensorVariable | None, TensorVariable, TensorVariable]:
    """The log of n over y, unless that is zero, y, and n − y, each (obs,)."""
    y = rows.y
    if rows.trials is None:
        return None, y, 1 - y
    n = rows.trials
    return pt.gammaln(n + 1) - pt.gammaln(y + 1) - pt.gammaln(n - y + 1), y, n - y


def _log_normal_below(t: TensorVariable) -> TensorVariable:
    """log Φ(t)."""
    near, far = pt.maximum(t, -1.0), pt.minimum(t, -1.0)
    tail = pt.log(0.5 * pt.erfcx(-far / _ROOT_2)) - 0.5 * far**2
    return pt.switch(t > -1.0, pt.log1p(-0.5 * pt.erfc(near / _ROOT_2)), tail)


def compiled_rows(block: BinomialResponse, rows: Rows) -> TensorVariable:
    """As those of the block, (obs, column)."""
    del block
    constant, y, rest = _counted(rows)
    own = pt.stack([rows.offset, 0 * y if constant is None else constant, y, rest], axis=1)
    return pt.concatenate([rows.u, own], axis=1)
