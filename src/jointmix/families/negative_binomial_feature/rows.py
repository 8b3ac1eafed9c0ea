"""A feature of spread counts, compiled: with the mean λ, the size s and l = log(1 + λ/s)

    log p(n) = n (log λ − l) − s l + log Γ(s + n)/(Γ(s) s^n) − log n!

setup   3, columns n, −log n!, and 1 where n is known, 0 elsewhere
values  λ, s
state   log λ − l, s l, l, λ, and what s needs, see `rising_rows`
kept    log(1 + n/(s + 10))
sums    Σ r n, Σ r over rows with a known n, Σ r (ψ(s + n) − ψ(s))
"""

import math

import numpy as np
from numba import carray

from jointmix.families.compiling import Family
from jointmix.families.rising_rows import N_RISING, prepare_rising, rising_sum, rising_terms

#: Numbers of the state before what s needs.
_FOUR = 4


def _prepare(_setup, values, state):  # type: ignore[no-untyped-def]
    given, out = carray(values, (2,)), carray(state, (_FOUR + N_RISING,))
    rate, size = given[0], given[1]
    spread = math.log1p(rate / size)
    out[0] = math.log(rate) - spread
    out[1], out[2], out[3] = size * spread, spread, rate
    prepare_rising(size, out[_FOUR:])
    return 0.0


def _terms(_setup, state, rows, m, kept, scratch, out):  # type: ignore[no-untyped-def]
    known, own = carray(state, (_FOUR + N_RISING,)), carray(rows, (3, m))
    above, work = carray(kept, (m,)), carray(scratch, (2, m))
    found = carray(out, (m,))
    for b in range(m):
        found[b] += own[0, b] * known[0] + own[1, b] - own[2, b] * known[1]
    rising_terms(own[0], known[_FOUR:], above, work[0], work[1].view(np.int64), found)
    return 0.0


def _sums(_setup, state, rows, m, share, kept, _scratch, sums):  # type: ignore[no-untyped-def]
    known, own = carray(state, (_FOUR + N_RISING,)), carray(rows, (3, m))
    weight, out = carray(share, (m,)), carray(sums, (3,))
    for b in range(m):
        out[0] += weight[b] * own[0, b]
        out[1] += weight[b] * own[2, b]
    out[2] += rising_sum(own[0], known[_FOUR:], weight, carray(kept, (m,)))
    return 0.0


def _pullback(_setup, _values, state, _count, sums, gradient):  # type: ignore[no-untyped-def]
    known, own = carray(state, (_FOUR + 1,)), carray(sums, (3,))
    out, rate, size = carray(gradient, (2,)), known[3], known[4]
    pull = (own[0] - rate * own[1]) / (1.0 + rate / size)
    out[0] += pull
    out[1] += size * (own[2] - known[2] * own[1]) - pull
    return 0.0


FAMILY = Family(
    values=lambda _: {"rate": 1, "size": 1},
    n_state=lambda _: _FOUR + N_RISING,
    n_sums=lambda _: 3,
    n_kept=lambda _: 1,
    n_scratch=lambda _: 2,
    prepare=_prepare,
    terms=_terms,
    sums=_sums,
    pullback=_pullback,
)
