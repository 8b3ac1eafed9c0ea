"""How statistics of a table compare with those of tables drawn in its place."""

import json
from collections.abc import Mapping, Sequence
from functools import partial
from itertools import combinations

import numpy as np
import pandas as pd
import xarray as xr
from threadpoolctl import threadpool_limits

from jointmix.base.errors import SchemaError
from jointmix.base.schema import CHAIN, DRAW, OBS, WEIGHT
from jointmix.base.threads import on_cores
from jointmix.posterior.association import cramers_v
from jointmix.posterior.replication import LEVELS, PREDICTIVE_GROUPS

#: Tail probability beyond which a statistic of the table is called unusual.
_UNUSUAL = 0.01
_BOUNDS = (0.05, 0.5, 0.95)


def predictive_checks(predictive: xr.DataTree) -> pd.DataFrame:
    """Where statistics of the observed table fall among those of the drawn ones.

    Gelman, Meng and Stern (1996, Statistica Sinica 6). From the posterior, p-values of statistics
    that the model fits directly, such as means, lie near one half by themselves.

    Parameters
    ----------
    predictive
        What `replicate` or `prior_predictive` gave.

    Returns
    -------
    pandas.DataFrame
        One row a statistic, such as "kurtosis[width]" or "correlation[width, length]", and of a
        column of levels "share[sex, male]" and "association[sex, island]": Cramér's V, or the
        share of a number's standard deviation that levels explain. ``observed``; ``q05``, ``q50``
        and ``q95`` of the drawn tables; ``p``, the share of drawn tables with a larger value, half
        of the equal ones added; ``unusual``, whether p is below 0.01 or above 0.99.

    Raises
    ------
    SchemaError
        If the tree has no such group, or nothing observed.

    Examples
    --------
    >>> found = jm.predictive_checks(jm.replicate(jm.load("penguins.nc"), draws=50))
    >>> bool(found.loc["mean[body_mass_g]", "unusual"])
    False
    """
    groups = predictive.children if isinstance(predictive, xr.DataTree) else {}
    found = [name for name in PREDICTIVE_GROUPS.values() if name in groups]
    if not found or "observed_data" not in groups:
        raise SchemaError("predictive_checks takes what replicate or prior_predictive gave.")
    drawn, observed = predictive[found[0]].to_dataset(), predictive["observed_data"].to_dataset()
    names = [str(name) for name in observed.data_vars]
    table = np.stack([observed[name].values for name in names])
    n_draws, dims = drawn.sizes[CHAIN] * drawn.sizes[DRAW], (CHAIN, DRAW, OBS)
    flat = [drawn[name].transpose(*dims).values.reshape(n_draws, -1) for name in names]
    weight = observed[WEIGHT].values if WEIGHT in observed.coords else None
    labels = {
        name: json.loads(observed[name].attrs[LEVELS])
        for name in names
        if LEVELS in observed[name].attrs
    }
    own = _statistics(table, names, labels, weight)

    def of_draw(draw: int) -> dict[str, float]:
        # Heavy tails reach values whose powers leave float64.
        with np.errstate(over="ignore", invalid="ignore"):
            return _statistics(np.stack([one[draw] for one in flat]), names, labels, weight)

    # Tables side by side: of several threads for each product none would be faster.
    with threadpool_limits(1):
        values = pd.DataFrame(on_cores(of_draw, range(n_draws)))
    # Rounding must not tell equal values apart.
    close = np.isclose(values, pd.Series(own), rtol=1e-12, atol=0)
    share = ((values > pd.Series(own)) & ~close).mean() + close.mean(axis=0) / 2
    bounds = values.quantile(_BOUNDS)
    return pd.DataFrame(
        {
            "observed": pd.Series(own),
            **{f"q{100 * q:02.0f}": bounds.loc[q] for q in _BOUNDS},
            "p": share,
            "unusual": (share < _UNUSUAL) | (share > 1 - _UNUSUAL),
        }
    ).rename_axis("statistic")


