"""Ratios of gamma functions at half steps, without the cancellation that two of them would have."""

import math

from jointmix.families.compiling import jit

#: From here on the asymptotic series below are right to the last digit.
_FROM = 10.0


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
