"""A feature of spread counts by the counts that occur, compiled.

With the mean λ, the size s and l = log(1 + λ/s), log p(n) = n (log λ − l) − s l +
log Γ(s + n)/(Γ(s) s^n) − log n! is worked out for each count n that occurs.

setup   U, the number of counts; n (U); −log n! (U)
values  λ, s
state   log p(n) of each count (U), and 0 for rows of no known one
rows    places among the counts, in the bits of doubles
sums    Σ r over the rows of each count (U), and of no known one
"""

import math

import numpy as np
from numba import carray

from jointmix.families.compiling import Family, jit
from jointmix.families.loops import SUMS
from jointmix.families.rising_rows import N_RISING, log_rising, prepare_rising, rising_slope


def _prepare(setup, values, state):  # type: ignore[no-untyped-def]
    n = int(carray(setup, (1,))[0])
    told, given, out = carray(setup, (1 + 2 * n,)), carray(values, (2,)), carray(state, (n + 1,))
    rate, size, own = given[0], given[1], np.empty(N_RISING)
    prepare_rising(size, own)
    spread = math.log1p(rate / size)
    height = math.log(rate) - spread
    for j in range(n):
        y = told[1 + j]
        out[j] = y * height - size * spread + log_rising(y, own) + told[1 + n + j]
    out[n] = 0.0
    return 0.0


@jit(fastmath=SUMS)
def _look_up(places: np.ndarray, table: np.ndarray, out: np.ndarray) -> None:
    for b in range(out.size):
        out[b] += table[places[b]]


@jit(fastmath=SUMS)
def _count(places: np.ndarray, share: np.ndarray, out: np.ndarray) -> None:
    for b in range(share.size):
        out[places[b]] += share[b]


def _terms(setup, state, rows, m, _kept, _scratch, out):  # type: ignore[no-untyped-def]
    n = int(carray(setup, (1,))[0])
    _look_up(carray(rows, (m,)).view(np.uint64), carray(state, (n + 1,)), carray(out, (m,)))
    return 0.0


def _sums(setup, _state, rows, m, share, _kept, _scratch, sums):  # type: ignore[no-untyped-def]
    n = int(carray(setup, (1,))[0])
    _count(carray(rows, (m,)).view(np.uint64), carray(share, (m,)), carray(sums, (n + 1,)))
    return 0.0


def _pullback(setup, values, _state, _count, sums, gradient):  # type: ignore[no-untyped-def]
    n = int(carray(setup, (1,))[0])
    told, given, held = carray(setup, (1 + n,)), carray(values, (2,)), carray(sums, (n,))
    out, rate, size, own = carray(gradient, (2,)), given[0], given[1], np.empty(N_RISING)
    prepare_rising(size, own)
    spread, pull, slope = math.log1p(rate / size), 0.0, 0.0
    for j in range(n):
        y = told[1 + j]
        pull += held[j] * (y - rate)
        slope += held[j] * (rising_slope(y, own, math.log1p(y / (size + 10.0))) - spread)
    pull /= 1.0 + rate / size
    out[0] += pull
    out[1] += size * slope - pull
    return 0.0


FAMILY = Family(
    values=lambda _: {"rate": 1, "size": 1},
    n_state=lambda n: n + 1,
    n_sums=lambda n: n + 1,
    n_kept=lambda _: 0,
    n_scratch=lambda _: 0,
    prepare=_prepare,
    terms=_terms,
    sums=_sums,
    pullback=_pullback,
)
