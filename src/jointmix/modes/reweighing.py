"""The optima of a sample of rows, weighed by the posterior of all of them."""

from dataclasses import replace

import numpy as np

from jointmix.model.dataset import Dataset
from jointmix.modes.census import Census, Mode
from jointmix.modes.mass import Landscape


def reweighed(census: Census, dataset: Dataset) -> Census:
    """The optimum that chains start from and its rivals, at the posterior modes of all rows.

    Masses are theirs; of what was negligible in the sample none is computed, and likelihoods and
    criteria stay those of the sample.

    Parameters
    ----------
    census
        Of the sample by itself.
    dataset
        The sample, with all rows elsewhere.
    """
    landscape = Landscape(dataset)
    chosen = {id(mode) for mode in (census.start, *census.rivals)}
    modes = []
    for mode in census.modes:
        if id(mode) in chosen:
            modes.append(_weighed(mode, landscape, dataset))
        else:
            unknown = replace(mode, log_mass=float("nan"), peak=None)
            modes.append(mode if mode.collapsed else unknown)

    def rank(place: int) -> tuple[bool, bool, float]:
        # Those that were not weighed come after those that were.
        known = id(census.modes[place]) in chosen
        return modes[place].collapsed, not known, -modes[place].log_mass if known else 0.0

    order = sorted(range(len(modes)), key=rank)
    home = order.index(census.home)
    return Census(
        tuple(modes[place] for place in order),
        census.n_starts,
        tuple(order.index(place) for place in census.reached),
        home if census.reached and not modes[census.home].collapsed else 0,
    )


def _weighed(mode: Mode, landscape: Landscape, dataset: Dataset) -> Mode:
    """A mode with its peak given all rows, and parameters there on the users' scale."""
    peak = landscape.peak_near(mode.parameters)
    if peak is None:
        return replace(mode, log_mass=-np.inf, collapsed=True, peak=None)
    spec = dataset.spec
    if spec.exchangeable:
        peak = peak.permuted(np.argsort(-peak.parameters.weight, kind="stable"), spec)
    users = dataset.scaling.to_users(peak.parameters)
    if not spec.intercept:
        users = users.replace(intercept=np.zeros(spec.n_clusters))
    return replace(mode, parameters=users, log_mass=peak.normal.log_mass, peak=peak)
