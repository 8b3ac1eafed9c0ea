"""The predictive distribution of y given x, row by row: a mixture over draws and clusters.

What a draw's cluster predicts for a row is a part: its centre and scale, and what else the
response's family needs. Distribution functions are called by their address.
"""

import math
from collections.abc import Sequence

import numpy as np
from scipy.special import ndtri

from jointmix.families import protocol, together
from jointmix.families.compiling import call, jit
from jointmix.families.loops import copy
from jointmix.families.parameters import Parameters
from jointmix.families.rows import Rows
from jointmix.kernel.blocks import (
    Block,
    add_blocks,
    compiled_blocks,
    passing_tiles,
    values_of,
)
from jointmix.kernel.quantiles import quantile, whole_quantile
from jointmix.kernel.records import PREDICTED, Tape, blocks_of, header_of, predicted_of, rows_of
from jointmix.kernel.sweep import prepare, rooms, subtract_terms

#: Parts with less weight are left out of the distribution function: 4,000 of them are 4e-12.
LEAST_WEIGHT = 1e-15
#: Numbers that parts of all draws may take at a time: 8 MB.
_MOST_NUMBERS = 1_000_000


@jit()
def _normalise(terms: np.ndarray, b: int) -> float:
    """log p(x) of a row from log π_k p(x | k) (cluster, row), which become p(k | x)."""
    top, one = -np.inf, 0.0
    for c in range(terms.shape[0]):
        top = max(top, terms[c, b])
    for c in range(terms.shape[0]):
        terms[c, b] = math.exp(terms[c, b] - top)
        one += terms[c, b]
    for c in range(terms.shape[0]):
        terms[c, b] /= one
    return top + math.log(one)


@jit()
def _weigh(own: np.ndarray, weighted: bool) -> tuple[float, float]:
    """Draws' weights, which sum to one, from their log p(x), alike or in proportion to p(x).

    Returns
    -------
    density, effective
        The log of the mean of p(x) over draws, and the effective number of draws, 1 / Σ w².
    """
    top, one, square = -np.inf, 0.0, 0.0
    for s in range(own.size):
        top = max(top, own[s])
    for s in range(own.size):
        own[s] = math.exp(own[s] - top)
        one += own[s]
    for s in range(own.size):
        own[s] = own[s] / one if weighted else 1.0 / own.size
        square += own[s] * own[s]
    return top + math.log(one / own.size), 1.0 / square


@jit()
def _moments(predicted, own, share, parts, b, sums, work, total):  # type: ignore[no-untyped-def]
    """Add up moments of row b over draws; fills the first four of its `total`.

    Parameters
    ----------
    own, share, parts
        Weights (draw,), p(k | x) (draw, cluster, row) and parts (draw, cluster, row, number).
    sums
        Filled, (cluster, 3): Σ p, and Σ p times mean and square about the value returned, p
        being weighed by the draws' weights.
    work
        Two numbers to work with.

    Returns
    -------
    origin, spread
        The first draw's mean, and the root of the mean square distance of the parts, where
        scales stand for standard deviations.
    """
    n_draws, k = share.shape[0], share.shape[1]
    sums[:] = 0.0
    origin = within = between = mean = square = scales = 0.0
    for s in range(n_draws):
        here = 0.0
        for c in range(k):
            here += share[s, c, b] * parts[s, c, b, 0]
        if s == 0:
            # Sums are taken about the first draw's mean, so that offsets cost no digits.
            origin = here
        for c in range(k):
            p = own[s] * share[s, c, b]
            call(predicted.moments, parts[s, c, b], work)
            gap = work[0] - origin
            # A cluster that the row cannot belong to adds nothing, even of infinite variance.
            if p > 0.0:
                within += p * work[1]
                sums[c, 2] += p * (work[1] + gap * gap)
            between += p * (work[0] - here) ** 2
            scales += p * (parts[s, c, b, 1] ** 2 + gap * gap)
            sums[c, 0] += p
            sums[c, 1] += p * gap
        mean += own[s] * (here - origin)
        square += own[s] * (here - origin) ** 2
    total[0], total[1], total[2] = origin + mean, within, between
    total[3] = max(square - mean * mean, 0.0)
    return origin, math.sqrt(max(scales - mean * mean, 0.0))


@jit()
def _tile(problem, header, start, m, n_given, states, constants, kept, scratch, share, parts):  # type: ignore[no-untyped-def]
    """Log π_k p(x | k) of m rows and what each draw's clusters predict for them."""
    blocks, predicted = blocks_of(problem, header), predicted_of(problem, header)
    response, length = blocks[n_given], header.length
    for s in range(share.shape[0]):
        for c in range(share.shape[1]):
            for b in range(m):
                share[s, c, b] = constants[s, c]
        for i in range(n_given):
            subtract_terms(problem, blocks[i], start, m, length, states[s], kept, scratch, share[s])
        rows = rows_of(response, start, m)
        for c in range(share.shape[1]):
            known = states[s, response.state + c * response.n_state :]
            call(predicted.parts, problem[response.setup :], known, rows, m, parts[s, c])


