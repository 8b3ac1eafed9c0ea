"""The predictive distribution of y given x, row by row: a mixture over draws and clusters."""

import math

import numpy as np
from scipy.special import ndtri

from jointmix.families.matrices import inverse_lower
from jointmix.families.parameters import Parameters
from jointmix.kernel.jit import jit

_LOG_2PI = float(np.log(2 * np.pi))
_SQRT_HALF = float(np.sqrt(0.5))
_NORMAL = float(1 / np.sqrt(2 * np.pi))
#: Parts with less weight are left out of the distribution function: 4,000 of them are 4e-12.
_LEAST_WEIGHT = 1e-15
#: Distance, in standard deviations, from which a normal distribution function is 0 or 1.
_FAR = 9.0
_MOST_STEPS = 200
#: A step of Newton's method, in standard deviations, that is the last.
_CONVERGED = 1e-7


@jit()
def distribution(
    at: float, weight: np.ndarray, center: np.ndarray, sd: np.ndarray, n: int
) -> tuple[float, float]:
    """The distribution function and the density of n normal parts."""
    below, height = 0.0, 0.0
    for i in range(n):
        z = (at - center[i]) / sd[i]
        if z > _FAR:
            below += weight[i]
        elif z > -_FAR:
            below += weight[i] * 0.5 * math.erfc(-z * _SQRT_HALF)
            height += weight[i] / sd[i] * math.exp(-0.5 * z * z)
    return below, height * _NORMAL


@jit()
def _quantile(
    target: float,
    normal: float,
    mean: float,
    spread: float,
    weight: np.ndarray,
    center: np.ndarray,
    sd: np.ndarray,
    n: int,
) -> float:
    """Newton's method on the distribution function, inside a bracket that it shrinks."""
    # Chebyshev's one-sided inequality bounds a quantile by the mean and the sd.
    reach = 1.01 * math.sqrt(max(target / (1 - target), (1 - target) / target)) * spread
    low, high = mean - reach, mean + reach
    at = mean + normal * spread
    for _ in range(_MOST_STEPS):
        below, height = distribution(at, weight, center, sd, n)
        if below < target:
            low = at
        else:
            high = at
        newton = at + (target - below) / max(height, 1e-300)
        if low < newton < high:
            moved, at = abs(newton - at), newton
            # The next step would be of the order of this one's square.
            if moved <= _CONVERGED * spread:
                break
        else:
            at = 0.5 * (low + high)
            if high - low <= 1e-12 * spread:
                break
    return at


@jit()
def _of_draw(
    x: np.ndarray,
    u: np.ndarray,
    log_weight: np.ndarray,
    mean: np.ndarray,
    whiten: np.ndarray,
    intercept: np.ndarray,
    slope: np.ndarray,
    share: np.ndarray,
    line: np.ndarray,
) -> float:
    """log p(x) in one draw; p(k | x) and b_k + u'θ_k are written to ``share`` and ``line``."""
    top = -np.inf
    for c in range(log_weight.size):
        square = 0.0
        for i in range(x.size):
            white = 0.0
            for j in range(i + 1):
                white += whiten[c, i, j] * (x[j] - mean[c, j])
            square += white * white
        share[c] = log_weight[c] - 0.5 * square
        top = max(top, share[c])
        line[c] = intercept[c]
        for j in range(u.size):
            line[c] += slope[c, j] * u[j]
    one = 0.0
    for c in range(log_weight.size):
        share[c] = math.exp(share[c] - top)
        one += share[c]
    for c in range(log_weight.size):
        share[c] /= one
    return top + math.log(one)


