"""A picture of numbers over many orders of magnitude: one row a name, points on a log axis."""

from collections.abc import Sequence
from html import escape
from math import ceil, floor, log10

from jointmix.reporting.figures import COLOURS, INK, MUTED, PAPER, RULE
from jointmix.reporting.text import compact

_WIDTH, _LEFT, _RIGHT = 620, 270, 24
_ROW, _TOP, _BOTTOM = 24, 8, 46
_RADIUS = 5


def dots(
    names: Sequence[str],
    series: Sequence[Sequence[float | None]],
    label: str,
) -> bytes:
    """Points of one or two series for each name, as SVG; the second series' are hollow.

    Parameters
    ----------
    names
        One a row, from the top.
    series
        Positive numbers, one for each name; None leaves the place empty.
    label
        Of the axis, with the unit.

    Raises
    ------
    ValueError
        If there is no number to show.
    """
    found = [value for values in series for value in values if value is not None]
    if not found:
        raise ValueError("A picture needs a number.")
    low, high = floor(log10(min(found))), ceil(log10(max(found)))
    high = max(high, low + 1)
    bottom = _TOP + _ROW * len(names)

    def place(value: float) -> float:
        share = (log10(value) - low) / (high - low)
        return round(_LEFT + share * (_WIDTH - _LEFT - _RIGHT), 1)

    parts = []
    for power in range(low, high + 1):
        x = place(10.0**power)
        parts.append(_line(x, _TOP, x, bottom))
        parts.append(_text(x, bottom + 16, compact(10.0**power), "middle", MUTED))
    parts.append(_text((_LEFT + _WIDTH - _RIGHT) / 2, bottom + 36, label, "middle", INK))
    for index, name in enumerate(names):
        y = _TOP + _ROW * (index + 0.5)
        parts.append(_text(_LEFT - 12, y + 4, name, "end", INK))
        for values, fill in zip(series, (COLOURS[0], PAPER), strict=False):
            value = values[index]
            if value is not None:
                parts.append(
                    f'<circle cx="{place(value)}" cy="{y:g}" r="{_RADIUS}" fill="{fill}" '
                    f'stroke="{COLOURS[0]}" stroke-width="1.8"/>'
                )
    height = bottom + _BOTTOM
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {height}" '
        f'width="{_WIDTH}" height="{height}" font-family="sans-serif" font-size="13">'
        f"{''.join(parts)}</svg>"
    ).encode()


def _line(x1: float, y1: float, x2: float, y2: float) -> str:
    return f'<line x1="{x1:g}" y1="{y1:g}" x2="{x2:g}" y2="{y2:g}" stroke="{RULE}"/>'


def _text(x: float, y: float, text: str, anchor: str, colour: str) -> str:
    return f'<text x="{x:g}" y="{y:g}" text-anchor="{anchor}" fill="{colour}">{escape(text)}</text>'
