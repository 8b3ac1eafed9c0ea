"""Pictures as SVG bytes. They draw the numbers they are given, and compute none."""

import warnings
from collections.abc import Callable, Mapping, Sequence
from io import BytesIO, StringIO
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_svg import RendererSVG
from matplotlib.figure import Figure
from matplotlib.patches import PathPatch
from matplotlib.path import Path
from matplotlib.spines import Spine
from matplotlib.transforms import Bbox

from jointmix.plots import marks
from jointmix.plots.geometry import Line
from jointmix.plots.regressions import draw_levels
from jointmix.plots.style import COLOURS as COLOURS
from jointmix.plots.style import INK, MUTED, PAPER, RULE, VECTOR_LIMIT, axis_label
from jointmix.plots.style import glyph as glyph
from jointmix.reporting import scales

PANEL, WIDE, SMALL = (3.5, 2.8), (5.5, 2.3), (3.5, 2.0)

#: Where axes stand before it is known how much room their labels take, and points left at edges.
_FIRST, _PAD = (0.15, 0.2, 0.8, 0.7), 3.0
#: Only measures text, once for all figures.
_MEASURING = RendererSVG(1, 1, StringIO())

_STYLE: dict[str, Any] = {
    # Text stays text: it is sharp, small, and set in any script the reader's fonts have;
    # DejaVu, by which it is laid out, is wider than what may stand in for it.
    "svg.fonttype": "none",
    "svg.hashsalt": "jointmix",
    # A name such as "cost ($)" is not mathematics.
    "text.parse_math": False,
    "font.family": "DejaVu Sans",
    "font.size": 10,
    "axes.edgecolor": MUTED,
    "axes.labelcolor": INK,
    "axes.titlesize": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.linewidth": 0.8,
    "axes.axisbelow": True,
    "axes.grid": True,
    "axes.unicode_minus": True,
    "axes.formatter.use_mathtext": False,
    # Ticks say the numbers themselves, not differences from one in a corner.
    "axes.formatter.useoffset": False,
    "grid.color": RULE,
    "grid.linewidth": 0.6,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "text.color": INK,
    "savefig.dpi": 150,
}


def drawn(plot: Callable[[Axes], None], size: tuple[float, float] = PANEL) -> bytes:
    """The picture that ``plot`` makes on empty axes, the same bytes each time."""
    with mpl.rc_context(_STYLE), warnings.catch_warnings():
        # The reader's fonts have glyphs that the font used for measuring lacks.
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")
        figure = Figure(figsize=size, dpi=72, facecolor=PAPER)
        plot(figure.add_axes(_FIRST))
        _fit(figure)
        buffer = BytesIO()
        figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None})
    return buffer.getvalue()


def _fit(figure: Figure) -> None:
    """Let axes, with all that stands around them, fill the figure.

    Matplotlib's constrained layout does so for any grid, at twice the cost of drawing.
    """
    found = scales.scales(figure)
    for _ in range(2):
        scales.draw(found, _MEASURING)
        ticks = _ticks(figure)
        around = Bbox.union([_extent(axes) for axes in figure.axes]).padded(_PAD)
        around = around.transformed(figure.transFigure.inverted())
        near, far = around.get_points()
        low, high = Bbox.union([axes.get_position() for axes in figure.axes]).get_points()
        start, end = low - near, 1 - (far - high)
        for axes in figure.axes:
            corners = axes.get_position(original=True).get_points()
            axes.set_position(Bbox(start + (corners - low) / (high - low) * (end - start)))
        # What stands around axes is as large as before, unless there is room for other ticks.
        if (
            ticks == _ticks(figure)
            and all(each.at == each.places() for each in found)
            and all(axes.get_aspect() == "auto" for axes in figure.axes)
        ):
            return
    scales.draw(found, _MEASURING)


def _ticks(figure: Figure) -> list[list[float]]:
    return [
        list(axis.get_majorticklocs()) for axes in figure.axes for axis in (axes.xaxis, axes.yaxis)
    ]


def _extent(axes: Axes) -> Bbox:
    """The room that axes take, with all that stands around them."""
    # Spines lie on the edge, and take longer to measure than all the rest.
    others = [each for each in axes.get_default_bbox_extra_artists() if not isinstance(each, Spine)]
    found = axes.get_tightbbox(_MEASURING, bbox_extra_artists=others)
    return axes.get_window_extent(_MEASURING) if found is None else found


