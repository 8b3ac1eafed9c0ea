"""Second derivatives of the posterior of many rows, from the scores of each row.

With t_nk = log π_k p_k(row n), responsibilities r_nk and a row's score s_n = Σ_k r_nk ∇t_nk,

    ∇² Σ_n log Σ_k exp t_nk = Σ_n Σ_k r_nk (∇²t_nk + ∇t_nk ∇t_nk') − Σ_n s_n s_n'

(Louis 1982). The products are products of matrices; and in the kernel's values, of which each
component has its own, Σ_n r_nk ∇²t_nk of all components takes as many differences of gradients as
one component has values. Differences of the posterior's gradient take one for each parameter.
"""

from collections.abc import Callable

import numpy as np

from jointmix.base.threads import heed, on_cores, row_parts
from jointmix.families.compiling import doubles_in_memory
from jointmix.kernel.entry import linearised, tilted_gradient, value_and_gradient
from jointmix.kernel.records import BLOCK, HEADER, HEADER_SIZE, PARAMETER, POSITIVE
from jointmix.kernel.sweep import given_sweep, scores

_STEP = 1e-5
#: Rows whose scores are in memory at a time.
_ROWS = 2048


def curvature(problem: np.ndarray, at: np.ndarray) -> np.ndarray:
    """The negative Hessian of the log posterior density at unconstrained values, (dim, dim).

    Differences are to one side: over so small a step a density of many rows hardly bends.
    """
    header = problem[:HEADER_SIZE].view(HEADER)[0]
    if header.n_patterns > 0 or header.alternatives > 1:
        return differences(lambda q: value_and_gradient(problem, q)[1], at)
    n_values = int(header.n_values)
    values, slopes = np.empty(n_values), np.empty((n_values, len(at)))
    linearised(problem, at, values, slopes)
    places = _free_places(problem, header, slopes)
    given, second = _products(problem, header, values, places)
    gradient = given_sweep(problem, values, given)
    positive = _positive(problem, header)

    def along(own: np.ndarray) -> np.ndarray:
        """Changes of all components' gradients when one value of each is moved."""
        moved = values.copy()
        moved[own] = np.where(positive[own], values[own] * np.exp(_STEP), values[own] + _STEP)
        return ((given_sweep(problem, moved, given) - gradient) / _STEP)[places]

    changes = np.array(on_cores(along, places.T))
    k, n = places.shape
    for c in range(k):
        own = slice(c * n, (c + 1) * n)
        second[own, own] += (changes[:, c] + changes[:, c].T) / 2
    within = slopes[places.ravel()]
    prior = differences(lambda q: tilted_gradient(problem, q, gradient), at)
    return np.asarray(prior - within.T @ second @ within)


def differences(gradient: Callable[[np.ndarray], np.ndarray], at: np.ndarray) -> np.ndarray:
    """Minus the derivatives of a gradient at a point (dim,), (dim, dim)."""
    here = gradient(at)
    steps = _STEP * np.eye(len(at))
    found = np.array(on_cores(lambda step: (here - gradient(at + step)) / _STEP, steps))
    return (found + found.T) / 2


def _free_places(problem: np.ndarray, header: np.record, slopes: np.ndarray) -> np.ndarray:
    """Where the values of each component are that depend on free parameters, (component, value)."""
    k = int(header.n_clusters)
    size = int(header.n_blocks) * BLOCK.itemsize // 8
    found = [np.arange(k)[:, None]]
    for block in problem[header.blocks : header.blocks + size].view(BLOCK):
        own = np.arange(k * block.n_values).reshape(k, block.n_values)
        found.append(int(block.value) + own)
    places = np.concatenate(found, axis=1)
    return places[:, slopes.any(axis=1)[places].any(axis=0)]


def _positive(problem: np.ndarray, header: np.record) -> np.ndarray:
    """Which values are positive: derivatives are of their logarithms, (value,)."""
    found = np.zeros(int(header.n_values), dtype=bool)
    size = int(header.n_parameters) * PARAMETER.itemsize // 8
    for row in problem[header.parameters : header.parameters + size].view(PARAMETER):
        if row.transform == POSITIVE:
            first = row.value + row.step * np.arange(header.n_clusters)
            found[first[:, None] + np.arange(row.width)] = True
    return found


def _products(
    problem: np.ndarray, header: np.record, values: np.ndarray, places: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Weighted responsibilities (component, obs), and Σ_n (Σ_k r_nk ∇t_nk ∇t_nk' − s_n s_n').

    The latter is of the values at ``places``, one component after another.
    """
    n_rows, length = int(header.n_rows), int(header.length)
    k, n = places.shape
    given = np.empty((k, n_rows))
    weight = np.ones(n_rows)
    if header.weights > 0:
        weight = doubles_in_memory(header.weights, n_rows)
    at_once = length * max(1, _ROWS // length)

    def of_part(part: slice) -> np.ndarray:
        found = np.zeros((k * n, k * n))
        score, shared = np.empty((at_once, k, n)), np.empty((at_once, k))
        unsure = np.empty(at_once, dtype=np.int64)
        for start in range(part.start, part.stop, at_once):
            heed()
            rows, m = slice(start, min(start + at_once, n_rows)), 0
            for tile in range(0, rows.stop - start, length):
                more = scores(
                    problem, values, places, start + tile, shared[tile:], score[m:], unsure[m:]
                )
                unsure[m : m + more] += tile
                m += more
            given[:, rows] = shared[: rows.stop - start].T * weight[rows]
            share, root = shared[unsure[:m], :, None], np.sqrt(weight[rows][unsure[:m]])
            own = (score[:m] * (share * root[:, None, None])).reshape(m, k * n)
            found -= own.T @ own
            for c in range(k):
                place = slice(c * n, (c + 1) * n)
                each = score[:m, c] * (np.sqrt(share[:, c]) * root[:, None])
                found[place, place] += each.T @ each
        return found

    total = np.zeros((k * n, k * n))
    for each in on_cores(of_part, row_parts(n_rows, at_once)):
        total += each
    return given, total