@jit(inner=False)
def _predict(
    x: np.ndarray,
    u: np.ndarray,
    log_weight: np.ndarray,
    mean: np.ndarray,
    whiten: np.ndarray,
    intercept: np.ndarray,
    slope: np.ndarray,
    sigma: np.ndarray,
    probability: np.ndarray,
    normal: np.ndarray,
    total: np.ndarray,
    share: np.ndarray,
    quantile: np.ndarray,
) -> None:
    """See `predictive`."""
    n_draws, k = log_weight.shape
    weight, center, sd = np.empty(n_draws * k), np.empty(n_draws * k), np.empty(n_draws * k)
    p, line, sums, work = np.empty(k), np.empty(k), np.empty((k, 3)), np.empty(6)
    for row in range(x.shape[0]):
        used, origin, largest, density = 0, 0.0, -np.inf, 0.0
        sums[:], work[:] = 0.0, 0.0
        for s in range(n_draws):
            value = _of_draw(
                x[row], u[row], log_weight[s], mean[s], whiten[s], intercept[s], slope[s], p, line
            )
            if value > largest:
                density = density * math.exp(largest - value) + 1.0
                largest = value
            else:
                density += math.exp(value - largest)
            here = 0.0
            for c in range(k):
                here += p[c] * line[c]
            if s == 0:
                # Sums are taken about the first draw's mean, so that offsets cost no digits.
                origin = here
            for c in range(k):
                variance, gap = sigma[s, c] ** 2, line[c] - origin
                work[0] += p[c] * variance
                work[1] += p[c] * (line[c] - here) ** 2
                sums[c, 0] += p[c]
                sums[c, 1] += p[c] * gap
                sums[c, 2] += p[c] * (variance + gap * gap)
                if p[c] > _LEAST_WEIGHT:
                    weight[used], center[used], sd[used] = p[c] / n_draws, line[c], sigma[s, c]
                    used += 1
            work[2] += here - origin
            work[3] += (here - origin) ** 2
        work /= n_draws
        total[row, 0] = origin + work[2]
        total[row, 1], total[row, 2] = work[0], work[1]
        total[row, 3] = max(work[3] - work[2] ** 2, 0.0)
        total[row, 4] = largest + math.log(density / n_draws)
        for c in range(k):
            at = sums[c, 1] / max(sums[c, 0], 1e-300)
            spread = sums[c, 2] / max(sums[c, 0], 1e-300) - at * at
            share[row, c, 0] = sums[c, 0] / n_draws
            share[row, c, 1], share[row, c, 2] = origin + at, max(spread, 0.0)
        spread = math.sqrt(total[row, 1] + total[row, 2] + total[row, 3])
        for q in range(probability.size):
            quantile[row, q] = _quantile(
                probability[q], normal[q], total[row, 0], spread, weight, center, sd, used
            )


@jit(inner=False)
def density_at(
    at: np.ndarray,
    share: np.ndarray,
    center: np.ndarray,
    sigma: np.ndarray,
    found: np.ndarray,
) -> None:
    """The mean over draws of p(y | x) at points.

    Parameters
    ----------
    at
        (point,).
    share
        p(k | x), (draw, cluster, row).
    center
        b_k + u'θ_k, (draw, row, cluster).
    sigma
        (draw, cluster).
    found
        Written to, (row, point), per unit of the response.
    """
    n_draws, k = sigma.shape
    found[:] = 0.0
    for row in range(found.shape[0]):
        for s in range(n_draws):
            for c in range(k):
                weight = share[s, c, row]
                if weight > _LEAST_WEIGHT:
                    height = weight * _NORMAL / (sigma[s, c] * n_draws)
                    for i in range(at.size):
                        z = (at[i] - center[s, row, c]) / sigma[s, c]
                        if abs(z) < _FAR:
                            found[row, i] += height * math.exp(-0.5 * z * z)


def predictive(
    x: np.ndarray, u: np.ndarray, parameters: Parameters, probability: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Moments, clusters and quantiles of p(y | x), averaged over draws.

    Parameters
    ----------
    x, u
        Features (obs, feature) and predictors (obs, predictor).
    parameters
        With one leading dim (draw,).
    probability
        Of the quantiles, (quantile,), each in (0, 1).

    Returns
    -------
    total
        (obs, 5): mean, the variance within and between clusters and of the parameters, and
        the log of the posterior mean of p(x).
    share
        (obs, cluster, 3): p(k | x), and mean and variance of y from that cluster.
    quantile
        (obs, quantile), of the distribution function itself.
    """
    n_draws, k = parameters.weight.shape
    constant = np.log(parameters.weight)
    mean, whiten = np.zeros((n_draws, k, 0)), np.zeros((n_draws, k, 0, 0))
    if "mean" in parameters:
        mean, whiten = parameters.mean, inverse_lower(parameters.cholesky)
        diagonal = np.diagonal(whiten, axis1=-2, axis2=-1)
        constant = constant + np.log(diagonal).sum(-1) - 0.5 * mean.shape[-1] * _LOG_2PI
    arrays = (x, u, constant, mean, whiten, parameters.intercept, parameters.slope)
    total, share = np.empty((len(x), 5)), np.empty((len(x), k, 3))
    quantile = np.empty((len(x), len(probability)))
    _predict(
        *(np.ascontiguousarray(array, dtype=float) for array in arrays),
        np.ascontiguousarray(parameters.sigma, dtype=float),
        np.ascontiguousarray(probability, dtype=float),
        ndtri(np.asarray(probability, dtype=float)),
        total,
        share,
        quantile,
    )
    return total, share, quantile
