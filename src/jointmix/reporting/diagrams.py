"""Diagrams as SVG bytes: the model's graph, profiles, matrices and curves over K."""

from collections.abc import Mapping, Sequence
from itertools import product
from typing import Literal

import numpy as np
from matplotlib.axes import Axes
from matplotlib.patches import Circle, FancyArrowPatch, FancyBboxPatch, Patch, Rectangle

from jointmix.plots import marks
from jointmix.reporting.figures import INK, MUTED, PANEL, PAPER, RULE, drawn
from jointmix.reporting.text import MINUS, shorten

Sign = Literal["free", "observed", "fixed"]

_RADIUS = 0.34
#: Features up to which a matrix holds its numbers, and where they are light on dark.
_MOST_NUMBERS, _DARK = 6, 0.6


def graph(
    nodes: Mapping[str, tuple[float, float, Sign]],
    edges: Sequence[tuple[str, str]],
    plates: Mapping[str, tuple[float, float, float, float]],
) -> bytes:
    """A directed graph in plate notation.

    Parameters
    ----------
    nodes
        Place of each, and whether it is free (a circle), observed (filled) or fixed (a square).
    edges
        From one node to another.
    plates
        Left, bottom, width and height of each box, by its label at the upper left; that of the
        first is at the lower right.
    """

    def plot(axes: Axes) -> None:
        for label, (left, bottom, width, height) in plates.items():
            box = FancyBboxPatch(
                (left, bottom),
                width,
                height,
                boxstyle="round,pad=0,rounding_size=0.15",
                facecolor="none",
                edgecolor=MUTED,
                linewidth=1,
            )
            axes.add_patch(box)
            if label == next(iter(plates)):
                place, side = (left + width - 0.12, bottom + 0.1), ("right", "bottom")
            else:
                place, side = (left + 0.12, bottom + height - 0.12), ("left", "top")
            axes.text(*place, label, ha=side[0], va=side[1], color=MUTED, fontsize=9)
        for one, other in edges:
            start, end = np.array(nodes[one][:2]), np.array(nodes[other][:2])
            step = (end - start) / np.linalg.norm(end - start) * (_RADIUS + 0.04)
            arrow = FancyArrowPatch(
                tuple(start + step),
                tuple(end - step),
                arrowstyle="-|>",
                mutation_scale=11,
                color=INK,
                linewidth=1,
                shrinkA=0,
                shrinkB=0,
            )
            axes.add_patch(arrow)
        for label, (x, y, sign) in nodes.items():
            half, colour = 0.85 * _RADIUS, RULE if sign == "observed" else PAPER
            shape: Patch = (
                Rectangle((x - half, y - half), 2 * half, 2 * half)
                if sign == "fixed"
                else Circle((x, y), _RADIUS)
            )
            shape.set(facecolor=colour, edgecolor=INK, linewidth=1.2)
            axes.add_patch(shape)
            axes.text(x, y, label, ha="center", va="center", fontsize=11)
        axes.set_aspect("equal")
        axes.autoscale_view()
        axes.margins(0.03)
        axes.axis("off")

    return drawn(plot, (5.5, 3.0))


def matrix(values: np.ndarray, ends: Sequence[int]) -> bytes:
    """A square of probabilities, rows sorted by cluster; lines after each cluster's last row."""

    def plot(axes: Axes) -> None:
        picture = axes.imshow(values, cmap="cividis", vmin=0, vmax=1, interpolation="nearest")
        for end in ends[:-1]:
            axes.axhline(end - 0.5, color=PAPER, linewidth=1)
            axes.axvline(end - 0.5, color=PAPER, linewidth=1)
        middle = [(a + b - 1) / 2 for a, b in zip([0, *ends[:-1]], ends, strict=True)]
        numbers = [str(i + 1) for i in range(len(ends))]
        axes.set_xticks(middle, numbers)
        axes.set_yticks(middle, numbers)
        axes.set(xlabel="cluster of the row", ylabel="cluster of the other row")
        axes.grid(visible=False)
        bar = axes.figure.colorbar(picture, ax=axes, shrink=0.85)
        bar.set_label("probability to be together", color=INK)

    return drawn(plot, (4.6, 3.7))


def correlations(values: np.ndarray, labels: Sequence[str], title: str) -> bytes:
    """A correlation matrix, with its numbers where they are few."""

    def plot(axes: Axes) -> None:
        axes.imshow(values, cmap="PuOr", vmin=-1, vmax=1)
        at = np.arange(len(labels))
        names = [shorten(label, 18) for label in labels]
        axes.set_xticks(at, names, rotation=40, ha="right", rotation_mode="anchor", fontsize=9)
        axes.set_yticks(at, names, fontsize=9)
        if len(labels) <= _MOST_NUMBERS:
            for i, j in product(range(len(labels)), repeat=2):
                strong = abs(values[i, j]) > _DARK
                axes.text(
                    j,
                    i,
                    f"{values[i, j]:.2f}".replace("-", MINUS),
                    ha="center",
                    va="center",
                    color=PAPER if strong else INK,
                    fontsize=9,
                )
        axes.set_title(title)
        axes.grid(visible=False)

    return drawn(plot, (3.5, 3.2))


def by_number(
    series: Mapping[str, tuple[np.ndarray, np.ndarray, np.ndarray | None]], label: str
) -> bytes:
    """Curves over the number of clusters, with two standard errors on each side where given.

    Parameters
    ----------
    series
        Numbers of clusters, values and standard errors of each curve, by its name.
    label
        Of the values' axis.
    """

    def plot(axes: Axes) -> None:
        marks.over_numbers(axes, series)
        axes.set(xlabel="clusters", ylabel=label)
        axes.legend(frameon=False, loc="best", fontsize=8 if len(series) > 3 else None)

    return drawn(plot, PANEL)
