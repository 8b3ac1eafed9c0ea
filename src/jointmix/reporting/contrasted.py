"""Differences between clusters, draw by draw, as a table."""

from jointmix.posterior.differences import contrasts
from jointmix.reporting.elements import Cell, Table, number_cells
from jointmix.reporting.fitted import INTERVAL, FittedView
from jointmix.reporting.text import decimals, interval, number, places_for

_MOST = 40


def contrast_table(view: FittedView) -> Table:
    """Pairs of clusters: those entries that are known best to differ, where there are many."""
    found = contrasts(view.tree, interval=INTERVAL)
    free = found[found["sd"] > 0]
    strength = (free["mean"].abs() / free["sd"]).sort_values(ascending=False, kind="stable")
    shown = free if len(free) <= _MOST else free.loc[strength.index[:_MOST]]
    lower, upper = (name for name in free.columns if name.endswith(("_lb", "_ub")))
    rows = []
    for label, line in shown.iterrows():
        places = places_for(line["sd"], line["mean"])
        rows.append(
            (
                Cell(text=view.shortened(str(label))),
                *number_cells(
                    decimals(line["mean"], places),
                    interval(line[lower], line[upper], places),
                    decimals(line["probability"], 3),
                    number(line["mcse_mean"], 2),
                ),
            )
        )
    left_out = len(free) - len(shown)
    notes = ["Probability is P(first > second)."]
    if left_out:
        notes.append(
            f"The {len(shown)} differences that are largest for their posterior standard "
            f"deviation; jointmix.contrasts gives the other {left_out:,}."
        )
    return Table(
        caption="Differences between pairs of clusters, first minus second",
        columns=(
            Cell(text="difference"),
            *number_cells("mean", "89% interval", "probability", "MCSE"),
        ),
        rows=tuple(rows),
        notes=tuple(notes),
    )
