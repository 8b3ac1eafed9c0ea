"""The picture of the first screen: the clusters in the plane, or as profiles."""

import numpy as np

from jointmix.plots.clusters import draw_clusters, plane_of
from jointmix.plots.reading import MOST_ROWS
from jointmix.reporting import figures
from jointmix.reporting.dots import Dot, Strip, strips
from jointmix.reporting.elements import Cell, Figure, Panel, Table, number_cells
from jointmix.reporting.fitted import FittedView
from jointmix.reporting.telling import Trait, expected, traits
from jointmix.reporting.text import number

_MOST_COLUMNS, _SIZE = 8, (4.6, 3.7)


def first_picture(view: FittedView) -> Figure:
    """Rows and clusters in a plane where all features are Gaussian, profiles where some are not."""
    kept = _telling(view)
    if view.model.discrete:
        return _profiles(view, kept)
    caption, alt = _in_words(view)
    return Figure(
        caption=f"{caption}{view.left_out}",
        panels=(
            Panel(
                svg=figures.drawn(lambda axes: draw_clusters(axes, view), _SIZE),
                alt=alt,
                wide=True,
            ),
        ),
        table=_table(view, kept),
        legend=view.marks,
    )


def _in_words(view: FittedView) -> tuple[str, str]:
    """What is drawn in the plane, and the same for who does not see it."""
    plane = plane_of(view)
    some = f" {MOST_ROWS:,} of {view.n_obs:,} rows are drawn." if view.n_obs > MOST_ROWS else ""
    if plane is None:
        name = view.names[view.features[0] if view.features else view.response or ""]
        return (
            f"Rows along {name}, shares of clusters one above the other, and their densities.",
            f"Density of {name} in {len(view.occupied)} clusters.",
        )
    first, second = plane.labels
    several = len(view.clusters) > 1
    marked = ", each row marked by its most probable cluster" if several else ""
    if plane.outlines:
        least = ", the two features whose clusters overlap least"
        best = least if several and len(view.features) > 2 else ""
        where = "; ".join(
            f"{view.called[k]} centred at {number(at[0])}, {number(at[1])}"
            for k, at in plane.centres.items()
        )
        return (
            f"Rows in {first} and {second}{best}{marked}, with ellipses that hold 50% and 90% of "
            f"{'each cluster' if several else 'the model'}.{some}",
            f"Scatter of {second} against {first}: {where}.",
        )
    whose = "each cluster's" if several else "the"
    lines = f", with {whose} {view.line_words.curve} and its 89% band" if plane.lines else ""
    ends = "; ".join(
        f"{view.called[k]} from {number(line.mean[0])} to {number(line.mean[-1])}"
        for k, line in plane.lines.items()
    )
    return (
        f"{second} against {first}{marked}{lines}.{some}",
        f"{second} against {first}: {ends or f'{view.n_obs:,} rows'}.",
    )


def _telling(view: FittedView) -> list[tuple[Trait, ...]]:
    """Columns in which clusters differ most, in their order; of levels the one that differs most.

    Of one cluster, in which it is farthest from all rows.
    """
    across = list(zip(*traits(view), strict=True))
    spans = [float(np.ptp([0.0, *(own[k].gap for k in view.occupied)])) for own in across]
    best: dict[str, int] = {}
    for i, own in enumerate(across):
        known = best.get(own[0].column)
        if known is None or spans[i] > spans[known]:
            best[own[0].column] = i
    kept = sorted(best.values(), key=lambda i: -spans[i])[:_MOST_COLUMNS]
    return [across[i] for i in sorted(kept)]


def _profiles(view: FittedView, kept: list[tuple[Trait, ...]]) -> Figure:
    lines = [
        Strip(
            label=across[0].label,
            dots=tuple(
                Dot(cluster=k, lower=across[k].lower, mean=across[k].gap, upper=across[k].upper)
                for k in view.occupied
            ),
        )
        for across in kept
    ]
    left_out = len(view.model.clustering) - len(kept)
    some = f" The {len(kept)} columns in which clusters differ most." if left_out else ""
    return Figure(
        caption="Profiles: means and shares of each cluster in standard deviations of all rows, "
        f"whose mean is 0, with 89% intervals.{some}{view.left_out}",
        panels=(
            Panel(
                svg=strips(lines, "standard deviations of all rows", 0.0),
                alt=f"Profiles of {len(view.occupied)} clusters over {len(kept)} columns.",
                wide=True,
            ),
        ),
        table=_table(view, kept),
        legend=view.marks,
    )


def _table(view: FittedView, kept: list[tuple[Trait, ...]]) -> Table:
    """Means and shares, and what is expected of the response, a column a cluster."""
    rows = [
        (
            Cell(text=across[0].label),
            *number_cells(*(f"{own.value} {own.bounds}" for own in across)),
        )
        for across in kept
    ]
    if view.response is not None:
        levels = number_cells(*(level.text for level in expected(view)))
        rows.append((Cell(text=f"{view.names[view.response]}, expected"), *levels))
    return Table(
        caption="Means and shares by cluster, with 89% intervals",
        columns=(Cell(text="column"), *number_cells(*(mark.text for mark in view.marks))),
        rows=tuple(rows),
    )
