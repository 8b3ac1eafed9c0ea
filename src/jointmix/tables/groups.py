"""A column that says which group each row is in, joined to the rows of a fit."""

from collections.abc import Mapping
from typing import Any

import narwhals as nw
import numpy as np
import pandas as pd
import xarray as xr

from jointmix.base.arguments import shown
from jointmix.base.errors import DataError
from jointmix.tables.issues import quoted
from jointmix.tables.labels import as_labels, index_of

#: What groups without a name are called; the variable of ``constant_data`` that keeps them, −1 for
#: rows without.
GROUP = "group"
#: More values than these tell no groups.
_MOST_VALUES = 100

#: Codes (obs,), −1 where not known, and values of groups, their name, and entries of other rows.
Groups = tuple[np.ndarray, list[Any], str, int]


def joined_groups(column: object, row: np.ndarray, own: np.ndarray, n_rows: int) -> Groups:
    """The groups of the rows of a fit.

    Parameters
    ----------
    column
        As `jointmix.crosstab` takes it.
    row, own
        Numbers, in the table that was fitted, and labels of the rows that the fit used, (obs,).
    n_rows
        Rows of that table.

    Raises
    ------
    DataError
        If the column cannot be joined, or is none of groups.
    """
    codes, values, name = group_codes(column)
    index = index_of(column)
    place = _places(row, own, n_rows, len(codes), None if index is None else as_labels(index))
    found = np.where(place >= 0, codes[np.maximum(place, 0)], -1)
    used = np.unique(found[found >= 0])
    n_left_out = int((np.delete(codes, place[place >= 0]) >= 0).sum())
    renumbered = np.where(found >= 0, np.searchsorted(used, found), -1)
    return renumbered, [values[i] for i in used], name, n_left_out


def group_codes(column: object) -> tuple[np.ndarray, list[Any], str]:
    """The known groups of a column: codes (entry,), −1 where missing, values in order, and name.

    Raises
    ------
    DataError
        If it is no column of groups.
    """
    entries = _as_series(column)
    try:
        codes, found = pd.factorize(entries, sort=True)
    except TypeError as error:
        raise DataError(
            "Known groups must be numbers, texts, truth values or categories, of one kind; got "
            f"{shown(entries.iloc[0])}."
        ) from error
    if len(found) > _MOST_VALUES:
        raise DataError(
            f"The column of known groups holds {len(found)} different entries, more than "
            f"{_MOST_VALUES}; is it one of groups?"
        )
    name = entries.name if isinstance(entries.name, str) and entries.name else GROUP
    return codes.astype(int), [_whole(value) for value in found], name


def _as_series(column: Any) -> pd.Series:
    series = nw.from_native(column, series_only=True, pass_through=True)
    try:
        if isinstance(column, pd.Series):
            return column
        if isinstance(series, nw.Series):
            return pd.Series(series.to_list(), name=series.name)
        if np.ndim(column) == 1 and not isinstance(column, Mapping):
            return pd.Series(np.asarray(column) if isinstance(column, xr.DataArray) else column)
    except (TypeError, ValueError):
        pass
    raise DataError(f"Known groups must be a column, one entry a row; got {shown(column)}.")


def _places(
    row: np.ndarray, own: np.ndarray, n_rows: int, n_entries: int, labels: np.ndarray | None
) -> np.ndarray:
    """Where each row of a fit stands in a column, (obs,); −1 where it does not."""
    if labels is None:
        if n_entries == n_rows:
            return np.asarray(row)
        if n_entries == len(row):
            return np.arange(n_entries)
        raise DataError(
            f"The column of known groups has {n_entries} entries; the table had {n_rows} rows, of "
            f"which the fit used {len(row)}. Give a Series with the table's row labels."
        )
    ours, theirs = pd.Index(own), pd.Index(labels)
    if ours.is_unique and theirs.is_unique:
        place = theirs.get_indexer(ours)
        if (place < 0).all():
            raise DataError(
                f"No row label of the fit, such as {quoted(_whole(ours[0]))}, is among the "
                f"column's, such as {quoted(_whole(theirs[0])) if n_entries else 'none'}; give "
                "values in the table's order (.to_numpy())."
            )
        return np.asarray(place)
    # Labels that repeat say which row is meant only where they stand in the table's order.
    for place in (row, np.arange(len(row))):
        if place.max() < n_entries and ours.equals(theirs[place]):
            return np.asarray(place)
    twice = next(index for index in (ours, theirs) if not index.is_unique)
    label = twice[twice.duplicated()][0]
    raise DataError(
        f"The row label {quoted(_whole(label))} stands for more than one row, so that the column "
        "cannot be joined; give values in the table's order (.to_numpy())."
    )


def _whole(value: Any) -> Any:
    """A number of Python's own; one that missing entries made a float is whole again."""
    value = value.item() if isinstance(value, np.generic) else value
    return int(value) if isinstance(value, float) and value.is_integer() else value
