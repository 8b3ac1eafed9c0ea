"""Differences between clusters, draw by draw, as a table."""

import numpy as np
import pandas as pd

from jointmix.base.numbers import probability
from jointmix.base.schema import CHAIN, DRAW
from jointmix.checks.finding import listed
from jointmix.posterior.differences import contrasts
from jointmix.reporting.elements import Cell, Table, number_cells
from jointmix.reporting.fitted import INTERVAL, FittedView
from jointmix.reporting.text import decimals, interval, number, places_for

_MOST = 40


def _pair(label: object) -> list[str]:
    """The clusters in a label such as "mean[cluster 1 − cluster 2, width]"."""
    return str(label).partition("[")[2].rstrip("]").partition(",")[0].split(" − ")


def _ratio(line: pd.Series) -> list[str]:
    """The exponential of a difference with its interval, where the table has such."""
    bounds = [name for name in line.index if name.startswith("ratio_")]
    if not bounds:
        return []
    if np.isnan(line["ratio"]):
        return ["–"]
    lower, upper = (float(line[name]) for name in bounds)
    places = places_for((upper - lower) / 3.2, line["ratio"])
    return [f"{decimals(line['ratio'], places)} {interval(lower, upper, places)}"]


def contrast_table(view: FittedView) -> Table:
    """Pairs of clusters: those entries that are known best to differ, where there are many."""
    found = contrasts(view.tree, interval=INTERVAL)
    empty = [value for k, value in enumerate(view.clusters) if k not in view.occupied]
    of_empty = [
        any(f"cluster {value}" in pair for value in empty) for pair in map(_pair, found.index)
    ]
    free = found[(found["sd"] > 0) & ~np.array(of_empty, dtype=bool)]
    strength = (free["mean"].abs() / free["sd"]).sort_values(ascending=False, kind="stable")
    shown = free if len(free) <= _MOST else free.loc[strength.index[:_MOST]]
    lower, upper, *_ = (name for name in free.columns if name.endswith(("_lb", "_ub")))
    resolution = max(0.001, 1 / (view.posterior.sizes[CHAIN] * view.posterior.sizes[DRAW]))
    rows = []
    for label, line in shown.iterrows():
        places = places_for(line["sd"], line["mean"])
        rows.append(
            (
                Cell(text=view.shortened(str(label))),
                *number_cells(
                    decimals(line["mean"], places),
                    interval(line[lower], line[upper], places),
                    probability(line["probability"], resolution),
                    number(line["mcse_mean"], 2),
                    *_ratio(line),
                ),
            )
        )
    left_out = len(free) - len(shown)
    notes = ["Probability is P(first > second)."]
    if "ratio" in free:
        notes.append("Ratio is the exponential of a difference on the scale of the link.")
    if left_out:
        notes.append(
            f"The {len(shown)} differences that are largest for their posterior standard "
            f"deviation; jointmix.contrasts gives the other {left_out:,}."
        )
    if empty:
        notes.append(f"Clusters without rows are left out: {listed([str(v) for v in empty])}.")
    return Table(
        caption="Differences between pairs of clusters, first minus second",
        columns=(
            Cell(text="difference"),
            *number_cells("mean", "89% interval", "probability", "MCSE"),
            *number_cells(*(["ratio"] if "ratio" in free else [])),
        ),
        rows=tuple(rows),
        notes=tuple(notes),
    )
