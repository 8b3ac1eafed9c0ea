"""What two models have in common: quantities of one meaning, and how the models differ."""

import json
from collections.abc import Sequence
from dataclasses import dataclass

from jointmix.base.arguments import shown
from jointmix.checks.finding import listed
from jointmix.model.spec import ModelSpec
from jointmix.tables.design import Encoding, TermColumns
from jointmix.tables.issues import listed as quoted_list

_ALIKE = (
    "response",
    "family",
    "link",
    "trials",
    "offset",
    "row_weights",
    "covariance",
    "noise",
    "missing",
)


@dataclass(frozen=True)
class Common:
    """Quantities that mean the same in two models.

    Attributes
    ----------
    parameters
        Names of parameters.
    predictors
        Columns whose slopes mean the same in both: those that stand beside the same others.
    shared
        Those of the parameters that all clusters have in common in both models: one value each.
    refused
        What both models have and is not compared, as sentences.
    """

    parameters: frozenset[str]
    predictors: frozenset[str]
    shared: frozenset[str]
    refused: tuple[str, ...]


def in_common(one: ModelSpec, other: ModelSpec) -> Common:
    """What may be compared.

    A slope is the change of the response while the other predictors stay as they are: beside
    others it is another quantity, and so is the intercept. A column of a spline, a polynomial or
    a centred column means what its fit's table taught it (knots, means), a contrast what its
    reference level is.
    """
    both = set(one.parameters) & set(other.parameters)
    answers = [(spec.response, spec.family, spec.link, spec.trials) for spec in (one, other)]
    if answers[0] != answers[1]:
        of_response = one.blocks[-1].parameters if one.blocks[-1].of_response else ()
        both -= {item.name for item in of_response}
    columns = frozenset(one.predictors) & frozenset(other.predictors)
    refused: tuple[str, ...] = ()
    if both & {"slope", "intercept"}:
        whole, off = _terms_apart(one, other)
        if whole:
            both -= {"slope", "intercept"}
            refused = (f"Slopes and intercepts are not compared: {whole}.",)
        elif off:
            both -= {"intercept"}
            columns -= {name for spec in (one, other) for term, names in _columns(spec)
                        if term in off for name in names}  # fmt: skip
            refused = (
                f"The slopes of {quoted_list(off)} and the intercepts are not compared: what the "
                "terms mean was learned of each fit's own table (knots, centres, scales or "
                "levels), and differs.",
            )
    shared = frozenset(name for name in both if _shared(one, name) and _shared(other, name))
    return Common(frozenset(both), columns, shared, refused)


def _shared(spec: ModelSpec, name: str) -> bool:
    parameter = spec.parameters[name]
    return parameter.role != "weight" and parameter.shared and spec.n_clusters > 1


def _terms_apart(one: ModelSpec, other: ModelSpec) -> tuple[str, list[str]]:
    """Why no slope is comparable, or "" and the terms whose slopes are not."""
    if one.offset != other.offset:
        return "the offsets differ", []
    if one.intercept != other.intercept:
        return "one model has an intercept, the other has none", []
    mine, theirs = ([term for term, _ in _columns(spec)] for spec in (one, other))
    extra = [term for term in (*mine, *theirs) if (term in mine) != (term in theirs)]
    if extra:
        verb = "is a predictor" if len(extra) == 1 else "are predictors"
        return (
            "each holds while the other predictors stay as they are, and "
            f"{quoted_list(extra)} {verb} of one fit only",
            [],
        )
    return "", _taught_apart(one.encoding, other.encoding)


def _columns(spec: ModelSpec) -> list[tuple[str, tuple[str, ...]]]:
    """Terms, by their labels, and the columns of each."""
    if spec.encoding is None:
        return [(name, (name,)) for name in spec.predictors]
    return [(term.label, term.names) for term in spec.encoding.terms]


def _taught_apart(one: Encoding | None, other: Encoding | None) -> list[str]:
    """Terms that mean other things in two encodings with the same terms."""
    if one is None or other is None:
        return []
    theirs = {term.label: term for term in other.terms}
    off = [term for term in one.terms if _learned(one, term) != _learned(other, theirs[term.label])]
    # What a product is centred at decides what the slopes of its parts are.
    parts = {factor for term in off if len(term.factors) > 1 for factor in term.factors}
    return [term.label for term in one.terms if term in off or parts & {*term.factors}]


def _learned(encoding: Encoding, term: TermColumns) -> list[str]:
    """What a term's factors learned of the table: states of their calls, and references."""
    found = []
    for factor in term.factors:
        states = {call: state for call, state in encoding.states.items() if call in factor.text}
        levels = encoding.levels.get(factor.text, ())
        # In treatment coding the reference alone says what another level's column means.
        sums = factor.coding is not None and factor.coding.kind == "sum"
        found.append(json.dumps([states, levels if sums else levels[:1]], sort_keys=True))
    return found


def differences(one: ModelSpec, other: ModelSpec) -> list[str]:
    """How two models differ, as sentences."""
    said = []
    if one.n_clusters != other.n_clusters:
        plural = "" if one.n_clusters == 1 else "s"
        said.append(
            f"The first has {one.n_clusters} cluster{plural}, the second {other.n_clusters}."
        )
    for what, word in (("clustering", "features"), ("predictors", "predictors")):
        mine, theirs = getattr(one, what), getattr(other, what)
        for have, lack, which in ((mine, theirs, "first"), (theirs, mine, "second")):
            if extra := [name for name in have if name not in lack]:
                said.append(f"Only the {which} has the {word} {quoted_list(extra)}.")
    for what in _ALIKE:
        values = [getattr(spec, what) for spec in (one, other)]
        if values[0] != values[1]:
            first, second = ("none" if value is None else shown(value) for value in values)
            said.append(
                f"The {what.replace('_', ' ')} is {first} in the first, {second} in the second."
            )
    if one.intercept != other.intercept:
        which = "first" if one.intercept else "second"
        said.append(f"Only the {which} has an intercept.")
    if one.priors != other.priors:
        said.append("The priors differ.")
    return said


def alone(which: str, names: Sequence[str]) -> list[str]:
    """A sentence on clusters of the "first" or "second" fit that have no counterpart."""
    if not names:
        return []
    verb = "has" if len(names) == 1 else "have"
    return [f"Of the {which}, {listed(list(names))} {verb} no counterpart."]
