"""Several features of levels at once, compiled: Σ_f log p_f by a look-up for each group of them.

setup   n, the number of cells of all groups; numbers F of features and G of groups; levels of each
        feature (F); features of each group (G)
values  log p of the levels, feature by feature
state   Σ log p of each cell's levels, group by group; a feature that is not known adds nothing
rows    numbers of the row's cells, four to a double
sums    Σ r over the rows of each cell
"""

import numpy as np
from numba import carray

from jointmix.families.compiling import Family, jit
from jointmix.families.loops import SUMS

_HEAD, _PACKED = 3, 4
_MASK, _BITS = np.uint64(0xFFFF), np.uint64(16)
_TWICE, _THRICE = np.uint64(32), np.uint64(48)


def _prepare(setup, values, state):  # type: ignore[no-untyped-def]
    head = carray(setup, (_HEAD,))
    n, n_features, n_groups = int(head[0]), int(head[1]), int(head[2])
    told = carray(setup, (_HEAD + n_features + n_groups,))
    given, out = carray(values, (n,)), carray(state, (n,))
    feature, value, first = 0, 0, 0
    for g in range(n_groups):
        width = 1
        out[first] = 0.0
        for _ in range(int(told[_HEAD + n_features + g])):
            levels = int(told[_HEAD + feature])
            # Downwards: the cells that the others are made of are those of code 0.
            for code in range(levels, -1, -1):
                own = given[value + code] if code < levels else 0.0
                for w in range(width):
                    out[first + code * width + w] = out[first + w] + own
            feature, value, width = feature + 1, value + levels, width * (levels + 1)
        first += width
    return 0.0


@jit(fastmath=SUMS)
def _look_up(cells: np.ndarray, many: int, table: np.ndarray, out: np.ndarray) -> None:
    if many == 1:
        for b in range(out.size):
            out[b] += table[cells[b]]
    elif many == 2:
        for b in range(out.size):
            c = cells[b]
            out[b] += table[c & _MASK] + table[c >> _BITS]
    elif many == 3:
        for b in range(out.size):
            c = cells[b]
            out[b] += table[c & _MASK] + table[(c >> _BITS) & _MASK] + table[c >> _TWICE]
    else:
        for b in range(out.size):
            c = cells[b]
            out[b] += (table[c & _MASK] + table[(c >> _BITS) & _MASK]) + (
                table[(c >> _TWICE) & _MASK] + table[c >> _THRICE]
            )


@jit(fastmath=SUMS)
def _count(cells: np.ndarray, many: int, share: np.ndarray, out: np.ndarray) -> None:
    if many == 1:
        for b in range(share.size):
            out[cells[b]] += share[b]
    elif many == 2:
        for b in range(share.size):
            c, r = cells[b], share[b]
            out[c & _MASK] += r
            out[c >> _BITS] += r
    elif many == 3:
        for b in range(share.size):
            c, r = cells[b], share[b]
            out[c & _MASK] += r
            out[(c >> _BITS) & _MASK] += r
            out[c >> _TWICE] += r
    else:
        for b in range(share.size):
            c, r = cells[b], share[b]
            out[c & _MASK] += r
            out[(c >> _BITS) & _MASK] += r
            out[(c >> _TWICE) & _MASK] += r
            out[c >> _THRICE] += r


def _terms(setup, state, rows, m, _kept, _scratch, out):  # type: ignore[no-untyped-def]
    head = carray(setup, (_HEAD,))
    n, n_groups = int(head[0]), int(head[2])
    table, found = carray(state, (n,)), carray(out, (m,))
    columns = carray(rows, ((n_groups + _PACKED - 1) // _PACKED, m))
    for j in range(columns.shape[0]):
        many = min(_PACKED, n_groups - _PACKED * j)
        _look_up(columns[j].view(np.uint64), many, table, found)
    return 0.0


def _sums(setup, _state, rows, m, share, _kept, _scratch, sums):  # type: ignore[no-untyped-def]
    head = carray(setup, (_HEAD,))
    n, n_groups = int(head[0]), int(head[2])
    own, out = carray(share, (m,)), carray(sums, (n,))
    columns = carray(rows, ((n_groups + _PACKED - 1) // _PACKED, m))
    for j in range(columns.shape[0]):
        many = min(_PACKED, n_groups - _PACKED * j)
        _count(columns[j].view(np.uint64), many, own, out)
    return 0.0


def _pullback(setup, _values, _state, _count, sums, gradient):  # type: ignore[no-untyped-def]
    head = carray(setup, (_HEAD,))
    n, n_features, n_groups = int(head[0]), int(head[1]), int(head[2])
    told = carray(setup, (_HEAD + n_features + n_groups,))
    own, out = carray(sums, (n,)), carray(gradient, (n,))
    feature, value, first = 0, 0, 0
    for g in range(n_groups):
        size, width = int(told[_HEAD + n_features + g]), 1
        for i in range(size):
            levels = int(told[_HEAD + feature + i])
            width, value = width * (levels + 1), value + levels
        after, place = first + width, value
        # The last feature first: what is left are sums over its levels.
        for i in range(size - 1, -1, -1):
            levels = int(told[_HEAD + feature + i])
            width, place = width // (levels + 1), place - levels
            for code in range(levels + 1):
                total = 0.0
                for w in range(width):
                    total += own[first + code * width + w]
                if code < levels:
                    out[place + code] += total
                if code > 0:
                    for w in range(width):
                        own[first + w] += own[first + code * width + w]
        feature, first = feature + size, after
    return 0.0


FAMILY = Family(
    values=lambda _: {},
    n_state=lambda n: n,
    n_sums=lambda n: n,
    n_kept=lambda _: 0,
    n_scratch=lambda _: 0,
    prepare=_prepare,
    terms=_terms,
    sums=_sums,
    pullback=_pullback,
)
