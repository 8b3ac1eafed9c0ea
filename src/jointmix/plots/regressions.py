"""Responses along their predictors: lines, curves of terms, and values at levels."""

from collections.abc import Sequence

import numpy as np
import xarray as xr
from matplotlib.axes import Axes

from jointmix.base.arguments import shown
from jointmix.base.errors import SpecError
from jointmix.plots import marks
from jointmix.plots.along import Along, along_columns
from jointmix.plots.clusters import answered, noted
from jointmix.plots.geometry import Line, regression_line
from jointmix.plots.reading import MOST_ROWS, Reading, thinned
from jointmix.plots.style import axis_label, canvases, labelled, legend, remark
from jointmix.posterior.draws import fitted_spec

#: Pictures of one figure; of more predictors those that move the response most.
_MOST = 9
#: Signs of all levels together beyond which they stand aslant.
_ASLANT = 24


def plot_regressions(
    tree: xr.DataTree, ax: object = None, *, predictors: Sequence[str] | None = None
) -> np.ndarray:
    """Draw the response along each predictor, with each cluster's line and its 89% band.

    Lines span the central 95% of the cluster's rows, other predictors and any offset being held at
    the cluster's mean. Where predictors are made by a formula, or are factors, there is a picture
    of each column that the terms read: a curve with all of the column's terms, or the response at
    each level, averaged over the other columns as the cluster's rows have them. Of a linked
    response lines are its mean.

    Parameters
    ----------
    tree
        A fitted tree with a response.
    ax
        Axes to draw on, one a predictor; None draws on those of a new figure.
    predictors
        Which predictors, or columns that a formula reads; None takes all, of more than nine those
        along which the response moves most.

    Returns
    -------
    numpy.ndarray
        The axes, (predictor,), in the predictors' order.

    Raises
    ------
    SpecError
        If the model has no predictors, one is unknown, or there are not as many axes.
    SchemaError
        If the tree is not a fit with identified draws.

    Examples
    --------
    >>> import jointmix as jm
    >>> table = jm.simulate(jm.four_clusters(2), 100, seed=1)
    >>> quick = jm.SamplerSpec(sampler="laplace", draws=100, chains=2)
    >>> tree = jm.fit(table, "y ~ x1 + x2", n_clusters=2, sampler=quick)
    >>> [axes.get_xlabel() for axes in jm.plot_regressions(tree)]
    ['x1', 'x2']
    """
    fitted_spec(tree)
    view = Reading(tree)
    found = effects(view)
    chosen, left_out = _chosen(view, found, predictors)
    canvas = canvases(ax, len(chosen), (4.2, 3.4) if len(chosen) > 1 else (6.4, 4.4))
    for place, (axes, each) in enumerate(zip(canvas, chosen, strict=True)):
        draw_effect(axes, view, each)
        if left_out and place == 0:
            labelled(axes, title=f"{len(chosen)} of {len(found)} predictors")
    last = canvas[min(len(canvas), 3) - 1]
    legend(last, [view.titles[k] for k in view.occupied], view.occupied, outside=ax is None)
    return canvas


def effects(view: Reading) -> list[Along]:
    """The response along each predictor, or each column of which predictors are made.

    Raises
    ------
    SpecError
        If there are none.
    """
    if not view.predictors:
        raise SpecError(
            "The model has no predictors along which a response would run; plot_clusters draws "
            "what it has."
        )
    if view.model.encoding is not None:
        return along_columns(view)
    k = range(len(view.clusters))
    return [
        Along(name, (), view.columns[name], tuple(regression_line(view, each, j) for each in k))
        for j, name in enumerate(view.predictors)
    ]


def _chosen(view: Reading, found: list[Along], wanted: object) -> tuple[list[Along], int]:
    """Effects to draw, and how many are left out unasked."""
    if wanted is None:
        if len(found) <= _MOST:
            return found, 0
        moved = [max(float(np.ptp(each.lines[k].mean)) for k in view.occupied) for each in found]
        kept = np.sort(np.argsort(-np.array(moved), kind="stable")[:_MOST])
        return [found[j] for j in kept], len(found) - _MOST
    if isinstance(wanted, str) or not isinstance(wanted, Sequence) or not wanted:
        raise SpecError(f"predictors must be a list of predictors or None; got {shown(wanted)}.")
    by_name = {each.name: each for each in found}
    if unknown := [name for name in wanted if name not in by_name]:
        raise SpecError(
            f"{shown(unknown[0])} is none of the columns that predict, which are "
            f"{', '.join(map(shown, by_name))}."
        )
    return [by_name[name] for name in wanted], 0


def draw_effect(axes: Axes, view: Reading, each: Along) -> None:
    """The response along one column, rows behind."""
    y, label = answered(view)
    x = each.values
    lines = {k: each.lines[k] for k in view.occupied}
    kept = thinned(view.n_obs, MOST_ROWS)
    kept = kept[~np.isnan(x[kept]) & ~np.isnan(y[kept])]
    if each.levels:
        # Beside their cluster's value, and apart from each other.
        place = {k: i for i, k in enumerate(lines)}
        middle = np.array([place.get(k, 0) for k in view.chosen[kept]]) - (len(lines) - 1) / 2
        apart = np.random.default_rng(0).uniform(-0.3, 0.3, kept.size)
        x = x.copy()
        x[kept] += marks.BESIDE * (middle + apart) / len(lines)
    share = view.share[kept].max(axis=1)
    marks.rows(axes, x[kept], y[kept], view.chosen[kept], share)
    if each.levels:
        draw_levels(axes, lines, each.levels)
        # A level without rows in a cluster has the prior's wide interval there.
        low, high = y[kept].min(), y[kept].max()
        axes.set_ylim(low - 0.05 * (high - low), high + 0.05 * (high - low))
    else:
        marks.lines(axes, lines)
        axes.locator_params(axis="x", nbins=6)
    remark(axes, noted(view, kept.size))
    labelled(axes, view.names.get(each.name, each.name), label)


def draw_levels(axes: Axes, lines: dict[int, Line], levels: Sequence[str]) -> None:
    """Values of clusters at the levels of a column."""
    marks.beside(axes, lines)
    axes.set_xticks(range(len(levels)), [axis_label(level, 14) for level in levels])
    for text in axes.get_xticklabels():
        text.set_parse_math(False)
    axes.set_xlim(-0.6, len(levels) - 0.4)
    axes.grid(axis="x", visible=False)
    if sum(map(len, levels)) > _ASLANT:
        axes.tick_params(axis="x", rotation=30)
