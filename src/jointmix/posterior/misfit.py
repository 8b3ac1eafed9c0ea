"""Do rows depart from the model within clusters? Smooth tests of residuals.

Within a cluster, the model makes residuals independent standard normal numbers. Each test is a
mean, weighted by responsibilities, of products of orthogonal polynomials (Neyman 1937,
doi:10.1080/03461238.1937.10404821) of the residuals' chances and of the ranks of what they are
conditioned on; under the model it is zero whatever the overlap of clusters. Squares of standardised
means are summed over clusters and held against χ², and averaged over draws: posterior predictive
p-values (Meng 1994, doi:10.1214/aos/1176325622), which err on the side of no alarm.
"""

from dataclasses import dataclass
from functools import partial
from itertools import combinations
from typing import Literal

import numpy as np
import xarray as xr
from numpy.polynomial.legendre import legvander
from scipy.special import chdtrc, ndtr
from threadpoolctl import threadpool_limits

from jointmix.base.threads import on_cores
from jointmix.families.completing import whitened
from jointmix.families.feature import Feature
from jointmix.families.parameters import Parameters
from jointmix.families.protocol import Block
from jointmix.families.rows import Rows
from jointmix.kernel.allocate import mode_share
from jointmix.model.designed import made_of
from jointmix.model.spec import ModelSpec
from jointmix.posterior.draws import (
    fitted_spec,
    observed_rows,
    posterior_parameters,
    spread,
)

Kind = Literal[
    "shape", "correlated", "bent", "unused", "curved", "uneven", "interaction", "spread",
    "together", "follows",
]  # fmt: skip

_MOST_DRAWS, _MOST_ROWS = 20, 5_000
#: Expected rows of a cluster from which means are about normal.
_FEWEST_ROWS = 20.0

#: What a test is of: its kind, and columns.
_Test = tuple[Kind, tuple[str, ...]]
#: Standardised sums by test, (number,), of one cluster.
_Sums = dict[_Test, np.ndarray]


@dataclass(frozen=True)
class Deviation:
    """What a test says: in what the columns depart from the model, and the chance of so much.

    Attributes
    ----------
    kind
        "shape": spread, skewness and tails of a column. Of features: "correlated", two of them
        beyond their covariance; "bent", the first along a curve over the second. Of the response:
        "unused", it moves with a column that is no predictor; "curved", along a curve over a
        column; "uneven", its spread moves with a column; "interaction", its slope on a column moves
        with another. Of features beside the Gaussian ones: "spread", counts about their mean;
        "together", two of them depend on each other; "follows", the first on a Gaussian one.
    columns
        Names: the response's first where it is concerned.
    p_value
        Posterior predictive, not adjusted for the number of tests.
    """

    kind: Kind
    columns: tuple[str, ...]
    p_value: float


def deviations(tree: xr.DataTree) -> tuple[Deviation, ...]:
    """All tests of a fit's rows, the least likely first; at most 5,000 rows and 20 draws enter.

    Parameters
    ----------
    tree
        A fitted tree.

    Returns
    -------
    tuple of Deviation
        Empty where no block has residuals, or no cluster 20 rows.

    Raises
    ------
    SchemaError
        If the tree holds no identified draws.
    """
    spec, parameters = fitted_spec(tree), posterior_parameters(tree)
    rows = observed_rows(tree, spec)
    rows = rows.take(spread(len(rows.y), _MOST_ROWS))
    draws = spread(len(parameters.weight), _MOST_DRAWS).tolist()
    # Draws side by side: of several threads for each product none would be faster.
    with threadpool_limits(1):
        each_draw = on_cores(lambda draw: _chances(spec, rows, parameters.take(draw)), draws)
    tests = dict.fromkeys(test for chances in each_draw for test in chances)
    result = [
        Deviation(kind, columns, float(np.mean([chances[kind, columns] for chances in each_draw])))
        for kind, columns in tests
        if all((kind, columns) in chances for chances in each_draw)
    ]
    return tuple(sorted(result, key=lambda each: each.p_value))


def _chances(spec: ModelSpec, rows: Rows, at: Parameters) -> dict[_Test, float]:
    """The chance of so much under each test, at one draw's parameters."""
    share = mode_share(rows, at, spec.blocks)
    squares: dict[_Test, list[np.ndarray]] = {}
    held = rows.weighted(share).sum(axis=0)
    for cluster in np.flatnonzero(held >= _FEWEST_ROWS).tolist():
        inside = np.full(len(share), cluster)
        each_white = whitened(rows, at, spec.blocks, inside)
        weight = share[:, cluster]
        found = _beside(
            spec, rows, each_white, weight, _told_apart(spec, rows, at, cluster, weight)
        )
        for block, white in zip(spec.blocks, each_white, strict=True):
            found |= _tests(block, spec, rows, white, weight)
        for test, value in found.items():
            squares.setdefault(test, []).append(value**2)
    joined = {test: np.concatenate(parts) for test, parts in squares.items()}
    return {test: float(chdtrc(len(each), each.sum())) for test, each in joined.items()}


