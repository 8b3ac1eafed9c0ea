"""Densities of rows, and of the response at given points, from a fitted tree alone."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, get_args, overload

import numpy as np
import pandas as pd
import xarray as xr

from jointmix.base.arguments import choice, number_list, whole_number
from jointmix.base.errors import DataError, SpecError
from jointmix.base.pools import Pool
from jointmix.base.progress import ProgressOption
from jointmix.base.schema import CHAIN, DRAW, OBS
from jointmix.kernel.predictive import density_at
from jointmix.posterior.allocations import Batch, Weighting, each_batch
from jointmix.posterior.draws import fitted_spec, posterior_parameters, table_rows, with_holes
from jointmix.posterior.in_parts import Writing, require_out, write_parts
from jointmix.posterior.pointwise import log_densities
from jointmix.posterior.prediction import predictions
from jointmix.tables.labels import as_labels

if TYPE_CHECKING:
    import pyarrow as pa

#: Draws × rows that are written at a time.
_NUMBERS_AT_A_TIME = 5_000_000
_MOST_NUMBERS = 500_000_000
#: Points at which a density is evaluated, at most.
_MOST_POINTS = 1_000_000
#: Quantiles between which a grid of points lies, but for a margin.
_REACH = (0.0005, 0.9995)


@overload
def log_density(
    tree: xr.DataTree,
    table: object = None,
    out: None = None,
    progress: ProgressOption = None,
    pool: None = None,
) -> xr.Dataset: ...


@overload
def log_density(
    tree: xr.DataTree,
    table: object,
    out: str | Path,
    progress: ProgressOption = None,
    pool: Pool = None,
) -> Path: ...


def log_density(
    tree: xr.DataTree,
    table: object = None,
    out: str | Path | None = None,
    progress: ProgressOption = None,
    pool: Pool = None,
) -> xr.Dataset | Path:
    """Log densities of each row in each draw.

    Parameters
    ----------
    tree
        A fitted tree.
    table
        New rows with all columns of the model; None takes the rows of the fit. Entries may be
        missing where the model takes such rows (``missing="model"``).
    out, progress, pool
        A folder of Parquet files, part by part of a table in parts, as `predict` takes it. Columns
        `joint`, `feature` and `conditional` then hold a list a row: the draws of the first chain,
        of the second, and so on (24 bytes a row and draw).

    Returns
    -------
    xarray.Dataset or Path
        ``out``, where it is given; else `joint`, log p(x, y); `feature`, log p(x); `conditional`,
        log p(y | x): dims chain, draw, obs; natural log, on the users' scale. Without a response
        `joint` equals `feature`; without features `joint` equals `conditional`. The log of the mean
        of p(x, y) over draws less that of p(x) is log p(y | x) as `loo` and the "joint" weighting
        of `predict` have it.

    Raises
    ------
    DataError
        If a column is missing, or the result would not fit in 12 GB.

    Examples
    --------
    >>> dict(jm.log_density(jm.load("penguins.nc"))["joint"].sizes)
    {'chain': 4, 'draw': 500, 'obs': 342}
    """
    spec, parameters = fitted_spec(tree), posterior_parameters(tree)
    require_out(out, pool)
    if out is not None:
        writing = Writing(
            what="log_density",
            arguments={},
            work=_as_written,
            optional=() if spec.response is None else (spec.response,),
            most=max(1, _NUMBERS_AT_A_TIME // len(parameters.weight)),
        )
        return write_parts(tree, table, out, writing, progress, pool)
    rows, has_response = table_rows(tree, spec, table, spec.response, with_holes(spec))
    if spec.response is not None and not has_response:
        raise DataError(f"The log density needs the response; the table lacks {spec.response!r}.")
    n_draws, n_rows = len(parameters.weight), len(rows.x)
    if n_draws * n_rows > _MOST_NUMBERS:
        raise DataError(
            f"Log densities of {n_rows} rows in {n_draws} draws would need "
            f"{n_draws * n_rows * 24 / 1e9:.0f} GB; pass fewer rows at a time."
        )
    posterior = tree["posterior"].to_dataset()
    shape = (posterior.sizes[CHAIN], posterior.sizes[DRAW], n_rows)
    arrays = log_densities(rows, parameters, spec)
    coords = {name: posterior[name].values for name in (CHAIN, DRAW)}
    return xr.Dataset(
        {name: ((CHAIN, DRAW, OBS), each.reshape(shape)) for name, each in arrays.items()},
        coords={**coords, OBS: rows.label},
    )


def _as_written(tree: xr.DataTree, rows: pd.DataFrame, _: object) -> "pa.Table":
    return _as_lists(log_density(tree, rows))


def _as_lists(found: xr.Dataset) -> "pa.Table":
    """Densities (chain, draw, obs) as a list of draws a row."""
    import pyarrow as pa

    columns = {"row": pa.array(as_labels(found.indexes[OBS]))}
    for name, variable in found.data_vars.items():
        values = variable.transpose(OBS, CHAIN, DRAW).values
        n_draws = values.shape[1] * values.shape[2]
        flat = pa.array(np.ascontiguousarray(values).reshape(-1))
        columns[str(name)] = pa.FixedSizeListArray.from_arrays(flat, n_draws)
    return pa.table(columns)


def predictive_density(
    tree: xr.DataTree,
    table: object = None,
    points: Sequence[float] | int = 200,
    weighting: Weighting = "equal",
) -> xr.DataArray:
    """The density p(y | x) of the response on a grid.

    Parameters
    ----------
    tree
        A fitted tree.
    table
        As for `predict`: new rows, in which features may be missing; None takes the fit's.
    points
        Values of the response; or how many, at least 2, evenly spaced over what the rows'
        predictive distributions reach: from 0.05% to 99.95%, and a tenth of that on either side.
        Of a response of whole numbers, those among them, and the density is their probability.
    weighting
        Of the draws, as for `predict`.

    Returns
    -------
    xarray.DataArray
        (obs, point), per unit of the response, averaged over all draws; the coordinate ``point``
        holds the values of the response.

    Raises
    ------
    DataError
        If a column is absent, a predictor that is no feature holds missing entries, or rows times
        points would not fit in 4 GB.
    SpecError
        If the model has no response, the points are too few or not finite, or the weighting is
        unknown.

    Examples
    --------
    >>> jm.predictive_density(jm.load("penguins.nc"), load_penguins()[:2]).shape
    (2, 200)
    """
    choice("weighting", weighting, get_args(Weighting))
    spec, parameters = fitted_spec(tree), posterior_parameters(tree)
    if spec.response is None:
        raise SpecError("This model has no response to predict.")
    at = _points(tree, table, points, weighting)
    rows, _ = table_rows(tree, spec, table, None, spec.clustering)
    if len(rows.y) * len(at) > _MOST_NUMBERS:
        raise DataError(
            f"Densities of {len(rows.y)} rows at {len(at)} points would need "
            f"{len(rows.y) * len(at) * 8 / 1e9:.0f} GB; pass fewer rows at a time."
        )
    found = np.empty((len(rows.y), len(at)))

    def evaluate(batch: Batch) -> None:
        n, weight = batch.alternatives, batch.draw_weights(weighting)
        share = batch.parts * np.repeat(weight, n, axis=-1)[:, None]
        own = density_at(at, share, batch.rows, batch.parameters, spec.blocks[-1])
        found[batch.place] = own.reshape(len(batch.place), n, len(at)).sum(axis=1)

    each_batch(evaluate, rows, parameters, spec)
    coords = {OBS: rows.label, "point": at}
    return xr.DataArray(found, coords=coords, dims=(OBS, "point"), name=spec.response)


def _points(
    tree: xr.DataTree, table: object, points: Sequence[float] | int, weighting: Weighting
) -> np.ndarray:
    spec = fitted_spec(tree)
    whole, positive = spec.blocks[-1].whole, spec.blocks[-1].positive
    if isinstance(points, int):
        points = whole_number("points", points, 2, _MOST_POINTS)
        reach = predictions(tree, table, _REACH, weighting)["quantiles"].values
        low, high = float(reach.min()), float(reach.max())
        margin = (high - low) / 10
        if whole:
            return np.unique(np.round(np.linspace(max(low - margin, 0.0), high + margin, points)))
        least = max(low - margin, low / 10) if positive else low - margin
        return np.linspace(least, high + margin, points)
    at = number_list("points", points)
    if at.size == 0 or not np.isfinite(at).all():
        raise SpecError("points must be finite values of the response, at least one.")
    if whole and (at != np.round(at)).any():
        raise SpecError(f"points must be whole numbers for a {spec.family} response.")
    return at
