"""What is wrong, or worth knowing, about the weights of a table's rows."""

import numpy as np

from jointmix.tables.issues import Issue, error, quoted, warning
from jointmix.tables.labels import rows_named
from jointmix.tables.screening import magnitude_issues, missing_issues

#: How far from one the mean of weights may lie, relatively, that are scaled to it.
_SCALED = 1e-3


def effective_number(weight: np.ndarray) -> float:
    """(Σ w)² / Σ w² of weights (obs,): rows of equal weight that would say as much (Kish 1965)."""
    scaled = weight / weight.max()
    return float(scaled.sum() ** 2 / (scaled**2).sum())


def weight_issues(
    weight: np.ndarray, name: str, labels: np.ndarray | None = None, of_part: bool = False
) -> list[Issue]:
    """Weights (N,) that are missing, infinite, too large, negative; of a whole table, all zero."""
    column = weight[:, None]
    issues = missing_issues(np.isnan(column), [name], False, labels)
    issues += magnitude_issues(column, [name], labels)
    negative = np.flatnonzero(weight < 0)
    if negative.size:
        statement = (
            f"Row weights must be 0 or more, and column {quoted(name)} has negative entries: "
            f"{negative.size}, the first in {rows_named(negative[:1], labels)}"
        )
        row, count = int(negative[0]), float(negative.size)
        remedy = "give a row that shall not count the weight 0"
        issues.append(error("negative_weight", statement, remedy, name, row, count))
    if (weight == 0).all() and not of_part:
        statement = f"Every row has the weight 0 in column {quoted(name)}, so that none enters"
        issues.append(error("no_weight", statement, "give weights above 0", name, None, 0.0))
    return issues


def weight_words(weight: np.ndarray) -> str:
    """Sum, range and effective number of weights (obs,), in words."""
    return (
        f"{len(weight)} rows of weights {weight.min():.6g} to {weight.max():.6g}, "
        f"{weight.sum():.6g} in all, with an effective number of {effective_number(weight):.6g}"
    )


def is_frequency(weight: np.ndarray) -> bool:
    """Whether weights are whole numbers, as if rows were repeated."""
    return bool((weight == np.floor(weight)).all())


def n_copies(weight: np.ndarray | None, usable: np.ndarray) -> int:
    """Observations that the usable rows (obs,) stand for; weights may be wrong."""
    if weight is None or not np.isfinite(weight).all() or not is_frequency(weight[usable]):
        return int(usable.sum())
    return int(weight[usable].sum())


def standing_places(copies: np.ndarray, most: int) -> np.ndarray:
    """Places of rows, each as often as it has copies (obs,).

    Of more than ``most`` copies, so many, or as many as there are rows, are taken in equal steps.
    """
    return places_in_steps(copies, max(most, len(copies)))


def places_in_steps(copies: np.ndarray, most: int) -> np.ndarray:
    """Places of the rows of at most so many copies, of all copies (obs,), in equal steps."""
    until = copies.cumsum()
    n = round(until[-1])
    at = np.linspace(0, n - 1, min(n, most)).round()
    return np.searchsorted(until, at, side="right")


def weight_notes(
    weight: np.ndarray, n_zeros: int, n_rows: int, name: str
) -> tuple[Issue | None, Issue]:
    """Of weights (obs,), > 0, and of rows of the table that have none."""
    return _zero_note(n_zeros, n_rows, name), _weight_note(weight, name)


def _weight_note(weight: np.ndarray, name: str) -> Issue:
    """What weights (obs,), > 0, make of the posterior, and how many rows they stand for."""
    total, n = float(weight.sum()), len(weight)
    if is_frequency(weight):
        message = (
            f"Rows count as often as column {quoted(name)} says, as if they were repeated: "
            f"{weight_words(weight)}."
        )
        return warning("row_weights", message, "", name, None, total)
    message = (
        f"The row weights {quoted(name)} are not whole numbers, which makes a pseudo-posterior "
        "(Savitsky and Toth 2016, doi:10.1214/16-EJS1153): each row's log likelihood counts as "
        "much as the row weighs, and intervals are as wide as the sum of the weights says, not as "
        f"the design from which they come: {weight_words(weight)}."
    )
    remedy = "Take estimates as those of the weighted rows, and intervals as approximate."
    if abs(total / n - 1) > _SCALED:
        remedy = "Scale the weights to a mean of one if they are sampling weights. " + remedy
    return warning("pseudo_posterior", message, remedy, name, None, total)


def _zero_note(n_zeros: int, n_rows: int, name: str) -> Issue | None:
    """Rows that do not enter because their weight is 0; None if there are none."""
    if n_zeros == 0:
        return None
    verb, whose = ("does", "its") if n_zeros == 1 else ("do", "their")
    message = f"{n_zeros} of {n_rows} rows {verb} not enter, {whose} weight {quoted(name)} being 0."
    return warning("zero_weights", message, "", name, None, float(n_zeros))
