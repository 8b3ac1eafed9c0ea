"""What a text entry of a column is, where a number was expected, and what to do about it."""

import re
from dataclasses import dataclass

#: Words that tables use for a missing entry.
MISSING_WORDS = frozenset(
    {"", "-", "--", ".", "?", "na", "n/a", "n.a.", "nan", "none", "null", "nil", "missing"}
)
#: Words that begin the last row of a table that sums itself up.
TOTAL_WORDS = frozenset(
    {"total", "totals", "sum", "grand total", "subtotal", "summe", "gesamt", "mean", "average"}
)
_NUMBER = r"[+-]?(?:\d+(?:[.,]\d*)?|[.,]\d+)(?:[eE][+-]?\d+)?"
_GROUPED = r"\d{1,3}(?:[,'’\u00a0\u202f\u2009 ]\d{3})+"
_CURRENCY = r"(?:[$€£¥₹]|EUR|USD|GBP|CHF|JPY)"


@dataclass(frozen=True)
class Kind:
    """What text entries of one kind are, as a clause, and the remedy, as a clause."""

    code: str
    clause: str
    remedy: str


_SPREADSHEET = Kind(
    "spreadsheet_error",
    "an error cell of a spreadsheet",
    "repair the formula, or leave the cell empty",
)
_MISSING = Kind(
    "missing_as_text",
    "which stands for a missing entry",
    'leave the cell empty (None or NaN), and those rows out with missing="drop"',
)
NUMBER = Kind("number_as_text", "a number kept as text", "convert the column to numbers first")
_DECIMAL = Kind(
    "decimal_comma",
    "a number with a decimal comma",
    "write decimal points, or read the file with decimal=','",
)
_THOUSANDS = Kind(
    "thousands_separator",
    "a number with thousands separators",
    "write numbers without them",
)
_EITHER = Kind(
    "thousands_separator",
    "a number with thousands separators, or with a decimal comma",
    "write numbers without separators and with decimal points",
)
_PERCENT = Kind("percent", "a percentage", "write it as a number, without the sign")
_CURRENCY_KIND = Kind("currency", "an amount of money", "write it as a number, without the sign")
_DATE = Kind(
    "date", "a date or time", "convert it to a number first, such as days since a fixed date"
)
_MINUS = Kind(
    "typographic_minus", "a number with a typographic minus sign", "write a hyphen for minus"
)
YES_NO = Kind("yes_no", "which is no number", "replace it by 1 and 0")
_UNIT = Kind("unit", "a number with its unit", "move the unit to the column's name")
_TOTAL = Kind("total_row", "which marks a row of totals", "delete that row")
TEXT = Kind("not_a_number", "", "convert the column first")

_DECIMAL_ONLY = re.compile(r"[+-]?\d+,(?:\d{1,2}|\d{4,})?|[+-]?\d{1,3}(?:\.\d{3})+,\d*|[+-]?0?,\d+"
                           r"|[+-]?\d*,\d+[eE][+-]?\d+|[+-]?0,\d*|[+-]?\d{4,},\d*")  # fmt: skip
_PATTERNS: tuple[tuple[re.Pattern[str], Kind], ...] = (
    (re.compile(r"#(?:N/A|DIV/0!|REF!|VALUE!|NAME\?|NUM!|NULL!|SPILL!|CALC!|N/A N/A|#+)"),
     _SPREADSHEET),
    (_DECIMAL_ONLY, _DECIMAL),
    (re.compile(r"[+-]?\d{1,3},\d{3}"), _EITHER),
    (re.compile(rf"[+-]?{_GROUPED}(?:\.\d*)?|\(\d[\d,]*(?:\.\d*)?\)"), _THOUSANDS),
    (re.compile(rf"(?:{_NUMBER}|{_GROUPED})\s*[%‰]"), _PERCENT),
    (re.compile(rf"[+-]?{_CURRENCY}\s*.*\d.*|.*\d.*\s*{_CURRENCY}"), _CURRENCY_KIND),
    (re.compile(r"\d{4}[-/.]\d{1,2}[-/.]\d{1,2}(?:[T ].*)?|\d{1,2}[-/.]\d{1,2}[-/.]\d{2,4}(?: .*)?"
                r"|\d{1,2}:\d{2}(?::\d{2}(?:\.\d*)?)?|\d{1,2}[- ]?[A-Za-z]{3,9}[- ]?\d{2,4}"),
     _DATE),
    (re.compile(rf"[−–]\s?{_NUMBER}"), _MINUS),
    (re.compile(r"true|false|yes|no|y|n|t|f", re.IGNORECASE), YES_NO),
    (re.compile(rf"{_NUMBER}\s?[A-Za-zµμ°Ω²³/]{{1,8}}"), _UNIT),
)  # fmt: skip


def kind_of(entry: str | bytes) -> Kind:
    """What a text entry is; `NUMBER` where it would read as one."""
    text = entry.decode("latin-1") if isinstance(entry, bytes) else entry
    # What is longer is no number, and patterns need not be tried on it.
    text = text.strip() if len(text) <= 200 else "x"
    if text.lower() in MISSING_WORDS:
        return _MISSING
    try:
        float(text)
    except ValueError:
        pass
    else:
        return NUMBER
    if text.lower() in TOTAL_WORDS:
        return _TOTAL
    return next((kind for pattern, kind in _PATTERNS if pattern.fullmatch(text)), TEXT)


def kinds_of(entries: list[str | bytes]) -> list[Kind]:
    """What the text entries of one column are.

    ``1,234`` has a decimal comma where another entry of the column is sure to have one. Numbers
    kept as text are no concern of their own in a column with other texts.
    """
    kinds = [kind_of(entry) for entry in entries]
    if _DECIMAL in kinds:
        kinds = [_DECIMAL if kind is _EITHER else kind for kind in kinds]
    elif _THOUSANDS in kinds:
        kinds = [_THOUSANDS if kind is _EITHER else kind for kind in kinds]
    return kinds
