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
    weighed = [_weighed(mode, landscape, dataset) for mode in (census.start, *census.rivals)]
    chosen = {id(mode) for mode in (census.start, *census.rivals)}
    rest = [
        mode if mode.collapsed else replace(mode, log_mass=float("nan"), peak=None)
        for mode in census.modes
        if id(mode) not in chosen
    ]
    weighed.sort(key=lambda mode: (mode.collapsed, -mode.log_mass))
    rest.sort(key=lambda mode: mode.collapsed)
    modes = sorted([*weighed, *rest], key=lambda mode: mode.collapsed)
    return Census(tuple(modes), census.n_starts)


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
