"""A gamma response, compiled: log p(y) = c(α) − log y − α (exp(t) − 1 − t), t = log y − η.

η = b + u'θ + offset, and c(α) = α log α − α − log Γ(α).

setup   n = R + 2, columns u, the offset, and log y
values  b, θ (R), α
state   b, θ (R), α
kept    α (exp(t) − 1), and d = exp(t) − 1 − t
sums    Σ r e, Σ r e u (R), Σ r d
part    the mean m, and the standard deviation m / √α
"""

import math

import numpy as np
from numba import carray

from jointmix.families.compiling import Family, jit
from jointmix.families.gamma_functions import log_gamma_constant, log_less_digamma
from jointmix.families.incomplete_gamma import upper_gamma_of
from jointmix.families.limits import MOST_RATIO
from jointmix.families.loops import SUMS, combine, dot, exponential, line_sums, mean_parts


def _prepare(setup, values, state):  # type: ignore[no-untyped-def]
    n = int(carray(setup, (1,))[0])
    given, out = carray(values, (n,)), carray(state, (n,))
    for j in range(n):
        out[j] = given[j]
    return log_gamma_constant(given[n - 1])


@jit(fastmath=SUMS)
def _subtract(
    rows: np.ndarray, known: np.ndarray, kept: np.ndarray, bits: np.ndarray, out: np.ndarray
) -> None:
    r, m = rows.shape[0] - 2, out.size
    e, d, shape = kept[0], kept[1], known[r + 1]
    combine(e, known[0], known[1:], r, rows, m)
    for b in range(m):
        d[b] = min(rows[r + 1, b] - (e[b] + rows[r, b]), MOST_RATIO)
        e[b] = d[b]
    exponential(e, bits, m)
    for b in range(m):
        over = e[b] - 1.0
        d[b] = over - d[b]
        e[b] = shape * over
        out[b] -= rows[r + 1, b] + shape * d[b]


def _terms(setup, state, rows, m, kept, scratch, out):  # type: ignore[no-untyped-def]
    n = int(carray(setup, (1,))[0])
    bits = carray(scratch, (m,)).view(np.int64)
    known, own = carray(state, (n,)), carray(rows, (n, m))
    _subtract(own, known, carray(kept, (2, m)), bits, carray(out, (m,)))
    return 0.0


def _sums(setup, _state, rows, m, share, kept, scratch, sums):  # type: ignore[no-untyped-def]
    n = int(carray(setup, (1,))[0])
    held, weight, out = carray(kept, (2, m)), carray(share, (m,)), carray(sums, (n,))
    line_sums(carray(rows, (n, m)), weight, held[0], carray(scratch, (m,)), out[: n - 1])
    out[n - 1] += dot(weight, held[1])
    return 0.0


def _pullback(setup, _values, state, count, sums, gradient):  # type: ignore[no-untyped-def]
    n = int(carray(setup, (1,))[0])
    own, out, shape = carray(sums, (n,)), carray(gradient, (n,)), carray(state, (n,))[n - 1]
    for j in range(n - 1):
        out[j] += own[j]
    out[n - 1] += shape * (count * log_less_digamma(shape) - own[n - 1])
    return 0.0


def _parts(setup, state, rows, m, out):  # type: ignore[no-untyped-def]
    n = int(carray(setup, (1,))[0])
    known, found = carray(state, (n,)), carray(out, (m, 2))
    mean_parts(carray(rows, (n, m)), known, n - 2, found)
    for b in range(m):
        found[b, 1] = found[b, 0] / math.sqrt(known[n - 1])
    return 0.0


def _moments(part, out):  # type: ignore[no-untyped-def]
    given, found = carray(part, (2,)), carray(out, (2,))
    found[0], found[1] = given[0], given[1] * given[1]
    return 0.0


def _distribution(y, n, weight, parts, out):  # type: ignore[no-untyped-def]
    share, of, found = carray(weight, (n,)), carray(parts, (n, 2)), carray(out, (2,))
    below, height = 0.0, 0.0
    if y > 0.0:
        for i in range(n):
            root, ratio = of[i, 0] / of[i, 1], y / of[i, 0]
            shape = root * root
            t = math.log(ratio)
            # x^α exp(−x) / Γ(α) of x = α y / m is y times the density.
            own = log_gamma_constant(shape) - shape * (math.expm1(min(t, MOST_RATIO)) - t)
            front = math.exp(own)
            above = upper_gamma_of(shape, min(shape * ratio, 1e300), front)
            below += share[i] * (1.0 - above)
            height += share[i] * front / y
    found[0], found[1] = below, height
    return 0.0


FAMILY = Family(
    values=lambda n: {"intercept": 1, "slope": n - 2, "shape": 1},
    n_state=lambda n: n,
    n_sums=lambda n: n,
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
