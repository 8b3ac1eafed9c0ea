"""How well the rows determine a mode's location parameters, not knowing who belongs where."""

from functools import reduce

import numpy as np

from jointmix.families.parameters import (
    Parameters,
    inverse_lower,
    response_mean,
    responsibility,
)
from jointmix.model.location import coordinates
from jointmix.model.rows import Rows
from jointmix.model.spec import ModelSpec

#: Rows that are used, evenly spaced, of large tables; and rows worked on at a time.
_MOST_ROWS, _BATCH_ROWS = 20_000, 2_000


def location_errors(rows: Rows, parameters: Parameters, spec: ModelSpec) -> np.ndarray:
    """Covariance of all clusters' ξ at a mode, (cluster, location, cluster, location).

    The inverse of the information Σ_n s_n s_n' + prior, with s_n the score of row n's mixture
    density in all parameters (Meilijson 1989, doi:10.1111/j.2517-6161.1989.tb01751.x): rows that
    could belong to either of two clusters inform about neither, which the covariance given
    the allocation would not show.

    Parameters
    ----------
    rows, parameters
        On the model's scale; parameters without a batch dim.
    """
    n = len(rows.y)
    place = np.unique(np.linspace(0, n - 1, min(n, _MOST_ROWS)).astype(int))
    parts = (place[first : first + _BATCH_ROWS] for first in range(0, len(place), _BATCH_ROWS))
    scores = (_scores(rows.take(part), parameters, spec) for part in parts)
    information = reduce(np.add, (score.T @ score for score in scores))
    # In units of the priors' scales, or of logarithms, each prior weighs about one.
    total = information * (n / len(place)) + np.eye(len(information))
    k, p = spec.n_clusters, len(coordinates(spec))
    inverse = np.linalg.inv(total)[: k * p, : k * p]
    return np.asarray(inverse.reshape(k, p, k, p))


def _scores(rows: Rows, parameters: Parameters, spec: ModelSpec) -> np.ndarray:
    """Scores (obs, parameter): of ξ, cluster by cluster, then of weights and scales."""
    feature, response = rows.log_density(parameters)
    share = responsibility(feature + response)
    mean, spread = _feature_scores(rows, parameters, share, spec)
    line, noise = _response_scores(rows, parameters, share, spec)
    values = np.concatenate([mean, line], axis=-1)
    used = _used(spec)
    scale = np.array([item.prior.scale for item in coordinates(spec)])
    location = values[..., used] * scale
    weight = share - parameters.weight
    return np.concatenate([location.reshape(len(share), -1), weight, spread, noise], axis=1)


def _used(spec: ModelSpec) -> list[int]:
    """Where the free location parameters stand among means, intercept and slopes."""
    d = len(spec.features)
    places = []
    for item in coordinates(spec):
        if item.parameter == "mean":
            places.append(spec.features.index(str(item.column)))
        elif item.parameter == "intercept":
            places.append(d)
        else:
            places.append(d + 1 + spec.predictors.index(str(item.column)))
    return places


def _feature_scores(
    rows: Rows, parameters: Parameters, share: np.ndarray, spec: ModelSpec
) -> tuple[np.ndarray, np.ndarray]:
    """Scores of the means (obs, cluster, feature), and of the free scales (obs, scale)."""
    n, k = share.shape
    if parameters.mean is None or parameters.cholesky is None:
        return np.zeros((n, k, 0)), np.zeros((n, 0))
    whiten = inverse_lower(parameters.cholesky)
    white = np.einsum("kij,nkj->nki", whiten, rows.x[:, None, :] - parameters.mean)
    mean = share[..., None] * np.einsum("kji,nkj->nki", whiten, white)
    square = white[..., :, None] * white[..., None, :] - np.eye(white.shape[-1])
    if spec.covariance in ("full", "tied"):
        row, column = np.tril_indices(white.shape[-1])
        scale = share[..., None] * square[..., row, column]
    else:
        scale = share[..., None] * np.diagonal(square, axis1=-2, axis2=-1)
    if spec.covariance == "spherical":
        scale = scale.sum(axis=-1, keepdims=True)
    if spec.covariance == "tied":
        scale = scale.sum(axis=1, keepdims=True)
    if spec.covariance == "fixed":
        scale = scale[..., :0]
    return mean, scale.reshape(n, -1)


def _response_scores(
    rows: Rows, parameters: Parameters, share: np.ndarray, spec: ModelSpec
) -> tuple[np.ndarray, np.ndarray]:
    """Scores of intercepts and slopes (obs, cluster, 1 + predictor), and of noises (obs, noise)."""
    n, k = share.shape
    if parameters.sigma is None:
        return np.zeros((n, k, 0)), np.zeros((n, 0))
    white = (rows.y[:, None] - response_mean(rows.u, parameters)) / parameters.sigma
    design = np.column_stack([np.ones(n), rows.u])
    line = (share * white / parameters.sigma)[..., None] * design[:, None, :]
    noise = share * (white**2 - 1)
    if spec.noise == "shared":
        noise = noise.sum(axis=1, keepdims=True)
    return line, noise if spec.noise != "fixed" else noise[:, :0]
