"""One part of a table, as it was read: what the worker of a cluster holds of it."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from jointmix.tables.parts import Parts, as_frame, of_table

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa


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


def together(parts: Sequence[Loaded]) -> Loaded:
    """The rows of some parts, one after the other, with the types that all can take."""
    import pyarrow as pa

    tables = [part.table for part in parts]
    whole = pa.concat_tables(tables, promote_options="permissive")
    return Loaded(whole, parts[0].name, parts[0].index)
