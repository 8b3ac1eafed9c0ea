"""What a model makes of missing entries: expectations, rows filled with them, residuals."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from jointmix.families.mixture import component_log_density
from jointmix.families.moments import Imputed
from jointmix.families.parameters import Parameters
from jointmix.families.patterns import by_pattern
from jointmix.families.protocol import Block, Predicted
from jointmix.families.rows import Rows
from jointmix.families.specified import Specified
from jointmix.families.steps import Products


def missing_given(
    blocks: Iterable[Block], parameters: Parameters, present: np.ndarray, answered: bool
) -> Imputed:
    """The features that are missing, given those that are ``present`` (feature,) and what follows.

    Parameters
    ----------
    blocks
        Of the model.
    parameters
        With any leading dims.
    answered
        Whether the response is there too.
    """
    given = [block for block in blocks if answered or not block.of_response]
    width, n_missing = 1 + len(given[0].spec.columns), int((~present).sum())
    shape = (*parameters.weight.shape, n_missing)
    found = Imputed(np.zeros((*shape, width)), np.zeros((*shape, n_missing)))
    for block in given:
        found = block.impute(found, parameters, present)
    return found


@dataclass(frozen=True, eq=False)
class Expected:
    """Expected second moments of w = (1, columns), weighted by responsibilities.

    Attributes
    ----------
    every, answered
        Over all rows and over those with a response, (start, cluster, 1 + column, 1 + column).
    """

    every: np.ndarray
    answered: np.ndarray


def expected_moments(
    rows: Rows,
    products: Products,
    share: np.ndarray,
    parameters: Parameters,
    blocks: Sequence[Block],
    weight: np.ndarray | None = None,
) -> Expected:
    """Second moments of rows with missing entries, given those that are there.

    Parameters
    ----------
    rows
        On the parameters' scale.
    products
        Of each row's w = (1, columns) with itself.
    share
        Responsibilities times the rows' weights, (start, cluster, obs).
    parameters
        Under which they are expected, (start, cluster, ...).
    blocks
        Of the model.
    weight
        By which each row's precision is multiplied in a cluster, (start, cluster, obs), one if
        None: so much the more its moments weigh, and the less they are spread.
    """
    width = 1 + len(blocks[0].spec.columns)
    found = np.zeros((2, *share.shape[:2], width, width))
    for part in rows.patterns:
        own = share[..., part.place]
        heavy = own if weight is None else own * weight[..., part.place]
        moments = products.take(part.place).summed(heavy)
        if not part.present.all():
            given = missing_given(blocks, parameters, part.present, part.answered)
            gone = 1 + np.flatnonzero(~part.present)
            whole = np.broadcast_to(np.eye(width), moments.shape).copy()
            whole[..., gone, :] = given.coefficient
            moments = whole @ moments @ np.swapaxes(whole, -1, -2)
            count = own.sum(-1)[..., None, None]
            moments[..., gone[:, None], gone] += count * given.covariance
        found[0] += moments
        if part.answered:
            found[1] += moments
    return Expected(*found)


def known_columns(rows: Rows, spec: Specified) -> np.ndarray:
    """w = (1, columns) with zeros for what is missing, (obs, 1 + column)."""
    found = np.zeros((len(rows.y), 1 + len(spec.columns)))
    found[:, 0] = 1.0
    for index, name in enumerate(spec.predictors):
        found[:, 1 + spec.columns.index(name)] = rows.u[:, index]
    found[:, 1 : 1 + rows.x.shape[1]] = rows.x
    if spec.response is not None:
        found[:, -1] = rows.y
    return np.nan_to_num(found, nan=0.0)


def with_features(rows: Rows, x: np.ndarray, spec: Specified) -> Rows:
    """Rows with other features (obs, feature), also where they are predictors."""
    u, features = rows.u.copy(), list(spec.features)
    for index, name in enumerate(spec.predictors):
        if name in features:
            u[:, index] = x[:, features.index(name)]
    return replace(rows, x=x, u=u)


def over_levels(
    rows: Rows, share: np.ndarray, parameters: Parameters, blocks: Sequence[Block]
) -> tuple[Rows, np.ndarray]:
    """Completed rows in place of those that need them, and what of a row's share each has.

    p(k, levels | row) = p(k | row) p(levels | k, row).

    Parameters
    ----------
    share
        Responsibilities, times weights or not, (..., obs, cluster).

    Returns
    -------
    rows, share
        See `Rows.expanded`; (..., row, cluster).
    """
    if rows.completions is None:
        return rows, share
    owner, place = rows.completions.owner, np.flatnonzero(rows.completions.source >= 0)
    whole, found = rows.expanded, share[..., owner, :]
    terms = component_log_density(blocks, whole.take(place), parameters)
    _, starts, sizes = np.unique(owner[place], return_index=True, return_counts=True)
    terms -= np.repeat(np.maximum.reduceat(terms, starts, axis=-2), sizes, axis=-2)
    own = np.exp(terms)
    own /= np.repeat(np.add.reduceat(own, starts, axis=-2), sizes, axis=-2)
    found[..., place, :] *= own
    return whole, found


def by_row(rows: Rows, values: np.ndarray) -> np.ndarray:
    """Sums over the completed rows of each row: of (row, ...) of `Rows.expanded`, (obs, ...)."""
    if rows.completions is None:
        return values
    starts = np.append(0, np.cumsum(rows.completions.count)[:-1])
    return np.asarray(np.add.reduceat(values, starts, axis=0))


def completed(
    rows: Rows, parameters: Parameters, share: np.ndarray, blocks: Sequence[Block]
) -> Rows:
    """The rows with expectations of what is missing, averaged over clusters and levels.

    Parameters
    ----------
    parameters
        Without batch dims.
    share
        Responsibilities, times weights or not, (obs, cluster).
    """
    if rows.complete:
        return rows
    if rows.completions is not None:
        return _averaged(rows, parameters, share, blocks)
    x, y, spec = rows.x.copy(), rows.y.copy(), blocks[0].spec
    weight = share / np.maximum(share.sum(axis=1, keepdims=True), 1e-300)
    for part in rows.patterns:
        if not part.present.all():
            gone = np.flatnonzero(~part.present)
            given = missing_given(blocks, parameters, part.present, part.answered)
            each = np.einsum("nj,kmj->nkm", known_columns(part.rows, spec), given.coefficient)
            x[np.ix_(part.place, gone)] = (weight[part.place][..., None] * each).sum(1)
    found, response = with_features(rows, x, spec), blocks[-1]
    gone = np.flatnonzero(np.isnan(y))
    if gone.size and isinstance(response, Predicted):
        y[gone] = (weight[gone] * response.mean(parameters, found.take(gone))).sum(1)
    return replace(found, y=y)


def _averaged(
    rows: Rows, parameters: Parameters, share: np.ndarray, blocks: Sequence[Block]
) -> Rows:
    assert rows.completions is not None
    whole, part = over_levels(rows, share, parameters, blocks)
    found, total = completed(whole, parameters, part, blocks), part.sum(axis=1)
    weight = (total / by_row(rows, total)[rows.completions.owner])[:, None]
    x, u, y = (by_row(rows, weight * each) for each in (found.x, found.u, found.y[:, None]))
    x, y = (np.where(np.isnan(own), new, own) for own, new in ((rows.x, x), (rows.y, y[:, 0])))
    return replace(rows, x=x, u=u, y=y, completions=None)


def places_known(rows: Rows, block: Block) -> np.ndarray:
    """Places of the rows in which nothing is missing that a block's density reads, (row,)."""
    read = np.column_stack([rows.u, rows.y]) if block.of_response else rows.x
    return np.flatnonzero(~np.isnan(read).any(axis=1))


def whitened(
    rows: Rows, parameters: Parameters, blocks: Sequence[Block], allocation: np.ndarray
) -> list[np.ndarray]:
    """Each block's residuals (obs, column) in the clusters of ``allocation`` (obs,).

    They are NaN where a column is missing, and of responses on missing levels; the others are of
    the entries that are there.
    """
    if rows.complete:
        return [block.checks.white(parameters, rows, allocation) for block in blocks]
    found = [np.full((len(rows.y), len(block.columns)), np.nan) for block in blocks]
    for part in by_pattern(rows, parameters, blocks):
        for block in part.blocks:
            if part.alternatives > 1 and block.of_response:
                continue
            part_rows = part.rows.take(slice(None, None, part.alternatives))
            white = block.checks.white(part.parameters, part_rows, allocation[part.place])
            names = np.array(block.spec.features)[part.present].tolist()
            columns = [block.of_response or name in names for name in block.columns]
            if white.shape[1]:
                own = found[list(blocks).index(block)]
                own[np.ix_(part.place, np.flatnonzero(columns))] = white
    return [each if np.isfinite(each).any() else each[:, :0] for each in found]
