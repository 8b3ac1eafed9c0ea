"""Draws of a NumPyro model's sites as unconstrained values, the inverse of the chart, in NumPy."""

import numpy as np

from jointmix.families.priors.priors import InverseGamma
from jointmix.model.location import coordinates, householder
from jointmix.validation.agreement.chart import Chart
from jointmix.validation.agreement.problem import (
    CORRELATION,
    LOCATION,
    SD,
    SIGMA,
    WEIGHT,
    Problem,
)


def unconstrained(chart: Chart, samples: dict[str, np.ndarray]) -> np.ndarray:
    """Unconstrained values (draw, dim) of draws of the sites, site → (draw, ...).

    The draws of an ordered model must lie inside the cone.
    """
    problem, n = chart.problem, len(next(iter(samples.values())))
    given = {quantity: samples[site] for quantity, (site, _) in chart.sites.items()}
    q = np.empty((n, problem.dim))
    for name, (where, shape) in problem.slices.items():
        q[:, where] = _block(problem, name, given, n, shape).reshape(n, -1)
    return q


def _block(
    problem: Problem, name: str, given: dict[str, np.ndarray], n: int, shape: tuple[int, ...]
) -> np.ndarray:
    priors = problem.spec.priors
    if name == WEIGHT:
        log_weight = np.log(given["weight"].reshape(n, -1))
        return np.asarray(log_weight[:, :-1] - log_weight.mean(1, keepdims=True))
    if name == LOCATION:
        return _location(problem, given, n)
    if name == SD:
        log_sd = _log_sd(given, n, shape)
        return 2 * log_sd if isinstance(priors.sd, InverseGamma) else log_sd
    if name == CORRELATION:
        return _log_odds(_factor(given, n, shape[0], len(problem.spec.features)))
    assert name == SIGMA
    log_sigma = _log_scale(given, ("sigma", "noise_variance", "log_sigma"), n, shape)
    return 2 * log_sigma if isinstance(priors.sigma, InverseGamma) else log_sigma


def _log_scale(
    given: dict[str, np.ndarray], names: tuple[str, str, str], n: int, shape: tuple[int, ...]
) -> np.ndarray:
    sd, variance, log_sd = names
    if sd in given:
        found = np.log(given[sd])
    else:
        found = given[log_sd] if log_sd in given else np.log(given[variance]) / 2
    return np.asarray(found).reshape(n, *shape)


def _log_sd(given: dict[str, np.ndarray], n: int, shape: tuple[int, ...]) -> np.ndarray:
    covariance = _covariance(given)
    if covariance is None:
        return _log_scale(given, ("sd", "variance", "log_sd"), n, shape)
    return np.asarray(np.log(np.einsum("...ii->...i", covariance)) / 2).reshape(n, *shape)


def _covariance(given: dict[str, np.ndarray]) -> np.ndarray | None:
    if "covariance" in given:
        return given["covariance"]
    if "covariance_cholesky" in given:
        factor = given["covariance_cholesky"]
        return np.asarray(factor @ np.swapaxes(factor, -1, -2))
    return np.linalg.inv(given["precision"]) if "precision" in given else None


def _factor(given: dict[str, np.ndarray], n: int, n_matrices: int, d: int) -> np.ndarray:
    """Cholesky factors of the correlation matrices, (draw, matrix, feature, feature)."""
    shape = (n, n_matrices, d, d)
    if "correlation_cholesky" in given:
        return given["correlation_cholesky"].reshape(shape)
    correlation, covariance = given.get("correlation"), _covariance(given)
    if correlation is None:
        assert covariance is not None
        sd = np.sqrt(np.einsum("...ii->...i", covariance))
        correlation = covariance / sd[..., :, None] / sd[..., None, :]
    return np.asarray(np.linalg.cholesky(correlation.reshape(shape)))


def _log_odds(factor: np.ndarray) -> np.ndarray:
    """Log odds (1 + p) / (1 − p) of the partial correlations, (draw, matrix, pair)."""
    d, found = factor.shape[-1], []
    for i, j in zip(*np.tril_indices(d, -1), strict=True):
        rest = np.sqrt(1 - (factor[..., i, :j] ** 2).sum(-1))
        found.append(2 * np.arctanh(factor[..., i, j] / rest))
    return np.stack(found, axis=-1)


def _location(problem: Problem, given: dict[str, np.ndarray], n: int) -> np.ndarray:
    """ξ, or inside the cone its first place and the logs of its gaps, (draw, component, column)."""
    k = problem.spec.n_clusters
    if "place" in given:
        across = given.get("across", np.zeros((n, k, 0)))
        eta = np.concatenate([given["place"].reshape(n, k, 1), across.reshape(n, k, -1)], axis=2)
    else:
        parts, items = [], coordinates(problem.spec)
        for name in dict.fromkeys(item.parameter for item in items):
            prior = next(item.prior for item in items if item.parameter == name)
            if f"{name}_xi" in given:
                parts.append(given[f"{name}_xi"].reshape(n, k, -1))
            else:
                parts.append((given[name].reshape(n, k, -1) - prior.loc) / prior.scale)
        xi = np.concatenate(parts, axis=2)
        if problem.direction is None:
            return xi
        eta = xi @ householder(problem.direction)
    first = eta[:, :, 0]
    gaps = np.concatenate([first[:, :1], np.log(np.diff(first, axis=1))], axis=1)
    return np.concatenate([gaps[:, :, None], eta[:, :, 1:]], axis=2)
