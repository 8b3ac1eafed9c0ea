"""Gamma functions in forms without the cancellation that two of them would have."""

import math

from jointmix.families.compiling import jit

#: From here on the asymptotic series below are right to the last digit.
_FROM = 10.0
_LOG_ROOT_2PI = 0.5 * math.log(2 * math.pi)


@jit()
def log_gamma_step(x: float) -> float:
    """log Γ(x + ½) − log Γ(x), x > 0."""
    product = 1.0
    while x < _FROM:
        product *= 1.0 + 0.5 / x
        x += 1.0
    v = 1 / (x * x)
    series = -1 / 8 + v * (1 / 192 + v * (-1 / 640 + v * (17 / 14336 + v * (-31 / 18432))))
    series += v**5 * (691 / 180224 - v * 5461 / 425984)
    return 0.5 * math.log(x) - math.log(product) + series / x


@jit()
def digamma_step(x: float) -> float:
    """ψ(x + ½) − ψ(x), x > 0: the derivative of `log_gamma_step`."""
    total = 0.0
    while x < _FROM:
        total += 0.5 / (x * (x + 0.5))
        x += 1.0
    v = 1 / (x * x)
    series = 1 / 8 + v * (-3 / 192 + v * (5 / 640 + v * (-7 * 17 / 14336 + v * (9 * 31 / 18432))))
    series += v**5 * (-11 * 691 / 180224 + v * 13 * 5461 / 425984)
    return total + 0.5 / x + series * v


@jit()
def log_gamma_constant(x: float) -> float:
    """x log x − x − log Γ(x), x > 0."""
    if x < _FROM:
        return x * math.log(x) - x - math.lgamma(x)
    v = 1 / (x * x)
    series = 1 / 12 + v * (-1 / 360 + v * (1 / 1260 + v * (-1 / 1680 + v * (1 / 1188))))
    series += v**5 * (-691 / 360360 + v / 156)
    return 0.5 * math.log(x) - _LOG_ROOT_2PI - series / x


@jit()
def log_less_digamma(x: float) -> float:
    """log x − ψ(x), x > 0: the derivative of `log_gamma_constant`."""
    total, at = 0.0, x
    while x < _FROM:
        total += 1.0 / x
        x += 1.0
    if x > at:
        total -= math.log(x / at)
    v = 1 / (x * x)
    series = 1 / 12 + v * (-1 / 120 + v * (1 / 252 + v * (-1 / 240 + v * (1 / 132))))
    series += v**5 * (-691 / 32760 + v / 12)
    return total + 0.5 / x + series * v
