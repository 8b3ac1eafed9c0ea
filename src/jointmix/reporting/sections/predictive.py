"""Does the fitted model make tables like the one it was fitted to, and is y given x calibrated?"""

import numpy as np
import pandas as pd
from scipy.stats import norm

from jointmix.base.numbers import percent, probability
from jointmix.families.rows import Rows
from jointmix.plots.calibrated import pit_band
from jointmix.posterior.prediction import predict
from jointmix.reporting import figures
from jointmix.reporting.elements import (
    Cell,
    Element,
    Figure,
    Group,
    Heading,
    Panel,
    Prose,
    Section,
    Table,
    number_cells,
)
from jointmix.reporting.fitted import FittedView
from jointmix.reporting.tables_drawn import check_table, column_figure, drawn_columns, modelled
from jointmix.reporting.text import decimals, number, rows_text

ID, TITLE = "predictive", "Posterior predictive check"

_STATISTICS = "Observed statistics among those of drawn tables"
_LEVELS = (0.5, 0.8, 0.9, 0.95)
_MOST_STATISTICS, _WORST = 15, 8


def section(view: FittedView) -> Section:
    """Columns and statistics of drawn tables; calibration and residuals of y given x."""
    from jointmix.posterior.predictive_checks import predictive_checks

    checks = predictive_checks(view.replicates)
    columns = drawn_columns(view.replicates, "posterior_predictive", modelled(view), wide=False)
    unusual = int(checks["unusual"].sum())
    elements: list[Element] = [
        Prose(
            text=f"{view.n_tables:,} tables like the fitted one were drawn from the posterior."
            f"{view.tables_cut} "
            f"Of {len(checks)} statistics {unusual or 'none'} "
            f"{'lies' if unusual == 1 else 'lie'} outside what nearly all drawn tables show."
        ),
        column_figure(
            view,
            columns,
            "Share of rows along each column: observed (grey), and in drawn tables (line: median, "
            "band: central 90%).",
        ),
        _statistics(view, checks, unusual),
    ]
    if view.response is not None:
        elements += [Heading(text="Calibration of the response"), *_calibration(view)]
    return Section(id=ID, title=TITLE, elements=tuple(elements))


def _statistics(view: FittedView, checks: pd.DataFrame, unusual: int) -> Element:
    """The table of statistics, folded where none is unusual."""
    table = check_table(view, checks, _STATISTICS, _MOST_STATISTICS)
    if unusual:
        return table
    title = Cell(text=f"All {len(checks)} statistics lie where drawn tables have them")
    return Group(form="fold", title=title, elements=(table,))


def _calibration(view: FittedView) -> list[Element]:
    response, scores = view.names[view.response or ""], view.scores
    pit = scores.pointwise["pit"].values
    told = np.flatnonzero(~np.isnan(pit))
    pit, place = pit[told], scores.pointwise["place"].values[told]
    some = "" if pit.size == view.n_obs else f" of {view.n_obs:,}"
    source = f"from its {view.given} " if view.given else ""
    prose = Prose(
        text=f"Each of {pit.size:,} rows{some} was left out in turn, and {response} predicted "
        f"{source}by the rest. The probability below the observed value (LOO-PIT) is uniform "
        "if the predictions are calibrated."
    )
    rows = view.rows.take(place)
    return [
        prose,
        _coverage(pit, rows),
        _pictures(view, pit, place, rows),
        _worst(view, pit, place),
    ]


def _coverage(pit: np.ndarray, scored: Rows) -> Table:
    rows = []
    for level in _LEVELS:
        share = float(np.average(np.abs(pit - 0.5) <= level / 2, weights=scored.weight))
        error = float(np.sqrt(level * (1 - level) / scored.effective))
        rows.append(
            (
                Cell(
                    text=f"{level:.0%}",
                    status="ok" if abs(share - level) <= 3 * error else "caution",
                ),
                *number_cells(percent(share), percent(error)),
            )
        )
    return Table(
        caption="Coverage of central predictive intervals of rows left out",
        columns=(Cell(text="interval"), *number_cells("rows inside", "standard error")),
        rows=tuple(rows),
        notes=("Marked where the share lies more than three standard errors away.",),
    )


