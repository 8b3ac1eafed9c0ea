"""What pictures are made of: rows, outlines, lines, intervals. They draw numbers, compute none."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import to_rgba
from matplotlib.patches import PathPatch
from matplotlib.path import Path
from matplotlib.typing import LineStyleType

from jointmix.plots.geometry import Line
from jointmix.plots.style import (
    BLUE,
    DASHES,
    GREY,
    INK,
    MUTED,
    PAPER,
    RED,
    VECTOR_LIMIT,
    axis_label,
    mark,
)

#: Opacity of a row that may as well be in another cluster, and of one that is surely in its own.
_FAINT, _SURE = 0.15, 0.7
#: Room of all clusters at one level.
BESIDE = 0.5


def rows(
    axes: Axes,
    x: np.ndarray,
    y: np.ndarray,
    cluster: np.ndarray,
    share: np.ndarray | None = None,
) -> None:
    """Rows by the marks of their clusters (positions), fainter the less sure these are.

    Parameters
    ----------
    share
        The probability of each row's cluster, (row,); None draws all alike.
    """
    for k in np.unique(cluster):
        colour, marker = mark(int(k))
        own = cluster == k
        colours = np.tile(to_rgba(colour, 0.5), (int(own.sum()), 1))
        if share is not None:
            colours[:, 3] = _FAINT + (_SURE - _FAINT) * share[own] ** 2
        axes.scatter(
            x[own],
            y[own],
            s=14,
            c=colours,
            marker=marker,
            linewidths=0,
            rasterized=x.size > VECTOR_LIMIT,
        )


def outlines(axes: Axes, outline: Mapping[int, np.ndarray], width: float = 1.6) -> None:
    """Ellipses (points, 2) of clusters."""
    for k, points in outline.items():
        ring(axes, points, PAPER, 2 * width)
        ring(axes, points, mark(k)[0], width)


def ring(
    axes: Axes, points: np.ndarray, colour: str, width: float, linestyle: LineStyleType = "-"
) -> None:
    """The ellipse through points (points, 2) at equal angles once around it.

    As eight of Bézier's curves, which lie as near to it as the eye sees and take few numbers.
    """
    circle, centre = Path.unit_circle(), points[:-1].mean(axis=0)
    ahead = points[[0, (len(points) - 1) // 4]] - centre
    path = Path(centre + np.asarray(circle.vertices) @ ahead, circle.codes)
    axes.add_patch(PathPatch(path, fill=False, ec=colour, lw=width, linestyle=linestyle, zorder=2))
    axes.autoscale_view()


def lines(axes: Axes, drawn: Mapping[int, Line]) -> None:
    """Lines of clusters in their bands."""
    for k, line in drawn.items():
        colour = mark(k)[0]
        axes.fill_between(line.at, line.lower, line.upper, color=colour, alpha=0.25, lw=0)
        axes.plot(line.at, line.mean, color=PAPER, linewidth=3.4)
        axes.plot(line.at, line.mean, color=colour, linewidth=1.9)


def beside(axes: Axes, drawn: Mapping[int, Line]) -> None:
    """Values of clusters at whole numbers, with their intervals, side by side."""
    for place, (k, line) in enumerate(drawn.items()):
        colour, marker = mark(k)
        at = line.at + BESIDE * (place - (len(drawn) - 1) / 2) / max(1, len(drawn))
        around = np.abs([line.mean - line.lower, line.upper - line.mean])
        axes.errorbar(
            at, line.mean, around, fmt=marker, color=colour, markersize=6.5, elinewidth=2,
            markeredgecolor=PAPER, markeredgewidth=0.7, zorder=3,
        )  # fmt: skip


def centre(axes: Axes, at: np.ndarray, cluster: int) -> None:
    """A cluster's mark at the middle of its outline."""
    colour, marker = mark(cluster)
    axes.plot(
        *at,
        marker,
        color=colour,
        markersize=11 if marker == "*" else 8,
        markeredgecolor=PAPER,
        markeredgewidth=1.2,
    )


