"""How clusters differ, and how much of the response's variance they explain."""

from collections.abc import Iterable, Iterator
from dataclasses import replace
from itertools import combinations

import arviz_stats
import numpy as np
import pandas as pd
import xarray as xr

from jointmix.base.arguments import several, shown
from jointmix.base.errors import SpecError
from jointmix.base.schema import (
    CHAIN,
    CLUSTER,
    DRAW,
    require_group,
)
from jointmix.families.mixture import (
    cluster_moments,
    log_terms,
    responsibility,
)
from jointmix.families.parameters import Parameters
from jointmix.families.patterns import by_pattern
from jointmix.families.protocol import Block, Predicted
from jointmix.families.rows import Rows
from jointmix.model.serialised import PRIOR_KEYS
from jointmix.model.spec import ModelSpec
from jointmix.posterior.draws import fitted_spec, observed_rows, posterior_parameters
from jointmix.posterior.invariants import outside_moments
from jointmix.posterior.naming import cluster_names
from jointmix.posterior.summaries import (
    bound_names,
    entries,
    identified_parameters,
    is_constant,
    statistics,
)

#: Numbers (draws × rows × clusters) worked on at a time: 16 MB an array.
_BATCH_NUMBERS = 2_000_000


def contrasts(
    tree: xr.DataTree,
    parameters: Iterable[str] | None = None,
    interval: float = 0.89,
) -> pd.DataFrame:
    """Differences between all pairs of clusters, draw by draw.

    Parameters
    ----------
    tree
        A fitted tree.
    parameters
        Names such as weight, mean, sd, intercept, slope, sigma, df and shape; those that the model
        has not are left out. By default all locations, and the scales and shapes of the response.
    interval
        Probability inside the equal-tailed interval.

    Returns
    -------
    pandas.DataFrame
        One row a pair and entry, such as "slope[cluster 1 − cluster 2, width]": ``mean`` and
        ``sd`` of the difference first minus second, its bounds (``eti89_lb``, ``eti89_ub``),
        ``probability``, P(first > second), and ``mcse_mean``, ``mcse_probability``, ``ess_bulk``
        and ``r_hat``; on the users' scale. A difference that never varies, of parameters the
        clusters share or that are fixed, has NaN for the last four. Of a response whose line is the
        log of its mean, ``ratio`` and its bounds besides: the exponentials of differences of
        intercepts and slopes, such as ratios of rate ratios; NaN elsewhere.

    Raises
    ------
    SpecError
        If a parameter is unknown, or ``interval`` is not a probability.
    SchemaError
        If the draws' labels were never identified.

    Examples
    --------
    >>> jm.contrasts(jm.load("penguins.nc"), ["sigma"]).index[0]
    'sigma[Adelie − Gentoo]'
    """
    draws = identified_parameters(tree)
    spec = fitted_spec(tree)
    parameters, ratios = _contrasted(spec, parameters), _ratios(spec)
    found, called = Differences(interval, bool(ratios)), cluster_names(tree)
    for name in (name for name in parameters if name in draws):
        labels = draws[name][CLUSTER].values.tolist()
        for one, other in combinations(range(len(labels)), 2):
            first = draws[name].isel({CLUSTER: one}, drop=True)
            gap = first - draws[name].isel({CLUSTER: other}, drop=True)
            pair = f"{called[labels[one]]} − {called[labels[other]]}"
            names = [_named(entry, name, pair) for entry, _ in entries(gap[0, 0], name)]
            found.add(names, gap, name in ratios)
    return found.table()


