"""The regularised incomplete beta function, for distribution functions of t and of counts."""

import math

import numpy as np

from jointmix.families.compiling import jit

_MOST_TERMS = 100_000
_ROOT_2PI = math.sqrt(2 * math.pi)
_HALF_LOG_2PI = 0.5 * math.log(2 * math.pi)
#: From here on the series of Stirling's error is right to the last digit.
_FROM = 15.0
#: Of x^a (1 − x)^b / B(a, b): below it lies no share of a probability that a double would hold.
_NOTHING = 1e-30
#: Both parameters above which, within two standard deviations of the mean, an integral takes fewer
#: operations than a fraction, whose terms are as many as a root of them.
_LARGE = 50_000.0
_NODE, _WEIGHT = np.polynomial.legendre.leggauss(24)


@jit()
def _stirling_error(x: float) -> float:
    """log Γ(x + 1) less Stirling's formula for it, x > 0 (DLMF 5.11.1)."""
    if x < _FROM:
        return math.lgamma(x + 1.0) - (x + 0.5) * math.log(x) + x - _HALF_LOG_2PI
    v = 1 / (x * x)
    return (1 / 12 + v * (-1 / 360 + v * (1 / 1260 + v * (-1 / 1680 + v / 1188)))) / x


@jit()
def _deviance(x: float, m: float) -> float:
    """x log(x/m) + m − x, by its series where that would cancel."""
    gap = x - m
    if abs(gap) >= 0.1 * (x + m):
        return x * math.log(x / m) - gap
    v = gap / (x + m)
    total, term = gap * v, 2.0 * x * v
    for j in range(3, 1000, 2):
        term *= v * v
        before = total
        total += term / j
        if total == before:
            break
    return total


@jit()
def beta_height(a: float, b: float, x: float, rest: float) -> float:
    """Γ(a + b + 1)/(Γ(a + 1) Γ(b + 1)) x^a rest^b, a > 0, b > 0, of rest = 1 − x.

    Loader (2000, Fast and accurate computation of binomial probabilities): what large factors
    have in common has cancelled.
    """
    n = a + b
    found = _stirling_error(n) - _stirling_error(a) - _stirling_error(b)
    found -= _deviance(a, n * x) + _deviance(b, n * rest)
    return math.exp(found) / _ROOT_2PI * math.sqrt(n / (a * b))


@jit()
def fraction(a: float, b: float, x: float, rest: float) -> float:
    """I_x(a, b) over x^a rest^b / B(a, b), rest = 1 − x, for x up to (a + 1)/(a + b + 2).

    The even part of DLMF 8.17.22 (Didonato and Morris 1992, doi:10.1145/131766.131776), which
    does not cancel where a is large.
    """
    # a − (a + b) x, by what is small of x and rest.
    gap = (a + b) * rest - b if a > b else a - (a + b) * x
    c, ratio, first = 1.0 + gap, b / a, 1.0 + 1.0 / a
    p, s = 1.0, a + 1.0
    above, below, above_next, below_next = 0.0, 1.0, 1.0, c / first
    found = first / c
    for n in range(1, _MOST_TERMS):
        t, e = n / a, a / s
        alpha = p * (p + ratio) * e * e * (n * (b - n) * x * x)
        e = (t + 1.0) / (first + 2.0 * t)
        beta = n + n * (b - n) * x / s + e * (c + n * (1.0 + rest))
        p, s = t + 1.0, s + 2.0
        above, above_next = above_next, alpha * above + beta * above_next
        below, below_next = below_next, alpha * below + beta * below_next
        before = found
        found = above_next / below_next
        # What is no number ends it too.
        if not abs(found - before) > 1e-15 * found:
            break
        above, below = above / below_next, below / below_next
        above_next, below_next = found, 1.0
    return found


@jit()
def _tail(a: float, b: float, x: float, rest: float) -> float:
    """I_x(a, b) where x is below a/(a + b), and else 1 − I_x(a, b), of large a and b.

    The density's integral from x outwards, to where nothing is left of it.
    """
    n, p, q = a + b, a - 1.0, b - 1.0
    spread, side = math.sqrt(a / n * (b / n) / n), -1.0 if x * n < a else 1.0
    # From d spreads outwards the density falls by exp(−40) or more within 40/(d + 4.4) spreads.
    half = 0.5 * spread * 40.0 / (abs(x - a / n) / spread + 4.4)
    total = 0.0
    for g in range(_NODE.size):
        step = side * half * (1.0 + _NODE[g])
        t, other = x + step, rest - step
        if t > 0.0 and other > 0.0:
            away = _deviance(p, (p + q) * t) + _deviance(q, (p + q) * other)
            total += _WEIGHT[g] * math.exp(-away)
    log_front = _stirling_error(p + q) - _stirling_error(p) - _stirling_error(q)
    front = math.exp(log_front) / _ROOT_2PI * math.sqrt((p + q) / (p * q)) * (p + q + 1.0)
    return front * half * total


@jit()
def lower_beta(a: float, b: float, x: float, rest: float) -> float:
    """I_x(a, b), a > 0, b > 0, of rest = 1 − x, to 1e-12 of a probability."""
    if x <= 0.0:
        return 0.0
    if rest <= 0.0:
        return 1.0
    return lower_beta_of(beta_height(a, b, x, rest), a, b, x, rest)


@jit()
def lower_beta_of(height: float, a: float, b: float, x: float, rest: float) -> float:
    """The same of `beta_height`, 0 < x < 1."""
    n = a + b
    # x^a rest^b / B(a, b).
    front = height * (a * b / n)
    if front < _NOTHING:
        return 0.0 if x * n < a else 1.0
    if a > _LARGE and b > _LARGE and (x - a / n) ** 2 * n**3 < 4.0 * a * b:
        outside = _tail(a, b, x, rest)
        return outside if x * n < a else 1.0 - outside
    if x * (n + 2.0) < a + 1.0:
        return front * fraction(a, b, x, rest)
    return 1.0 - front * fraction(b, a, rest, x)
