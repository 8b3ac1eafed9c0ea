"""The model as a directed graph: which quantity depends on which."""

from jointmix.reporting import diagrams
from jointmix.reporting.elements import Figure, Panel, Table, text_cells
from jointmix.reporting.fitted import FittedView

_WORDS = {
    "π": "weights",
    "z": "cluster of a row",
    "μ": "means",
    "Σ": "covariances",
    "x": "features",
    "u": "predictors",
    "b, θ": "intercepts and slopes",
    "b": "intercepts",
    "θ": "slopes",
    "σ": "noise",
    "y": "response",
}


def model_graph(view: FittedView) -> Figure:
    """Plates over rows and clusters; what is observed is filled."""
    mixture = len(view.clusters) > 1
    nodes, edges = _parts(view, mixture)
    plates = {
        f"{view.n_obs:,} rows": (-0.05, -0.3, 5.2, 1.95),
        f"{len(view.clusters)} {'clusters' if mixture else 'cluster'}": (0.45, 1.95, 4.7, 1.4),
    }
    words = ", ".join(f"{_WORDS[one]} to {_WORDS[other]}" for one, other in edges)
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
                text_cells(f"{one}: {_WORDS[one]}", f"{other}: {_WORDS[other]}")
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
    if view.features:
        nodes |= {"μ": (1.3, 2.5, False), "Σ": (2.3, 2.5, False), "x": (1.8, 0.8, True)}
        edges += [("μ", "x"), ("Σ", "x"), *([("z", "x")] if mixture else [])]
    if view.response is None:
        return nodes, edges
    nodes |= {"σ": (4.6, 2.5, False), "y": (4.4, 0.4, True)}
    edges.append(("σ", "y"))
    line = _line(view)
    if line:
        nodes[line] = (3.6, 2.5, False)
        edges.append((line, "y"))
    if view.predictors:
        nodes["u"] = (3.1, 0.8, True)
        edges.append(("u", "y"))
        if set(view.predictors) & set(view.features):
            edges.append(("x", "u"))
    if mixture:
        edges.append(("z", "y"))
    return nodes, edges


def _line(view: FittedView) -> str:
    """The node of the regressions' coefficients; empty where there are none."""
    intercept = view.spec["model"].get("intercept", True)
    return ", ".join([*(["b"] if intercept else []), *(["θ"] if view.predictors else [])])
