"""What is wrong, or worth knowing, about an input: one value a problem, one sentence each."""

import json
import math
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Literal

from jointmix.base.errors import (
    ColumnTypeError,
    DataError,
    JointmixError,
    MemoryLimitError,
    MissingExtraError,
    SpecError,
)

Severity = Literal["error", "warning"]

#: Errors that the codes of issues become; all others become a DataError.
_ERRORS: dict[str, type[JointmixError]] = {
    **dict.fromkeys(
        (
            *("not_a_number", "number_as_text", "decimal_comma", "thousands_separator"),
            *("spreadsheet_error", "percent", "currency", "date", "missing_as_text"),
            *("typographic_minus", "yes_no", "unit", "total_row", "categories", "wrong_type"),
        ),
        ColumnTypeError,
    ),
    "nothing_free": SpecError,
    "missing_extra": MissingExtraError,
    "memory": MemoryLimitError,
}


@dataclass(frozen=True, kw_only=True)
class Issue:
    """One problem of an input.

    Parameters
    ----------
    code
        What kind of problem, such as "missing" or "ties".
    severity
        "error" where the model cannot be fitted, "warning" where it can.
    message
        One sentence. That of an error ends with the remedy, and is what `make_dataset` raises.
    column
        The column, or columns in quotes joined by commas; "" for none.
    row
        The first row concerned, from 0; None for none.
    value
        The number that was judged, such as a share or a count; None for none.
    remedy
        What to do, a sentence; "" where nothing is.

    Examples
    --------
    >>> spec = jm.ModelSpec(n_clusters=1, features=["x"])
    >>> (issue,) = jm.check({"x": [1.0, 2.0, 4.0, "12 kg"]}, spec).errors
    >>> issue.code, issue.column, issue.row
    ('unit', 'x', 3)
    """

    code: str
    severity: Severity
    message: str
    column: str = ""
    row: int | None = None
    value: float | None = None
    remedy: str = ""

    def as_dict(self) -> dict[str, str | int | float | None]:
        """The fields, fit for JSON: a number that is not finite becomes None."""
        finite = self.value is not None and math.isfinite(self.value)
        return asdict(self) | {"value": self.value if finite else None}

    def as_error(self) -> JointmixError:
        """The exception that refuses the input for this."""
        return _ERRORS.get(self.code, DataError)(self.message)


def error(
    code: str,
    statement: str,
    remedy: str,
    column: str = "",
    row: int | None = None,
    value: float | None = None,
) -> Issue:
    """An issue that prevents the fit; ``statement`` and ``remedy`` are clauses, no full stops."""
    return Issue(
        code=code,
        severity="error",
        message=f"{statement}; {remedy}.",
        column=column,
        row=row,
        value=value,
        remedy=f"{remedy[:1].upper()}{remedy[1:]}.",
    )


def warning(
    code: str,
    message: str,
    remedy: str,
    column: str = "",
    row: int | None = None,
    value: float | None = None,
) -> Issue:
    """An issue that does not prevent the fit; ``message`` and ``remedy`` are sentences."""
    return Issue(
        code=code,
        severity="warning",
        message=message,
        column=column,
        row=row,
        value=value,
        remedy=remedy,
    )


def raise_first(issues: Iterable[Issue]) -> None:
    """Refuse the input for the first error among ``issues``; later ones are not asked for.

    Raises
    ------
    DataError, ColumnTypeError, SpecError, MissingExtraError, MemoryLimitError
        As the issue's code has it.
    """
    for issue in issues:
        if issue.severity == "error":
            raise issue.as_error()


def to_json(issues: Iterable[Issue]) -> str:
    """Issues as JSON, a list of objects, without NaN."""
    return json.dumps([issue.as_dict() for issue in issues], allow_nan=False)


def quoted(name: object) -> str:
    """The name in quotes, with control signs escaped, shortened to 80 characters."""
    text = repr(name)
    return text if len(text) <= 80 else f"{text[:60]}…' ({len(str(name))} characters)"


def listed(names: Iterable[object], most: int = 12) -> str:
    """The names quoted and joined by commas, with a count of those beyond ``most``."""
    words = [quoted(name) for name in names]
    rest = f" and {len(words) - most} more" if len(words) > most else ""
    return ", ".join(words[:most]) + rest
