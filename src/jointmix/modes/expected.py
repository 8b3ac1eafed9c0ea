"""What EM takes in place of missing entries: their moments given the others, and first guesses."""

from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from jointmix.families.completing import (
    by_row,
    known_columns,
    missing_given,
    over_levels,
    with_features,
)
from jointmix.families.parameters import Parameters
from jointmix.families.protocol import Block, Scores
from jointmix.families.rows import Gaps, Rows
from jointmix.model.spec import ModelSpec

#: Rounds of EM of one Gaussian for first guesses, and what is added to its variances.
_ROUNDS, _RIDGE = 20, 1e-6


def guessed(values: np.ndarray, weight: np.ndarray | None) -> np.ndarray:
    """Columns (obs, column) with missing entries as one Gaussian of all rows expects them."""
    gone = np.isnan(values)
    kinds, group = np.unique(gone, axis=0, return_inverse=True)
    places = [np.flatnonzero(group.ravel() == index) for index in range(len(kinds))]
    found, size = np.where(gone, np.nanmean(values, axis=0), values), values.shape[1]
    left_open = np.zeros((size, size))
    total = float(len(values)) if weight is None else float(weight.sum())
    for _ in range(_ROUNDS):
        center = np.average(found, axis=0, weights=weight)
        centred = found - center
        counted = centred if weight is None else centred * weight[:, None]
        covariance = (counted.T @ centred + left_open) / total + _RIDGE * np.eye(size)
        left_open = np.zeros((size, size))
        for kind, place in zip(kinds, places, strict=True):
            m, o = np.flatnonzero(kind), np.flatnonzero(~kind)
            if not m.size:
                continue
            by = np.linalg.solve(covariance[np.ix_(o, o)], covariance[np.ix_(o, m)])
            found[np.ix_(place, m)] = center[m] + centred[np.ix_(place, o)] @ by
            rest = covariance[np.ix_(m, m)] - covariance[np.ix_(m, o)] @ by
            count = len(place) if weight is None else weight[place].sum()
            left_open[np.ix_(m, m)] += count * rest
    return found


def expected_scores(
    block: Block, rows: Rows, parameters: Parameters, share: np.ndarray, spec: ModelSpec
) -> Scores:
    """A block's scores, where entries are missing their expectation given the others.

    Over levels it is a sum. Scores are polynomials of the second degree in the missing Gaussian
    features, so that their average over 2m points at √m standard deviations of m of them is exact.

    Parameters
    ----------
    parameters
        Without batch dims.
    share
        Responsibilities, (obs, cluster).
    """
    if rows.complete or block.scores_gaps:
        return block.scores(parameters, rows, share)
    if rows.completions is not None:
        whole, shares = over_levels(rows, share, parameters, spec.blocks)
        every = expected_scores(block, whole, parameters, shares, spec)
        summed = {name: by_row(rows, value) for name, value in every.location.items()}
        return Scores(summed, by_row(rows, every.rest))
    location: dict[str, np.ndarray] = {}
    rest = np.zeros(0)
    for part in rows.patterns:
        own = share[part.place] * (part.answered or not block.of_response)
        for cluster, some in _completions(part, parameters, spec):
            only = np.zeros(own.shape)
            only[:, cluster] = own[:, cluster] / len(some)
            for each in some:
                found = block.scores(parameters, each, only)
                if not rest.size:
                    sizes = found.location.items()
                    location = {n: np.zeros((len(share), *v.shape[1:])) for n, v in sizes}
                    rest = np.zeros((len(share), found.rest.shape[1]))
                for name, value in found.location.items():
                    location[name][part.place] += value
                rest[part.place] += found.rest
    return Scores(location, rest)


def _completions(
    part: Gaps, parameters: Parameters, spec: ModelSpec
) -> Iterator[tuple[int, list[Rows]]]:
    """For each cluster, rows without gaps over which expectations of its scores are averages."""
    rows, gone = part.rows, np.flatnonzero(~part.present)
    if not part.answered:
        rows = replace(rows, y=np.zeros(len(rows.y)))
    given = missing_given(spec.blocks, parameters, part.present, part.answered)
    known = known_columns(part.rows, spec)
    for cluster in range(len(parameters.weight)):
        center = known @ given.coefficient[cluster].T
        value, vector = np.linalg.eigh(given.covariance[cluster])
        steps = (vector * np.sqrt(np.maximum(value, 0.0) * len(gone))).T
        some = []
        for step in np.concatenate([steps, -steps]) if gone.size else np.zeros((1, 0)):
            x = rows.x.copy()
            x[:, gone] = center + step
            some.append(with_features(rows, x, spec))
        yield cluster, some
