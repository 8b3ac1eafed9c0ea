"""Bhattacharyya's coefficient of two negative binomial distributions: a sum over counts."""

import numpy as np

from jointmix.families.spread_counts import log_mass

#: Counts that are summed one by one, and nodes of the integral over larger ones.
_FIRST, _NODES = 256, 200
#: What of either distribution may lie beyond the range that is summed.
_LEFT_OUT = 1e-18


def overlap(
    rate: np.ndarray, size: np.ndarray, other_rate: np.ndarray, other_size: np.ndarray
) -> np.ndarray:
    """Σ_n √(p(n) q(n)) of means and sizes (...).

    From 256 counts on, where both are smooth, the sum is the integral from half a count below, by
    Gauss and Legendre's rule in log n over the range in which both have mass.
    """
    # Slow to load, and every family is loaded where a specification is read.
    from scipy.stats import nbinom

    given = np.broadcast_arrays(rate, size, other_rate, other_size)
    m, s, m_other, s_other = (each[..., None] for each in given)

    def root(n: np.ndarray) -> np.ndarray:
        both = log_mass(n, np.log(m), s) + log_mass(n, np.log(m_other), s_other)
        return np.asarray(np.exp(0.5 * both))

    found = root(np.arange(float(_FIRST))).sum(-1)
    ends = np.array(
        [
            (nbinom.ppf(_LEFT_OUT, s, p), nbinom.isf(_LEFT_OUT, s, p))
            for s, p in ((s, s / (s + m)), (s_other, s_other / (s_other + m_other)))
        ]
    )
    low = np.maximum(ends[:, 0].max(0), float(_FIRST)) - 0.5
    high = np.maximum(ends[:, 1].min(0) + 0.5, low)
    node, weight = np.polynomial.legendre.leggauss(_NODES)
    length = 0.5 * np.log(high / low)
    n = low * np.exp(length * (1 + node))
    return np.asarray(np.minimum(found + (root(n) * n * weight * length).sum(-1), 1.0))
