"""Results of rows as tables, a line each."""

import numpy as np
import pandas as pd
import xarray as xr

from jointmix.base.errors import SpecError
from jointmix.base.schema import CLUSTER, OBS


def to_frame(result: xr.Dataset | xr.DataArray) -> pd.DataFrame:
    """What `predict`, `responsibilities`, `partition` or `loo` say of rows, a line each.

    Parameters
    ----------
    result
        With the dim obs; what varies over chains and draws has no place in the table.

    Returns
    -------
    pandas.DataFrame
        Indexed by the table's own row labels, to be joined to it: a column each variable of rows
        alone; ``p(k)`` a cluster k for `responsibility` (``name(k)`` for others); ``q05`` and the
        like a quantile.

    Raises
    ------
    SpecError
        If nothing in ``result`` goes along obs.

    Examples
    --------
    >>> import jointmix as jm
    >>> import pandas as pd
    >>> import xarray as xr
    >>> found = xr.Dataset({"mean": ("obs", [1.0, 2.0])}, coords={"obs": ["ann", "bob"]})
    >>> jm.to_frame(found)
         mean
    obs
    ann   1.0
    bob   2.0
    """
    if isinstance(result, xr.DataArray):
        result = result.to_dataset(name="value" if result.name is None else str(result.name))
    columns: dict[str, np.ndarray] = {}
    for name, variable in result.data_vars.items():
        columns |= columns_of(str(name), variable)
    if not columns:
        raise SpecError(f"Nothing in the result goes along {OBS}, so that it has no rows.")
    return pd.DataFrame(columns, index=result.indexes.get(OBS))


def columns_of(name: str, variable: xr.DataArray) -> dict[str, np.ndarray]:
    """A variable of rows as columns by name; none where it has no place in a table."""
    if variable.dims == (OBS,):
        return {name: variable.values}
    plain = "p" if name == "responsibility" else name
    if variable.dims == (OBS, CLUSTER):
        return {
            f"{plain}({cluster})": variable.sel({CLUSTER: cluster}).values
            for cluster in variable[CLUSTER].values.tolist()
        }
    if variable.dims == (OBS, "quantile"):
        return {
            quantile_name(level): variable.sel(quantile=level).values
            for level in variable["quantile"].values.tolist()
        }
    return {}


def quantile_name(level: float) -> str:
    """How a column of a quantile is called: q05, q50."""
    return f"q{100 * level:02.4g}"
