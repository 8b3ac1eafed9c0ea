"""What the clusters are: estimates, and pictures of them."""

from dataclasses import replace

import numpy as np

from jointmix.reporting import diagrams, figures, terms
from jointmix.reporting.contrasted import contrast_table, term_table
from jointmix.reporting.elements import (
    Bullets,
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
from jointmix.reporting.quantities import (
    ellipse,
    feature_covariance,
    regression_line,
    separating_pair,
    thinned,
)
from jointmix.reporting.text import decimals, places_for

ID, TITLE = "clusters", "Clusters"

MAX_ROWS = 5000
_ELLIPSE = 0.90
#: Features beyond which rows are drawn as profiles too, and rows drawn so.
_PLANE, _MOST_PROFILES = 3, 300


def section(view: FittedView) -> Section:
    """Pictures of the clusters and their regressions, then every estimate."""
    elements: list[Element] = []
    if len(view.features) > 1:
        elements.append(_scatter(view))
    if len(view.features) > _PLANE:
        elements.append(_profiles(view))
    if view.predictors:
        made = view.model.encoding is not None
        elements.append(terms.curves(view) if made else _regressions(view))
    rows = estimates(view)
    elements += [Heading(text="Estimates"), Prose(text=_reading()), overview(view, rows)]
    elements += _remarks(view)
    elements += _forests(view, rows)
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


def _positions(view: FittedView) -> tuple[np.ndarray, np.ndarray, str]:
    """Rows to draw, each one's cluster by position, and a sentence where some are left out."""
    rows = thinned(view.n_obs, MAX_ROWS)
    allocated = view.allocation["allocation"].values[rows]
    cluster = np.searchsorted(view.clusters, allocated)
    text = f" {MAX_ROWS:,} of {view.n_obs:,} rows are drawn." if view.n_obs > MAX_ROWS else ""
    return rows, cluster, text


def _scatter(view: FittedView) -> Figure:
    pair = separating_pair(view) if len(view.occupied) > 1 else (0, 1)
    names = [view.features[j] for j in pair]
    first, second = (view.names[name] for name in names)
    rows, cluster, left_out = _positions(view)
    mean, covariance = view.point["mean"].values, feature_covariance(view)
    outlines = {
        k: ellipse(mean[k, list(pair)], covariance[k][np.ix_(pair, pair)], _ELLIPSE)
        for k in view.occupied
    }
    centers = [
        [view.estimate("mean", cluster=k, feature=j) for j in pair]
        for k in range(len(view.clusters))
    ]
    where = "; ".join(
        f"cluster {value} centred at {x.value}, {y.value}"
        for value, (x, y) in zip(view.clusters, centers, strict=True)
    )
    x, y = (view.columns[name][rows] for name in names)
    chosen = "the two features that separate the clusters best" if len(view.features) > 2 else ""
    return Figure(
        caption=f"Rows in {first} and {second}{', ' if chosen else ''}{chosen}, each marked by "
        f"its most probable cluster, with the ellipse that holds 90% of each cluster."
        f"{left_out}{view.left_out}",
        panels=(
            Panel(
                svg=figures.scatter(x, y, cluster, outlines, (first, second)),
                alt=f"Scatter of {second} against {first}: {where}.",
                wide=True,
            ),
        ),
        table=Table(
            caption="Centres of the ellipses",
            columns=(Cell(text="cluster"), *number_cells(first, second)),
            rows=tuple(
                (mark, *number_cells(*(center.text for center in pair_of)))
                for mark, pair_of in zip(view.marks, centers, strict=True)
            ),
        ),
        legend=view.marks,
    )


def _profiles(view: FittedView) -> Figure:
    """Clusters' means and some rows across all features, in units of the columns' scales."""
    center, scale = np.array([view.scaling[name] for name in view.features]).T
    means = (view.point["mean"].values - center) / scale
    kept = thinned(view.n_obs, _MOST_PROFILES)
    values = np.stack([view.columns[name][kept] for name in view.features], axis=1)
    cluster = np.searchsorted(view.clusters, view.allocation["allocation"].values[kept])
    labels = [view.names[name] for name in view.features]
    drawn = {k: means[k] for k in view.occupied}
    held = means[list(view.occupied)]
    far, column = np.unravel_index(int(np.abs(held).argmax()), held.shape)
    farthest = view.occupied[int(far)]
    some = f" {kept.size:,} of {view.n_obs:,} rows are drawn." if kept.size < view.n_obs else ""
    return Figure(
        caption="Profiles: mean of each feature in each cluster (thick) and rows (thin), each "
        f"column centred and scaled.{some}{view.left_out}",
        panels=(
            Panel(
                svg=diagrams.parallel(drawn, (values - center) / scale, cluster, labels),
                alt=f"Profiles of {len(means)} clusters over {len(labels)} features; farthest from "
                f"the centre is cluster {view.clusters[farthest]} in {labels[int(column)]}, at "
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


def _regressions(view: FittedView) -> Figure:
    rows, cluster, left_out = _positions(view)
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
            f"cluster {value} {slope.text}"
            for value, slope in zip(view.clusters, slopes, strict=True)
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


def _remarks(view: FittedView) -> list[Element]:
    """What scales and shapes of each cluster mean, where a family says it."""
    items = []
    for k, value in enumerate(view.clusters):
        said = [words.remark(view.own(words.block, k)) for words in view.words]
        text = "; ".join(sentence for sentence in said if sentence)
        if text:
            items.append(Cell(text=f"Cluster {value}: {text}.", cluster=k))
    return [Bullets(items=tuple(items))] if items else []


def _correlations(view: FittedView, rows: list[Row]) -> Figure:
    """The correlation matrix of each cluster at its posterior mean."""
    labels = [view.names[name] for name in view.features]
    panels = []
    for k in view.occupied:
        value = view.clusters[k]
        far = max(rows, key=lambda row: abs(row.estimates[k].mean))
        panels.append(
            Panel(
                svg=diagrams.correlations(
                    view.point["correlation"].values[k], labels, f"cluster {value}"
                ),
                alt=f"Correlations in cluster {value}; the strongest is that of {far.column}, "
                f"{far.estimates[k].text}.",
            )
        )
    return Figure(
        caption="Correlations of the features inside each cluster, posterior means."
        f"{view.left_out}",
        panels=tuple(panels),
        table=precision(view, rows),
    )


def _forests(view: FittedView, rows: list[Row]) -> list[Figure]:
    """Intervals of the free parameters; those with one entry a cluster share a figure."""
    groups: dict[str, list[Row]] = {}
    for row in rows:
        if not row.fixed and row.parameter.role != "correlation":
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
        f"cluster {value} {estimate.text}"
        for value, estimate in zip(view.clusters, row.estimates, strict=True)
    )
    return Panel(
        svg=figures.forest(
            {
                k: (estimate.lower, estimate.mean, estimate.upper)
                for k, estimate in enumerate(row.estimates)
                if k in view.occupied or row.parameter.role == "weight"
            },
            len(row.estimates),
            row.column or row.parameter.name,
        ),
        alt=f"{row.parameter.name}{f' of {row.column}' if row.column else ''}: {numbers}.",
    )
