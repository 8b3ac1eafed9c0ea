"""What pictures are made of: rows, outlines, lines, intervals. They draw numbers, compute none."""

from collections.abc import Mapping

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import to_rgba

from jointmix.plots.geometry import Line
from jointmix.plots.style import INK, PAPER, VECTOR_LIMIT, mark

#: Opacity of a row that may as well be in another cluster, and of one that is surely in its own.
_FAINT, _SURE = 0.15, 0.7


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
    """Closed curves (points, 2) of clusters."""
    for k, points in outline.items():
        axes.plot(*points.T, color=PAPER, linewidth=2 * width)
        axes.plot(*points.T, color=mark(k)[0], linewidth=width)


def lines(axes: Axes, drawn: Mapping[int, Line]) -> None:
    """Lines of clusters in their bands."""
    for k, line in drawn.items():
        colour = mark(k)[0]
        axes.fill_between(line.at, line.lower, line.upper, color=colour, alpha=0.25, lw=0)
        axes.plot(line.at, line.mean, color=PAPER, linewidth=3.4)
        axes.plot(line.at, line.mean, color=colour, linewidth=1.9)


def beside(axes: Axes, drawn: Mapping[int, Line], width: float = 0.5) -> None:
    """Values of clusters at whole numbers, with their intervals, side by side."""
    for place, (k, line) in enumerate(drawn.items()):
        colour, marker = mark(k)
        at = line.at + width * (place - (len(drawn) - 1) / 2) / max(1, len(drawn))
        around = np.abs([line.mean - line.lower, line.upper - line.mean])
        axes.errorbar(at, line.mean, around, fmt=marker, color=colour, markersize=5)


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
