"""What a pass over the draws gathers: permutations, likelihoods, and which rows are where.

The component log densities are evaluated once, a bounded number of draws at a time, for all that
needs them. Of large fits permutations come from a stratified sample of the rows, wherever that
leaves no doubt, and mean responsibilities from some of the draws.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from jointmix.base.machine import available_cores
from jointmix.base.threads import on_cores
from jointmix.families.parameters import Parameters
from jointmix.families.rows import Rows
from jointmix.kernel.allocate import allocate, likelihoods, mean_shares
from jointmix.labels.assignment import permute
from jointmix.labels.sample import FEW_ROWS, SAMPLE_ROWS, Sample, stratified
from jointmix.model.spec import ModelSpec

#: Numbers (draws × rows × components) worked on at a time: 16 MB an array.
_BATCH_NUMBERS = 2_000_000
#: Numbers up to which all rows are evaluated at all draws; beyond, as many for mean
#: responsibilities, at some of the draws, of each chain this many or more.
_MOST_NUMBERS, _MEAN_NUMBERS, _LEAST_DRAWS = 400_000_000, 60_000_000, 25
#: Rows whose mean responsibilities by chains are in memory at a time.
_ROWS = 16_384
#: Expected rows from which a cluster is occupied in double precision.
_SURELY_OCCUPIED = 40.0

#: Gives the permutations (draw, cluster) of some draws from their places, parameters and
#: responsibilities (draw, component, obs), of all rows or of a sample; and of which draws (draw,)
#: all rows would give the same.
Chooser = Callable[
    [slice | np.ndarray, Parameters, np.ndarray, Sample | None], tuple[np.ndarray, np.ndarray]
]


@dataclass(frozen=True, eq=False)
class Gathered:
    """What a pass over the draws gathers, chains one after the other.

    Attributes
    ----------
    permutation
        (draw, cluster): the component, from 0, that became each cluster.
    log_likelihood
        (draw,), on the scale of the rows.
    share, share_features
        Means over draws of p(k | x, y) and p(k | x), (obs, cluster).
    share_draws, share_error
        Number of draws of which they are means, and the Monte Carlo error that the choice of those
        leaves: of p(k | x, y), root mean square, by the chains' means. 0 where all were taken.
    occupied
        Probability that the cluster holds at least one row, 1 − Π_n (1 − p(k | x_n, y_n)), over
        all observations that rows stand for, (draw, cluster).
    """

    permutation: np.ndarray
    log_likelihood: np.ndarray
    share: np.ndarray
    share_features: np.ndarray
    share_draws: int
    share_error: float
    occupied: np.ndarray


def gather(
    rows: Rows,
    parameters: Parameters,
    n_chains: int,
    choose: Chooser,
    spec: ModelSpec,
    pivot: np.ndarray,
    likelihood: np.ndarray | None = None,
) -> Gathered:
    """Pass over the draws once.

    Parameters
    ----------
    rows, parameters
        On the same scale; parameters have one leading dim, chains one after the other.
    n_chains
        Number of chains, all of the same length.
    choose
        Gives the permutations of some draws.
    spec
        The model.
    pivot
        Cluster of each row, (obs,), by which a sample of the rows is drawn.
    likelihood
        Log likelihoods, if they are known.
    """
    total, k = parameters.weight.shape
    if total * len(rows.y) * k <= _MOST_NUMBERS:
        return _of_all(rows, parameters, n_chains, choose, spec)
    return _of_sample(rows, parameters, n_chains, choose, spec, pivot, likelihood)


def _of_all(
    rows: Rows, parameters: Parameters, n_chains: int, choose: Chooser, spec: ModelSpec
) -> Gathered:
    total, k = parameters.weight.shape
    n_rows, n_draws = len(rows.y), total // n_chains
    permutation = np.empty((total, k), dtype=np.int64)
    likelihood, occupied = np.empty(total), np.empty((total, k))
    chain_share, share_features = np.zeros((2, n_chains, k, n_rows))
    cores = min(n_chains, available_cores()) if total * n_rows * k > _BATCH_NUMBERS else 1

    def walk(chain: int) -> None:
        own = range(chain * n_draws, (chain + 1) * n_draws)
        for batch in _batches(own, n_rows * k * cores):
            part = parameters.take(batch)
            joint, features, likelihood[batch] = allocate(rows, part, spec.blocks, True)
            labels, _ = choose(batch, part, joint, None)
            permutation[batch] = labels
            occupied[batch] = permute(_occupied(joint, _copies(rows)), labels)
            _add_permuted(chain_share[chain], joint, labels)
            _add_permuted(share_features[chain], features, labels)

    on_cores(walk, range(n_chains), cores)
    # A chain's mean before the mean of chains: what rounding leaves is that of chains alike.
    chain_share /= n_draws
    return Gathered(
        permutation=permutation,
        log_likelihood=likelihood,
        share=chain_share.mean(axis=0).T,
        share_features=share_features.sum(axis=0).T / total,
        share_draws=total,
        share_error=0.0,
        occupied=occupied,
    )


def _of_sample(
    rows: Rows,
    parameters: Parameters,
    n_chains: int,
    choose: Chooser,
    spec: ModelSpec,
    pivot: np.ndarray,
    likelihood: np.ndarray | None,
) -> Gathered:
    total, k = parameters.weight.shape
    n_rows, n_draws, blocks = len(rows.y), total // n_chains, spec.blocks
    # Most draws of clusters that are apart a few rows settle.
    samples = [stratified(rows, pivot, k, size) for size in (FEW_ROWS, SAMPLE_ROWS)]
    permutation, occupied = np.empty((total, k), dtype=np.int64), np.ones((total, k))
    known = np.empty(total) if likelihood is None else likelihood.ravel()
    cores = available_cores()

    def look(batch: slice) -> None:
        left = np.arange(batch.start, batch.stop)
        for sample in samples:
            part = parameters.take(left.tolist())
            joint, _, _ = allocate(sample.rows, part, blocks)
            permutation[left], sure = choose(left, part, joint, sample)
            # Rows of the sample alone: the others can only make a cluster less empty.
            held = (joint.sum(-1) if rows.weight is None else joint @ _copies(sample.rows)).min(-1)
            left = left[~sure | (held < _SURELY_OCCUPIED)]
            if not len(left):
                break
        for draw in left:
            one = slice(draw, draw + 1)
            alone = parameters.take(one)
            every, _, _ = allocate(rows, alone, blocks)
            permutation[one], _ = choose(one, alone, every, None)
            occupied[one] = permute(_occupied(every, _copies(rows)), permutation[one])
        if likelihood is None:
            known[batch] = likelihoods(rows, parameters.take(batch), blocks)

    on_cores(look, [*_batches(range(total), SAMPLE_ROWS * k * k * cores)], cores)
    least = min(n_draws, max(_LEAST_DRAWS, _MEAN_NUMBERS // (n_rows * k * n_chains)))
    taken = np.linspace(0, n_draws - 1, least).astype(int)
    owns = [chain * n_draws + taken for chain in range(n_chains)]
    drawn = [(parameters.take(own.tolist()), permutation[own]) for own in owns]
    share, share_features = np.empty((2, n_rows, k))

    def average(first: int) -> float:
        """Fill the means of some rows; the sum of the variances of chains' means."""
        part = slice(first, first + _ROWS)
        some = rows.take(part)
        means = np.stack([mean_shares(some, *each, blocks) for each in drawn])
        share[part], share_features[part] = means.mean(axis=0).swapaxes(1, 2)
        return float(means[:, 0].var(axis=0, ddof=1).sum()) if n_chains > 1 else np.nan

    spread = sum(on_cores(average, range(0, n_rows, _ROWS), cores))
    error = np.sqrt(spread / (n_chains * n_rows * k))
    return Gathered(
        permutation=permutation,
        log_likelihood=known,
        share=share,
        share_features=share_features,
        share_draws=n_chains * len(taken),
        share_error=float(error),
        occupied=occupied,
    )


