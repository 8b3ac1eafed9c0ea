"""Drawn tables against the observed one: numbers, and the elements that both predictive checks
share."""

import json
from dataclasses import dataclass

import numpy as np
import pandas as pd
import xarray as xr

from jointmix.base.numbers import percent, probability
from jointmix.base.schema import CHAIN, DRAW, OBS, WEIGHT
from jointmix.posterior.replication import LEVELS
from jointmix.reporting import figures
from jointmix.reporting.elements import Cell, Figure, Panel, Table, number_cells
from jointmix.reporting.fitted import FittedView
from jointmix.reporting.text import number, shorten

_BOUNDS = (0.05, 0.5, 0.95)
_MOST_BINS = 24
#: Ratio of the ends of an axis from which it is logarithmic.
_FAR = 50.0
#: Levels that a picture's words name.
_MOST_SAID = 6


@dataclass(frozen=True, kw_only=True)
class Drawn:
    """One column: shares of rows between edges, and what the drawn tables hold.

    Attributes
    ----------
    edges
        (bin + 1,).
    observed
        Shares of the observed rows, (bin,).
    bounds
        5%, 50% and 95% of the drawn tables' shares, (3, bin); of ``wide`` ones the mean in the
        middle.
    quantiles
        5%, 50% and 95% of all drawn values.
    inside
        Share of drawn values within the observed range.
    opposite
        Where all observed values have one sign, the share of drawn ones that have not; else 0.
    """

    edges: np.ndarray
    observed: np.ndarray
    bounds: np.ndarray
    quantiles: np.ndarray
    inside: float
    opposite: float

    @property
    def logarithmic(self) -> bool:
        """Whether edges are spaced by ratios."""
        return self.edges[0] > 0 and bool(self.edges[-1] > _FAR * self.edges[0])


def drawn_columns(
    tables: xr.DataTree, group: str, names: list[str], wide: bool
) -> dict[str, Drawn]:
    """Each column's distribution in the drawn tables of ``group``.

    Parameters
    ----------
    names
        Of the columns, in the order of the variables.
    wide
        Whether the edges span the central 90% of the drawn values too, by ratios where all are
        positive and far apart. A table from the prior fills few bins, so that the median share of
        any is near 0: the mean, the chance of one drawn value, says what the prior expects.
    """
    drawn, observed = tables[group].to_dataset(), tables["observed_data"].to_dataset()
    found = {}
    for name, variable in zip(names, observed.data_vars, strict=True):
        every = observed[variable].values
        there = ~np.isnan(every)
        values = every[there]
        weight = observed[WEIGHT].values[there] if WEIGHT in observed.coords else None
        total = values.size if weight is None else weight.sum()
        many = drawn[variable].transpose(CHAIN, DRAW, OBS).values.reshape(-1, every.size)
        many = many[:, there]
        quantiles = np.quantile(many, _BOUNDS)
        low, high = values.min(), values.max()
        if wide:
            low, high = min(low, quantiles[0]), max(high, quantiles[2])
        if high == low:
            low, high = low - 0.5, high + 0.5
        n_bins = min(_MOST_BINS, max(8, int(np.sqrt(values.size))))
        far = wide and low > 0 and high > _FAR * low
        edges = (np.geomspace if far else np.linspace)(low, high, n_bins + 1)
        if LEVELS in observed[variable].attrs:
            edges = np.arange(len(json.loads(observed[variable].attrs[LEVELS])) + 1) - 0.5
        counts = [np.histogram(one, edges, weights=weight)[0] for one in many]
        shares = np.stack(counts) / total
        bounds = np.quantile(shares, _BOUNDS, axis=0)
        if wide:
            bounds[1] = shares.mean(axis=0)
        sign = np.sign(values[0]) if (np.sign(values) == np.sign(values[0])).all() else 0
        found[name] = Drawn(
            edges=edges,
            observed=np.histogram(values, edges, weights=weight)[0] / total,
            bounds=bounds,
            quantiles=quantiles,
            inside=float(((many >= values.min()) & (many <= values.max())).mean()),
            opposite=float((np.sign(many) != sign).mean()) if sign else 0.0,
        )
    return found


