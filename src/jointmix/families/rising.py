"""Γ(s + y)/Γ(s) of counts y and sizes s, in logs and their derivative, without cancellation.

Of s + 10 Stirling's series (DLMF 5.11.1, 5.11.2) are right to the last digit, and from s to s + 10
leads a product. In `log_rising` arrays may be NumPy's or PyTensor's.
"""

from collections.abc import Callable
from typing import Any

import numpy as np

#: How far arguments are moved.
SHIFT = 10
#: Coefficients of x⁻¹, x⁻³, … of what Stirling's formula leaves of log Γ(x).
_LEFT = (1 / 12, -1 / 360, 1 / 1260, -1 / 1680, 1 / 1188, -691 / 360360)
#: Of x⁻², x⁻⁴, … of ψ(x) − log x + 1/(2x).
_SLOPE = (-1 / 12, 1 / 120, -1 / 252, 1 / 240, -1 / 132, 691 / 32760)


def log_rising(y: Any, s: Any, log1p: Callable[[Any], Any] = np.log1p) -> Any:
    """log Γ(s + y) − log Γ(s) − y log s, broadcast; it vanishes with y/s."""
    far = s + SHIFT
    product = 1.0
    for i in range(SHIFT):
        product = product * (1 + y / (s + i))
    found = (far + y - 0.5) * log1p(y / far) - y + y * log1p(SHIFT / s) - log1p(product - 1)
    return found + stirling_left(far + y) - stirling_left(far)


def stirling_left(x: Any) -> Any:
    """log Γ(x) less Stirling's formula for it, x ≥ 10."""
    return sum(c * x ** -(2 * i + 1) for i, c in enumerate(_LEFT))


def digamma_left(x: Any) -> Any:
    """ψ(x) − log x, x ≥ 10."""
    return -0.5 / x + sum(c * x ** -(2 * i + 2) for i, c in enumerate(_SLOPE))


def digamma_rising(y: np.ndarray, s: np.ndarray) -> np.ndarray:
    """ψ(s + y) − ψ(s)."""
    far = s + SHIFT
    found = np.log1p(y / far) + digamma_left(far + y) - digamma_left(far)
    for i in range(SHIFT):
        found = found + y / ((s + i) * (s + i + y))
    return np.asarray(found)
