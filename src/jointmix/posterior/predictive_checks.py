"""How statistics of a table compare with those of tables drawn in its place."""

from functools import partial
from itertools import combinations

import numpy as np
import pandas as pd
import xarray as xr

from jointmix.base.errors import SchemaError
from jointmix.base.schema import CHAIN, DRAW, OBS, WEIGHT
from jointmix.posterior.replication import PREDICTIVE_GROUPS

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
        One row a statistic, such as "kurtosis[width]" or "correlation[width, length]":
        ``observed``; ``q05``, ``q50`` and ``q95`` of the drawn tables; ``p``, the share of drawn
        tables with a larger value, half of the equal ones added; ``unusual``, whether p is below
        0.01 or above 0.99.

    Raises
    ------
    SchemaError
        If the tree has no such group, or nothing observed.
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
    own = _statistics(table, names, weight)
    values = pd.DataFrame(
        [_statistics(np.stack([one[s] for one in flat]), names, weight) for s in range(n_draws)]
    )
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
    columns: np.ndarray, names: list[str], weight: np.ndarray | None
) -> dict[str, float]:
    """Of one table, (column, obs), its rows' weights (obs,) or None."""
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
    correlation = np.cov(white, bias=True, aweights=weight) if complete else None
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
