"""Pictures of a calibration as SVG bytes: ranks' distribution functions, and coverage."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes

from jointmix.plots import marks
from jointmix.plots.style import BLUE
from jointmix.reporting.figures import PANEL, axis_label, drawn

_ROW_HEIGHT = 0.19


def rank_functions(
    at: np.ndarray,
    curves: Mapping[str, np.ndarray],
    lower: np.ndarray,
    upper: np.ndarray,
    marked: str,
) -> bytes:
    """Differences of distribution functions from the uniform one, one of them thick.

    Parameters
    ----------
    at, lower, upper
        Points in (0, 1) and the band there, each (point,).
    curves
        Quantity → difference, (point,).
    marked
        The quantity that is drawn thick.
    """

    def plot(axes: Axes) -> None:
        marks.rank_functions(axes, at, curves, np.array([lower, upper]), marked)
        axes.set(xlabel="rank, as a share", ylabel="ECDF − uniform")
        axes.set_title(axis_label(marked), color=BLUE)

    return drawn(plot, PANEL)


def coverages(names: Sequence[str], shares: np.ndarray, n: int, expected: float = 0.9) -> bytes:
    """Shares of intervals that hold the truth, one a row, with three standard errors as a band."""
    error = 3 * np.sqrt(expected * (1 - expected) / n)

    def plot(axes: Axes) -> None:
        marks.coverages(axes, names, shares, expected, error)
        axes.set(xlabel="share of 90% intervals with the truth")

    return drawn(plot, (5.5, 1.0 + _ROW_HEIGHT * len(names)))
