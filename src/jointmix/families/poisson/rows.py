"""A Poisson response, compiled: log p(y) = y η − exp(η) − log y!, η = b + u'θ + offset.

setup   n = R + 3, columns u, the offset, −log y!, and y
values  b, θ (R)
state   b, θ (R)
kept    y − exp(η)
sums    Σ r e, Σ r e u (R)
part    the rate, and its root
"""

import math

import numpy as np
from numba import carray

from jointmix.families.compiling import Family, jit
from jointmix.families.incomplete_gamma import upper_gamma
from jointmix.families.limits import MOST_EXPONENT
from jointmix.families.loops import SUMS, combine, exponential, line_parts, line_sums

#: The least rate.
_LEAST = 1e-300


def _prepare(setup, values, state):  # type: ignore[no-untyped-def]
    n = int(carray(setup, (1,))[0])
    given, out = carray(values, (n - 2,)), carray(state, (n - 2,))
    for j in range(n - 2):
        out[j] = given[j]
    return 0.0


@jit(fastmath=SUMS)
def _subtract(
    rows: np.ndarray, known: np.ndarray, e: np.ndarray, bits: np.ndarray, out: np.ndarray
) -> None:
    r, m = rows.shape[0] - 3, e.size
    combine(e, known[0], known[1:], r, rows, m)
    for b in range(m):
        eta = min(e[b] + rows[r, b], MOST_EXPONENT)
        e[b] = eta
        out[b] += rows[r + 2, b] * eta + rows[r + 1, b]
    exponential(e, bits, m)
    for b in range(m):
        out[b] -= e[b]
        e[b] = rows[r + 2, b] - e[b]


def _terms(setup, state, rows, m, kept, scratch, out):  # type: ignore[no-untyped-def]
    n = int(carray(setup, (1,))[0])
    bits = carray(scratch, (m,)).view(np.int64)
    known, own = carray(state, (n - 2,)), carray(rows, (n, m))
    _subtract(own, known, carray(kept, (m,)), bits, carray(out, (m,)))
    return 0.0


def _sums(setup, _state, rows, m, share, kept, scratch, sums):  # type: ignore[no-untyped-def]
    n = int(carray(setup, (1,))[0])
    e, work, out = carray(kept, (m,)), carray(scratch, (m,)), carray(sums, (n - 2,))
    line_sums(carray(rows, (n, m)), carray(share, (m,)), e, work, out)
    return 0.0


def _pullback(setup, _values, _state, _count, sums, gradient):  # type: ignore[no-untyped-def]
    n = int(carray(setup, (1,))[0])
    own, out = carray(sums, (n - 2,)), carray(gradient, (n - 2,))
    for j in range(n - 2):
        out[j] += own[j]
    return 0.0


def _parts(setup, state, rows, m, out):  # type: ignore[no-untyped-def]
    n = int(carray(setup, (1,))[0])
    known, found = carray(state, (n - 2,)), carray(out, (m, 2))
    line_parts(carray(rows, (n, m)), known, n - 3, found)
    for b in range(m):
        found[b, 0] = max(math.exp(min(found[b, 0], MOST_EXPONENT)), _LEAST)
        found[b, 1] = math.sqrt(found[b, 0])
    return 0.0


def _moments(part, out):  # type: ignore[no-untyped-def]
    given, found = carray(part, (2,)), carray(out, (2,))
    found[0], found[1] = given[0], given[0]
    return 0.0


def _distribution(y, n, weight, parts, out):  # type: ignore[no-untyped-def]
    share, of, found = carray(weight, (n,)), carray(parts, (n, 2)), carray(out, (2,))
    below, height = 0.0, 0.0
    if y > -1.0:
        constant = math.lgamma(y + 1.0)
        for i in range(n):
            rate = of[i, 0]
            below += share[i] * upper_gamma(y + 1.0, rate)
            height += share[i] * math.exp(y * math.log(rate) - rate - constant)
    found[0], found[1] = below, height
    return 0.0


FAMILY = Family(
    values=lambda n: {"intercept": 1, "slope": n - 3},
    n_state=lambda n: n - 2,
    n_sums=lambda n: n - 2,
    n_kept=lambda _: 1,
    n_scratch=lambda _: 1,
    prepare=_prepare,
    terms=_terms,
    sums=_sums,
    pullback=_pullback,
    parts=_parts,
    moments=_moments,
    distribution=_distribution,
    n_part=2,
    whole=True,
)