def _tests(
    block: Block, spec: ModelSpec, rows: Rows, white: np.ndarray, weight: np.ndarray
) -> _Sums:
    """The tests of one block in one cluster."""
    if white.shape[1] == 0:
        return {}
    own, standardised = block.columns, partial(_standardised, rows=rows)
    chance = np.stack([_polynomials(each) for each in ndtr(white).T], axis=1)
    shape = np.array([standardised(part, np.ones((1, len(weight))), weight)[:, 0]
                      for part in chance[1:]])  # fmt: skip
    found: _Sums = {("shape", (name,)): shape[:, i] for i, name in enumerate(own)}
    if not block.of_response:
        together = standardised(chance[0], chance[0], weight)
        bent = standardised(chance[0], chance[1], weight)
        for i, name in enumerate(own):
            for j, other in enumerate(own):
                if i < j:
                    found["correlated", (name, other)] = together[i, j, None]
                if i != j:
                    found["bent", (name, other)] = bent[i, j, None]
        return found
    # A term's columns mean nothing one by one.
    aside = {spec.response, *spec.given, *spec.made, *(each.column for each in spec.discrete)}
    names = [name for name in spec.columns if name not in aside]
    if not names:
        return found
    mass = weight * rows.weights
    ranks = np.stack([_polynomials(_ranks(_column(name, spec, rows), mass))[:2]
                      for name in names], axis=1)  # fmt: skip
    linear = standardised(chance[0], ranks[0], weight)[0]
    curved = standardised(chance[0], ranks[1], weight)[0]
    uneven = standardised(chance[1], ranks[0], weight)[0]
    products = standardised(chance[0] * ranks[0], ranks[0], weight)
    for i, name in enumerate(names):
        if name not in spec.predictors:
            found["unused", (*own, name)] = linear[i, None]
        found["curved", (*own, name)] = curved[i, None]
        found["uneven", (*own, name)] = uneven[i, None]
        for j in range(i + 1, len(names)):
            found["interaction", (*own, name, names[j])] = products[i, j, None]
    return found


def _told_apart(
    spec: ModelSpec, rows: Rows, at: Parameters, cluster: int, weight: np.ndarray
) -> dict[Feature, np.ndarray]:
    """What tells of each feature beside the Gaussian ones in a cluster, (function, obs)."""
    held = float(weight @ rows.weights)
    return {
        block: block.told_apart(at, rows, cluster, held)
        for block in spec.blocks
        if isinstance(block, Feature)
    }


def _beside(
    spec: ModelSpec,
    rows: Rows,
    each_white: list[np.ndarray],
    weight: np.ndarray,
    told: dict[Feature, np.ndarray],
) -> _Sums:
    """Tests of features beside the Gaussian ones in one cluster: by themselves, and with others."""
    found: _Sums = {}
    ones = np.ones((1, len(weight)))
    names = {block: block.own.column for block in told}
    # Of counts the second says how they are spread, and only the first where they lie.
    place = {block: each[:1] if block.shaped else each for block, each in told.items()}
    for block, each in told.items():
        if block.shaped:
            found["spread", (names[block],)] = _standardised(each[1:], ones, weight, rows)[:, 0]
    ends = np.cumsum([0, *(len(each) for each in place.values())])
    own = {block: slice(*ends[i : i + 2]) for i, block in enumerate(place)}
    every = np.concatenate([np.zeros((0, len(weight))), *place.values()])
    together = _standardised(every, every, weight, rows)
    for one, other in combinations(told, 2):
        sums = together[own[one], own[other]]
        if sums.size:
            found["together", (names[one], names[other])] = sums.ravel()
    known = {*made_of(spec)}
    for given, white in zip(spec.blocks, each_white, strict=True):
        if isinstance(given, Feature) or not white.shape[1]:
            continue
        chance = np.stack([_polynomials(each)[0] for each in ndtr(white).T])
        along = _standardised(every, chance, weight, rows)
        for feature in place:
            sums = along[own[feature]]
            for i, name in enumerate(given.columns if sums.size else ()):
                if not given.of_response:
                    found["follows", (names[feature], name)] = sums[:, i]
                elif names[feature] not in known:
                    found["unused", (name, names[feature])] = sums[:, i]
    return found


def _standardised(
    one: np.ndarray, other: np.ndarray, weight: np.ndarray, rows: Rows | None = None
) -> np.ndarray:
    """Weighted sums of products (i, obs) × (j, obs) over their standard errors, (i, j).

    Rows count as often as they weigh.
    """
    counts = 1.0 if rows is None else rows.weights
    square = 1.0 if rows is None else rows.weights * rows.units
    total = (one * (weight * counts)) @ other.T
    variance = (one**2 * (weight**2 * square)) @ (other**2).T
    return np.asarray(total / np.sqrt(np.maximum(variance, 1e-300)))


def _polynomials(chance: np.ndarray) -> np.ndarray:
    """Legendre's polynomials of degrees 1 to 4, orthonormal over (0, 1): (4, obs).

    Zeros, their averages, stand for what is missing.
    """
    found = legvander(2 * chance - 1, 4)[:, 1:].T * np.sqrt([[3], [5], [7], [9]])
    return np.nan_to_num(found, nan=0.0)


def _ranks(values: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """Weighted ranks in (0, 1), (obs,); values that are tied share theirs, missing have none."""
    there = ~np.isnan(values)
    if not there.all():
        found = np.full(len(values), np.nan)
        found[there] = _ranks(values[there], weight[there])
        return found
    _, place = np.unique(values, return_inverse=True)
    mass = np.bincount(place, weight)
    return np.asarray(((np.cumsum(mass) - mass / 2) / weight.sum())[place])


def _column(name: str, spec: ModelSpec, rows: Rows) -> np.ndarray:
    if name in spec.features:
        return rows.x[:, list(spec.features).index(name)]
    return rows.u[:, spec.predictors.index(name)]
