"""Page one: may these results be used, and what are they?"""

from jointmix.base.numbers import percent
from jointmix.checks import Finding, verdict
from jointmix.checks.diagnosis import STATUS_OF
from jointmix.checks.finding import listed
from jointmix.reporting.elements import (
    Badge,
    Bullets,
    Callout,
    Cell,
    Element,
    Heading,
    Section,
    Tiles,
)
from jointmix.reporting.fitted import Estimate, FittedView
from jointmix.reporting.quantities import entropy_bits, sharp_share
from jointmix.reporting.text import bits_text, rows_text, shorten

ID, TITLE = "verdict", "Verdict and key results"

_MEANINGS = {
    "OK": "Every check of the sampling, of the labels and of the fit within clusters passed. The "
    "number of clusters and the structure of the model were taken as given.",
    "CAUTION": "The results may be used with the reservations below.",
    "DO NOT USE": "The draws do not represent the posterior; do not use the numbers below.",
}
_MESSAGE_WIDTH = 600
_SLOPES_IN_WORDS = 3


def section(view: FittedView) -> Section:
    """The verdict with its findings, and the key results in sentences."""
    outcome = verdict(view.findings)
    badge = Badge(status=STATUS_OF[outcome], verdict=outcome, text=_MEANINGS[outcome])
    return Section(
        id=ID,
        title=TITLE,
        elements=(badge, *_concerns(view.findings), _tiles(view), *_results(view)),
    )


def _concerns(findings: tuple[Finding, ...]) -> list[Element]:
    order = {"fail": 0, "caution": 1}
    found = sorted(
        (finding for finding in findings if finding.status in order),
        key=lambda finding: order[finding.status],
    )
    return [
        Callout(
            tone="fail" if finding.status == "fail" else "caution",
            title=shorten(f"{finding.code}: {finding.subject}", 80),
            text=shorten(f"{finding.message} {finding.remedy}", _MESSAGE_WIDTH),
        )
        for finding in found
    ]


def _tiles(view: FittedView) -> Tiles:
    items = [(f"{view.n_obs:,}", "rows used"), (str(len(view.clusters)), "clusters")]
    if view.rows.weight is not None:
        items.insert(1, (rows_text(view.total), "sum of their weights"))
    if view.model.clustering:
        items.append((str(len(view.model.clustering)), "features"))
    if view.response is not None:
        encoding = view.model.encoding
        count = len(view.predictors if encoding is None else encoding.terms)
        items.append((str(count), "predictors" if encoding is None else "terms"))
    if len(view.clusters) > 1:
        share = sharp_share(view, view.allocation["responsibility"])
        items.append((percent(share), "of rows assigned with probability above 0.9"))
    return Tiles(items=tuple((value, _singular(value, label)) for value, label in items))


def _singular(value: str, label: str) -> str:
    plural = label in ("clusters", "features", "predictors", "terms")
    return label[:-1] if plural and value == "1" else label


def _results(view: FittedView) -> list[Element]:
    items = [Cell(text=_cluster_sentence(view, i), cluster=i) for i in range(len(view.clusters))]
    if len(view.clusters) > 1:
        items += [Cell(text=sentence) for sentence in _assignment_sentences(view)]
    return [Heading(text="Key results"), Bullets(items=tuple(items))]


def _cluster_sentence(view: FittedView, cluster: int) -> str:
    value = view.clusters[cluster]
    if len(view.clusters) == 1:
        text = f"One cluster holds all {view.n_obs:,} rows."
    else:
        weight = view.estimate("weight", cluster=cluster)
        bounds = f"89% interval [{percent(weight.lower)}, {percent(weight.upper)}]"
        if cluster not in view.occupied:
            return f"Cluster {value} holds no rows ({bounds}); its parameters are the prior's."
        text = (
            f"Cluster {value} holds {percent(weight.mean)} of the rows, {bounds}: about "
            f"{round(weight.mean * view.total):,} rows."
        )
    if view.response is None:
        return text
    return f"{text} {_regression_sentence(view, cluster)}"


def _regression_sentence(view: FittedView, cluster: int) -> str:
    response = view.names[view.response or ""]
    words = view.line_words
    own = view.own(words.block, cluster)
    if not view.predictors:
        said = words.typical(response, view.typical[cluster].text)
        return "; ".join(part for part in (said, words.scattered("it", own)) if part) + "."
    encoding = view.model.encoding
    curved = frozenset[str]() if encoding is None else encoding.curved
    slopes = {
        j: view.estimate("slope", cluster=cluster, predictor=j)
        for j, name in enumerate(view.predictors)
        if name not in curved
    }
    scaling = view.scaling
    strongest = sorted(slopes, key=lambda j: -abs(slopes[j].mean) * scaling[view.predictors[j]][1])[
        :_SLOPES_IN_WORDS
    ]
    more = len(slopes) - len(strongest)
    rest = f" ({more} weaker {'slope' if more == 1 else 'slopes'} below)" if more else ""
    if curved:
        rest += " (its curves are drawn below)"
    several = len(view.predictors) > 1
    held = ", the others held equal," if several else ","
    where = "every predictor" if several else view.names[view.predictors[0]]
    at, level = f"At the average of {where} over all rows", view.levels[cluster].text
    said = f"{at}: {words.typical(response, level)}{rest}"
    if slopes:
        changes = listed([_change(view, j, view.effect(cluster, j)) for j in sorted(strongest)])
        said = words.sentence(response, f"{at}, ", level, f"{changes}{rest}", held)
    return "; ".join(part for part in (said, words.scattered("the line", own)) if part) + "."


def _change(view: FittedView, predictor: int, effect: Estimate) -> str:
    return f"{effect.text} with {view.names[view.predictors[predictor]]}"


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
