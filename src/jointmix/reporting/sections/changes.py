"""Two fits side by side: what changed, cluster by cluster, and which rows moved."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import pandas as pd

from jointmix.base.numbers import percent
from jointmix.checks.diagnosis import STATUS_OF
from jointmix.checks.finding import counted, listed
from jointmix.fitting.counterparts import common_rows
from jointmix.fitting.side_by_side import Side
from jointmix.reporting.both import Pair, Planes, clusters_of_both, planes_of
from jointmix.reporting.concerns import gathered
from jointmix.reporting.dots import Dot, Strip, strips
from jointmix.reporting.elements import (
    Badge,
    Bullets,
    Callout,
    Cell,
    Element,
    Figure,
    Group,
    Panel,
    Prose,
    Section,
    Table,
    number_cells,
)
from jointmix.reporting.fitted import FittedView
from jointmix.reporting.text import clean, decimals, interval, number, places_for, shorten

#: Panels of entries, lines of the long table, clusters that have a sentence.
_MOST_PANELS, _MOST_LINES, _MOST_SAID = 6, 120, 8
#: Signs of a column at an axis.
_WIDE = 18
#: The place of a mark that is grey.
_NEUTRAL = 5
_UNUSABLE = "DO NOT USE"


@dataclass(frozen=True)
class Fits:
    """Two fits as this page reads them: what `diff` found, both readings, and their names."""

    side: Side
    views: tuple[FittedView, FittedView]
    names: tuple[str, str]

    @cached_property
    def pair(self) -> Pair:
        """Whose mark each cluster has."""
        return Pair.of(self.views, self.side.matching)

    @property
    def unusable(self) -> list[str]:
        """Names of the fits whose checks failed."""
        verdicts = zip(self.names, self.side.verdicts, strict=True)
        return [name for name, verdict in verdicts if verdict == _UNUSABLE]

    def cell(self, number_in_first: int) -> Cell:
        """A cluster of the first fit with its mark; of 0, all of them."""
        if number_in_first == 0:
            return Cell(text="all clusters")
        return self.views[0].marks[self.views[0].clusters.index(number_in_first)]

    @cached_property
    def common(self) -> tuple[np.ndarray, np.ndarray]:
        """Places of the common rows in each fit."""
        return common_rows(self.views[0].tree, self.views[1].tree)

    def short(self, label: str) -> str:
        """A quantity's or an entry's name with the columns' short labels."""
        return self.views[0].shortened(label)


def opening(fits: Fits) -> Section:
    """The verdict on the change, a sentence a cluster, and a picture of both."""
    side = fits.side
    elements: list[Element] = [_badge(fits)]
    if said := [*side.differing, *side.refused]:
        text = " ".join(said)
        elements.append(Callout(tone="note", title="What else differs", text=shorten(text, 900)))
    picture = _picture(fits)
    items = tuple(Cell(text=text, cluster=k) for k, text in _sentences(fits))
    parts: list[Element] = [Bullets(items=items)]
    if picture is not None:
        parts.insert(0, picture)
    elements.append(Group(form="opening", elements=tuple(parts), withheld=bool(fits.unusable)))
    return Section(id="changes", title="What changed", elements=tuple(elements))


def _badge(fits: Fits) -> Badge:
    side, n = fits.side, len(fits.side.table)
    if fits.unusable:
        which = listed([f"the fit {shorten(clean(name), 60)}" for name in fits.unusable])
        whose = "its" if len(fits.unusable) == 1 else "their"
        return Badge(
            status="fail",
            verdict=_UNUSABLE,
            text=f"The checks of {which} failed: {whose} draws do not represent the posterior, and "
            "differences between the fits mean nothing.",
        )
    moved = len(side.moved)
    errors = "Monte Carlo errors" if side.same else "posterior standard deviations"
    by_chance = (
        f"by more than {side.limit:.1f} {errors} of the difference, which any would by chance with "
        f"probability {side.level:g}"
    )
    if moved:
        verb = "differ" if moved > 1 else "differs"
        text = f"{moved} of {counted(n, 'quantity', 'quantities')} {verb} {by_chance}."
        return Badge(status="caution", verdict="CHANGED", text=text)
    text = f"None of {counted(n, 'quantity', 'quantities')} differs {by_chance}."
    if side.differing:
        return Badge(status="caution", verdict="NOT THE SAME", text=text)
    return Badge(status="ok", verdict="NO CHANGE BEYOND ERROR", text=text)