def _statistics(
    columns: np.ndarray,
    names: list[str],
    labels: Mapping[str, Sequence[str]],
    weight: np.ndarray | None,
) -> dict[str, float]:
    """Of one table, (column, obs), its rows' weights (obs,) or None."""
    numbers = [i for i, name in enumerate(names) if name not in labels]
    found = _of_numbers(columns[numbers], [names[i] for i in numbers], weight)
    mass = np.ones(columns.shape[1]) if weight is None else weight
    for name, own in labels.items():
        codes = columns[names.index(name)]
        known = ~np.isnan(codes)
        share = np.bincount(codes[known].astype(int), mass[known], len(own)) / mass[known].sum()
        found |= {f"share[{name}, {label}]": float(share[i]) for i, label in enumerate(own)}
    for one, other in combinations(names, 2):
        if one not in labels:
            one, other = other, one
        if one in labels:
            first, second = (columns[names.index(each)] for each in (one, other))
            levels = len(labels[other]) if other in labels else 0
            found[f"association[{one}, {other}]"] = _association(
                first, len(labels[one]), second, levels, mass
            )
    return found


def _association(
    codes: np.ndarray, n_levels: int, other: np.ndarray, other_levels: int, mass: np.ndarray
) -> float:
    """Cramér's V of two columns of codes, or η of a number over levels, (obs,) each.

    Of the rows in which both are known.
    """
    there = ~(np.isnan(codes) | np.isnan(other))
    codes, other, mass = codes[there].astype(int), other[there], mass[there]
    if other_levels:
        place = codes * other_levels + other.astype(int)
        joint = np.bincount(place, mass, n_levels * other_levels).reshape(n_levels, -1)
        return float(cramers_v(joint / joint.sum()))
    total = np.bincount(codes, mass, n_levels)
    center = np.bincount(codes, mass * other, n_levels) / np.maximum(total, 1e-300)
    mean = np.average(other, weights=mass)
    whole = np.average((other - mean) ** 2, weights=mass) * mass.sum()
    return float(np.sqrt(total @ (center - mean) ** 2 / max(whole, 1e-300)))


def _of_numbers(
    columns: np.ndarray, names: list[str], weight: np.ndarray | None
) -> dict[str, float]:
    """Of the columns of numbers, (column, obs)."""
    if not names:
        return {}
    average = partial(_average, weight=weight)
    center = average(columns)
    spread_ = np.sqrt(average((columns - center[:, None]) ** 2))
    white = (columns - center[:, None]) / spread_[:, None]
    each = {
        "mean": center,
        "sd": spread_,
        "skewness": average(white**3),
        "kurtosis": average(white**4),
        "minimum": np.nanmin(columns, axis=1),
        "maximum": np.nanmax(columns, axis=1),
    }
    found = {
        f"{label}[{name}]": float(value)
        for i, name in enumerate(names)
        for label, value in ((label, values[i]) for label, values in each.items())
    }
    complete = not np.isnan(columns).any()
    correlation = np.atleast_2d(np.cov(white, bias=True, aweights=weight)) if complete else None
    for i, j in combinations(range(len(names)), 2):
        if correlation is not None:
            value = correlation[i, j]
        else:
            value = _average((white[i] * white[j])[None], weight)[0]
        found[f"correlation[{names[i]}, {names[j]}]"] = float(value)
    return found


def _average(columns: np.ndarray, weight: np.ndarray | None) -> np.ndarray:
    """Averages (column,) of the entries that are there, of rows with weights (obs,) or None."""
    there = ~np.isnan(columns)
    if there.all():
        return np.asarray(np.average(columns, axis=1, weights=weight))
    counts = there if weight is None else there * weight
    total = (np.where(there, columns, 0.0) * counts).sum(axis=1)
    return np.asarray(total / np.maximum(counts.sum(axis=1), 1e-300))