class Differences:
    """A table of differences, filled draw by draw.

    Parameters
    ----------
    interval
        Probability inside the equal-tailed interval.
    with_ratio
        Whether exponentials of some differences are ratios, which then have columns.
    """

    def __init__(self, interval: float, with_ratio: bool) -> None:
        lower, upper = bound_names(interval)
        self._interval = interval
        self._names = {"lower": lower, "upper": upper}
        self._columns = [
            *("mean", "sd", lower, upper, "probability"),
            *("mcse_mean", "mcse_probability", "ess_bulk", "r_hat"),
        ]
        if with_ratio:
            self._names |= {"ratio_lower": f"ratio_{lower}", "ratio_upper": f"ratio_{upper}"}
            self._columns += ["ratio", f"ratio_{lower}", f"ratio_{upper}"]
        self._index: list[str] = []
        self._frames: list[pd.DataFrame] = []

    def add(self, names: list[str], gap: xr.DataArray, ratio: bool) -> None:
        """A line for each entry of a difference [chain, draw, ...], by the names of the entries."""
        found = statistics(gap, self._interval)
        above = (gap > 0).astype(float)
        with np.errstate(invalid="ignore", divide="ignore"):
            error = arviz_stats.mcse(above, method="mean")
        found = found.assign(
            probability=above.mean((CHAIN, DRAW)),
            # All draws on one side: no variance to estimate an error from.
            mcse_probability=xr.where(is_constant(above), 0.0, error).where(~is_constant(gap)),
        )
        if ratio:
            own = statistics(xr.apply_ufunc(np.exp, gap), self._interval)
            found = found.assign(
                ratio=own["mean"], ratio_lower=own["lower"], ratio_upper=own["upper"]
            )
        self._index += names
        self._frames.append(
            pd.DataFrame({key: np.ravel(found[key].values) for key in found.data_vars})
        )

    def table(self) -> pd.DataFrame:
        """The lines, in the order in which they came."""
        if not self._frames:
            return pd.DataFrame(columns=self._columns)
        table = pd.concat(self._frames, ignore_index=True).rename(columns=self._names)
        return table.reindex(columns=self._columns).set_axis(self._index, axis="index")


def _ratios(spec: ModelSpec) -> tuple[str, ...]:
    """Parameters of which exponentials of differences are ratios."""
    return tuple(
        item.name
        for block in spec.blocks
        if block.ratio
        for item in block.parameters
        if item.role == "location"
    )


def _contrasted(spec: ModelSpec, parameters: Iterable[str] | None) -> tuple[str, ...]:
    """The parameters asked for, or those by which clusters are usually told apart."""
    if parameters is None:
        return tuple(
            parameter.name
            for block in spec.blocks
            for parameter in block.parameters
            if parameter.role in ("location", "probability", "shape")
            or (block.of_response and parameter.role == "scale")
        )
    names = several("parameters", parameters, "parameters' names")
    # Those that other models have are known too.
    known = dict.fromkeys([*PRIOR_KEYS, *spec.parameters])
    for name in ("correlation", "covariance"):
        known.pop(name, None)
    for name in names:
        if not isinstance(name, str) or name not in known:
            raise SpecError(f"contrasts takes any of {', '.join(known)}; got {shown(name)}.")
    return names


def _named(entry: str, parameter: str, pair: str) -> str:
    """ "slope[width]" with the pair of clusters in front of "width"."""
    rest = entry.removeprefix(parameter)
    return f"{parameter}[{pair}{', ' + rest[1:] if rest else ']'}"


def r_squared(tree: xr.DataTree) -> xr.Dataset:
    """Shares of the response's variance, draw by draw.

    Under the mixture of a draw the response's variance is the sum of three parts,

        Var(y) = Σ_k π_k σ_k²  +  Σ_k π_k Var(u'θ_k | k)  +  Σ_k π_k (m_k − m)²

    the noise, what the regressions explain inside the clusters, and what lies between the
    clusters' mean responses m_k; predictors that are no features vary as in the fit's rows. Of a
    response with a link, and where terms are made of features, σ_k² and u'θ_k become the mean of
    Var(y | x, k) and E[y | x, k], over the fit's rows weighed by p(k | x), with their offsets.

    Returns
    -------
    xarray.Dataset
        ``cluster_r2`` [chain draw cluster], Var(u'θ_k | k) / (Var(u'θ_k | k) + σ_k²);
        ``within`` and ``between`` [chain draw], the second and third part's share of the
        variance; ``bayesian_r2`` [chain draw], Var(E[y | x, u]) over the rows of the fit divided
        by that and the mean of Var(y | x, u) there (Gelman, Goodrich, Gabry and Vehtari 2019,
        doi:10.1080/00031305.2018.1549100).

    Raises
    ------
    SpecError
        If the model has no response.
    SchemaError
        If the draws' labels were never identified.

    Examples
    --------
    >>> bool(jm.r_squared(jm.load("penguins.nc"))["bayesian_r2"].mean() > 0.8)
    True
    """
    spec = fitted_spec(tree)
    if spec.response is None:
        raise SpecError("A model without a response has no R².")
    posterior = require_group(tree, "posterior")
    parameters, rows = posterior_parameters(tree), observed_rows(tree, spec)
    moments = cluster_moments(spec.blocks, parameters, outside_moments(rows, spec))
    if spec.response in moments.columns and not spec.derived:
        noise = spec.predicted.variance(parameters, rows.take(slice(1)))[:, 0]
        explained, level = moments.explained[..., -1, -1], moments.mean[:, 0, :, -1]
    else:
        level, explained, noise = _moments_over_rows(rows, parameters, spec)
    weight = parameters.weight
    inside = (weight * explained).sum(-1)
    overall = (weight * level).sum(-1, keepdims=True)
    apart = (weight * (level - overall) ** 2).sum(-1)
    total = inside + apart + (weight * noise).sum(-1)
    size = (posterior.sizes[CHAIN], posterior.sizes[DRAW])
    each = {
        "within": inside / total,
        "between": apart / total,
        "bayesian_r2": _bayesian_r2(rows, parameters, spec),
    }
    found = {name: ((CHAIN, DRAW), value.reshape(size)) for name, value in each.items()}
    by_cluster = (explained / (explained + noise)).reshape(*size, -1)
    return xr.Dataset(
        {"cluster_r2": ((CHAIN, DRAW, CLUSTER), by_cluster), **found},
        coords={name: posterior[name].values for name in (CHAIN, DRAW, CLUSTER)},
    )


