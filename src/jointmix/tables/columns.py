"""Columns of a table in any container as float64: the one place where numbers are converted."""

import numbers
from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

import narwhals as nw
import numpy as np

from jointmix.tables.absent import absent_issue
from jointmix.tables.cells import (
    NUMBER,
    TOTAL_WORDS,
    Kind,
    kinds_of,
)
from jointmix.tables.gathering import gathered
from jointmix.tables.issues import (
    Issue,
    error,
    listed,
    quoted,
    raise_first,
    warning,
)
from jointmix.tables.labels import row_labels, rows_named
from jointmix.tables.levels import coded_column
from jointmix.tables.part_sources import in_parts, open_parts


@dataclass(frozen=True, eq=False)
class Columns:
    """What was read of a table.

    Parameters
    ----------
    values
        Column -> (N,) float64, missing entries as NaN; only columns that hold numbers.
    issues
        Everything that was found on the way, errors and warnings.
    labels
        What the table calls its rows, (N,); None where they have none but their numbers.
    levels
        Of columns of categories or words, whose values are codes: the labels, in their order.
    """

    values: dict[str, np.ndarray]
    issues: tuple[Issue, ...]
    labels: np.ndarray | None = None
    levels: dict[str, tuple[str, ...]] = field(default_factory=dict)


