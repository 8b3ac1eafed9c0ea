"""How well mixtures over draws and clusters predicted what came: PIT and CRPS, row by row."""

import math
from collections.abc import Sequence

import numpy as np

from jointmix.families import protocol
from jointmix.families.compiling import call, jit
from jointmix.families.loops import copy
from jointmix.families.mixture import level_terms
from jointmix.families.parameters import Parameters
from jointmix.families.patterns import Pattern, by_pattern
from jointmix.families.rows import Rows
from jointmix.kernel.predictive import LEAST_WEIGHT, response_parts
from jointmix.kernel.records import header_of, predicted_of

#: Width of the bins into which parts are gathered, in scales and in logs of them.
_WIDTH = 0.1
_MOST_BINS = 48
#: Where panels of the integral end, in a cluster's scales from its centre, on either side.
_ENDS = (0.0, 0.7, 1.5, 2.5, 4.0, 8.0, 20.0, 60.0)
#: Whole numbers of a panel that are summed one by one: the spacing of more is a small part of it.
_MOST_SUMMED = 256
_NODE, _WEIGHT = np.polynomial.legendre.leggauss(8)


@jit()
def _gather(weight, parts, n, bins):  # type: ignore[no-untyped-def]
    """Gather n parts of one cluster into bins (part, 1 + number): weight, centre, squared scale...

    Parts that differ by less than a tenth of a scale in place and in scale become one with their
    mean and mean square. Returns the number of bins used.
    """
    low, high = parts[0, 0], parts[0, 0]
    narrow, wide = parts[0, 1], parts[0, 1]
    for i in range(n):
        low, high = min(low, parts[i, 0]), max(high, parts[i, 0])
        narrow, wide = min(narrow, parts[i, 1]), max(wide, parts[i, 1])
    step = max(_WIDTH * narrow, (high - low) / (_MOST_BINS - 1))
    scale = max(_WIDTH, math.log(wide / narrow) / (_MOST_BINS - 1))
    across = int((high - low) / step) + 1
    down = int(math.log(wide / narrow) / scale) + 1
    bins[: across * down] = 0.0
    for i in range(n):
        row = min(int(math.log(parts[i, 1] / narrow) / scale), down - 1)
        b = row * across + min(int((parts[i, 0] - low) / step), across - 1)
        gap = parts[i, 0] - low
        bins[b, 0] += weight[i]
        bins[b, 1] += weight[i] * gap
        bins[b, 2] += weight[i] * (parts[i, 1] * parts[i, 1] + gap * gap)
        for j in range(2, parts.shape[1]):
            bins[b, 1 + j] += weight[i] * parts[i, j]
    used = 0
    for b in range(across * down):
        one = bins[b, 0]
        if one > 0.0:
            gap = bins[b, 1] / one
            bins[used, 2] = bins[b, 2] / one - gap * gap
            bins[used, 0], bins[used, 1] = one, low + gap
            for j in range(3, bins.shape[1]):
                bins[used, j] = bins[b, j] / one
            used += 1
    return used


@jit()
def _half_apart(predicted, bins, used):  # type: ignore[no-untyped-def]
    """E|Y − Y'| / 2 of two values of a mixture, from pairs of its parts."""
    apart = 0.0
    for c in range(used.size):
        for i in range(used[c]):
            w, m, v = bins[c, i, 0], bins[c, i, 1], bins[c, i, 2]
            for d in range(c + 1):
                for j in range(used[d] if d < c else i + 1):
                    both = w * bins[d, j, 0]
                    if d < c or j < i:
                        both *= 2.0
                    gap, variance = m - bins[d, j, 1], v + bins[d, j, 2]
                    apart += both * call(predicted.distance, gap, variance)
    return 0.5 * apart