def _residuals(pit: np.ndarray) -> np.ndarray:
    """Normal quantiles of the PIT values (Dunn and Smyth 1996, doi:10.1080/10618600.1996.10474708).

    They are standard normal under the model, whatever the predictive distribution's shape.
    """
    return np.asarray(norm.ppf(np.clip(pit, 1e-12, 1 - 1e-12)))


def _pictures(view: FittedView, pit: np.ndarray, place: np.ndarray, scored: Rows) -> Figure:
    response = view.names[view.response or ""]
    kept, at, ecdf, lower, upper = pit_band(pit, scored.copies)
    outside = float(((ecdf < lower) | (ecdf > upper)).mean())
    rows = place[kept]
    if view.model.encoding is not None or view.labels:
        # The table had columns of levels, of which view.columns has codes.
        mean = predict(view.tree, None, ())["mean"].values[rows]
    else:
        table = {name: values[rows] for name, values in view.columns.items()}
        mean = predict(view.tree, table, ())["mean"].values
    residual = _residuals(pit[kept])
    cluster = np.searchsorted(view.clusters, view.allocation["allocation"].values[rows])
    left_out = f" {kept.size:,} rows are drawn." if kept.size < pit.size else ""
    edges = np.linspace(0, 1, 11)
    counts = np.histogram(pit, edges, weights=scored.weight)[0]
    return Figure(
        caption="Left: the distribution function of LOO-PIT values minus the uniform one, which a "
        "calibrated model keeps inside the grey 95% simultaneous band. Right: quantile residuals "
        f"against the predicted mean of {response}, standard normal under the model.{left_out}",
        panels=(
            Panel(
                svg=figures.band(at, ecdf - at, lower - at, upper - at, "LOO-PIT"),
                alt=f"The difference lies between {decimals(float((ecdf - at).min()), 3)} and "
                f"{decimals(float((ecdf - at).max()), 3)}; {percent(outside)} of it is outside "
                "the band.",
            ),
            Panel(
                svg=figures.residuals(mean, residual, cluster, f"predicted {response}"),
                alt=f"Quantile residuals from {decimals(float(residual.min()), 2)} to "
                f"{decimals(float(residual.max()), 2)}, "
                f"mean {decimals(float(residual.mean()), 2)}, "
                f"standard deviation {decimals(float(residual.std()), 2)}.",
            ),
        ),
        table=Table(
            caption="Rows by LOO-PIT",
            columns=(Cell(text="between"), *number_cells("rows", "expected")),
            rows=tuple(
                (
                    Cell(text=f"{edges[i]:.1f} and {edges[i + 1]:.1f}"),
                    *number_cells(rows_text(count), number(scored.total / 10)),
                )
                for i, count in enumerate(counts)
            ),
        ),
        legend=view.marks,
    )


def _worst(view: FittedView, pit: np.ndarray, place: np.ndarray) -> Table:
    residual = _residuals(pit)
    order = np.argsort(-np.abs(residual), kind="stable")[:_WORST]
    rows = place[order]
    y = view.columns[view.response or ""]
    return Table(
        caption=f"The {len(order)} rows whose response surprises most"
        f"{f', given the {view.given}' if view.given else ''}",
        columns=(
            Cell(text=view.row_header),
            *number_cells(view.names[view.response or ""], "LOO-PIT", "quantile residual"),
        ),
        rows=tuple(
            (
                Cell(text=view.row_name(row)),
                *number_cells(
                    number(float(y[row])), probability(pit[i], 1e-4), decimals(residual[i], 2)
                ),
            )
            for row, i in zip(rows, order, strict=True)
        ),
    )
