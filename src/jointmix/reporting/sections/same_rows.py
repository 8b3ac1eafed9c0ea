"""Rows that two fits share: from which cluster to which they moved; and how all was compared."""

import numpy as np

from jointmix.base.numbers import percent, probability
from jointmix.base.schema import CLUSTER, OBS
from jointmix.reporting.elements import (
    Cell,
    Code,
    Element,
    Figure,
    Panel,
    Prose,
    Section,
    Table,
    number_cells,
)
from jointmix.reporting.fitted import FittedView
from jointmix.reporting.flows import flows
from jointmix.reporting.sections.changes import Fits
from jointmix.reporting.sections.clusters import row_columns, row_values
from jointmix.reporting.text import clean, rows_text, shorten

_MOST_ROWS, _MOST_VALUES, _HASH = 10, 4, 16


def moved_rows(fits: Fits) -> Section:
    """Common rows by their clusters in both fits, and those that left their counterpart."""
    section_id, title = "rows", "Rows that both fits have"
    here, there = fits.common
    if not here.size:
        text = "The fits share no rows: no labels agree, or rows of one label hold other values."
        return Section(id=section_id, title=title, elements=(Prose(text=text),))
    one, other = fits.views
    counts = np.zeros((len(one.clusters), len(other.clusters)))
    np.add.at(counts, (one.chosen[here], other.chosen[there]), other.rows.weights[there])
    kept = sum(
        counts[one.clusters.index(number_), other.clusters.index(own)]
        for number_, own in fits.side.matching.items()
    )
    share = kept / counts.sum()
    said = (
        f"{here.size:,} rows are in both fits (of {one.n_obs:,} and {other.n_obs:,}), each in its "
        f"most probable cluster. {percent(share)} of them stay in the counterpart of their "
        f"cluster; the adjusted Rand index of the two allocations is {fits.side.rand:.3f}."
    )
    elements: list[Element] = [Prose(text=said)]
    if max(counts.shape) > 1:
        places = [[own[k] for k in sorted(own)] for own in fits.pair.places]
        picture = Panel(svg=flows([counts], ["first", "second"], places), alt=said)
        elements.append(
            Figure(
                caption="Common rows by cluster; ribbons have the colour of the cluster that rows "
                "leave.",
                panels=(picture,),
                table=_counts(fits, counts),
            )
        )
    if share < 1:
        elements.append(_movers(fits))
    return Section(id=section_id, title=title, elements=tuple(elements))


def _counts(fits: Fits, counts: np.ndarray) -> Table:
    one, other = fits.views
    return Table(
        caption="Common rows by cluster of the first fit and of the second",
        columns=(
            Cell(text="first"),
            *number_cells(*(f"second: {mark.text}" for mark in other.marks)),
        ),
        rows=tuple(
            (mark, *number_cells(*(rows_text(count) for count in line)))
            for mark, line in zip(one.marks, counts, strict=True)
        ),
    )


def _movers(fits: Fits) -> Table:
    """Rows that are surest to have changed cluster: by the product of both probabilities."""
    one, other = fits.views
    here, there = fits.common
    match = {
        one.clusters.index(number_): other.clusters.index(own)
        for number_, own in fits.side.matching.items()
    }
    counterpart = np.array([match.get(k, -1) for k in range(len(one.clusters))])
    left = np.flatnonzero(counterpart[one.chosen[here]] != other.chosen[there])
    surest = one.share[here].max(axis=1) * other.share[there].max(axis=1)
    order = left[np.argsort(-surest[left], kind="stable")][:_MOST_ROWS]
    columns = row_columns(other, _MOST_VALUES)
    rows = []
    for i in order:
        place, earlier = int(there[i]), int(here[i])
        rows.append(
            (
                Cell(text=other.row_name(place)),
                one.marks[int(one.chosen[earlier])],
                *number_cells(probability(_of_chosen(one, earlier))),
                Cell(text=other.marks[int(other.chosen[place])].text),
                *number_cells(
                    probability(_of_chosen(other, place)),
                    *row_values(other, place, columns),
                ),
            )
        )
    more = f" The {len(order)} of {left.size:,} that are surest." if left.size > len(order) else ""
    return Table(
        caption="Rows that left the counterpart of their cluster",
        columns=(
            Cell(text=other.row_header),
            Cell(text="first"),
            *number_cells("its probability"),
            Cell(text="second"),
            *number_cells("its probability", *(other.names[name] for name in columns)),
        ),
        rows=tuple(rows),
        notes=(f"Values are those of the second fit's table.{more}",),
    )


def _of_chosen(view: FittedView, place: int) -> float:
    responsibility = view.allocation["responsibility"].transpose(OBS, CLUSTER)
    return float(responsibility.values[place].max())


def method(fits: Fits) -> Section:
    """What both fits are, and how they were compared."""
    side = fits.side
    matched = {
        "rows": "the rows that both fits have, so that most of their probability agrees",
        "columns": "the Bhattacharyya distances of their distributions of the common columns",
        "parameters": "the differences of their common parameters over the posterior standard "
        "deviations",
    }[side.by]
    errors = (
        "Both are fits of one model to the same values: differences are judged by the Monte Carlo "
        "errors of the two posterior means."
        if side.same
        else "Differences are judged by the root of the sum of the two posterior variances, as of "
        "independent fits: too wide where the tables share rows, so that what is called a change "
        "is one."
    )
    prose = (
        f"Clusters were matched one to one by {matched} (Hungarian algorithm). {errors} A quantity "
        f"counts as changed where |z| exceeds {side.limit:.2f}, so that any of "
        f"{len(side.table):,} would by chance with a probability of at most {side.level:g} "
        "(Bonferroni)."
    )
    command = "jointmix report A.nc B.nc --out CHANGES.html"
    return Section(
        id="method",
        title="The fits, and how they were compared",
        elements=(
            Prose(text=prose),
            _facts(fits),
            Code(caption="From the command line", text=f"{command}\njointmix diff A.nc B.nc"),
        ),
    )


def _facts(fits: Fits) -> Table:
    """What each fit is, one beside the other."""
    columns = [
        (
            fits.side.verdicts[which] or "none",
            f"{view.n_obs:,}",
            str(len(view.clusters)),
            str(view.tree.attrs["backend"]),
            str(int(view.tree.attrs["seed"])),
            str(view.tree.attrs.get("created", "–")),
            str(view.attribute("versions").get("jointmix", "–")),
            str(view.tree.attrs.get("data_hash", "–"))[:_HASH],
        )
        for which, view in enumerate(fits.views)
    ]
    words = ("verdict", "rows", "clusters", "sampler", "seed", "fitted", "jointmix")
    names = (*words, f"SHA-256 of the values, its first {_HASH} signs")
    return Table(
        caption="The two fits",
        columns=(Cell(text="fit"), *(Cell(text=shorten(clean(name), 60)) for name in fits.names)),
        rows=tuple(
            tuple(Cell(text=text) for text in line) for line in zip(names, *columns, strict=True)
        ),
    )
