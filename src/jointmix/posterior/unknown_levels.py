"""Predictions of rows that miss levels of which predictors are made: what adds to the variance."""

import numpy as np

from jointmix.families.mixture import log_likelihood, log_terms, responsibility
from jointmix.families.patterns import Pattern
from jointmix.families.protocol import Predicted
from jointmix.families.rows import Rows


def by_cluster(
    total: np.ndarray, share: np.ndarray, rows: Rows, pattern: Pattern, weighted: bool
) -> tuple[np.ndarray, np.ndarray]:
    """What `predictive` gives of completed ``rows``, by cluster: not knowing levels is within.

    Parameters
    ----------
    total, share
        (obs, 6) and (obs, cluster × completion, 3).
    weighted
        Whether draws are weighed by p(x).
    """
    n, k = pattern.alternatives, pattern.parameters.weight.shape[-1]
    p, mean, variance = np.moveaxis(share.reshape(len(share), k, n, 3), -1, 0)
    whole = p.sum(axis=2)
    part = p / np.maximum(whole, 1e-300)[..., None]
    center = (part * mean).sum(axis=2)
    square = (part * (variance + (mean - center[..., None]) ** 2)).sum(axis=2)
    moved = _between_levels(rows, pattern, weighted)
    total = total.copy()
    total[:, 1] += moved
    total[:, 2] = np.maximum(total[:, 2] - moved, 0.0)
    return total, np.stack([whole, center, square], axis=-1)


def _between_levels(rows: Rows, pattern: Pattern, weighted: bool) -> np.ndarray:
    """The variance of E[y | x, k, levels] over levels, averaged over clusters and draws, (row,)."""
    model, n = pattern.parameters, pattern.alternatives
    of_x = log_terms(pattern.blocks, rows, model)[0]
    n_draws, k = len(of_x), of_x.shape[-1]
    of_x = of_x.reshape(n_draws, -1, n, k)
    response = pattern.blocks[-1]
    assert isinstance(response, Predicted)
    mean = response.mean(model, rows).reshape(of_x.shape)
    whole = np.logaddexp.reduce(of_x, axis=2, keepdims=True)
    level = np.exp(of_x - whole)
    center = (level * mean).sum(axis=2, keepdims=True)
    inside = (level * (mean - center) ** 2).sum(axis=2)
    density = log_likelihood(whole[:, :, 0])
    weight = np.exp(density - density.max(axis=0)) if weighted else np.ones(density.shape)
    share = responsibility(whole[:, :, 0]) * (weight / weight.sum(axis=0))[..., None]
    return np.asarray((share * inside).sum(axis=(0, 2)))
