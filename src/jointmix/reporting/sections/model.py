"""The model that was fitted, and what its priors mean."""

from jointmix.base.schema import CLUSTER
from jointmix.reporting import equations
from jointmix.reporting.elements import (
    Cell,
    Code,
    Element,
    Heading,
    Prose,
    Section,
    Table,
    number_cells,
    text_cells,
)
from jointmix.reporting.fitted import FittedView
from jointmix.reporting.model_graph import model_graph
from jointmix.reporting.prior_meaning import described, meanings
from jointmix.reporting.terms import coding
from jointmix.reporting.text import interval, places_for

ID, TITLE = "model", "Model"


def section(view: FittedView) -> Section:
    """Equations, parameters, priors on the users' scale, and how labels were identified."""
    elements: list[Element] = [equations.density(view)]
    if len(view.clusters) > 1:
        elements.append(equations.responsibility(view))
    elements += [Prose(text=_structure(view)), model_graph(view), _parameters(view)]
    if view.model.formula is not None:
        elements.append(Code(caption="Formula", text=view.model.formula))
    if view.model.encoding is not None:
        elements.append(coding(view, view.model.encoding))
    elements += [Heading(text="What the priors say"), *_priors(view)]
    if len(view.clusters) > 1:
        elements += [
            Heading(text="How clusters are told apart"),
            Prose(text=str(view.attribute("ordering")["text"])),
            Prose(text=str(view.attribute("identification")["text"])),
        ]
    return Section(id=ID, title=TITLE, elements=tuple(elements))


def _structure(view: FittedView) -> str:
    parts = [sentence for words in view.words for sentence in words.structure]
    if view.model.standardize:
        which = (
            "Features and predictors are centred and scaled before the fit, and the line is "
            "centred where all rows together have it"
            if view.model.linked
            else "Columns are centred and scaled before the fit"
        )
        parts.append(f"{which}; every number in this report is back on the columns' own scale.")
    return " ".join(parts)


def _parameters(view: FittedView) -> Table:
    rows = tuple(
        text_cells(
            parameter.symbol,
            parameter.name,
            ", ".join((CLUSTER, *parameter.dims)),
            parameter.meaning,
            described(view, parameter),
        )
        for parameter in view.model.parameters.values()
    )
    return Table(
        caption="Parameters and their priors, on the modelling scale",
        columns=text_cells("symbol", "name in code", "dims", "meaning", "prior"),
        rows=rows,
    )


def _priors(view: FittedView) -> list[Element]:
    rows, stated = [], meanings(view)
    for parameter, column, bounds in stated:
        text = "fixed"
        if bounds is not None:
            spread = float(bounds[1] - bounds[0]) / 3.3
            text = interval(float(bounds[0]), float(bounds[1]), places_for(spread, bounds[0]))
        name = view.names[column] if column else "–"
        rows.append((Cell(text=parameter), Cell(text=name), *number_cells(text)))
    notes = ["Each interval holds the central 90% of the prior of one entry."]
    free = {parameter for parameter, _, bounds in stated if bounds is not None}
    if view.predictors and "intercept" in free:
        where = (
            "at the average of every predictor"
            if view.model.standardize
            else "where every predictor is 0"
        )
        of = "the line" if view.model.linked else "the response"
        notes.append(f"The intercept's interval is that of {of} {where}.")
    return [
        Table(
            caption="Priors on the columns' own scale",
            columns=(*text_cells("parameter", "column"), *number_cells("central 90%")),
            rows=tuple(rows),
            notes=tuple(notes),
        )
    ]
