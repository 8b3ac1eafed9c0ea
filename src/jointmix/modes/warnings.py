"""What EM's best mode says about a table: small clusters, outliers, and what blocks see in it."""

import numpy as np
from scipy.special import chdtrc, chdtri

from jointmix.families.completing import places_known, whitened
from jointmix.kernel.allocate import share_at
from jointmix.model.dataset import Dataset
from jointmix.modes.census import Census
from jointmix.tables.issues import Issue, quoted, warning
from jointmix.tables.kinds import MOST_CODES

#: Chance that a table of normal rows, however many, has a row this far from its cluster.
OUTLIER_CHANCE = 1e-4
#: Squares are rescaled by their median where outliers have made them this many times too small.
_WIDENED = 4.0
#: Rows of a cluster from which the median of its squares can be trusted.
_FEWEST_FOR_MEDIAN = 20
#: The median of χ² with one degree of freedom.
_MEDIAN = float(chdtri(1, 0.5))
_MOST_NAMED = 10
#: Equal numbers from which a cluster of them is named.
_FEWEST_REPEATED = 5


def mode_warnings(dataset: Dataset, census: Census, started: str = "") -> tuple[Issue, ...]:
    """Warnings from the optimum that chains start from.

    Parameters
    ----------
    dataset
        The model and its rows.
    census
        What EM found for them.
    started
        What the fit was asked to start from, in words; "" if nothing.
    """
    rows, blocks = dataset.rows, dataset.blocks
    parameters = dataset.scaling.to_model(census.start.parameters)
    share = share_at(dataset, census.start.parameters)
    allocation = share.argmax(axis=1)
    found = [_found_once(census), _start_lost(census, started), _small_clusters(dataset, share)]
    del share
    for block in blocks:
        place = places_known(rows, block)
        users = dataset.users_rows if rows.complete else dataset.users_rows.take(place)
        found.append(block.checks.mode_issue(users, allocation[place]))
    measured = [name for block in blocks for name in block.checks.measured]
    found += [_repeated(dataset, name, allocation) for name in measured]
    white = whitened(rows, parameters, blocks, allocation)
    found.append(_outliers(dataset, np.concatenate(white, axis=1), allocation))
    return tuple(issue for issue in found if issue is not None)


def _found_once(census: Census) -> Issue | None:
    if census.n_starts == 1 or census.best.n_starts > 1:
        return None
    message = (
        f"Of {census.n_starts} runs of EM only one reached the best optimum: there may be a better "
        "one that none has found."
    )
    remedy = "Raise the number of EM starts until the best optimum is found several times."
    return warning("found_once", message, remedy, "", None, float(census.n_starts))


def _start_lost(census: Census, started: str) -> Issue | None:
    if not started or census.home in census.reached:
        return None
    message = (
        f"EM led from {started} to a spike of the likelihood, so that the chains start from the "
        "best optimum instead."
    )
    remedy = "Start from groups of more rows, or take a simpler covariance."
    return warning("start_lost", message, remedy, "", None, 1.0)


def _small_clusters(dataset: Dataset, share: np.ndarray) -> Issue | None:
    spec = dataset.spec
    size, own = dataset.rows.weighted(share).sum(axis=0), spec.n_own_parameters
    small = np.flatnonzero(size < own)
    if spec.n_clusters == 1 or small.size == 0:
        return None
    allocation = share.argmax(axis=1)
    rows = dataset.row[np.isin(allocation, small)]
    held = f", {dataset.named(rows)}" if rows.size else ""
    many = (
        "EM's smallest cluster holds"
        if small.size == 1
        else f"{small.size} of EM's {spec.n_clusters} clusters hold"
    )
    sizes = ", ".join(f"{value:.1f}" for value in np.sort(size[small])[:_MOST_NAMED])
    message = (
        f"{many} about {sizes} of {dataset.rows.total:.15g} rows{held}, fewer than the {own} "
        "parameters that a cluster has of its own."
    )
    remedy = "Use fewer clusters, a simpler covariance, or more rows; look at the rows it names."
    first = int(rows[0]) if rows.size else None
    return warning("small_clusters", message, remedy, "", first, float(size.min()))


def _repeated(dataset: Dataset, name: str, allocation: np.ndarray) -> Issue | None:
    """A cluster most of whose rows hold the very same number in a column of many."""
    column = dataset.select([name])[:, 0]
    there = ~np.isnan(column)
    column, allocation = column[there], allocation[there]
    if len(np.unique(column)) <= MOST_CODES:
        return None
    worst: tuple[int, int, float] = (0, 0, 0.0)
    for cluster in np.unique(allocation):
        values, counts = np.unique(column[allocation == cluster], return_counts=True)
        if counts.max() > counts.sum() / 2:
            worst = max(
                worst, (int(counts.max()), int(counts.sum()), float(values[counts.argmax()]))
            )
    most, size, value = worst
    if most < _FEWEST_REPEATED:
        return None
    message = (
        f"{most} of the {size} rows of one cluster of EM's best mode hold the same number, "
        f"{value:g}, in column {quoted(name)}: it may be a code, or a limit of measurement, rather "
        "than a group."
    )
    remedy = "Find out how those rows were measured; leave them or the column out if it is a code."
    return warning("repeated_value", message, remedy, name, None, float(most))


def _medians(square: np.ndarray) -> np.ndarray:
    """Medians of squares (obs, column) that are there; what chance has where too few are."""
    found = np.full(square.shape[1], _MEDIAN)
    for place, column in enumerate(square.T):
        there = column[~np.isnan(column)]
        if len(there) >= _FEWEST_FOR_MEDIAN:
            found[place] = np.median(there)
    return found


def _outliers(dataset: Dataset, white: np.ndarray, allocation: np.ndarray) -> Issue | None:
    """Rows farther from their cluster than chance allows, the least likely first.

    The squared distance to a row's cluster is χ² with as many degrees of freedom as the row has
    modelled columns. Rows far out widen their cluster and so hide themselves: a whitened column
    is scaled to the median that its squares should have where theirs is much too small.
    """
    if white.shape[1] == 0:
        return None
    freedom, distance = (np.empty(len(white)) for _ in range(2))
    for cluster in np.unique(allocation):
        inside = np.flatnonzero(allocation == cluster)
        square, factor = white[inside] ** 2, np.ones(1)
        if len(inside) >= _FEWEST_FOR_MEDIAN:
            widened = _MEDIAN / np.maximum(_medians(square), 1e-12)
            factor = np.where(widened > _WIDENED, widened, 1.0)
        freedom[inside] = (~np.isnan(square)).sum(axis=1)
        distance[inside] = np.nansum(np.multiply(square, factor, out=square), axis=1)
    far = np.flatnonzero(
        (freedom > 0) & (chdtrc(freedom, distance) < OUTLIER_CHANCE / len(distance))
    )
    if far.size == 0:
        return None
    # Distances order rows whose chances vanish alike.
    order = far[np.argsort(-distance[far], kind="stable")]
    named = dataset.row[order]
    is_are = "is" if far.size == 1 else "are"
    message = (
        f"{far.size} of {len(distance)} rows {is_are} far from every cluster of EM's best mode, "
        f"by {np.sqrt(distance[order[0]]):.3g} standard deviations at most: "
        f"{dataset.named(named)}."
    )
    remedy = "Look at those rows for errors; no cluster of this model explains them."
    return warning("outliers", message, remedy, "", int(named[0]), float(far.size))
