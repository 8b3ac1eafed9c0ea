"""Clusters among their rows: in the plane in which they are most apart, with lines of responses."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import xarray as xr
from matplotlib.axes import Axes

from jointmix.base.arguments import shown
from jointmix.base.errors import SpecError
from jointmix.families.parameters import Parameters
from jointmix.families.rows import Rows
from jointmix.model.packing import packed
from jointmix.plots import marks
from jointmix.plots.along import along_columns
from jointmix.plots.geometry import (
    Line,
    chosen_features,
    discriminants,
    ellipse,
    feature_covariance,
    held_offset,
    projected,
    regression_line,
    separating_pair,
)
from jointmix.plots.profiles import draw_profile, profiles
from jointmix.plots.reading import MOST_ROWS, Reading, thinned
from jointmix.plots.style import DASHES, axis_label, canvas, labelled, legend, mark, remark, split
from jointmix.posterior.draws import fitted_spec

#: Probability inside the ellipses of a cluster.
INSIDE = (0.5, 0.9)
_PLANES = ("features", "discriminant")
_BARS, _GRID = 40, 400


@dataclass(frozen=True)
class Plane:
    """Rows and clusters in two axes.

    Attributes
    ----------
    labels
        Of the axes.
    x, y
        Of the rows, (obs,).
    centres
        Of the clusters, (2,), by position.
    outlines
        Curves (points, 2) by position, the innermost first.
    lines
        Of the response, by position.
    """

    labels: tuple[str, str]
    x: np.ndarray
    y: np.ndarray
    centres: dict[int, np.ndarray]
    outlines: tuple[dict[int, np.ndarray], ...]
    lines: dict[int, Line]


def plot_clusters(
    tree: xr.DataTree, ax: Axes | None = None, *, plane: str | Sequence[str] = "features"
) -> Axes:
    """Draw the rows by cluster, and the clusters' ellipses or the lines of their responses.

    Each row has the mark of its most probable cluster, fainter the less probable that is; ellipses
    hold 50% and 90% of each cluster at the posterior mean of its parameters. At most 5,000 rows are
    drawn, and the picture says so. What is drawn depends on the model:

    - two Gaussian features or more: rows and ellipses in the plane of two;
    - one, and a response: the response against it, with its lines and their 89% bands where it is
      a predictor too;
    - one alone, or a response alone: shares of rows along it, and the clusters' densities;
    - only levels or counts: the profile of `plot_profiles`;
    - no features: the response against the predictor along which lines differ most.

    Parameters
    ----------
    tree
        A fitted tree.
    ax
        Axes to draw on; None draws on those of a new figure.
    plane
        "features", the two Gaussian features whose clusters overlap least; "discriminant", the
        two directions of all Gaussian features along which clusters are most apart (Fisher's, in
        units of the standard deviation inside clusters); or two columns: Gaussian features, or one
        of the features or predictors, and the response.

    Returns
    -------
    matplotlib.axes.Axes
        The axes.

    Raises
    ------
    SpecError
        If the plane is none of these, or ``ax`` is no axes.
    SchemaError
        If the tree is not a fit with identified draws.

    Examples
    --------
    >>> import jointmix as jm
    >>> table = jm.simulate(jm.four_clusters(2), 100, seed=1)
    >>> quick = jm.SamplerSpec(sampler="laplace", draws=100, chains=2)
    >>> tree = jm.fit(table, jm.ModelSpec(n_clusters=2, features=["x1", "x2"], sampler=quick))
    >>> axes = jm.plot_clusters(tree)
    >>> axes.get_xlabel(), axes.get_ylabel()
    ('x1', 'x2')
    """
    fitted_spec(tree)
    view = Reading(tree)
    named = _named_plane(view, plane)
    axes = canvas(ax)
    draw_clusters(axes, view, named)
    legend(axes, [view.titles[k] for k in view.occupied], view.occupied, outside=ax is None)
    return axes


def draw_clusters(axes: Axes, view: Reading, plane: str | tuple[str, str] = "features") -> None:
    """What `plot_clusters` draws, without a legend."""
    found = plane_of(view, plane)
    if found is not None:
        draw_plane(axes, view, found)
    elif len(view.features) == 1 or not view.model.clustering:
        _densities(axes, view)
    else:
        _profiles(axes, view)


def _named_plane(view: Reading, plane: object) -> str | tuple[str, str]:
    if isinstance(plane, str) and plane in _PLANES:
        if plane == "discriminant" and len(view.features) < 2:
            raise SpecError(
                "A discriminant plane needs two Gaussian features; the model has "
                f"{len(view.features) or 'none'}."
            )
        return plane
    if not isinstance(plane, str) and isinstance(plane, Sequence) and len(plane) == 2:
        first, second = plane
        along = {*view.features, *view.predictors}
        both = first in view.features and second in view.features and first != second
        if both or (first in along and second == view.response and second is not None):
            return str(first), str(second)
    raise SpecError(
        "plane must be 'features', 'discriminant' or two columns: Gaussian features, or one of the "
        f"features or predictors, and the response; got {shown(plane)}."
    )


def plane_of(view: Reading, plane: str | tuple[str, str] = "features") -> Plane | None:
    """The plane in which a fit's clusters are drawn; None where one axis or none is left."""
    if not isinstance(plane, str):
        if plane[1] == view.response:
            return _along(view, plane[0])
        return _features(view, plane)
    if plane == "discriminant":
        return _discriminant(view)
    if len(view.features) > 1:
        pair = separating_pair(view) if len(view.occupied) > 1 else (0, 1)
        return _features(view, (view.features[pair[0]], view.features[pair[1]]))
    if view.response is None or (view.model.discrete and not view.features):
        return None
    if view.features:
        return _along(view, view.features[0])
    if not view.predictors:
        return None
    return _formula(view) if view.model.encoding is not None else _along(view, _steepest(view))


