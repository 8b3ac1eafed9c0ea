"""Which rows belong where, how surely, and what the response adds."""

from dataclasses import replace
from functools import partial
from itertools import pairwise

import numpy as np
import xarray as xr

from jointmix.base.numbers import percent, probability
from jointmix.base.schema import CLUSTER, OBS
from jointmix.plots.assignment import LEAST_DRAWN, draw_rootogram, highest
from jointmix.posterior.allocations import coclustering
from jointmix.reporting import diagrams, figures
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
from jointmix.reporting.fitted import FittedView
from jointmix.reporting.quantities import SHARP, entropy_bits, sharp_share, thinned
from jointmix.reporting.sections.clusters import row_columns, row_values
from jointmix.reporting.text import bits_text, decimals, rows_text

ID, TITLE = "assignment", "Assignment of rows"

_UNCERTAIN, _PAIRED = 10, 300
_EDGES = np.linspace(0, 1, 21)
#: Of responsibilities in words: those below the least are not drawn.
_RANGES = (LEAST_DRAWN, 0.1, 0.5, 0.9, 1.0)


def section(view: FittedView) -> Section:
    """Responsibilities with and without the response, and the most uncertain rows."""
    if len(view.clusters) == 1:
        text = "There is one cluster; every row belongs to it."
        return Section(id=ID, title=TITLE, elements=(Prose(text=text),))
    given = _given(view)
    elements: list[Element] = [
        Prose(text=_reading(view, given)),
        _by_cluster(view, given),
        _sharpness(view, given),
        _rootograms(view),
        _together(view),
        Heading(text="Most uncertain rows"),
        _uncertain(view),
    ]
    return Section(id=ID, title=TITLE, elements=tuple(elements))


def _given(view: FittedView) -> dict[str, xr.DataArray]:
    """Responsibilities by what they are conditional on."""
    both = view.allocation["responsibility"].transpose(OBS, CLUSTER)
    if view.response is None:
        return {"p(k | x)": both}
    found = {}
    if "responsibility_features" in view.allocation:
        features = view.allocation["responsibility_features"].transpose(OBS, CLUSTER)
        found["p(k | x)" if view.model.clustering else "p(k)"] = features
    return {**found, ("p(k | x, y)" if view.model.clustering else "p(k | y)"): both}


def _reading(view: FittedView, given: dict[str, xr.DataArray]) -> str:
    bits = {label: view.average(entropy_bits(array)) for label, array in given.items()}
    sentences = [
        f"Under {label}, {percent(sharp_share(view, array))} of the rows have a largest "
        f"probability above 0.9 and the mean entropy is {bits_text(bits[label])} bits."
        for label, array in given.items()
    ]
    if len(bits) == 2:
        before, after = bits.values()
        sentences.append(
            f"Seeing {view.names[view.response or '']} gains {bits_text(before - after)} bits a "
            f"row, of at most {decimals(float(np.log2(len(view.clusters))), 3)}."
        )
    if "draws" in view.allocation.attrs:
        sentences.append(
            f"Probabilities are means over {int(view.allocation.attrs['draws']):,} of the draws, "
            f"with a Monte Carlo error of {view.allocation.attrs['error']:.1g}."
        )
    return " ".join(sentences)


def _by_cluster(view: FittedView, given: dict[str, xr.DataArray]) -> Table:
    rows = []
    for k, mark in enumerate(view.marks):
        cells = []
        for array in given.values():
            chosen = array.values.argmax(axis=1) == k
            counts = view.rows.weights
            assigned = float(counts @ chosen)
            sharp = float(counts @ (chosen & (array.values.max(axis=1) > SHARP)))
            cells += [
                decimals(float(counts @ array.values[:, k]), 1),
                rows_text(assigned),
                percent(sharp / assigned) if assigned else "–",
            ]
        rows.append((mark, *number_cells(*cells)))
    headers = [
        f"{label}: {what}"
        for label in given
        for what in ("expected rows", "rows assigned", "of them above 0.9")
    ]
    return Table(
        caption="Rows by cluster",
        columns=(Cell(text="cluster"), *number_cells(*headers)),
        rows=tuple(rows),
        notes=("A row is assigned to its most probable cluster; expected rows sum probabilities.",),
    )


