"""Pictures of a calibration as SVG bytes: ranks' distribution functions, and coverage."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes

from jointmix.reporting.figures import INK, MUTED, PANEL, axis_label, drawn

_BAND, _LINE, _WORST = "#c3c9d4", "#7d8798", "#0067a5"
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
        axes.fill_between(at, lower, upper, color=_BAND, lw=0)
        for name, values in curves.items():
            if name != marked:
                axes.plot(at, values, color=_LINE, linewidth=0.7)
        axes.plot(at, curves[marked], color=_WORST, linewidth=2)
        axes.axhline(0, color=INK, linewidth=0.8)
        axes.set(xlabel="rank, as a share", ylabel="ECDF − uniform", xlim=(0, 1))
        axes.set_title(axis_label(marked), color=_WORST)

    return drawn(plot, PANEL)


def coverages(names: Sequence[str], shares: np.ndarray, n: int, expected: float = 0.9) -> bytes:
    """Shares of intervals that hold the truth, one a row, with three standard errors as a band."""
    error = 3 * np.sqrt(expected * (1 - expected) / n)

    def plot(axes: Axes) -> None:
        row = np.arange(len(names))
        axes.axvspan(expected - error, min(expected + error, 1.0), color=_BAND, lw=0)
        axes.axvline(expected, color=INK, linewidth=0.8)
        far = np.abs(shares - expected) > error
        axes.plot(shares[~far], row[~far], "o", color=_WORST, markersize=5)
        axes.plot(shares[far], row[far], "X", color="#a3232f", markersize=7)
        axes.set_yticks(row, [axis_label(name) for name in names], fontsize=8)
        axes.set(xlabel="share of 90% intervals with the truth", ylim=(len(names) - 0.4, -0.6))
        axes.tick_params(axis="y", length=0, labelcolor=MUTED)
        axes.grid(axis="y", visible=False)

    return drawn(plot, (5.5, 1.0 + _ROW_HEIGHT * len(names)))
