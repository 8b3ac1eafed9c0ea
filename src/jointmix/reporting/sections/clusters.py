"""What each cluster is: a card with its profile, neighbour, equation, rows and response."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from jointmix.base.numbers import percent, probability
from jointmix.base.schema import CLUSTER, OBS, require_group
from jointmix.families.mixture import block_terms
from jointmix.families.rows import Rows
from jointmix.plots.along import Along, along_columns
from jointmix.plots.clusters import answered
from jointmix.plots.geometry import regression_line
from jointmix.plots.reading import thinned
from jointmix.posterior.draws import draw_parameters, row_batches, spread
from jointmix.reporting import figures
from jointmix.reporting.dots import Dot, Strip, strips
from jointmix.reporting.elements import (
    Cell,
    Code,
    Element,
    Figure,
    Group,
    Panel,
    Prose,
    Section,
    Table,
    number_cells,
)
from jointmix.reporting.fitted import FittedView
from jointmix.reporting.telling import (
    Trait,
    expected,
    response_of_all,
    separation,
    telling,
    traits,
)
from jointmix.reporting.text import MISSING, decimals, number, shorten

ID, TITLE = "clusters", "Clusters"

#: Rows of each kind on a card, and their columns; draws that densities of rows are averaged over.
_ROWS, _MOST_VALUES, _DENSITY_DRAWS = 3, 6, 20
#: Rows whose densities are averaged; of more, those that are most typical by one draw are.
_MANY_ROWS, _LIKELY = 20_000, 500
#: Lines of a profile, rows in its picture of the response, and terms of an equation.
_MOST_TRAITS, _MOST_DRAWN, _MOST_TERMS = 16, 250, 8
_READING = (
    "Each number is a posterior mean with its 89% equal-tailed interval [a, b]. Profiles are in "
    "standard deviations of all rows: 0 is their mean, or their share of a level."
)


def section(view: FittedView) -> Section:
    """How to read the cards, and a card for each cluster that holds rows."""
    cards = [
        replace(card, elements=(*card.elements, _rows(view, k)))
        for k, card in zip(view.occupied, _cards(view), strict=True)
    ]
    return Section(id=ID, title=TITLE, elements=(_reading(view), *cards))


def brief(view: FittedView) -> Section:
    """The cards without rows."""
    return Section(id=ID, title=TITLE, elements=(_reading(view), *_cards(view)))


def _reading(view: FittedView) -> Prose:
    return Prose(text=f"{_READING}{view.left_out}")


def _cards(view: FittedView) -> list[Group]:
    return [_card(view, k) for k in view.occupied]


def _card(view: FittedView, cluster: int) -> Group:
    elements: list[Element] = []
    apart = separation(view, cluster)
    if apart:
        elements.append(Prose(text=apart))
    pictures = _pictures(view, cluster)
    if pictures is not None:
        elements.append(pictures)
    elements += _of_features(view, cluster)
    if view.response is not None:
        elements += _equation(view, cluster)
    return Group(form="card", title=card_title(view, cluster), elements=tuple(elements))


def card_title(view: FittedView, cluster: int) -> Cell:
    """A cluster's name with its share of the rows."""
    if len(view.clusters) == 1:
        return Cell(text=f"All {view.n_obs:,} rows", cluster=cluster)
    weight = view.estimate("weight", cluster=cluster)
    bounds = "" if weight.fixed else f" [{percent(weight.lower)}, {percent(weight.upper)}]"
    return Cell(
        text=f"{view.marks[cluster].text}: {percent(weight.mean)} of the rows{bounds}",
        cluster=cluster,
    )


def shown_traits(view: FittedView, cluster: int) -> list[Trait]:
    """Those of a profile, in the order of the columns: all, or the farthest from all rows."""
    own = traits(view)[cluster]
    # Of two levels one says it all.
    both = {each.column for each in own if sum(other.column == each.column for other in own) == 2}
    own = tuple(
        each for i, each in enumerate(own)
        if not (each.level and each.column in both and own[i - 1].column == each.column)
    )  # fmt: skip
    far = sorted(range(len(own)), key=lambda i: -abs(own[i].gap))[:_MOST_TRAITS]
    return [own[i] for i in sorted(far)]


def _pictures(view: FittedView, cluster: int) -> Figure | None:
    """The profile, and the response along its main predictor."""
    panels, own = [], shown_traits(view, cluster)
    if own:
        panels.append(_profile(view, cluster, own))
    along = _along(view, cluster) if view.predictors else None
    if along is not None:
        panels.append(along)
    if not panels:
        return None
    return Figure(
        caption=_caption(view, cluster, bool(own), along is not None),
        panels=tuple(panels),
        table=_numbers(view, cluster, own),
    )


