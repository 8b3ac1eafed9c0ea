"""Effective sample sizes and R-hats of many quantities at once.

The estimators are those of Vehtari, Gelman, Simpson, Carpenter and Bürkner (2021),
doi:10.1214/20-BA1221, as ArviZ has them for one quantity at a time.
"""

from collections.abc import Callable
from functools import partial
from typing import Literal

import numpy as np
from scipy.fft import irfft, next_fast_len, rfft
from scipy.special import ndtri
from scipy.stats import rankdata

Method = Literal["bulk", "tail", "mean"]

#: Numbers that are worked on at a time.
_NUMBERS = 1_000_000
#: Draws of a chain, below which nothing is said.
_LEAST_DRAWS = 4


def effective_sizes(
    draws: np.ndarray, method: Method = "bulk", prob: float | None = None
) -> np.ndarray:
    """Independent draws that those of Markov chains are worth.

    Parameters
    ----------
    draws
        (…, chain, draw).
    method
        Of ranks, "bulk"; of the two quantiles that leave 1 − ``prob`` on one side, "tail", of which
        the smaller counts; or for the mean.
    prob
        For "tail"; by default ArviZ's setting ``stats.ci_prob``.

    Returns
    -------
    numpy.ndarray
        (…); NaN for a quantity with an entry that is NaN, and of fewer than four draws a chain.

    Examples
    --------
    >>> import numpy as np
    >>> from jointmix.base.chains import effective_sizes
    >>> draws = np.random.default_rng(1).normal(size=(3, 4, 500))
    >>> (effective_sizes(draws) > 1_500).tolist()
    [True, True, True]
    """
    if method == "bulk":
        return _in_blocks(_bulk, draws, 1)
    if method == "mean":
        return _in_blocks(_of_mean, draws, 1)
    if prob is None:
        from arviz_base import rcParams

        prob = float(rcParams["stats.ci_prob"])
    return _in_blocks(partial(_tail, prob=prob), draws, 1)


def r_hats(draws: np.ndarray) -> np.ndarray:
    """Rank-normalised split R-hats, of locations or of spreads, whichever is larger.

    Parameters
    ----------
    draws
        (…, chain, draw).

    Returns
    -------
    numpy.ndarray
        (…); NaN where `effective_sizes` is, for one chain, and for a quantity that is constant.
    """
    return _in_blocks(_ranked, draws, 2)


def _in_blocks(
    work: Callable[[np.ndarray], np.ndarray], draws: np.ndarray, least_chains: int
) -> np.ndarray:
    """What ``work`` makes of (quantity, chain, draw), a few at a time."""
    *shape, n_chains, n_draws = draws.shape
    flat = np.asarray(draws, dtype=float).reshape(-1, n_chains, n_draws)
    found = np.full(len(flat), np.nan)
    if n_draws < _LEAST_DRAWS or n_chains < least_chains:
        return found.reshape(shape)
    usable = np.flatnonzero(~np.isnan(flat).any(axis=(1, 2)))
    size = max(1, _NUMBERS // (n_chains * n_draws))
    # Chains that stand still have no variance to divide by.
    with np.errstate(invalid="ignore", divide="ignore"):
        for first in range(0, len(usable), size):
            block = usable[first : first + size]
            found[block] = work(flat[block])
    return found.reshape(shape)


def _bulk(draws: np.ndarray) -> np.ndarray:
    return _geyer(_normal_scores(_halves(draws)))


def _of_mean(draws: np.ndarray) -> np.ndarray:
    # By a power of two, which changes no digit: squares of the largest numbers end beyond float64.
    exponent = np.frexp(abs(draws).max(axis=(1, 2), keepdims=True))[1]
    return _geyer(_halves(np.ldexp(draws, -np.maximum(exponent, 0))))


def _tail(draws: np.ndarray, prob: float) -> np.ndarray:
    ends = np.quantile(draws, (prob, 1 - prob), axis=(1, 2))
    sizes = [_geyer(_halves((draws <= end[:, None, None]).astype(float))) for end in ends]
    return np.asarray(np.minimum(*sizes))


def _ranked(draws: np.ndarray) -> np.ndarray:
    halves = _halves(draws)
    location = _r_hat(_normal_scores(halves))
    spread = _r_hat(_normal_scores(abs(halves - np.median(halves, axis=(1, 2), keepdims=True))))
    return np.where(spread > location, spread, location)


def _halves(draws: np.ndarray) -> np.ndarray:
    """Each chain as two, (quantity, 2 chain, draw)."""
    half = draws.shape[-1] // 2
    return np.concatenate([draws[..., :half], draws[..., -half:]], axis=1)


def _normal_scores(draws: np.ndarray) -> np.ndarray:
    """Normal quantiles of ranks among all draws of a quantity, with Blom's offset."""
    flat = draws.reshape(len(draws), -1)
    scores = ndtri((rankdata(flat, axis=-1) - 0.375) / (flat.shape[-1] + 0.25))
    return np.asarray(scores).reshape(draws.shape)


def _r_hat(draws: np.ndarray) -> np.ndarray:
    n = draws.shape[-1]
    between = n * draws.mean(axis=-1).var(axis=-1, ddof=1)
    within = draws.var(axis=-1, ddof=1).mean(axis=-1)
    return np.asarray(np.sqrt((between / within + n - 1) / n))


def _geyer(draws: np.ndarray) -> np.ndarray:
    """Effective draws by Geyer's initial monotone sequence (1992, doi:10.1214/ss/1177011137)."""
    n_chains, n = draws.shape[1:]
    total = n_chains * n
    covariance = _autocovariances(draws)
    within = covariance[:, :1] * n / (n - 1)
    variance = covariance[:, :1].copy()
    if n_chains > 1:
        variance += draws.mean(axis=-1).var(axis=-1, ddof=1)[:, None]
    rho = 1 - (within - covariance) / variance
    rho[:, 0] = 1.0
    lags = 2 * np.arange(n // 2)
    pairs = rho[:, lags] + rho[:, lags + 1]
    # The sequence ends at the first pair that is not positive, or where lags end.
    last = (~(pairs > 0) | (lags + 1 >= n - 3)).argmax(axis=1)
    each = np.arange(len(draws))
    even = rho[each, lags[last]]
    even = np.where((pairs[each, last] >= 0) | (even > 0), even, 0.0)
    kept = np.arange(len(lags)) < last[:, None]
    decreasing = np.minimum.accumulate(pairs, axis=1)
    time = 2 * np.where(kept, decreasing, 0.0).sum(axis=1) + even - 1
    size = total / np.maximum(time, 1 / np.log10(total))
    size[np.isnan(rho[:, 1])] = np.nan
    constant = np.ptp(draws, axis=(1, 2)) < np.finfo(float).resolution
    return np.where(constant, float(total), size)


def _autocovariances(draws: np.ndarray) -> np.ndarray:
    """Means over chains of autocovariances within them, (quantity, lag)."""
    n = draws.shape[-1]
    size = next_fast_len(2 * n, real=True)
    found = rfft(draws - draws.mean(axis=-1, keepdims=True), size)
    power = (found.real**2 + found.imag**2).mean(axis=1)
    return np.asarray(irfft(power, size)[:, :n] / n)
