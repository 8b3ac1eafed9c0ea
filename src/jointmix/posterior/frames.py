"""Results as tables of one row a row, and back in the table that they are about."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, overload

import narwhals as nw
import numpy as np
import pandas as pd
import xarray as xr

from jointmix.base.errors import DataError
from jointmix.base.pools import Pool
from jointmix.base.progress import ProgressOption
from jointmix.model.designed import may_be_levels, sources
from jointmix.posterior.allocations import responsibilities
from jointmix.posterior.draws import fitted_spec, one_row
from jointmix.posterior.in_parts import Writing, require_out, write_parts
from jointmix.posterior.prediction import predict
from jointmix.posterior.wide import columns_of
from jointmix.tables.columns import read_columns
from jointmix.tables.issues import listed, quoted
from jointmix.tables.part_sources import in_parts, open_parts
from jointmix.tables.parts import whole_frame

if TYPE_CHECKING:
    import pyarrow as pa


@overload
def assign(
    table: object,
    tree: xr.DataTree,
    prefix: str = "",
    out: None = None,
    progress: ProgressOption = None,
    pool: None = None,
) -> pd.DataFrame: ...


@overload
def assign(
    table: object,
    tree: xr.DataTree,
    prefix: str = "",
    *,
    out: str | Path,
    progress: ProgressOption = None,
    pool: Pool = None,
) -> Path: ...


def assign(
    table: object,
    tree: xr.DataTree,
    prefix: str = "",
    out: str | Path | None = None,
    progress: ProgressOption = None,
    pool: Pool = None,
) -> pd.DataFrame | Path:
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
    out, progress, pool
        A folder of Parquet files, part by part of a table in parts, as `predict` takes it; they
        hold all columns of the table. Without ``out`` such a table is read whole.

    Returns
    -------
    pandas.DataFrame or Path
        ``out``, where it is given; else the table's columns and index, and then ``cluster``, the
        most probable one (pandas' Int64);
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
    require_out(out, pool)
    if out is not None:
        writing = Writing(
            what="assign",
            arguments={"prefix": prefix},
            work=_as_written,
            whole=True,
            optional=() if spec.response is None else (spec.response,),
        )
        return write_parts(tree, table, out, writing, progress, pool)
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


def _as_written(
    tree: xr.DataTree, rows: pd.DataFrame, columns: "pa.Table", prefix: str
) -> "pa.Table":
    return _beside(columns, assign(rows, tree, prefix), rows)


def _beside(columns: "pa.Table", assigned: pd.DataFrame, rows: pd.DataFrame) -> "pa.Table":
    """Columns as they were read, and the new ones behind."""
    import pyarrow as pa

    for name in assigned.columns[len(rows.columns) :]:
        columns = columns.append_column(name, pa.array(assigned[name], from_pandas=True))
    return columns


def _of_rows(
    tree: xr.DataTree, rows: pd.DataFrame, whole: np.ndarray
) -> dict[str, pd.api.extensions.ExtensionArray | np.ndarray]:
    """The new columns, (N,), of rows that stand where ``whole`` is true."""
    spec = fitted_spec(tree)
    found = responsibilities(tree, rows, ())
    known = "responsibility" if "responsibility" in found else "responsibility_features"
    cluster = pd.array(_in_place(found["allocation"].values, whole), dtype="Int64")
    new: dict[str, Any] = {"cluster": cluster}
    shares = columns_of("responsibility", found[known])
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
    if in_parts(table):
        return whole_frame(open_parts(table))
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