def _caption(view: FittedView, cluster: int, profile: bool, along: bool) -> str:
    left_out = len(traits(view)[cluster]) - len(shown_traits(view, cluster))
    parts = ["Profile: means and 89% intervals against all rows"] if profile else []
    if left_out and len(traits(view)[cluster]) > _MOST_TRAITS:
        parts[0] += ", the farthest from them"
    if along:
        parts.append(f"{view.names[view.response or '']} in the cluster's rows, with its 89% band")
    text = "; ".join(parts)
    return f"{text[0].upper()}{text[1:]}."


def _profile(view: FittedView, cluster: int, own: list[Trait]) -> Panel:
    lines = [
        Strip(label=each.label, value=each.value, dots=(dot_of(each, cluster),)) for each in own
    ]
    farthest = telling(tuple(own), 1)[0]
    return Panel(
        svg=strips(lines, "standard deviations of all rows", 0.0),
        alt=f"Profile of {len(own)} means and shares; farthest from all rows is "
        f"{farthest.label}, at {decimals(farthest.gap, 2)} standard deviations.",
        wide=view.response is None or not view.predictors,
    )


def dot_of(trait: Trait, cluster: int) -> Dot:
    """A cluster's mean or share in standard deviations of all rows."""
    return Dot(cluster=cluster, lower=trait.lower, mean=trait.gap, upper=trait.upper)


def _numbers(view: FittedView, cluster: int, own: list[Trait]) -> Table:
    rows = [
        (
            Cell(text=each.label),
            *number_cells(f"{each.value} {each.bounds}", each.of_all, decimals(each.gap, 2)),
        )
        for each in own
    ]
    if view.response is not None:
        level = expected(view)[cluster]
        rows.append(
            (
                Cell(text=f"{view.names[view.response]}, expected"),
                *number_cells(level.text, number(response_of_all(view)), "–"),
            )
        )
    return Table(
        caption="The cluster against all rows",
        columns=(
            Cell(text="column"),
            *number_cells("mean or share, 89% interval", "all rows", "standard deviations apart"),
        ),
        rows=tuple(rows),
    )


def _along(view: FittedView, cluster: int) -> Panel | None:
    """The response of the cluster's rows along the predictor that moves it most."""
    own = view.allocation["allocation"].values == view.clusters[cluster]
    rows = np.flatnonzero(own)
    rows = rows[thinned(rows.size, _MOST_DRAWN)]
    values, response = answered(view)
    y = values[rows]
    place = np.full(rows.size, cluster)
    if view.model.encoding is not None:
        each = _strongest_column(view, cluster)
        line, label = each.lines[cluster], shorten(each.name, 40)
        if each.levels:
            svg = figures.at_levels({cluster: line}, each.levels, (label, response))
        else:
            drawn = each.values[rows]
            svg = figures.regression(drawn, y, place, {cluster: line}, (label, response))
    else:
        j = strongest(view, cluster, range(len(view.predictors)))
        label = view.names[view.predictors[j]]
        line = regression_line(view, cluster, j)
        drawn = view.columns[view.predictors[j]][rows]
        svg = figures.regression(drawn, y, place, {cluster: line}, (label, response))
    return Panel(
        svg=svg,
        alt=f"{response} along {label}: from {number(float(line.mean[0]))} to "
        f"{number(float(line.mean[-1]))}; {rows.size:,} rows.",
    )


def strongest(view: FittedView, cluster: int, among: Sequence[int]) -> int:
    """Of some predictors, the one whose slope over the column's scale is largest in a cluster."""
    return max(among, key=lambda j: _size(view, cluster, j))


def _size(view: FittedView, cluster: int, predictor: int) -> float:
    slope = view.estimate("slope", cluster=cluster, predictor=predictor).mean
    return abs(slope) * view.scaling[view.predictors[predictor]][1]


def _strongest_column(view: FittedView, cluster: int) -> Along:
    if "along" not in view.made:
        view.made["along"] = along_columns(view)
    found: list[Along] = view.made["along"]
    return max(found, key=lambda each: float(np.ptp(each.lines[cluster].mean)))


def _of_features(view: FittedView, cluster: int) -> list[Element]:
    """What the features' own shapes mean."""
    own = [words for words in view.words if not words.block.of_response]
    said = [words.remark(view.own(words.block, cluster)) for words in own]
    return [Prose(text=f"{each}.") for each in said if each]


