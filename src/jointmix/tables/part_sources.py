"""What is read a part at a time: Parquet files and folders, datasets, lazy frames."""

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import narwhals as nw

from jointmix.base.arguments import file_path
from jointmix.base.errors import DataError, MissingExtraError
from jointmix.tables.issues import quoted
from jointmix.tables.parts import ROWS_AT_A_TIME, Parts, Piece, first_line, of_table

if TYPE_CHECKING:
    import pyarrow as pa

#: What pandas' own description in a file is called.
_PANDAS = b"pandas"


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
        A Parquet file or a folder of such by its place or an address that pyarrow knows, such as
        ``s3://bucket/rows`` (files of one folder in the order of their names, as pyarrow has it;
        folders named ``year=2020`` are a column), a pyarrow Dataset (its
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
    >>> from jointmix.tables.part_sources import open_parts
    >>> Path("months").mkdir()
    >>> for month in (1, 2):
    ...     pd.DataFrame({"x": [month, month + 0.5]}).to_parquet(f"months/{month}.parquet")
    >>> parts = open_parts("months")
    >>> parts.n_rows, [frame.index.tolist() for frame in parts]
    (4, [[0, 1], [2, 3]])
    """
    if isinstance(table, Parts):
        return table
    require_pyarrow()
    if isinstance(table, str) and "://" in table:
        return _of_address(table)
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


def require_pyarrow() -> None:
    """Refuse to go on without pyarrow.

    Raises
    ------
    MissingExtraError
        Naming the extra.
    """
    try:
        import pyarrow.dataset  # noqa: F401
    except ImportError as error:
        raise MissingExtraError(
            "A table in parts needs the extra parquet: pip install 'jointmix[parquet]'."
        ) from error


def _of_path(path: Path) -> Parts:
    import pyarrow.dataset as ds

    # Those of os.path say no where a name cannot be; pathlib's raise.
    if not os.path.exists(path):
        raise DataError(f"{path}: there is no such file or folder.")
    if os.path.isfile(path) and path.suffix.lower() != ".parquet":
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


def _of_address(address: str) -> Parts:
    import pyarrow.dataset as ds

    try:
        found = ds.dataset(address, format="parquet", partitioning="hive")
        files = found.files
    except FileNotFoundError as error:
        raise DataError(f"{address}: there is no such file or folder.") from error
    except (OSError, ValueError, NotImplementedError) as error:
        raise DataError(f"{address}: is no table in parts ({first_line(error)}).") from error
    if not files:
        raise DataError(f"{address}: holds no .parquet file.")
    return _of_dataset(found, address)


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
            return f"{file}: is not a readable .parquet file ({first_line(reason)})."
    return f"{path}: is no table that can be read in parts ({first_line(error)})."


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
                f"{name}: is not a readable .parquet file ({first_line(error)})."
            ) from error
        for key in ds.get_partition_keys(fragment.partition_expression):
            schema = schema if key in schema.names else schema.append(dataset.schema.field(key))
        pieces.append(Piece(name, _Fragment(fragment, schema), schema, n_rows, _mark(fragment)))
    if not pieces:
        raise DataError(f"{origin}: holds no rows, as it has no part.")
    first = pieces[0].schema
    assert isinstance(first, pa.Schema)
    index = _index_columns(first)
    columns = tuple(name for name in first.names if name not in index)
    return Parts(origin, columns, tuple(pieces), index)


@dataclass(frozen=True, eq=False)
class _Fragment:
    """Reads a fragment of a dataset by a schema."""

    fragment: Any
    schema: "pa.Schema"

    def __call__(self, columns: Sequence[str]) -> Any:
        """Its rows, a few at a time."""
        import pyarrow.dataset as ds

        plain = isinstance(self.fragment, ds.ParquetFileFragment)
        # Pages ahead of what is asked for would be held beside it.
        options = ds.ParquetFragmentScanOptions(pre_buffer=False) if plain else None
        return self.fragment.to_batches(
            schema=self.schema, columns=list(columns), batch_size=ROWS_AT_A_TIME,
            batch_readahead=1, fragment_readahead=1, fragment_scan_options=options,
        )  # fmt: skip


def _mark(fragment: Any) -> str:
    place = getattr(fragment, "path", None)
    if place is None:
        return ""
    try:
        status = fragment.filesystem.get_file_info(place)
    except OSError:
        return ""
    return f"{status.size} {status.mtime_ns}"


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
        raise DataError(f"The table is none that Parquet holds ({first_line(error)}).") from error
    return of_table(whole, name, _index_columns(whole.schema))


def _of_lazy(frame: Any) -> Parts:
    schema = frame.collect_schema()
    empty = schema.to_frame().to_arrow().schema
    piece = Piece("The lazy frame", _Lazy(frame), empty)
    return Parts("The lazy frame", tuple(schema.names()), (piece,))


@dataclass(frozen=True, eq=False)
class _Lazy:
    """Collects a lazy frame of polars."""

    frame: Any

    def __call__(self, columns: Sequence[str]) -> Iterator[Any]:
        """Its rows, a few at a time."""
        chosen = self.frame.select(list(columns))
        for batch in chosen.collect_batches(chunk_size=ROWS_AT_A_TIME, maintain_order=True):
            yield batch.to_arrow()


def _of_dask(frame: Any) -> Parts:
    pieces = [
        Piece(f"Partition {number} of the Dask DataFrame", _Partition(frame, number))
        for number in range(frame.npartitions)
    ]
    columns = tuple(str(name) for name in frame.columns)
    return Parts("The Dask DataFrame", columns, tuple(pieces))


@dataclass(frozen=True, eq=False)
class _Partition:
    """Computes a partition of a Dask DataFrame."""

    frame: Any
    number: int

    def __call__(self, columns: Sequence[str]) -> Iterator[Any]:
        """Its rows at once."""
        import pyarrow as pa

        found = self.frame.partitions[self.number][list(columns)].compute()
        yield pa.Table.from_pandas(found, preserve_index=False)
