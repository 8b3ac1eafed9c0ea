"""EM from responsibilities, many runs at once.

Method: Dempster, Laird and Rubin (1977); convergence by Aitken's criterion (Böhning et al. 1994).
"""

from dataclasses import replace

import numpy as np

from jointmix.base.machine import available_cores
from jointmix.base.threads import heed
from jointmix.families.mixture import component_log_density, log_likelihood
from jointmix.families.parameters import Parameters
from jointmix.kernel.allocate import allocate
from jointmix.model.dataset import Dataset
from jointmix.modes.census import Mode
from jointmix.modes.mstep import Problem, make_problem, maximise

#: Optima whose log likelihoods are closer may be the same.
SAME_OPTIMUM = 1e-2
#: Numbers (rows × clusters) of one start below which a thread of its own gains nothing, and those
#: of all starts that are worked on at the same time: 64 MB an array, of which there are four or so.
_FEW_NUMBERS, _MOST_NUMBERS = 40_000, 8_000_000
#: Numbers of one start from which threads divide its rows: fewer starts than cores are worked on.
_DIVIDED_NUMBERS = 4_000_000


def expect(problem: Problem, parameters: Parameters) -> tuple[np.ndarray, np.ndarray]:
    """Responsibilities (start, cluster, obs) and log likelihoods (start,)."""
    blocks = problem.spec.blocks
    share, _, value = allocate(problem.rows, parameters, blocks, least=_DIVIDED_NUMBERS)
    if problem.owner is None:
        return share, value
    # p(k, completion | row) is p(k | completion) times the completion's share of the row's density.
    place = problem.several
    starts = np.unique(problem.owner[place], return_index=True)[1]
    rows, sizes = problem.rows.take(place), np.diff(np.append(starts, len(place)))
    each = log_likelihood(component_log_density(blocks, rows, parameters))
    whole = np.logaddexp.reduceat(each, starts, axis=-1)
    share[..., place] *= np.exp(each - np.repeat(whole, sizes, axis=-1))[:, None]
    return share, value + whole @ rows.weights[starts] - each @ rows.weights


def climb(problem: Problem, share: np.ndarray, tolerance: float, max_iterations: int) -> Parameters:
    """EM from responsibilities (start, cluster, obs) until less than ``tolerance`` is to gain.

    Starts that have converged drop out; the result holds one batch entry a start.
    """
    active = np.arange(len(share))
    parameters = maximise(problem, share, None)
    result = {name: value.copy() for name, value in parameters.items()}
    previous = np.full(len(share), -np.inf)
    gain = np.full(len(share), np.inf)
    for _ in range(max_iterations):
        heed()
        share, value = expect(problem, parameters)
        new_gain = value - previous
        going = ~(np.isfinite(gain) & (_remaining(gain, new_gain) < tolerance))
        for name, array in parameters.items():
            result[name][active] = array
        if not going.any():
            break
        active, previous, gain = active[going], value[going], new_gain[going]
        if not going.all():
            share, parameters = share[going], parameters.take(np.flatnonzero(going))
        parameters = maximise(problem, share, parameters)
    return Parameters(**result)


def _remaining(gain: np.ndarray, new_gain: np.ndarray) -> np.ndarray:
    """What is left to gain after two successive gains, as Aitken extrapolates it."""
    with np.errstate(invalid="ignore"):
        rate = np.clip(new_gain / np.maximum(gain, 1e-300), 0, 1 - 1e-6)
    return np.abs(new_gain) * np.maximum(1, rate / (1 - rate))


def is_large(problem: Problem) -> bool:
    """Whether starts gain from a thread of their own."""
    return len(problem.values) * problem.spec.n_clusters >= _FEW_NUMBERS


def threads(problem: Problem) -> int:
    """Starts that are worked on at a time, each by a thread: of few rows one after the other."""
    if not is_large(problem):
        return 1
    # Made once, before threads look for them.
    _ = problem.rows, problem.products.held
    numbers = len(problem.values) * problem.spec.n_clusters
    return min(available_cores(), max(1, _MOST_NUMBERS // numbers))


def merged_bic(dataset: Dataset, mode: Mode, pairs: list[tuple[int, int]]) -> np.ndarray:
    """BIC after two clusters of a mode were merged and EM ran on from there, (pair,).

    Parameters
    ----------
    mode
        An optimum of the dataset's model.
    pairs
        Places of the clusters to merge, from 0.
    """
    fewer = replace(dataset.spec, n_clusters=dataset.spec.n_clusters - 1, ordering="none")
    share = _shares(dataset, mode)
    problem = make_problem(dataset.under(fewer))
    value = np.empty(len(pairs))
    # One pair at a time: of many rows the responsibilities of all together would be large.
    for place, (one, other) in enumerate(pairs):
        merged = np.delete(share, other, axis=0)
        merged[one - (other < one)] += share[other]
        found = climb(problem, merged[None], SAME_OPTIMUM, max_iterations=500)
        _, (value[place],) = expect(problem, found)
    n = problem.table.total
    value += problem.scaling.total_jacobian(problem.table)
    return np.asarray(-2 * value + fewer.n_parameters * np.log(n))


def _shares(dataset: Dataset, mode: Mode) -> np.ndarray:
    """Responsibilities (cluster, obs) at a mode of the dataset's model."""
    problem = make_problem(dataset)
    (share,), _ = expect(problem, problem.scaling.to_model(mode.parameters).batched())
    return np.asarray(share)
