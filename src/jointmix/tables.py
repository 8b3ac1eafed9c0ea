"""Tables as they come: columns of any container as float64, files, and files of packages."""

import csv
import difflib
import importlib.util
import io
import numbers
from collections import Counter
from collections.abc import Iterable, Mapping
from decimal import Decimal
from pathlib import Path, PurePath
from typing import TYPE_CHECKING, Any

import narwhals as nw
import numpy as np

from jointmix.errors import ColumnTypeError, DataError, MissingExtraError

if TYPE_CHECKING:
    import pandas as pd

SEPARATORS = {".csv": ",", ".tsv": "\t", ".txt": "\t"}


def quoted(name: object) -> str:
    """The name in quotes, with control signs escaped, shortened to 80 characters."""
    text = repr(name)
    return text if len(text) <= 80 else f"{text[:60]}…' ({len(str(name))} characters)"


def listed(names: Iterable[object], most: int = 12) -> str:
    """The names quoted and joined by commas, with a count of those beyond ``most``."""
    words = [quoted(name) for name in names]
    rest = f" and {len(words) - most} more" if len(words) > most else ""
    return ", ".join(words[:most]) + rest


def read_columns(
    table: object, required: Iterable[str], optional: Iterable[str] = ()
) -> dict[str, np.ndarray]:
    """Columns of a table as new float64 arrays, missing entries as NaN.

    Parameters
    ----------
    table
        A pandas, polars or pyarrow table, a mapping of names to columns (an xarray Dataset of
        1-d variables is one), or a NumPy structured array.
    required
        Columns that the table must have.
    optional
        Columns that are read where the table has them.

    Returns
    -------
    dict
        name -> (N,), in the order asked for.

    Raises
    ------
    DataError
        If the table is of another kind, lacks a column, names one twice, or its columns
        differ in length.
    ColumnTypeError
        If a column does not hold real numbers.
    """
    columns = _columns_of(table)
    wanted = [*required]
    absent = [name for name in wanted if name not in columns]
    if absent:
        raise DataError(_absent_message(absent, list(columns)))
    wanted += [name for name in optional if name in columns and name not in wanted]
    values = {name: _to_float(columns[name], name) for name in wanted}
    _check_lengths(values)
    return values


def _absent_message(absent: list[str], present: list[object]) -> str:
    names = [name for name in present if isinstance(name, str)]
    close = difflib.get_close_matches(absent[0], names, n=1)
    hint = f" (did you mean {quoted(close[0])}?)" if close else ""
    word = "column" if len(absent) == 1 else "columns"
    return f"The table has no {word} {listed(absent)}{hint}; it has {listed(present) or 'none'}."


def _check_lengths(values: dict[str, np.ndarray]) -> None:
    sizes = {name: len(column) for name, column in values.items()}
    if len(set(sizes.values())) > 1:
        first, *others = sizes
        other = next(name for name in others if sizes[name] != sizes[first])
        raise DataError(
            f"Columns must have equal lengths; {quoted(first)} has {sizes[first]} rows and "
            f"{quoted(other)} has {sizes[other]}."
        )


def _columns_of(table: Any) -> dict[Any, Any]:
    """The columns by name, each still in its own container."""
    if isinstance(table, Mapping):
        return {name: table[name] for name in table}
    if isinstance(table, np.ndarray):
        if table.dtype.names is None:
            raise DataError(
                f"A NumPy array of shape {table.shape} has no column names; give a dict of "
                "columns, a DataFrame or a structured array."
            )
        return {name: table[name] for name in table.dtype.names}
    try:
        frame = nw.from_native(table, eager_only=True)
        return {name: frame.get_column(name) for name in frame.columns}
    except nw.exceptions.DuplicateError as error:
        arrow = nw.dependencies.is_pyarrow_table(table)
        counts = Counter(table.column_names if arrow else table.columns)
        twice = [name for name, count in counts.items() if count > 1]
        raise DataError(
            f"The table names the column {listed(twice)} more than once; rename it."
        ) from error
    except TypeError as error:
        raise DataError(
            "A table must be a pandas, polars or pyarrow table, a dict of columns or a NumPy "
            f"structured array; got {type(table).__name__}."
        ) from error


def _to_float(column: Any, name: str) -> np.ndarray:
    array = _to_array(column, name)
    if array.ndim != 1:
        raise DataError(
            f"Column {quoted(name)} must be one-dimensional, got the shape {array.shape}."
        )
    if array.dtype.kind in "fiub":
        return array.astype(np.float64, order="C", copy=True)
    if array.dtype.kind in "OUST":
        return _from_objects(array, name)
    raise ColumnTypeError(f"Column {quoted(name)} must hold real numbers, got {array.dtype}.")


def _to_array(column: Any, name: str) -> np.ndarray:
    if isinstance(column, np.ma.MaskedArray):
        return np.ma.filled(column.astype(object), np.nan)
    series = nw.from_native(column, series_only=True, pass_through=True)
    if isinstance(series, nw.Series):
        if isinstance(series.dtype, nw.Categorical | nw.Enum):
            raise ColumnTypeError(
                f"Column {quoted(name)} holds categories; replace them by numbers or by "
                "columns of 0 and 1."
            )
        return series.to_numpy()
    try:
        array = np.asarray(column)
        # A list of mixed types becomes text in NumPy, which hides which entry was text.
        return array if array.dtype.kind not in "US" else np.asarray(column, dtype=object)
    except (ValueError, TypeError) as error:
        raise DataError(f"Column {quoted(name)} is not a sequence of numbers.") from error


