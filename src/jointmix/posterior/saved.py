"""Fits read from disk, with what is computed rather than stored."""

from pathlib import Path

import xarray as xr

from jointmix.posterior.pointwise import with_log_likelihood
from jointmix.storage import trees

#: Groups that log densities of the fit's rows are computed from.
_NEEDED = {"posterior", "observed_data", "constant_data"}


def load(path: str | Path) -> xr.DataTree:
    """Read a tree that `save` wrote, fully into memory.

    Parameters
    ----------
    path
        Ends in .nc, .zarr.zip or .zarr.

    Returns
    -------
    xarray.DataTree
        The fit as it was, its group ``log_likelihood`` again computed where it is read (see
        `with_log_likelihood`).

    Raises
    ------
    StorageError
        If the fit cannot be read, was not written by `save`, is damaged, would not fit into
        memory, or has a schema that this version does not know.

    Examples
    --------
    >>> jm.load("penguins.nc").attrs["verdict"]
    'OK'
    """
    tree = trees.load(path)
    whole = tree.children.keys() >= _NEEDED and "spec" in tree.attrs
    return with_log_likelihood(tree) if whole else tree
