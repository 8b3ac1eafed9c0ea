"""Numbers and names as the report writes them."""

import re
from math import floor, isfinite, log10

import numpy as np

from jointmix.base.numbers import deciding
from jointmix.base.text import clean as clean
from jointmix.base.text import short_labels as short_labels
from jointmix.base.text import shorten as shorten

MINUS = "\N{MINUS SIGN}"
MISSING = "\N{EN DASH}"
_SUPERSCRIPTS = str.maketrans("0123456789-", "⁰¹²³⁴⁵⁶⁷⁸⁹⁻")


def tidy(text: str) -> str:
    """Text as it is put out: control characters visible, no full stop behind an ellipsis."""
    return clean(text).replace("….", "…")


def rows_text(count: float) -> str:
    """A number of rows, or a sum of their weights."""
    return f"{count:,.0f}" if count == round(count) else f"{count:,.1f}"


def number(value: float, digits: int = 4) -> str:
    """A number to ``digits`` significant digits: "4,207", "0.0312", "1.2×10⁹"."""
    if not isfinite(value):
        return MISSING
    if value == 0:
        return "0"
    return decimals(value, digits - 1 - floor(log10(abs(value))))


def decimals(value: float, places: int) -> str:
    """A number to ``places`` decimals, in powers of ten where that would be long."""
    if not isfinite(value):
        return MISSING
    exponent = floor(log10(abs(value))) if value else 0
    if value and (exponent >= 7 or places > 7):
        mantissa = f"{value / 10.0**exponent:.{max(0, min(exponent + places, 6))}f}"
        return f"{mantissa}×10{str(exponent).translate(_SUPERSCRIPTS)}".replace("-", MINUS)
    text = f"{value:,.{max(0, places)}f}"
    # Rounding may leave "-0.00".
    if float(text.replace(",", "")) == 0:
        text = text.lstrip("-")
    return text.replace("-", MINUS)


def compact(value: float, *limits: float) -> str:
    """A number to four significant digits, without zeros at its end: "0.5", "400".

    Or to as many as tell it from the limits by which it is judged.
    """
    digits = deciding(value, limits, _significant, 4)
    text = number(value) if digits == 4 else _significant(value, digits).replace("-", MINUS)
    if "." not in text or "×" in text:
        return text
    return text.rstrip("0").rstrip(".")


def _significant(value: float, digits: int) -> str:
    return f"{value:,.{digits}g}"


def places_for(spread: float, value: float) -> int:
    """Decimals at which ``spread`` has two significant digits; four digits where it is 0."""
    reference = spread if isfinite(spread) and spread > 0 else abs(value) / 100
    if reference == 0 or not isfinite(reference):
        return 0
    return 1 - floor(log10(reference))


def entry_places(values: np.ndarray) -> int:
    """Decimals of a column's entries (row,): as recorded, at most a thousandth of their spread."""
    finite = values[np.isfinite(values)]
    spread = float(finite.std()) if finite.size else 0.0
    most = max(places_for(spread, float(np.abs(finite).max(initial=0.0))) + 2, 0)
    for places in range(min(most, 7)):
        # A decimal fraction is off by rounding errors of its double, some units of its last place.
        if np.allclose(np.round(finite, places), finite, rtol=4 * np.finfo(float).eps, atol=0):
            return places
    return most


def bits_text(bits: float) -> str:
    """An entropy or a gain to three decimals: "0.123", "< 0.001"."""
    return "< 0.001" if 0 < bits < 0.0005 else decimals(bits, 3)


def interval(lower: float, upper: float, places: int) -> str:
    """An interval as "[a, b]"."""
    return f"[{decimals(lower, places)}, {decimals(upper, places)}]"


def with_minus(text: str) -> str:
    """A sentence whose negative numbers have minus signs, not hyphens."""
    return re.sub(r"(?<![\w.])-(?=\d)", MINUS, text)
