"""Densities, responsibilities and predictions of rows, from a fitted tree alone.

    p(y | x) = Σ_k p(k | x) N(y | b_k + u'θ_k, σ_k²),   p(k | x) ∝ π_k N(x | μ_k, Σ_k)

Everything is averaged over the posterior draws and streams over rows, so that no array of
draws × rows × clusters is held whole.
"""

from collections.abc import Iterator, Sequence

import numpy as np
import xarray as xr
from scipy.special import ndtr

from jointmix.data import new_rows
from jointmix.density import (
    Parameters,
    feature_log_density,
    log_likelihood,
    response_mean,
    responsibility,
)
from jointmix.errors import DataError, SpecError
from jointmix.rows import Rows, draw_parameters, fitted_spec, observed_rows
from jointmix.schema import CHAIN, CLUSTER, DRAW, OBS, require_dims, require_group
from jointmix.spec import ModelSpec

#: Numbers (draws × rows × clusters) worked on at a time: 16 MB an array.
_BATCH_NUMBERS = 2_000_000
#: Draws from which quantiles are computed; more move them by less than their own sd / 30.
_QUANTILE_DRAWS = 1000
_BISECTIONS = 60
_MOST_NUMBERS = 500_000_000


def responsibilities(tree: xr.DataTree, table: object = None) -> xr.Dataset:
    """Probabilities of the clusters, averaged over the posterior.

    Parameters
    ----------
    tree
        A fitted tree.
    table
        New rows with the features, and the response and predictors if p(k | x, y) is wanted;
        None takes the rows of the fit.

    Returns
    -------
    xarray.Dataset
        `responsibility_features`, p(k | x), and, where the response is known (or the model has
        none), `responsibility`, p(k | x, y), with dims obs and cluster; `allocation` (obs) is
        the most probable cluster.

    Raises
    ------
    DataError
        If a feature is missing from the table or holds missing entries.
    """
    spec, parameters = fitted_spec(tree), _parameters(tree)
    rows, has_response = _rows(tree, spec, table, spec.response)
    features, joint = [], []
    for part in _row_batches(rows, parameters):
        first, second = part.log_density(parameters)
        features.append(responsibility(first).mean(0))
        joint.append(responsibility(first + second).mean(0))
    clusters = tree["posterior"].to_dataset()[CLUSTER].values
    coords = {OBS: np.arange(len(rows.x)), CLUSTER: clusters}
    share = {"responsibility_features": np.concatenate(features)}
    if has_response or spec.response is None:
        share["responsibility"] = np.concatenate(joint)
    best = share.get("responsibility", share["responsibility_features"]).argmax(-1)
    result = xr.Dataset({name: ((OBS, CLUSTER), each) for name, each in share.items()}, coords)
    return result.assign(allocation=(OBS, clusters[best]))


def log_density(tree: xr.DataTree, table: object = None) -> xr.Dataset:
    """Log densities of each row in each draw.

    Parameters
    ----------
    tree
        A fitted tree.
    table
        New rows with all columns of the model; None takes the rows of the fit.

    Returns
    -------
    xarray.Dataset
        `joint`, log p(x, y); `feature`, log p(x); `conditional`, log p(y | x): dims chain, draw,
        obs; natural log, on the users' scale. Without a response `joint` equals `feature`;
        without features `joint` equals `conditional`.

    Raises
    ------
    DataError
        If a column is missing, or the result would not fit in 12 GB.
    """
    spec, parameters = fitted_spec(tree), _parameters(tree)
    rows, has_response = _rows(tree, spec, table, spec.response)
    if spec.response is not None and not has_response:
        raise DataError(f"The log density needs the response; the table lacks {spec.response!r}.")
    n_draws, n_rows = len(parameters.weight), len(rows.x)
    if n_draws * n_rows > _MOST_NUMBERS:
        raise DataError(
            f"Log densities of {n_rows} rows in {n_draws} draws would need "
            f"{n_draws * n_rows * 24 / 1e9:.0f} GB; pass fewer rows at a time."
        )
    joint, feature = [], []
    for part in _row_batches(rows, parameters):
        first, second = part.log_density(parameters)
        feature.append(log_likelihood(first))
        joint.append(log_likelihood(first + second))
    posterior = tree["posterior"].to_dataset()
    shape = (posterior.sizes[CHAIN], posterior.sizes[DRAW], n_rows)
    arrays = {
        "joint": np.concatenate(joint, axis=-1).reshape(shape),
        "feature": np.concatenate(feature, axis=-1).reshape(shape),
    }
    arrays["conditional"] = arrays["joint"] - arrays["feature"]
    coords = {name: posterior[name].values for name in (CHAIN, DRAW)}
    return xr.Dataset(
        {name: ((CHAIN, DRAW, OBS), value) for name, value in arrays.items()},
        coords={**coords, OBS: np.arange(n_rows)},
    )


