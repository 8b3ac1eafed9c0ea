"""Which cluster of one fit is which of another: by common rows, else by what they are like."""

from dataclasses import dataclass

import numpy as np
import pandas as pd
import xarray as xr
from scipy.optimize import linear_sum_assignment

from jointmix.base.schema import CHAIN, CLUSTER, DRAW, OBS, require_group
from jointmix.checks.duplicates import bhattacharyya
from jointmix.families.mixture import cluster_moments
from jointmix.model.packing import packed
from jointmix.posterior.draws import fitted_spec, observed_labels, observed_rows
from jointmix.posterior.invariants import outside_moments
from jointmix.posterior.known_groups import adjusted_rand
from jointmix.posterior.naming import cluster_numbers
from jointmix.posterior.summaries import entries, identified_parameters

#: Common rows that are enough to match by, of the smaller fit's at least the share.
_FEW_ROWS, _FEW_SHARE = 30, 0.5
#: Share of rows of the same label whose values agree, from which they are the same rows.
_SAME = 0.5
#: Distance of clusters of which nothing is known in common, or whose variances leave float64.
_FAR = 1e6


@dataclass(frozen=True)
class Counterparts:
    """Clusters of two fits, matched one to one.

    Attributes
    ----------
    pairs
        Numbers in the first fit and in the second, by the first.
    only_first, only_second
        Clusters that have no counterpart.
    by
        "rows", "columns" or "parameters": what they were matched by.
    n_common
        Rows that both fits have.
    rand
        Adjusted Rand index of the two allocations of these rows; NaN of none.
    """

    pairs: dict[int, int]
    only_first: tuple[int, ...]
    only_second: tuple[int, ...]
    by: str
    n_common: int
    rand: float


def counterparts(first: xr.DataTree, second: xr.DataTree) -> Counterparts:
    """Match the clusters of two fits.

    By the rows that both have, known by their labels, so that most responsibility agrees; where
    they share too few, by the Bhattacharyya distance of the clusters' distributions of the columns
    that both have moments for, at the posterior means; without such columns by the common
    parameters, differences being in units of their posterior standard deviations.
    """
    here, there = common_rows(first, second)
    rand = np.nan
    if here.size:
        rand = _rand(first, second, here, there)
    smaller = min(len(observed_labels(tree)) for tree in (first, second))
    if here.size >= min(_FEW_ROWS, _FEW_SHARE * smaller) and here.size:
        cost, by = -(_share(first)[here].T @ _share(second)[there]), "rows"
    else:
        found = _distances(first, second)
        cost, by = (found, "columns") if found is not None else (
            _parameter_distances(first, second), "parameters"
        )  # fmt: skip
    rows, columns = linear_sum_assignment(cost)
    one, other = cluster_numbers(first), cluster_numbers(second)
    pairs = {one[i]: other[j] for i, j in zip(rows, columns, strict=True)}
    return Counterparts(
        pairs=pairs,
        only_first=tuple(number for number in one if number not in pairs),
        only_second=tuple(number for number in other if number not in pairs.values()),
        by=by,
        n_common=int(here.size),
        rand=rand,
    )


def common_rows(first: xr.DataTree, second: xr.DataTree) -> tuple[np.ndarray, np.ndarray]:
    """Places, in each fit, of the rows that both have: none where labels mean different rows.

    Rows of one label are the same if the columns that both fits have mostly agree there.
    """
    none = np.zeros(0, dtype=int)
    labels = [pd.Index(observed_labels(tree)) for tree in (first, second)]
    if not (labels[0].is_unique and labels[1].is_unique):
        return none, none
    place = labels[1].get_indexer(labels[0])
    here = np.flatnonzero(place >= 0)
    there = place[here]
    if not here.size:
        return none, none
    one, other = _numbers(first), _numbers(second)
    shared = [name for name in one if name in other]
    agree = [
        np.isclose(one[name][here], other[name][there], rtol=1e-6, equal_nan=True)
        for name in shared
    ]
    if not agree:
        own = all(
            "labels" in require_group(tree, "constant_data").attrs for tree in (first, second)
        )
        return (here, there) if own else (none, none)
    # A column may have been corrected or taken in other units; not most of them.
    same = np.mean(agree, axis=0) >= _SAME
    return (here, there) if same.mean() >= _SAME else (none, none)


