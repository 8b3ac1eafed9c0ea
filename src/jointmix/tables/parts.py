"""Tables that are read a part at a time: Parquet files and folders, datasets, lazy frames."""

import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

import narwhals as nw

from jointmix.base.arguments import file_path
from jointmix.base.errors import DataError, MissingExtraError
from jointmix.tables.absent import absent_issue
from jointmix.tables.issues import quoted, raise_first

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

#: Rows that are read at a time, at most.
ROWS_AT_A_TIME = 65_536
#: What pandas' own description in a file is called.
_PANDAS = b"pandas"


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


def in_parts(table: object) -> bool:
    """Whether a table is one that is read a part at a time; nothing is opened."""
    return (
        isinstance(table, Parts | str | os.PathLike)
        or type(table).__module__ == "pyarrow._dataset"
        or nw.dependencies.is_polars_lazyframe(table)
        or nw.dependencies.is_dask_dataframe(table)
    )


def open_parts(table: object) -> Parts:
    """A table that is `in_parts`, or one in memory as a single piece.

    Parameters
    ----------
    table
        A Parquet file or a folder of such (those of one folder in the order of their names, as
        pyarrow has it; folders named ``year=2020`` are a column), a pyarrow Dataset (its
        fragments), a Dask DataFrame (its partitions), or a polars LazyFrame, of which the whole
        is one piece and whose query has to keep its order.

    Raises
    ------
    DataError
        If it is none of these, there is no such folder or nothing in it, or a file is no Parquet
        file to its end.
    MissingExtraError
        If pyarrow is not installed.

    Examples
    --------
    >>> from pathlib import Path
    >>> import pandas as pd
    >>> from jointmix.tables.parts import open_parts
    >>> Path("months").mkdir()
    >>> for month in (1, 2):
    ...     pd.DataFrame({"x": [month, month + 0.5]}).to_parquet(f"months/{month}.parquet")
    >>> parts = open_parts("months")
    >>> parts.n_rows, [frame.index.tolist() for frame in parts]
    (4, [[0, 1], [2, 3]])
    """
    if isinstance(table, Parts):
        return table
    _require_pyarrow()
    if isinstance(table, str | os.PathLike):
        return _of_path(file_path(table, DataError))
    if type(table).__module__ == "pyarrow._dataset":
        return _of_dataset(table, "The dataset")
    if nw.dependencies.is_polars_lazyframe(table):
        return _of_lazy(table)
    if nw.dependencies.is_dask_dataframe(table):
        return _of_dask(table)
    if isinstance(table, Mapping) or nw.dependencies.is_into_dataframe(table):
        return _of_memory(table)
    raise DataError(
        "A table in parts must be a Parquet file or a folder of such, a pyarrow Dataset, a polars "
        f"LazyFrame or a Dask DataFrame; got {quoted(type(table).__name__)}."
    )


def _require_pyarrow() -> None:
    try:
        import pyarrow.dataset  # noqa: F401
    except ImportError as error:
        raise MissingExtraError(
            "A table in parts needs the extra parquet: pip install 'jointmix[parquet]'."
        ) from error


def _of_path(path: Path) -> Parts:
    import pyarrow.dataset as ds

    if not path.exists():
        raise DataError(f"{path}: there is no such file or folder.")
    if path.is_file() and path.suffix.lower() != ".parquet":
        raise DataError(
            f"{path}: a table given by its place must be a .parquet file or a folder of such; "
            "read others first, as by pandas.read_csv."
        )
    try:
        found = ds.dataset(str(path), format="parquet", partitioning="hive")
    except (OSError, ValueError, NotImplementedError) as error:
        raise DataError(_unreadable(path, error)) from error
    if not found.files:
        raise DataError(f"{path}: holds no .parquet file.")
    return _of_dataset(found, str(path))


def _unreadable(path: Path, error: Exception) -> str:
    """Which file below a path is no Parquet file."""
    import pyarrow.parquet as pq

    files = [path] if path.is_file() else sorted(each for each in path.rglob("*") if each.is_file())
    for file in files:
        if any(part.startswith((".", "_")) for part in file.relative_to(path).parts):
            continue
        try:
            pq.read_schema(file)
        except (OSError, ValueError, NotImplementedError) as reason:
            return f"{file}: is not a readable .parquet file ({_first_line(reason)})."
    return f"{path}: is no table that can be read in parts ({_first_line(error)})."


