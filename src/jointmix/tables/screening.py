"""What is wrong with the numbers of a table, before any model is fitted to them."""

from collections.abc import Sequence

import numpy as np

from jointmix.tables.issues import (
    Issue,
    error,
    listed,
    quoted,
    warning,
)
from jointmix.tables.labels import rows_named

LARGEST = 1e150  # Squares of larger numbers leave float64.
SMALLEST_SPREAD = 1e-150  # Squares of smaller deviations vanish in float64.
CONDITION_ERROR, CONDITION_NOTE = 1e10, 1e6
DUPLICATE_SHARE_NOTE = 0.1
#: Significant digits of a column's deviations below which rounding is worth naming.
FEWEST_DIGITS = 4
#: Residual sd over the response's sd from which the response counts as known exactly.
EXACT_RATIO = 1e-8
#: Rows from which a last row that is the sum of the others is no chance.
_ROWS_FOR_TOTAL = 5
#: Share of a column's rows that have ties from which it counts as rounded.
TIED_SHARE_NOTE = 0.5
#: Rows of a QR decomposition.
_QR_ROWS = 16_384
_EPSILON = float(np.finfo(float).eps)


def magnitude_issues(
    values: np.ndarray, names: Sequence[str], labels: np.ndarray | None = None
) -> list[Issue]:
    """Infinite and too large entries, of columns (N, C) whose rows have ``labels`` (N,)."""
    issues = []
    for name, column in zip(names, values.T, strict=True):
        infinite = np.flatnonzero(np.isinf(column))
        if infinite.size:
            statement = (
                f"Column {quoted(name)} has infinite entries: {infinite.size}, the first in "
                f"{rows_named(infinite[:1], labels)}"
            )
            remedy = "replace them or leave those rows out"
            row = int(infinite[0])
            issues.append(error("infinite", statement, remedy, name, row, float(infinite.size)))
        large = np.flatnonzero(np.isfinite(column) & (np.abs(column) > LARGEST))
        if large.size:
            statement = (
                f"Column {quoted(name)} has entries beyond ±{LARGEST:g}, the first in "
                f"{rows_named(large[:1], labels)}"
            )
            remedy = "give it in another unit"
            row = int(large[0])
            issues.append(error("too_large", statement, remedy, name, row, float(large.size)))
    return issues


def missing_issues(
    absent: np.ndarray, names: Sequence[str], may_drop: bool, labels: np.ndarray | None = None
) -> list[Issue]:
    """Missing entries (N, C) of columns in which none may be.

    Parameters
    ----------
    may_drop
        Whether rows may be left out instead: at a fit, not at a prediction.
    labels
        Of the rows, (N,).
    """
    other = ' or leave those rows out with missing="drop"' if may_drop else ""
    issues, blank = [], blank_tail(absent) if may_drop else 0
    kept = len(absent) - blank
    if blank:
        which = "row is" if blank == 1 else f"{blank} rows are"
        first = rows_named([kept], labels)
        statement = f"The last {which} blank in every column used, from {first}"
        issues.append(error("blank_rows", statement, f"delete them{other}", "", kept, float(blank)))
    for name, column in zip(names, absent[:kept].T, strict=True):
        rows = np.flatnonzero(column)
        if rows.size:
            statement = (
                f"Column {quoted(name)} has missing entries: {rows.size}, the first in "
                f"{rows_named(rows[:1], labels)}"
            )
            row, count = int(rows[0]), float(rows.size)
            issues.append(error("missing", statement, f"fill them in{other}", name, row, count))
    return issues


def blank_tail(absent: np.ndarray) -> int:
    """Rows at the end in which everything is missing; 0 if that is so of all rows."""
    blank = absent.all(axis=1)
    if absent.shape[1] < 2 or blank.all():
        return 0
    return int(np.argmin(blank[::-1]))


