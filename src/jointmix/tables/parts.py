"""Tables that are read a part at a time, with what their pieces have in common."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import TYPE_CHECKING, Any

from jointmix.base.errors import DataError
from jointmix.tables.absent import absent_issue
from jointmix.tables.issues import quoted, raise_first

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

#: Rows that are read at a time, at most.
ROWS_AT_A_TIME = 65_536


@dataclass(frozen=True, eq=False)
class Piece:
    """A file, a fragment of a dataset or a partition: what a table in parts is made of.

    Attributes
    ----------
    name
        What sentences call it.
    batches
        Its rows by columns, a few at a time.
    schema
        None where only reading tells.
    n_rows
        None where only reading tells.
    mark
        What changes if the piece does.
    """

    name: str
    batches: Callable[[Sequence[str]], Iterable[Any]]
    schema: "pa.Schema | None" = None
    n_rows: int | None = None
    mark: str = ""


@dataclass(frozen=True, eq=False)
class Parts:
    """A table of several pieces, in their order; its rows are numbered through.

    Attributes
    ----------
    origin
        What sentences call the table.
    columns
        Names.
    pieces
        At least one.
    index
        Columns that hold what pandas called the rows.
    """

    origin: str
    columns: tuple[str, ...]
    pieces: tuple[Piece, ...]
    index: tuple[str, ...] = ()

    def common_schema(self) -> "pa.Schema | None":
        """Types that all pieces' columns can take, the index behind; None where reading tells."""
        import pyarrow as pa

        schemas = [piece.schema for piece in self.pieces if piece.schema is not None]
        if len(schemas) < len(self.pieces):
            return None
        names = (*self.columns, *self.index)
        fields = [_common_field([each.field(name) for each in schemas]) for name in names]
        return pa.schema(fields, schemas[0].metadata if self.index else None)

    @property
    def n_rows(self) -> int | None:
        """Rows of all pieces, where that is known before they are read."""
        known = [piece.n_rows for piece in self.pieces]
        return None if None in known else sum(n for n in known if n is not None)

    def require(self, columns: Iterable[str]) -> None:
        """Refuse a table that lacks a column, or a piece of which holds it as something else.

        Raises
        ------
        DataError
            Naming the piece and the column.
        """
        wanted = [*columns]
        absent = [name for name in wanted if name not in self.columns]
        raise_first([absent_issue(absent, self.columns)] if absent else [])
        known = [piece for piece in self.pieces if piece.schema is not None]
        for name in (*wanted, *self.index):
            first: tuple[Piece, str] | None = None
            for piece in known:
                kind = _kind(piece, name, known[0])
                if first is not None and kind not in ("", first[1]):
                    raise DataError(
                        f"{piece.name}: column {quoted(name)} holds {kind}, but {first[1]} in "
                        f"{first[0].name}; write all parts with the same types."
                    )
                first = (piece, kind) if first is None and kind else first

    def tables(
        self, place: int, columns: Sequence[str], most: int = ROWS_AT_A_TIME
    ) -> Iterator["pa.Table"]:
        """The rows of one piece, at most ``most`` at a time, with the index columns behind.

        Raises
        ------
        DataError
            If the piece cannot be read to its end, or holds no such column.
        """
        piece = self.pieces[place]
        asked = list(dict.fromkeys((*columns, *self.index)))
        yield from _regrouped(_read(piece, asked), most)

    def frames(
        self, place: int, columns: Sequence[str], first: int, most: int = ROWS_AT_A_TIME
    ) -> Iterator["pd.DataFrame"]:
        """As `tables`, for pandas.

        Parameters
        ----------
        first
            The number of the piece's first row, from 0, in the whole table.
        """
        for table in self.tables(place, columns, most):
            yield as_frame(table, self.index, first)
            first += table.num_rows

    def __iter__(self) -> Iterator["pd.DataFrame"]:
        """All columns of all pieces in their order, a few rows at a time."""
        first = 0
        for place in range(len(self.pieces)):
            for frame in self.frames(place, self.columns, first):
                yield frame
                first += len(frame)