def histogram(edges: np.ndarray, counts: np.ndarray, label: str) -> bytes:
    """Counts of a column between edges."""

    def plot(axes: Axes) -> None:
        axes.stairs(counts, edges, fill=True, color="#7d8798")
        axes.set(xlabel=axis_label(label), ylabel="rows")
        axes.grid(axis="x", visible=False)

    return drawn(plot, SMALL)


def regression(
    x: np.ndarray,
    y: np.ndarray,
    cluster: np.ndarray,
    lines: Mapping[int, Line],
    labels: tuple[str, str],
) -> bytes:
    """Rows along one predictor, and lines of clusters with their bands."""

    def plot(axes: Axes) -> None:
        marks.rows(axes, x, y, cluster)
        marks.lines(axes, lines)
        axes.set(xlabel=axis_label(labels[0]), ylabel=axis_label(labels[1]))
        axes.locator_params(axis="x", nbins=6)

    return drawn(plot)


def at_levels(lines: dict[int, Line], levels: Sequence[str], labels: tuple[str, str]) -> bytes:
    """Values of clusters at levels, with their intervals, side by side."""

    def plot(axes: Axes) -> None:
        draw_levels(axes, lines, levels)
        axes.set(xlabel=axis_label(labels[0]), ylabel=axis_label(labels[1]))

    return drawn(plot)


def trace(chains: np.ndarray, names: Sequence[str], label: str) -> bytes:
    """Draws of each chain in their order, (chain, draw)."""

    def plot(axes: Axes) -> None:
        shades = mpl.colormaps["viridis"](np.linspace(0.0, 0.75, len(names)))
        for series, name, shade in zip(chains, names, shades, strict=True):
            axes.plot(series, color=shade, linewidth=0.6, alpha=0.75, label=f"chain {name}")
        axes.set(xlabel="draw", ylabel=label)
        if len(names) <= 8:
            axes.legend(loc="upper left", bbox_to_anchor=(1, 1), frameon=False, fontsize=9)

    return drawn(plot, WIDE)


def ranks(counts: np.ndarray, expected: float, title: str) -> bytes:
    """How often a chain's draws fall in each range of ranks among all chains."""

    def plot(axes: Axes) -> None:
        _bars(axes, np.arange(counts.size) - 0.46, counts, 0.92, color="#4a6fa5", linewidth=0)
        axes.axhline(expected, color=INK, linewidth=1, linestyle=(0, (4, 2)))
        axes.set(xlabel="rank, low to high", ylabel="draws", title=title)
        axes.set_xticks([])
        axes.grid(axis="x", visible=False)

    return drawn(plot, SMALL)


def _bars(
    axes: Axes, left: np.ndarray, heights: np.ndarray, width: np.ndarray | float, **style: Any
) -> None:
    """Bars from 0 as one path: a patch for each, as Matplotlib's, takes long to draw."""
    right, foot = left + width, np.zeros(len(left))
    corners = np.stack(
        [np.stack([left, left, right, right], 1), np.stack([foot, heights, heights, foot], 1)], 2
    )
    found = PathPatch(Path.make_compound_path(*map(_closed, corners)), **style)
    found.sticky_edges.y.append(0)
    axes.add_artist(found)
    axes.update_datalim(corners.reshape(-1, 2))
    axes.autoscale_view()


def _closed(corners: np.ndarray) -> Path:
    return Path([*corners, corners[0]], closed=True)


def levels(means: np.ndarray, errors: np.ndarray, names: Sequence[str], label: str) -> bytes:
    """A mean with two standard errors on each side for each chain."""

    def plot(axes: Axes) -> None:
        at = np.arange(means.size)
        axes.errorbar(means, at, xerr=2 * errors, fmt="o", color="#4a6fa5", capsize=3)
        axes.set_yticks(at, list(names))
        axes.set(xlabel=label, ylabel="chain", ylim=(means.size - 0.4, -0.6))
        axes.grid(axis="y", visible=False)
        axes.locator_params(axis="x", nbins=5)

    return drawn(plot, (5.5, 1.0 + 0.22 * means.size))


