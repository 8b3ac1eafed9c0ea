"""Γ(s + y)/Γ(s) of a block of counts, compiled: see `rising`.

What one size s needs is five numbers and ten: s, log s, log(1 + 10/s), what Stirling leaves of
log Γ(s + 10), ψ(s + 10) − log(s + 10), and 1/(s + i), i < 10.
"""

import math

import numpy as np

from jointmix.families.compiling import jit
from jointmix.families.loops import SUMS, log_one_plus

#: Numbers before the inverses, and how many those are.
_FIVE, _SHIFT = 5, 10
N_RISING = _FIVE + _SHIFT


@jit()
def _stirling_left(x: float) -> float:
    """log Γ(x) less Stirling's formula for it, x ≥ 10."""
    v = 1.0 / (x * x)
    series = 1 / 1260 + v * (-1 / 1680 + v * (1 / 1188 - v * (691 / 360360)))
    return (1 / 12 + v * (-1 / 360 + v * series)) / x


@jit()
def _digamma_left(x: float) -> float:
    """ψ(x) − log x, x ≥ 10."""
    v = 1.0 / (x * x)
    series = -1 / 252 + v * (1 / 240 + v * (-1 / 132 + v * (691 / 32760)))
    return -0.5 / x + v * (-1 / 12 + v * (1 / 120 + v * series))


@jit()
def prepare_rising(size: float, out: np.ndarray) -> None:
    """Fill what a size needs, (N_RISING,)."""
    out[0], out[1], out[2] = size, math.log(size), math.log1p(_SHIFT / size)
    out[3], out[4] = _stirling_left(size + _SHIFT), _digamma_left(size + _SHIFT)
    for i in range(_SHIFT):
        out[_FIVE + i] = 1.0 / (size + i)


@jit(fastmath=SUMS)
def rising_terms(y: np.ndarray, own: np.ndarray, above: np.ndarray, product: np.ndarray,
                 bits: np.ndarray, out: np.ndarray) -> None:  # fmt: skip
    """Add log Γ(s + y)/(Γ(s) s^y), of y (block,); fills `above` with log(1 + y/(s + 10))."""
    m, far = y.size, own[0] + _SHIFT
    for b in range(m):
        above[b] = y[b] / far
        product[b] = 1.0
        for i in range(_SHIFT):
            product[b] *= 1.0 + y[b] * own[_FIVE + i]
        product[b] -= 1.0
    log_one_plus(above, bits, m)
    log_one_plus(product, bits, m)
    for b in range(m):
        found = (far + y[b] - 0.5) * above[b] - y[b] + y[b] * own[2] - product[b]
        out[b] += found + (_stirling_left(far + y[b]) - own[3])


@jit()
def log_rising(y: float, own: np.ndarray) -> float:
    """log Γ(s + y)/(Γ(s) s^y) of one count."""
    far, product = own[0] + _SHIFT, 1.0
    for i in range(_SHIFT):
        product *= 1.0 + y * own[_FIVE + i]
    found = (far + y - 0.5) * math.log1p(y / far) - y + y * own[2] - math.log1p(product - 1.0)
    return found + (_stirling_left(far + y) - own[3])


@jit()
def rising_slope(y: float, own: np.ndarray, above: float) -> float:
    """ψ(s + y) − ψ(s), of log(1 + y/(s + 10))."""
    size, found = own[0], above + (_digamma_left(own[0] + _SHIFT + y) - own[4])
    for i in range(_SHIFT):
        found += y * own[_FIVE + i] / (size + i + y)
    return found


@jit(fastmath=SUMS)
def rising_sum(y: np.ndarray, own: np.ndarray, share: np.ndarray, above: np.ndarray) -> float:
    """Σ r (ψ(s + y) − ψ(s)), of shares r (block,) and what `rising_terms` filled."""
    total = 0.0
    for b in range(y.size):
        total += share[b] * rising_slope(y[b], own, above[b])
    return total
