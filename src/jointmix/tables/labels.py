"""What a table calls its rows: a pandas index of any kind, an xarray coordinate, or numbers."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import narwhals as nw
import numpy as np
import pandas as pd

from jointmix.tables.issues import Issue, error, quoted

#: Rows of which a sentence names each.
_MOST_NAMED = 10


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


def rows_named(
    place: Sequence[int] | np.ndarray, labels: np.ndarray | None, number: np.ndarray | None = None
) -> str:
    """Rows as a sentence names them: "row 'Peru'", "rows 3, 5 and 2 more (from 0)".

    Parameters
    ----------
    place
        Of the rows named, of which the first ten are shown.
    labels
        What the table calls its rows, (n,). Numbers are given in their place where that is None
        or no more than they are, and where two rows have one label.
    number
        The rows' numbers in the table, from 0, (n,); None where these are their places.
    """
    one, shown = len(place) == 1, np.asarray(place[:_MOST_NAMED])
    more = f" and {len(place) - len(shown)} more" if len(place) > len(shown) else ""
    if labels is None or shown.max() >= len(labels) or not _tell_apart(labels, number):
        named = [str(each) for each in (shown if number is None else number[shown])]
        said = " (from 0)"
    else:
        named = [_quoted_label(label) for label in labels[shown]]
        # A number that is a label must not be taken for the row's own.
        said = f" (by {'its label' if one else 'their labels'})"
        said = said if labels.dtype.kind in "iufb" else ""
    return f"{'row' if one else 'rows'} {', '.join(named)}{more}{said}"


def _tell_apart(labels: np.ndarray, number: np.ndarray | None) -> bool:
    """Whether labels say more than the rows' numbers, and are all different."""
    numbers = np.arange(len(labels)) if number is None else number
    return not np.array_equal(labels, numbers) and len(np.unique(labels)) == len(labels)


def _quoted_label(label: object) -> str:
    return quoted(str(label)) if isinstance(label, str) else label_text(label)


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