def level(axes: Axes, at: float, dashed: bool = False) -> None:
    """A horizontal line to which what is drawn compares."""
    axes.axhline(at, color=INK, linewidth=0.9, linestyle=(0, (4, 2)) if dashed else "-")


def across(axes: Axes, drawn: Mapping[int, Line], *, connected: bool) -> None:
    """Values of clusters at whole numbers downwards, with their intervals, one below the other.

    Parameters
    ----------
    connected
        Whether a thin line joins a cluster's values.
    """
    for place, (k, line) in enumerate(drawn.items()):
        colour, marker = mark(k)
        at = line.at + 0.62 * (place - (len(drawn) - 1) / 2) / max(1, len(drawn))
        if connected:
            axes.plot(line.mean, at, color=colour, linewidth=0.9, alpha=0.45)
        axes.hlines(at, line.lower, line.upper, color=colour, linewidth=2.2)
        axes.plot(
            line.mean,
            at,
            marker,
            color=colour,
            markersize=10 if marker == "*" else 6.5,
            markeredgecolor=PAPER,
            markeredgewidth=0.6,
        )


def band(
    axes: Axes, at: np.ndarray, difference: np.ndarray, lower: np.ndarray, upper: np.ndarray
) -> None:
    """A distribution function's difference from the uniform one, in its simultaneous band."""
    axes.fill_between(at, lower, upper, color=GREY, lw=0)
    axes.plot(at, difference, color=BLUE, linewidth=1.6)
    axes.axhline(0, color=INK, linewidth=0.8)
    axes.set_xlim(0, 1)


def rank_functions(
    axes: Axes, at: np.ndarray, curves: Mapping[str, np.ndarray], band: np.ndarray, marked: str
) -> None:
    """Differences of ranks' distribution functions from the uniform one, one of them thick.

    Parameters
    ----------
    at, band
        Points in (0, 1), (point,), and the band's lower and upper bounds there, (2, point).
    curves
        Quantity → difference, (point,).
    marked
        The quantity that is drawn thick.
    """
    axes.fill_between(at, *band, color=GREY, lw=0)
    for name, values in curves.items():
        if name != marked:
            axes.plot(at, values, color="#7d8798", linewidth=0.7)
    axes.plot(at, curves[marked], color=BLUE, linewidth=2)
    axes.axhline(0, color=INK, linewidth=0.8)
    axes.set_xlim(0, 1)


def coverages(
    axes: Axes, names: Sequence[str], shares: np.ndarray, expected: float, error: float
) -> None:
    """Shares of intervals that hold the truth, one a row, and how far chance takes them."""
    row = np.arange(len(names))
    axes.axvspan(expected - error, min(expected + error, 1.0), color=GREY, lw=0)
    axes.axvline(expected, color=INK, linewidth=0.8)
    far = np.abs(shares - expected) > error
    axes.plot(shares[~far], row[~far], "o", color=BLUE, markersize=5)
    axes.plot(shares[far], row[far], "X", color=RED, markersize=7)
    axes.set_yticks(row, [axis_label(name) for name in names], fontsize=8)
    axes.set_ylim(len(names) - 0.4, -0.6)
    axes.tick_params(axis="y", length=0, labelcolor=MUTED)
    axes.grid(axis="y", visible=False)


def over_numbers(
    axes: Axes, series: Mapping[str, tuple[np.ndarray, np.ndarray, np.ndarray | None]]
) -> None:
    """Curves over the number of clusters, with two standard errors on each side where given.

    Parameters
    ----------
    series
        Numbers of clusters, values and standard errors of each curve, by its name.
    """
    for i, (name, (numbers, values, errors)) in enumerate(series.items()):
        colour, marker = mark(i)
        axes.errorbar(
            # Side by side, so that bars do not hide one another.
            numbers + 0.07 * (i - (len(series) - 1) / 2),
            values,
            yerr=None if errors is None else 2 * errors,
            color=colour,
            marker=marker,
            linestyle=DASHES[i % len(DASHES)],
            capsize=3,
            linewidth=1.5,
            label=name,
        )
    axes.set_xticks(np.unique(np.concatenate([each[0] for each in series.values()])))
    axes.grid(axis="x", visible=False)
