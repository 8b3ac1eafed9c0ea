"""A feature of levels, compiled: log p(x = l) = log p_l.

setup   n = L, the number of levels
values  log p_l (L)
state   log p_l (L), and 0 for rows of no known level
sums    Σ r over the rows of each level (L), and of no known one
"""

import numpy as np
from numba import carray

from jointmix.families.compiling import Family, jit
from jointmix.families.loops import SUMS

#: Levels, and no known one, up to which passes over the rows, one a level, are faster than one.
_FEW = 12


def _prepare(setup, values, state):  # type: ignore[no-untyped-def]
    n = int(carray(setup, (1,))[0])
    given, out = carray(values, (n,)), carray(state, (n + 1,))
    for j in range(n):
        out[j] = given[j]
    out[n] = 0.0
    return 0.0


@jit(fastmath=SUMS)
def _add(codes: np.ndarray, log_p: np.ndarray, out: np.ndarray) -> None:
    if log_p.size > _FEW:
        for b in range(codes.size):
            out[b] += log_p[int(codes[b])]
        return
    for j in range(log_p.size - 1):
        own = log_p[j]
        for b in range(codes.size):
            out[b] += own if codes[b] == j else 0.0


@jit(fastmath=SUMS)
def _count(codes: np.ndarray, share: np.ndarray, out: np.ndarray) -> None:
    if out.size > _FEW:
        for b in range(codes.size):
            out[int(codes[b])] += share[b]
        return
    for j in range(out.size - 1):
        total = 0.0
        for b in range(codes.size):
            total += share[b] if codes[b] == j else 0.0
        out[j] += total


def _terms(setup, state, rows, m, _kept, _scratch, out):  # type: ignore[no-untyped-def]
    n = int(carray(setup, (1,))[0])
    _add(carray(rows, (m,)), carray(state, (n + 1,)), carray(out, (m,)))
    return 0.0


def _sums(setup, _state, rows, m, share, _kept, _scratch, sums):  # type: ignore[no-untyped-def]
    n = int(carray(setup, (1,))[0])
    codes, own, out = carray(rows, (m,)), carray(share, (m,)), carray(sums, (n + 1,))
    _count(codes, own, out)
    return 0.0


def _pullback(setup, _values, _state, _count, sums, gradient):  # type: ignore[no-untyped-def]
    n = int(carray(setup, (1,))[0])
    own, out = carray(sums, (n + 1,)), carray(gradient, (n,))
    for j in range(n):
        out[j] += own[j]
    return 0.0


FAMILY = Family(
    values=lambda n: {"log_probability": n},
    n_state=lambda n: n + 1,
    n_sums=lambda n: n + 1,
    n_kept=lambda _: 0,
    n_scratch=lambda _: 0,
    prepare=_prepare,
    terms=_terms,
    sums=_sums,
    pullback=_pullback,
)