def _given(
    rows: Rows, parameters: Parameters, spec: ModelSpec, size: int
) -> Iterator[tuple[Rows, Parameters, tuple[Block, ...]]]:
    """Rows as predictions are given them, some at a time, and the model of what they have."""
    asked = rows if rows.complete else replace(rows, y=np.zeros(len(rows.y)))
    for pattern in by_pattern(asked, parameters, spec.blocks):
        for part in pattern.rows.parts(size):
            yield part, pattern.parameters, pattern.blocks


def _response(blocks: tuple[Block, ...]) -> Predicted:
    block = blocks[-1]
    assert isinstance(block, Predicted)
    return block


def _moments_over_rows(
    rows: Rows, parameters: Parameters, spec: ModelSpec
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Mean and variance of E[y | x, k], and mean of Var(y | x, k), each (draw, cluster).

    Over the rows, weighed by p(k | x): a cluster's x is spread as that of its rows.
    """
    n_draws, k = parameters.weight.shape
    size = max(1, _BATCH_NUMBERS // (n_draws * k))
    origin, total = np.nanmean(rows.y), np.zeros((4, n_draws, k))
    for part, model, blocks in _given(rows, parameters, spec, size):
        share = part.weighted(responsibility(log_terms(blocks, part, model)[0]))
        response = _response(blocks)
        mean = response.mean(model, part) - origin
        variance = response.variance(model, part)
        total += np.stack(
            [(share * each).sum(axis=1) for each in (np.ones_like(mean), mean, mean**2, variance)]
        )
    mean, square, variance = total[1:] / np.maximum(total[0], 1e-300)
    return mean + origin, np.maximum(square - mean**2, 0.0), variance


def _bayesian_r2(rows: Rows, parameters: Parameters, spec: ModelSpec) -> np.ndarray:
    """Var(E[y | x, u]) over rows against itself and the mean of Var(y | x, u), (draw,)."""
    n_draws, k = parameters.weight.shape
    size = max(1, _BATCH_NUMBERS // (n_draws * k))
    # About the response's own mean, so that large offsets cost no digits.
    origin = np.nanmean(rows.y)
    first, second, spread = np.zeros(n_draws), np.zeros(n_draws), np.zeros(n_draws)
    for part, model, blocks in _given(rows, parameters, spec, size):
        share = responsibility(log_terms(blocks, part, model)[0])
        response = _response(blocks)
        line = response.mean(model, part) - origin
        center = (share * line).sum(-1)
        # Of an infinite variance no share is none; 0 × ∞ would be no number.
        own = np.where(share > 0, response.variance(model, part), 0.0)
        within = (share * (own + line**2)).sum(-1) - center**2
        first += center @ part.weights
        second += center**2 @ part.weights
        spread += within @ part.weights
    n = rows.total
    variance = np.maximum(second / n - (first / n) ** 2, 0.0)
    return np.asarray(variance / (variance + spread / n))
