"""What clusters look like feature by feature: means in standard units, probabilities of levels."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import xarray as xr
from matplotlib.axes import Axes

from jointmix.base.arguments import shown
from jointmix.base.errors import SpecError
from jointmix.base.schema import CHAIN, CLUSTER, DRAW
from jointmix.plots.geometry import Line
from jointmix.plots.marks import across
from jointmix.plots.reading import INTERVAL, Reading
from jointmix.plots.style import MUTED, RULE, axis_label, canvases, labelled, legend, remark
from jointmix.posterior.draws import fitted_spec

#: Entries (features, levels) of one picture; of more those along which clusters differ most.
_MOST = 30
#: Clusters beyond which lines between entries are a tangle.
_MOST_JOINED = 5
_LABEL = 40


@dataclass(frozen=True)
class Profile:
    """Entries along which clusters are drawn: features in standard units, or levels.

    Attributes
    ----------
    labels
        What the entries are called.
    lines
        Of each cluster that holds rows, by position: mean and interval of each entry.
    axis
        What is drawn.
    left_out
        How many entries differ less and are not drawn.
    connected
        Whether entries are of different features in one unit, so that a line may join them.
    """

    labels: tuple[str, ...]
    lines: dict[int, Line]
    axis: str
    left_out: int
    connected: bool


def plot_profiles(
    tree: xr.DataTree, ax: object = None, *, features: Sequence[str] | None = None
) -> np.ndarray:
    """Draw what each cluster's features are like.

    One picture of features that are numbers: the posterior mean of each cluster's mean (of counts,
    rate) with its 89% interval, less the mean of all rows, in units of their standard deviation.
    One picture of features of levels: the probability of each level with its 89% interval. Of more
    than 30 entries the 30 that differ most between clusters are drawn, and the picture says so.

    Parameters
    ----------
    tree
        A fitted tree.
    ax
        Axes to draw on, one a picture; None draws on those of a new figure.
    features
        Which features; None takes all.

    Returns
    -------
    numpy.ndarray
        The axes, (picture,): numbers first, then levels.

    Raises
    ------
    SpecError
        If the model has no features, one is unknown, or there are not as many axes as pictures.
    SchemaError
        If the tree is not a fit with identified draws.

    Examples
    --------
    >>> import jointmix as jm
    >>> table = jm.simulate(jm.four_clusters(2), 100, seed=1)
    >>> quick = jm.SamplerSpec(sampler="laplace", draws=100, chains=2)
    >>> tree = jm.fit(table, jm.ModelSpec(n_clusters=2, features=["x1", "x2"], sampler=quick))
    >>> (axes,) = jm.plot_profiles(tree)
    >>> [tick.get_text() for tick in axes.get_yticklabels()]
    ['x1', 'x2']
    """
    fitted_spec(tree)
    view = Reading(tree)
    found = profiles(view, features)
    rows = max(len(each.labels) for each in found)
    height = 1.1 + rows * max(0.3, 0.1 * (len(view.occupied) + 1))
    width = 4.2 + 0.075 * max(len(label) for each in found for label in each.labels)
    canvas = canvases(ax, len(found), (width, height))
    for axes, each in zip(canvas, found, strict=True):
        draw_profile(axes, view, each)
    drawn = list(found[-1].lines)
    legend(canvas[-1], [view.titles[k] for k in drawn], drawn, outside=ax is None)
    return canvas


def profiles(view: Reading, features: Sequence[str] | None = None) -> list[Profile]:
    """The profiles of a fit: of numbers, of levels, as far as there are such.

    Raises
    ------
    SpecError
        If the model has no features, or one is unknown.
    """
    every = view.model.clustering
    if not every:
        raise SpecError("The model has no features, of which a profile would be.")
    if features is not None and (isinstance(features, str) or not isinstance(features, Sequence)):
        raise SpecError(f"features must be a list of features or None; got {shown(features)}.")
    wanted = every if features is None else tuple(features)
    if unknown := [name for name in wanted if name not in every]:
        known = ", ".join(map(shown, every))
        raise SpecError(f"{shown(unknown[0])} is none of the features, which are {known}.")
    found = [_numbers(view, wanted), _levels(view, wanted)]
    return [each for each in found if each is not None]


def _numbers(view: Reading, wanted: Sequence[str]) -> Profile | None:
    draws, labels = [], []
    rates = {own.column: f"rate_{own.stem}" for own in view.model.discrete if not own.levels}
    for name in wanted:
        if name in view.features:
            values = view.posterior["mean"].sel(feature=name, drop=True)
        elif name in rates:
            values = view.posterior[rates[name]]
        else:
            continue
        center, scale = standard(view, name)
        draws.append((_samples(values) - center) / scale)
        labels.append(view.names[name])
    if not draws:
        return None
    return _profile(view, np.stack(draws, axis=2), labels, "mean, in standard units", True)


def _levels(view: Reading, wanted: Sequence[str]) -> Profile | None:
    draws, labels = [], []
    for own in view.model.discrete:
        if own.column not in wanted or not own.levels:
            continue
        values = view.posterior[f"probability_{own.stem}"]
        for place, level in enumerate(own.levels):
            draws.append(_samples(values.isel({own.dim: place}, drop=True)))
            labels.append(f"{axis_label(own.column, 24)} = {axis_label(level, 24)}")
    if not draws:
        return None
    return _profile(view, np.stack(draws, axis=2), labels, "probability of the level", False)


def _samples(values: xr.DataArray) -> np.ndarray:
    """Draws as (sample, cluster)."""
    return values.stack(sample=(CHAIN, DRAW)).transpose("sample", CLUSTER).values


def standard(view: Reading, name: str) -> tuple[float, float]:
    """Mean and standard deviation of a column over the rows that have it."""
    column = view.columns[name]
    center = view.average(column)
    spread = float(np.sqrt(view.average((column - center) ** 2)))
    return center, spread if spread > 0 else 1.0


def _profile(
    view: Reading, draws: np.ndarray, labels: Sequence[str], axis: str, connected: bool
) -> Profile:
    """A profile of draws (sample, cluster, entry)."""
    mean = draws.mean(axis=0)
    lower, upper = np.quantile(draws, [(1 - INTERVAL) / 2, (1 + INTERVAL) / 2], axis=0)
    kept = np.arange(len(labels))
    if len(labels) > _MOST:
        held = mean[list(view.occupied)]
        kept = np.sort(np.argsort(-np.ptp(held, axis=0), kind="stable")[:_MOST])
    at = np.arange(kept.size, dtype=float)
    lines = {
        k: Line(at=at, mean=mean[k, kept], lower=lower[k, kept], upper=upper[k, kept])
        for k in view.occupied
    }
    names = tuple(labels[j] for j in kept.tolist())
    return Profile(names, lines, axis, len(labels) - kept.size, connected)


def draw_profile(axes: Axes, view: Reading, profile: Profile) -> None:
    """One profile on axes, its first entry on top."""
    few = len(profile.lines) <= _MOST_JOINED
    across(axes, profile.lines, connected=profile.connected and few)
    n = len(profile.labels)
    for between in range(1, n):
        axes.axhline(between - 0.5, color=RULE, linewidth=0.6)
    axes.set_yticks(range(n), [axis_label(each, _LABEL) for each in profile.labels])
    for text in axes.get_yticklabels():
        text.set_parse_math(False)
    axes.set_ylim(n - 0.45, -0.55)
    axes.grid(axis="y", visible=False)
    if profile.connected:
        axes.axvline(0, color=MUTED, linewidth=0.8)
    else:
        axes.set_xlim(-0.02, 1.02)
    labelled(axes, x=profile.axis)
    notes = []
    if profile.left_out:
        notes.append(f"the {n} of {n + profile.left_out} that differ most")
    if empty := [view.called[k] for k in range(len(view.called)) if k not in view.occupied]:
        notes.append(f"no rows: {', '.join(empty)}")
    remark(axes, "; ".join(notes))