def predict(
    tree: xr.DataTree, table: object = None, quantiles: Sequence[float] = (0.05, 0.5, 0.95)
) -> xr.Dataset:
    """Predict the response from the features and predictors.

    Parameters
    ----------
    tree
        A fitted tree.
    table
        New rows with the features and predictors (the response is not used); None takes the
        rows of the fit.
    quantiles
        Probabilities in (0, 1).

    Returns
    -------
    xarray.Dataset
        In the response's units, by row: `mean`, `sd`, and `quantiles` (obs, quantile) of the
        posterior predictive distribution, from its own distribution function; the variance's
        parts `variance_within` (the clusters' noise), `variance_between` (not knowing the
        cluster) and `variance_parameters` (not knowing the parameters), which add up to sd²;
        `responsibility` (obs, cluster), p(k | x); `log_density` (obs), the log of the posterior
        mean of p(x), low where x lies outside what was fitted.

    Raises
    ------
    DataError
        If a column is missing or holds missing entries.
    SpecError
        If the model has no response, or a quantile lies outside (0, 1).
    """
    spec, parameters = fitted_spec(tree), _parameters(tree)
    if spec.response is None:
        raise SpecError("This model has no response to predict.")
    probability = np.atleast_1d(np.asarray(quantiles, dtype=float))
    if not ((probability > 0) & (probability < 1)).all():
        raise SpecError(f"quantiles must lie in (0, 1); got {probability.tolist()}.")
    rows, _ = _rows(tree, spec, table, response=None)
    thinned = parameters.take(slice(None, None, -(-len(parameters.weight) // _QUANTILE_DRAWS)))
    parts = []
    for part in _row_batches(rows, parameters):
        moments = _moments(part, parameters)
        moments["quantiles"] = _quantiles(part, thinned, probability, moments)
        parts.append(moments)
    dims = {"responsibility": (OBS, CLUSTER), "quantiles": (OBS, "quantile")}
    return xr.Dataset(
        {
            name: (dims.get(name, (OBS,)), np.concatenate([part[name] for part in parts]))
            for name in parts[0]
        },
        coords={
            OBS: np.arange(len(rows.x)),
            CLUSTER: tree["posterior"][CLUSTER].values,
            "quantile": probability,
        },
    )


def _parameters(tree: xr.DataTree) -> Parameters:
    posterior = require_group(tree, "posterior")
    require_dims(posterior["weight"], (CHAIN, DRAW, CLUSTER))
    return draw_parameters(posterior, CLUSTER)


def _rows(
    tree: xr.DataTree, spec: ModelSpec, table: object, response: str | None
) -> tuple[Rows, bool]:
    """Rows on the users' scale, and whether they hold the response, if a table's is to be read."""
    if table is None:
        return observed_rows(tree, spec), spec.response is not None
    needed = tuple(name for name in spec.columns if name != spec.response)
    columns = new_rows(table, needed, (response,) if response else ())
    if not columns:
        raise DataError("The table holds none of the model's columns that are read here.")
    n = len(next(iter(columns.values())))
    has_response = response in columns

    def stack(names: Sequence[str]) -> np.ndarray:
        return np.stack([columns[name] for name in names], axis=1) if names else np.zeros((n, 0))

    y = columns[response] if response in columns else np.zeros(n)
    return Rows(stack(spec.features), stack(spec.predictors), y), has_response


def _row_batches(rows: Rows, parameters: Parameters) -> Iterator[Rows]:
    size = max(1, _BATCH_NUMBERS // max(1, parameters.weight.size))
    for first in range(0, max(1, len(rows.y)), size):
        part = slice(first, first + size)
        yield Rows(rows.x[part], rows.u[part], rows.y[part])


def _moments(rows: Rows, parameters: Parameters) -> dict[str, np.ndarray]:
    """Mean, variance and its parts, p(k | x) and log p(x), averaged over draws."""
    assert parameters.sigma is not None
    component = np.log(parameters.weight)[..., None, :] + feature_log_density(rows.x, parameters)
    share, line = responsibility(component), response_mean(rows.u, parameters)
    center = (share * line).sum(-1)
    within = (share * parameters.sigma[:, None, :] ** 2).sum(-1).mean(0)
    between = (share * (line - center[..., None]) ** 2).sum(-1).mean(0)
    uncertain = center.var(axis=0)
    density = log_likelihood(component)
    return {
        "mean": center.mean(0),
        "sd": np.sqrt(within + between + uncertain),
        "variance_within": within,
        "variance_between": between,
        "variance_parameters": uncertain,
        "responsibility": share.mean(0),
        "log_density": log_likelihood(density.T) - np.log(len(density)),
    }


def _quantiles(
    rows: Rows, parameters: Parameters, probability: np.ndarray, moments: dict[str, np.ndarray]
) -> np.ndarray:
    """Quantiles (obs, quantile) of the mixture over draws and clusters, by bisection."""
    assert parameters.sigma is not None
    component = np.log(parameters.weight)[..., None, :] + feature_log_density(rows.x, parameters)
    share = responsibility(component) / len(parameters.weight)
    line, sigma = response_mean(rows.u, parameters), parameters.sigma[:, None, :]
    result = np.empty((len(rows.y), len(probability)))
    for index, target in enumerate(probability):
        # Chebyshev's one-sided inequality bounds a quantile by the mean and the sd.
        reach = 1.01 * np.sqrt(max(target / (1 - target), (1 - target) / target))
        # The moments are of all draws, these quantiles of some of them: hence the margin.
        low = moments["mean"] - 2 * reach * moments["sd"]
        high = moments["mean"] + 2 * reach * moments["sd"]
        for _ in range(_BISECTIONS):
            middle = (low + high) / 2
            below = (share * ndtr((middle[:, None] - line) / sigma)).sum((0, -1)) < target
            low, high = np.where(below, middle, low), np.where(below, high, middle)
        result[:, index] = (low + high) / 2
    return result
