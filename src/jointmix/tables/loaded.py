"""One part of a table, as it was read: what the worker of a cluster holds of it."""

from collections.abc import Mapping, Sequence
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


def partitions(frame: Any, parts: Parts, columns: Sequence[str], client: Any) -> list[Any]:
    """Futures of the partitions of a Dask DataFrame, each where a cluster's worker made it."""
    chosen = frame[list(columns)].to_delayed()
    made = client.compute(list(chosen))
    return [
        client.submit(of_partition, each, piece.name, pure=False)
        for each, piece in zip(made, parts.pieces, strict=True)
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


def rows_of_levels(
    part: Loaded, names: Mapping[str, bool], weight: str | None
) -> dict[str, dict[Any, list[int]]]:
    """The values that columns of levels have in a part, each with up to two rows that have it.

    Rows whose entries are all there, and that have a weight, come first.

    Parameters
    ----------
    names
        Columns that may hold levels; with true, as numbers too. Those of so many values that they
        are none of levels are left out.
    weight
        The column of weights.
    """
    import pyarrow as pa
    from pandas.api.types import is_bool_dtype, is_numeric_dtype

    frame = part.frame()
    whole = frame.notna().all(axis=1).to_numpy()
    if weight is not None:
        whole = whole & (frame[weight].to_numpy() != 0)
    order = np.argsort(~whole, kind="stable")
    found: dict[str, dict[Any, list[int]]] = {}
    for name, anything in names.items():
        if is_numeric_dtype(frame[name]) and not (anything or is_bool_dtype(frame[name])):
            continue
        # Lists are none of levels, and refused where the sample is converted.
        if pa.types.is_nested(part.table.schema.field(name).type):
            continue
        values = frame[name].astype(object).iloc[order]
        values = values[values.notna()]
        if values.nunique() > _MOST_LEVELS:
            continue
        places = order[frame[name].notna().to_numpy()[order]]
        kept = (values.groupby(values, sort=False).cumcount() < _ROWS_OF_LEVEL).to_numpy()
        own: dict[Any, list[int]] = {}
        for value, place in zip(values[kept].tolist(), places[kept].tolist(), strict=True):
            own.setdefault(value, []).append(place)
        found[name] = own
    return found


def first_rows(
    parts: Sequence[dict[str, dict[Any, list[int]]]], firsts: Sequence[int]
) -> np.ndarray:
    """Numbers in the whole table of up to two rows of each level, of what each part says."""
    found: dict[tuple[str, Any], list[int]] = {}
    for part, first in zip(parts, firsts, strict=True):
        for name, levels in part.items():
            for value, places in levels.items():
                own = found.setdefault((name, value), [])
                own += [first + place for place in places][: _ROWS_OF_LEVEL - len(own)]
    return np.array(sorted({place for own in found.values() for place in own}), dtype=np.int64)


def together(parts: Sequence[Loaded]) -> Loaded:
    """The rows of some parts, one after the other, with the types that all can take."""
    import pyarrow as pa

    tables = [part.table for part in parts]
    whole = pa.concat_tables(tables, promote_options="permissive")
    return Loaded(whole, parts[0].name, parts[0].index)
