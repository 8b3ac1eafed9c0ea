"""Responsibilities of many parameter values at once: EM's starts, or a sampler's draws."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np

from jointmix.base.threads import on_cores, row_parts
from jointmix.families import protocol, together
from jointmix.families.compiling import jit
from jointmix.families.loops import SUMS, softmax
from jointmix.families.mixture import log_likelihood, log_terms, responsibility, summed
from jointmix.families.parameters import Parameters
from jointmix.families.patterns import Pattern, by_pattern
from jointmix.families.rows import Rows
from jointmix.kernel.blocks import compiled_blocks, rows_problem, values_of
from jointmix.kernel.records import HEADER, HEADER_SIZE, blocks_of, header_of, weights_of
from jointmix.kernel.sweep import prepare, rooms, subtract_terms
from jointmix.model.dataset import Dataset


@jit(inner=False, fastmath=SUMS)
def _allocate(
    problem: np.ndarray,
    values: np.ndarray,
    n_given: int,
    slot: np.ndarray,
    order: np.ndarray,
    joint: np.ndarray,
    features: np.ndarray,
    likelihood: np.ndarray,
    first: int,
    last: int,
) -> None:
    """See `allocate`; the first n_given blocks are those of the features.

    What is found for component c of draw s is added at [slot[s], order[s, c]], for the rows from
    ``first``, where a tile begins, up to ``last``.
    """
    header = header_of(problem)
    blocks, k = blocks_of(problem, header), header.n_clusters
    length = header.length
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
        for start in range(first, last, length):
            m = min(length, last - start)
            for c in range(k):
                for b in range(m):
                    terms[c, b] = constant[0, c]
            for i in range(blocks.size):
                if i == n_given:
                    _keep(terms, m, alone)
                subtract_terms(problem, blocks[i], start, m, length, state, kept, scratch, terms)
            if n_given == blocks.size:
                _keep(terms, m, alone)
            for c in range(k):
                for b in range(m):
                    terms[c, b] += constant[1, c]
            weights = weights_of(problem, header, start, m)
            likelihood[s] += softmax(terms, work, bits, m, weights)
            if joint.size > 0:
                _add(terms, m, order[s], joint[slot[s], :, start:])
            if features.size > 0:
                softmax(alone, work, bits, m, weights)
                _add(alone, m, order[s], features[slot[s], :, start:])


@jit()
def _keep(terms: np.ndarray, m: int, out: np.ndarray) -> None:
    """As `copy`, of two dims."""
    for c in range(terms.shape[0]):
        for b in range(m):
            out[c, b] = terms[c, b]


@jit()
def _add(terms: np.ndarray, m: int, order: np.ndarray, out: np.ndarray) -> None:
    for c in range(terms.shape[0]):
        own = out[order[c]]
        for b in range(m):
            own[b] += terms[c, b]


def allocate(
    rows: Rows,
    parameters: Parameters,
    blocks: Sequence[protocol.Block],
    with_features: bool = False,
    least: float = np.inf,
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
    least
        Numbers (rows × components) from which threads divide the rows among them; elsewhere one
        goes through all.

    Returns
    -------
    joint, features
        p(k | x, y) and p(k | x), (draw, component, obs); the second empty unless wanted.
    likelihood
        Log likelihoods, (draw,), rows counting as often as they weigh.
    """
    n_draws, k = parameters.weight.shape
    # An array of its own: of a view, which is read-only, Numba would compile the loop once more.
    each = np.tile(np.arange(k), (n_draws, 1))
    own = _Sums(np.arange(n_draws), each, True, with_features, least)
    return own.of(rows, parameters, blocks)


def mean_shares(
    rows: Rows, parameters: Parameters, labels: np.ndarray, blocks: Sequence[protocol.Block]
) -> tuple[np.ndarray, np.ndarray]:
    """Means over draws of p(k | x, y) and p(k | x), each (cluster, obs).

    Parameters
    ----------
    rows, parameters, blocks
        As for `allocate`.
    labels
        The component that is each cluster in each draw, (draw, cluster).
    """
    own = _Sums(np.zeros(len(labels), dtype=np.int64), np.argsort(labels, axis=1), True, True)
    joint, features, _ = own.of(rows, parameters, blocks)
    return joint[0] / len(labels), features[0] / len(labels)


