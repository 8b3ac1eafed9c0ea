"""Pareto smoothing of the importance weights of many rows at once.

The method is that of Vehtari, Simpson, Gelman, Yao and Gabry (2024, arXiv:1507.02646) as ArviZ's
`psislw` has it, which takes one row at a time and four times as long; the generalised Pareto
distribution is fitted as Zhang and Stephens (2009, doi:10.1198/tech.2009.08017) do.
"""

import numpy as np

from jointmix.base.threads import on_cores

#: Numbers (row × point of the fit's grid × draw of the tail) worked on at a time: 2 MB an array.
_NUMBERS = 250_000
#: The prior of the shape: worth so many draws of the tail, at this value.
_PRIOR_DRAWS, _PRIOR_SHAPE = 10, 0.5
_NEGLIGIBLE = 10 * np.finfo(float).eps


def tail_length(n_draws: int) -> int:
    """How many of the largest weights are smoothed."""
    return int(3 * np.sqrt(n_draws)) if n_draws > 225 else n_draws // 5


def pareto_smoothed(log_weight: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Log weights whose largest are replaced by quantiles of a Pareto distribution.

    Parameters
    ----------
    log_weight
        Up to a constant of each row, (row, draw); the tail of no row is of equal weights.

    Returns
    -------
    log_weight, shape
        Normalised, (row, draw), and Pareto k, (row,); NaN in both where none could be fitted.
    """
    n_rows, n_draws = log_weight.shape
    found, shape = np.empty(log_weight.shape), np.empty(n_rows)
    tail = tail_length(n_draws)
    size = max(1, _NUMBERS // (_grid_size(tail) * tail))

    def smooth(first: int) -> None:
        part = slice(first, first + size)
        found[part], shape[part] = _smoothed(log_weight[part], tail)

    on_cores(smooth, range(0, n_rows, size))
    return found, shape


def _smoothed(log_weight: np.ndarray, tail: int) -> tuple[np.ndarray, np.ndarray]:
    with np.errstate(all="ignore"):
        found = log_weight - log_weight.max(axis=1, keepdims=True)
        # The largest of those below the tail, and the tail, in ascending order.
        place = np.argpartition(found, -tail - 1, axis=1)[:, -tail - 1 :]
        values = np.take_along_axis(found, place, axis=1)
        order = np.argsort(values, axis=1)
        place = np.take_along_axis(place, order, axis=1)[:, 1:]
        largest = np.exp(np.take_along_axis(values, order, axis=1))
        cutoff = largest[:, :1]
        shape, scale = _fitted(largest[:, 1:] - cutoff)
        below = np.log1p(-(np.arange(tail) + 0.5) / tail)
        k = shape[:, None]
        stretched = np.where(k == 0, -below, np.expm1(-k * below) / k)
        quantile = np.log(cutoff + np.where(scale > 0, scale, np.nan)[:, None] * stretched)
        np.put_along_axis(found, place, np.minimum(quantile, 0.0), axis=1)
        # None is above 0.
        found -= np.log(np.exp(found).sum(axis=1, keepdims=True))
    shape[np.isnan(found).any(axis=1)] = np.nan
    return found, shape


def _grid_size(tail: int) -> int:
    return 30 + int(np.sqrt(tail))


def _fitted(excess: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Shapes and scales (row,) of Pareto distributions of excesses (row, draw), ascending."""
    n = excess.shape[1]
    m = _grid_size(n)
    quartile = excess[:, int(n / 4 + 0.5 - 1)]
    # Where it is no more than the least, nothing like a Pareto distribution is there.
    quartile = np.where(quartile > excess[:, 0], quartile, np.nan)
    grid = (1 - np.sqrt(m / (np.arange(1, m + 1) - 0.5))) / (3 * quartile[:, None])
    grid += 1 / excess[:, -1:]
    terms = -grid[:, :, None] * excess[:, None, :]
    shape = np.log1p(terms, out=terms).mean(axis=2)
    height = n * (np.log(-grid / shape) - shape - 1)
    weight = np.exp(height - height.max(axis=1, keepdims=True))
    weight /= weight.sum(axis=1, keepdims=True)
    weight[weight < _NEGLIGIBLE] = 0.0
    weight /= weight.sum(axis=1, keepdims=True)
    at = (grid * weight).sum(axis=1)
    mean = np.log1p(-at[:, None] * excess).mean(axis=1)
    return (n * mean + _PRIOR_DRAWS * _PRIOR_SHAPE) / (n + _PRIOR_DRAWS), -mean / at