def spread_issues(values: np.ndarray, names: Sequence[str]) -> list[Issue]:
    """Columns (N, C) that are constant, or vary so little that squares vanish."""
    issues = []
    for name, every in zip(names, values.T, strict=True):
        column = every[~np.isnan(every)]
        if not column.size:
            statement = f"Column {quoted(name)} has no entry in any row used"
            issues.append(error("all_missing", statement, "leave it out", name))
            continue
        spread = float(np.ptp(column))
        if spread == 0:
            statement = (
                f"Column {quoted(name)} is constant: all of the {len(column)} rows used hold "
                f"{column[0]:g}"
            )
            issues.append(error("constant", statement, "leave it out", name, None, 0.0))
        elif spread < SMALLEST_SPREAD:
            statement = (
                f"Column {quoted(name)} varies by only {spread:.3g}, which vanishes when squared"
            )
            remedy = "give it in another unit"
            issues.append(error("small_spread", statement, remedy, name, None, spread))
    return issues


def collinear_issue(
    values: np.ndarray, names: tuple[str, ...], limit: float, constant: bool = True
) -> Issue | None:
    """Columns (N, C) that depend on each other linearly, or nearly so.

    Parameters
    ----------
    limit
        Condition number beyond which that is an error.
    constant
        Whether a constant stands beside them, an intercept or a mean.
    """
    condition, part = condition_number(values, constant)
    if condition <= CONDITION_NOTE:
        return None
    involved = listed(name for name, takes_part in zip(names, part, strict=True) if takes_part)
    if condition > limit:
        statement = (
            f"Columns {involved} are collinear (condition number {condition:.2g}, "
            f"at most {limit:g} is allowed)"
        )
        return error("collinear", statement, "leave one of them out", involved, None, condition)
    message = (
        f"Columns {involved} are nearly collinear (condition number {condition:.2g}), so their "
        "separate slopes or variances are known poorly."
    )
    remedy = "Leave out one of the columns, or read their slopes together."
    return warning("near_collinear", message, remedy, involved, None, condition)


def condition_number(values: np.ndarray, constant: bool = True) -> tuple[float, np.ndarray]:
    """Condition number of the scaled columns, and which of them (C,) take part.

    Parameters
    ----------
    constant
        Whether the columns are centred first.

    Notes
    -----
    From the triangle R of QR, which has the columns' singular values: the Gram matrix would square
    them, and lose condition numbers beyond 1e8.
    """
    center = values.mean(axis=0) if constant else np.zeros(values.shape[1])
    # Subtracting keeps the order, so that these are the largest deviations to the last bit.
    top = np.maximum(np.abs(values.max(axis=0) - center), np.abs(values.min(axis=0) - center))
    triangle = triangle_of(values, center, top)
    triangle = triangle / np.sqrt((triangle**2).sum(axis=0) / len(values))
    _, singular, rows = np.linalg.svd(triangle, full_matrices=len(triangle) < values.shape[1])
    deficient = len(singular) < values.shape[1] or singular[-1] == 0
    condition = np.inf if deficient else float(singular[0] / singular[-1])
    weight = np.abs(rows[-1])
    return condition, weight > 0.05 * weight.max()


def triangle_of(values: np.ndarray, center: np.ndarray, unit: np.ndarray) -> np.ndarray:
    """R of QR of (values − center) / unit, (≤ C, C), a block of rows after the other.

    Method: Demmel et al. (2012), doi:10.1137/080731992.
    """
    found = np.empty((0, values.shape[1]))
    for first in range(0, len(values), _QR_ROWS):
        scaled = (values[first : first + _QR_ROWS] - center) / unit
        found = np.linalg.qr(np.vstack([found, scaled]), mode="r")
    return found


def exact_ratio(u: np.ndarray, y: np.ndarray, constant: bool) -> tuple[float, float]:
    """Residual sd over sd of y (N,) regressed on u (N, R), and what rounding alone leaves of it.

    Parameters
    ----------
    constant
        Whether the regression has an intercept.
    """
    sd = float(y.std())
    scale = np.abs(u).max(axis=0, initial=0.0)
    design = u / np.where(scale > 0, scale, 1)
    target = y
    if constant:
        design, target = design - design.mean(axis=0), y - y.mean()
    spread = np.abs(design).max(axis=0, initial=0.0)
    unit = np.where(spread > 0, spread, 1)
    # The coefficient of a column without spread is zero.
    design = design / unit
    coefficient = np.linalg.lstsq(design, target / sd, rcond=None)[0]
    residual = target / sd - design @ coefficient
    rounding = np.abs(y).max() / sd + (np.abs(coefficient) / unit).sum()
    return float(np.sqrt((residual**2).mean())), 4 * _EPSILON * float(rounding)


