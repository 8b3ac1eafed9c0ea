"""A feature of counts, compiled: log p(n) = n log λ − λ − log n!.

setup   3, columns n, −log n!, and 1 where n is known, 0 elsewhere
values  λ
state   log λ, λ
sums    Σ r n, Σ r over rows with a known n
"""

import math

from numba import carray

from jointmix.families.compiling import Family


def _prepare(_setup, values, state):  # type: ignore[no-untyped-def]
    given, out = carray(values, (1,)), carray(state, (2,))
    out[0], out[1] = math.log(given[0]), given[0]
    return 0.0


def _terms(_setup, state, rows, m, _kept, _scratch, out):  # type: ignore[no-untyped-def]
    known, own, found = carray(state, (2,)), carray(rows, (3, m)), carray(out, (m,))
    for b in range(m):
        found[b] += own[0, b] * known[0] + own[1, b] - own[2, b] * known[1]
    return 0.0


def _sums(_setup, _state, rows, m, share, _kept, _scratch, sums):  # type: ignore[no-untyped-def]
    own, weight, out = carray(rows, (3, m)), carray(share, (m,)), carray(sums, (2,))
    for b in range(m):
        out[0] += weight[b] * own[0, b]
        out[1] += weight[b] * own[2, b]
    return 0.0


def _pullback(_setup, _values, state, _count, sums, gradient):  # type: ignore[no-untyped-def]
    known, own, out = carray(state, (2,)), carray(sums, (2,)), carray(gradient, (1,))
    out[0] += own[0] - known[1] * own[1]
    return 0.0


FAMILY = Family(
    values=lambda _: {"rate": 1},
    n_state=lambda _: 2,
    n_sums=lambda _: 2,
    n_kept=lambda _: 0,
    n_scratch=lambda _: 0,
    prepare=_prepare,
    terms=_terms,
    sums=_sums,
    pullback=_pullback,
)
