"""Estimates of the identified parameters, with what the sampler's noise adds to each."""

from collections.abc import Iterator, Mapping
from itertools import product

import numpy as np
import pandas as pd
import xarray as xr

from jointmix.base.arguments import proportion
from jointmix.base.chains import effective_sizes, r_hats
from jointmix.base.errors import SchemaError
from jointmix.base.schema import (
    CHAIN,
    CLUSTER,
    COMPONENT,
    DRAW,
    FEATURE,
    FEATURE_BIS,
    POINT,
    VARIABLE,
    VARIABLE_BIS,
    require_dims,
    require_group,
)
from jointmix.posterior.naming import cluster_names
from jointmix.posterior.printed import Estimates

PAIR = "pair"
ENTRY = "entry"
#: Dims whose labels are numbers, and what is written before them.
_NUMBERED = {CLUSTER: "cluster", POINT: "row"}


def bound_names(interval: float) -> tuple[str, str]:
    """Names of the equal-tailed interval's bounds, as ArviZ writes them ("eti89_lb").

    Raises
    ------
    SpecError
        If ``interval`` is not a probability in (0, 1).
    """
    interval = proportion("interval", interval)
    return f"eti{interval * 100:g}_lb", f"eti{interval * 100:g}_ub"


def identified_parameters(tree: xr.DataTree) -> dict[str, xr.DataArray]:
    """Draws of the free entries of each parameter, [chain, draw, cluster, ...].

    A correlation matrix becomes its lower triangle, along the dim ``pair``.

    Raises
    ------
    SchemaError
        If the group is missing or a parameter's labels were never identified.
    """
    posterior = require_group(tree, "posterior")
    found = {}
    for name, draws in posterior.data_vars.items():
        if not {CLUSTER, COMPONENT} & set(draws.dims):
            continue
        draws = require_dims(draws, (CHAIN, DRAW, CLUSTER)).transpose(CHAIN, DRAW, CLUSTER, ...)
        found[str(name)] = _lower_triangle(draws) if FEATURE_BIS in draws.dims else draws
    if not found or 0 in next(iter(found.values())).shape[:2]:
        raise SchemaError("The posterior holds no draws of this model's parameters.")
    return {name: draws for name, draws in found.items() if draws.size}


def invariant_quantities(tree: xr.DataTree) -> dict[str, xr.DataArray]:
    """Draws of the quantities that labels do not enter, [chain, draw, ...].

    A covariance matrix becomes its lower triangle with the diagonal, along the dim ``pair``.

    Raises
    ------
    SchemaError
        If the group is missing.
    """
    found = {}
    for name, draws in require_group(tree, "invariant").data_vars.items():
        rest = [dim for dim in draws.dims if dim not in (CHAIN, DRAW)]
        values = draws.transpose(CHAIN, DRAW, *rest)
        if VARIABLE_BIS in rest:
            rows, columns = np.tril_indices(values.sizes[VARIABLE])
            values = values.isel(
                {
                    VARIABLE: xr.DataArray(rows, dims=PAIR),
                    VARIABLE_BIS: xr.DataArray(columns, dims=PAIR),
                }
            )
        found[str(name).replace("_", " ")] = values
    return found


def _lower_triangle(correlation: xr.DataArray) -> xr.DataArray:
    rows, columns = np.tril_indices(correlation.sizes[FEATURE], k=-1)
    return correlation.isel(
        {FEATURE: xr.DataArray(rows, dims=PAIR), FEATURE_BIS: xr.DataArray(columns, dims=PAIR)}
    )


def is_constant(draws: xr.DataArray) -> xr.DataArray:
    """Whether an entry never changes: fixed by the user, so that nothing was sampled."""
    return _is_one_value(draws.min((CHAIN, DRAW)), draws.max((CHAIN, DRAW)))


def _is_one_value[T: (np.ndarray, xr.DataArray)](low: T, high: T) -> T:
    # A constant that went through a change of scale may differ in its last bits.
    return high - low <= 4 * np.finfo(float).eps * np.maximum(abs(low), abs(high))


def moving_entries(quantities: Mapping[str, xr.DataArray]) -> xr.DataArray:
    """Draws of all entries that change, one after another, [entry, chain, draw].

    One array is diagnosed sooner than many.

    Parameters
    ----------
    quantities
        Name → [chain, draw, ...], with the same chains and draws.

    Returns
    -------
    xr.DataArray
        The labels of ``entry`` are names such as "mean[cluster 1, width]".
    """
    names: list[str] = []
    moving: list[tuple[np.ndarray, np.ndarray]] = []
    for parameter, draws in quantities.items():
        last = draws.transpose(..., CHAIN, DRAW)
        values = last.values
        free = ~_is_one_value(values.min((-2, -1)), values.max((-2, -1)))
        labels = [name for name, _ in entries(last.isel({CHAIN: 0, DRAW: 0}), parameter)]
        names += [name for name, keep in zip(labels, free.ravel(), strict=True) if keep]
        moving.append((values, free))
    shape = moving[0][0].shape[-2:] if moving else (0, 0)
    stacked = np.empty((len(names), *shape))
    place = 0
    for values, free in moving:
        stacked[place : place + free.sum()] = values[free]
        place += free.sum()
    return xr.DataArray(stacked, {ENTRY: names}, (ENTRY, CHAIN, DRAW))


