"""A normal response, compiled: y ~ N(b + u'θ, σ²), log p(y) = −log σ − log(2π)/2 − e²/2.

setup   n = R + 1, columns u then y
values  b, θ (R), σ
state   −b, −θ (R), 1/σ
sums    Σ r e, Σ r e u (R), Σ r e², of the residuals e = (y − b − u'θ)/σ
part    b + u'θ, σ
told    D, R, n, places of the features that are left (n), the feature that each predictor is or −1

Without some features, of x = μ + Lε, let s be the slopes of all features, A = L_o the rows of
those left and v = L_m's_m. Then x_o explains s_m'x_m with the slopes g = (AA')⁻¹ A v, and leaves
e = v − A'g: b + s_m'μ_m − g'μ_o, s_o + g and σ² + e'e take the place of b, θ and σ².
"""

import math

import numpy as np
from numba import carray

from jointmix.families.compiling import Family, jit
from jointmix.families.loops import SUMS, line, residuals, weighted_sums
from jointmix.families.orthogonal import orthogonalise, solve, solve_transposed

_HALF_LOG_2PI = float(0.5 * np.log(2 * np.pi))
_SQRT_2, _SQRT_2PI = float(np.sqrt(2.0)), float(np.sqrt(2 * np.pi))
#: Distance, in standard deviations, from which a normal distribution function is 0 or 1.
_FAR = 9.0


def _prepare(setup, values, state):  # type: ignore[no-untyped-def]
    n = int(carray(setup, (1,))[0])
    given, out = carray(values, (n + 1,)), carray(state, (n + 1,))
    for j in range(n):
        out[j] = -given[j]
    out[n] = 1 / given[n]
    return -np.log(given[n]) - _HALF_LOG_2PI


@jit(fastmath=SUMS)
def _subtract(rows: np.ndarray, known: np.ndarray, e: np.ndarray, out: np.ndarray) -> None:
    residuals(rows, known, e)
    for b in range(e.size):
        out[b] -= 0.5 * e[b] * e[b]


def _terms(setup, state, rows, m, kept, _scratch, out):  # type: ignore[no-untyped-def]
    n = int(carray(setup, (1,))[0])
    _subtract(carray(rows, (n, m)), carray(state, (n + 1,)), carray(kept, (m,)), carray(out, (m,)))
    return 0.0


def _sums(setup, _state, rows, m, share, kept, scratch, sums):  # type: ignore[no-untyped-def]
    n = int(carray(setup, (1,))[0])
    e, out = carray(kept, (m,)), carray(sums, (n + 1,))
    weighted_sums(carray(rows, (n, m)), carray(share, (m,)), e, carray(scratch, (m,)), out)
    return 0.0


def _pullback(setup, _values, state, count, sums, gradient):  # type: ignore[no-untyped-def]
    n = int(carray(setup, (1,))[0])
    own, out, known = carray(sums, (n + 1,)), carray(gradient, (n + 1,)), carray(state, (n + 1,))
    for j in range(n):
        out[j] += own[j] * known[n]
    out[n] += own[n] - count
    return 0.0


@jit()
def _explained(
    told: np.ndarray, features: np.ndarray, values: np.ndarray, factor: np.ndarray,
    slope: np.ndarray, lower: np.ndarray, g: np.ndarray, e: np.ndarray,
) -> None:  # fmt: skip
    """Fill L (D, D), the slopes of all features (D,), R (n, n), g (n,) and e (D,)."""
    d, r, n = int(told[0]), int(told[1]), int(told[2])
    for i in range(d):
        slope[i], e[i] = 0.0, 0.0
        for j in range(d):
            factor[i, j] = features[d + i] * features[2 * d + i * d + j] if j <= i else 0.0
    for i in range(r):
        place = int(told[3 + n + i])
        if place >= 0:
            slope[place] = values[1 + i]
    rows = np.empty((n, d))
    for i in range(d):
        for j in range(i + 1):
            e[j] += factor[i, j] * slope[i]
    for i in range(n):
        place = int(told[3 + i])
        for j in range(d):
            rows[i, j] = factor[place, j]
            e[j] -= factor[place, j] * slope[place]
    orthogonalise(rows, lower)
    for i in range(n):
        g[i] = 0.0
        for j in range(d):
            g[i] += rows[i, j] * e[j]
        for j in range(d):
            e[j] -= g[i] * rows[i, j]
    solve_transposed(lower, g)


def _reduce(told, features, values, out):  # type: ignore[no-untyped-def]
    sizes = carray(told, (3,))
    d, r, n = int(sizes[0]), int(sizes[1]), int(sizes[2])
    known, given = carray(told, (3 + n + r,)), carray(values, (r + 2,))
    other, found = carray(features, (2 * d + d * d,)), carray(out, (n + r + 2,))
    factor, slope, lower = np.empty((d, d)), np.empty(d), np.empty((n, n))
    g, e = np.empty(n), np.empty(d)
    _explained(known, other, given, factor, slope, lower, g, e)
    found[0] = given[0]
    for i in range(d):
        found[0] += slope[i] * other[i]
    for i in range(n):
        place = int(known[3 + i])
        found[0] -= (slope[place] + g[i]) * other[place]
        found[1 + i] = slope[place] + g[i]
    last = 1 + n
    for i in range(r):
        if known[3 + n + i] < 0:
            found[last] = given[1 + i]
            last += 1
    square = given[r + 1] * given[r + 1]
    for j in range(d):
        square += e[j] * e[j]
    found[last] = np.sqrt(square)
    return 0.0


