"""The picture of the first screen: the clusters in the plane, or as profiles."""

import numpy as np

from jointmix.reporting import figures
from jointmix.reporting.dots import Dot, Strip, strips
from jointmix.reporting.elements import Cell, Figure, Panel, Table, number_cells
from jointmix.reporting.fitted import FittedView
from jointmix.reporting.quantities import (
    ellipse,
    feature_covariance,
    regression_line,
    separating_pair,
    thinned,
)
from jointmix.reporting.telling import expected, traits
from jointmix.reporting.text import decimals, number

MAX_ROWS = 5000
_ELLIPSE, _MOST_COLUMNS = 0.90, 8


def first_picture(view: FittedView) -> list[Figure]:
    """Rows and ellipses where all features are Gaussian, and profiles where some are not.

    Without features: the response along its main predictor, or what each cluster expects of it.
    """
    if len(view.features) > 1 and not view.model.discrete:
        return [_plane(view)]
    if view.model.clustering:
        return [_profiles(view)]
    if view.predictors and view.model.encoding is None:
        return [_lines(view)]
    return [_levels(view)]


def _positions(view: FittedView) -> tuple[np.ndarray, np.ndarray, str]:
    """Rows to draw, each one's cluster by position, and a sentence where some are left out."""
    rows = thinned(view.n_obs, MAX_ROWS)
    cluster = np.searchsorted(view.clusters, view.allocation["allocation"].values[rows])
    text = f" {MAX_ROWS:,} of {view.n_obs:,} rows are drawn." if view.n_obs > MAX_ROWS else ""
    return rows, cluster, text


def _plane(view: FittedView) -> Figure:
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
    chosen = ", the two features that separate the clusters best" if len(view.features) > 2 else ""
    return Figure(
        caption=f"Rows in {first} and {second}{chosen}, each marked by its most probable cluster, "
        f"with the ellipse that holds 90% of each cluster.{left_out}{view.left_out}",
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
    """Means, and the level of each feature that clusters differ in most, of all clusters."""
    across = list(zip(*traits(view), strict=True))
    spans = [np.ptp([own[k].gap for k in view.occupied]) for own in across]
    best: dict[str, int] = {}
    for i, own in enumerate(across):
        known = best.get(own[0].column)
        if known is None or spans[i] > spans[known]:
            best[own[0].column] = i
    kept = sorted(sorted(best.values(), key=lambda i: -spans[i])[:_MOST_COLUMNS])
    lines = [
        Strip(
            label=across[i][0].label,
            dots=tuple(
                Dot(cluster=k, lower=own.lower, mean=own.gap, upper=own.upper)
                for k, own in enumerate(across[i])
                if k in view.occupied
            ),
        )
        for i in kept
    ]
    left_out = len(best) - len(kept)
    some = f" The {len(kept)} columns in which clusters differ most." if left_out else ""
    widest = across[max(kept, key=lambda i: spans[i])][0].label
    return Figure(
        caption="Profiles: means and shares of each cluster in standard deviations of all rows, "
        f"whose mean is 0, with 89% intervals.{some}{view.left_out}",
        panels=(
            Panel(
                svg=strips(lines, "standard deviations of all rows", 0.0),
                alt=f"Profiles of {len(view.occupied)} clusters; they differ most in {widest}.",
                wide=True,
            ),
        ),
        table=Table(
            caption="Means and shares by cluster",
            columns=(Cell(text="column"), *number_cells(*(mark.text for mark in view.marks))),
            rows=tuple(
                (
                    Cell(text=across[i][0].label),
                    *number_cells(*(f"{own.value} {own.bounds}" for own in across[i])),
                )
                for i in kept
            ),
        ),
        legend=view.marks,
    )


def _lines(view: FittedView) -> Figure:
    """The response along the predictor that moves it most, all clusters in one picture."""
    sizes = [
        max(abs(view.estimate("slope", cluster=k, predictor=j).mean) for k in view.occupied)
        * view.scaling[name][1]
        for j, name in enumerate(view.predictors)
    ]
    j = int(np.argmax(sizes))
    rows, cluster, left_out = _positions(view)
    response, label = view.names[view.response or ""], view.names[view.predictors[j]]
    y = view.columns[view.response or ""][rows]
    if view.trials is not None:
        response, y = f"{response} / {view.names[view.trials]}", y / view.columns[view.trials][rows]
    lines = {k: regression_line(view, k, j) for k in view.occupied}
    x = view.columns[view.predictors[j]][rows]
    return Figure(
        caption=f"{response} along {label}, each row marked by its most probable cluster, with "
        f"each cluster's {view.line_words.curve} and its 89% band.{left_out}{view.left_out}",
        panels=(
            Panel(
                svg=figures.regression(x, y, cluster, lines, (label, response)),
                alt=f"{response} against {label}: "
                + "; ".join(
                    f"cluster {view.clusters[k]} from {number(float(line.mean[0]))} to "
                    f"{number(float(line.mean[-1]))}"
                    for k, line in lines.items()
                )
                + ".",
                wide=True,
            ),
        ),
        table=Table(
            caption="Ends of the lines",
            columns=(Cell(text="cluster"), *number_cells("at the lower end", "at the upper end")),
            rows=tuple(
                (view.marks[k], *number_cells(number(line.mean[0]), number(line.mean[-1])))
                for k, line in lines.items()
            ),
        ),
        legend=view.marks,
    )


def _levels(view: FittedView) -> Figure:
    """What each cluster expects of the response."""
    levels, response = expected(view), view.names[view.response or ""]
    lines = [
        Strip(
            label=view.marks[k].text,
            value=levels[k].value,
            dots=(
                Dot(cluster=k, lower=levels[k].lower, mean=levels[k].mean, upper=levels[k].upper),
            ),
        )
        for k in view.occupied
    ]
    low, high = (f(levels[k].mean for k in view.occupied) for f in (min, max))
    return Figure(
        caption=f"Expected {response} of each cluster's rows, with 89% intervals.{view.left_out}",
        panels=(
            Panel(
                svg=strips(lines, response),
                alt=f"Expected {response} from {decimals(low, 2)} to {decimals(high, 2)}.",
                wide=True,
            ),
        ),
        table=Table(
            caption=f"Expected {response}",
            columns=(Cell(text="cluster"), *number_cells("mean, 89% interval")),
            rows=tuple((view.marks[k], *number_cells(levels[k].text)) for k in view.occupied),
        ),
        legend=view.marks,
    )
