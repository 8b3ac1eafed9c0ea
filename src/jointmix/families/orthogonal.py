"""Some rows of a triangular factor as a smaller factor, compiled: A = R Q with QQ' = I.

Of x = μ + Lε some entries are x_o = μ_o + Aε with A = L_o, whose covariance is AA' = RR'. Taken
from A itself, R keeps the digits that AA' would lose.
"""

import numpy as np

from jointmix.families.compiling import jit


@jit()
def orthogonalise(rows: np.ndarray, lower: np.ndarray) -> None:
    """Turn rows A (n, d) into Q, and fill R (n, n): modified Gram and Schmidt."""
    n, d = rows.shape
    for i in range(n):
        for j in range(n):
            lower[i, j] = 0.0
    for i in range(n):
        for j in range(i):
            along = 0.0
            for m in range(d):
                along += rows[i, m] * rows[j, m]
            lower[i, j] = along
            for m in range(d):
                rows[i, m] -= along * rows[j, m]
        square = 0.0
        for m in range(d):
            square += rows[i, m] * rows[i, m]
        length = np.sqrt(square)
        lower[i, i] = length
        for m in range(d):
            rows[i, m] /= length


@jit()
def solve_transposed(lower: np.ndarray, values: np.ndarray) -> None:
    """Replace values (n,) by R'⁻¹ times them."""
    n = values.size
    for i in range(n - 1, -1, -1):
        total = values[i]
        for j in range(i + 1, n):
            total -= lower[j, i] * values[j]
        values[i] = total / lower[i, i]


@jit()
def solve(lower: np.ndarray, values: np.ndarray) -> None:
    """Replace values (n,) by R⁻¹ times them."""
    for i in range(values.size):
        total = values[i]
        for j in range(i):
            total -= lower[i, j] * values[j]
        values[i] = total / lower[i, i]
