"""Log posterior densities of many points, without gradients."""

from itertools import pairwise

import numpy as np

from jointmix.base.machine import available_cores
from jointmix.base.threads import on_cores
from jointmix.families.compiling import jit
from jointmix.families.loops import SUMS
from jointmix.kernel.prior import forward
from jointmix.kernel.records import (
    blocks_of,
    header_of,
    parameters_of,
    pattern_of,
    weights_of,
)
from jointmix.kernel.sweep import prepare, reduce, rooms, shares, subtract_terms


@jit(inner=False, fastmath=SUMS)
def _densities(problem: np.ndarray, points: np.ndarray, with_rows: bool, out: np.ndarray) -> None:
    """Log densities (point,) of unconstrained values (point, dim), or those of the prior alone."""
    header = header_of(problem)
    table, k = parameters_of(problem, header), header.n_clusters
    values = np.empty(header.n_values)
    for p in range(points.shape[0]):
        for i in range(values.size):
            values[i] = problem[header.known + i]
        out[p] = header.constant + forward(problem, table, k, points[p], values)
        if not with_rows:
            continue
        out[p] += _likelihood(problem, header, values)
        for i in range(header.n_patterns):
            own = pattern_of(problem, header, i)
            reduce(problem, own, k, values)
            out[p] += _likelihood(problem, own, values)


@jit(inner=False, fastmath=SUMS)
def _likelihood(problem, header, values):  # type: ignore[no-untyped-def]
    """The log likelihood of the rows that one header has."""
    blocks, k, n, length = (
        blocks_of(problem, header),
        header.n_clusters,
        header.n_rows,
        header.length,
    )
    n_state, _, n_kept, n_scratch = rooms(blocks, k)
    state, kept = np.empty(n_state), np.empty(n_kept * length)
    scratch, terms, constant = np.empty(n_scratch * length), np.empty((k, length)), np.empty(k)
    work, bits = np.empty(length), np.empty(length, dtype=np.int64)
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
        total += shares(header, terms, work, bits, m, weights_of(problem, header, start, m))
    return total


def densities(problem: np.ndarray, points: np.ndarray, cores: int | None = None) -> np.ndarray:
    """Log posterior densities of unconstrained values.

    Parameters
    ----------
    problem
        As `problem.make_problem` returns it.
    points
        Shape (point, dim).
    cores
        Threads at a time; None takes what the machine has.

    Returns
    -------
    numpy.ndarray
        Shape (point,), natural logs.
    """
    points = np.ascontiguousarray(points, dtype=float)
    found = np.empty(len(points))
    n_parts = min(cores or available_cores(), max(len(points), 1))
    edges = np.linspace(0, len(points), n_parts + 1).astype(int)
    parts = [slice(first, last) for first, last in pairwise(edges)]
    on_cores(lambda part: _densities(problem, points[part], True, found[part]), parts, n_parts)
    return found


def prior_densities(problem: np.ndarray, points: np.ndarray) -> np.ndarray:
    """Log densities (point,) of the prior alone, such that `densities` adds the likelihood."""
    points = np.ascontiguousarray(points, dtype=float)
    found = np.empty(len(points))
    _densities(problem, points, False, found)
    return found
