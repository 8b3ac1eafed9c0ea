"""Results as tables of one row a row, and back in the table that they are about."""

from collections.abc import Mapping
from typing import Any

import narwhals as nw
import numpy as np
import pandas as pd
import xarray as xr

from jointmix.base.errors import DataError, SpecError
from jointmix.base.schema import CLUSTER, OBS
from jointmix.model.designed import may_be_levels, sources
from jointmix.posterior.allocations import responsibilities
from jointmix.posterior.draws import fitted_spec, one_row
from jointmix.posterior.prediction import predict
from jointmix.tables.columns import read_columns
from jointmix.tables.issues import listed, quoted


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
        columns |= _columns(str(name), variable)
    if not columns:
        raise SpecError(f"Nothing in the result goes along {OBS}, so that it has no rows.")
    return pd.DataFrame(columns, index=result.indexes.get(OBS))


def _columns(name: str, variable: xr.DataArray) -> dict[str, np.ndarray]:
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
            _quantile(level): variable.sel(quantile=level).values
            for level in variable["quantile"].values.tolist()
        }
    return {}


def _quantile(level: float) -> str:
    return f"q{100 * level:02.4g}"


def assign(table: object, tree: xr.DataTree, prefix: str = "") -> pd.DataFrame:
    """A table with what a fit says of each of its rows as further columns.

    Parameters
    ----------
    table
        The fit's own table, or another with the model's columns, as `fit` takes it; the response
        may be absent. It is copied.
    tree
        A fitted tree.
    prefix
        In front of the names of the new columns.

    Returns
    -------
    pandas.DataFrame
        The table's columns and index, and then ``cluster``, the most probable one (pandas' Int64);
        ``p(k)``, its posterior probability p(k | x, y), or p(k | x) without a response; and where
        the model has a response, ``predicted`` and ``predicted_sd`` of y given x. All are missing
        in rows with a missing or infinite entry in one of the model's columns.

    Raises
    ------
    DataError, ColumnTypeError
        If a column is absent, holds no numbers, or the table has a column of a new one's name.

    Examples
    --------
    >>> found = jm.assign(load_penguins(), jm.load("penguins.nc"))
    >>> int(found.loc[0, "cluster"])
    1
    """
    spec = fitted_spec(tree)
    frame = _as_pandas(one_row(table))
    response = spec.response if spec.response in frame.columns else None
    given = [name for name in sources(spec) if name != spec.response or response]
    read = read_columns(frame, given, coded=may_be_levels(spec))
    values = np.column_stack(list(read.values()))
    whole = np.isfinite(values).all(axis=1)
    new: dict[str, Any] = {"cluster": pd.array([pd.NA] * len(frame), dtype="Int64")}
    if whole.any():
        new = _of_rows(tree, frame.loc[whole, given], whole)
    named = {f"{prefix}{name}": column for name, column in new.items()}
    taken = [name for name in named if name in frame.columns]
    if taken:
        raise DataError(f"The table has a column {listed(taken)} already; give a prefix.")
    return frame.assign(**named)


def _of_rows(
    tree: xr.DataTree, rows: pd.DataFrame, whole: np.ndarray
) -> dict[str, pd.api.extensions.ExtensionArray | np.ndarray]:
    """The new columns, (N,), of rows that stand where ``whole`` is true."""
    spec = fitted_spec(tree)
    found = responsibilities(tree, rows, ())
    known = "responsibility" if "responsibility" in found else "responsibility_features"
    cluster = pd.array(_in_place(found["allocation"].values, whole), dtype="Int64")
    new: dict[str, Any] = {"cluster": cluster}
    shares = _columns("responsibility", found[known])
    new |= {name: _in_place(values, whole) for name, values in shares.items()}
    if spec.response is not None:
        expected = predict(tree, rows.drop(columns=spec.response, errors="ignore"), ())
        new["predicted"] = _in_place(expected["mean"].values, whole)
        new["predicted_sd"] = _in_place(expected["sd"].values, whole)
    return new


def _in_place(values: np.ndarray, whole: np.ndarray) -> np.ndarray:
    column = np.full(len(whole), np.nan)
    column[whole] = values
    return column


def _as_pandas(table: Any) -> pd.DataFrame:
    """A copy of any table as a pandas one; columns by position only where they have no labels."""
    if isinstance(table, xr.Dataset):
        return table.to_dataframe()
    if isinstance(table, Mapping):
        try:
            return pd.DataFrame(dict(table))
        except ValueError as error:
            raise DataError(f"The columns make no table ({error}).") from error
    if isinstance(table, np.ndarray) and table.dtype.names is not None:
        return pd.DataFrame({name: table[name] for name in table.dtype.names})
    try:
        return nw.from_native(table, eager_only=True).to_pandas().copy()
    except TypeError:
        raise DataError(f"A table is needed; got {quoted(type(table).__name__)}.") from None