def _extend(told, features, values, out, of_out, of_features, of_values):  # type: ignore[no-untyped-def]
    sizes = carray(told, (3,))
    d, r, n = int(sizes[0]), int(sizes[1]), int(sizes[2])
    known, given = carray(told, (3 + n + r,)), carray(values, (r + 2,))
    other, size = carray(features, (2 * d + d * d,)), n + r + 2
    found, own = carray(out, (size,)), carray(of_out, (size,))
    pulled, gradient = carray(of_features, (2 * d + d * d,)), carray(of_values, (r + 2,))
    factor, slope, lower = np.empty((d, d)), np.empty(d), np.empty((n, n))
    g, e, h, gone = np.empty(n), np.empty(d), np.empty(n), np.ones(d)
    _explained(known, other, given, factor, slope, lower, g, e)
    last = 1 + n
    for i in range(r):
        if known[3 + n + i] < 0:
            gradient[1 + i] += own[last]
            last += 1
    by = own[last] / (found[last] * found[last])
    gradient[0] += own[0]
    gradient[r + 1] += by * given[r + 1] * given[r + 1]
    # h = (AA')⁻¹ times the gradient in g, and w = A'h.
    for i in range(n):
        place = int(known[3 + i])
        gone[place] = 0.0
        h[i] = own[1 + i] - own[0] * other[place]
        pulled[place] -= own[0] * g[i]
    solve(lower, h)
    solve_transposed(lower, h)
    w, of_factor, of_slope = np.zeros(d), np.zeros((d, d)), np.zeros(d)
    for i in range(n):
        for j in range(d):
            w[j] += factor[int(known[3 + i]), j] * h[i]
    for i in range(n):
        place = int(known[3 + i])
        of_slope[place] = own[1 + i]
        for j in range(d):
            of_factor[place, j] = (h[i] - by * g[i]) * e[j] - g[i] * w[j]
    for i in range(d):
        if gone[i] == 0.0:
            continue
        pulled[i] += own[0] * slope[i]
        of_slope[i] = own[0] * other[i]
        for j in range(d):
            of_slope[i] += factor[i, j] * (by * e[j] + w[j])
            of_factor[i, j] = slope[i] * (by * e[j] + w[j])
    for i in range(r):
        place = int(known[3 + n + i])
        if place >= 0:
            gradient[1 + i] += of_slope[place]
    for i in range(d):
        for j in range(i + 1):
            pulled[2 * d + i * d + j] += of_factor[i, j] * other[d + i]
            pulled[d + i] += of_factor[i, j] * factor[i, j]
    return 0.0


def _parts(setup, state, rows, m, out):  # type: ignore[no-untyped-def]
    n = int(carray(setup, (1,))[0])
    known, found = carray(state, (n + 1,)), carray(out, (m, 2))
    line(carray(rows, (n, m)), known, found)
    for b in range(m):
        found[b, 1] = 1 / known[n]
    return 0.0


def _moments(part, out):  # type: ignore[no-untyped-def]
    given, found = carray(part, (2,)), carray(out, (2,))
    found[0], found[1] = given[0], given[1] * given[1]
    return 0.0


def _distribution(y, n, weight, parts, out):  # type: ignore[no-untyped-def]
    share, of, found = carray(weight, (n,)), carray(parts, (n, 2)), carray(out, (2,))
    below, height = 0.0, 0.0
    for i in range(n):
        z = (y - of[i, 0]) / of[i, 1]
        if z > _FAR:
            below += share[i]
        elif z > -_FAR:
            below += share[i] * 0.5 * math.erfc(-z / _SQRT_2)
            height += share[i] / of[i, 1] * math.exp(-0.5 * z * z)
    found[0], found[1] = below, height / _SQRT_2PI
    return 0.0


def _distance(gap, variance):  # type: ignore[no-untyped-def]
    if variance <= 0.0:
        return abs(gap)
    sd = math.sqrt(variance)
    z = gap / sd
    return gap * math.erf(z / _SQRT_2) + 2.0 * sd * math.exp(-0.5 * z * z) / _SQRT_2PI


FAMILY = Family(
    values=lambda n: {"intercept": 1, "slope": n - 1, "sigma": 1},
    n_state=lambda n: n + 1,
    n_sums=lambda n: n + 1,
    n_kept=lambda _: 1,
    n_scratch=lambda _: 1,
    prepare=_prepare,
    terms=_terms,
    sums=_sums,
    pullback=_pullback,
    reduce=_reduce,
    extend=_extend,
    parts=_parts,
    moments=_moments,
    distribution=_distribution,
    distance=_distance,
    n_part=2,
)
