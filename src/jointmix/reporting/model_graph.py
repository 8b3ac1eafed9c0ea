"""The model as a directed graph: which quantity depends on which."""

from jointmix.checks.finding import listed
from jointmix.families.words import Node
from jointmix.reporting import diagrams
from jointmix.reporting.elements import Figure, Panel, Table, text_cells
from jointmix.reporting.fitted import FittedView

#: Nodes that no family brings.
_WORDS = {
    "π": "weights",
    "z": "cluster of a row",
    "x": "features",
    "u": "predictors",
    "y": "response",
}
#: Centres of the parameters above the features and above the response, the greatest distance of
#: two, and that of the outermost; all in units of the plates.
_ABOVE_X, _ABOVE_Y, _STEP, _WIDTH, _HEIGHT = 1.8, 4.1, 1.0, 1.5, 2.5
_LAST = 4.65
#: Where what all clusters share stands: left of the plates or right of them, one above the other.
_LEFT, _RIGHT, _LEFT_BOTTOM, _RIGHT_BOTTOM = -0.9, 5.8, 1.3, 0.4

Placed = dict[str, tuple[float, float, diagrams.Sign]]


def model_graph(view: FittedView) -> Figure:
    """Plates over rows and clusters; what is observed is filled, what is fixed is square."""
    mixture = len(view.clusters) > 1
    nodes, edges = _parts(view, mixture)
    parameters = [node for words in view.words for node in words.nodes]
    named = _WORDS | {node.label: node.words for node in parameters}
    plates = {f"{view.n_fitted:,} rows": (-0.05, -0.45, 5.2, 2.1)}
    own = [node for node in parameters if not node.shared]
    if mixture and own:
        plates[f"{len(view.clusters)} clusters"] = (0.45, 1.95, 4.7, 1.4)
    shared = [f"{node.label} ({node.words})" for node in parameters if node.shared]
    said = f"All clusters share {listed(shared)}." if mixture and shared else ""
    square = any(sign == "fixed" for _, _, sign in nodes.values())
    squares = " Squares are fixed by the user." if square else ""
    words = ", ".join(f"{named[one]} to {named[other]}" for one, other in edges)
    return Figure(
        caption="The model as a graph: arrows lead to what depends on them; filled circles are "
        f"observed.{squares}{f' {said}' if said else ''}",
        panels=(
            Panel(
                svg=diagrams.graph(nodes, edges, plates),
                alt=f"Graph over {' and '.join(plates)}; arrows from {words}.",
                wide=True,
            ),
        ),
        table=Table(
            caption="Arrows of the graph",
            columns=text_cells("from", "to"),
            rows=tuple(
                text_cells(f"{one}: {named[one]}", f"{other}: {named[other]}")
                for one, other in edges
            ),
        ),
    )


def _parts(view: FittedView, mixture: bool) -> tuple[Placed, list[tuple[str, str]]]:
    """Nodes with their places and what they are, and edges."""
    nodes: Placed = {}
    edges: list[tuple[str, str]] = []
    if mixture:
        weight: diagrams.Sign = "free" if view.model.parameters["weight"].free else "fixed"
        nodes |= {"π": (-0.9, 0.2, weight), "z": (0.5, 0.2, "free")}
        edges.append(("π", "z"))
    for of_response, to, place in ((False, "x", (1.8, 0.8)), (True, "y", (4.4, 0.4))):
        members = [words for words in view.words if words.block.of_response == of_response]
        if not members:
            continue
        # Features of one kind have parameters of one symbol.
        own = {node.label: node for words in members for node in words.nodes}
        above = _places(tuple(own.values()), of_response, mixture)
        nodes |= above
        nodes[to] = (*place, "observed")
        edges += [(label, to) for label in above]
        if of_response and view.predictors:
            nodes["u"] = (3.1, 0.8, "observed")
            edges.append(("u", "y"))
            if set(view.predictors) & set(view.features):
                edges.append(("x", "u"))
        if mixture:
            edges.append(("z", to))
    return nodes, edges


def _places(parameters: tuple[Node, ...], of_response: bool, mixture: bool) -> Placed:
    """A block's parameters: each cluster's own above its column, shared ones outside the plates."""
    own = [node for node in parameters if not (mixture and node.shared)]
    outside = [node for node in parameters if node not in own]
    left, bottom = (_RIGHT, _RIGHT_BOTTOM) if of_response else (_LEFT, _LEFT_BOTTOM)
    return {
        node.label: (*place, "fixed" if node.fixed else "free")
        for node, place in zip(
            (*own, *outside),
            (*_row_of(len(own), of_response), *((left, bottom + i) for i in range(len(outside)))),
            strict=True,
        )
    }


def _row_of(n: int, of_response: bool) -> list[tuple[float, float]]:
    """Places above a column: the first outermost, on the side of its column."""
    center, outwards = (_ABOVE_Y, -1) if of_response else (_ABOVE_X, 1)
    step = min(_STEP, _WIDTH / max(1, n - 1))
    if of_response:
        # The last must stay inside the plate.
        center = min(center, _LAST - (n - 1) / 2 * step)
    step *= outwards
    return [(center + (i - (n - 1) / 2) * step, _HEIGHT) for i in range(n)]
