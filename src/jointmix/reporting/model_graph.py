"""The model as a directed graph: which quantity depends on which."""

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


def model_graph(view: FittedView) -> Figure:
    """Plates over rows and clusters; what is observed is filled."""
    mixture = len(view.clusters) > 1
    nodes, edges = _parts(view, mixture)
    named = _WORDS | {node.label: node.words for words in view.words for node in words.nodes}
    plates = {
        f"{view.n_obs:,} rows": (-0.05, -0.3, 5.2, 1.95),
        f"{len(view.clusters)} {'clusters' if mixture else 'cluster'}": (0.45, 1.95, 4.7, 1.4),
    }
    words = ", ".join(f"{named[one]} to {named[other]}" for one, other in edges)
    return Figure(
        caption="The model as a graph: arrows lead to what depends on them; filled circles are "
        "observed.",
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


def _parts(
    view: FittedView, mixture: bool
) -> tuple[dict[str, tuple[float, float, bool]], list[tuple[str, str]]]:
    """Nodes with their places and whether they are observed, and edges."""
    nodes: dict[str, tuple[float, float, bool]] = {}
    edges: list[tuple[str, str]] = []
    if mixture:
        nodes |= {"π": (-0.9, 0.2, False), "z": (0.5, 0.2, False)}
        edges.append(("π", "z"))
    for words in view.words:
        to = "y" if words.block.of_response else "x"
        above = _row_of([node.label for node in words.nodes], words.block.of_response)
        nodes |= above | ({"y": (4.4, 0.4, True)} if to == "y" else {"x": (1.8, 0.8, True)})
        edges += [(label, to) for label in above]
        if to == "y" and view.predictors:
            nodes["u"] = (3.1, 0.8, True)
            edges.append(("u", "y"))
            if set(view.predictors) & set(view.features):
                edges.append(("x", "u"))
        if mixture:
            edges.append(("z", to))
    return nodes, edges


def _row_of(labels: list[str], of_response: bool) -> dict[str, tuple[float, float, bool]]:
    """Places of a block's parameters: the first outermost, on the side of its column."""
    center, outwards = (_ABOVE_Y, -1) if of_response else (_ABOVE_X, 1)
    n = len(labels)
    step = min(_STEP, _WIDTH / max(1, n - 1))
    if of_response:
        # The last must stay inside the plate.
        center = min(center, _LAST - (n - 1) / 2 * step)
    step *= outwards
    return {
        label: (center + (i - (n - 1) / 2) * step, _HEIGHT, False) for i, label in enumerate(labels)
    }
