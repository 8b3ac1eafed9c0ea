"""How much weight each group of chains deserves: stacking of predictive distributions."""

import numpy as np
from arviz_stats.base import array_stats

from jointmix.density import Parameters, log_likelihood
from jointmix.rows import Rows, spread
from jointmix.spec import LARGEST_PARETO_SHAPE

#: Draws and rows on which groups are weighed against each other, evenly spaced.
_MOST_DRAWS, _MOST_ROWS = 1_000, 5_000
_BATCH_NUMBERS = 2_000_000
_MOST_ROUNDS = 10_000
_LEAST_TAIL = 5


def stack(rows: Rows, groups: list[Parameters]) -> tuple[np.ndarray, np.ndarray]:
    """Stacking weights of groups of draws, by leave-one-out predictive densities.

    Yao, Vehtari and Gelman (2022), JMLR 23(79): the weights w maximise Σ_n log Σ_g w_g p_g(x_n,
    y_n | all other rows), with Pareto-smoothed importance sampling for the latter.

    Parameters
    ----------
    rows
        All rows; at most 5,000 evenly spaced ones are used.
    groups
        Draws (draw,) of each group, on the scale of the rows; at most 1,000 of each are used.

    Returns
    -------
    weight, shape
        Weight of each group, (group,), and the share of rows whose Pareto k exceeds 0.7, (group,).
    """
    place = spread(len(rows.y), _MOST_ROWS)
    kept = rows.take(place)
    density, unreliable = [], []
    for draws in groups:
        used = spread(len(draws.weight), _MOST_DRAWS)
        value, _, shape = loo_densities(kept, draws.take(used.tolist()))
        density.append(value)
        unreliable.append((shape > LARGEST_PARETO_SHAPE).mean())
    return stacking_weights(np.stack(density, axis=1)), np.array(unreliable)


def loo_densities(rows: Rows, parameters: Parameters) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Leave-one-out log densities of each row, log p(x, y | rest) and log p(x | rest).

    Both by the weights 1 / p(x_n, y_n | θ), Pareto-smoothed: what is left out is the whole row.
    Their difference is log p(y_n | x_n, rest).

    Returns
    -------
    joint, feature, shape
        The two log densities and Pareto k, each (obs,).
    """
    n_draws, k = parameters.weight.shape
    size = max(1, _BATCH_NUMBERS // (n_draws * k))
    joint, feature, shape = (np.empty(len(rows.y)) for _ in range(3))
    for first in range(0, len(rows.y), size):
        part = slice(first, first + size)
        of_x, of_y = rows.take(part).log_density(parameters)
        pointwise = log_likelihood(of_x + of_y).T
        weight, shape[part] = smoothed(pointwise)
        total = log_likelihood(weight)
        joint[part] = log_likelihood(weight + pointwise) - total
        feature[part] = log_likelihood(weight + log_likelihood(of_x).T) - total
    return joint, feature, shape


def smoothed(pointwise: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Pareto-smoothed log weights of leaving each row out (obs, draw), and Pareto k (obs,).

    Where the largest weights are all equal, as when a chain stood still, where fewer than five
    make up the tail, or where no Pareto distribution fits it, the weights are left as they are, and
    k is infinite.

    Parameters
    ----------
    pointwise
        Log densities of each row in each draw, (obs, draw).
    """
    weight, shape = -pointwise, np.full(len(pointwise), np.inf)
    tail = int(np.ceil(min(0.2 * pointwise.shape[1], 3 * np.sqrt(pointwise.shape[1]))))
    largest = np.partition(weight, -tail, axis=1)[:, -tail:]
    varies = np.exp(largest - largest.max(axis=1, keepdims=True)).min(axis=1) < 1 - 1e-10
    if tail >= _LEAST_TAIL and varies.any():
        # Many equal draws beside a few others make the fit of the tail fail without a word.
        with np.errstate(invalid="ignore", divide="ignore"):
            found, k = array_stats.psislw(pointwise[varies], axis=-1)
        fitted = np.isfinite(k) & np.isfinite(found).all(axis=1)
        place = np.flatnonzero(varies)[fitted]
        weight[place], shape[place] = found[fitted], k[fitted]
    return weight, shape


def stacking_weights(log_density: np.ndarray) -> np.ndarray:
    """The weights on the simplex that maximise Σ_n log Σ_g w_g exp(ℓ_ng).

    A concave problem; the EM step for mixing proportions climbs to its maximum.

    Parameters
    ----------
    log_density
        ℓ, shape (obs, group).
    """
    density = np.exp(log_density - log_density.max(axis=1, keepdims=True))
    n_groups = density.shape[1]
    weight = np.full(n_groups, 1 / n_groups)
    for _ in range(_MOST_ROUNDS):
        share = weight * density
        better = (share / share.sum(axis=1, keepdims=True)).mean(axis=0)
        if np.abs(better - weight).max() < 1e-9:
            break
        weight = better
    return weight