def _equation(view: FittedView, cluster: int) -> list[Element]:
    """The line with its numbers, and what scales and shapes mean."""
    words, terms = view.line_words, []
    if "intercept" in view.statistics:
        terms.append(view.estimate("intercept", cluster=cluster).value)
    order = sorted(range(len(view.predictors)), key=lambda j: -_size(view, cluster, j))
    for j in sorted(order[:_MOST_TERMS]):
        slope = view.estimate("slope", cluster=cluster, predictor=j)
        terms.append(f"{slope.value} · {view.names[view.predictors[j]]}")
    if len(order) > _MOST_TERMS:
        terms.append(f"{len(order) - _MOST_TERMS} smaller terms")
    if view.offset is not None:
        terms.append(view.names[view.offset])
    right = " + ".join(terms).replace("+ −", "− ") or "0"
    left = words.left(view.names[view.response or ""])
    found: list[Element] = [Code(caption="Equation", text=f"{left} = {right}")]
    own = view.own(words.block, cluster)
    said = [words.scattered("the line", own), words.remark(own)]
    sentences = "; ".join(each for each in said if each)
    if sentences:
        found.append(Prose(text=f"{sentences[0].upper()}{sentences[1:]}."))
    return found


def most_typical(view: FittedView, cluster: int, candidates: np.ndarray) -> np.ndarray:
    """Places of the candidates (obs,) of highest density inside a cluster, averaged over draws."""
    many = len(view.rows.y) > _MANY_ROWS
    if "densities" not in view.made:
        view.made["densities"] = densities(view, view.rows, 1 if many else _DENSITY_DRAWS)
    density = view.made["densities"][candidates, cluster]
    if many:
        candidates = np.sort(candidates[np.argsort(-density, kind="stable")[:_LIKELY]])
        rows = view.rows.take(candidates)
        density = densities(view, rows, _DENSITY_DRAWS)[:, cluster]
    return candidates[np.argsort(-density, kind="stable")[:_ROWS]]


def densities(view: FittedView, rows: Rows, most: int) -> np.ndarray:
    """Log density of each row inside each cluster, averaged over so many draws, (obs, cluster)."""
    if "draws" not in view.made:
        parameters = draw_parameters(require_group(view.tree, "posterior"), CLUSTER, view.model)
        view.made["draws"] = parameters.take(spread(len(parameters.weight), _DENSITY_DRAWS))
    kept = view.made["draws"].take(slice(most))
    found = np.empty((len(rows.y), len(view.clusters)))
    with np.errstate(all="ignore"):
        for place, part in row_batches(rows, kept):
            features, response = block_terms(view.model.blocks, part, kept)
            found[place] = (features + response).mean(axis=0)
    return np.nan_to_num(found, nan=-np.inf)


def row_columns(view: FittedView, most: int = _MOST_VALUES) -> list[str]:
    """Columns by which rows are shown: those that tell clusters apart most, and the response."""
    own = [each for k in view.occupied for each in traits(view)[k]]
    best = dict.fromkeys(view.model.clustering, 0.0)
    of_label = {view.names[name]: name for name in view.model.clustering}
    for each in own:
        name = of_label[each.column]
        best[name] = max(best[name], abs(each.gap))
    kept = sorted(best, key=lambda name: -best[name])[:most]
    chosen = [name for name in view.model.clustering if name in kept]
    if not chosen:
        chosen = [name for name in view.predictors if name in view.columns][:most]
    return chosen + ([view.response] if view.response is not None else [])


def row_values(view: FittedView, place: int, columns: list[str]) -> list[str]:
    """A row's entries as texts, levels by their labels."""
    found = []
    for name in columns:
        value = float(view.columns[name][place])
        if np.isnan(value):
            found.append(MISSING)
        elif name in view.labels:
            found.append(shorten(view.labels[name][int(value)], 24))
        else:
            found.append(decimals(value, view.entry_places[name]))
    return found


def _rows(view: FittedView, cluster: int) -> Table:
    """Rows that are most like the cluster, and rows of it that are least sure."""
    share = view.allocation["responsibility"].transpose(OBS, CLUSTER).values
    own = np.flatnonzero(view.allocation["allocation"].values == view.clusters[cluster])
    whole = own[_complete(view)[own]]
    candidates = whole if whole.size else own
    typical = most_typical(view, cluster, candidates)
    least = own[np.argsort(share[own, cluster], kind="stable")[:_ROWS]]
    least = least[~np.isin(least, typical)] if len(view.clusters) > 1 else least[:0]
    columns, several = row_columns(view), len(view.clusters) > 1

    def sure(place: int) -> list[str]:
        return [probability(share[place, cluster])] if several else []

    rows = [
        (
            Cell(text=view.row_name(place)),
            Cell(text=what),
            *number_cells(*row_values(view, place, columns), *sure(place)),
        )
        for what, places in (("most typical", typical), ("least sure", least))
        for place in places
    ]
    return Table(
        caption="Rows of this cluster",
        columns=(
            Cell(text=view.row_header),
            Cell(text="which"),
            *number_cells(*(view.names[name] for name in columns), *["probability"] * several),
        ),
        rows=tuple(rows),
    )


def _complete(view: FittedView) -> np.ndarray:
    """Whether rows lack nothing, (obs,)."""
    return ~np.isnan(np.stack(list(view.columns.values()))).any(axis=0)
