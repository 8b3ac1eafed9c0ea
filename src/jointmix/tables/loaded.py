"""One part of a table, as it was read: what the worker of a cluster holds of it."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from jointmix.tables.parts import Parts, as_frame, of_table

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa


#: Values of a column, beyond which it is none of levels.
_MOST_LEVELS = 1_000
#: What has one row only is told from what has more.
_ROWS_OF_LEVEL = 2


@dataclass(frozen=True, eq=False)
class Loaded:
    """The rows of one part.

    Attributes
    ----------
    name
        What sentences call it.
    index
        Columns that hold what pandas called the rows.
    """

    table: "pa.Table"
    name: str
    index: tuple[str, ...] = ()

    @property
    def n_rows(self) -> int:
        """How many."""
        return int(self.table.num_rows)

    def frame(self) -> "pd.DataFrame":
        """All rows, numbered from 0 where they have no labels."""
        return as_frame(self.table, self.index, 0)

    def parts(self) -> Parts:
        """The same as a table of one piece."""
        return of_table(self.table, self.name, self.index)


def load(parts: Parts, columns: Sequence[str]) -> Loaded:
    """Some columns of a table of one piece.

    Raises
    ------
    DataError
        If it cannot be read to its end, or lacks a column.
    """
    import pyarrow as pa

    (piece,) = parts.pieces
    found = [*parts.tables(0, columns)]
    whole = pa.concat_tables(found, promote_options="permissive") if found else pa.table({})
    return Loaded(whole, piece.name, parts.index)


def partitions(
    frame: Any, parts: Parts, columns: Sequence[str], client: Any, places: Iterable[int]
) -> list[Any]:
    """Futures of some partitions of a Dask DataFrame, each where a cluster's worker made it."""
    wanted, every = list(places), frame[list(columns)].to_delayed()
    made = client.compute([every[place] for place in wanted])
    return [
        client.submit(of_partition, each, parts.pieces[place].name, pure=False)
        for each, place in zip(made, wanted, strict=True)
    ]


def of_partition(frame: "pd.DataFrame", name: str) -> Loaded:
    """A partition of a Dask DataFrame."""
    import pyarrow as pa

    return Loaded(pa.Table.from_pandas(frame, preserve_index=False), name)


def n_rows(part: Loaded) -> int:
    """Rows of a part."""
    return part.n_rows


def rows_at(part: Loaded, places: np.ndarray) -> Loaded:
    """Some rows of a part, by their places in it."""
    return Loaded(part.table.take(places), part.name, part.index)


@dataclass(frozen=True)
class Notable:
    """Rows of a part without which the rest of a table is not learned.

    Attributes
    ----------
    levels
        Column → value → the first rows that have it, two at most.
    ends
        Column → its smallest and largest value, of rows whose entries are all there and of all,
        each with a row that has it.
    """

    levels: dict[str, dict[Any, list[int]]]
    ends: dict[str, list[tuple[float, int]]]


def notable(
    part: Loaded, levels: Mapping[str, bool], numbers: Sequence[str], weight: str | None
) -> Notable:
    """Rows that have levels, however rare, and the ends of columns that knots lie between.

    Rows whose entries are all there, and that have a weight, come first.

    Parameters
    ----------
    levels
        Columns that may hold levels; with true, as numbers too. Those of so many values that they
        are none of levels are left out.
    numbers
        Columns whose ends count.
    weight
        The column of weights.
    """
    if not part.n_rows:
        return Notable({}, {})
    frame = part.frame()
    whole = frame.notna().all(axis=1).to_numpy()
    if weight is not None:
        whole = whole & (frame[weight].to_numpy() != 0)
    order = np.argsort(~whole, kind="stable")
    of_levels = {
        name: found
        for name, anything in levels.items()
        if _may_be_levels(part, frame[name], anything)
        and (found := _rows_of_levels(frame[name], order)) is not None
    }
    ends = {
        name: [
            end
            for rows in (whole, np.ones(len(frame), dtype=bool))
            for end in _ends(frame[name].to_numpy(dtype=float), rows)
        ]
        for name in numbers
        if _is_number(frame[name])
    }
    return Notable(of_levels, ends)


def _is_number(column: "pd.Series") -> bool:
    from pandas.api.types import is_bool_dtype, is_numeric_dtype

    return is_numeric_dtype(column) and not is_bool_dtype(column)


def _may_be_levels(part: Loaded, column: "pd.Series", anything: bool) -> bool:
    import pyarrow as pa

    # Lists are none of levels, and refused where the sample is converted.
    nested = pa.types.is_nested(part.table.schema.field(column.name).type)
    return not nested and (anything or not _is_number(column))


def _rows_of_levels(column: "pd.Series", order: np.ndarray) -> dict[Any, list[int]] | None:
    values = column.astype(object).iloc[order]
    there = values.notna().to_numpy()
    values, places = values[there], order[there]
    if values.nunique() > _MOST_LEVELS:
        return None
    kept = (values.groupby(values, sort=False).cumcount() < _ROWS_OF_LEVEL).to_numpy()
    found: dict[Any, list[int]] = {}
    for value, place in zip(values[kept].tolist(), places[kept].tolist(), strict=True):
        found.setdefault(value, []).append(place)
    return found


def _ends(values: np.ndarray, rows: np.ndarray) -> list[tuple[float, int]]:
    """Of some rows, the smallest and the largest value with its place; infinite where none is."""
    places = np.flatnonzero(rows & ~np.isnan(values))
    if not places.size:
        return [(np.inf, -1), (-np.inf, -1)]
    low, high = (places[find(values[places])] for find in (np.argmin, np.argmax))
    return [(float(values[low]), int(low)), (float(values[high]), int(high))]


def notable_rows(parts: Sequence[Notable], firsts: Sequence[int]) -> np.ndarray:
    """Their numbers in the whole table, of what each part says and where it begins."""
    levels: dict[tuple[str, Any], list[int]] = {}
    ends: dict[tuple[str, int], tuple[float, int]] = {}
    for part, first in zip(parts, firsts, strict=True):
        for name, values in part.levels.items():
            for value, places in values.items():
                own = levels.setdefault((name, value), [])
                own += [first + place for place in places][: _ROWS_OF_LEVEL - len(own)]
        for name, found in part.ends.items():
            for which, (value, place) in enumerate(found):
                # Every second one is a largest value.
                best = ends.get((name, which))
                if place >= 0 and (best is None or (value > best[0]) == bool(which % 2)):
                    ends[name, which] = value, first + place
    chosen = {place for own in levels.values() for place in own}
    return np.array(sorted(chosen | {place for _, place in ends.values()}), dtype=np.int64)


def together(parts: Sequence[Loaded]) -> Loaded:
    """The rows of some parts, one after the other, with the types that all can take."""
    import pyarrow as pa

    tables = [part.table for part in parts]
    whole = pa.concat_tables(tables, promote_options="permissive")
    return Loaded(whole, parts[0].name, parts[0].index)
