"""The optima that EM found, what share of the posterior they hold, and where the draws are."""

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.patches import Patch

from jointmix.base.schema import require_group
from jointmix.plots.style import AMBER, BLUE, INK, MUTED, PAPER, canvas, keys, labelled, remark
from jointmix.posterior.draws import fitted_spec

_MOST = 12


def plot_modes(tree: xr.DataTree, ax: object = None) -> Axes:
    """Draw the census of modes: the posterior's mass around each, and the share of draws there.

    Masses are Laplace's approximation at the posterior mode that each of EM's optima leads to. A
    mode with much mass and no draws is one that the chains have missed. Beside each mode stand its
    log likelihood less the highest, and how many starts of EM led to it; ▸ marks where chains
    started. Spikes of the likelihood, which hold no mass, are left out unless draws are there; of
    more than twelve modes those with the most mass are drawn.

    Parameters
    ----------
    tree
        A fitted tree.
    ax
        Axes to draw on; None draws on those of a new figure.

    Returns
    -------
    matplotlib.axes.Axes
        The axes, a row a mode, the first on top.

    Raises
    ------
    SchemaError
        If the fit holds no census of modes.

    Examples
    --------
    >>> import jointmix as jm
    >>> table = jm.simulate(jm.four_clusters(2), 100, seed=1)
    >>> quick = jm.SamplerSpec(sampler="laplace", draws=100, chains=2)
    >>> tree = jm.fit(table, jm.ModelSpec(n_clusters=2, features=["x1", "x2"], sampler=quick))
    >>> jm.plot_modes(tree).get_xlabel()
    'share'
    """
    fitted_spec(tree)
    modes = require_group(tree, "modes")
    kept = _kept(modes)
    shown = modes.isel(mode=kept[:_MOST])
    at = np.arange(shown.sizes["mode"])
    axes = canvas(ax, (6.4, 1.5 + 0.38 * len(at)))
    handles = []
    if "mass" in shown:
        axes.barh(at - 0.18, np.nan_to_num(shown["mass"].values), 0.34, color=BLUE)
        handles.append(Patch(color=BLUE, label="posterior mass"))
        for place in np.flatnonzero(np.isnan(shown["mass"].values)):
            axes.text(
                0.01, place - 0.18, "not computed", va="center", color=MUTED, fontsize="small"
            )
    if "visits" in shown:
        axes.barh(at + 0.18, shown["visits"].values, 0.34, color=AMBER, hatch="////",
                  edgecolor=PAPER, linewidth=0.4)  # fmt: skip
        handles.append(Patch(facecolor=AMBER, hatch="////", edgecolor=PAPER, label="draws"))
    below = shown["log_likelihood"].values - float(modes["log_likelihood"].max())
    home = int(modes.attrs.get("start_mode", 1))
    labels = []
    for row, (number, less, starts) in enumerate(
        zip(shown["mode"].values, below, shown["n_starts"].values, strict=True)
    ):
        spike = ", a spike" if "collapsed" in shown and bool(shown["collapsed"][row]) else ""
        pointer = "▸ " if number == home else ""
        depth = f"{less:.1f}".replace("-", "−") if less < 0 else "0"
        times = "start" if starts == 1 else "starts"
        labels.append(f"{pointer}mode {number}{spike}\n{depth} nats, {int(starts):,} {times}")
    axes.set_yticks(at, labels, fontsize="small", color=INK)
    axes.set_ylim(len(at) - 0.45, -0.55)
    axes.set_xlim(0, 1)
    axes.grid(axis="y", visible=False)
    labelled(axes, "share")
    notes = [f"{_MOST} of {kept.size} modes"] if kept.size > _MOST else []
    if spikes := modes.sizes["mode"] - kept.size:
        notes.append(f"{spikes} {'spike' if spikes == 1 else 'spikes'} left out")
    remark(axes, "; ".join(notes))
    if handles:
        keys(axes, handles, outside=ax is None)
    return axes


def _kept(modes: xr.Dataset) -> np.ndarray:
    """Places of the modes that are no spikes, or are all there is or where draws are."""
    if "collapsed" not in modes:
        return np.arange(modes.sizes["mode"])
    sound = ~modes["collapsed"].values.astype(bool)
    if "visits" in modes:
        sound |= modes["visits"].values > 0
    return np.flatnonzero(sound) if sound.any() else np.arange(modes.sizes["mode"])
