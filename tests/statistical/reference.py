"""Draws held against numbers known otherwise, in units of Monte Carlo standard errors."""

from dataclasses import dataclass

import arviz_stats as az
import numpy as np
import xarray as xr
from numpy.typing import NDArray
from scipy import stats
from scipy.optimize import brentq

#: Monte Carlo standard errors allowed; one number in 2,100 exceeds them by chance.
MOST_ERRORS = 3.5
#: Effective draws that a reference made of draws must have, in bulk and tails.
LEAST_ESS = 10_000
TAILS = (0.05, 0.95)


@dataclass(frozen=True, eq=False)
class Mixture:
    """A posterior known as a weighted set of normals; points where ``sd`` is zero."""

    weight: NDArray
    center: NDArray
    sd: NDArray

    def mean(self) -> float:
        return float(self.weight @ self.center)

    def spread(self) -> float:
        second = self.weight @ (self.center**2 + self.sd**2)
        return float(np.sqrt(second - self.mean() ** 2))

    def quantile(self, level: float) -> float:
        """By inversion of the distribution function, which is interpolated between points."""
        if (self.sd == 0).all():
            point, index = np.unique(self.center, return_inverse=True)
            weight = np.bincount(index, self.weight)
            return float(np.interp(level, weight.cumsum() - weight / 2, point))
        low, high = (self.mean() + side * 12 * self.spread() for side in (-1, 1))

        def above(value: float) -> float:
            return float(self.weight @ stats.norm.cdf(value, self.center, self.sd)) - level

        return float(brentq(above, low, high, xtol=1e-10))


def errors_to_exact(name: str, ours: xr.DataArray, exact: Mixture) -> dict[str, float]:
    """Gaps in mean, sd and the 5% and 95% quantiles, over the draws' standard errors."""
    found = {f"{name} mean": (float(ours.mean()) - exact.mean()) / mcse(ours, "mean")}
    found[f"{name} sd"] = (float(ours.std()) - exact.spread()) / mcse(ours, "sd")
    for level in TAILS:
        gap = float(ours.quantile(level)) - exact.quantile(level)
        found[f"{name} {level:.0%}"] = gap / mcse(ours, "quantile", level)
    return found


def errors_to_draws(name: str, ours: NDArray, theirs: NDArray) -> dict[str, float]:
    """The same between two sets of draws (chain, draw), over their combined standard errors."""
    one, other = (xr.DataArray(values, dims=("chain", "draw")) for values in (ours, theirs))
    for method in ("bulk", "tail"):
        assert float(az.ess(other, method=method)) > LEAST_ESS, (name, method)

    def ratio(method: str, first: float, second: float, level: float | None = None) -> float:
        return (first - second) / np.hypot(mcse(one, method, level), mcse(other, method, level))

    found = {f"{name} mean": ratio("mean", float(one.mean()), float(other.mean()))}
    found[f"{name} sd"] = ratio("sd", float(one.std()), float(other.std()))
    for level in TAILS:
        quantiles = (float(values.quantile(level)) for values in (one, other))
        found[f"{name} {level:.0%}"] = ratio("quantile", *quantiles, level)
    return found


def mcse(draws: xr.DataArray, method: str, level: float | None = None) -> float:
    """Monte Carlo standard error of a mean, sd or quantile."""
    options = {} if level is None else {"prob": level}
    return float(az.mcse(draws, method=method, **options))


def by_location(values: NDArray, key: NDArray) -> NDArray:
    """Clusters of ``values`` (chain, draw, cluster, ...) sorted in each draw by ``key``."""
    order = key.argsort(-1)
    return np.take_along_axis(values, order.reshape(*order.shape, *[1] * (values.ndim - 3)), 2)