def _from_objects(array: np.ndarray, name: str) -> np.ndarray:
    values = np.empty(len(array))
    text: tuple[int, object] | None = None
    for row, item in enumerate(array.tolist()):
        if isinstance(item, str | bytes):
            # Of a column read as text, the entry that is no number is the one worth naming.
            if not _reads_as_number(item):
                raise _not_a_number(name, row, item)
            text = text or (row, item)
        else:
            values[row] = _number(item, name, row)
    if text is not None:
        raise _not_a_number(name, *text)
    return values


def _reads_as_number(text: str | bytes) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _not_a_number(name: str, row: int, item: object) -> ColumnTypeError:
    kind = "text" if isinstance(item, str | bytes) else type(item).__name__
    return ColumnTypeError(
        f"Column {quoted(name)} must hold numbers, but row {row} (from 0) holds the {kind} "
        f"{quoted(item)}; convert the column first."
    )


def _number(item: object, name: str, row: int) -> float:
    if item is None or type(item).__name__ in ("NAType", "NaTType"):
        return np.nan
    if not isinstance(item, numbers.Real | Decimal | np.bool_):
        raise _not_a_number(name, row, item)
    try:
        return float(item)
    except OverflowError:
        return np.inf


def read_table(path: str | Path) -> "pd.DataFrame":
    """A table from a .csv, .tsv, .txt (tab-separated) or .parquet file.

    Text must be UTF-8, with or without a byte-order mark, and have one header line.

    Raises
    ------
    DataError
        If the file is absent, empty, of another kind, not UTF-8, or has ragged rows or
        repeated column names; the message names the file, and the line where there is one.
    MissingExtraError
        If a .parquet file is given and no engine for it is installed.
    """
    path = Path(path)
    suffix = path.suffix.lower()
    if suffix != ".parquet" and suffix not in SEPARATORS:
        kinds = ", ".join([*SEPARATORS, ".parquet"])
        raise DataError(f"{path}: a table must be one of {kinds}; got {quoted(suffix)}.")
    try:
        raw = path.read_bytes()
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror}).") from error
    return _parquet(raw, path) if suffix == ".parquet" else _text_table(raw, path)


def _parquet(raw: bytes, path: Path) -> "pd.DataFrame":
    import pandas as pd

    try:
        return pd.read_parquet(io.BytesIO(raw))
    except ImportError as error:
        raise MissingExtraError(
            f"{path}: reading .parquet needs pyarrow; install it, or give a .csv file."
        ) from error
    except (ValueError, OSError, NotImplementedError) as error:
        raise DataError(f"{path}: is not a readable .parquet file.") from error


def _text_table(raw: bytes, path: Path) -> "pd.DataFrame":
    import pandas as pd

    text = _decode(raw, path)
    separator = SEPARATORS[path.suffix.lower()]
    _check_rows(text, separator, path)
    try:
        return pd.read_csv(
            io.StringIO(text),
            sep=separator,
            index_col=False,
            float_precision="round_trip",
            low_memory=False,
        )
    except ValueError as error:
        raise DataError(f"{path}: cannot be read as a table ({error}).") from error


def _decode(raw: bytes, path: Path) -> str:
    zero = raw.find(b"\0")
    if zero >= 0:
        line = raw.count(b"\n", 0, zero) + 1
        raise DataError(f"{path}, line {line}: holds a NUL byte, so it is not a text table.")
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        raise DataError(
            f"{path}, line {line}: is not UTF-8 (byte {raw[error.start]:#x}); "
            "save the file as UTF-8."
        ) from error


def _check_rows(text: str, separator: str, path: Path) -> None:
    """Refuse what pandas repairs in silence: repeated names (``a.1``) and ragged rows."""
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=separator, strict=True)
    header: list[str] = []
    rows = 0
    try:
        for record in reader:
            if not record:
                continue
            if not header:
                header = record
                _check_header(header, path, reader.line_num)
                continue
            rows += 1
            if len(record) != len(header):
                raise DataError(
                    f"{path}, line {reader.line_num}: has {len(record)} entries, "
                    f"but the header names {len(header)} columns."
                )
    except csv.Error as error:
        raise DataError(f"{path}, line {reader.line_num}: {error}.") from error
    if not rows:
        what = "has a header but no rows" if header else "is empty"
        raise DataError(f"{path}: {what}.")


def _check_header(header: list[str], path: Path, line: int) -> None:
    twice = [name for name, count in Counter(header).items() if name and count > 1]
    if twice:
        raise DataError(f"{path}, line {line}: names the column {listed(twice)} more than once.")
    if len(header) == 1 and any(sign in header[0] for sign in ";\t,"):
        raise DataError(
            f"{path}, line {line}: the header is one name, {quoted(header[0])}; "
            ".csv needs commas between columns, .tsv and .txt need tabs."
        )


def package_file(package: str, path: str) -> Path:
    """A data file inside an installed package, found without importing the package.

    Raises
    ------
    MissingExtraError
        If the package is not installed.
    DataError
        If the name is not that of a top-level package, the path leaves the package's folder,
        or there is no such file.
    """
    if not package.isidentifier():
        raise DataError(f"A package must be named as in 'import name'; got {quoted(package)}.")
    spec = importlib.util.find_spec(package)
    if spec is None:
        raise MissingExtraError(
            f"The package {quoted(package)}, which holds the data {quoted(path)}, is not installed."
        )
    inside = PurePath(path)
    if inside.is_absolute() or ".." in inside.parts:
        raise DataError(f"A path inside a package must not leave it; got {quoted(path)}.")
    for folder in spec.submodule_search_locations or ():
        root = Path(folder).resolve()
        found = (root / inside).resolve()
        if found.is_relative_to(root) and found.is_file():
            return found
    raise DataError(f"The package {quoted(package)} has no file {quoted(path)}.")