def read_columns(
    table: object,
    required: Iterable[str],
    optional: Iterable[str] = (),
    coded: Mapping[str, bool] | None = None,
) -> dict[str, np.ndarray]:
    """Columns of a table as new float64 arrays, missing entries as NaN.

    Parameters
    ----------
    table
        A pandas, polars or pyarrow table, a mapping of names to columns (an xarray Dataset of
        1-d variables is one), a NumPy structured array, or a table in parts, as
        `jointmix.tables.part_sources.open_parts` takes it, of which only these columns are read.
    required
        Columns that the table must have.
    optional
        Columns that are read where the table has them.
    coded
        As `convert` takes it.

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
    read = convert(table, required, optional, coded)
    raise_first(read.issues)
    return read.values


def convert(
    table: object,
    required: Iterable[str],
    optional: Iterable[str] = (),
    coded: Mapping[str, bool] | None = None,
    truths: Collection[str] = (),
) -> Columns:
    """As `read_columns`, with what is wrong as issues: nothing is raised.

    Parameters
    ----------
    coded
        Columns that may hold categories or words, which become codes; with true, any texts.
    truths
        Those of them in which truth values become codes too, and not numbers.

    Returns
    -------
    Columns
        The columns that could be converted, and all that was found.
    """
    wanted, others, parts = [*required], {}, None
    if in_parts(table):
        parts = open_parts(table)
        others = dict.fromkeys(parts.columns, ())
        table = gathered(parts, [name for name in (*wanted, *optional) if name in others])
    found = _columns_of(table)
    if isinstance(found, Issue):
        return Columns({}, (found,))
    found = others | found
    absent = [name for name in wanted if name not in found]
    issues = [absent_issue(absent, list(found))] if absent else []
    wanted = [name for name in wanted if name in found]
    wanted += [name for name in optional if name in found and name not in wanted]
    labelled = row_labels(table, wanted)
    labels = None if isinstance(labelled, Issue) else labelled
    values, levels, may = {}, {}, coded or {}
    for name in wanted:
        of_levels = None
        if name in may:
            of_levels = coded_column(found[name], may[name], name in truths)
        if of_levels is not None:
            values[name], levels[name] = of_levels
            continue
        result = _to_float(found[name], name, labels, copy=parts is None)
        if isinstance(result, np.ndarray):
            values[name] = result
        else:
            issues += result
    issues += _length_issues(values)
    issues += _name_issues(found)
    issues += _label_issues(found, wanted)
    if isinstance(labelled, Issue):
        issues.append(labelled)
    return Columns(values, tuple(issues), labels, levels)


def _length_issues(values: dict[str, np.ndarray]) -> list[Issue]:
    sizes = {name: len(column) for name, column in values.items()}
    if len(set(sizes.values())) < 2:
        return []
    first, *others = sizes
    other = next(name for name in others if sizes[name] != sizes[first])
    statement = (
        f"Columns must have equal lengths; {quoted(first)} has {sizes[first]} rows and "
        f"{quoted(other)} has {sizes[other]}"
    )
    return [error("unequal_lengths", statement, "give each row an entry in each column", other)]


def _name_issues(found: Mapping[Any, Any]) -> list[Issue]:
    nameless = [
        place
        for place, name in enumerate(found)
        if name is None or (isinstance(name, str) and _is_nameless(name, place))
    ]
    if not nameless:
        return []
    places = ", ".join(str(place) for place in nameless[:12])
    message = f"{len(nameless)} of {len(found)} columns have no name (place {places}, from 0)."
    remedy = "Name them, or delete them: spreadsheets and saved row numbers leave such columns."
    return [warning("unnamed_columns", message, remedy, value=float(len(nameless)))]


def _is_nameless(name: str, place: int) -> bool:
    # pandas gives a column that a file does not name this one.
    return not name.strip() or name == f"Unnamed: {place}"


def _label_issues(found: Mapping[Any, Any], used: list[str]) -> list[Issue]:
    """A last row that other columns call a total."""
    for name, column in found.items():
        last = None if name in used else _last_entry(column)
        if isinstance(last, str) and last.strip().lower() in TOTAL_WORDS:
            message = f"The last row is called {quoted(last)} in column {quoted(name)}."
            remedy = "Delete that row if it sums up the others."
            return [warning("total_row", message, remedy, str(name))]
    return []


def _last_entry(column: Any) -> object:
    series = nw.from_native(column, series_only=True, pass_through=True)
    if isinstance(series, nw.Series):
        return series.tail(1).to_list()[0] if len(series) else None
    if isinstance(column, list | tuple) or (isinstance(column, np.ndarray) and column.ndim == 1):
        return column[-1] if len(column) else None
    return None


def _columns_of(table: Any) -> dict[Any, Any] | Issue:
    """The columns by name, each still in its own container."""
    if isinstance(table, Mapping):
        return {name: table[name] for name in table}
    if isinstance(table, np.ndarray):
        if table.dtype.names is None:
            return error(
                "no_names",
                f"A NumPy array of shape {table.shape} has no column names",
                "give a dict of columns, a DataFrame or a structured array",
            )
        return {name: table[name] for name in table.dtype.names}
    try:
        frame = nw.from_native(table, eager_only=True)
        return {name: frame.get_column(name) for name in frame.columns}
    except nw.exceptions.DuplicateError:
        arrow = nw.dependencies.is_pyarrow_table(table)
        counts = Counter(table.column_names if arrow else table.columns)
        twice = [name for name, count in counts.items() if count > 1]
        statement = f"The table names the column {listed(twice)} more than once"
        return error("repeated_column", statement, "rename it", str(twice[0]))
    except TypeError:
        return error(
            "not_a_table",
            "A table must be a pandas, polars or pyarrow table, a dict of columns or a NumPy "
            f"structured array; got {type(table).__name__}",
            "convert it first",
        )


def _to_float(
    column: Any, name: str, labels: np.ndarray | None, copy: bool
) -> np.ndarray | list[Issue]:
    array = _to_array(column, name)
    if isinstance(array, Issue):
        return [array]
    if array.ndim != 1:
        statement = f"Column {quoted(name)} must be one-dimensional, got the shape {array.shape}"
        return [error("wrong_shape", statement, "give one number a row", name)]
    if array.dtype.kind in "fiub":
        return array.astype(np.float64, order="C", copy=copy)
    if array.dtype.kind in "OUST":
        return _from_objects(array, name, labels)
    statement = f"Column {quoted(name)} must hold real numbers, got {array.dtype}"
    code, remedy = "wrong_type", "convert it to numbers first"
    if array.dtype.kind in "mM":
        code, remedy = "date", "convert it first, such as to days since a fixed date"
    return [error(code, statement, remedy, name)]


def _to_array(column: Any, name: str) -> np.ndarray | Issue:
    if isinstance(column, np.ma.MaskedArray):
        return np.ma.filled(column.astype(object), np.nan)
    series = nw.from_native(column, series_only=True, pass_through=True)
    if isinstance(series, nw.Series):
        if isinstance(series.dtype, nw.Categorical | nw.Enum):
            return error(
                "categories",
                f"Column {quoted(name)} holds categories",
                "replace them by numbers or by columns of 0 and 1",
                name,
            )
        return series.to_numpy()
    try:
        array = np.asarray(column)
        # A list of mixed types becomes text in NumPy, which hides which entry was text.
        return array if array.dtype.kind not in "US" else np.asarray(column, dtype=object)
    except (ValueError, TypeError):
        statement = f"Column {quoted(name)} is not a sequence of numbers"
        return error("wrong_shape", statement, "give one number a row", name)


def _from_objects(
    array: np.ndarray, name: str, labels: np.ndarray | None
) -> np.ndarray | list[Issue]:
    values = np.empty(len(array))
    texts: dict[int, str | bytes] = {}
    others: dict[int, object] = {}
    for row, item in enumerate(array.tolist()):
        if isinstance(item, str | bytes):
            texts[row] = item
        elif item is None or type(item).__name__ in ("NAType", "NaTType"):
            values[row] = np.nan
        elif isinstance(item, numbers.Real | Decimal | np.bool_):
            values[row] = _number(item)
        else:
            others[row] = item
    if not texts and not others:
        return values
    return _text_issues(texts, name, labels) + _object_issues(others, name, labels)


def _number(item: Any) -> float:
    try:
        return float(item)
    except OverflowError:
        return np.inf


def _text_issues(
    texts: dict[int, str | bytes], name: str, labels: np.ndarray | None
) -> list[Issue]:
    """One issue for each kind of text that a column holds, in the order of their first rows."""
    rows: dict[Kind, list[int]] = {}
    for row, kind in zip(texts, kinds_of(list(texts.values())), strict=True):
        rows.setdefault(kind, []).append(row)
    # Of a column read as text, the entry that is no number is the one worth naming.
    if len(rows) > 1:
        rows.pop(NUMBER, None)
    issues = []
    for kind, where in rows.items():
        clause = f", {kind.clause}" if kind.clause else ""
        more = f" (and {len(where) - 1} more like it)" if len(where) > 1 else ""
        statement = _holds(name, where[0], labels, "text", texts[where[0]]) + clause + more
        issues.append(error(kind.code, statement, kind.remedy, name, where[0], float(len(where))))
    return issues


def _object_issues(others: dict[int, object], name: str, labels: np.ndarray | None) -> list[Issue]:
    if not others:
        return []
    row, item = next(iter(others.items()))
    statement = _holds(name, row, labels, type(item).__name__, item)
    remedy = "convert the column first"
    return [error("not_a_number", statement, remedy, name, row, float(len(others)))]


def _holds(name: str, row: int, labels: np.ndarray | None, kind: str, item: object) -> str:
    return (
        f"Column {quoted(name)} must hold numbers, but {rows_named([row], labels)} holds the "
        f"{kind} {quoted(item)}"
    )
