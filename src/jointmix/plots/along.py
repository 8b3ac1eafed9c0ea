"""The response along a table's columns of which terms are made: curves, and values at levels."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from jointmix.model.completions import filled
from jointmix.plots.geometry import Line, response_line, span
from jointmix.plots.reading import Reading, thinned
from jointmix.posterior.draws import observed_source
from jointmix.tables.design import Encoding, Source
from jointmix.tables.levels import coded_numbers

#: Points of a curve, and rows over which the other columns are averaged.
_GRID, _MOST_ROWS = 40, 500


@dataclass(frozen=True)
class Along:
    """The response of each cluster along one column.

    Attributes
    ----------
    name
        The column.
    levels
        Its levels; empty where it holds numbers.
    values
        The column in the fit's rows, (obs,); of levels which of them, NaN where it has none.
    lines
        Of each cluster; ``at`` counts the levels where there are any.
    """

    name: str
    levels: tuple[str, ...]
    values: np.ndarray
    lines: tuple[Line, ...]


def along_columns(view: Reading) -> list[Along]:
    """The response along each column that the terms read.

    The other columns are as in the cluster's rows: what terms come to is averaged over them, so
    that a curve holds all of a column's terms, products with other columns among them.
    """
    encoding, source = view.model.encoding, observed_source(view.tree)
    assert encoding is not None
    assert source is not None
    read = dict.fromkeys(
        name for term in encoding.terms for factor in term.factors for name in factor.columns
    )
    return [_along(view, encoding, source, name) for name in read]


def _along(view: Reading, encoding: Encoding, source: Source, name: str) -> Along:
    column, choices = source.values[name], None
    levels: tuple[str, ...] = ()
    of_levels = [each for each in encoding.factors if each.columns == (name,)]
    readers = [factor for term in encoding.terms for factor in term.factors
               if name in factor.columns]  # fmt: skip
    if all(factor in of_levels for factor in readers):
        levels = encoding.levels[of_levels[0].text]
        choices = _choices(source, name, levels)
    rows = thinned(len(column), _MOST_ROWS)
    whole = filled(source, encoding)
    few = {each: values[rows] for each, values in whole.values.items()}
    # Means are over rows of which all levels are known.
    gone = [np.isnan(source.values[each.columns[0]]) for each in encoding.factors]
    share = np.where(np.any(gone, axis=0), 0.0, view.share.T)[:, rows]
    lines = []
    for k in range(len(view.clusters)):
        at = span(view, k, column, _GRID) if choices is None else choices
        # A cluster that no row belongs to is drawn at the average of all rows.
        held = share[k] if share[k].sum() > 0 else np.ones(rows.size)
        weight = held / held.sum()
        design = np.stack([_average(encoding, whole, few, name, each, weight) for each in at])
        shown = at if choices is None else np.arange(len(levels), dtype=float)
        lines.append(response_line(view, k, design, shown))
    if choices is not None:
        same = column[:, None] == choices
        column = np.where(same.any(axis=1), same.argmax(axis=1), np.nan)
    return Along(name, tuple(levels), column, tuple(lines))


def _choices(source: Source, name: str, levels: Sequence[str]) -> np.ndarray:
    """What the column holds where it has each level."""
    if name in source.levels:
        return np.array([float(source.levels[name].index(level)) for level in levels])
    codes, labels = coded_numbers(source.values[name])
    return np.array([source.values[name][codes == labels.index(level)][0] for level in levels])


def _average(
    encoding: Encoding,
    source: Source,
    few: dict[str, np.ndarray],
    name: str,
    value: float,
    weight: np.ndarray,
) -> np.ndarray:
    """Means (predictor,) of what rows come to, all with one value in a column."""
    values = few | {name: np.full(weight.size, value)}
    made = encoding.columns(replace(source, values=values, labels=None, row=None))
    return np.array([weight @ made[each] for each in encoding.names])
