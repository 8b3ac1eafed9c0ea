"""The model that was fitted, and what its priors mean."""

from jointmix.reporting import equations
from jointmix.reporting.elements import (
    Cell,
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
from jointmix.reporting.prior_meaning import in_words, meanings
from jointmix.reporting.text import interval, places_for

ID, TITLE = "model", "Model"

#: Symbol, code name, dims and meaning.
_PARAMETERS = (
    ("π", "weight", "cluster", "share of rows"),
    ("μ", "mean", "cluster, feature", "centre of the features"),
    ("s", "sd", "cluster, feature", "standard deviation of the features"),
    ("R", "correlation", "cluster, feature, feature_bis", "correlation of the features"),
    ("b", "intercept", "cluster", "response where every predictor is 0"),
    ("θ", "slope", "cluster, predictor", "change of the response per unit"),
    ("σ", "sigma", "cluster", "sd of the response about its line"),
)
_COVARIANCES = {
    "full": "Each cluster has its own full covariance matrix, Σ = diag(s) R diag(s).",
    "diagonal": "Inside a cluster the features are uncorrelated; each has its own variance.",
    "spherical": "Inside a cluster the features are uncorrelated, with one variance on the "
    "modelling scale.",
    "tied": "All clusters share one full covariance matrix.",
    "fixed": "The covariance matrices are fixed by the user.",
}
_NOISES = {
    "cluster": "Each cluster has its own noise σ.",
    "shared": "All clusters share one noise σ.",
    "fixed": "The noise σ is fixed by the user.",
}


def section(view: FittedView) -> Section:
    """Equations, parameters, priors on the users' scale, and how labels were identified."""
    elements: list[Element] = [equations.density(view)]
    if len(view.clusters) > 1:
        elements.append(equations.responsibility(view))
    elements += [Prose(text=_structure(view)), model_graph(view), _parameters(view)]
    elements += [Heading(text="What the priors say"), *_priors(view)]
    if len(view.clusters) > 1:
        elements += [
            Heading(text="How clusters are told apart"),
            Prose(text=str(view.attribute("ordering")["text"])),
            Prose(text=str(view.attribute("identification")["text"])),
        ]
    return Section(id=ID, title=TITLE, elements=tuple(elements))


def _structure(view: FittedView) -> str:
    model, parts = view.spec["model"], []
    if view.features:
        parts.append(_COVARIANCES[model.get("covariance", "full")])
    if view.response is not None:
        parts.append(_NOISES[model.get("noise", "cluster")])
        if not model.get("intercept", True):
            parts.append("The regressions pass through the origin (b = 0).")
    if model.get("standardize", True):
        parts.append(
            "Columns are centred and scaled before the fit; every number in this report is back "
            "on the columns' own scale."
        )
    return " ".join(parts)


def _parameters(view: FittedView) -> Table:
    priors = view.spec.get("priors", {})
    rows = tuple(
        text_cells(symbol, name, dims, meaning, in_words(priors.get(name)))
        for symbol, name, dims, meaning in _PARAMETERS
        if name in view.posterior
    )
    return Table(
        caption="Parameters and their priors, on the modelling scale",
        columns=text_cells("symbol", "name in code", "dims", "meaning", "prior"),
        rows=rows,
    )


def _priors(view: FittedView) -> list[Element]:
    rows = []
    for parameter, column, words, bounds in meanings(view):
        if bounds is None:
            text = "fixed" if words == "fixed by the user" else "not free"
        else:
            spread = float(bounds[1] - bounds[0]) / 3.3
            text = interval(float(bounds[0]), float(bounds[1]), places_for(spread, bounds[0]))
        name = view.names[column] if column else "–"
        rows.append((Cell(text=parameter), Cell(text=name), *number_cells(text)))
    notes = ["Each interval holds the central 90% of the prior of one entry."]
    if view.response is not None:
        notes.append(
            "The intercept's interval is that of the response at the average of every predictor."
        )
    return [
        Table(
            caption="Priors on the columns' own scale",
            columns=(*text_cells("parameter", "column"), *number_cells("central 90%")),
            rows=tuple(rows),
            notes=tuple(notes),
        )
    ]
