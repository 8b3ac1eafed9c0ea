"""Dots with intervals, as SVG bytes: written directly, at a hundredth of a plot's time and size."""

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

import numpy as np
from matplotlib.ticker import MaxNLocator

from jointmix.plots.style import COLOURS, INK, MARKERS, MUTED, PAPER, RULE, axis_label, mark
from jointmix.reporting.text import MINUS, clean, shorten

#: Width of the plot, height of a line and between its dots, and what a character takes, in points.
_PLOT, _LINE, _STEP, _CHARACTER, _SIZE = 190.0, 17.0, 7.0, 5.9, 10
_TICKS = 5

#: Outlines of `figures.MARKERS` about the origin, 4.2 points from the centre.
_STAR = " ".join(
    f"{radius * np.sin(angle):.2f},{-radius * np.cos(angle):.2f}"
    for angle, radius in zip(np.arange(10) * np.pi / 5, [5.2, 2.1] * 5, strict=True)
)
_PLUS = (
    "-1.6,-4.4 1.6,-4.4 1.6,-1.6 4.4,-1.6 4.4,1.6 1.6,1.6 1.6,4.4 -1.6,4.4 -1.6,1.6 -4.4,1.6 "
    "-4.4,-1.6 -1.6,-1.6"
)
_CROSS = (
    "-4.4,-2.2 -2.2,-4.4 0,-2.2 2.2,-4.4 4.4,-2.2 2.2,0 4.4,2.2 2.2,4.4 0,2.2 -2.2,4.4 -4.4,2.2 "
    "-2.2,0"
)
_OUTLINES = {
    "s": "-3.6,-3.6 3.6,-3.6 3.6,3.6 -3.6,3.6",
    "^": "0,-4.4 4.2,3.4 -4.2,3.4",
    "D": "0,-4.8 4.8,0 0,4.8 -4.8,0",
    "v": "0,4.4 4.2,-3.4 -4.2,-3.4",
    "P": _PLUS,
    "X": _CROSS,
    "*": _STAR,
}
assert {*_OUTLINES, "o"} == set(MARKERS)


@dataclass(frozen=True, kw_only=True)
class Dot:
    """A cluster's mark, filled or hollow, and the interval about it."""

    cluster: int
    lower: float
    mean: float
    upper: float
    hollow: bool = False


@dataclass(frozen=True, kw_only=True)
class Strip:
    """A line of the picture: what stands left and right of it, and its dots."""

    label: str
    dots: tuple[Dot, ...]
    value: str = ""


def strips(lines: Sequence[Strip], axis: str, origin: float | None = None) -> bytes:
    """Dots with their intervals one line below the other, the same bytes each time.

    Parameters
    ----------
    lines
        From the top.
    axis
        What is below the plot.
    origin
        Where a vertical line stands, if anywhere.
    """
    ends = [end for each in lines for dot in each.dots for end in (dot.lower, dot.mean, dot.upper)]
    low, high = min(ends), max(ends)
    if origin is not None:
        low, high = min(low, origin), max(high, origin)
    margin = 0.06 * (high - low) or 0.5 * abs(high) or 0.5
    low, high = low - margin, high + margin
    left = 8 + _CHARACTER * max(len(axis_label(each.label)) for each in lines)
    right = 10 + _CHARACTER * max(len(each.value) for each in lines)
    heights = [_LINE + _STEP * (len(each.dots) - 1) for each in lines]
    below = 12 + sum(heights)

    def place(value: float) -> float:
        return left + _PLOT * (value - low) / (high - low)

    parts = [_tick(place(at), below, at) for at in _ticks(low, high)]
    if origin is not None:
        parts.append(_vertical(place(origin), below, INK, 1.0))
    wide = left + _PLOT + right
    title = shorten(clean(axis), 46)
    half = _CHARACTER * len(title) / 2
    middle = min(max(left + _PLOT / 2, half), max(wide - half, half))
    parts.append(_text(middle, below + 28, title, INK, "middle"))
    top = 12.0
    for each, height in zip(lines, heights, strict=True):
        centre = top + height / 2
        parts.append(_text(left - 6, centre + 3.5, axis_label(each.label), INK, "end"))
        if each.value:
            parts.append(_text(left + _PLOT + 6, centre + 3.5, each.value, MUTED, "start"))
        for i, dot in enumerate(each.dots):
            y = centre + _STEP * (i - (len(each.dots) - 1) / 2)
            parts += [_interval(place(dot.lower), place(dot.upper), y, dot.cluster)]
            parts += [_marker(place(dot.mean), y, dot)]
        top += height
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{wide:.0f}" height="{below + 34:.0f}" '
        f'viewBox="0 0 {wide:.0f} {below + 34:.0f}" font-family="DejaVu Sans, Verdana, sans-serif" '
        f'font-size="{_SIZE}">'
    )
    return f"{head}{''.join(parts)}</svg>".encode()


def _interval(start: float, end: float, y: float, cluster: int) -> str:
    return (
        f'<path d="M{start:.1f} {y:.1f}H{end:.1f}" stroke="{COLOURS[cluster % 8]}" '
        'stroke-width="2.2" stroke-linecap="round"/>'
    )


def _ticks(low: float, high: float) -> list[float]:
    found = MaxNLocator(_TICKS, steps=[1, 2, 2.5, 5, 10]).tick_values(low, high)
    step = float(found[1] - found[0])
    # What rounding leaves of zero is zero.
    return [0.0 if abs(at) < step / 1e6 else float(at) for at in found if low <= at <= high]


def _tick(x: float, below: float, value: float) -> str:
    text = f"{value:,.10g}" if 1e-4 <= abs(value) < 1e7 or value == 0 else f"{value:.6g}"
    return _vertical(x, below, RULE, 0.7) + _text(
        x, below + 13, text.replace("-", MINUS), MUTED, "middle"
    )


def _vertical(x: float, below: float, colour: str, width: float) -> str:
    return f'<path d="M{x:.1f} 8V{below:.1f}" stroke="{colour}" stroke-width="{width}"/>'


def _text(x: float, y: float, text: str, colour: str, anchor: str) -> str:
    shown = escape(clean(text))
    return f'<text x="{x:.1f}" y="{y:.1f}" fill="{colour}" text-anchor="{anchor}">{shown}</text>'


def _marker(x: float, y: float, dot: Dot) -> str:
    colour, sign = mark(dot.cluster)
    fill, edge, width = (PAPER, colour, 1.5) if dot.hollow else (colour, PAPER, 0.8)
    style = f'fill="{fill}" stroke="{edge}" stroke-width="{width}"'
    if sign == "o":
        return f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3.9" {style}/>'
    return f'<polygon points="{_OUTLINES[sign]}" transform="translate({x:.1f} {y:.1f})" {style}/>'
