"""A Laplace response, compiled: log p(y) = −log(2σ) − |e|, e = (y − b − u'θ)/σ.

setup   n = R + 1, columns u then y
values  b, θ (R), σ
state   −b, −θ (R), 1/σ
kept    e
sums    Σ r s, Σ r s u (R), Σ r |e|, of the signs s of the residuals
part    b + u'θ, σ
"""

import math

import numpy as np
from numba import carray

from jointmix.families.compiling import Family, jit
from jointmix.families.loops import SUMS, line, project, residuals


def _prepare(setup, values, state):
    n = int(carray(setup, (1,))[0])
    given, out = carray(values, (n + 1,)), carray(state, (n + 1,))
    for j in range(n):
        out[j] = -given[j]
    out[n] = 1 / given[n]
    return -math.log(2 * given[n])


@jit(fastmath=SUMS)
def _subtract(rows: np.ndarray, known: np.ndarray, e: np.ndarray, out: np.ndarray) -> None:
    residuals(rows, known, e)
    for b in range(e.size):
        out[b] -= abs(e[b])


def _terms(setup, state, rows, m, kept, _scratch, out):
    n = int(carray(setup, (1,))[0])
    _subtract(carray(rows, (n, m)), carray(state, (n + 1,)), carray(kept, (m,)), carray(out, (m,)))
    return 0.0


@jit(fastmath=SUMS)
def _add(
    rows: np.ndarray, share: np.ndarray, e: np.ndarray, work: np.ndarray, sums: np.ndarray
) -> None:
    r, pull, size = rows.shape[0] - 1, 0.0, 0.0
    for b in range(e.size):
        work[b] = share[b] * np.sign(e[b])
        pull += work[b]
        size += share[b] * abs(e[b])
    sums[0] += pull
    sums[r + 1] += size
    project(sums[1 : r + 1], work, rows, r, e.size)


def _sums(setup, _state, rows, m, share, kept, scratch, sums):
    n = int(carray(setup, (1,))[0])
    e, work, out = carray(kept, (m,)), carray(scratch, (m,)), carray(sums, (n + 1,))
    _add(carray(rows, (n, m)), carray(share, (m,)), e, work, out)
    return 0.0


def _pullback(setup, _values, state, count, sums, gradient):
    n = int(carray(setup, (1,))[0])
    own, out, known = carray(sums, (n + 1,)), carray(gradient, (n + 1,)), carray(state, (n + 1,))
    for j in range(n):
        out[j] += own[j] * known[n]
    out[n] += own[n] - count
    return 0.0


def _parts(setup, state, rows, m, out):
    n = int(carray(setup, (1,))[0])
    known, found = carray(state, (n + 1,)), carray(out, (m, 2))
    line(carray(rows, (n, m)), known, found)
    for b in range(m):
        found[b, 1] = 1 / known[n]
    return 0.0


def _moments(part, out):
    given, found = carray(part, (2,)), carray(out, (2,))
    found[0], found[1] = given[0], 2 * given[1] * given[1]
    return 0.0


def _distribution(y, n, weight, parts, out):
    share, of, found = carray(weight, (n,)), carray(parts, (n, 2)), carray(out, (2,))
    below, height = 0.0, 0.0
    for i in range(n):
        z = (y - of[i, 0]) / of[i, 1]
        tail = 0.5 * math.exp(-abs(z))
        below += share[i] * (1 - tail if z > 0 else tail)
        height += share[i] * tail / of[i, 1]
    found[0], found[1] = below, height
    return 0.0


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
    n_part=2,
)