def _features(view: Reading, names: tuple[str, str]) -> Plane:
    x, y = (view.columns[name] for name in names)
    labels = view.names[names[0]], view.names[names[1]]
    return _projected(view, chosen_features(view, names), labels, x, y)


def _discriminant(view: Reading) -> Plane:
    held = list(view.occupied)
    mean, covariance = view.point["mean"].values, feature_covariance(view)
    weight = view.point["weight"].values
    directions = discriminants(weight[held], mean[held], covariance[held])
    center = weight[held] @ mean[held] / weight[held].sum()
    values = np.stack([view.columns[name] for name in view.features], axis=1)
    x, y = (values - center).dot(directions.T).T
    spread = np.sqrt(np.einsum("k,kii->i", weight[held] / weight[held].sum(), covariance[held]))
    labels = [
        f"discriminant {i + 1}, most {_short(view, int(np.abs(own).argmax()))}"
        for i, own in enumerate(directions * spread)
    ]
    found = _projected(view, directions, (labels[0], labels[1]), x, y)
    shift = directions @ center
    return replace(
        found,
        centres={k: at - shift for k, at in found.centres.items()},
        outlines=tuple({k: at - shift for k, at in each.items()} for each in found.outlines),
    )


def _short(view: Reading, feature: int) -> str:
    return axis_label(view.names[view.features[feature]], 26)


def _projected(
    view: Reading, directions: np.ndarray, labels: tuple[str, str], x: np.ndarray, y: np.ndarray
) -> Plane:
    mean, covariance = projected(view, directions)
    block, parameters = view.model.blocks[0], point_parameters(view)
    radii = [block.region(inside, parameters) for inside in INSIDE]
    outlines = tuple(
        {k: ellipse(mean[k], covariance[k], radius[k]) for k in view.occupied} for radius in radii
    )
    return Plane(labels, x, y, {k: mean[k] for k in view.occupied}, outlines, {})


def point_parameters(view: Reading) -> Parameters:
    """Those at the posterior means, (cluster, ...)."""
    variables = {name: view.point[name].values for name in view.model.parameters}
    return packed(variables, view.model)


def answered(view: Reading) -> tuple[np.ndarray, str]:
    """The response as it is drawn, (obs,), and its label: of trials, the share of successes."""
    assert view.response is not None
    y, label = view.columns[view.response], view.names[view.response]
    if view.trials is None:
        return y, label
    return y / view.columns[view.trials], f"{label} / {view.names[view.trials]}"


def _along(view: Reading, name: str) -> Plane:
    """The response against a column, with lines where it is a predictor."""
    y, label = answered(view)
    lines = {}
    if name in view.predictors:
        place = view.predictors.index(name)
        lines = {k: regression_line(view, k, place) for k in view.occupied}
    return Plane((view.names[name], label), view.columns[name], y, {}, (), lines)


def _formula(view: Reading) -> Plane | None:
    """The response along the first of a formula's columns that holds numbers."""
    y, label = answered(view)
    for each in along_columns(view):
        if not each.levels:
            lines = {k: each.lines[k] for k in view.occupied}
            return Plane((each.name, label), each.values, y, {}, (), lines)
    return None


