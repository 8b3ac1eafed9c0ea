"""Groups that are known from elsewhere, held against the clusters, if the fit keeps any."""

from jointmix.posterior.known_groups import CrossTab, crosstab, groups_name
from jointmix.reporting.elements import Cell, Prose, Section, Table, number_cells
from jointmix.reporting.fitted import INTERVAL, FittedView
from jointmix.reporting.text import clean, decimals, shorten

ID, TITLE = "groups", "Known groups"

_MISSING = (
    "No known groups were given to hold the clusters against: compare_with in the table [report] "
    "of a recipe, or jointmix.with_groups(tree, column), names them."
)


def asked(view: FittedView) -> bool:
    """Whether the fit keeps any."""
    return groups_name(view.tree) is not None


def section(view: FittedView) -> Section:
    """The adjusted Rand index, rows misclassified, and the cross table."""
    if groups_name(view.tree) is None:
        return Section(id=ID, title=TITLE, elements=(Prose(text=_MISSING),))
    found = crosstab(view.tree, interval=INTERVAL)
    name = _short(found.counts.index.name)
    text = f"The model has not seen the groups of {name}. {found.text}"
    return Section(id=ID, title=TITLE, elements=(Prose(text=text), _table(view, found, name)))


def _table(view: FittedView, found: CrossTab, name: str) -> Table:
    matched = {value: cluster for cluster, value in found.matching.items()}
    headers = [
        f"{mark.text}: {what}" for mark in view.marks for what in ("rows assigned", "expected")
    ]
    rows = []
    for value, counts in found.counts.iterrows():
        expected = found.expected.loc[value]
        cells = [
            text
            for cluster in found.counts.columns
            for text in (f"{int(counts[cluster]):,}", decimals(float(expected[cluster]), 1))
        ]
        mark = matched.get(value)
        rows.append(
            (
                Cell(text=_short(value)),
                Cell(text="none" if mark is None else f"Cluster {mark}"),
                *number_cells(f"{int(counts.sum()):,}", *cells),
            )
        )
    return Table(
        caption=f"Rows by {name} and cluster",
        columns=(
            Cell(text=name),
            Cell(text="matched to"),
            *number_cells("rows", *headers),
        ),
        rows=tuple(rows),
        notes=(
            "A row is assigned to its most probable cluster; expected rows sum probabilities. Each "
            "group is matched to one cluster at most, so that most rows agree. The adjusted Rand "
            "index is 1 for the same partition and 0 for what chance would give; its posterior is "
            "that of drawn allocations.",
        ),
    )


def _short(value: object) -> str:
    return shorten(clean(str(value)), 60)