def _numbers(tree: xr.DataTree) -> dict[str, np.ndarray]:
    """Columns of numbers in a fit's rows, by name."""
    spec = fitted_spec(tree)
    rows = observed_rows(tree, spec)
    found = dict(zip((*spec.predictors, *spec.features), (*rows.u.T, *rows.x.T), strict=True))
    return found | ({spec.response: rows.y} if spec.response is not None else {})


def _share(tree: xr.DataTree) -> np.ndarray:
    return require_group(tree, "allocation")["responsibility"].transpose(OBS, CLUSTER).values


def _rand(first: xr.DataTree, second: xr.DataTree, here: np.ndarray, there: np.ndarray) -> float:
    one, other = _share(first)[here].argmax(axis=1), _share(second)[there].argmax(axis=1)
    return float(adjusted_rand(pd.crosstab(one, other).to_numpy()))


def _moments(tree: xr.DataTree) -> tuple[tuple[str, ...], np.ndarray, np.ndarray]:
    """Columns, means (cluster, column) and covariances at the posterior means."""
    spec, posterior = fitted_spec(tree), require_group(tree, "posterior")
    point = posterior.mean((CHAIN, DRAW))
    variables = {name: point[name].values[None] for name in spec.parameters}
    outside = outside_moments(observed_rows(tree, spec), spec)
    found = cluster_moments(spec.blocks, packed(variables, spec), outside)
    return found.columns, found.mean[0, 0], found.covariance[0]


def _distances(first: xr.DataTree, second: xr.DataTree) -> np.ndarray | None:
    """Bhattacharyya distances (cluster, cluster); None without a column that both have."""
    columns, mean, covariance = _moments(first)
    others, other_mean, other_covariance = _moments(second)
    shared = [name for name in columns if name in others]
    if not shared:
        return None
    at, to = ([names.index(name) for name in shared] for names in (columns, others))
    found = np.full((len(mean), len(other_mean)), _FAR)
    for i, j in np.ndindex(found.shape):
        shift = mean[i, at] - other_mean[j, to]
        distance = bhattacharyya(
            shift[None], covariance[i][np.ix_(at, at)], other_covariance[j][np.ix_(to, to)]
        )
        found[i, j] = distance if np.isfinite(distance) else _FAR
    return found


def _parameter_distances(first: xr.DataTree, second: xr.DataTree) -> np.ndarray:
    """Mean squared differences of common parameters (cluster, cluster), in posterior sds."""
    one, other = (_points(tree) for tree in (first, second))
    shared = [name for name in one if name in other]
    found = np.zeros((len(cluster_numbers(first)), len(cluster_numbers(second))))
    for name in shared:
        (mean, variance), (its_mean, its_variance) = one[name], other[name]
        total = np.maximum(variance[:, None] + its_variance, 1e-300)
        gap = (mean[:, None] - its_mean) ** 2 / total
        found += np.minimum(gap, _FAR) / len(shared)
    return found


def _points(tree: xr.DataTree) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Mean and variance (cluster,) of each entry of the parameters, weights left out."""
    found: dict[str, tuple[np.ndarray, np.ndarray]] = {}
    for name, draws in identified_parameters(tree).items():
        if name == "weight":
            continue
        mean, variance = draws.mean((CHAIN, DRAW)), draws.var((CHAIN, DRAW))
        labels = [label for label, _ in entries(mean.isel({CLUSTER: 0}, drop=True), name)]
        flat = (each.values.reshape(mean.sizes[CLUSTER], -1).T for each in (mean, variance))
        found |= dict(zip(labels, zip(*flat, strict=True), strict=True))
    return found
