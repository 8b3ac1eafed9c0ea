"""The regularised incomplete gamma function, for distribution functions of counts and gammas."""

import math

from jointmix.families.compiling import jit

_MOST_TERMS = 100_000
#: From this shape on two terms of Temme's expansion are exact to 1e-13.
_LARGE = 1e4
#: Distance in standard deviations from which the function is 0 or 1.
_FAR = 12.0
_ROOT_2PI = math.sqrt(2 * math.pi)


@jit()
def _temme(a: float, x: float) -> float:
    """Q(a, x) of large a (Temme 1979, DLMF 8.12.4), by the series of c₀ and c₁ about η = 0."""
    m = (x - a) / a
    # ½ η² = m − log(1 + m), by its series where the difference would cancel.
    if abs(m) < 0.1:
        square, power = 0.0, m * m
        for n in range(2, 30):
            square += power / n if n % 2 == 0 else -power / n
            power *= m
        square *= 2.0
    else:
        square = 2.0 * (m - math.log1p(m))
    eta = math.copysign(math.sqrt(square), m)
    if abs(eta) * math.sqrt(a) > _FAR:
        return 0.0 if m > 0.0 else 1.0
    c0 = -1 / 3 + eta * (
        1 / 12 + eta * (-2 / 135 + eta * (1 / 864 + eta * (1 / 2835 + eta * (-139 / 777600))))
    )
    c1 = -1 / 540 + eta * (-1 / 288 + eta * (1 / 378 + eta * (-77 / 77760)))
    height = math.exp(-0.5 * a * square) / (_ROOT_2PI * math.sqrt(a))
    return 0.5 * math.erfc(eta * math.sqrt(0.5 * a)) + height * (c0 + c1 / a)


@jit()
def upper_gamma(a: float, x: float) -> float:
    """Q(a, x) = Γ(a, x)/Γ(a), a > 0, x ≥ 0, to 1e-12 of a probability.

    The series of the lower function below a + 1 (DLMF 8.11.4), its continued fraction above by
    Lentz' method (DLMF 8.9.2), and Temme's expansion of large a.
    """
    if x <= 0.0:
        return 1.0
    if a >= _LARGE:
        return _temme(a, x)
    return upper_gamma_of(a, x, math.exp(a * math.log(x) - x - math.lgamma(a)))


@jit()
def upper_gamma_of(a: float, x: float, front: float) -> float:
    """The same of x > 0, where ``front`` = x^a exp(−x) / Γ(a) is known."""
    if a >= _LARGE:
        return _temme(a, x)
    if x < a + 1.0:
        term = total = 1.0 / a
        for n in range(1, _MOST_TERMS):
            term *= x / (a + n)
            total += term
            # What is no number ends it too.
            if not term >= 1e-17 * total:
                break
        return 1.0 - front * total
    b = x + 1.0 - a
    c, d = 1e300, 1.0 / b
    found = d
    for n in range(1, _MOST_TERMS):
        odd = -n * (n - a)
        b += 2.0
        d = odd * d + b
        d = 1.0 / (d if abs(d) > 1e-300 else 1e-300)
        c = b + odd / c
        c = c if abs(c) > 1e-300 else 1e-300
        found *= d * c
        if not abs(d * c - 1.0) >= 1e-16:
            break
    return front * found
