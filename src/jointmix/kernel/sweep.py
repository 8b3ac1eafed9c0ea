"""The log likelihood of the rows and the sums its gradient needs, in one pass over the rows.

Rows are taken in blocks that stay in the processor's cache. For each, and for each component, the
functions of all blocks of the model are called by their addresses; see `families.compiling`.
"""

import numpy as np

from jointmix.families.compiling import call, jit
from jointmix.families.loops import SUMS, softmax
from jointmix.kernel.records import (
    blocks_of,
    header_of,
    pattern_of,
    reductions_of,
    rows_of,
    weights_of,
)

#: What other components' responsibilities for a row may add up to that is not in doubt: of the
#: row's information so much is lost at most, less than rounding loses of that of many.
_CERTAIN = 1e-13


@jit()
def rooms(blocks, k):  # type: ignore[no-untyped-def]
    """Numbers needed for states, sums, kept rows and scratch rows of all blocks."""
    state = sums = kept = scratch = 0
    for i in range(blocks.size):
        block = blocks[i]
        state += k * block.n_state
        sums += k * block.n_sums
        kept += k * block.n_kept
        scratch = max(scratch, block.n_scratch)
    return state, sums, kept, scratch


@jit()
def prepare(problem, block, k, values, state, constant):  # type: ignore[no-untyped-def]
    """Fill a block's states, and add its log normalising constants (component,)."""
    setup = problem[block.setup :]
    for c in range(k):
        own = values[block.value + c * block.n_values :]
        constant[c] += call(block.prepare, setup, own, state[block.state + c * block.n_state :])


@jit()
def subtract_terms(problem, block, start, m, length, state, kept, scratch, terms):  # type: ignore[no-untyped-def]
    """Subtract from terms (component, block) what a block's log densities of m rows lack."""
    setup, rows = problem[block.setup :], rows_of(block, start, m)
    for c in range(terms.shape[0]):
        own = kept[(block.kept + c * block.n_kept) * length :]
        known = state[block.state + c * block.n_state :]
        call(block.terms, setup, known, rows, m, own, scratch, terms[c])


@jit()
def _add_sums(problem, block, start, m, length, state, kept, scratch, terms, sums):  # type: ignore[no-untyped-def]
    setup, rows = problem[block.setup :], rows_of(block, start, m)
    for c in range(terms.shape[0]):
        own = kept[(block.kept + c * block.n_kept) * length :]
        known = state[block.state + c * block.n_state :]
        out = sums[block.summed + c * block.n_sums :]
        call(block.sums, setup, known, rows, m, terms[c], own, scratch, out)


@jit()
def reduce(problem, header, k, values):  # type: ignore[no-untyped-def]
    """Fill the values of the blocks that a pattern leaves."""
    table = reductions_of(problem, header)
    for i in range(table.size):
        row = table[i]
        for c in range(k):
            call(
                row.reduce, problem[row.told :], values[row.features + c * row.n_features :],
                values[row.value + c * row.n_values :], values[row.left + c * row.n_left :],
            )  # fmt: skip


@jit()
def _extend(problem, header, k, values, from_values):  # type: ignore[no-untyped-def]
    """The gradient in the values from that in those of the blocks that a pattern leaves."""
    table = reductions_of(problem, header)
    for i in range(table.size):
        row = table[i]
        for c in range(k):
            features, own = row.features + c * row.n_features, row.value + c * row.n_values
            left = row.left + c * row.n_left
            call(
                row.extend, problem[row.told :], values[features:], values[own:], values[left:],
                from_values[left:], from_values[features:], from_values[own:],
            )  # fmt: skip
            for j in range(row.n_left):
                from_values[left + j] = 0.0


@jit(inner=False)
def sweep(problem, header, blocks, values, from_values):  # type: ignore[no-untyped-def]
    """The log likelihood of all rows, and its gradient in the values.

    Parameters
    ----------
    problem, header, blocks
        The problem, its header and its table of blocks.
    values, from_values
        Log weights and the blocks' values, (value,); the gradient, zeros to which it is added: in
        the logarithms of weights and of positive values.
    """
    free = np.empty((0, 0))
    total = _sweep(problem, header, blocks, values, free, from_values)
    for i in range(header.n_patterns):
        own = pattern_of(problem, header, i)
        reduce(problem, own, own.n_clusters, values)
        total += _sweep(problem, own, blocks_of(problem, own), values, free, from_values)
        _extend(problem, own, own.n_clusters, values, from_values)
    return total