def compared(edges: np.ndarray, counts: dict[str, np.ndarray], label: str) -> bytes:
    """Two or more counts between the same edges, as bars side by side."""

    def plot(axes: Axes) -> None:
        width = np.diff(edges) * 0.84 / len(counts)
        styles = (("#4a6fa5", ""), ("#e0b45c", "////"))
        for i, ((name, values), (colour, hatch)) in enumerate(
            zip(counts.items(), styles, strict=False)
        ):
            _bars(
                axes,
                edges[:-1] + 0.08 * np.diff(edges) + i * width,
                values,
                width,
                facecolor=colour,
                hatch=hatch,
                edgecolor=PAPER,
                linewidth=0.4,
                label=name,
            )
        axes.set(xlabel=label, ylabel="share of rows")
        axes.legend(loc="upper left", frameon=False)
        axes.grid(axis="x", visible=False)

    return drawn(plot, WIDE)


def predicted(
    edges: np.ndarray,
    observed: np.ndarray,
    bounds: np.ndarray,
    label: str,
    logarithmic: bool = False,
) -> bytes:
    """Shares of the observed rows between edges, and lower, middle and upper of drawn tables."""

    def plot(axes: Axes) -> None:
        lower, middle, upper = bounds
        axes.stairs(observed, edges, fill=True, color="#c3c9d4", label="observed")
        axes.stairs(upper, edges, baseline=lower, fill=True, color="#0067a5", alpha=0.25)
        axes.stairs(middle, edges, color="#0067a5", linewidth=1.4, label="drawn tables")
        axes.set(xlabel=axis_label(label), ylabel="share of rows")
        axes.set_ylim(bottom=0)
        axes.grid(axis="x", visible=False)
        if logarithmic:
            axes.set_xscale("log")
        else:
            axes.locator_params(axis="x", nbins=5)

    return drawn(plot, (3.5, 2.3))


def band(
    at: np.ndarray, difference: np.ndarray, lower: np.ndarray, upper: np.ndarray, label: str
) -> bytes:
    """A distribution function's difference from the uniform one, in its simultaneous band."""

    def plot(axes: Axes) -> None:
        marks.band(axes, at, difference, lower, upper)
        axes.set(xlabel=label, ylabel="ECDF − uniform")

    return drawn(plot, PANEL)


def residuals(x: np.ndarray, y: np.ndarray, cluster: np.ndarray, label: str) -> bytes:
    """Residuals against predictions, marked by cluster."""

    def plot(axes: Axes) -> None:
        marks.rows(axes, x, y, cluster)
        for level, style in ((0.0, "-"), (-2.0, (0, (4, 2))), (2.0, (0, (4, 2)))):
            axes.axhline(level, color=INK, linewidth=0.9, linestyle=style)
        axes.set(xlabel=axis_label(label), ylabel="quantile residual")
        axes.locator_params(axis="x", nbins=5)

    return drawn(plot, PANEL)


def shapes(values: np.ndarray, limit: float) -> bytes:
    """Pareto k of each row, those above the limit in another mark."""

    def plot(axes: Axes) -> None:
        at, high = np.arange(values.size), values > limit
        many = values.size > VECTOR_LIMIT
        for chosen, colour, marker, size in (
            (~high, "#0067a5", "o", 12),
            (high, "#a3232f", "X", 40),
        ):
            axes.scatter(
                at[chosen],
                values[chosen],
                s=size,
                color=colour,
                marker=marker,
                alpha=0.6,
                linewidths=0,
                rasterized=many,
            )
        axes.axhline(limit, color=INK, linewidth=1, linestyle=(0, (4, 2)))
        axes.set(xlabel="row, in the table's order", ylabel="Pareto k̂")

    return drawn(plot, WIDE)


def sensitivities(prior: np.ndarray, likelihood: np.ndarray, limit: float) -> bytes:
    """Sensitivity of each parameter to the prior against that to the likelihood."""

    def plot(axes: Axes) -> None:
        high = prior > limit
        for chosen, colour, marker in ((~high, "#0067a5", "o"), (high, "#a3232f", "X")):
            axes.scatter(
                likelihood[chosen],
                prior[chosen],
                s=26,
                color=colour,
                marker=marker,
                alpha=0.7,
                linewidths=0,
                rasterized=prior.size > VECTOR_LIMIT,
            )
        axes.axhline(limit, color=INK, linewidth=0.9, linestyle=(0, (4, 2)))
        axes.axvline(limit, color=INK, linewidth=0.9, linestyle=(0, (4, 2)))
        axes.set(xlabel="sensitivity to the likelihood", ylabel="sensitivity to the prior")
        axes.set_xlim(left=0)
        axes.set_ylim(bottom=0)

    return drawn(plot, (5.5, 2.8))
