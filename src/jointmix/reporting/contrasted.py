"""Differences between clusters, draw by draw, as a table."""

import numpy as np
import pandas as pd

from jointmix.base.numbers import probability
from jointmix.base.schema import CHAIN, DRAW
from jointmix.checks.finding import listed
from jointmix.posterior.differences import contrasts
from jointmix.posterior.term_contrasts import term_contrasts
from jointmix.reporting.elements import Cell, Table, number_cells
from jointmix.reporting.fitted import INTERVAL, FittedView
from jointmix.reporting.text import decimals, interval, number, places_for

_MOST = 40


def _is_of(label: object, name: str) -> bool:
    """Whether a label such as "mean[cluster 1 − cluster 2, width]" is of a cluster."""
    ends = (",", "]", " −")
    text = str(label)
    return any(f"[{name}{end}" in text or f" − {name}{end}" in text for end in ends)


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
    encoding = view.model.encoding
    curved = () if encoding is None else tuple(f", {name}]" for name in encoding.curved)
    found = contrasts(view.tree, interval=INTERVAL)
    # The slopes of a curve's columns say nothing one by one: its term is in a table of its own.
    found = found[[not str(label).endswith(curved) for label in found.index]]
    note = "Ratio is the exponential of a difference on the scale of the link."
    caption = "Differences between pairs of clusters, first minus second"
    return _table(view, found, caption, "contrasts", note)


def term_table(view: FittedView) -> Table:
    """What whole terms change, in each cluster and between clusters."""
    found = term_contrasts(view.tree, interval=INTERVAL)
    ratio = view.model.blocks[-1].ratio
    note = f"Ratio is the {ratio}, between clusters the ratio of two such."
    caption = (
        "What terms change in the line: factors from level to level, other columns from the lower "
        "to the upper quartile of the rows, products of terms by the difference of such differences"
    )
    return _table(view, found, caption, "term_contrasts", note)


def _table(view: FittedView, found: pd.DataFrame, caption: str, function: str, note: str) -> Table:
    empty = [name for k, name in enumerate(view.called) if k not in view.occupied]
    of_empty = [any(_is_of(label, name) for name in empty) for label in found.index]
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
    notes = ["Probability is that of a difference above 0."]
    if "ratio" in free:
        notes.append(note)
    if left_out:
        notes.append(
            f"The {len(shown)} differences that are largest for their posterior standard "
            f"deviation; jointmix.{function} gives the other {left_out:,}."
        )
    if empty:
        notes.append(f"Clusters without rows are left out: {listed(empty)}.")
    return Table(
        caption=caption,
        columns=(
            Cell(text="difference"),
            *number_cells("mean", "89% interval", "probability", "MCSE"),
            *number_cells(*(["ratio"] if "ratio" in free else [])),
        ),
        rows=tuple(rows),
        notes=tuple(notes),
    )
