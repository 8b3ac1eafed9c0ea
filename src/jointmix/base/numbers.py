"""Shares and probabilities in words, none of which is rounded to impossible or certain."""

from math import ceil, log10

_MISSING = "\N{EN DASH}"


def percent(share: float, places: int = 1) -> str:
    """A share in percent: "12.3%"; "< 0.1%" and "> 99.9%" where it is neither 0 nor 1; "–" for NaN.

    Parameters
    ----------
    share
        Between 0 and 1.
    places
        Decimals of the percentage.
    """
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
