"""A table becomes a frozen Dataset: columns chosen, converted, checked, described."""

import hashlib
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from jointmix.errors import DataError
from jointmix.spec import ModelSpec
from jointmix.tables import listed, quoted, read_columns

LARGEST = 1e150  # Squares of larger numbers leave float64.
SMALLEST_SPREAD = 1e-150  # Squares of smaller deviations vanish in float64.
CONDITION_ERROR, CONDITION_NOTE = 1e10, 1e6
TIED_SHARE_NOTE = 0.5
DUPLICATE_SHARE_NOTE = 0.1


@dataclass(frozen=True, eq=False)
class Dataset:
    """The rows and columns that a model is fitted to.

    Parameters
    ----------
    columns
        Names, in the order of the spec: features, further predictors, response.
    values
        (N, C), float64, C-contiguous, read-only, on the users' scale.
    row
        (N,), row numbers, from 0, in the table given.
    n_rows
        Rows of the table given; N or more.
    missing
        Column -> number of missing entries in the rows left out; empty if none was.
    digest
        SHA-256, hexadecimal, over column names and values; equal numbers give equal digests,
        whatever table they came in.
    """

    columns: tuple[str, ...]
    values: np.ndarray
    row: np.ndarray
    n_rows: int
    missing: dict[str, int]
    digest: str

    def select(self, names: Iterable[str]) -> np.ndarray:
        """Columns by name, (N, len(names)), a copy.

        Raises
        ------
        DataError
            If a name is not among the columns.
        """
        chosen = list(names)
        absent = [name for name in chosen if name not in self.columns]
        if absent:
            raise DataError(f"The data have no column {listed(absent)}, only {self.columns}.")
        places = [self.columns.index(name) for name in chosen]
        return np.ascontiguousarray(self.values[:, places])


@dataclass(frozen=True)
class Note:
    """Something about the data worth knowing before the fit.

    Parameters
    ----------
    code
        "ties", "near_collinear", "duplicate_rows" or "rows_left_out".
    subject
        The column or columns concerned; empty for whole rows.
    value
        The share of rows, or the condition number.
    message
        One sentence.
    """

    code: str
    subject: str
    value: float
    message: str


def make_dataset(table: object, spec: ModelSpec, for_fit: bool = True) -> Dataset:
    """Convert and check the columns that ``spec`` names.

    Parameters
    ----------
    table
        A pandas, polars or pyarrow table, a mapping of names to columns, or a NumPy
        structured array; it is copied.
    spec
        The model, which says what the columns are for and what missing entries mean.
    for_fit
        Whether the rows must be enough for a fit, and columns free of collinearity.

    Raises
    ------
    DataError
        If a column is absent, repeated, constant or collinear with others, entries are
        infinite, too large or (with ``missing="error"``) missing, or rows are too few.
    ColumnTypeError
        If a column does not hold real numbers.
    """
    named = read_columns(table, spec.columns)
    values = np.column_stack([named[name] for name in spec.columns])
    n_rows = len(values)
    if n_rows == 0:
        raise DataError("The table has no rows.")
    _check_magnitude(values, spec.columns)
    absent = np.isnan(values)
    if spec.missing == "error":
        _refuse_missing(absent, spec.columns, ' or leave those rows out with missing="drop"')
    row = np.flatnonzero(~absent.any(axis=1))
    values = np.ascontiguousarray(values[row])
    counts = absent.sum(axis=0)
    missing = {name: int(n) for name, n in zip(spec.columns, counts, strict=True) if n}
    if for_fit or len(row) == 0:
        _check_row_count(len(row), n_rows, spec)
    _check_spread(values, spec.columns)
    dataset = Dataset(spec.columns, values, row, n_rows, missing, _digest(spec.columns, values))
    if for_fit:
        _check_collinear(dataset, spec)
    values.flags.writeable = False
    row.flags.writeable = False
    return dataset