def as_frame(table: "pa.Table", index: Sequence[str], first: int) -> "pd.DataFrame":
    """Rows for pandas, called what ``index`` columns say, or numbered from ``first``."""
    import pandas as pd

    frame: pd.DataFrame = table.to_pandas()
    if not index:
        frame.index = pd.RangeIndex(first, first + len(frame))
    return frame


def of_table(table: "pa.Table", name: str, index: tuple[str, ...] = ()) -> Parts:
    """A table in memory as one piece of that name; ``index`` are columns of it."""
    columns = tuple(each for each in table.column_names if each not in index)
    return Parts(name, columns, (Piece(name, _Chosen(table), table.schema, table.num_rows),), index)


@dataclass(frozen=True, eq=False)
class _Chosen:
    """Hands out columns of a table."""

    table: "pa.Table"

    def __call__(self, columns: Sequence[str]) -> Iterator["pa.Table"]:
        """All rows at once."""
        yield self.table.select(list(columns))


def whole_frame(parts: Parts) -> "pd.DataFrame":
    """All columns of all pieces at once, with the types that all pieces can take."""
    import pyarrow as pa

    parts.require(parts.columns)
    found = [
        table for place in range(len(parts.pieces)) for table in parts.tables(place, parts.columns)
    ]
    if not found:
        raise DataError(f"{parts.origin}: has no rows; give at least one.")
    common = parts.common_schema()
    found = found if common is None else [table.cast(common) for table in found]
    return as_frame(pa.concat_tables(found, promote_options="permissive"), parts.index, 0)


def _read(piece: Piece, columns: Sequence[str]) -> Iterator["pa.Table"]:
    import pyarrow as pa

    try:
        for batch in piece.batches(columns):
            table = batch if isinstance(batch, pa.Table) else pa.Table.from_batches([batch])
            if table.num_rows:
                yield table
    except (OSError, ValueError, KeyError, NotImplementedError) as error:
        raise DataError(
            f"{piece.name}: cannot be read to its end ({first_line(error)})."
        ) from error


def _regrouped(tables: Iterator["pa.Table"], most: int) -> Iterator["pa.Table"]:
    """The same rows, ``most`` at a time but for the last."""
    import pyarrow as pa

    waiting: list[pa.Table] = []
    n = 0
    for table in chain(tables, [None]):
        if table is not None:
            waiting.append(table)
            n += table.num_rows
        while n >= most or (table is None and n):
            whole = pa.concat_tables(waiting, promote_options="permissive")
            yield whole[:most]
            waiting, n = [whole[most:]], max(n - most, 0)


def _kind(piece: Piece, name: str, first: Piece) -> str:
    """What a piece holds in a column, in words; "" where all its entries are missing."""
    import pyarrow as pa

    assert piece.schema is not None
    if name not in piece.schema.names:
        raise DataError(
            f"{piece.name}: lacks the column {quoted(name)}, which {first.name} has; write it "
            "again, or take it away."
        )
    kind = piece.schema.field(name).type
    if pa.types.is_dictionary(kind):
        kind = kind.value_type
    if pa.types.is_null(kind):
        return ""
    if holds_text(kind):
        return "texts"
    if pa.types.is_integer(kind) or pa.types.is_floating(kind):
        return "numbers"
    return str(kind)


def _common_field(fields: "Sequence[pa.Field]") -> "pa.Field":
    import pyarrow as pa

    kinds = [each.type for each in fields]
    if not all(pa.types.is_dictionary(kind) for kind in kinds):
        kinds = [kind.value_type if pa.types.is_dictionary(kind) else kind for kind in kinds]
    alone = [pa.schema([(fields[0].name, kind)]) for kind in kinds]
    return pa.unify_schemas(alone, promote_options="permissive").field(0)


def holds_text(kind: "pa.DataType") -> bool:
    """Whether a type is one of texts."""
    import pyarrow as pa

    tests = (pa.types.is_string, pa.types.is_large_string, pa.types.is_string_view)
    return any(test(kind) for test in tests)


def first_line(error: Exception) -> str:
    """The first line of what an error says, without its full stop."""
    lines = str(error).strip().splitlines()
    return lines[0].rstrip(".") if lines else type(error).__name__
