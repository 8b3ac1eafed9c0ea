"""Tables in files, and files of packages."""

import csv
import importlib.util
import io
import os
from collections import Counter
from collections.abc import Sequence
from pathlib import Path, PurePath
from typing import TYPE_CHECKING, Any

from jointmix.base.arguments import file_path
from jointmix.base.errors import DataError, MissingExtraError
from jointmix.tables.gathering import gathered
from jointmix.tables.issues import listed, quoted
from jointmix.tables.part_sources import open_parts
from jointmix.tables.parts import whole_frame

if TYPE_CHECKING:
    import pandas as pd

SEPARATORS = {".csv": ",", ".tsv": "\t", ".txt": "\t"}
#: Cells that are read as missing. Spreadsheets' error cells (``#N/A``) are not among them: what
#: went wrong there is to be looked at.
MISSING_CELLS = ("", "NA", "N/A", "n/a", "NaN", "nan", "NULL", "null", "None", "<NA>")


def read_table(path: str | Path, columns: Sequence[str] | None = None) -> "pd.DataFrame":
    """A table from a .csv, .tsv, .txt (tab-separated) or .parquet file, or a folder of .parquet.

    Text must be UTF-8, with or without a byte-order mark, and have one header line. Entries
    that are empty, or say so as ``NA``, ``N/A``, ``NaN``, ``NULL`` or ``None``, are missing.

    Parameters
    ----------
    columns
        All that is read of .parquet, in as few bytes as they take; None for all columns. Other
        files are read whole.

    Raises
    ------
    DataError
        If the file is absent, empty, of another kind, not UTF-8, or has ragged rows or
        repeated column names; the message names the file, and the line where there is one.
    MissingExtraError
        If a .parquet file is given and no engine for it is installed.
    """
    path = file_path(path, DataError)
    suffix = path.suffix.lower()
    if os.path.isdir(path) or (suffix == ".parquet" and columns is not None):
        parts = open_parts(path)
        return whole_frame(parts) if columns is None else gathered(parts, columns)
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
            keep_default_na=False,
            na_values=list(MISSING_CELLS),
            low_memory=False,
            **_exactly(),
        )
    except ValueError as error:
        raise DataError(f"{path}: cannot be read as a table ({error}).") from error


def _exactly() -> dict[str, Any]:
    """What pandas is told so that it reads a number's nearest double: since 3.1 it always does."""
    import pandas as pd

    known = tuple(int(part) for part in pd.__version__.split(".")[:2])
    return {} if known >= (3, 1) else {"float_precision": "round_trip"}


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


def label_rows(table: "pd.DataFrame", columns: Sequence[str]) -> "pd.DataFrame":
    """The table with what ``columns`` say of each row as its row labels.

    Raises
    ------
    DataError
        If a column is absent, or a row has no entry there.
    """
    import pandas as pd

    for name in columns:
        require_column(table, name, "of row labels")
    known = table[list(columns)]
    absent = known.isna().any(axis=1).to_numpy().nonzero()[0]
    if absent.size:
        more = f" (and {absent.size - 1} more like it)" if absent.size > 1 else ""
        raise DataError(
            f"Row {absent[0]} (from 0){more} has no label: its entry in {listed(columns)} is "
            "empty, or a word for missing such as NA; fill it, or take another id."
        )
    index = pd.Index(known[columns[0]]) if len(columns) == 1 else pd.MultiIndex.from_frame(known)
    return table.set_axis(index.set_names([None] * len(columns)))


def require_unique_labels(table: "pd.DataFrame", columns: Sequence[str]) -> None:
    """Refuse a table in which two rows have the same label.

    Raises
    ------
    DataError
        Naming the label, and how many rows repeat one.
    """
    again = table.index.duplicated()
    if again.any():
        label = table.index[again][0]
        rows = "1 row repeats" if again.sum() == 1 else f"{again.sum()} rows repeat"
        raise DataError(
            f"Row labels must differ, but {rows} another's label in {listed(columns)}, such as "
            f"{quoted(label)}; give more columns, as in id = ['country', 'year']."
        )


def require_column(table: "pd.DataFrame", name: str, what: str) -> None:
    """Refuse a table without a column.

    Raises
    ------
    DataError
        Saying what the column was wanted for, and which there are.
    """
    if name not in table.columns:
        raise DataError(
            f"The table has no column {quoted(name)} {what}; it has {listed(table.columns)}."
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