def new_rows(
    table: object,
    columns: Sequence[str],
    optional: Sequence[str] = (),
    may_miss: Sequence[str] = (),
) -> dict[str, np.ndarray]:
    """Rows to predict for: column -> (N,) float64, on the users' scale.

    Columns that are not asked for are ignored; optional ones are read where the table has them;
    entries may be missing, as NaN, in the columns ``may_miss`` alone.

    Raises
    ------
    DataError
        If a column is absent or repeated, there are no rows, or entries are missing, infinite
        or too large.
    ColumnTypeError
        If a column does not hold real numbers.
    """
    named = read_columns(table, columns, optional)
    names = tuple(named)
    if any(len(column) == 0 for column in named.values()):
        raise DataError("The table has no rows.")
    values = np.column_stack(list(named.values())) if named else np.empty((0, 0))
    _check_magnitude(values, names)
    refused = np.isnan(values) & np.array([name not in may_miss for name in names], dtype=bool)
    _refuse_missing(refused, names, "")
    return named


def notes(dataset: Dataset, spec: ModelSpec) -> tuple[Note, ...]:
    """What a reader of the fit should know about its data: ties, near-collinear columns,
    duplicate rows, rows left out.

    Ties are counted in the columns that have a density, the features and the response.
    """
    found = [_tie_note(dataset, name) for name in dataset.columns if name in _modelled(spec)]
    found += [_collinear_note(dataset, names) for names in _groups(spec)]
    found += [_duplicate_note(dataset), _left_out_note(dataset)]
    return tuple(note for note in found if note is not None)


def minimum_rows(spec: ModelSpec) -> int:
    """The fewest rows with which each of K clusters could have its own parameters."""
    of_features = (len(spec.features) + 1 if spec.covariance == "full" else 2) * bool(spec.features)
    of_response = (len(spec.predictors) + 2) * (spec.response is not None)
    return spec.n_clusters * max(of_features, of_response)


def _modelled(spec: ModelSpec) -> tuple[str, ...]:
    return (*spec.features, *((spec.response,) if spec.response else ()))


def _groups(spec: ModelSpec) -> list[tuple[str, ...]]:
    """The columns that must be linearly independent of each other and of the constant."""
    # Diagonal, spherical and fixed covariances have an inverse whatever the columns are.
    features = spec.features if spec.covariance in ("full", "tied") else ()
    groups = {tuple(features): None, tuple(spec.predictors): None}
    return [names for names in groups if len(names) > 1]


def _digest(columns: Sequence[str], values: np.ndarray) -> str:
    digest = hashlib.sha256(json.dumps(list(columns)).encode())
    # Adding zero turns −0.0, which equals 0.0 but has other bytes, into 0.0.
    digest.update((values + 0.0).astype("<f8").tobytes())
    return digest.hexdigest()


def _check_magnitude(values: np.ndarray, names: Sequence[str]) -> None:
    for name, column in zip(names, values.T, strict=True):
        infinite = np.flatnonzero(np.isinf(column))
        if infinite.size:
            raise DataError(
                f"Column {quoted(name)} has infinite entries: {infinite.size}, the first in row "
                f"{infinite[0]} (from 0); replace them or leave those rows out."
            )
        large = np.flatnonzero(np.abs(column) > LARGEST)
        if large.size:
            raise DataError(
                f"Column {quoted(name)} has entries beyond ±{LARGEST:g}, the first in row "
                f"{large[0]} (from 0); give it in another unit."
            )


def _refuse_missing(absent: np.ndarray, names: Sequence[str], remedy: str) -> None:
    for name, column in zip(names, absent.T, strict=True):
        rows = np.flatnonzero(column)
        if rows.size:
            raise DataError(
                f"Column {quoted(name)} has missing entries: {rows.size}, the first in row "
                f"{rows[0]} (from 0); fill them in{remedy}."
            )