def _sentences(fits: Fits) -> Iterator[tuple[int, str]]:
    """For each cluster its share in both fits, and what changed most."""
    one, other = fits.views
    moved = fits.side.moved
    for number_, own in list(fits.side.matching.items())[:_MOST_SAID]:
        k, j = one.clusters.index(number_), other.clusters.index(own)
        before, after = (
            view.estimate("weight", cluster=at).mean for view, at in ((one, k), (other, j))
        )
        mine = moved[moved["cluster"] == number_]
        what = [_change(fits, line) for _, line in mine.head(3).iterrows()]
        rest = len(mine) - len(what)
        more = f" and {rest} more" if rest > 0 else ""
        said = f"Changed: {'; '.join(what)}{more}." if what else "Nothing changed beyond its error."
        renamed = ""
        if one.titles[k] != other.titles[j]:
            renamed = f" ({shorten(clean(other.called[j]), 40)} of the second)"
        yield (
            k,
            (
                f"{one.marks[k].text}{renamed}: {percent(before)} of the rows, then "
                f"{percent(after)}. {said}"
            ),
        )


def _change(fits: Fits, line: pd.Series) -> str:
    entry = f" of {fits.short(line['entry'])}" if line["entry"] else ""
    places = places_for(line["error"], line["first"])
    first, second = (decimals(line[which], places) for which in ("first", "second"))
    return f"{_parameter(line['parameter'])}{entry} from {first} to {second}"


def _parameter(name: str) -> str:
    return name.replace("_", " ")


def _legend(fits: Fits) -> tuple[Cell, ...]:
    one, other = fits.views
    taken = set(fits.pair.places[0].values())
    new = [
        replace(other.marks[k], cluster=place)
        for k, place in fits.pair.places[1].items()
        if place not in taken
    ]
    return (*one.marks, *new)


def _picture(fits: Fits) -> Figure | None:
    planes = planes_of(fits.pair)
    if planes is None:
        lines = _shares(fits)
        return _strip_figure(fits, [("weight", "", lines)]) if len(lines) > 1 else None
    what = "ellipses that hold 90% of each cluster" if planes.second.outlines else "lines"
    rows = fits.views[1].n_obs
    return Figure(
        caption=f"Clusters of {_named(fits, 0)} (dashed, hollow) and of {_named(fits, 1)} (whole, "
        f"filled): {what}, over the rows of the second.",
        panels=(
            Panel(
                svg=clusters_of_both(fits.pair, planes),
                alt=f"{planes.second.labels[1]} against {planes.second.labels[0]}, {rows:,} rows: "
                f"{_ends(fits, planes)}",
                wide=True,
            ),
        ),
        table=_shares_table(fits),
        legend=_legend(fits),
    )


def _named(fits: Fits, which: int) -> str:
    return shorten(clean(fits.names[which]), 40)


def _ends(fits: Fits, planes: Planes) -> str:
    """Where centres were and are, for who does not see the picture."""
    one, other = fits.views
    back = {place: k for k, place in fits.pair.places[1].items()}
    said = []
    for k, at in planes.first.centres.items():
        to = planes.second.centres.get(back.get(k, -1))
        if to is not None:
            said.append(
                f"{one.called[k]} from ({number(at[0])}, {number(at[1])}) to "
                f"({number(to[0])}, {number(to[1])})"
            )
    return f"{'; '.join(said)}." if said else f"{len(other.clusters)} clusters in the second fit."


