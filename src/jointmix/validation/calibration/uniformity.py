"""Whether ranks are uniform: the largest deviation of their distribution function."""

from functools import cache

import numpy as np
from scipy.stats import binom, binomtest

#: Tables of uniform ranks from which the statistic's distribution is known.
_SIMULATIONS = 100_000
_BATCH = 10_000
_SEED = 2022


def deviation(ranks: np.ndarray, n_values: int) -> float:
    """The smallest pointwise two-sided tail probability of the ranks' distribution function.

    Under uniformity the number of ranks below each value is binomial (Säilynoja, Bürkner and
    Vehtari 2022, doi:10.1007/s11222-022-10090-6).

    Parameters
    ----------
    ranks
        Whole numbers from 0 to ``n_values`` − 1, (replicate,).
    n_values
        Number of values a rank can take.
    """
    counts = np.bincount(ranks, minlength=n_values)
    return float(_smallest(counts[None], len(ranks))[0])


def p_value(ranks: np.ndarray, n_values: int) -> float:
    """Probability that uniform ranks deviate as much, from 100,000 simulated tables.

    Parameters
    ----------
    ranks, n_values
        As for `deviation`.
    """
    null = _null(len(ranks), n_values)
    below = int(np.searchsorted(null, deviation(ranks, n_values) * (1 + 1e-9), side="right"))
    return (1 + below) / (1 + len(null))


def simultaneous_band(
    n: int, n_values: int, probability: float = 0.95
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Where the distribution function of n uniform ranks lies, everywhere at once.

    Returns
    -------
    at, lower, upper
        Points in (0, 1) and the bounds there, each (n_values − 1,).
    """
    gamma = float(np.quantile(_null(n, n_values), 1 - probability))
    at = np.arange(1, n_values) / n_values
    lower = binom.ppf(gamma / 2, n, at) / n
    upper = binom.ppf(1 - gamma / 2, n, at) / n
    return at, lower, upper


def distribution_function(ranks: np.ndarray, n_values: int) -> np.ndarray:
    """Share of ranks below 1, 2, …, ``n_values`` − 1, (n_values − 1,)."""
    return np.asarray(np.bincount(ranks, minlength=n_values).cumsum()[:-1] / len(ranks))


def coverage(ranks: np.ndarray, n_values: int, interval: float) -> tuple[float, float, float]:
    """How often the central interval of the draws holds the true value.

    Parameters
    ----------
    ranks, n_values
        As for `deviation`.
    interval
        Probability of the interval.

    Returns
    -------
    share, expected, p
        The share of replicates; what it is when ranks are uniform, which rounding to whole ranks
        makes differ from ``interval``; and the two-sided p-value of an exact binomial test.
    """
    tail = round(n_values * (1 - interval) / 2)
    inside = int(((ranks >= tail) & (ranks < n_values - tail)).sum())
    expected = 1 - 2 * tail / n_values
    return inside / len(ranks), expected, float(binomtest(inside, len(ranks), expected).pvalue)


def holm(p: np.ndarray) -> np.ndarray:
    """p-values adjusted for their number (Holm 1979, Scandinavian Journal of Statistics 6)."""
    order = np.argsort(p)
    stepped = np.maximum.accumulate(p[order] * np.arange(len(p), 0, -1))
    adjusted = np.empty(len(p))
    adjusted[order] = np.minimum(stepped, 1.0)
    return adjusted


def _smallest(counts: np.ndarray, n: int) -> np.ndarray:
    """The statistic of tables of counts (table, value), (table,)."""
    below = counts.cumsum(axis=1)[:, :-1]
    lower, upper = _tails(n, counts.shape[1])
    place = np.arange(below.shape[1])
    each = 2 * np.minimum(lower[place, below], upper[place, below])
    return np.asarray(np.minimum(each.min(axis=1), 1.0))


@cache
def _tails(n: int, n_values: int) -> tuple[np.ndarray, np.ndarray]:
    """P(B ≤ count) and P(B ≥ count) of the binomials, each (point, count)."""
    at = np.arange(1, n_values)[:, None] / n_values
    count = np.arange(n + 1)
    return binom.cdf(count, n, at), binom.sf(count - 1, n, at)


@cache
def _null(n: int, n_values: int) -> np.ndarray:
    """The statistic of simulated uniform ranks, sorted."""
    rng = np.random.default_rng(_SEED)
    uniform = np.full(n_values, 1 / n_values)
    parts = [
        _smallest(rng.multinomial(n, uniform, size=_BATCH), n)
        for _ in range(_SIMULATIONS // _BATCH)
    ]
    return np.sort(np.concatenate(parts))
