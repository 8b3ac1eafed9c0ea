"""Numbers and grids along axes in a few artists, in the place of Matplotlib's ticks.

A tick of Matplotlib is five artists, made and laid out many times: most of the time of a small
picture.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.backend_bases import RendererBase
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.markers import TICKDOWN, TICKLEFT
from matplotlib.text import Text
from matplotlib.ticker import Formatter, Locator, NullLocator, ScalarFormatter
from matplotlib.transforms import ScaledTranslation

from jointmix.plots.style import MUTED, RULE

#: Points: of a mark, from there to a number, and from numbers to the axis' name.
_MARK, _TO_NUMBER, _TO_NAME = 3.5, 3.5, 4.0
_GRID_WIDTH, _MARK_WIDTH = 0.6, 0.8
#: A number this share of the range outside of it is at its end.
_AT_END = 1e-9


@dataclass
class Scale:
    """One axis with numbers; ``at`` is where its locator puts them in the room there is."""

    axes: Axes
    axis: Axis
    locator: Locator
    formatter: Formatter
    grid: bool
    at: tuple[float, ...] = ()
    _drawn: list[Artist] = field(default_factory=list)

    def places(self) -> tuple[float, ...]:
        """Where numbers stand, as large as the axes are now."""
        low, high = sorted(self.axis.get_view_interval())
        edge = _AT_END * (high - low)
        found = np.asarray(self.locator(), dtype=float)
        return tuple(found[(found >= low - edge) & (found <= high + edge)].tolist())

    def draw(self, renderer: RendererBase) -> None:
        """Put marks, numbers and grid there, and the axis' name beside them."""
        at = self.places()
        if self._drawn and at == self.at:
            return
        for each in self._drawn:
            each.remove()
        self.at = at
        across = self.axis is self.axes.xaxis
        numbers = self._numbers(across)
        lines = [self._marks(across), *([self._lines(across)] if self.grid else [])]
        self._drawn = [*lines, *numbers]
        for each in self._drawn:
            self.axes.add_artist(each)
        sizes = [each.get_window_extent(renderer) for each in numbers]
        room = max((box.height if across else box.width for box in sizes), default=0.0)
        self.axis.labelpad = _TO_NAME + (_MARK + _TO_NUMBER + room if numbers else 0)
        if factor := self.formatter.get_offset():
            self._drawn.append(self.axes.add_artist(self._factor(factor, across, room)))

    def _numbers(self, across: bool) -> list[Text]:
        ask = self.axes.get_xaxis_text1_transform if across else self.axes.get_yaxis_text1_transform
        transform, vertical, horizontal = ask(_MARK + _TO_NUMBER)
        return [
            Text(
                *((place, 0.0) if across else (0.0, place)),
                text,
                transform=transform,
                va=vertical,
                ha=horizontal,
                color=MUTED,
                clip_on=False,
            )
            for place, text in zip(self.at, self.formatter.format_ticks(list(self.at)), strict=True)
        ]

    def _factor(self, text: str, across: bool, room: float) -> Text:
        # What numbers are to be multiplied by stands at the end of the axis.
        below = ScaledTranslation(
            0,
            (-(_MARK + _TO_NUMBER + room + 2) if across else 3) / 72,
            self.axes.figure.dpi_scale_trans,
        )
        return Text(
            *((1.0, 0.0) if across else (0.0, 1.0)),
            text,
            transform=self.axes.transAxes + below,
            va="top" if across else "bottom",
            ha="right" if across else "left",
            color=MUTED,
            clip_on=False,
        )

    def _marks(self, across: bool) -> Line2D:
        edge = np.zeros(len(self.at))
        transform = self.axes.get_xaxis_transform() if across else self.axes.get_yaxis_transform()
        return Line2D(
            *((self.at, edge) if across else (edge, self.at)),
            linestyle="",
            marker=TICKDOWN if across else TICKLEFT,
            markersize=_MARK,
            markeredgewidth=_MARK_WIDTH,
            color=MUTED,
            clip_on=False,
            transform=transform,
        )

    def _lines(self, across: bool) -> LineCollection:
        transform = self.axes.get_xaxis_transform() if across else self.axes.get_yaxis_transform()
        ends = [((at, 0), (at, 1)) if across else ((0, at), (1, at)) for at in self.at]
        return LineCollection(
            ends, colors=RULE, linewidths=_GRID_WIDTH, transform=transform, zorder=0.5
        )


def scales(figure: Figure) -> list[Scale]:
    """Take over every linear axis whose numbers are Matplotlib's; they are yet to be drawn."""
    found = []
    for axes in figure.axes:
        if axes.get_aspect() != "auto":
            continue
        # Before locators go, which have a say in limits.
        axes.get_xlim(), axes.get_ylim()
        for axis in (axes.xaxis, axes.yaxis):
            locator, formatter = axis.get_major_locator(), axis.get_major_formatter()
            if axis.get_scale() == "log" or type(formatter) is not ScalarFormatter:
                continue
            grid = bool(axis.get_tick_params().get("gridOn", True))
            axis.set_major_locator(NullLocator())
            axis.set_minor_locator(NullLocator())
            axis.get_offset_text().set_visible(False)
            found.append(Scale(axes, axis, locator, formatter, grid))
    return found


def draw(found: Iterable[Scale], renderer: RendererBase) -> None:
    """Draw all; see `Scale.draw`."""
    for scale in found:
        scale.draw(renderer)
