"""Columns of levels, such as texts and categories, as codes; their labels beside them."""

from collections.abc import Sequence
from typing import Any

import narwhals as nw
import numpy as np

from jointmix.tables.allowed import level_label
from jointmix.tables.cells import TEXT, YES_NO, kinds_of

#: (N,) float64 codes, NaN where an entry is missing, and the levels' labels in their order.
Coded = tuple[np.ndarray, tuple[str, ...]]


def coded_column(column: Any, anything: bool, truths: bool = False) -> Coded | None:
    """The codes of a column that holds categories or words; None of one that does not.

    The order is that of the categories where the column has one, and else sorted.

    Parameters
    ----------
    anything
        Whether any text is a level: numbers, units and dates as texts are mistakes elsewhere.
    truths
        Whether truth values are levels, and not the numbers 0 and 1.
    """
    if isinstance(column, np.ndarray) and column.dtype.kind in "iuf":
        return None
    series = nw.from_native(column, series_only=True, pass_through=True)
    if isinstance(series, nw.Series):
        if isinstance(series.dtype, nw.Categorical | nw.Enum):
            return _codes(series.to_list(), _category_order(series))
        if series.dtype not in (nw.String, nw.Object, nw.Unknown, nw.Boolean):
            return None
        items = series.to_list()
    else:
        array = np.asarray(column, dtype=object)
        if array.ndim != 1:
            return None
        items = array.tolist()
    known = [item for item in items if not is_missing(item)]
    if truths and known and all(isinstance(item, bool | np.bool_) for item in known):
        return _codes(items, (False, True))
    if not known or not all(isinstance(item, str) for item in known):
        return None
    words = sorted(set(known))
    if not anything and not set(kinds_of(list(words))) <= {TEXT, YES_NO}:
        return None
    return _codes(items, words)


def coded_numbers(values: np.ndarray, levels: Sequence[str] | None = None) -> Coded:
    """The codes of a column of numbers (N,) taken for levels, in their order."""
    kept = ~np.isnan(values)
    found = [level_label(value) for value in np.unique(values[kept]).tolist()]
    labels = [level_label(value) if fine else None
              for value, fine in zip(values.tolist(), kept.tolist(), strict=True)]  # fmt: skip
    return _codes(labels, found if levels is None else levels)


def is_missing(item: object) -> bool:
    """Whether an entry stands for none."""
    # Comparing pandas' NA gives NA, which is neither true nor false.
    return item is None or type(item).__name__ in ("NAType", "NaTType") or item != item


def _category_order(series: nw.Series[Any]) -> list[object]:
    native = nw.to_native(series)
    if nw.dependencies.is_pandas_series(native):
        return list(native.cat.categories)
    if isinstance(series.dtype, nw.Enum):
        return list(native.dtype.categories)
    # Elsewhere the order of categories is that in which a process met them.
    return sorted({item for item in series.to_list() if item is not None})


def _codes(items: Sequence[object], order: Sequence[object]) -> Coded:
    labels = tuple(_label(item) for item in order)
    code = {label: float(place) for place, label in enumerate(labels)}
    values = [np.nan if is_missing(item) else code[_label(item)] for item in items]
    return np.array(values, dtype=np.float64), labels


def _label(item: object) -> str:
    if isinstance(item, str | bool | np.bool_):
        return str(item)
    return level_label(float(item)) if isinstance(item, int | float | np.number) else str(item)