def digits_warning(column: np.ndarray, name: str) -> Issue | None:
    """An offset so large against the spread that float64 keeps few digits of what varies."""
    top, sd = float(np.abs(column).max()), float(column.std())
    digits = float(np.log10(sd / np.spacing(top)))
    if digits >= FEWEST_DIGITS:
        return None
    message = (
        f"Column {quoted(name)} varies by {sd:.2g} around values as large as {top:.2g}, so that "
        f"about {max(digits, 0):.0f} significant digits of what varies are left."
    )
    remedy = "Subtract a constant from the column where it was still known in full."
    return warning("digits_lost", message, remedy, name, None, max(digits, 0.0))


def tie_warning(counts: np.ndarray, name: str, harmless: str, codes: bool = False) -> Issue | None:
    """Values of a column that many rows share, as rounding leaves them.

    Parameters
    ----------
    counts
        How many rows have each value, (value,).
    harmless
        Why no cluster can close on them, a clause; "" if one can.
    codes
        Whether it was said already that the column holds few whole numbers.
    """
    if codes and harmless:
        return None
    tied, n = int(counts[counts > 1].sum()), int(counts.sum())
    if tied <= TIED_SHARE_NOTE * n:
        return None
    message = (
        f"Column {quoted(name)} holds rounded values: {tied} of {n} rows share theirs with "
        f"another row ({len(counts)} distinct values)."
    )
    remedy = (
        f"None is needed, {harmless}."
        if harmless
        else "Use a prior on the scale that vanishes at zero faster than any power, such as the "
        "default inverse-gamma; a cluster can otherwise close on tied rows."
    )
    return warning("ties", message, remedy, name, None, tied / n)


def duplicate_warning(
    values: np.ndarray, labels: np.ndarray | None, number: np.ndarray
) -> Issue | None:
    """Rows (n, C) that repeat another row in every column.

    Parameters
    ----------
    labels, number
        What the table calls these rows, and their numbers in it, (n,).
    """
    n = len(values)
    distinct = [len(np.unique(column)) for column in values.T]
    # So few different values cannot but repeat, and rows repeat no more often than each column.
    few = np.prod(np.array(distinct, dtype=float)) <= n
    if few or n - max(distinct, default=0) <= DUPLICATE_SHARE_NOTE * n:
        return None
    _, first, counts = np.unique(values, axis=0, return_index=True, return_counts=True)
    repeated = n - len(counts)
    if repeated <= DUPLICATE_SHARE_NOTE * n:
        return None
    again = np.setdiff1d(np.arange(n), first)[:1]
    message = (
        f"{repeated} of {n} rows repeat another row in every column used, the first "
        f"{rows_named(again, labels, number)}."
    )
    row = int(number[again[0]])
    remedy = "Make sure that no row is counted twice."
    return warning("duplicate_rows", message, remedy, "", row, repeated / n)


def total_warning(values: np.ndarray, names: Sequence[str]) -> Issue | None:
    """A last row (of N, C) that is the sum of all others in every column."""
    n = len(values)
    if n < _ROWS_FOR_TOTAL:
        return None
    sums = values[:-1].sum(axis=0)
    size = np.abs(values[:-1]).sum(axis=0)
    # Decimal fractions add up to within rounding; entries of a real row do not.
    same = np.abs(values[-1] - sums) <= 1e-9 * size
    if not (same & (sums != 0)).all():
        return None
    message = f"The last row is the sum of all others in {listed(names)}."
    remedy = "Delete that row if it is a row of totals."
    return warning("total_row", message, remedy, listed(names), None, float(n))
