"""Page one: may these results be used, and what are the clusters?"""

from dataclasses import replace

from jointmix.base.numbers import percent
from jointmix.checks import Finding
from jointmix.checks.diagnosis import STATUS_OF
from jointmix.checks.finding import counted, listed
from jointmix.families.change import Change
from jointmix.reporting.concerns import Concern, gathered
from jointmix.reporting.elements import (
    Badge,
    Bullets,
    Callout,
    Cell,
    Element,
    Group,
    Prose,
    Section,
)
from jointmix.reporting.first_picture import first_picture
from jointmix.reporting.fitted import FittedView
from jointmix.reporting.quantities import entropy_bits, sharp_share
from jointmix.reporting.sections.clusters import card_title, strongest
from jointmix.reporting.telling import describe, expected, response_of_all
from jointmix.reporting.text import bits_text, clean, number, shorten

ID, TITLE = "verdict", "Verdict and clusters"

_MEANINGS = {
    "OK": "Every check of the sampling, of the labels and of the fit within clusters passed. The "
    "number of clusters and the structure of the model were taken as given.",
    "CAUTION": "The results may be used with the reservations below.",
    "DO NOT USE": "The draws do not represent the posterior; do not use the numbers below.",
}
_MESSAGE_WIDTH, _MOST_OPEN = 600, 2


def section(view: FittedView) -> Section:
    """The verdict with its cause, a sentence for each cluster, and a picture of them."""
    found = view.diagnosis
    outcome = found.verdict
    badge = Badge(status=STATUS_OF[outcome], verdict=outcome, text=_MEANINGS[outcome])
    opening = Group(form="opening", elements=tuple(_opening(view)), withheld=withheld(view))
    shown = _failed(found.concerns) if outcome == "DO NOT USE" else _cautions(found.concerns)
    aside = _folded(gathered(found.put_aside, ("fail", "caution")), "finding put aside")
    return Section(id=ID, title=TITLE, elements=(badge, *shown, *aside, opening))


def withheld(view: FittedView) -> bool:
    """Whether what was estimated must not be used."""
    return view.diagnosis.verdict == "DO NOT USE"


def _failed(findings: tuple[Finding, ...]) -> list[Element]:
    """The most basic failure, what follows from it, and what to do; the others folded."""
    cause, *others = gathered(findings, ("fail",))
    elements: list[Element] = [
        Callout(
            tone="fail",
            title=shorten(f"Cause: {cause.title}", 80),
            text=shorten(cause.message, _MESSAGE_WIDTH),
        )
    ]
    if others:
        also = listed(list(dict.fromkeys(each.code for each in others)))
        elements.append(
            Prose(text=f"With it fail {also}; they are judged anew once the cause is gone.")
        )
    if cause.remedy:
        elements.append(
            Callout(tone="note", title="What to do", text=shorten(cause.remedy, _MESSAGE_WIDTH))
        )
    return elements + _folded([*others, *gathered(findings, ("caution",))])


def _cautions(findings: tuple[Finding, ...]) -> list[Element]:
    """The first reservations, those of a kind in one; the others folded."""
    found = gathered(findings, ("caution",))
    shown: list[Element] = [
        Callout(
            tone="caution",
            title=shorten(each.title, 80),
            text=shorten(f"{each.message} {each.remedy}", _MESSAGE_WIDTH),
        )
        for each in found[:_MOST_OPEN]
    ]
    return shown + _folded(found[_MOST_OPEN:])


def _folded(found: list[Concern], noun: str = "further finding") -> list[Element]:
    if not found:
        return []
    items = tuple(
        Cell(
            text=shorten(f"{each.title}. {each.message}", _MESSAGE_WIDTH),
            detail=shorten(each.remedy, _MESSAGE_WIDTH),
            status=each.status,
        )
        for each in found
    )
    title = Cell(text=counted(len(items), noun, noun.replace("finding", "findings")))
    return [Group(form="fold", title=title, elements=(Bullets(items=items),))]


def _opening(view: FittedView) -> list[Element]:
    items = tuple(Cell(text=sentence(view, k), cluster=k) for k in range(len(view.clusters)))
    return [first_picture(view), Bullets(items=items), *_assignment(view)]


def sentence(view: FittedView, cluster: int) -> str:
    """What a cluster is: its share, what is high and low in it, and its response."""
    if cluster not in view.occupied:
        weight = view.estimate("weight", cluster=cluster)
        bounds = f"89% interval [{percent(weight.lower)}, {percent(weight.upper)}]"
        name = view.marks[cluster].text
        return f"{name} holds no rows ({bounds}); its parameters are the prior's."
    parts = [f"{card_title(view, cluster).text}.", describe(view, cluster)]
    if view.response is not None:
        parts.append(_response(view, cluster))
    return " ".join(part for part in parts if part)


def _response(view: FittedView, cluster: int) -> str:
    response, words = view.names[view.response or ""], view.line_words
    level = expected(view)[cluster].text
    if len(view.clusters) > 1:
        level += f" (all rows {number(response_of_all(view))})"
    encoding = view.model.encoding
    curved = frozenset[str]() if encoding is None else encoding.curved
    straight = [j for j, name in enumerate(view.predictors) if name not in curved]
    rest = " (its curves are drawn below)" if curved else ""
    if not straight:
        said = words.typical(response, level).removeprefix("There ")
        return f"{said[0].upper()}{said[1:]}{rest}."
    j = strongest(view, cluster, straight)
    said = words.sentence(response, "On average ", level, _change(view, cluster, j))
    return f"{said}{rest}."


def _change(view: FittedView, cluster: int, predictor: int) -> Change:
    """What a predictor does to the response in a cluster."""
    name, own = view.predictors[predictor], view.effect(cluster, predictor)
    held = ", the others held equal," if len(view.predictors) > 1 else ","
    below = own.upper < 0
    size = replace(own, mean=-own.mean, lower=-own.upper, upper=-own.lower) if below else own
    encoding = view.model.encoding
    level = None if encoding is None else encoding.against.get(name)
    at, against = f"per unit of {view.names[name]}", ""
    if level is not None:
        factor, here, there = (shorten(clean(part), 60) for part in level)
        at, against = f"for {factor} = {here}", f"{factor} = {there}"
    return Change(
        at=f"{at}{held}",
        text=own.text,
        size=size.text,
        higher=own.lower > 0 if own.lower > 0 or below else None,
        against=against,
    )


def _assignment(view: FittedView) -> list[Element]:
    if len(view.clusters) == 1:
        return []
    return [Prose(text=" ".join(_assignment_sentences(view)))]


def _assignment_sentences(view: FittedView) -> list[str]:
    both = view.allocation["responsibility"]
    bits = view.average(entropy_bits(both))
    sentences = [
        f"{percent(sharp_share(view, both))} of the rows belong to one cluster with a probability "
        f"above 0.9; the mean entropy of the assignment is {bits_text(bits)} bits."
    ]
    if view.response is not None and "responsibility_features" in view.allocation:
        features = view.allocation["responsibility_features"]
        gained = view.average(entropy_bits(features)) - bits
        source = (
            "the features alone, p(k | x)" if view.model.clustering else "the weights alone, p(k)"
        )
        sentences.append(
            f"From {source}, {percent(sharp_share(view, features))} would be assigned as sharply; "
            f"{view.names[view.response]} adds {bits_text(gained)} bits a row on average."
        )
    return sentences
