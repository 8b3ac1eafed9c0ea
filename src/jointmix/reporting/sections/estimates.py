"""Every estimate, and pictures of clusters over all features and predictors."""

from dataclasses import replace

import numpy as np

from jointmix.plots.geometry import regression_line
from jointmix.plots.reading import thinned
from jointmix.reporting import diagrams, figures, terms
from jointmix.reporting.contrasted import contrast_table, term_table
from jointmix.reporting.dots import Dot, Strip, strips
from jointmix.reporting.elements import (
    Cell,
    Element,
    Figure,
    Heading,
    Panel,
    Prose,
    Section,
    Table,
    number_cells,
)
from jointmix.reporting.estimated import Row, estimates, overview, precision
from jointmix.reporting.fitted import FittedView
from jointmix.reporting.pairs import pairs
from jointmix.reporting.quantities import most_rows
from jointmix.reporting.text import decimals, places_for

ID, TITLE = "estimates", "Estimates"

#: Features beyond which clusters are drawn as profiles too.
_PLANE = 3
#: Features that the first picture shows.
_FIRST = 2


def section(view: FittedView) -> Section:
    """Every estimate, the clusters in all columns, and their differences."""
    rows = estimates(view)
    elements: list[Element] = [Prose(text=_reading()), *overview(view, rows)]
    elements += _forests(view, rows)
    if len(view.features) > _PLANE:
        elements.append(_profiles(view))
    if len(view.features) > _FIRST:
        elements.append(pairs(view))
    if view.predictors:
        made = view.model.encoding is not None
        elements.append(terms.curves(view) if made else _regressions(view))
    correlations = [row for row in rows if row.parameter.role == "correlation" and not row.fixed]
    if correlations:
        elements.append(_correlations(view, correlations))
    if len(view.clusters) > 1:
        elements += [Heading(text="Differences between clusters"), contrast_table(view)]
    if view.model.encoding is not None:
        elements += [Heading(text="Terms of the predictors"), term_table(view)]
    return Section(id=ID, title=TITLE, elements=tuple(elements))


def _reading() -> str:
    return (
        "Each number is a posterior mean with its 89% equal-tailed interval [a, b]; MCSE is the "
        "Monte Carlo standard error of the mean, what sampling longer would reduce."
    )


def _positions(view: FittedView, n_panels: int) -> tuple[np.ndarray, np.ndarray, str]:
    """Rows to draw, each one's cluster by position, and a sentence where some are left out."""
    most = most_rows(n_panels)
    rows = thinned(view.n_obs, most)
    allocated = view.allocation["allocation"].values[rows]
    cluster = np.searchsorted(view.clusters, allocated)
    text = f" {most:,} of {view.n_obs:,} rows are drawn." if view.n_obs > most else ""
    return rows, cluster, text


def _profiles(view: FittedView) -> Figure:
    """Clusters' means across all features, in units of the columns' scales."""
    center, scale = np.array([view.scaling[name] for name in view.features]).T
    means = (view.point["mean"].values - center) / scale
    labels = [view.names[name] for name in view.features]
    held = means[list(view.occupied)]
    far, column = np.unravel_index(int(np.abs(held).argmax()), held.shape)
    farthest = view.occupied[int(far)]
    lines = [
        Strip(label=label, dots=tuple(_standard(view, k, j) for k in view.occupied))
        for j, label in enumerate(labels)
    ]
    return Figure(
        caption="Profiles: mean of each feature in each cluster with its 89% interval, each column "
        f"centred and scaled.{view.left_out}",
        panels=(
            Panel(
                svg=strips(lines, "standard units", 0.0),
                alt=f"Profiles of {len(means)} clusters over {len(labels)} features; farthest from "
                f"the centre is {view.called[farthest]} in {labels[int(column)]}, at "
                f"{decimals(float(means[farthest, column]), 2)}.",
                wide=True,
            ),
        ),
        table=Table(
            caption="Means in standard units",
            columns=(Cell(text="feature"), *(replace(mark, numeric=True) for mark in view.marks)),
            rows=tuple(
                (Cell(text=label), *number_cells(*(decimals(float(m), 2) for m in means[:, j])))
                for j, label in enumerate(labels)
            ),
        ),
        legend=view.marks,
    )


def _standard(view: FittedView, cluster: int, feature: int) -> Dot:
    center, scale = view.scaling[view.features[feature]]
    own = view.estimate("mean", cluster=cluster, feature=feature)
    lower, mean, upper = ((each - center) / scale for each in (own.lower, own.mean, own.upper))
    return Dot(cluster=cluster, lower=lower, mean=mean, upper=upper)


