"""What a formula's terms come to: curves over columns, values at levels, and how they are coded."""

import numpy as np

from jointmix.plots.along import Along, along_columns
from jointmix.reporting import figures
from jointmix.reporting.elements import Cell, Figure, Panel, Table, number_cells, text_cells
from jointmix.reporting.fitted import FittedView
from jointmix.reporting.quantities import most_rows, thinned
from jointmix.reporting.text import decimals, places_for, shorten
from jointmix.tables.design import Encoding


def curves(view: FittedView) -> Figure:
    """The response along each column that the terms read."""
    found = along_columns(view)
    response, rows = view.names[view.response or ""], thinned(view.n_obs, most_rows(len(found)))
    cluster = np.searchsorted(view.clusters, view.allocation["allocation"].values[rows])
    y = view.columns[view.response or ""][rows]
    panels, table = [], []
    for each in found:
        label, lines = shorten(each.name, 40), dict(enumerate(each.lines))
        drawn = {k: lines[k] for k in view.occupied}
        if each.levels:
            svg = figures.at_levels(drawn, each.levels, (label, response))
        else:
            svg = figures.regression(each.values[rows], y, cluster, drawn, (label, response))
        cells = [_cells(each, k) for k in lines]
        words = "; ".join(
            f"{called} from {own[1].text} to {own[-1].text}"
            for called, own in zip(view.called, cells, strict=True)
        )
        alt = f"{response} along {label}: {words}."
        panels.append(Panel(svg=svg, alt=alt, wide=len(found) == 1))
        table += [
            (Cell(text=label), mark, *own) for mark, own in zip(view.marks, cells, strict=True)
        ]
    held = ", the other columns being as in the cluster's rows" if len(found) > 1 else ""
    return Figure(
        caption=f"Expected {response} along each column that the terms read, all its terms "
        f"together, with each cluster's 89% band{held}. Curves span the central 95% of the "
        f"cluster's rows.{view.left_out}",
        panels=tuple(panels),
        table=Table(
            caption="Ends of the curves",
            columns=(
                *text_cells("column", "cluster", "from"),
                *number_cells("response there"),
                *text_cells("to"),
                *number_cells("response there"),
            ),
            rows=tuple(table),
        ),
        legend=view.marks,
    )


def _cells(each: Along, cluster: int) -> tuple[Cell, ...]:
    """Where a curve begins and ends, and the response there."""
    line = each.lines[cluster]
    up, across = float(np.ptp(line.mean)) / 20, float(np.ptp(line.at)) / 20
    found: list[Cell] = []
    for end in (0, -1):
        at, mean = float(line.at[end]), float(line.mean[end])
        where = each.levels[end] if each.levels else decimals(at, places_for(across, at))
        found += [Cell(text=where), *number_cells(decimals(mean, places_for(up, mean)))]
    return tuple(found)


def coding(view: FittedView, encoding: Encoding) -> Table:
    """The terms, the columns that they have, and what those are."""
    codings = encoding.codings
    rows = tuple(
        text_cells(
            shorten(term.label, 60),
            str(len(term.names)),
            "; ".join(codings.get(each.text) or _read(each.text) for each in term.factors),
        )
        for term in encoding.terms
    )
    return Table(
        caption="Terms of the predictors",
        columns=text_cells("term", "columns", "what they are"),
        rows=rows,
        notes=(
            "Every column of a term is centred and scaled as other predictors are, and its slope "
            "has their prior.",
        )
        if view.model.standardize
        else (),
    )


def _read(text: str) -> str:
    if text.startswith("bs("):
        return "B-spline"
    if text.startswith(("cr(", "cc(")):
        return f"{'natural' if text.startswith('cr(') else 'cyclic'} cubic spline with mean zero"
    if text.startswith("poly("):
        return "orthogonal polynomial"
    return "numbers"