def _of_dataset(dataset: Any, origin: str) -> Parts:
    import pyarrow as pa
    import pyarrow.dataset as ds

    pieces = []
    for number, fragment in enumerate(dataset.get_fragments()):
        name = getattr(fragment, "path", f"{origin}, fragment {number}")
        try:
            schema, n_rows = fragment.physical_schema, fragment.count_rows()
        except (OSError, ValueError, NotImplementedError) as error:
            raise DataError(
                f"{name}: is not a readable .parquet file ({_first_line(error)})."
            ) from error
        for key in ds.get_partition_keys(fragment.partition_expression):
            schema = schema if key in schema.names else schema.append(dataset.schema.field(key))
        pieces.append(Piece(name, _fragment_reader(fragment, schema), schema, n_rows, _mark(name)))
    if not pieces:
        raise DataError(f"{origin}: holds no rows, as it has no part.")
    first = pieces[0].schema
    assert isinstance(first, pa.Schema)
    index = _index_columns(first)
    columns = tuple(name for name in first.names if name not in index)
    return Parts(origin, columns, tuple(pieces), index)


def _fragment_reader(fragment: Any, schema: "pa.Schema") -> Callable[[Sequence[str]], Any]:
    import pyarrow.dataset as ds

    plain = isinstance(fragment, ds.ParquetFileFragment)
    # Pages ahead of what is asked for would be held beside it.
    options = ds.ParquetFragmentScanOptions(pre_buffer=False) if plain else None

    def read(columns: Sequence[str]) -> Any:
        return fragment.to_batches(
            schema=schema, columns=list(columns), batch_size=ROWS_AT_A_TIME, batch_readahead=1,
            fragment_readahead=1, fragment_scan_options=options,
        )  # fmt: skip

    return read


def _mark(name: str) -> str:
    try:
        status = os.stat(name)
    except OSError:
        return ""
    return f"{status.st_size} {status.st_mtime_ns}"


def _index_columns(schema: "pa.Schema") -> tuple[str, ...]:
    """The columns that pandas made of an index; one that was numbers in a row leaves none."""
    described = schema.pandas_metadata if _PANDAS in (schema.metadata or {}) else {}
    named = described.get("index_columns", ())
    return tuple(name for name in named if isinstance(name, str) and name in schema.names)


def _of_memory(table: Any) -> Parts:
    import pandas as pd
    import pyarrow as pa

    name = "The table"
    try:
        frame = pd.DataFrame(dict(table)) if isinstance(table, Mapping) else table
        if nw.dependencies.is_pandas_dataframe(frame):
            whole = pa.Table.from_pandas(frame)
        else:
            whole = nw.from_native(frame, eager_only=True).to_arrow()
    except (ValueError, TypeError) as error:
        raise DataError(f"The table is none that Parquet holds ({_first_line(error)}).") from error
    index = _index_columns(whole.schema)
    columns = tuple(each for each in whole.column_names if each not in index)

    def read(chosen: Sequence[str]) -> Iterator[Any]:
        yield whole.select(list(chosen))

    return Parts(name, columns, (Piece(name, read, whole.schema, whole.num_rows),), index)


def _of_lazy(frame: Any) -> Parts:
    schema = frame.collect_schema()
    empty = schema.to_frame().to_arrow().schema

    def read(columns: Sequence[str]) -> Iterator[Any]:
        chosen = frame.select(list(columns))
        for batch in chosen.collect_batches(chunk_size=ROWS_AT_A_TIME, maintain_order=True):
            yield batch.to_arrow()

    return Parts("The lazy frame", tuple(schema.names()), (Piece("The lazy frame", read, empty),))


def _of_dask(frame: Any) -> Parts:
    def piece(number: int) -> Piece:
        def read(columns: Sequence[str]) -> Iterator[Any]:
            import pyarrow as pa

            found = frame.partitions[number][list(columns)].compute()
            yield pa.Table.from_pandas(found, preserve_index=False)

        return Piece(f"Partition {number} of the Dask DataFrame", read)

    columns = tuple(str(name) for name in frame.columns)
    return Parts("The Dask DataFrame", columns, tuple(map(piece, range(frame.npartitions))))


def _read(piece: Piece, columns: Sequence[str]) -> Iterator["pa.Table"]:
    import pyarrow as pa

    try:
        for batch in piece.batches(columns):
            table = batch if isinstance(batch, pa.Table) else pa.Table.from_batches([batch])
            if table.num_rows:
                yield table
    except (OSError, ValueError, KeyError, NotImplementedError) as error:
        raise DataError(
            f"{piece.name}: cannot be read to its end ({_first_line(error)})."
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

    if len({each.type for each in fields}) > 1:
        plain = [each.type.value_type if pa.types.is_dictionary(each.type) else each.type
                 for each in fields]  # fmt: skip
        alone = [pa.schema([(fields[0].name, kind)]) for kind in plain]
        return pa.unify_schemas(alone, promote_options="permissive").field(0)
    return fields[0].with_nullable(True)


def holds_text(kind: "pa.DataType") -> bool:
    """Whether a type is one of texts."""
    import pyarrow as pa

    tests = (pa.types.is_string, pa.types.is_large_string, pa.types.is_string_view)
    return any(test(kind) for test in tests)


def _first_line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return lines[0].rstrip(".") if lines else type(error).__name__
