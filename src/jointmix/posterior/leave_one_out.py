"""What the other rows say of each row: posterior draws reweighted by Pareto-smoothed importance.

Vehtari, Gelman and Gabry (2017, doi:10.1007/s11222-016-9696-4). The weights are 1 / p(x_n, y_n | θ)
whatever is predicted: what is left out is the whole row, so that the response's conditional density
is that of the joint divided by that of the features. Of a row that stands for several equal ones,
one is left out; of one whose weight is no whole number, all of its weight w, by 1 / p(x_n, y_n |
θ)^w.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from jointmix.families.mixture import log_likelihood, log_terms
from jointmix.families.parameters import Parameters
from jointmix.families.rows import Rows
from jointmix.model.spec import ModelSpec
from jointmix.posterior.draws import row_batches
from jointmix.posterior.pareto import pareto_smoothed, tail_length

#: The fewest draws of which a tail consists.
_LEAST_TAIL = 5


@dataclass(frozen=True, eq=False)
class LeftOut:
    """Some rows, and the draws' weights without each of them.

    Attributes
    ----------
    place
        Where the rows stand.
    rows
        The rows.
    feature
        log π_k + log p(x | k), (draw, row, cluster).
    pointwise
        log p(x, y), (row, draw).
    weight
        Log weights of the draws, smoothed, up to a constant, (row, draw).
    shape
        Pareto k, (row,).
    """

    place: slice
    rows: Rows
    feature: np.ndarray
    pointwise: np.ndarray
    weight: np.ndarray
    shape: np.ndarray

    @property
    def density(self) -> tuple[np.ndarray, np.ndarray]:
        """log p(x, y | rest) and log p(x | rest), each (row,)."""
        total = log_likelihood(self.weight)
        joint = log_likelihood(self.weight + self.pointwise) - total
        feature = log_likelihood(self.weight + log_likelihood(self.feature).T) - total
        return joint, feature


def left_out(rows: Rows, parameters: Parameters, spec: ModelSpec) -> Iterator[LeftOut]:
    """Leave each row out, a few rows at a time; on one scale with the parameters."""
    for place, part in row_batches(rows, parameters):
        of_x, of_y = log_terms(spec.blocks, part, parameters)
        pointwise = log_likelihood(of_x + of_y).T
        weight, shape = smoothed(
            pointwise if rows.unit is None else pointwise * part.units[:, None]
        )
        yield LeftOut(place, part, of_x, pointwise, weight, shape)


def loo_densities(
    rows: Rows, parameters: Parameters, spec: ModelSpec
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Leave-one-out log densities of each row, log p(x, y | rest) and log p(x | rest).

    Their difference is log p(y | x, rest).

    Returns
    -------
    joint, feature, shape
        The two log densities and Pareto k, each (obs,).
    """
    joint, feature, shape = (np.empty(len(rows.y)) for _ in range(3))
    for part in left_out(rows, parameters, spec):
        joint[part.place], feature[part.place] = part.density
        shape[part.place] = part.shape
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
    tail = tail_length(pointwise.shape[1])
    largest = np.partition(weight, -tail, axis=1)[:, -tail:]
    varies = np.exp(largest - largest.max(axis=1, keepdims=True)).min(axis=1) < 1 - 1e-10
    if tail >= _LEAST_TAIL and varies.any():
        # Many equal draws beside a few others make the fit of the tail fail.
        found, k = pareto_smoothed(weight[varies])
        fitted = np.isfinite(k) & np.isfinite(found).all(axis=1)
        place = np.flatnonzero(varies)[fitted]
        weight[place], shape[place] = found[fitted], k[fitted]
    return weight, shape
