"""Estimates as a table that prints in the width of a window, with the digits that it knows."""

import math
import re

import pandas as pd

from jointmix.base.shown import WIDTH, shortened

_INTERVAL = re.compile(r"eti[\d.]+_[lu]b")
_COLUMNS = {"mean", "sd", "mcse_mean", "ess_bulk", "ess_tail", "r_hat"}
#: Significant digits of a standard deviation, to whose place estimates are rounded.
_DIGITS = 2
_LEAST_NAME = 12


class Estimates(pd.DataFrame):
    """A DataFrame of estimates that prints short: one line a quantity, rounded by its sd.

    Values, names and everything else are those of a DataFrame.
    """

    @property
    def _constructor(self) -> type["Estimates"]:
        return Estimates

    def __repr__(self) -> str:
        """The table in the width of pandas' ``display.width``, its head in two lines."""
        if not self._are_estimates():
            return str(super().__repr__())
        cells = self.shown()
        most = pd.get_option("display.max_rows") or len(cells)
        left_out = max(0, len(cells) - most)
        head = len(cells) if not left_out else (most + 1) // 2
        lines = _lines(cells, pd.get_option("display.width") or WIDTH)
        if left_out:
            # Two lines of names come before the rows.
            lines = [*lines[: 2 + head], f"… {left_out} rows …", *lines[2 + head + left_out :]]
        return "\n".join(lines)

    def _repr_html_(self) -> str | None:
        if not self._are_estimates():
            return super()._repr_html_()
        return self.shown()._repr_html_()

    def shown(self) -> pd.DataFrame:
        """The cells as texts: estimates to two digits of their sd, sizes of samples whole."""
        sd = self["sd"].to_numpy(dtype=float)
        return pd.DataFrame(
            {
                name: [
                    _cell(str(name), value, own)
                    for value, own in zip(self[name].to_numpy(dtype=float), sd, strict=True)
                ]
                for name in self.columns
            },
            index=self.index,
        )

    def _are_estimates(self) -> bool:
        names = [str(name) for name in self.columns]
        return (
            "sd" in names
            and len(self) > 0
            and self.columns.is_unique
            and all(name in _COLUMNS or _INTERVAL.fullmatch(name) for name in names)
        )


def _cell(name: str, value: float, sd: float) -> str:
    if math.isnan(value):
        return "–"
    if name.startswith("ess"):
        return f"{value:.0f}"
    if name == "r_hat":
        return f"{value:.3f}"
    if name == "mcse_mean":
        return f"{value:.{_DIGITS}g}"
    if not (math.isfinite(value) and math.isfinite(sd)) or sd <= 0:
        return f"{value:.4g}"
    last = math.floor(math.log10(sd)) - _DIGITS + 1
    if value and (last < -6 or abs(value) >= 1e7):
        return f"{value:.{max(1, math.floor(math.log10(abs(value))) - last + 1)}g}"
    rounded = round(value, -last)
    # Minus zero would say what the digits do not.
    return f"{rounded + 0.0:.{max(0, -last)}f}"


def _lines(cells: pd.DataFrame, width: int) -> list[str]:
    """Two lines of column names, long ones split at their underscore, and a line a row."""
    columns = []
    for name in map(str, cells.columns):
        above, _, below = name.rpartition("_") if name != "r_hat" else ("", "", name)
        columns.append([above, below, *cells[name]])
    wide = [max(map(len, column)) for column in columns]
    room = max(_LEAST_NAME, width - sum(wide) - len(wide))
    labels = ["", "", *(str(label) for label in cells.index)]
    if max(map(len, labels)) > room:
        labels = [label.replace("[cluster ", "[") for label in labels]
    labels = [shortened(label, room) for label in labels]
    first = max(map(len, labels))
    return [
        " ".join([label.ljust(first), *(cell.rjust(n) for cell, n in zip(row, wide, strict=True))])
        for label, row in zip(labels, zip(*columns, strict=True), strict=True)
    ]
