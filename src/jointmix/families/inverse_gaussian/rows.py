"""An inverse Gaussian response, compiled: log p(y) = ½ log(λ/2π) − 1.5 log y − λ d.

d = (exp(t) − 1)² / (2 y), t = log y − η, η = b + u'θ + offset.

setup   n = R + 3, columns u, the offset, log y, and 1/y
values  b, θ (R), λ
state   b, θ (R), λ
kept    λ (exp(t) − 1) exp(t) / y, and d
sums    Σ r e, Σ r e u (R), Σ r d
part    the mean m, and the standard deviation m √(m/λ)
"""

import math

import numpy as np
from numba import carray

from jointmix.families.compiling import Family, jit
from jointmix.families.limits import MOST_RATIO
from jointmix.families.loops import SUMS, combine, dot, exponential, line_sums, mean_parts

_LOG_2PI, _ROOT_2PI = math.log(2 * math.pi), math.sqrt(2 * math.pi)
_ROOT_2 = math.sqrt(2.0)
#: Beyond this Mills' ratio is by its continued fraction, of so many terms.
_FAR, _TERMS = 8.0, 40


def _prepare(setup, values, state):  # type: ignore[no-untyped-def]
    n = int(carray(setup, (1,))[0])
    given, out = carray(values, (n - 1,)), carray(state, (n - 1,))
    for j in range(n - 1):
        out[j] = given[j]
    return 0.5 * (math.log(given[n - 2]) - _LOG_2PI)


@jit(fastmath=SUMS)
def _subtract(
    rows: np.ndarray, known: np.ndarray, kept: np.ndarray, bits: np.ndarray, out: np.ndarray
) -> None:
    r, m = rows.shape[0] - 3, out.size
    e, d, shape = kept[0], kept[1], known[r + 1]
    combine(e, known[0], known[1:], r, rows, m)
    for b in range(m):
        e[b] = min(rows[r + 1, b] - (e[b] + rows[r, b]), MOST_RATIO)
    exponential(e, bits, m)
    for b in range(m):
        over, inverse = e[b] - 1.0, rows[r + 2, b]
        d[b] = 0.5 * over * over * inverse
        e[b] *= shape * over * inverse
        out[b] -= 1.5 * rows[r + 1, b] + shape * d[b]


def _terms(setup, state, rows, m, kept, scratch, out):  # type: ignore[no-untyped-def]
    n = int(carray(setup, (1,))[0])
    bits = carray(scratch, (m,)).view(np.int64)
    known, own = carray(state, (n - 1,)), carray(rows, (n, m))
    _subtract(own, known, carray(kept, (2, m)), bits, carray(out, (m,)))
    return 0.0


def _sums(setup, _state, rows, m, share, kept, scratch, sums):  # type: ignore[no-untyped-def]
    n = int(carray(setup, (1,))[0])
    held, weight, out = carray(kept, (2, m)), carray(share, (m,)), carray(sums, (n - 1,))
    line_sums(carray(rows, (n, m)), weight, held[0], carray(scratch, (m,)), out[: n - 2])
    out[n - 2] += dot(weight, held[1])
    return 0.0


def _pullback(setup, _values, state, count, sums, gradient):  # type: ignore[no-untyped-def]
    n = int(carray(setup, (1,))[0])
    own, out = carray(sums, (n - 1,)), carray(gradient, (n - 1,))
    for j in range(n - 2):
        out[j] += own[j]
    out[n - 2] += 0.5 * count - carray(state, (n - 1,))[n - 2] * own[n - 2]
    return 0.0


def _parts(setup, state, rows, m, out):  # type: ignore[no-untyped-def]
    n = int(carray(setup, (1,))[0])
    known, found = carray(state, (n - 1,)), carray(out, (m, 2))
    mean_parts(carray(rows, (n, m)), known, n - 3, found)
    for b in range(m):
        found[b, 1] = found[b, 0] * math.sqrt(found[b, 0] / known[n - 2])
    return 0.0


def _moments(part, out):  # type: ignore[no-untyped-def]
    given, found = carray(part, (2,)), carray(out, (2,))
    found[0], found[1] = given[0], given[1] * given[1]
    return 0.0


@jit()
def _mills(b: float) -> float:
    """Φ(−b) / φ(b), b > 0."""
    if b < _FAR:
        return 0.5 * math.erfc(b / _ROOT_2) * math.exp(0.5 * b * b) * _ROOT_2PI
    fraction = b
    for term in range(_TERMS, 0, -1):
        fraction = b + term / fraction
    return 1.0 / fraction


def _distribution(y, n, weight, parts, out):  # type: ignore[no-untyped-def]
    share, of, found = carray(weight, (n,)), carray(parts, (n, 2)), carray(out, (2,))
    below, height = 0.0, 0.0
    if y > 0.0:
        for i in range(n):
            # √(λ/y), of λ/m = (m/sd)².
            ratio = y / of[i, 0]
            root = of[i, 0] / of[i, 1] / math.sqrt(ratio)
            a, b = root * (ratio - 1.0), root * (ratio + 1.0)
            # exp(2λ/m) Φ(−b) = φ(a) Φ(−b)/φ(b), as b² − a² = 4λ/m.
            bell = math.exp(-0.5 * a * a) / _ROOT_2PI
            below += share[i] * (0.5 * math.erfc(-a / _ROOT_2) + bell * _mills(b))
            height += share[i] * root * bell / y
    found[0], found[1] = below, height
    return 0.0


FAMILY = Family(
    values=lambda n: {"intercept": 1, "slope": n - 3, "shape": 1},
    n_state=lambda n: n - 1,
    n_sums=lambda n: n - 1,
    n_kept=lambda _: 2,
    n_scratch=lambda _: 1,
    prepare=_prepare,
    terms=_terms,
    sums=_sums,
    pullback=_pullback,
    parts=_parts,
    moments=_moments,
    distribution=_distribution,
    n_part=2,
)
