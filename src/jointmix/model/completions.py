"""Rows that miss levels of which predictors are made, completed by all levels they may have."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import product

import numpy as np

from jointmix.families.rows import Completions, Rows
from jointmix.families.specified import Discrete
from jointmix.model.discrete import source_values
from jointmix.model.scaling import Scaling
from jointmix.model.spec import ModelSpec
from jointmix.tables.design import Encoding, Source
from jointmix.tables.issues import Issue, error, listed

#: Completed rows of one row, at most: each costs as much as a row.
_MOST = 1_000


def summed_over(spec: ModelSpec) -> tuple[Discrete, ...]:
    """Features over whose levels rows are summed that miss them: predictors are made of them."""
    if spec.encoding is None:
        return ()
    factors = {factor.columns[0] for factor in spec.encoding.factors}
    return tuple(own for own in spec.discrete if own.levels and own.column in factors)


def filled(source: Source, encoding: Encoding) -> Source:
    """Rows in which one level stands for levels that are missing, so as to be encoded."""
    values, levels = dict(source.values), dict(source.levels)
    for factor in encoding.factors:
        (name,) = factor.columns
        column, known = values[name], ~np.isnan(values[name])
        if not known.any():
            levels[name] = encoding.levels[factor.text]
        values[name] = np.where(known, column, column[known][0] if known.any() else 0.0)
    return replace(source, values=values, levels=levels)


def without_unknown(
    columns: Mapping[str, np.ndarray], source: Source, encoding: Encoding
) -> dict[str, np.ndarray]:
    """Columns that were made of `filled` rows, NaN where they are made of missing levels."""
    found = dict(columns)
    for term in encoding.terms:
        factors = [each for each in term.factors if each in encoding.factors]
        gone = [np.isnan(source.values[each.columns[0]]) for each in factors]
        if gone and np.any(gone):
            for name in term.names:
                found[name] = np.where(np.any(gone, axis=0), np.nan, found[name])
    return found


def completions(
    spec: ModelSpec, source: Source, discrete: np.ndarray | None
) -> tuple[Completions | None, list[Issue]]:
    """What rows are completed by, on the users' scale; None where none needs it.

    Parameters
    ----------
    source
        The columns of which predictors are made.
    discrete
        Codes of the features that are not Gaussian, (obs, discrete).
    """
    factors = summed_over(spec)
    if not factors or discrete is None:
        return None, []
    order = [own.column for own in spec.discrete]
    places = [order.index(own.column) for own in factors]
    gone = np.isnan(discrete[:, places])
    first, count = (np.full(len(gone), number, dtype=np.intp) for number in (0, 1))
    u, codes, size = [np.zeros((0, len(spec.predictors)))], [discrete[:0]], 0
    for kind in np.unique(gone[gone.any(axis=1)], axis=0):
        rows = np.flatnonzero((gone == kind).all(axis=1))
        missing = [own for own, is_gone in zip(factors, kind, strict=True) if is_gone]
        n = int(np.prod([len(own.levels) for own in missing], dtype=float))
        if n > _MOST:
            return None, [_too_many(missing, n, rows, source)]
        first[rows], count[rows] = size + n * np.arange(len(rows)), n
        size += n * len(rows)
        made = _completed(spec, source, discrete, rows, missing)
        u.append(made[0])
        codes.append(made[1])
    if not size:
        return None, []
    return Completions(np.concatenate(u), np.concatenate(codes), first, count), []


def _completed(
    spec: ModelSpec,
    source: Source,
    discrete: np.ndarray,
    rows: np.ndarray,
    missing: Sequence[Discrete],
) -> tuple[np.ndarray, np.ndarray]:
    """Predictors and codes of rows with all combinations of levels, side by side."""
    assert spec.encoding is not None
    levels = np.array(list(product(*(range(len(own.levels)) for own in missing))), dtype=float)
    place = np.repeat(rows, len(levels))
    some, codes = source.take(place), discrete[place]
    values, labels = dict(some.values), dict(source.levels)
    for own, column in zip(missing, np.tile(levels, (len(rows), 1)).T, strict=True):
        codes[:, [each.column for each in spec.discrete].index(own.column)] = column
        known = source.levels.get(own.column, ())
        if known or np.isnan(source.values[own.column]).all():
            # Few rows may hold few of the levels.
            labels[own.column] = tuple(dict.fromkeys([*known, *own.levels]))
        values[own.column] = source_values(column, own.levels, labels.get(own.column))
    found = values | spec.encoding.columns(replace(some, values=values, levels=labels))
    return np.column_stack([found[name] for name in spec.predictors]), codes


def _too_many(missing: Sequence[Discrete], n: int, rows: np.ndarray, source: Source) -> Issue:
    statement = (
        f"The columns {listed([own.column for own in missing])} are missing together in "
        f"{source.named(rows[:1])}, and they have {n} combinations of levels, more than {_MOST}, "
        "over which the model sums"
    )
    remedy = "join levels, or fill them in"
    number = int(rows[0] if source.row is None else source.row[rows[0]])
    return error("many_combinations", statement, remedy, missing[0].column, number, float(n))


def on_scale(found: Completions, scaling: Scaling) -> Completions:
    """Completions on the users' scale as those on the model's."""
    center, scale = scaling.predictor
    return replace(found, u=(found.u - center) / scale)


def expanded_values(values: np.ndarray, rows: Rows, spec: ModelSpec) -> np.ndarray:
    """Columns (obs, column) as the expanded ``rows`` have them, (row, column)."""
    if rows.completions is None:
        return values
    found, whole = values[rows.completions.owner], rows.expanded
    found[:, [spec.columns.index(name) for name in spec.predictors]] = whole.u
    codes = [spec.columns.index(own.column) for own in spec.discrete]
    found[:, codes] = np.asarray(whole.discrete)
    return found
