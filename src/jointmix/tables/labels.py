"""What a table calls its rows: a pandas index of any kind, an xarray coordinate, or numbers."""

from collections.abc import Iterable, Mapping
from typing import Any

import narwhals as nw
import numpy as np
import pandas as pd

from jointmix.tables.issues import Issue, error, quoted


def row_labels(table: object, columns: Iterable[str]) -> np.ndarray | Issue | None:
    """Labels of a table's rows, (N,), None where they have none but their numbers.

    Numbers, truth values, times and text stay what they are; of labels of several parts, and of
    others, the text is taken.

    Parameters
    ----------
    table
        As `jointmix.tables.columns.convert` takes it.
    columns
        Of a mapping, those that are read: where several have row labels, these must agree.
    """
    if isinstance(table, Mapping):
        found = {name: index_of(table[name]) for name in columns if name in table}
        indexes = {name: index for name, index in found.items() if index is not None}
        if not indexes:
            return None
        (first, index), *others = indexes.items()
        for name, other in others:
            if not index.equals(other):
                return _differing(first, index, name, other)
        return as_labels(index)
    index = index_of(table)
    return None if index is None else as_labels(index)


def index_of(table: Any) -> pd.Index | None:
    """The index of a pandas object, or along the only dim of an xarray variable; else None."""
    indexes = getattr(table, "indexes", None)
    if indexes is not None and len(getattr(table, "dims", ())) == 1:
        return indexes.get(table.dims[0])
    native = nw.from_native(table, allow_series=True, pass_through=True)
    if isinstance(native, nw.DataFrame | nw.Series):
        found: pd.Index | None = nw.maybe_get_index(native)
        return found
    return None


def as_labels(index: pd.Index) -> np.ndarray:
    """An index as an array of NumPy's own kinds, (N,)."""
    if isinstance(index, pd.MultiIndex):
        return np.array([", ".join(str(part) for part in label) for label in index], dtype=str)
    values = np.asarray(index)
    if values.dtype.kind in "iufbmMU":
        return values
    return np.array([str(label) for label in index], dtype=str)


def label_text(label: object) -> str:
    """A row's label as people write it: times without what they do not say."""
    if isinstance(label, np.datetime64):
        return str(np.datetime_as_string(label, unit="auto"))
    return str(label)


def _differing(first: str, index: pd.Index, name: str, other: pd.Index) -> Issue:
    statement = f"Columns {quoted(first)} and {quoted(name)} have different row labels"
    if len(index) == len(other):
        place = next(i for i, pair in enumerate(zip(index, other, strict=True)) if _differ(*pair))
        statement += f" (row {place}, from 0, is {quoted(index[place])} and {quoted(other[place])})"
    remedy = (
        "make one DataFrame of them, which aligns rows by their labels, or give their values "
        "(.to_numpy()) if it is the order that counts"
    )
    return error("other_labels", statement, remedy, name)


def _differ(one: Any, other: Any) -> bool:
    return not (one == other or (pd.isna(one) is True and pd.isna(other) is True))