def _shares(fits: Fits) -> list[Strip]:
    table = fits.side.table
    return _strips(fits, table[table["parameter"] == "weight"])


def _strips(fits: Fits, lines: pd.DataFrame) -> list[Strip]:
    found = []
    for _, line in lines.iterrows():
        cell = fits.cell(int(line["cluster"]))
        dots = tuple(
            Dot(
                # What all clusters share has the colour of none of the first.
                cluster=_NEUTRAL if cell.cluster is None else cell.cluster,
                lower=line[f"{which}_lower"],
                mean=line[which],
                upper=line[f"{which}_upper"],
                hollow=which == "first",
            )
            for which in ("first", "second")
        )
        found.append(Strip(label=cell.text, dots=dots))
    return found


def _shares_table(fits: Fits) -> Table:
    one, other = fits.views
    rows = []
    for number_, own in fits.side.matching.items():
        k, j = one.clusters.index(number_), other.clusters.index(own)
        before, after = (view.estimate("weight", cluster=at) for view, at in ((one, k), (other, j)))
        rows.append(
            (one.marks[k], Cell(text=other.marks[j].text), *number_cells(before.text, after.text))
        )
    return Table(
        caption="Clusters and their counterparts, with their shares of the rows",
        columns=(
            Cell(text=f"cluster of {_named(fits, 0)}"),
            Cell(text=f"of {_named(fits, 1)}"),
            *number_cells("share, first", "share, second"),
        ),
        rows=tuple(rows),
    )


def quantities(fits: Fits) -> Section:
    """The entries that changed most, as pictures, and all quantities as tables."""
    side = fits.side
    elements: list[Element] = []
    chosen = _chosen(side)
    panels = []
    for parameter, entry in chosen:
        own = side.table[(side.table["parameter"] == parameter) & (side.table["entry"] == entry)]
        panels.append((parameter, entry, _strips(fits, own)))
    if panels:
        elements.append(_strip_figure(fits, panels))
    elements.append(_moved_table(fits))
    rest = side.table[~side.table["changed"]]
    if len(rest):
        title = Cell(text=f"Quantities that did not change beyond their error: {len(rest):,}")
        elements.append(Group(form="fold", title=title, elements=(_unmoved_table(fits, rest),)))
    return Section(id="quantities", title="Quantities side by side", elements=tuple(elements))


def _chosen(side: Side) -> list[tuple[str, str]]:
    """Entries of parameters by the largest change in any cluster, in the table's order."""
    keys = [side.table["parameter"], side.table["entry"]]
    size = side.table["z"].abs().groupby(keys, sort=False).max()
    best = size.sort_values(ascending=False, kind="stable").index[:_MOST_PANELS]
    order = dict.fromkeys(zip(side.table["parameter"], side.table["entry"], strict=True))
    return [key for key in order if key in set(best)]


def _strip_figure(fits: Fits, panels: list[tuple[str, str, list[Strip]]]) -> Figure:
    left_out = len(set(zip(fits.side.table["parameter"], fits.side.table["entry"], strict=True)))
    left_out -= len(panels)
    most = " The entries that changed most for their errors." if left_out > 0 else ""
    made = []
    for parameter, entry, lines in panels:
        name = f"{_parameter(parameter)}{f', {fits.short(entry)}' if entry else ''}"
        said = "; ".join(
            f"{each.label} {number(each.dots[0].mean)} to {number(each.dots[1].mean)}"
            for each in lines[:_MOST_SAID]
        )
        axis = _narrow(parameter, entry)
        made.append(Panel(svg=strips(lines, axis), alt=f"{name}: {said}.", wide=len(panels) == 1))
    table = fits.side.table
    keys = {(parameter, entry) for parameter, entry, _ in panels}
    own = [key in keys for key in zip(table["parameter"], table["entry"], strict=True)]
    return Figure(
        caption=f"Posterior means and 89% intervals of {_named(fits, 0)} (hollow, above) and of "
        f"{_named(fits, 1)} (filled, below).{most}",
        panels=tuple(made),
        table=_table(fits, table[own], "The numbers of the picture"),
        legend=fits.views[0].marks,
    )