def _check_row_count(n: int, n_rows: int, spec: ModelSpec) -> None:
    least = minimum_rows(spec)
    if n < least:
        complete = "" if n == n_rows else f" complete ones (of {n_rows})"
        raise DataError(
            f"This model needs at least {least} rows (K = {spec.n_clusters}), got {n}{complete}; "
            "use fewer clusters or columns."
        )


def _check_spread(values: np.ndarray, names: Sequence[str]) -> None:
    for name, column in zip(names, values.T, strict=True):
        spread = np.ptp(column)
        if spread == 0:
            raise DataError(
                f"Column {quoted(name)} is constant: all of the {len(column)} rows used hold "
                f"{column[0]:g}; leave it out."
            )
        if spread < SMALLEST_SPREAD:
            raise DataError(
                f"Column {quoted(name)} varies by only {spread:.3g}, which vanishes when "
                "squared; give it in another unit."
            )


def _condition(values: np.ndarray) -> tuple[float, np.ndarray]:
    """Condition number of the standardised columns, and which of them (C,) take part."""
    centred = values - values.mean(axis=0)
    scaled = centred / np.abs(centred).max(axis=0)
    scaled /= np.sqrt((scaled**2).mean(axis=0))
    _, singular, rows = np.linalg.svd(scaled, full_matrices=len(scaled) < scaled.shape[1])
    deficient = len(singular) < values.shape[1] or singular[-1] == 0
    condition = np.inf if deficient else float(singular[0] / singular[-1])
    weight = np.abs(rows[-1])
    return condition, weight > 0.05 * weight.max()


def _check_collinear(dataset: Dataset, spec: ModelSpec) -> None:
    for names in _groups(spec):
        condition, part = _condition(dataset.select(names))
        if condition > CONDITION_ERROR:
            involved = [name for name, takes_part in zip(names, part, strict=True) if takes_part]
            raise DataError(
                f"Columns {listed(involved)} are collinear (condition number {condition:.2g}, "
                f"at most {CONDITION_ERROR:g} is allowed); leave one of them out."
            )


def _collinear_note(dataset: Dataset, names: tuple[str, ...]) -> Note | None:
    condition, part = _condition(dataset.select(names))
    if condition <= CONDITION_NOTE:
        return None
    involved = listed(name for name, takes_part in zip(names, part, strict=True) if takes_part)
    message = (
        f"Columns {involved} are nearly collinear (condition number {condition:.2g}), so their "
        "separate slopes or variances are known poorly."
    )
    return Note("near_collinear", involved, condition, message)


def _tie_note(dataset: Dataset, name: str) -> Note | None:
    column = dataset.select([name])[:, 0]
    _, counts = np.unique(column, return_counts=True)
    tied, n = int(counts[counts > 1].sum()), len(column)
    if tied <= TIED_SHARE_NOTE * n:
        return None
    message = (
        f"Column {quoted(name)} holds rounded values: {tied} of {n} rows share theirs with "
        f"another row ({len(counts)} distinct values)."
    )
    return Note("ties", name, tied / n, message)


def _duplicate_note(dataset: Dataset) -> Note | None:
    n = len(dataset.values)
    repeated = n - len(np.unique(dataset.values, axis=0))
    if repeated <= DUPLICATE_SHARE_NOTE * n:
        return None
    message = f"{repeated} of {n} rows repeat another row in every column used."
    return Note("duplicate_rows", "", repeated / n, message)


def _left_out_note(dataset: Dataset) -> Note | None:
    left_out = dataset.n_rows - len(dataset.row)
    if left_out == 0:
        return None
    parts = [f"{quoted(name)} {count}" for name, count in dataset.missing.items()]
    message = (
        f"{left_out} of {dataset.n_rows} rows are left out because entries are missing "
        f"({', '.join(parts)})."
    )
    return Note("rows_left_out", ", ".join(dataset.missing), left_out / dataset.n_rows, message)
