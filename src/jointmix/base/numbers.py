"""Numbers in words: none is rounded to impossible or certain, or to a limit that it is beyond."""

from collections.abc import Callable
from math import ceil, log10

_MISSING = "\N{EN DASH}"


#: Digits beyond which a double says nothing more.
_MOST_DIGITS = 17


def deciding(
    value: float, limits: tuple[float, ...], written: Callable[[float, int], str], digits: int
) -> int:
    """How many digits it takes, ``digits`` at least, to tell a number from limits in print.

    Parameters
    ----------
    value, limits
        The number, and those that it is judged by; one that it equals takes no digits.
    written
        A number in print, with so many digits.
    """
    others = [limit for limit in limits if limit != value]
    while digits < _MOST_DIGITS and any(
        written(value, digits) == written(limit, digits) for limit in others
    ):
        digits += 1
    return digits


def fixed(value: float, places: int, *limits: float) -> str:
    """A number with decimals, and thousands set off: "1,234.5"; see `percent` for limits."""
    return _fixed(value, deciding(value, limits, _fixed, places))


def _fixed(value: float, places: int) -> str:
    return f"{value:,.{places}f}"


def percent(share: float, places: int = 1, *limits: float) -> str:
    """A share in percent: "12.3%"; "< 0.1%" and "> 99.9%" where it is neither 0 nor 1; "–" for NaN.

    Parameters
    ----------
    share
        Between 0 and 1.
    places
        Decimals of the percentage.
    limits
        Shares by which it is judged: as many more decimals are shown as tell it from them.
    """
    return _percent(share, deciding(share, limits, _percent, places))


def _percent(share: float, places: int) -> str:
    if share != share:
        return _MISSING
    unit, text = 10.0**-places, f"{100 * share:.{places}f}"
    if share > 0 and float(text) == 0:
        return f"< {unit:.{places}f}%"
    if share < 1 and float(text) == 100:
        return f"> {100 - unit:.{places}f}%"
    return f"{text}%"


def probability(value: float, resolution: float = 0.001) -> str:
    """A probability: "0.123"; "< 0.001" and "> 0.999" where it would be rounded to 0 or 1.

    Parameters
    ----------
    value
        Between 0 and 1; "–" stands for NaN.
    resolution
        The least difference from 0 and 1 that is told, such as one over the number of draws.
    """
    if value != value:
        return _MISSING
    places = ceil(-log10(resolution) - 1e-9)
    text = f"{value:.{places}f}"
    if float(text) < resolution:
        return f"< {resolution:.{places}f}"
    return f"> {1 - resolution:.{places}f}" if float(text) > 1 - resolution else text
