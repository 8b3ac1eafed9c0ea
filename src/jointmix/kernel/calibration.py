"""How well mixtures of normals predicted what came: PIT and CRPS, row by row."""

import math

import numpy as np

from jointmix.kernel.jit import jit
from jointmix.kernel.predictive import distribution

_LEAST_WEIGHT = 1e-15
_SQRT_2, _SQRT_2PI = float(np.sqrt(2.0)), float(np.sqrt(2 * np.pi))
#: Width of the bins into which parts are gathered, in standard deviations and in logs of them.
_WIDTH = 0.1
_MOST_BINS = 48


@jit()
def _mean_distance(gap: float, variance: float) -> float:
    """E|Z| of Z ~ N(gap, variance)."""
    if variance <= 0.0:
        return abs(gap)
    sd = math.sqrt(variance)
    z = gap / sd
    return gap * math.erf(z / _SQRT_2) + 2.0 * sd * math.exp(-0.5 * z * z) / _SQRT_2PI


@jit()
def _gather(
    weight: np.ndarray, center: np.ndarray, sd: np.ndarray, n: int, bins: np.ndarray
) -> int:
    """Gather n parts of one cluster into bins (part, 3): weight, mean and variance.

    Parts that differ by less than a tenth of an sd in place and in scale become one with their
    mean and variance. Returns the number of bins used.
    """
    low, high = center[0], center[0]
    narrow, wide = sd[0], sd[0]
    for i in range(n):
        low, high = min(low, center[i]), max(high, center[i])
        narrow, wide = min(narrow, sd[i]), max(wide, sd[i])
    step = max(_WIDTH * narrow, (high - low) / (_MOST_BINS - 1))
    scale = max(_WIDTH, math.log(wide / narrow) / (_MOST_BINS - 1))
    across = int((high - low) / step) + 1
    down = int(math.log(wide / narrow) / scale) + 1
    for b in range(across * down):
        bins[b, 0] = bins[b, 1] = bins[b, 2] = 0.0
    for i in range(n):
        row = min(int(math.log(sd[i] / narrow) / scale), down - 1)
        b = row * across + min(int((center[i] - low) / step), across - 1)
        gap = center[i] - low
        bins[b, 0] += weight[i]
        bins[b, 1] += weight[i] * gap
        bins[b, 2] += weight[i] * (sd[i] * sd[i] + gap * gap)
    used = 0
    for b in range(across * down):
        one = bins[b, 0]
        if one > 0.0:
            gap = bins[b, 1] / one
            variance = bins[b, 2] / one - gap * gap
            bins[used, 0], bins[used, 1], bins[used, 2] = one, low + gap, variance
            used += 1
    return used


@jit(inner=False)
def calibration(
    y: np.ndarray,
    log_weight: np.ndarray,
    center: np.ndarray,
    sigma: np.ndarray,
    pit: np.ndarray,
    crps: np.ndarray,
) -> None:
    """Probability integral transform and continuous ranked probability score of each row.

    F(y) and E|Y − y| − E|Y − Y'| / 2 (Gneiting and Raftery 2007, doi:10.1198/016214506000001437),
    for Y and Y' from a mixture of normals. All parts count one by one, but in the last term, for
    which they are gathered into bins first.

    Parameters
    ----------
    y
        (row,).
    log_weight, center
        Of the parts, (draw, row, cluster); weights up to a constant for each row.
    sigma
        Their standard deviations, (draw, cluster).
    pit, crps
        Written to, (row,); the score in the response's units.
    """
    n_draws, k = sigma.shape
    weight, at, sd = np.empty(n_draws), np.empty(n_draws), np.empty(n_draws)
    bins = np.empty((k, _MOST_BINS * _MOST_BINS, 3))
    used = np.empty(k, dtype=np.int64)
    for row in range(y.size):
        top, total = -np.inf, 0.0
        for s in range(n_draws):
            for c in range(k):
                top = max(top, log_weight[s, row, c])
        for s in range(n_draws):
            for c in range(k):
                total += math.exp(log_weight[s, row, c] - top)
        below, away, apart = 0.0, 0.0, 0.0
        for c in range(k):
            n = 0
            for s in range(n_draws):
                one = math.exp(log_weight[s, row, c] - top) / total
                if one > _LEAST_WEIGHT:
                    weight[n], at[n], sd[n] = one, center[s, row, c], sigma[s, c]
                    away += one * _mean_distance(y[row] - at[n], sd[n] * sd[n])
                    n += 1
            share, _ = distribution(y[row], weight, at, sd, n)
            below += share
            used[c] = _gather(weight, at, sd, n, bins[c]) if n > 0 else 0
            for i in range(used[c]):
                w, m, v = bins[c, i, 0], bins[c, i, 1], bins[c, i, 2]
                for d in range(c + 1):
                    for j in range(used[d] if d < c else i + 1):
                        both = w * bins[d, j, 0]
                        if d < c or j < i:
                            both *= 2.0
                        apart += both * _mean_distance(m - bins[d, j, 1], v + bins[d, j, 2])
        pit[row] = min(below, 1.0)
        crps[row] = away - 0.5 * apart