def _batches(draws: range, numbers: int) -> Iterator[slice]:
    """Draws in blocks, where so many numbers are worked on for each."""
    size = max(1, _BATCH_NUMBERS // numbers)
    for first in range(draws.start, draws.stop, size):
        yield slice(first, min(first + size, draws.stop))


def _copies(rows: Rows) -> np.ndarray | None:
    return None if rows.weight is None else rows.copies


def _occupied(joint: np.ndarray, copies: np.ndarray | None) -> np.ndarray:
    """Probability that a component holds a row, (draw, component); rows are as many copies."""
    found = np.ones(joint.shape[:2])
    # ∏ (1 − r) ≤ exp(−Σ r): with so many expected rows the probability rounds to 1.
    few = (joint.sum(axis=-1) if copies is None else joint @ copies) < _SURELY_OCCUPIED
    # A responsibility of one makes the logarithm -inf, and the cluster occupied for certain.
    with np.errstate(divide="ignore"):
        empty = np.log1p(-np.minimum(joint[few], 1.0))
        found[few] = -np.expm1((empty if copies is None else empty * copies).sum(axis=-1))
    return found


def _add_permuted(total: np.ndarray, share: np.ndarray, permutation: np.ndarray) -> None:
    """Add to (cluster, obs) the responsibilities (draw, component, obs) of all draws."""
    for labels, own in zip(*_runs(permutation, share), strict=True):
        total += own.sum(axis=0)[labels]


def _runs(permutation: np.ndarray, share: np.ndarray) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Draws of the same permutation one after the other, together."""
    starts = np.flatnonzero((np.diff(permutation, axis=0) != 0).any(axis=1)) + 1
    return [permutation[first] for first in (0, *starts)], np.split(share, starts)
