"""Gaussian features two by two: rows and ellipses of each cluster."""

from functools import partial
from itertools import combinations

from jointmix.plots.clusters import INSIDE, draw_plane, plane_of
from jointmix.plots.geometry import separating_features
from jointmix.reporting import figures
from jointmix.reporting.elements import Cell, Figure, Panel, Table, number_cells, text_cells
from jointmix.reporting.fitted import FittedView
from jointmix.reporting.quantities import most_rows
from jointmix.reporting.text import decimals, number

#: Features that are drawn with each other.
MOST_COLUMNS = 5


def pairs(view: FittedView) -> Figure:
    """Every two features, or every two of those in which clusters overlap least."""
    chosen = separating_features(view, MOST_COLUMNS)
    both = list(combinations(chosen, 2))
    panels, table, most = [], [], most_rows(len(both))
    for one, other in both:
        panels.append(_panel(view, one, other, most))
        table.append(
            (
                *text_cells(*(view.names[view.features[i]] for i in (one, other))),
                *number_cells(*(_correlation(view, k, one, other) for k in view.occupied)),
            )
        )
    return Figure(
        caption=_caption(view, len(chosen), most),
        panels=tuple(panels),
        table=Table(
            caption="Correlations inside clusters, posterior means",
            columns=(
                *text_cells("feature", "with"),
                *(Cell(text=view.marks[k].text, numeric=True, cluster=k) for k in view.occupied),
            ),
            rows=tuple(table),
        ),
        legend=view.marks,
    )


def _caption(view: FittedView, n_drawn: int, most: int) -> str:
    several = len(view.occupied) > 1
    which = f"The {n_drawn} features, of {len(view.features)}, " + (
        "in which clusters overlap least, two by two"
        if several
        else "that are most correlated with another, two by two"
    )
    inner, outer = (f"{share:.0%}" for share in INSIDE)
    some = f" {most:,} of {view.n_obs:,} rows are drawn." if view.n_obs > most else ""
    return (
        f"{which if n_drawn < len(view.features) else 'All features, two by two'}: rows, with "
        f"ellipses that hold {inner} and {outer} of {'each cluster' if several else 'the model'} "
        f"at the posterior means.{some}{view.left_out}"
    )


def _panel(view: FittedView, one: int, other: int, most: int) -> Panel:
    names = view.features[one], view.features[other]
    plane = plane_of(view, names)
    assert plane is not None
    first, second = plane.labels
    where = "; ".join(
        f"{view.called[k]} centred at {number(at[0])}, {number(at[1])}, correlation "
        f"{_correlation(view, k, one, other)}"
        for k, at in plane.centres.items()
    )
    return Panel(
        svg=figures.drawn(partial(draw_plane, view=view, plane=plane, most=most)),
        alt=f"Scatter of {second} against {first}: {where}.",
    )


def _correlation(view: FittedView, cluster: int, one: int, other: int) -> str:
    return decimals(float(view.point["correlation"].values[cluster, one, other]), 2)