@jit()
def _panels(y, bins, used, ends):  # type: ignore[no-untyped-def]
    """Fill sorted ends of panels: around each cluster's centre, and y; returns how many."""
    ends[0], n = y, 1
    for c in range(used.size):
        one = middle = scale = 0.0
        for i in range(used[c]):
            one += bins[c, i, 0]
            middle += bins[c, i, 0] * bins[c, i, 1]
            scale += bins[c, i, 0] * math.sqrt(max(bins[c, i, 2], 0.0))
        if one > 0.0:
            for end in _ENDS:
                for side in (-1.0, 1.0):
                    ends[n] = (middle + side * end * scale) / one
                    n += 1
    for i in range(1, n):
        value, j = ends[i], i
        while j > 0 and ends[j - 1] > value:
            ends[j] = ends[j - 1]
            j -= 1
        ends[j] = value
    return n


@jit()
def _integral(predicted, y, bins, used, weight, parts, ends, found):  # type: ignore[no-untyped-def]
    """∫ (F(t) − 1{t ≥ y})² dt, panel by panel, and both tails with t = end ± reach (1 − w)/w."""
    n = _listed(bins, used, weight, parts)
    n_ends, total = _panels(y, bins, used, ends), 0.0
    first, last = ends[0], ends[n_ends - 1]
    reach = max(last - first, 1e-300)
    for i in range(n_ends + 1):
        for g in range(_NODE.size):
            if i < n_ends - 1:
                half = 0.5 * (ends[i + 1] - ends[i])
                t, slope = ends[i] + half * (1.0 + _NODE[g]), half
            else:
                w = 0.5 * (1.0 + _NODE[g])
                away, slope = reach * (1.0 - w) / w, 0.5 * reach / (w * w)
                t = first - away if i == n_ends else last + away
            call(predicted.distribution, t, n, weight, parts, found)
            share = found[0] - (1.0 if t >= y else 0.0)
            total += _WEIGHT[g] * slope * share * share
    return total


@jit()
def _listed(bins, used, weight, parts):  # type: ignore[no-untyped-def]
    """Put the gathered parts of all clusters one after another; returns how many."""
    n = 0
    for c in range(used.size):
        for i in range(used[c]):
            weight[n], parts[n, 0] = bins[c, i, 0], bins[c, i, 1]
            parts[n, 1] = math.sqrt(max(bins[c, i, 2], 0.0))
            copy(bins[c, i, 3:], parts[n, 2:])
            n += 1
    return n


@jit()
def _sum(predicted, y, bins, used, weight, parts, ends, found):  # type: ignore[no-untyped-def]
    """Σ_j (F(j) − 1{j ≥ y})² over whole numbers j ≥ 0, panel by panel.

    Panels of many numbers are integrals of the smooth function behind F.
    """
    n, total = _listed(bins, used, weight, parts), 0.0
    n_ends = _panels(y, bins, used, ends)
    first = 0.0
    for i in range(n_ends):
        last = max(np.floor(ends[i]), 0.0)
        if last <= first:
            continue
        above, many = (1.0 if first >= y else 0.0), last - first > _MOST_SUMMED
        half = 0.5 * (last - first)
        for g in range(_NODE.size if many else int(last - first)):
            t = first - 0.5 + half * (1.0 + _NODE[g]) if many else first + g
            call(predicted.distribution, t, n, weight, parts, found)
            share = found[0] - above
            total += (_WEIGHT[g] * half if many else 1.0) * share * share
        first = last
    return total


