"""Pictures that show two fits: the first dashed and hollow, the second whole and filled."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes

from jointmix.plots import marks
from jointmix.plots.clusters import Plane, plane_of
from jointmix.plots.geometry import separating_pair
from jointmix.plots.reading import MOST_ROWS, thinned
from jointmix.plots.style import MUTED, PAPER, axis_label, mark
from jointmix.reporting.figures import drawn
from jointmix.reporting.fitted import FittedView

_SIZE = (4.6, 3.7)
#: Rows of the second fit that are drawn behind the clusters.
_MOST_BEHIND = min(1_000, MOST_ROWS)
_DASHED = (0, (4, 2))


@dataclass(frozen=True)
class Pair:
    """Two readings, and whose mark each cluster has.

    Attributes
    ----------
    views
        Of the first fit and of the second.
    places
        For each: by the cluster's position there, the place of its mark. Counterparts have one.
    """

    views: tuple[FittedView, FittedView]
    places: tuple[dict[int, int], dict[int, int]]

    @classmethod
    def of(cls, views: tuple[FittedView, FittedView], matching: Mapping[int, int]) -> "Pair":
        """Marks of the first fit's clusters, and new ones for those only the second has."""
        one, other = (view.clusters for view in views)
        first = {k: k for k in range(len(one))}
        back = {own: one.index(number) for number, own in matching.items()}
        second, free = {}, len(one)
        for k, number in enumerate(other):
            if number in back:
                second[k] = back[number]
            else:
                second[k], free = free, free + 1
        return cls(views, (first, second))


@dataclass(frozen=True)
class Planes:
    """Both fits in the axes of one plane."""

    first: Plane
    second: Plane


def planes_of(pair: Pair) -> Planes | None:
    """Two Gaussian features, or a predictor and the response, that both fits have; else None."""
    columns = _columns(*pair.views)
    if columns is None:
        return None
    one, other = (plane_of(view, columns) for view in pair.views)
    return None if one is None or other is None else Planes(one, other)


def _columns(one: FittedView, other: FittedView) -> tuple[str, str] | None:
    shared = [name for name in other.features if name in one.features]
    if len(shared) > 1:
        if set(one.features) == set(other.features) and len(other.occupied) > 1:
            i, j = separating_pair(other)
            return other.features[i], other.features[j]
        return shared[0], shared[1]
    if one.response is None or one.response != other.response:
        return None
    plain = one.model.encoding is None and other.model.encoding is None
    along = [name for name in other.predictors if name in one.predictors and plain]
    column = next(iter([*along, *shared]), None)
    return None if column is None else (column, one.response)


def clusters_of_both(pair: Pair, planes: Planes) -> bytes:
    """Ellipses or lines of both fits, counterparts in one colour, over the second fit's rows."""

    def plot(axes: Axes) -> None:
        _, view = pair.views
        second = planes.second
        kept = thinned(view.n_obs, _MOST_BEHIND)
        kept = kept[~np.isnan(second.x[kept]) & ~np.isnan(second.y[kept])]
        cluster = np.array([pair.places[1][k] for k in view.chosen[kept]], dtype=int)
        marks.rows(axes, second.x[kept], second.y[kept], cluster, np.full(kept.size, 0.35))
        for plane, places, style in (
            (planes.first, pair.places[0], _DASHED),
            (planes.second, pair.places[1], "-"),
        ):
            for k, line in plane.lines.items():
                axes.plot(line.at, line.mean, color=mark(places[k])[0], lw=1.9, linestyle=style)
            if plane.outlines:
                for k, points in plane.outlines[-1].items():
                    marks.ring(axes, points, mark(places[k])[0], 1.6, style)
        _arrows(axes, pair, planes)
        labels = planes.second.labels
        axes.set(xlabel=axis_label(labels[0]), ylabel=axis_label(labels[1]))

    return drawn(plot, _SIZE)


def _arrows(axes: Axes, pair: Pair, planes: Planes) -> None:
    """Centres: hollow, filled, and from the one to the other where they are counterparts."""
    back = {place: k for k, place in pair.places[1].items()}
    for k, at in planes.first.centres.items():
        to = planes.second.centres.get(back.get(pair.places[0][k], -1))
        if to is not None:
            axes.plot([at[0], to[0]], [at[1], to[1]], color=MUTED, lw=1.0)
        _centre(axes, at, pair.places[0][k], hollow=True)
    for k, at in planes.second.centres.items():
        _centre(axes, at, pair.places[1][k], hollow=False)


def _centre(axes: Axes, at: np.ndarray, place: int, *, hollow: bool) -> None:
    colour, marker = mark(place)
    size = 11 if marker == "*" else 8
    face, edge = (PAPER, colour) if hollow else (colour, PAPER)
    axes.plot(*at, marker, markersize=size, markerfacecolor=face, markeredgecolor=edge, mew=1.3)
