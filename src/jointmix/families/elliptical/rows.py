"""Features in ellipsoids, compiled: z = A (x − μ), A = L⁻¹, with L = diag(sd) F.

F is a factor of correlations. Residuals are differences taken before squaring, so nothing cancels,
however far the mean or small the scale. Values begin with μ (D), sd (D), F (D, D), states with
μ (D), A (D, D), sums with Σ r z_i (D) and Σ r z_i z_j for j ≤ i, row by row (only i = j unless
dense); told are D, n and the places of the features that are left (n).
"""

import numpy as np

from jointmix.families.compiling import jit
from jointmix.families.loops import SUMS, combine, project
from jointmix.families.orthogonal import orthogonalise, solve_transposed


@jit()
def invert(factor: np.ndarray, sd: np.ndarray, dense: bool, whiten: np.ndarray) -> float:
    """A = (diag(sd) F)⁻¹ of a lower triangular F; returns log det A."""
    d = sd.size
    result = 0.0
    for i in range(d):
        own = 1 / (factor[i, i] * sd[i])
        result += np.log(own)
        for j in range(d):
            whiten[i, j] = 0.0
        whiten[i, i] = own
        if dense:
            for j in range(i):
                value = 0.0
                for m in range(j, i):
                    value += factor[i, m] * whiten[m, j]
                whiten[i, j] = -value / factor[i, i]
    return result


@jit(fastmath=SUMS)
def residuals(
    x: np.ndarray, mean: np.ndarray, whiten: np.ndarray, dense: bool, centred: np.ndarray,
    z: np.ndarray, out: np.ndarray,
) -> None:  # fmt: skip
    """Fill z = A (x − μ) (feature, block), and subtract |z|²/2 from out (block,)."""
    d, m = x.shape
    for i in range(d):
        at = mean[i]
        for b in range(m):
            centred[i, b] = x[i, b] - at
    for i in range(d):
        if dense:
            combine(z[i], 0.0, whiten[i], i + 1, centred, m)
        else:
            scale = whiten[i, i]
            for b in range(m):
                z[i, b] = scale * centred[i, b]
        for b in range(m):
            out[b] -= 0.5 * z[i, b] * z[i, b]


@jit(fastmath=SUMS)
def add_sums(
    share: np.ndarray, z: np.ndarray, dense: bool, work: np.ndarray, sums: np.ndarray
) -> None:
    """Add one cluster's weighted sums over the rows of a block."""
    d, m = z.shape
    place = d
    for i in range(d):
        s0 = s1 = 0.0
        for b in range(m):
            work[b] = share[b] * z[i, b]
            s0 += work[b]
            s1 += work[b] * z[i, b]
        sums[i] += s0
        if dense:
            project(sums[place : place + i], work, z, i, m)
        sums[place + i] += s1
        place += i + 1


@jit()
def gradients(
    factor: np.ndarray, sd: np.ndarray, whiten: np.ndarray, n: float, sums: np.ndarray,
    gradient: np.ndarray,
) -> None:  # fmt: skip
    """Add the gradient in μ, log sd and F.

    That of −n log det L − Σ r |z|²/2 in L is A'(Σ r z z' − n I), lower triangle.
    """
    d = sd.size
    square = np.empty((d, d))
    place = d
    for i in range(d):
        for j in range(i + 1):
            square[i, j] = square[j, i] = sums[place]
            place += 1
        square[i, i] -= n
    for i in range(d):
        total, of_sd = 0.0, 0.0
        for m in range(i, d):
            total += whiten[m, i] * sums[m]
        gradient[i] += total
        for j in range(i + 1):
            value = 0.0
            for m in range(i, d):
                value += whiten[m, i] * square[m, j]
            gradient[2 * d + i * d + j] += value * sd[i]
            of_sd += value * sd[i] * factor[i, j]
        gradient[d + i] += of_sd


@jit()
def _left(told: np.ndarray, given: np.ndarray, lower: np.ndarray) -> np.ndarray:
    """Q (n, D) of the rows of F that are left, and R (n, n) filled."""
    d, n = int(told[0]), int(told[1])
    rows = np.empty((n, d))
    for i in range(n):
        place = int(told[2 + i])
        for j in range(d):
            rows[i, j] = given[2 * d + place * d + j] if j <= place else 0.0
    orthogonalise(rows, lower)
    return rows


@jit()
def reduce_values(told: np.ndarray, given: np.ndarray, found: np.ndarray) -> None:
    """Fill μ, sd and F of the features that are left, F lower triangular again."""
    d, n = int(told[0]), int(told[1])
    for i in range(n):
        place = int(told[2 + i])
        found[i], found[n + i] = given[place], given[d + place]
    _left(told, given, found[2 * n : 2 * n + n * n].reshape((n, n)))


@jit()
def extend_gradient(
    told: np.ndarray, given: np.ndarray, own: np.ndarray, gradient: np.ndarray
) -> None:
    """Add to the gradient of all features that of those that are left.

    With P = R' times the gradient in R, that in A is R'⁻¹ (P + P' − diag P, lower P) Q.
    """
    d, n = int(told[0]), int(told[1])
    lower, product, column = np.empty((n, n)), np.empty((n, n)), np.empty(n)
    q = _left(told, given, lower)
    for i in range(n):
        for j in range(i + 1):
            value = 0.0
            for m in range(i, n):
                value += lower[m, i] * own[2 * n + m * n + j]
            product[i, j] = product[j, i] = value
    for j in range(d):
        for i in range(n):
            column[i] = 0.0
            for m in range(n):
                column[i] += product[i, m] * q[m, j]
        solve_transposed(lower, column)
        for i in range(n):
            place = int(told[2 + i])
            if j <= place:
                gradient[2 * d + place * d + j] += column[i]
    for i in range(n):
        place = int(told[2 + i])
        gradient[place] += own[i]
        gradient[d + place] += own[n + i]