@jit(inner=False)
def _pit_crps(
    problem: np.ndarray,
    y: np.ndarray,
    chance: np.ndarray,
    log_weight: np.ndarray,
    parts: np.ndarray,
    pit: np.ndarray,
    crps: np.ndarray,
) -> None:
    """See `pit_crps`."""
    predicted = predicted_of(problem, header_of(problem))
    n_draws, k, n_part = parts.shape[0], parts.shape[1], predicted.n_part
    weight, some = np.empty(n_draws), np.empty((n_draws, n_part))
    bins, used = np.empty((k, _MOST_BINS * _MOST_BINS, 1 + n_part)), np.empty(k, dtype=np.int64)
    flat, every = np.empty(n_draws * k), np.empty((n_draws * k, n_part))
    ends, found = np.empty(1 + 2 * k * len(_ENDS)), np.empty(2)
    for row in range(y.size):
        top, total, below, away = -np.inf, 0.0, 0.0, 0.0
        for s in range(n_draws):
            for c in range(k):
                top = max(top, log_weight[s, row, c])
        for s in range(n_draws):
            for c in range(k):
                total += math.exp(log_weight[s, row, c] - top)
        for c in range(k):
            # For a literal, what takes it would be compiled once more.
            n = np.int64(0)
            for s in range(n_draws):
                one = math.exp(log_weight[s, row, c] - top) / total
                if one > LEAST_WEIGHT:
                    weight[n] = one
                    copy(parts[s, c, row], some[n])
                    if predicted.distance >= 0:
                        gap, scale = y[row] - some[n, 0], some[n, 1]
                        away += one * call(predicted.distance, gap, scale * scale)
                    n += 1
            call(predicted.distribution, y[row], n, weight, some, found)
            below += found[0]
            if predicted.whole:
                below -= chance[row] * found[1]
            used[c] = _gather(weight, some, n, bins[c]) if n > 0 else 0
        pit[row] = min(max(below, 0.0), 1.0)
        if predicted.distance >= 0:
            crps[row] = away - _half_apart(predicted, bins, used)
        elif predicted.whole:
            crps[row] = _sum(predicted, y[row], bins, used, flat, every, ends, found)
        else:
            crps[row] = _integral(predicted, y[row], bins, used, flat, every, ends, found)


def pit_crps(
    rows: Rows,
    log_weight: np.ndarray,
    parameters: Parameters,
    block: protocol.Block,
    beside: Sequence[protocol.Block] = (),
) -> tuple[np.ndarray, np.ndarray]:
    """Probability integral transform and continuous ranked probability score of each row.

    F(y) and ∫ (F − 1{t ≥ y})² dt = E|Y − y| − E|Y − Y'| / 2 (Gneiting and Raftery 2007,
    doi:10.1198/016214506000001437), for Y and Y' from the mixture of what draws and clusters
    predict. Where differences of the family have a closed form, all parts count one by one but in
    the last term, for which they are gathered into bins first; else the integral is taken of the
    gathered parts. Of whole numbers it is a sum, and the transform is randomised: uniform between
    F(y − 1) and F(y) (Czado, Gneiting and Held 2009, doi:10.1111/j.1541-0420.2009.01191.x), by the
    same random numbers for the same rows.

    Parameters
    ----------
    rows
        Of which the response and the predictors are read, and features where entries are missing.
    log_weight
        Of the parts, (draw, row, cluster), up to a constant for each row.
    parameters
        With one leading dim (draw,).
    block
        Of the response.
    beside
        Of the features: needed where levels are missing of which predictors are made.

    Returns
    -------
    pit, crps
        Each (row,), NaN where the response is missing; the score in the response's units.
    """
    found = np.full((2, len(rows.y)), np.nan)
    for part in by_pattern(rows, parameters, (*beside, block)):
        if rows.complete:
            return _of_pattern(part, log_weight)
        if part.blocks and part.blocks[-1].of_response:
            found[:, part.place] = _of_pattern(part, log_weight[:, part.place])
    return found[0], found[1]


def _of_pattern(part: Pattern, log_weight: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Of rows that miss the same; what a draw says of each completed row is as a draw by itself."""
    problem, parts = response_parts(part.rows, part.parameters, part.blocks[-1])
    y, n = np.ascontiguousarray(part.rows.y[:: part.alternatives]), part.alternatives
    if n > 1:
        levels = level_terms(part.blocks, part.rows, part.parameters, n)
        s, k, _, number = parts.shape
        levels = np.moveaxis(levels.reshape(s, len(y), n, k), 2, 1)
        log_weight = (log_weight[:, None] + levels).reshape(s * n, len(y), k)
        parts = np.moveaxis(parts.reshape(s, k, len(y), n, number), 3, 1)
        parts = np.ascontiguousarray(parts.reshape(s * n, k, len(y), number))
    pit, crps = np.empty(len(y)), np.empty(len(y))
    chance = np.random.default_rng(len(y)).random(len(y))
    _pit_crps(problem, y, chance, np.ascontiguousarray(log_weight), parts, pit, crps)
    return pit, crps
