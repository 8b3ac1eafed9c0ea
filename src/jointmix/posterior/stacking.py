"""How much weight each group of chains deserves: stacking of predictive distributions."""

import numpy as np

from jointmix.families.parameters import Parameters
from jointmix.families.rows import Rows
from jointmix.model.settings import LARGEST_PARETO_SHAPE
from jointmix.model.spec import ModelSpec
from jointmix.posterior.draws import spread
from jointmix.posterior.leave_one_out import loo_densities

#: Draws and rows on which groups are weighed against each other, evenly spaced.
_MOST_DRAWS, _MOST_ROWS = 1_000, 5_000
_MOST_ROUNDS = 10_000


def stack(rows: Rows, groups: list[Parameters], spec: ModelSpec) -> tuple[np.ndarray, np.ndarray]:
    """Stacking weights of groups of draws, by leave-one-out predictive densities.

    Yao, Vehtari and Gelman (2022), JMLR 23(79): the weights w maximise Σ_n log Σ_g w_g p_g(x_n,
    y_n | all other rows), with Pareto-smoothed importance sampling for the latter; rows count as
    often as they weigh.

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
        value, _, shape = loo_densities(kept, draws.take(used.tolist()), spec)
        density.append(value)
        high = (shape > LARGEST_PARETO_SHAPE).astype(float)
        unreliable.append(np.average(high, weights=kept.weight))
    weight = stacking_weights(np.stack(density, axis=1), kept.weight)
    return weight, np.array(unreliable)


def stacking_weights(log_density: np.ndarray, counts: np.ndarray | None = None) -> np.ndarray:
    """The weights on the simplex that maximise Σ_n c_n log Σ_g w_g exp(ℓ_ng).

    A concave problem; the EM step for mixing proportions climbs to its maximum.

    Parameters
    ----------
    log_density
        ℓ, shape (obs, group).
    counts
        c, how often rows count, (obs,); None for once each.
    """
    density = np.exp(log_density - log_density.max(axis=1, keepdims=True))
    n_rows, n_groups = density.shape
    counts = np.ones(n_rows) if counts is None else counts
    counts, weight = counts / counts.sum(), np.full(n_groups, 1 / n_groups)
    for _ in range(_MOST_ROUNDS):
        better = weight * ((counts / (density @ weight)) @ density)
        if np.abs(better - weight).max() < 1e-9:
            break
        weight = better
    return weight
