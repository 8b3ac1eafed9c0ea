"""Successes of trials in PyMC: y | x, k ~ Binomial(n, g⁻¹(b_k + u'θ_k + offset))."""

import numpy as np
import pytensor.tensor as pt
from pytensor.tensor.variable import TensorVariable

from jointmix.families.binomial.block import BinomialResponse
from jointmix.families.graph import Values, coefficient_variables, linear
from jointmix.families.protocol import Scaled
from jointmix.families.rows import Rows

_LOG_ROOT_2PI = float(0.5 * np.log(2 * np.pi))
#: Below this the continued fraction of Mills' ratio is right to the last digits.
_FAR = -8.0
_TERMS = 40


def variables(
    block: BinomialResponse, scaling: Scaled, locations: Values
) -> dict[str, TensorVariable]:
    """``intercept`` and ``slope``."""
    return coefficient_variables(block, scaling, locations)


def log_density(block: BinomialResponse, values: Values, rows: Rows) -> TensorVariable:
    """y log g⁻¹(η_k) + (n − y) log g⁻¹(−η_k) + log of n over y, (obs, component)."""
    eta, constant, y, rest = linear(values, rows), *_counted(rows)
    if block.logistic:
        below, above = -pt.softplus(-eta), -pt.softplus(eta)
    else:
        below, above = _log_normal(eta)
    found = y[:, None] * below + rest[:, None] * above
    return found if constant is None else found + constant[:, None]


def _counted(rows: Rows) -> tuple[TensorVariable | None, TensorVariable, TensorVariable]:
    """The log of n over y, unless that is zero, y, and n − y, each (obs,)."""
    y = rows.y
    if rows.trials is None:
        return None, y, 1 - y
    n = rows.trials
    return pt.gammaln(n + 1) - pt.gammaln(y + 1) - pt.gammaln(n - y + 1), y, n - y


def _log_normal(t: TensorVariable) -> tuple[TensorVariable, TensorVariable]:
    """log Φ(t) and log Φ(−t): the smaller by Mills' ratio, the other of what it leaves of one."""
    down = t < 0
    # By a switch, as |t| would have the slope 0 at 0.
    low = pt.switch(down, t, -t)
    near, far = pt.maximum(low, _FAR), pt.minimum(low, _FAR)
    fraction = -far
    for term in range(_TERMS, 0, -1):
        fraction = -far + term / fraction
    tail = -0.5 * far**2 - _LOG_ROOT_2PI - pt.log(fraction)
    small = pt.switch(low > _FAR, pt.log(0.5 * pt.erfc(-near / np.sqrt(2))), tail)
    large = pt.log1p(-pt.exp(small))
    return pt.switch(down, small, large), pt.switch(down, large, small)


def compiled_rows(block: BinomialResponse, rows: Rows) -> TensorVariable:
    """As those of the block, (obs, column)."""
    del block
    constant, y, rest = _counted(rows)
    own = pt.stack([rows.offset, 0 * y if constant is None else constant, y, rest], axis=1)
    return pt.concatenate([rows.u, own], axis=1)