def column_figure(view: FittedView, columns: dict[str, Drawn], caption: str) -> Figure:
    """A panel for each column, and its quantiles, or the shares of its levels, as a table."""
    panels, rows = [], []
    for name, each in columns.items():
        label = view.names[name]
        if name in view.labels:
            members = _level_cells(view, name, each)
            rows += members
            said = "; ".join(
                f"{own[0].text.partition(': ')[2]} {own[2].text} observed, {own[5].text} drawn"
                for own in members[:_MOST_SAID]
            )
            places = enumerate(view.labels[name][:_MOST_SAID])
            label += f" ({', '.join(f'{place} {one}' for place, one in places)})"
        else:
            rows.append(_quantile_cells(view, name, each))
            said = (
                f"90% of drawn values lie between {number(each.quantiles[0])} and "
                f"{number(each.quantiles[2])}, their median is {number(each.quantiles[1])}; the "
                f"observed median is {number(view.rows.quantile(view.columns[name], 0.5))}"
            )
        svg = figures.predicted(
            each.edges, each.observed, each.bounds, shorten(label, 60), each.logarithmic
        )
        panels.append(Panel(svg=svg, alt=f"{view.names[name]}: {said}."))
    headers = [f"{what} {q:.0%}" for what in ("observed", "drawn") for q in _BOUNDS]
    level_note = (
        "Of a level, the observed share of rows stands in the middle, and the drawn tables' shares."
    )
    return Figure(
        caption=caption,
        panels=tuple(panels),
        table=Table(
            caption="Quantiles of observed and of drawn values",
            columns=(
                Cell(text="column"),
                *number_cells(*headers, "drawn, within the observed range"),
            ),
            rows=tuple(rows),
            notes=(level_note,) if set(view.labels) & set(columns) else (),
        ),
    )


def _quantile_cells(view: FittedView, name: str, each: Drawn) -> tuple[Cell, ...]:
    return (
        Cell(text=view.names[name]),
        *number_cells(
            *(number(view.rows.quantile(view.columns[name], q)) for q in _BOUNDS),
            *(number(float(q)) for q in each.quantiles),
            percent(each.inside),
        ),
    )


def _level_cells(view: FittedView, name: str, each: Drawn) -> list[tuple[Cell, ...]]:
    return [
        (
            Cell(text=f"{view.names[name]}: {shorten(label, 40)}"),
            *number_cells(
                "–", percent(each.observed[i]), "–", *(percent(q) for q in each.bounds[:, i]), "–"
            ),
        )
        for i, label in enumerate(view.labels[name])
    ]


def check_table(view: FittedView, checks: pd.DataFrame, caption: str, most: int) -> Table:
    """Statistics of the observed table among those of the drawn ones, the most unusual first."""
    away = (checks["p"] - 0.5).abs()
    order = away.sort_values(ascending=False, kind="stable").index[:most]
    rows = tuple(
        (
            Cell(text=view.shortened(str(label)), status="caution" if line["unusual"] else "ok"),
            *number_cells(
                number(float(line["observed"])),
                f"[{number(float(line['q05']))}, {number(float(line['q95']))}]",
                probability(float(line["p"]), 1 / view.n_tables),
            ),
        )
        for label, line in checks.loc[order].iterrows()
    )
    left_out = len(checks) - len(rows)
    notes = ["p is the share of drawn tables with a larger value; below 0.01 or above 0.99 is odd."]
    if left_out > 0:
        notes.append(f"The {most} statistics farthest from the middle; {left_out} more are nearer.")
    return Table(
        caption=caption,
        columns=(
            Cell(text="statistic"),
            *number_cells("observed", "90% of drawn tables", "p"),
        ),
        rows=rows,
        notes=tuple(notes),
    )


def modelled(view: FittedView) -> list[str]:
    """The columns that the model draws: features and response."""
    return [*view.model.clustering, *((view.response,) if view.response is not None else ())]