def statistics(draws: xr.DataArray, interval: float = 0.89) -> xr.Dataset:
    """Mean, sd, equal-tailed interval and sampling diagnostics of each entry.

    Parameters
    ----------
    draws
        [chain, draw, ...]
    interval
        Probability inside the interval.

    Returns
    -------
    xr.Dataset
        mean, sd, lower, upper, mcse_mean, ess_bulk, ess_tail and r_hat, each with the
        remaining dims; the last four are NaN where the draws are constant.
    """
    bound_names(interval)
    last = draws.transpose(..., CHAIN, DRAW)
    values, both = last.values, (-2, -1)
    # Labelled arrays take longer to set out than what is computed of them.
    quantile = np.nanquantile if np.isnan(values).any() else np.quantile
    lower, upper = quantile(values, [(1 - interval) / 2, (1 + interval) / 2], axis=both)
    free = ~_is_one_value(values.min(both), values.max(both))
    # R-hat divides by the variance within chains, which is 0 for a constant.
    with np.errstate(invalid="ignore", divide="ignore"):
        diagnostics = {
            "mcse_mean": values.std(axis=both, ddof=1) / np.sqrt(effective_sizes(values, "mean")),
            "ess_bulk": effective_sizes(values),
            "ess_tail": effective_sizes(values, "tail"),
            "r_hat": r_hats(values),
        }
    found = {
        "mean": np.nanmean(values, axis=both),
        "sd": np.where(free, np.nanstd(values, axis=both, ddof=1), 0.0),
        "lower": lower,
        "upper": upper,
        **{name: np.where(free, value, np.nan) for name, value in diagnostics.items()},
    }
    rest = last.isel({CHAIN: 0, DRAW: 0}, drop=True)
    return xr.Dataset({name: rest.copy(data=np.asarray(value)) for name, value in found.items()})


def entries(
    array: xr.DataArray, parameter: str, called: Mapping[int, str] | None = None
) -> Iterator[tuple[str, float]]:
    """Name and value of each entry of ``array``, such as "mean[cluster 1, width]".

    Parameters
    ----------
    called
        What clusters are called, by number, where they have names.
    """
    labels = [
        [called[int(value)] for value in array[dim].values]
        if dim == CLUSTER and called is not None
        else [f"{_NUMBERED[str(dim)]} {value}" for value in array[dim].values]
        if dim in _NUMBERED
        else _pair_labels(array)
        if dim == PAIR
        else [str(value) for value in array[dim].values]
        for dim in array.dims
    ]
    for label, value in zip(product(*labels), array.values.ravel(), strict=True):
        yield (f"{parameter}[{', '.join(label)}]" if label else parameter), float(value)


def _pair_labels(array: xr.DataArray) -> list[str]:
    names = (FEATURE, FEATURE_BIS) if FEATURE in array.coords else (VARIABLE, VARIABLE_BIS)
    pairs = zip(*(array[name].values for name in names), strict=True)
    return [f"{first}, {second}" for first, second in pairs]


def summary(tree: xr.DataTree, interval: float = 0.89) -> pd.DataFrame:
    """Estimates of every identified scalar quantity, one a row.

    Parameters
    ----------
    tree
        A fitted tree.
    interval
        Probability inside the equal-tailed interval.

    Returns
    -------
    pandas.DataFrame
        One that prints rounded by its sd, in the width of a window (``display.width`` of pandas):
        mean, sd, the interval's bounds (``eti89_lb``, ``eti89_ub``), mcse_mean, ess_bulk,
        ess_tail and r_hat, on the users' scale; rows such as "mean[cluster 1, width]", or by the
        names that `with_names` gave.
        Fixed constants have NaN for the last four.

    Raises
    ------
    SchemaError
        If the draws' labels were never identified.
    SpecError
        If ``interval`` is not a probability in (0, 1).

    Examples
    --------
    >>> jm.summary(jm.load("penguins.nc")).index[0]
    'weight[Adelie]'
    """
    lower, upper = bound_names(interval)
    called = cluster_names(tree)
    names: list[str] = []
    frames: list[pd.DataFrame] = []
    for parameter, draws in identified_parameters(tree).items():
        values = statistics(draws, interval)
        names += [name for name, _ in entries(values["mean"], parameter, called)]
        frames.append(pd.DataFrame({key: values[key].values.ravel() for key in values.data_vars}))
    table = pd.concat(frames, ignore_index=True).rename(columns={"lower": lower, "upper": upper})
    return Estimates(table.set_axis(names, axis="index"))
