"""How well the rows determine a mode's location parameters, not knowing who belongs where."""

from functools import reduce

import numpy as np

from jointmix.families.mixture import component_log_density, responsibility
from jointmix.families.parameters import Parameters
from jointmix.families.rows import Rows
from jointmix.model.location import coordinates
from jointmix.model.spec import ModelSpec
from jointmix.modes.expected import expected_scores

#: Rows that are used, evenly spaced, of large tables; and rows worked on at a time.
_MOST_ROWS, _BATCH_ROWS = 20_000, 2_000


def location_errors(rows: Rows, parameters: Parameters, spec: ModelSpec) -> np.ndarray:
    """Covariance of all clusters' ξ at a mode, (cluster, location, cluster, location).

    The inverse of the information Σ_n w_n s_n s_n' + prior, with w_n row n's weight and s_n the
    score of its mixture density in all parameters (Meilijson 1989,
    doi:10.1111/j.2517-6161.1989.tb01751.x): rows that could belong to either of two clusters inform
    about neither, which the covariance given the allocation would not show.

    Parameters
    ----------
    rows, parameters
        On the model's scale; parameters without a batch dim.
    """
    n = len(rows.y)
    place = np.unique(np.linspace(0, n - 1, min(n, _MOST_ROWS)).astype(int))
    parts = (place[first : first + _BATCH_ROWS] for first in range(0, len(place), _BATCH_ROWS))
    taken = (rows.take(part) for part in parts)
    scores = ((some, _scores(some, parameters, spec)) for some in taken)
    information = reduce(np.add, (score.T @ some.weighted(score) for some, score in scores))
    # In units of the priors' scales, or of logarithms, each prior weighs about one.
    total = information * (rows.total / rows.take(place).total) + np.eye(len(information))
    k, p = spec.n_clusters, len(coordinates(spec))
    inverse = np.linalg.inv(total)[: k * p, : k * p]
    return np.asarray(inverse.reshape(k, p, k, p))


def _scores(rows: Rows, parameters: Parameters, spec: ModelSpec) -> np.ndarray:
    """Scores (obs, parameter): of ξ, cluster by cluster, then of weights and scales."""
    share = responsibility(component_log_density(spec.blocks, rows, parameters))
    n, k = share.shape
    location, rest = [np.zeros((n, k, 0))], []
    for block in spec.blocks:
        scores = expected_scores(block, rows, parameters, share, spec)
        free = (item.name for item in block.parameters if item.role == "location" and item.free)
        location += [scores.location[name] for name in free]
        rest.append(scores.rest)
    scale = np.array([item.prior.scale for item in coordinates(spec)])
    scaled = np.concatenate(location, axis=-1) * scale
    return np.concatenate([scaled.reshape(n, -1), share - parameters.weight, *rest], axis=1)