def _steepest(view: Reading) -> str:
    """The predictor along which lines differ most over its spread."""
    slope = view.point["slope"].values[list(view.occupied)]
    spread = [np.nanstd(view.columns[name]) for name in view.predictors]
    apart = np.ptp(slope, axis=0) if len(slope) > 1 else np.abs(slope[0])
    return view.predictors[int(np.argmax(apart * spread))]


def draw_plane(axes: Axes, view: Reading, plane: Plane, most: int = MOST_ROWS) -> None:
    """Rows, at most so many, ellipses and lines in a plane."""
    kept = thinned(view.n_obs, most)
    kept = kept[~np.isnan(plane.x[kept]) & ~np.isnan(plane.y[kept])]
    marks.rows(axes, plane.x[kept], plane.y[kept], view.chosen[kept], view.share[kept].max(axis=1))
    for outline, width in zip(plane.outlines, (1.0, 1.7), strict=False):
        marks.outlines(axes, outline, width)
    marks.lines(axes, plane.lines)
    for k, at in plane.centres.items():
        marks.centre(axes, at, k)
    labelled(axes, *plane.labels)
    remark(axes, noted(view, kept.size))


def noted(view: Reading, drawn: int) -> str:
    """What a picture leaves out: rows, and clusters that hold none."""
    notes = [f"{drawn:,} of {view.n_obs:,} rows"] if drawn < view.n_obs else []
    if empty := [view.called[k] for k in range(len(view.called)) if k not in view.occupied]:
        notes.append(f"no rows: {', '.join(empty)}")
    return "; ".join(notes)


def _densities(axes: Axes, view: Reading) -> None:
    """Shares of rows along the one column there is, and the densities of the clusters."""
    alone = view.features[0] if view.features else view.response
    assert alone is not None
    column, label = (view.columns[alone], view.names[alone]) if view.features else answered(view)
    known = ~np.isnan(column)
    values, share = column[known], view.rows.weighted(view.share)[known] / view.total
    whole = not view.features and view.model.blocks[-1].whole and view.trials is None
    edges = _edges(values, whole)
    width = np.diff(edges)
    below = np.zeros(len(width))
    for k in view.occupied:
        height = np.histogram(values, edges, weights=share[:, k])[0] / width
        axes.stairs(below + height, edges, baseline=below, fill=True, color=mark(k)[0], alpha=0.3)
        below = below + height
    if view.trials is None:
        grid = np.unique(np.round(np.linspace(edges[0], edges[-1], _GRID))) if whole else (
            np.linspace(edges[0], edges[-1], _GRID)
        )  # fmt: skip
        for k, line in _curves(view, grid).items():
            colour, marker = mark(k)
            every = (4 + 3 * k, max(1, grid.size // 8))
            axes.plot(grid, line, color=colour, marker=marker, markevery=every, linewidth=1.7,
                      markersize=5, linestyle=DASHES[k % len(DASHES)])  # fmt: skip
    axes.set_ylim(bottom=0)
    labelled(axes, label, "share of rows" if whole else "density")
    remark(axes, noted(view, view.n_obs))


def _edges(values: np.ndarray, whole: bool) -> np.ndarray:
    if whole:
        low, high = values.min(), values.max()
        step = max(1.0, np.ceil((high - low + 1) / _BARS))
        return np.arange(low - 0.5, high + 0.5 + step, step)
    return np.histogram_bin_edges(values, min(_BARS, max(10, int(np.sqrt(values.size)))))


def _curves(view: Reading, grid: np.ndarray) -> dict[int, np.ndarray]:
    """Weight times density of each cluster at the posterior means, along the one column."""
    block = view.model.blocks[0] if view.features else view.model.blocks[-1]
    parameters, n = point_parameters(view), grid.size
    x = grid[:, None] if view.features else np.zeros((n, 0))
    found = {}
    for k in view.occupied:
        offset = np.full(n, held_offset(view, k)) if view.model.linked else None
        rows = Rows(x, np.zeros((n, len(view.predictors))), grid, offset=offset)
        density = np.exp(block.log_density(parameters, rows))[:, k]
        found[k] = view.point["weight"].values[k] * density
    return found


def _profiles(axes: Axes, view: Reading) -> None:
    """The profile of features that are not Gaussian, levels below counts."""
    found = profiles(view)
    canvas = split(axes, [len(each.labels) for each in found])
    for own, each in zip(canvas, found, strict=True):
        draw_profile(own, view, each)