def _narrow(parameter: str, entry: str) -> str:
    """A name for an axis: the beginnings and ends of long columns, by which they are told apart."""
    parts = [
        part if len(part) <= _WIDE else f"{part[: _WIDE - 8].rstrip()}…{part[-7:].lstrip()}"
        for part in entry.split(", ") if part
    ]  # fmt: skip
    return ", ".join([_parameter(parameter), *parts])


def _moved_table(fits: Fits) -> Element:
    moved = fits.side.moved
    if not len(moved):
        return Prose(text="No quantity changed by more than its error.")
    return _table(fits, moved, "Quantities that changed beyond their errors, the clearest first")


def _unmoved_table(fits: Fits, rest: pd.DataFrame) -> Table:
    order = rest["z"].abs().sort_values(ascending=False, kind="stable").index
    return _table(fits, rest.loc[order], "The other quantities, the largest changes first")


def _table(fits: Fits, lines: pd.DataFrame, caption: str) -> Table:
    shown, left_out = lines.head(_MOST_LINES), max(0, len(lines) - _MOST_LINES)
    notes = ["The error is that of the difference, second minus first; z is their ratio."]
    if left_out:
        notes.append(f"{left_out:,} more: jointmix diff --json A B has them all.")
    return Table(
        caption=caption,
        columns=(
            Cell(text="cluster"),
            Cell(text="quantity"),
            *number_cells("first, 89% interval", "second, 89% interval", "difference", "z"),
        ),
        rows=tuple(_row(fits, line) for _, line in shown.iterrows()),
        notes=tuple(notes),
    )


def _row(fits: Fits, line: pd.Series) -> tuple[Cell, ...]:
    places = places_for(line["error"], line["first"])
    entry = f" {fits.short(line['entry'])}" if line["entry"] else ""
    values = number_cells(
        *(
            f"{decimals(line[which], places)} "
            f"{interval(line[f'{which}_lower'], line[f'{which}_upper'], places)}"
            for which in ("first", "second")
        ),
        f"{decimals(line['difference'], places)} ± {number(line['error'], 2)}",
        decimals(line["z"], 1) if np.isfinite(line["z"]) else "∞",
    )
    mark = fits.cell(int(line["cluster"]))
    return (mark, Cell(text=f"{_parameter(line['parameter'])}{entry}"), *values)


def checks(fits: Fits) -> Section:
    """Both verdicts, and the findings that they rest on."""
    names = tuple(
        Cell(text=_named(fits, which), detail=verdict, status=STATUS_OF.get(verdict))
        for which, verdict in enumerate(fits.side.verdicts)
    )
    found = [
        {each.title: each for each in gathered(view.diagnosis.concerns, ("fail", "caution"))}
        for view in fits.views
    ]
    rows = []
    for title in dict.fromkeys([*found[0], *found[1]]):
        states = [own[title].status if title in own else "ok" for own in found]
        latest = found[1].get(title) or found[0][title]
        rows.append(
            (
                Cell(text=shorten(title, 90)),
                *(Cell(text="passed" if s == "ok" else s, status=s) for s in states),
                Cell(text=shorten(latest.message, 300)),
            )
        )
    if not rows:
        elements: tuple[Element, ...] = (Prose(text="Every check of both fits passed."),)
    else:
        elements = (
            Table(
                caption="Findings that either verdict rests on",
                columns=(Cell(text="finding"), *names, Cell(text="what it says")),
                rows=tuple(rows),
            ),
        )
    return Section(id="checks", title="Verdicts", elements=elements)