def _sharpness(view: FittedView, given: dict[str, xr.DataArray]) -> Figure:
    shares = {
        label: np.histogram(array.max(CLUSTER).values, _EDGES, weights=view.rows.weight)[0]
        / view.total
        for label, array in given.items()
    }
    used = np.flatnonzero(sum(shares.values()))
    first = int(used[0])
    edges = _EDGES[first:]
    kept = {label: share[first:] for label, share in shares.items()}
    words = "; ".join(
        f"{label} {percent(sharp_share(view, array))}" for label, array in given.items()
    )
    return Figure(
        caption="How surely rows are assigned: the largest probability of each row.",
        panels=(
            Panel(
                svg=figures.compared(edges, kept, "largest probability of a row"),
                alt=f"Histogram of the largest probability of each row. Above 0.9: {words}.",
                wide=True,
            ),
        ),
        table=Table(
            caption="Share of rows by their largest probability",
            columns=(Cell(text="between"), *number_cells(*kept)),
            rows=tuple(
                (
                    Cell(text=f"{low:.2f} and {high:.2f}"),
                    *number_cells(*(percent(share[i]) for share in kept.values())),
                )
                for i, (low, high) in enumerate(pairwise(edges))
            ),
        ),
    )


def _rootograms(view: FittedView) -> Figure:
    """How many rows have each responsibility, cluster by cluster."""
    weights, panels, rows = view.rows.weights, [], []
    high = max(highest(view, k) for k in view.occupied)
    for k in view.occupied:
        counts = [
            float(np.histogram(view.share[:, k], edges, weights=weights)[0][0])
            for edges in pairwise(_RANGES)
        ]
        words = [rows_text(count) for count in counts]
        panels.append(
            Panel(
                svg=figures.drawn(partial(draw_rootogram, view=view, cluster=k, most=high)),
                alt=f"Rootogram of responsibilities in {view.called[k]}: "
                + ", ".join(
                    f"{count} rows between {low} and {upper}"
                    for count, (low, upper) in zip(words, pairwise(_RANGES), strict=True)
                )
                + ".",
            )
        )
        rows.append((view.marks[k], *number_cells(*words)))
    return Figure(
        caption="Rootograms: rows by their responsibility in each cluster, counts on the scale of "
        "square roots. Dark are rows whose most probable cluster it is; a cluster that stands "
        f"apart has rows at 1 alone, and the middle is what it shares with others.{view.left_out}",
        panels=tuple(panels),
        table=Table(
            caption="Rows by their responsibility in each cluster",
            columns=(
                Cell(text="cluster"),
                *number_cells(*(f"{low} to {upper}" for low, upper in pairwise(_RANGES))),
            ),
            rows=tuple(rows),
        ),
    )


def _together(view: FittedView) -> Figure:
    """How probably pairs of rows share a cluster, whatever its label."""
    kept = thinned(view.n_obs, _PAIRED)
    found = coclustering(view.tree, kept.tolist()).values
    cluster = np.searchsorted(view.clusters, view.allocation["allocation"].values[kept])
    order = np.argsort(cluster, kind="stable")
    size = np.bincount(cluster, minlength=len(view.clusters))
    means = [
        [
            float(found[np.ix_(cluster == k, cluster == j)].mean()) if size[k] * size[j] else np.nan
            for j in range(len(view.clusters))
        ]
        for k in range(len(view.clusters))
    ]
    some = f", {kept.size:,} of {view.n_obs:,} of them" if kept.size < view.n_obs else ""
    within = ", ".join(probability(row[k]) for k, row in enumerate(means))
    return Figure(
        caption="Probability that two rows share a cluster, whatever its label: rows sorted by "
        f"their most probable cluster{some}.",
        panels=(
            Panel(
                svg=diagrams.matrix(found[np.ix_(order, order)], np.cumsum(size).tolist()),
                alt=f"Matrix of {kept.size:,} rows; the mean probability inside clusters is "
                f"{within}.",
                wide=True,
            ),
        ),
        table=Table(
            caption="Mean probability to be together, by cluster",
            columns=(Cell(text="cluster"), *(replace(mark, numeric=True) for mark in view.marks)),
            rows=tuple(
                (mark, *number_cells(*(probability(mean) for mean in row)))
                for mark, row in zip(view.marks, means, strict=True)
            ),
        ),
    )


def _uncertain(view: FittedView) -> Table:
    responsibility = view.allocation["responsibility"].transpose(OBS, CLUSTER)
    bits = entropy_bits(responsibility).values
    # A stable sort keeps the table's order among equally uncertain rows.
    worst = np.argsort(-bits, kind="stable")[:_UNCERTAIN]
    columns = row_columns(view)
    return Table(
        caption=f"The {len(worst)} rows whose assignment is least certain",
        columns=(
            Cell(text=view.row_header),
            *number_cells(
                *(view.names[name] for name in columns),
                *("entropy, bits", *(mark.text for mark in view.marks)),
            ),
        ),
        rows=tuple(
            (
                Cell(text=view.row_name(i)),
                *number_cells(
                    *row_values(view, int(i), columns),
                    bits_text(bits[i]),
                    *(probability(p) for p in responsibility.values[i]),
                ),
            )
            for i in worst
        ),
    )
