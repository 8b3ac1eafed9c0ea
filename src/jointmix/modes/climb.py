"""EM from responsibilities, many runs at once.

Method: Dempster, Laird and Rubin (1977); convergence by Aitken's criterion (Böhning et al. 1994).
"""

from dataclasses import replace

import numpy as np

from jointmix.families.parameters import Parameters
from jointmix.kernel.allocate import allocate
from jointmix.model.dataset import Dataset
from jointmix.modes.census import Mode
from jointmix.modes.leaps import leap, replaced
from jointmix.modes.mstep import Problem, make_problem, maximise

#: Optima whose log likelihoods are closer may be the same.
SAME_OPTIMUM = 1e-2
#: Steps before the first leap: most runs have converged by then.
_PLAIN = 50
#: The longest first leap, in steps, and how much longer or shorter later ones may become.
_FIRST_LEAP, _LONGER = 4.0, 4.0


def expect(problem: Problem, parameters: Parameters) -> tuple[np.ndarray, np.ndarray]:
    """Responsibilities (start, cluster, obs) and log likelihoods (start,)."""
    share, _, value = allocate(problem.rows, parameters, problem.spec.blocks)
    return share, value


def climb(problem: Problem, share: np.ndarray, tolerance: float, max_iterations: int) -> Parameters:
    """EM from responsibilities (start, cluster, obs) until less than ``tolerance`` is to gain.

    Starts that have converged drop out; the result holds one batch entry a start. Those that have
    not after `_PLAIN` steps leap from then on.
    """
    active = np.arange(len(share))
    parameters = maximise(problem, share, None)
    result = {name: value.copy() for name, value in parameters.items()}
    previous = np.full(len(share), -np.inf)
    gain = np.full(len(share), np.inf)
    for _ in range(min(_PLAIN, max_iterations)):
        share, value = expect(problem, parameters)
        new_gain = value - previous
        going = ~(np.isfinite(gain) & (_remaining(gain, new_gain) < tolerance))
        for name, array in parameters.items():
            result[name][active] = array
        if not going.any():
            return Parameters(**result)
        active, previous, gain = active[going], value[going], new_gain[going]
        parameters = maximise(problem, share[going], parameters.take(np.flatnonzero(going)))
    # A cycle is three steps.
    leapt = _leaping(problem, parameters, tolerance, (max_iterations - _PLAIN) // 3)
    for name, array in leapt.items():
        result[name][active] = array
    return Parameters(**result)


def _leaping(problem: Problem, here: Parameters, tolerance: float, cycles: int) -> Parameters:
    """EM on from parameters of a batch of starts, with a leap after every second step.

    What a leap leads to is left for where the second step ended if it is not as high as where that
    began, so that no start falls.
    """
    active = np.arange(len(here.weight))
    result = {name: value.copy() for name, value in here.items()}
    most, longest = np.full(len(active), _FIRST_LEAP), np.full(len(active), np.inf)
    for _ in range(cycles):
        share, value = expect(problem, here)
        middle = maximise(problem, share, here)
        share, level = expect(problem, middle)
        for name, array in middle.items():
            result[name][active] = array
        # Of what is left a step takes one part in as many as the leaps of late were long.
        going = ~((level - value) * longest < tolerance)
        if not going.any():
            break
        left = np.flatnonzero(going)
        active, most, longest, level = active[left], most[left], longest[left], level[left]
        here, middle = here.take(left), middle.take(left)
        landed = maximise(problem, share[left], middle)
        far, length = leap(here, middle, landed, most, problem.spec)
        share, value = expect(problem, far)
        fell = np.flatnonzero(~(value >= level))
        if len(fell):
            far = replaced(far, fell, landed)
            share[fell], _ = expect(problem, far.take(fell))
        most = np.where(length == most, _LONGER * most, most)
        most[fell] = np.maximum(1.0, length[fell] / _LONGER)
        longest = np.where(np.isfinite(longest), np.maximum(length, longest / 2), length)
        here = maximise(problem, share, far)
    return Parameters(**result)


def _remaining(gain: np.ndarray, new_gain: np.ndarray) -> np.ndarray:
    """What is left to gain after two successive gains, as Aitken extrapolates it."""
    with np.errstate(invalid="ignore"):
        rate = np.clip(new_gain / np.maximum(gain, 1e-300), 0, 1 - 1e-6)
    return np.abs(new_gain) * np.maximum(1, rate / (1 - rate))


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
    n = problem.rows.total
    value += problem.scaling.total_jacobian(problem.rows)
    return np.asarray(-2 * value + fewer.n_parameters * np.log(n))


def _shares(dataset: Dataset, mode: Mode) -> np.ndarray:
    """Responsibilities (cluster, obs) at a mode of the dataset's model."""
    problem = make_problem(dataset)
    (share,), _ = expect(problem, problem.scaling.to_model(mode.parameters).batched())
    return np.asarray(share)