@jit()
def _abreast(terms, parts, n, m, wide, of_them):  # type: ignore[no-untyped-def]
    """Put n rows side by side of m as n components of one: log π_k p(x | k), and the parts."""
    for s in range(terms.shape[0]):
        for c in range(terms.shape[1]):
            for b in range(m):
                wide[s, c * n + b % n, b // n] = terms[s, c, b]
                copy(parts[s, c, b], of_them[s, c * n + b % n, b // n])


@jit(inner=False)
def _predict(
    problem: np.ndarray,
    values: np.ndarray,
    n_given: int,
    weighted: bool,
    probability: np.ndarray,
    normal: np.ndarray,
    total: np.ndarray,
    share: np.ndarray,
    found: np.ndarray,
) -> None:
    """See `predictive`; the first n_given blocks are those of the features."""
    header = header_of(problem)
    blocks, predicted = blocks_of(problem, header), predicted_of(problem, header)
    n_draws, k, n, length = values.shape[0], header.n_clusters, header.n_rows, header.length
    n_state, _, n_kept, n_scratch = rooms(blocks, k)
    states, constants, unused = np.empty((n_draws, n_state)), np.empty((n_draws, k)), np.empty(k)
    kept, scratch = np.empty(n_kept * length), np.empty(n_scratch * length)
    p, parts = np.empty((n_draws, k, length)), np.empty((n_draws, k, length, predicted.n_part))
    each, every, side = p, parts, header.alternatives
    if side > 1:
        k *= side
        p = np.empty((n_draws, k, length // side))
        parts = np.empty((n_draws, k, length // side, predicted.n_part))
    weight, some = np.empty(n_draws * k), np.empty((n_draws * k, predicted.n_part))
    sums, work, weights = np.empty((k, 3)), np.empty(2), np.empty(n_draws)
    for s in range(n_draws):
        copy(values[s], constants[s])
        for i in range(blocks.size):
            own = constants[s] if i < n_given else unused
            prepare(problem, blocks[i], header.n_clusters, values[s], states[s], own)
    for start in range(0, n, length):
        m = min(length, n - start)
        _tile(problem, header, start, m, n_given, states, constants, kept, scratch, each, every)
        if side > 1:
            _abreast(each, every, side, m, p, parts)
        for b in range(m // side):
            # For a literal, what takes it would be compiled once more.
            row, used = start // side + b, np.int64(0)
            for s in range(n_draws):
                weights[s] = _normalise(p[s], b)
            total[row, 4], total[row, 5] = _weigh(weights, weighted)
            for s in range(n_draws):
                for c in range(k):
                    one = weights[s] * p[s, c, b]
                    if one * n_draws > LEAST_WEIGHT:
                        weight[used] = one
                        copy(parts[s, c, b], some[used])
                        used += 1
            origin, spread = _moments(predicted, weights, p, parts, b, sums, work, total[row])
            for c in range(k):
                at = sums[c, 1] / max(sums[c, 0], 1e-300)
                square = sums[c, 2] / max(sums[c, 0], 1e-300) - at * at
                share[row, c, 0] = sums[c, 0]
                share[row, c, 1], share[row, c, 2] = origin + at, max(square, 0.0)
            for q in range(probability.size):
                at = total[row, 0] + normal[q] * spread
                if predicted.whole:
                    found[row, q] = whole_quantile(
                        predicted, probability[q], at, spread, weight, some, used, work
                    )
                else:
                    found[row, q] = quantile(
                        predicted, probability[q], at, total[row, 0], spread, weight, some, used,
                        work,
                    )  # fmt: skip


@jit(inner=False)
def _parts(problem: np.ndarray, values: np.ndarray, parts: np.ndarray) -> None:
    """Fill what each draw's clusters predict, (draw, cluster, row, number)."""
    header = header_of(problem)
    blocks, predicted, k = (
        blocks_of(problem, header),
        predicted_of(problem, header),
        header.n_clusters,
    )
    block, state, unused = blocks[0], np.empty(rooms(blocks, k)[0]), np.empty(k)
    for s in range(values.shape[0]):
        prepare(problem, block, k, values[s], state, unused)
        for start in range(0, header.n_rows, header.length):
            m = min(header.length, header.n_rows - start)
            rows = rows_of(block, start, m)
            for c in range(k):
                known = state[block.state + c * block.n_state :]
                call(predicted.parts, problem[block.setup :], known, rows, m, parts[s, c, start:])


@jit(inner=False)
def _density(
    problem: np.ndarray, at: np.ndarray, share: np.ndarray, parts: np.ndarray, found: np.ndarray
) -> None:
    """See `density_at`."""
    predicted = predicted_of(problem, header_of(problem))
    n_draws, k = parts.shape[0], parts.shape[1]
    weight, some = np.empty(n_draws * k), np.empty((n_draws * k, predicted.n_part))
    work = np.empty(2)
    for row in range(found.shape[0]):
        used = 0
        for s in range(n_draws):
            for c in range(k):
                if share[s, c, row] * n_draws > LEAST_WEIGHT:
                    weight[used] = share[s, c, row]
                    copy(parts[s, c, row], some[used])
                    used += 1
        for i in range(at.size):
            call(predicted.distribution, at[i], used, weight, some, work)
            found[row, i] = work[1]


def _add_predicted(tape: Tape, block: Block) -> int:
    """Put on the tape what the response's family says of predictions."""
    family = block.family
    row = {name: family.address(name) for name in ("parts", "moments", "distribution")}
    row |= {"n_part": family.n_part, "whole": int(family.whole)}
    row["distance"] = family.address("distance") if family.distance is not None else -1
    return tape.table(PREDICTED, [row])


def response_parts(
    rows: Rows, parameters: Parameters, block: protocol.Block
) -> tuple[np.ndarray, np.ndarray]:
    """What each draw's clusters predict for rows, of which the predictors are read.

    Returns
    -------
    problem, parts
        What compiled functions need to know of the family, and (draw, cluster, obs, number).
    """
    (n_draws, k), n, tape = parameters.weight.shape, len(rows.y), Tape()
    compiled = compiled_blocks([block], rows, parameters)
    header = add_blocks(tape, compiled, k, [passing_tiles(block, rows)], n)
    problem = tape.problem(**header, predicted=_add_predicted(tape, compiled[0]))
    parts = np.empty((n_draws, k, n, compiled[0].family.n_part))
    _parts(problem, values_of(parameters, [block], compiled), parts)
    return problem, parts


def density_at(
    at: np.ndarray,
    share: np.ndarray,
    rows: Rows,
    parameters: Parameters,
    block: protocol.Block,
) -> np.ndarray:
    """The weighted mean over draws of p(y | x) at points.

    Parameters
    ----------
    at
        (point,).
    share
        p(k | x) times the draw's weight, (draw, cluster, row).
    rows
        Of which the predictors are read.
    parameters
        With one leading dim (draw,).
    block
        Of the response.

    Returns
    -------
    numpy.ndarray
        (row, point), per unit of the response.
    """
    problem, parts = response_parts(rows, parameters, block)
    found = np.empty((len(rows.y), len(at)))
    _density(problem, np.ascontiguousarray(at, dtype=float), share, parts, found)
    return found


def predictive(
    rows: Rows,
    parameters: Parameters,
    blocks: Sequence[protocol.Block],
    probability: np.ndarray,
    weighted: bool = False,
    alternatives: int = 1,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Moments, clusters and quantiles of p(y | x), averaged over draws.

    Parameters
    ----------
    rows
        Of which features and predictors are read.
    parameters
        With one leading dim (draw,).
    blocks
        Of the model, the response's last.
    probability
        Of the quantiles, (quantile,), each in (0, 1).
    weighted
        Whether draws are weighed by p(x); else they count alike.
    alternatives
        So many rows side by side are what one may be: the components of that one are all pairs of
        a cluster and one of them, in place of clusters.

    Returns
    -------
    total
        (obs, 6): mean, the variance within and between clusters and of the parameters, the log
        of the posterior mean of p(x), and the effective number of draws.
    share
        (obs, cluster, 3): p(k | x), and mean and variance of y from that cluster.
    quantile
        (obs, quantile), of the distribution function itself.
    """
    (n_draws, k), n, tape = parameters.weight.shape, len(rows.y), Tape()
    given = together(blocks, rows)
    compiled = compiled_blocks(given, rows, parameters)
    n_given = sum(not block.of_response for block in given)
    most = max(1, _MOST_NUMBERS // (n_draws * k * (1 + compiled[-1].family.n_part)))
    tiles = [passing_tiles(block, rows) for block in given]
    header = add_blocks(tape, compiled, k, tiles, n, most, alternatives=alternatives)
    problem = tape.problem(**header, predicted=_add_predicted(tape, compiled[-1]))
    n, k = n // alternatives, k * alternatives
    probability = np.ascontiguousarray(probability, dtype=float)
    total, share = np.empty((n, 6)), np.empty((n, k, 3))
    found = np.empty((n, len(probability)))
    values = values_of(parameters, given, compiled)
    _predict(
        problem, values, n_given, weighted, probability, ndtri(probability), total, share, found
    )
    return total, share, found
