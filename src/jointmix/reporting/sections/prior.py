"""What tables the prior expects, before any row is seen."""

from jointmix.reporting.elements import Prose, Section
from jointmix.reporting.fitted import FittedView
from jointmix.reporting.tables_drawn import column_figure, drawn_columns, modelled

ID, TITLE = "prior", "Prior predictive check"


def section(view: FittedView) -> Section:
    """Columns of tables drawn from the prior beside the observed ones."""
    columns = drawn_columns(view.prior_tables, "prior_predictive", modelled(view), wide=True)
    prose = Prose(
        text=f"{view.n_tables:,} tables were drawn from the prior, with the rows' centres and "
        "scales. A sensible prior covers the observed values and is wider; it need not resemble "
        "them."
    )
    figure = column_figure(
        view,
        columns,
        "Share of rows along each column: observed (grey), and in tables drawn from the prior "
        "(line: median, band: central 90%). The central 90% of drawn values are shown.",
    )
    return Section(id=ID, title=TITLE, elements=(prose, figure))
