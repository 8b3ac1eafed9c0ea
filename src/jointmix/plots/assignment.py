"""How surely rows belong to clusters: responsibilities as rootograms."""

import numpy as np
import xarray as xr
from matplotlib.axes import Axes

from jointmix.plots.reading import Reading
from jointmix.plots.style import INK, axis_label, canvases, labelled, mark, remark
from jointmix.posterior.draws import fitted_spec

#: Responsibilities too small to be drawn: most rows' in most clusters.
LEAST_DRAWN = 1e-4
_EDGES = np.linspace(0, 1, 21)


def plot_assignment(tree: xr.DataTree, ax: object = None) -> np.ndarray:
    """Draw how many rows have each responsibility, cluster by cluster.

    Rootograms (Tantrum, Murua and Stuetzle 2003; Leisch 2004, doi:10.18637/jss.v011.i08): rows by
    p(k | x, y), counts on the scale of square roots, so that few rows between 0 and 1 show beside
    the many at the ends; those below 0.0001 are not counted. Dark are the rows whose most probable
    cluster it is. A cluster that stands apart has rows at 1 alone; mass in the middle is what it
    shares with others. Rows count as often as they weigh.

    Parameters
    ----------
    tree
        A fitted tree.
    ax
        Axes to draw on, one a cluster; None draws on those of a new figure.

    Returns
    -------
    numpy.ndarray
        The axes, (cluster,).

    Raises
    ------
    SpecError
        If there are not as many axes as clusters.
    SchemaError
        If the tree is not a fit with identified draws.

    Examples
    --------
    >>> import jointmix as jm
    >>> table = jm.simulate(jm.four_clusters(2), 100, seed=1)
    >>> quick = jm.SamplerSpec(sampler="laplace", draws=100, chains=2)
    >>> tree = jm.fit(table, jm.ModelSpec(n_clusters=2, features=["x1", "x2"], sampler=quick))
    >>> [axes.get_title(loc="left") for axes in jm.plot_assignment(tree)]
    ['Cluster 1', 'Cluster 2']
    """
    fitted_spec(tree)
    view = Reading(tree)
    n = len(view.clusters)
    canvas = canvases(ax, n, (3.2, 2.5) if n > 1 else (6.4, 4.4), columns=4)
    most = max(highest(view, k) for k in range(n))
    for k, axes in enumerate(canvas):
        draw_rootogram(axes, view, k, most)
    return canvas


def draw_rootogram(axes: Axes, view: Reading, cluster: int, most: float) -> None:
    """Rows by their responsibility in one cluster (by position), up to ``most`` a bar."""
    share, weights = view.share[:, cluster], view.rows.weights
    drawn, own = share >= LEAST_DRAWN, view.chosen == cluster
    every, here = _counts(view, cluster, drawn), _counts(view, cluster, drawn & own)
    colour, marker = mark(cluster)
    axes.set_yscale("function", functions=(_root, np.square))
    for counts, opacity in ((every, 0.3), (here, 0.9)):
        axes.bar(_EDGES[:-1], counts, np.diff(_EDGES), align="edge", color=colour, alpha=opacity,
                 edgecolor="white", linewidth=0.5)  # fmt: skip
    axes.set_xlim(-0.01, 1.01)
    axes.set_ylim(0, max(1.0, most) * 1.08)
    axes.set_yticks(_ticks(most))
    axes.grid(axis="x", visible=False)
    axes.plot(0.5, 0.93, marker, color=colour, transform=axes.transAxes, markersize=9)
    labelled(axes, "responsibility", "rows")
    axes.set_title(axis_label(view.titles[cluster], 22), loc="left", color=INK, parse_math=False)
    small = float(weights[~drawn].sum())
    remark(axes, "" if not small else f"{small:,.0f} rows at 0")


def highest(view: Reading, cluster: int) -> float:
    """The most rows in a bar of a cluster's rootogram."""
    return float(_counts(view, cluster, view.share[:, cluster] >= LEAST_DRAWN).max())


def _counts(view: Reading, cluster: int, kept: np.ndarray) -> np.ndarray:
    """Rows in each bar, as often as they weigh."""
    share, weights = view.share[kept, cluster], view.rows.weights[kept]
    return np.asarray(np.histogram(share, _EDGES, weights=weights)[0])


def _root(counts: np.ndarray) -> np.ndarray:
    return np.sqrt(np.maximum(counts, 0.0))


def _ticks(most: float) -> list[float]:
    """Round counts, about as far apart in square roots: 0, 1, 5, 10, 50, 100, …"""
    steps = [0.0] + [digit * 10.0**power for power in range(9) for digit in (1, 2, 5)]
    inside = [step for step in steps if step <= max(most, 1.0)]
    kept = [inside[-1]]
    for step in reversed(inside[:-1]):
        if np.sqrt(kept[-1]) - np.sqrt(step) >= 0.16 * np.sqrt(inside[-1]):
            kept.append(step)
    return kept[::-1]