def likelihoods(rows: Rows, parameters: Parameters, blocks: Sequence[protocol.Block]) -> np.ndarray:
    """Log likelihoods (draw,) alone; arguments as for `allocate`."""
    k = parameters.weight.shape[1]
    own = _Sums(np.zeros(0, dtype=np.int64), np.zeros((0, k), dtype=np.int64), False, False)
    return own.of(rows, parameters, blocks)[2]


@dataclass(frozen=True, eq=False)
class _Sums:
    """Where responsibilities are added up: of draw s and component c at [slot[s], order[s, c]]."""

    slot: np.ndarray
    order: np.ndarray
    with_joint: bool
    with_features: bool
    #: Numbers (rows × components) from which threads divide the rows among them.
    least: float = np.inf

    def of(
        self, rows: Rows, parameters: Parameters, blocks: Sequence[protocol.Block]
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """See `allocate`."""
        if rows.complete:
            return self._complete(rows, parameters, blocks)
        # Rows that miss the same together.
        joint, features = self._zeros(len(rows.y))
        likelihood = np.zeros(len(parameters.weight))
        for part in by_pattern(rows, parameters, blocks):
            some = self._complete if part.alternatives == 1 else partial(self._summed, part)
            found = some(part.rows, part.parameters, part.blocks)
            if self.with_joint:
                joint[..., part.place] = found[0]
            if self.with_features:
                features[..., part.place] = found[1]
            likelihood += found[2]
        return joint, features, likelihood

    def _summed(
        self,
        part: Pattern,
        rows: Rows,
        parameters: Parameters,
        blocks: Sequence[protocol.Block],
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Of rows with completed rows side by side, whose densities are added."""
        alone, response = log_terms(blocks, rows, parameters)
        both, alone = (summed(each, part.alternatives) for each in (alone + response, alone))
        joint, features = self._zeros(len(part.place))
        for found, terms in ((joint, both), (features, alone)):
            if found.size:
                share = np.swapaxes(responsibility(terms), -1, -2)
                np.add.at(found, (self.slot[:, None], self.order), share)
        return joint, features, log_likelihood(both) @ rows.weights[:: part.alternatives]

    def _complete(
        self, rows: Rows, parameters: Parameters, blocks: Sequence[protocol.Block]
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        n_draws, k = parameters.weight.shape
        given = together(blocks, rows)
        compiled = compiled_blocks(given, rows, parameters)
        problem = rows_problem(compiled, k, given, rows)
        joint, features = self._zeros(len(rows.y))
        n_given = sum(not block.of_response for block in given)
        values = values_of(parameters, given, compiled)
        parts = [slice(0, len(rows.y))]
        if len(rows.y) * k >= self.least:
            length = int(problem[:HEADER_SIZE].view(HEADER)[0].length)
            parts = row_parts(len(rows.y), length)
        found = np.empty((len(parts), n_draws))

        def look(part: int) -> None:
            first, last = parts[part].start, parts[part].stop
            _allocate(
                problem, values, n_given, self.slot, self.order, joint, features, found[part],
                first, last,
            )  # fmt: skip

        on_cores(look, range(len(parts)), 1 if len(parts) == 1 else None)
        return joint, features, found.sum(axis=0)

    def _zeros(self, n_rows: int) -> tuple[np.ndarray, np.ndarray]:
        shape = (int(self.slot.max(initial=-1)) + 1, self.order.shape[1], n_rows)
        empty = (0, 0, 0)
        return (
            np.zeros(shape if self.with_joint else empty),
            np.zeros(shape if self.with_features else empty),
        )


def mode_share(rows: Rows, parameters: Parameters, blocks: Sequence[protocol.Block]) -> np.ndarray:
    """p(k | x, y) at given parameters, (obs, cluster)."""
    share, _, _ = allocate(rows, parameters.batched(), blocks)
    return np.ascontiguousarray(share[0].T)


def share_at(dataset: Dataset, parameters: Parameters) -> np.ndarray:
    """`mode_share` of a dataset's rows at parameters on the users' scale, (obs, cluster)."""
    return mode_share(dataset.rows, dataset.scaling.to_model(parameters), dataset.blocks)
