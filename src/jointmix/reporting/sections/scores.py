"""How well unseen rows are predicted, and which rows sway that."""

import numpy as np

from jointmix.model.settings import LARGEST_PARETO_SHAPE
from jointmix.posterior.evidence import has_evidence, log_evidence
from jointmix.reporting import figures
from jointmix.reporting.elements import (
    Cell,
    Element,
    Figure,
    Panel,
    Prose,
    Section,
    Table,
    number_cells,
)
from jointmix.reporting.fitted import FittedView
from jointmix.reporting.quantities import thinned
from jointmix.reporting.text import decimals, number, with_minus

ID, TITLE = "scores", "Predictive scores"

_ROWS, _MOST_DRAWN = 10, 2_000
_BOTH = {
    "joint": ("joint, ", "p(x, y)"),
    "feature": ("features alone, ", "p(x)"),
    "conditional": ("response given features, ", "p(y | x)"),
}
_UNITS = (
    "Densities are on the columns' own scale, so that they compare models of these columns only; "
    "jointmix compare does so over the number of clusters."
)


def _densities(view: FittedView) -> dict[str, tuple[str, str]]:
    """What the model has a density of, in words and as a symbol, by its name among the scores."""
    if view.response is None:
        return {"joint": ("features, ", "p(x)")}
    if view.model.clustering:
        return _BOTH
    given = view.predictors
    return {
        "joint": ("response given predictors, ", "p(y | u)") if given else ("response, ", "p(y)")
    }


def section(view: FittedView) -> Section:
    """Leave-one-out densities, joint = feature + conditional, and Pareto k of the rows."""
    scores, densities = view.scores, _densities(view)
    parts = "Joint = features + response given features, row by row. " if len(densities) > 1 else ""
    elements: list[Element] = [
        Prose(text=with_minus(scores.text)),
        Table(
            caption="Expected log predictive density of all rows, by leave-one-out, in nats",
            columns=(
                Cell(text="density"),
                *number_cells("elpd", "standard error", "a row", "effective parameters"),
            ),
            rows=tuple(
                (
                    Cell(text=f"{words}{symbol}"),
                    *number_cells(
                        *(decimals(scores.table.loc[kind, name], 1) for name in ("elpd", "se")),
                        decimals(scores.table.loc[kind, "elpd"] / view.total, 3),
                        decimals(scores.table.loc[kind, "p"], 1),
                    ),
                )
                for kind, (words, symbol) in densities.items()
            ),
            notes=(f"{parts}{_UNITS}",),
        ),
        *([_evidence(view)] if has_evidence(view.tree) else []),
        _shapes(view),
        _outliers(view),
    ]
    return Section(id=ID, title=TITLE, elements=tuple(elements))


def _evidence(view: FittedView) -> Prose:
    return Prose(
        text=with_minus(
            f"{log_evidence(view.tree)}: the density of all rows with the parameters integrated "
            "out, and its Monte Carlo error, for Bayes factors between models of these columns. "
            "Unlike the scores above it rests on the priors' widths: where one parameter of each "
            "cluster has a prior ten times as wide, each cluster costs log 10 more."
        )
    )


def _shapes(view: FittedView) -> Figure:
    values = view.scores.pointwise["pareto_k"].values
    high = view.scores.influential
    bins = (-np.inf, 0.5, LARGEST_PARETO_SHAPE, 1.0, np.inf)
    words = ("below 0.5: good", "0.5 to 0.7: good enough", "0.7 to 1: not reliable", "above 1: bad")
    counts = np.histogram(values, bins)[0]
    named = ", ".join(view.row_name(place) for place in high["place"].head(20))
    kept = thinned(values.size, _MOST_DRAWN)
    return Figure(
        caption="Pareto k̂ of each row: how far leaving it out moves the posterior. Above the line "
        "at 0.7 its score is not reliable." + (f" Rows above: {named}." if named else ""),
        panels=(
            Panel(
                svg=figures.shapes(values[kept], LARGEST_PARETO_SHAPE),
                alt=f"Pareto k̂ of {values.size:,} rows, "
                f"at most {decimals(float(values.max()), 2)}; {len(high)} above 0.7.",
                wide=True,
            ),
        ),
        table=Table(
            caption="Rows by Pareto k̂",
            columns=(Cell(text="Pareto k̂"), *number_cells("rows")),
            rows=tuple(
                (Cell(text=text), *number_cells(f"{int(count):,}"))
                for text, count in zip(words, counts, strict=True)
            ),
        ),
    )


def _outliers(view: FittedView) -> Table:
    pointwise = view.scores.pointwise
    densities = _densities(view)
    order = np.argsort(pointwise["joint"].values, kind="stable")[:_ROWS]
    return Table(
        caption=f"The {len(order)} rows that the others predict worst",
        columns=(
            Cell(text=view.row_header),
            *number_cells(*(f"log {symbol}" for _, symbol in densities.values()), "Pareto k̂"),
        ),
        rows=tuple(
            (
                Cell(text=view.row_name(pointwise["place"].values[i])),
                *number_cells(
                    *(decimals(float(pointwise[kind].values[i]), 2) for kind in densities),
                    number(float(pointwise["pareto_k"].values[i]), 2),
                ),
            )
            for i in order
        ),
    )
