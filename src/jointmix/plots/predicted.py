"""What a fit predicts, against what is observed."""

import numpy as np
import xarray as xr
from matplotlib.axes import Axes

from jointmix.base.arguments import proportion
from jointmix.base.errors import DataError, SpecError
from jointmix.base.schema import OBS
from jointmix.plots.reading import Reading, thinned
from jointmix.plots.style import INK, RED, canvas, labelled, legend, mark, remark
from jointmix.posterior.draws import fitted_spec, table_rows
from jointmix.posterior.prediction import predict

_MOST_ROWS = 400


def plot_prediction(
    tree: xr.DataTree, table: object = None, ax: object = None, *, interval: float = 0.89
) -> Axes:
    """Draw the predictive interval of y given x of each row against the y that it has.

    A row's line is its central interval, its mark the median, coloured by its most probable
    cluster before y is seen; rows outside their interval are crosses. A fit predicts its own rows
    without leaving them out: see `plot_calibration` for that. Of more than 400 rows as many are
    drawn, always the same, and the picture says so.

    Parameters
    ----------
    tree
        A fitted tree with a response.
    table
        New rows with the response; None takes the rows of the fit.
    ax
        Axes to draw on; None draws on those of a new figure.
    interval
        Probability inside the intervals.

    Returns
    -------
    matplotlib.axes.Axes
        The axes.

    Raises
    ------
    SpecError
        If the model has no response, or ``interval`` is no probability.
    DataError
        If the table lacks a column, the response among them, or its rows have no response.

    Examples
    --------
    >>> import jointmix as jm
    >>> table = jm.simulate(jm.four_clusters(2), 100, seed=1)
    >>> quick = jm.SamplerSpec(sampler="laplace", draws=100, chains=2)
    >>> tree = jm.fit(table, "y ~ x1", n_clusters=2, sampler=quick)
    >>> jm.plot_prediction(tree, interval=0.5).get_xlabel()
    'y, observed'
    """
    interval, spec = proportion("interval", interval), fitted_spec(tree)
    if spec.response is None:
        raise SpecError("This model has no response to predict.")
    view = Reading(tree)
    rows, answered = table_rows(tree, spec, table, spec.response, (spec.response,))
    if not answered:
        raise DataError(f"The table lacks the response {spec.response!r}, against which to draw.")
    known = np.flatnonzero(~np.isnan(rows.y))
    if not known.size:
        raise DataError(f"No row has the response {spec.response!r}, against which to draw.")
    kept = known[thinned(known.size, _MOST_ROWS)]
    asked = ((1 - interval) / 2, 0.5, (1 + interval) / 2)
    if table is None:
        found = predict(tree.isel({OBS: kept}), None, asked)
    else:
        found = predict(tree, table, asked).isel({OBS: kept})
    lower, middle, upper = found["quantiles"].values.T
    y = rows.y[kept]
    cluster = found["responsibility"].values.argmax(axis=1)
    axes = canvas(ax)
    inside = (lower <= y) & (y <= upper)
    present = np.unique(cluster)
    for k in present:
        colour, marker = mark(int(k))
        own = cluster == k
        axes.vlines(y[own], lower[own], upper[own], color=colour, linewidth=0.9, alpha=0.35)
        axes.plot(y[own & inside], middle[own & inside], marker, color=colour, markersize=4,
                  linestyle="none", alpha=0.8)  # fmt: skip
    axes.plot(y[~inside], middle[~inside], "x", color=RED, markersize=6, markeredgewidth=1.4)
    ends = [min(y.min(), lower.min()), max(y.max(), upper.max())]
    axes.axline((ends[0], ends[0]), slope=1.0, color=INK, linewidth=0.9, linestyle=(0, (4, 2)))
    name = view.names[spec.response]
    labelled(axes, f"{name}, observed", f"{name}, predicted")
    of = "rows" if kept.size == known.size else f"{kept.size:,} of {known.size:,} rows"
    remark(axes, f"{interval:.0%} intervals hold {np.mean(inside):.0%} of {of}")
    legend(axes, [view.titles[k] for k in present], present.tolist(), outside=ax is None)
    return axes
