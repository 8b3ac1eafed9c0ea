"""Responsibilities of many parameter values at once: EM's starts, or a sampler's draws."""

import numpy as np

from jointmix.families.matrices import inverse_lower
from jointmix.families.parameters import Parameters
from jointmix.families.rows import Rows
from jointmix.kernel.jit import jit
from jointmix.kernel.rows import (
    SUMS,
    block_length,
    feature_residuals,
    response_residuals,
    softmax,
    take_predictors,
)

_LOG_2PI = float(np.log(2 * np.pi))


@jit(inner=False, fastmath=SUMS)
def _allocate(
    columns: np.ndarray,
    places: np.ndarray,
    feature_constant: np.ndarray,
    response_constant: np.ndarray,
    mean: np.ndarray,
    whiten: np.ndarray,
    line: np.ndarray,
    sigma: np.ndarray,
    dense: bool,
    has_response: bool,
    joint: np.ndarray,
    features: np.ndarray,
    likelihood: np.ndarray,
) -> None:
    """See `allocate`; the constants are the components' log normalising constants (draw, K)."""
    n_draws, k, d = mean.shape
    r, n = places.size, columns.shape[1]
    length = block_length(k, d)
    z, e, terms = np.empty((d, length)), np.empty(length), np.empty((k, length))
    alone, centred, u = np.empty((k, length)), np.empty((d, length)), np.empty((r, length))
    coefs, work, bits = np.empty(r), np.empty(length), np.empty(length, dtype=np.int64)
    for s in range(n_draws):
        likelihood[s] = 0.0
        for start in range(0, n, length):
            m = min(length, n - start)
            take_predictors(columns, places, start, m, u)
            for c in range(k):
                own = terms[c]
                feature_residuals(
                    columns, start, m, mean[s, c], whiten[s, c], dense, centred, z, own
                )
                at = feature_constant[s, c]
                for b in range(m):
                    alone[c, b] = at - 0.5 * own[b]
                if has_response:
                    response_residuals(columns, start, m, line[s, c], sigma[s, c], u, coefs, e, own)
                    at += response_constant[s, c]
                for b in range(m):
                    own[b] = at - 0.5 * own[b]
            likelihood[s] += softmax(terms, work, bits, m)
            for c in range(k):
                for b in range(m):
                    joint[s, c, start + b] = terms[c, b]
            if features.size > 0:
                softmax(alone, work, bits, m)
                for c in range(k):
                    for b in range(m):
                        features[s, c, start + b] = alone[c, b]


def allocate(
    columns: np.ndarray, places: np.ndarray, parameters: Parameters, with_features: bool = False
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Responsibilities and log likelihoods of rows under many parameter values.

    Parameters
    ----------
    columns
        Shape (column, obs), C-contiguous: features, further predictors, response.
    places
        Columns of the predictors, (predictor,).
    parameters
        With one batch dim (draw,).
    with_features
        Whether p(k | x) is wanted too.

    Returns
    -------
    joint, features
        p(k | x, y) and p(k | x), (draw, component, obs); the second empty unless wanted.
    likelihood
        Log likelihoods, (draw,).
    """
    weight = parameters.weight
    (n_draws, k), n = weight.shape, columns.shape[1]
    constant, response = np.log(weight), np.zeros((n_draws, k))
    mean, whiten, dense = np.zeros((n_draws, k, 0)), np.zeros((n_draws, k, 0, 0)), False
    line, sigma = np.zeros((n_draws, k, 1)), np.ones((n_draws, k))
    if "mean" in parameters:
        mean, whiten = parameters.mean, inverse_lower(parameters.cholesky)
        diagonal = np.diagonal(whiten, axis1=-2, axis2=-1)
        constant = constant + np.log(diagonal).sum(-1) - 0.5 * mean.shape[-1] * _LOG_2PI
        dense = bool((whiten * (1 - np.eye(mean.shape[-1]))).any())
    has_response = "sigma" in parameters
    if "sigma" in parameters:
        sigma = parameters.sigma
        line = np.concatenate([parameters.intercept[..., None], parameters.slope], axis=-1)
        response = -np.log(sigma) - 0.5 * _LOG_2PI
    joint, likelihood = np.empty((n_draws, k, n)), np.empty(n_draws)
    features = np.empty((n_draws, k, n) if with_features else (0, 0, 0))
    arrays = (constant, response, mean, whiten, line, sigma)
    _allocate(
        columns,
        np.asarray(places, dtype=float),
        *(np.ascontiguousarray(array, dtype=float) for array in arrays),
        dense,
        has_response,
        joint,
        features,
        likelihood,
    )
    return joint, features, likelihood


def mode_share(rows: Rows, parameters: Parameters) -> np.ndarray:
    """p(k | x, y) at given parameters, (obs, cluster)."""
    share, _, _ = allocate(rows.columns, rows.places, parameters.batched())
    return np.ascontiguousarray(share[0].T)
