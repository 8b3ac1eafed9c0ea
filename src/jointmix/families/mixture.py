"""The mixture's log densities from its blocks', outside PyMC.

    p(x, y) = Σ_k π_k Π_b p_b(columns of block b | k)

Everything that reads a density outside the PyMC model reads these two terms, of the features and
of the response: the likelihood is their logsumexp, responsibilities are their softmax.
"""

from collections.abc import Iterable

import numpy as np

from jointmix.families.moments import Moments, Outside
from jointmix.families.parameters import Parameters
from jointmix.families.patterns import by_pattern
from jointmix.families.protocol import Block
from jointmix.families.rows import Rows


def block_terms(
    blocks: Iterable[Block], rows: Rows, parameters: Parameters
) -> tuple[np.ndarray, np.ndarray]:
    """log p(x | k) and log p(y | x, k), each (..., obs, component); zeros for what is absent.

    Of rows with missing entries they are the densities of what is there, the other features
    integrated out and levels summed over, and log p(y | x, k) is that given the features that
    are there.
    """
    if rows.complete:
        return _whole_terms(blocks, rows, parameters)
    shape = (*parameters.weight.shape[:-1], len(rows.y), parameters.weight.shape[-1])
    features, response = np.zeros(shape), np.zeros(shape)
    for part in by_pattern(rows, parameters, blocks):
        own, given = _whole_terms(part.blocks, part.rows, part.parameters)
        if part.alternatives > 1:
            both = summed(own + given, part.alternatives)
            own = summed(own, part.alternatives)
            given = both - own
        features[..., part.place, :], response[..., part.place, :] = own, given
    return features, response


def summed(terms: np.ndarray, alternatives: int) -> np.ndarray:
    """Log densities (..., obs, component) of rows from those of their completed rows.

    So many of them stand side by side for each row.
    """
    if alternatives == 1:
        return terms
    *batch, n, k = terms.shape
    apart = terms.reshape(*batch, n // alternatives, alternatives, k)
    return log_likelihood(np.swapaxes(apart, -1, -2))


def level_terms(
    blocks: Iterable[Block], rows: Rows, parameters: Parameters, alternatives: int
) -> np.ndarray:
    """log p(levels | x, k) of completed rows side by side, (..., row, component)."""
    own, _ = block_terms([each for each in blocks if not each.of_response], rows, parameters)
    return np.asarray(own - np.repeat(summed(own, alternatives), alternatives, axis=-2))


def _whole_terms(
    blocks: Iterable[Block], rows: Rows, parameters: Parameters
) -> tuple[np.ndarray, np.ndarray]:
    shape = (*parameters.weight.shape[:-1], len(rows.y), parameters.weight.shape[-1])
    features, response = np.zeros(shape), np.zeros(shape)
    for block in blocks:
        if block.of_response:
            response = response + block.log_density(parameters, rows)
        else:
            features = features + block.log_density(parameters, rows)
    return features, response


def log_terms(
    blocks: Iterable[Block], rows: Rows, parameters: Parameters
) -> tuple[np.ndarray, np.ndarray]:
    """log π_k + log p(x | k), and log p(y | x, k), each (..., obs, component)."""
    features, response = block_terms(blocks, rows, parameters)
    return parameters.log_weight[..., None, :] + features, response


def component_log_density(
    blocks: Iterable[Block], rows: Rows, parameters: Parameters
) -> np.ndarray:
    """log π_k + log p(x | k) + log p(y | x, k), shape (..., obs, component)."""
    features, response = log_terms(blocks, rows, parameters)
    return features + response


def log_likelihood(component: np.ndarray) -> np.ndarray:
    """Log density of each row from component log densities (..., N, K): shape (..., N)."""
    largest = component.max(axis=-1)
    return largest + np.log(np.exp(component - largest[..., None]).sum(axis=-1))


def responsibility(component: np.ndarray) -> np.ndarray:
    """p(k | row) from component log densities (..., N, K), of the same shape."""
    scaled = np.exp(component - component.max(axis=-1, keepdims=True))
    return scaled / scaled.sum(axis=-1, keepdims=True)


def cluster_moments(blocks: Iterable[Block], parameters: Parameters, outside: Outside) -> Moments:
    """Means and covariances of each cluster's columns, at draws (draw,)."""
    n_draws, k = parameters.weight.shape
    found = Moments(
        columns=(),
        mean=np.zeros((n_draws, len(outside.rows), k, 0)),
        explained=np.zeros((n_draws, k, 0, 0)),
        noise=np.zeros((n_draws, k, 0)),
    )
    for block in blocks:
        found = block.moments(found, parameters, outside)
    return found
