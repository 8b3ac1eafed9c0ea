"""Responsibilities of many parameter values at once: EM's starts, or a sampler's draws."""

from collections.abc import Sequence

import numpy as np

from jointmix.families import protocol, together
from jointmix.families.compiling import jit
from jointmix.families.loops import SUMS, softmax
from jointmix.families.parameters import Parameters
from jointmix.families.patterns import by_pattern
from jointmix.families.rows import Rows
from jointmix.kernel.blocks import compiled_blocks, rows_problem, values_of
from jointmix.kernel.records import blocks_of, header_of, weights_of
from jointmix.kernel.sweep import prepare, rooms, subtract_terms
from jointmix.model.dataset import Dataset


@jit(inner=False, fastmath=SUMS)
def _allocate(
    problem: np.ndarray,
    values: np.ndarray,
    n_given: int,
    joint: np.ndarray,
    features: np.ndarray,
    likelihood: np.ndarray,
) -> None:
    """See `allocate`; the first n_given blocks are those of the features."""
    header = header_of(problem)
    blocks, k = blocks_of(problem, header), header.n_clusters
    n, length = header.n_rows, header.length
    n_state, _, n_kept, n_scratch = rooms(blocks, k)
    state, kept, scratch = (
        np.empty(n_state),
        np.empty(n_kept * length),
        np.empty(n_scratch * length),
    )
    constant, alone, terms = np.empty((2, k)), np.empty((k, length)), np.empty((k, length))
    work, bits = np.empty(length), np.empty(length, dtype=np.int64)
    for s in range(values.shape[0]):
        likelihood[s] = 0.0
        for c in range(k):
            constant[0, c], constant[1, c] = values[s, c], 0.0
        for i in range(blocks.size):
            prepare(problem, blocks[i], k, values[s], state, constant[0 if i < n_given else 1])
        for start in range(0, n, length):
            m = min(length, n - start)
            for c in range(k):
                for b in range(m):
                    terms[c, b] = constant[0, c]
            for i in range(blocks.size):
                if i == n_given:
                    _put(terms, m, alone)
                subtract_terms(problem, blocks[i], start, m, length, state, kept, scratch, terms)
            if n_given == blocks.size:
                _put(terms, m, alone)
            for c in range(k):
                for b in range(m):
                    terms[c, b] += constant[1, c]
            weights = weights_of(problem, header, start, m)
            likelihood[s] += softmax(terms, work, bits, m, weights)
            _put(terms, m, joint[s, :, start:])
            if features.size > 0:
                softmax(alone, work, bits, m, weights)
                _put(alone, m, features[s, :, start:])


@jit()
def _put(terms: np.ndarray, m: int, out: np.ndarray) -> None:
    for c in range(terms.shape[0]):
        for b in range(m):
            out[c, b] = terms[c, b]


def allocate(
    rows: Rows,
    parameters: Parameters,
    blocks: Sequence[protocol.Block],
    with_features: bool = False,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Responsibilities and log likelihoods of rows under many parameter values.

    Parameters
    ----------
    rows
        On the parameters' scale.
    parameters
        With one batch dim (draw,).
    blocks
        Of the model.
    with_features
        Whether p(k | x) is wanted too.

    Returns
    -------
    joint, features
        p(k | x, y) and p(k | x), (draw, component, obs); the second empty unless wanted.
    likelihood
        Log likelihoods, (draw,), rows counting as often as they weigh.
    """
    if rows.complete:
        return _allocated(rows, parameters, blocks, with_features)
    return _allocate_patterns(rows, parameters, blocks, with_features)


def _allocated(
    rows: Rows,
    parameters: Parameters,
    blocks: Sequence[protocol.Block],
    with_features: bool,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """`allocate` of rows all of whose blocks are there."""
    (n_draws, k), n = parameters.weight.shape, len(rows.y)
    given = together(blocks, rows)
    compiled = compiled_blocks(given, rows, parameters)
    problem = rows_problem(compiled, k, given, rows)
    joint, likelihood = np.empty((n_draws, k, n)), np.empty(n_draws)
    features = np.empty((n_draws, k, n) if with_features else (0, 0, 0))
    n_given = sum(not block.of_response for block in given)
    values = values_of(parameters, given, compiled)
    _allocate(problem, values, n_given, joint, features, likelihood)
    return joint, features, likelihood


def _allocate_patterns(
    rows: Rows,
    parameters: Parameters,
    blocks: Sequence[protocol.Block],
    with_features: bool,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """`allocate` of rows with missing entries, those that miss the same together."""
    (n_draws, k), n = parameters.weight.shape, len(rows.y)
    joint, likelihood = np.empty((n_draws, k, n)), np.zeros(n_draws)
    features = np.empty((n_draws, k, n) if with_features else (0, 0, 0))
    for part in by_pattern(rows, parameters, blocks):
        joint[..., part.place], own, value = _allocated(
            part.rows, part.parameters, part.blocks, with_features
        )
        likelihood += value
        if with_features:
            features[..., part.place] = own
    return joint, features, likelihood


def mode_share(rows: Rows, parameters: Parameters, blocks: Sequence[protocol.Block]) -> np.ndarray:
    """p(k | x, y) at given parameters, (obs, cluster)."""
    share, _, _ = allocate(rows, parameters.batched(), blocks)
    return np.ascontiguousarray(share[0].T)


def share_at(dataset: Dataset, parameters: Parameters) -> np.ndarray:
    """`mode_share` of a dataset's rows at parameters on the users' scale, (obs, cluster)."""
    return mode_share(dataset.rows, dataset.scaling.to_model(parameters), dataset.blocks)
