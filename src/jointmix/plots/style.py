"""How pictures look: colours and marks of clusters, and axes to draw on.

All is stated where it is drawn: the user's own settings of matplotlib are neither read nor changed
beyond fonts.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.ticker import ScalarFormatter

from jointmix.base.arguments import shown
from jointmix.base.errors import SpecError
from jointmix.base.text import clean, shorten

INK, MUTED, RULE, PAPER = "#1f2430", "#5b6270", "#d5d9e0", "#ffffff"
#: After Okabe and Ito, darkened until each has a contrast of 4.5 to 1 on white.
COLOURS = (
    "#0067a5", "#c04a00", "#00785a", "#a23e7c", "#8c6400", "#3a3f4b", "#0f7f97", "#a3232f",
)  # fmt: skip
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*")
#: The same marks as text.
GLYPHS = ("●", "■", "▲", "◆", "▼", "✚", "✖", "★")
DASHES = ("-", (0, (4, 2)), (0, (1, 1.5)), (0, (5, 1.5, 1, 1.5)))
#: What is observed, and what is said of all rows, whatever their cluster.
GREY, BLUE, AMBER, RED = "#c3c9d4", "#0067a5", "#e0b45c", "#a3232f"
#: Marks of one picture beyond which they are stored as pixels.
VECTOR_LIMIT = 500
#: Signs of a label at an axis and in a legend.
_LABEL, _LONG, _LEGEND = 36, 60, 28
#: Signs of a label that an inch of axes has room for, and those that any has.
_SIGNS, _LEAST = 11, 16
_MOST_ROWS_OF_LEGEND = 8


def mark(cluster: int) -> tuple[str, str]:
    """Colour and marker of a cluster; no two of the first 64 have both alike."""
    return COLOURS[cluster % 8], MARKERS[_shape(cluster)]


def glyph(cluster: int) -> str:
    """A cluster's marker as a character."""
    return GLYPHS[_shape(cluster)]


def _shape(cluster: int) -> int:
    return (cluster + cluster // 8) % 8


def axis_label(text: str, width: int = _LABEL) -> str:
    """A name short enough for an axis."""
    return shorten(clean(text), width)


def labelled(axes: Axes, x: str = "", y: str = "", title: str = "") -> None:
    """Name the axes. A name such as "cost ($)" is not mathematics."""
    width, height = (side / axes.figure.dpi for side in axes.bbox.size)
    for text, place, room in (
        (x, axes.set_xlabel, width), (y, axes.set_ylabel, height), (title, axes.set_title, width),
    ):  # fmt: skip
        if text:
            signs = min(max(int(room * _SIGNS), _LEAST), _LONG)
            place(axis_label(text, signs), parse_math=False)


def canvas(ax: object, size: tuple[float, float] = (6.4, 4.4)) -> Axes:
    """The axes given, or those of a new figure in pyplot.

    Raises
    ------
    SpecError
        If what is given is no axes.
    """
    return canvases(ax, 1, size)[0]


def canvases(ax: object, n: int, size: tuple[float, float], columns: int = 3) -> np.ndarray:
    """As many axes as pictures, (n,): those given, or those of a new figure, ``columns`` a row.

    Parameters
    ----------
    size
        Of one picture, in inches.

    Raises
    ------
    SpecError
        If what is given is no axes, or not as many.
    """
    if ax is not None:
        given = np.array(ax, dtype=object).ravel()
        if not all(isinstance(each, Axes) for each in given):
            raise SpecError(f"ax must be axes of matplotlib or None; got {shown(ax)}.")
        if given.size != n:
            raise SpecError(
                f"ax must be {n} axes, one a picture, or None; got {given.size}."
                if n > 1
                else f"ax must be one of matplotlib's axes or None; got {given.size}."
            )
        return given
    from matplotlib import pyplot

    across = min(n, columns)
    down = -(-n // across)
    figure, grid = pyplot.subplots(
        down,
        across,
        figsize=(size[0] * across, size[1] * down),
        squeeze=False,
        layout="constrained",
        facecolor=PAPER,
    )
    found = grid.ravel()
    for left_over in found[n:]:
        figure.delaxes(left_over)
    for each in found[:n]:
        dress(each)
    return np.asarray(found[:n])


def dress(axes: Axes) -> None:
    """The house's look, on axes of its own."""
    axes.set_facecolor(PAPER)
    axes.set_axisbelow(True)
    axes.grid(visible=True, color=RULE, linewidth=0.6)
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set(color=MUTED, linewidth=0.8)
    axes.tick_params(colors=MUTED, labelcolor=MUTED)
    for each in (axes.xaxis, axes.yaxis):
        each.label.set_color(INK)
        formatter = each.get_major_formatter()
        if isinstance(formatter, ScalarFormatter):
            # Ticks say the numbers themselves, not differences from one in a corner.
            formatter.set_useOffset(False)
    axes.title.set_color(INK)


def split(axes: Axes, heights: Sequence[float]) -> list[Axes]:
    """Axes and others below them in their room, as high as ``heights`` say."""
    if len(heights) == 1:
        return [axes]
    figure, place = axes.figure, axes.get_subplotspec()
    if place is not None:
        parts = place.subgridspec(len(heights), 1, height_ratios=heights)
        axes.set_subplotspec(parts[0])
        found = [axes, *(figure.add_subplot(parts[i]) for i in range(1, len(heights)))]
    else:
        box, gap = axes.get_position(), 0.25
        unit = box.height / (sum(heights) + gap * sum(heights) * (len(heights) - 1))
        top, found = box.y1, []
        for i, height in enumerate(heights):
            bounds = (box.x0, top - unit * height, box.width, unit * height)
            found.append(axes if i == 0 else figure.add_axes(bounds))
            found[-1].set_position(bounds)
            top -= unit * (height + gap * sum(heights))
    for each in found[1:]:
        dress(each)
    return found


def legend(
    axes: Axes, names: Sequence[str], clusters: Sequence[int], *, outside: bool = False
) -> None:
    """Names of clusters (by position) beside their marks; nothing for a single cluster."""
    if len(names) < 2:
        return
    handles = []
    for name, cluster in zip(names, clusters, strict=True):
        colour, marker = mark(cluster)
        size = 9 if marker == "*" else 6.5
        label = axis_label(name, _LEGEND)
        handles.append(
            Line2D([], [], color=colour, marker=marker, markersize=size, lw=1.6, label=label)
        )
    keys(axes, handles, outside=outside)


def keys(axes: Axes, handles: Sequence[Artist], *, outside: bool = False) -> None:
    """A legend of marks that have labels: right of the axes, or where they are emptiest."""
    place: dict[str, Any] = (
        {"loc": "upper left", "bbox_to_anchor": (1.0, 1.0), "frameon": False}
        if outside
        else {"loc": "best", "ncols": -(-len(handles) // _MOST_ROWS_OF_LEGEND)}
    )
    found = axes.legend(handles=list(handles), fontsize="small", **place)
    for text in found.get_texts():
        text.set_parse_math(False)
        text.set_color(INK)
    found.get_frame().set(facecolor=PAPER, edgecolor=RULE, alpha=0.85)


def remark(axes: Axes, text: str) -> None:
    """A short sentence above the axes, at the right."""
    if text:
        axes.annotate(
            text,
            (1, 1),
            xycoords="axes fraction",
            xytext=(0, 3),
            textcoords="offset points",
            ha="right",
            va="bottom",
            fontsize="x-small",
            color=MUTED,
            parse_math=False,
        )
