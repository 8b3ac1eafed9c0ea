"""What tables the prior expects, before any row is seen."""

from jointmix.base.numbers import percent
from jointmix.checks.finding import listed
from jointmix.reporting.elements import Prose, Section
from jointmix.reporting.fitted import FittedView
from jointmix.reporting.tables_drawn import Drawn, column_figure, drawn_columns, modelled

ID, TITLE = "prior", "Prior predictive check"

#: Share of drawn values on the other side of zero that is spoken of.
_ODD = 0.01


def section(view: FittedView) -> Section:
    """Columns of tables drawn from the prior beside the observed ones."""
    columns = drawn_columns(view.prior_tables, "prior_predictive", modelled(view), wide=True)
    prose = Prose(
        text=f"{view.n_tables:,} tables were drawn from the prior, with the rows' centres and "
        f"scales.{view.tables_cut} A sensible prior covers the observed values and is wider; it "
        f"need not resemble them.{_signs(view, columns)}"
    )
    figure = column_figure(
        view,
        columns,
        "Share of rows along each column: observed (grey), and in tables drawn from the prior "
        "(line: mean of all tables, the chance of one drawn value; band: central 90% of tables, "
        "each of which fills few bins). The central 90% of drawn values are shown.",
    )
    return Section(id=ID, title=TITLE, elements=(prose, figure))


def _signs(view: FittedView, columns: dict[str, Drawn]) -> str:
    """What a prior on the scale of the data does not know: that a column has one sign."""
    odd = {name: each.opposite for name, each in columns.items() if each.opposite > _ODD}
    if not odd:
        return ""
    said = listed([f"{percent(share)} of {view.names[name]}" for name, share in odd.items()])
    return (
        f" Of the drawn values {said} have a sign that no observed one has: priors on the scale of "
        "the data are symmetric about the rows' centre, and do not know a column's bounds."
    )