def _regressions(view: FittedView) -> Figure:
    rows, cluster, left_out = _positions(view, len(view.predictors))
    response = view.names[view.response or ""]
    y = view.columns[view.response or ""][rows]
    if view.trials is not None:
        response, y = f"{response} / {view.names[view.trials]}", y / view.columns[view.trials][rows]
    panels = []
    table: list[tuple[Cell, ...]] = []
    for j, name in enumerate(view.predictors):
        lines = [regression_line(view, k, j) for k in range(len(view.clusters))]
        slopes = [view.estimate("slope", cluster=k, predictor=j) for k in range(len(lines))]
        label = view.names[name]
        words = "; ".join(
            f"{called} {slope.text}" for called, slope in zip(view.called, slopes, strict=True)
        )
        panels.append(
            Panel(
                svg=figures.regression(
                    view.columns[name][rows],
                    y,
                    cluster,
                    {k: lines[k] for k in view.occupied},
                    (label, response),
                ),
                alt=f"{response} against {label}, slopes: {words}.",
                wide=len(view.predictors) == 1,
            )
        )
        table += [
            (Cell(text=label), mark, *_line_cells(line.at, line.mean))
            for mark, line in zip(view.marks, lines, strict=True)
        ]
    others = ", the other predictors held at the cluster's mean" if len(view.predictors) > 1 else ""
    return Figure(
        caption=f"{response} along each predictor, with each cluster's {view.line_words.curve} "
        "and its "
        f"89% band{others}. Lines span the central 95% of the cluster's rows.{left_out}"
        f"{view.left_out}",
        panels=tuple(panels),
        table=Table(
            caption="Ends of the regression lines",
            columns=(
                Cell(text="predictor"),
                Cell(text="cluster"),
                *number_cells("from", "response there", "to", "response there"),
            ),
            rows=tuple(table),
        ),
        legend=view.marks,
    )


def _line_cells(at: np.ndarray, mean: np.ndarray) -> tuple[Cell, ...]:
    across, up = float(np.ptp(at)) / 20, float(np.ptp(mean)) / 20
    return number_cells(
        *(
            decimals(float(value), places_for(spread, float(value)))
            for end in (0, -1)
            for value, spread in ((at[end], across), (mean[end], up))
        )
    )


def _correlations(view: FittedView, rows: list[Row]) -> Figure:
    """The correlation matrix of each cluster at its posterior mean."""
    labels = [view.names[name] for name in view.features]
    panels = []
    shared = all(row.shared for row in rows)
    for k in view.occupied[:1] if shared else view.occupied:
        whose = "all clusters" if shared else view.called[k]
        far = max(rows, key=lambda row: abs(row.estimates[k].mean))
        panels.append(
            Panel(
                svg=diagrams.correlations(view.point["correlation"].values[k], labels, whose),
                alt=f"Correlations in {whose}; the strongest is that of {far.column}, "
                f"{far.estimates[k].text}.",
            )
        )
    whose = "all clusters together" if shared else "each cluster"
    return Figure(
        caption=f"Correlations of the features inside {whose}, posterior means."
        f"{'' if shared else view.left_out}",
        panels=tuple(panels),
        table=precision(view, rows),
    )


def _forests(view: FittedView, rows: list[Row]) -> list[Figure]:
    """Intervals of the free parameters; those with one entry a cluster share a figure."""
    groups: dict[str, list[Row]] = {}
    for row in rows:
        if not row.fixed and not row.shared and row.parameter.role != "correlation":
            groups.setdefault(row.parameter.name if row.column else "", []).append(row)
    return [
        Figure(
            caption=_group_caption(view, members),
            panels=tuple(_forest(view, row) for row in members),
            table=precision(view, members),
        )
        for members in groups.values()
    ]


def _group_caption(view: FittedView, rows: list[Row]) -> str:
    words = dict.fromkeys(view.caption(row.parameter) for row in rows)
    all_drawn = all(row.parameter.role == "weight" for row in rows)
    return f"{'. '.join(words)}. Lines are 89% intervals.{'' if all_drawn else view.left_out}"


def _forest(view: FittedView, row: Row) -> Panel:
    numbers = "; ".join(
        f"{called} {estimate.text}"
        for called, estimate in zip(view.called, row.estimates, strict=True)
    )
    lines = [
        Strip(
            label=view.marks[k].text,
            value=estimate.value,
            dots=(Dot(cluster=k, lower=estimate.lower, mean=estimate.mean, upper=estimate.upper),),
        )
        for k, estimate in enumerate(row.estimates)
        if k in view.occupied or row.parameter.role == "weight"
    ]
    return Panel(
        svg=strips(lines, row.column or row.parameter.name),
        alt=f"{row.parameter.name}{f' of {row.column}' if row.column else ''}: {numbers}.",
    )
