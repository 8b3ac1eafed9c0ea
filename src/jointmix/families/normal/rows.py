"""A normal response, compiled: y ~ N(b + u'θ, σ²), log p(y) = −log σ − log(2π)/2 − e²/2.

setup   n = R + 1, columns u then y
values  b, θ (R), σ
state   −b, −θ (R), 1/σ
sums    Σ r e, Σ r e u (R), Σ r e², of the residuals e = (y − b − u'θ)/σ
part    b + u'θ, σ
"""

import math

import numpy as np
from numba import carray

from jointmix.families.compiling import Family, jit
from jointmix.families.loops import SUMS, line, residuals, weighted_sums

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
    parts=_parts,
    moments=_moments,
    distribution=_distribution,
    distance=_distance,
    n_part=2,
)