@jit(fastmath=SUMS)
def _shared(terms, bits, m, n, weights):  # type: ignore[no-untyped-def]
    """`softmax` over components and n rows side by side, of terms (component, block) of m rows."""
    k, size = terms.shape[0], m // n
    wide, work = np.empty((k * n, size)), np.empty(size)
    own = np.empty(size if weights.size > 0 else 0)
    for b in range(own.size):
        own[b] = weights[b * n]
    for c in range(k):
        for b in range(m):
            wide[c * n + b % n, b // n] = terms[c, b]
    total = softmax(wide, work, bits, size, own)
    for c in range(k):
        for b in range(m):
            terms[c, b] = wide[c * n + b % n, b // n]
    return total


@jit(fastmath=SUMS)
def shares(header, terms, work, bits, m, weights):  # type: ignore[no-untyped-def]
    """`softmax` of terms (component, block) of m rows, alternatives of one row taken together."""
    if header.alternatives > 1:
        return _shared(terms, bits, m, header.alternatives, weights)
    return softmax(terms, work, bits, m, weights)


@jit(inner=False)
def given_sweep(problem: np.ndarray, values: np.ndarray, given: np.ndarray) -> np.ndarray:
    """Σ_n Σ_k given_nk ∇ log p_k(row n), the gradient in the values where responsibilities stay.

    Parameters
    ----------
    problem
        Without patterns, and with one alternative a row.
    values
        Log weights and the blocks' values, (value,).
    given
        Responsibilities times the weights of rows, (component, obs).
    """
    header, from_values = header_of(problem), np.zeros(values.size)
    _sweep(problem, header, blocks_of(problem, header), values, given, from_values)
    return from_values


@jit(inner=False, fastmath=SUMS)
def scores(
    problem: np.ndarray, values: np.ndarray, places: np.ndarray, start: int, shared: np.ndarray,
    out: np.ndarray, unsure: np.ndarray,
) -> int:  # fmt: skip
    """Responsibilities for the rows of a tile, and gradients of log π_k p_k of those in doubt.

    Parameters
    ----------
    problem, values
        As of `given_sweep`.
    places
        Of the values whose gradients are asked for, (component, value).
    start
        The tile's first row.
    shared
        Filled with responsibilities, (row, component).
    out
        Filled with gradients in the first rows, (row, component, value).
    unsure
        Filled with the numbers, in the tile, of these rows.

    Returns
    -------
    int
        How many rows are in doubt.
    """
    header = header_of(problem)
    blocks, k = blocks_of(problem, header), header.n_clusters
    m = min(header.length, header.n_rows - start)
    n_state, n_sums, n_kept, n_scratch = rooms(blocks, k)
    state, kept, scratch = np.empty(n_state), np.empty(n_kept), np.empty(n_scratch)
    constant, terms, sums = np.empty(k), np.empty((k, 1)), np.empty(n_sums)
    gradient, unweighted = np.empty(values.size), np.empty(0)
    one, work, bits = np.ones(1), np.empty(1), np.empty(1, dtype=np.int64)
    columns = found = 0
    for i in range(blocks.size):
        columns += blocks[i].n_columns
    row = np.empty(columns)
    for c in range(k):
        constant[c] = values[c]
    for i in range(blocks.size):
        prepare(problem, blocks[i], k, values, state, constant)
    for b in range(m):
        for c in range(k):
            terms[c, 0] = constant[c]
        first = 0
        for i in range(blocks.size):
            block = blocks[i]
            tile = rows_of(block, start, m)
            for j in range(block.n_columns):
                row[first + j] = tile[j * m + b]
            for c in range(k):
                setup, known = problem[block.setup :], state[block.state + c * block.n_state :]
                own = kept[block.kept + c * block.n_kept :]
                call(block.terms, setup, known, row[first:], 1, own, scratch, terms[c])
            first += block.n_columns
        softmax(terms, work, bits, 1, unweighted)
        most = others = 0.0
        for c in range(k):
            shared[b, c] = terms[c, 0]
            others += min(terms[c, 0], most)
            most = max(terms[c, 0], most)
        if others < _CERTAIN:
            continue
        for j in range(n_sums):
            sums[j] = 0.0
        for j in range(values.size):
            gradient[j] = 1.0 if j < k else 0.0
        first = 0
        for i in range(blocks.size):
            block = blocks[i]
            for c in range(k):
                setup, known = problem[block.setup :], state[block.state + c * block.n_state :]
                own = kept[block.kept + c * block.n_kept :]
                summed = sums[block.summed + c * block.n_sums :]
                place = block.value + c * block.n_values
                call(block.sums, setup, known, row[first:], 1, one, own, scratch, summed)
                call(block.pullback, setup, values[place:], known, 1.0, summed, gradient[place:])
            first += block.n_columns
        for c in range(k):
            for j in range(places.shape[1]):
                out[found, c, j] = gradient[places[c, j]]
        unsure[found] = b
        found += 1
    return found


@jit(inner=False, fastmath=SUMS)
def _sweep(problem, header, blocks, values, given, from_values):  # type: ignore[no-untyped-def]
    """`sweep` of the rows that one header has, with responsibilities that are given, if any."""
    k, n, length = header.n_clusters, header.n_rows, header.length
    n_state, n_sums, n_kept, n_scratch = rooms(blocks, k)
    state, sums, kept = np.empty(n_state), np.zeros(n_sums), np.empty(n_kept * length)
    scratch, terms, constant = np.empty(n_scratch * length), np.empty((k, length)), np.empty(k)
    work, bits, count = np.empty(length), np.empty(length, dtype=np.int64), np.zeros(k)
    for c in range(k):
        constant[c] = values[c]
    for i in range(blocks.size):
        prepare(problem, blocks[i], k, values, state, constant)
    total = 0.0
    for start in range(0, n, length):
        m = min(length, n - start)
        for c in range(k):
            for b in range(m):
                terms[c, b] = constant[c]
        for i in range(blocks.size):
            subtract_terms(problem, blocks[i], start, m, length, state, kept, scratch, terms)
        weights = weights_of(problem, header, start, m)
        if given.size > 0:
            for c in range(k):
                for b in range(m):
                    terms[c, b] = given[c, start + b]
        else:
            total += shares(header, terms, work, bits, m, weights)
        if given.size == 0 and weights.size > 0:
            for c in range(k):
                for b in range(m):
                    terms[c, b] *= weights[b]
        for c in range(k):
            for b in range(m):
                count[c] += terms[c, b]
        for i in range(blocks.size):
            _add_sums(problem, blocks[i], start, m, length, state, kept, scratch, terms, sums)
    for c in range(k):
        from_values[c] += count[c]
    for i in range(blocks.size):
        block = blocks[i]
        for c in range(k):
            place = block.value + c * block.n_values
            known = state[block.state + c * block.n_state :]
            own = sums[block.summed + c * block.n_sums :]
            call(
                block.pullback, problem[block.setup :], values[place:], known, count[c], own,
                from_values[place:],
            )  # fmt: skip
    return total
