"""Multi-start EM for the joint mixture, and the census of the optima it finds.

EM always runs on standardised columns; what it returns is on the users' scale. Method:
Dempster, Laird and Rubin (1977); convergence by Aitken's criterion (Boehning et al. 1994).
"""

from dataclasses import dataclass, replace

import numpy as np

from jointmix.base.arguments import random_source
from jointmix.families.parameters import Parameters
from jointmix.families.protocol import VARIANCE_FLOOR
from jointmix.kernel.allocate import allocate
from jointmix.model.dataset import Dataset, as_dataset
from jointmix.model.spec import ModelSpec
from jointmix.modes.mstep import Problem, make_problem, maximise
from jointmix.modes.starts import allocations

#: The starts run on a random subset of large tables; the optima are then polished on all rows.
_SUBSET_ROWS, _SUBSET_ROWS_A_PARAMETER = 4_000, 10
#: The best optima are run to convergence, the others until about so much is left to gain.
_CONVERGED, _TOLERANCE, _REST_TOLERANCE = 3, 1e-7, 1e-3
#: Numbers (starts × rows × clusters) worked on at a time: 32 MB an array.
BATCH_NUMBERS = 4_000_000
_SAME_OPTIMUM = 1e-2


@dataclass(frozen=True, eq=False)
class Mode:
    """One optimum of the likelihood.

    Attributes
    ----------
    parameters
        On the users' scale, clusters by decreasing weight (as given, if they are not
        exchangeable).
    log_likelihood
        Joint log likelihood of all rows, natural log, on the users' scale.
    n_starts
        Number of starts that reached it.
    bic, icl
        Schwarz's criterion −2 log L + p log N, and with twice the entropy of the
        responsibilities added (Biernacki et al. 2000): smaller is better.
    smallest_share
        Smallest weight.
    collapsed
        Whether a cluster's variance shrank to the floor, or it holds fewer rows than it has
        parameters of its own: a spike of the likelihood, not a cluster.
    """

    parameters: Parameters
    log_likelihood: float
    n_starts: int
    bic: float
    icl: float
    smallest_share: float
    collapsed: bool


@dataclass(frozen=True, eq=False)
class Census:
    """The optima that ``n_starts`` starts found, best first, collapsed ones last."""

    modes: tuple[Mode, ...]
    n_starts: int

    @property
    def best(self) -> Mode:
        """The optimum with the highest log likelihood, collapsed only if all are."""
        return self.modes[0]


def _expect(problem: Problem, parameters: Parameters) -> tuple[np.ndarray, np.ndarray]:
    """Responsibilities (start, cluster, obs) and log likelihoods (start,)."""
    share, _, value = allocate(problem.rows, parameters, problem.spec.blocks)
    return share, value


def _remaining(gain: np.ndarray, new_gain: np.ndarray) -> np.ndarray:
    """What is left to gain after two successive gains, as Aitken extrapolates it."""
    with np.errstate(invalid="ignore"):
        rate = np.clip(new_gain / np.maximum(gain, 1e-300), 0, 1 - 1e-6)
    return np.abs(new_gain) * np.maximum(1, rate / (1 - rate))


def _run(problem: Problem, share: np.ndarray, tolerance: float, max_iterations: int) -> Parameters:
    """EM from responsibilities (start, cluster, obs) until less than ``tolerance`` is to gain.

    Starts that have converged drop out; the result holds one batch entry a start.
    """
    active = np.arange(len(share))
    parameters = maximise(problem, share, None)
    result = {name: value.copy() for name, value in parameters.items()}
    previous = np.full(len(share), -np.inf)
    gain = np.full(len(share), np.inf)
    for _ in range(max_iterations):
        share, value = _expect(problem, parameters)
        new_gain = value - previous
        going = ~(np.isfinite(gain) & (_remaining(gain, new_gain) < tolerance))
        for name, array in parameters.items():
            result[name][active] = array
        if not going.any():
            break
        active, previous, gain = active[going], value[going], new_gain[going]
        parameters = maximise(problem, share[going], parameters.take(np.flatnonzero(going)))
    return Parameters(**result)


def subset_rows(spec: ModelSpec) -> int:
    """Rows on which the starts run, enough for every cluster's own parameters."""
    needed = _SUBSET_ROWS_A_PARAMETER * spec.n_clusters * spec.n_own_parameters
    return max(_SUBSET_ROWS, needed)


def _search(problem: Problem, n_starts: int, rng: np.random.Generator) -> Parameters:
    """Coarse runs from all starts, a bounded number at a time; one start a batch entry."""
    rows = problem
    n = len(problem.values)
    size = subset_rows(problem.spec)
    if n > 1.5 * size:
        chosen = np.sort(rng.choice(n, size, replace=False))
        rows = replace(problem, values=problem.values[chosen])
    k = problem.spec.n_clusters
    x, u, y = rows.rows.x, rows.rows.u, rows.rows.y
    hard = allocations(x, u, y if problem.spec.response else None, k, n_starts, rng)
    size = max(1, BATCH_NUMBERS // (len(rows.values) * k))
    found = []
    for first in range(0, n_starts, size):
        share = np.eye(k)[:, hard[first : first + size]].swapaxes(0, 1)
        found.append(_run(rows, share, tolerance=1e-2, max_iterations=500))
    return Parameters(**{name: np.concatenate([part[name] for part in found]) for name in found[0]})


def _canonical(parameters: Parameters, spec: ModelSpec) -> Parameters:
    if not spec.exchangeable:
        return parameters
    return parameters.permute(np.argsort(-parameters.weight, kind="stable"))


def _describe(problem: Problem, parameters: Parameters, n_starts: int) -> Mode:
    """The mode at ``parameters`` (no batch dim, standardised scale) as users see it."""
    spec, n = problem.spec, len(problem.values)
    (share,), (value,) = _expect(problem, parameters.batched())
    value += n * problem.scaling.log_jacobian
    entropy = -(share * np.log(np.maximum(share, 1e-300))).sum()
    bic = -2 * value + spec.n_parameters * np.log(n)
    users = problem.scaling.to_users(parameters)
    if not spec.intercept:
        users = users.replace(intercept=np.zeros(spec.n_clusters))
    return Mode(
        parameters=_canonical(users, spec),
        log_likelihood=float(value),
        n_starts=n_starts,
        bic=float(bic),
        icl=float(bic + 2 * entropy),
        smallest_share=float(parameters.weight.min()),
        collapsed=_collapsed(problem, parameters, n),
    )


def _collapsed(problem: Problem, parameters: Parameters, n: int) -> bool:
    spec = problem.spec
    if spec.n_clusters > 1 and (parameters.weight * n < spec.n_own_parameters).any():
        return True
    spreads = [block.spread(parameters) for block in spec.blocks]
    least = min((float(each.min()) for each in spreads if each is not None), default=np.inf)
    return least**2 < 10 * VARIANCE_FLOOR


def _is_same(one: Mode, other: Mode) -> bool:
    """Whether two polished runs reached the same optimum."""
    if abs(one.log_likelihood - other.log_likelihood) > _SAME_OPTIMUM:
        return False
    ours, theirs = np.sort(one.parameters.weight), np.sort(other.parameters.weight)
    return bool(np.abs(ours - theirs).max() < 1e-2)


def fit_em(table: object, spec: ModelSpec, seed: int | np.random.Generator = 1) -> Census:
    """Maximum likelihood from ``spec.sampler.starts`` starts, and the census of the optima.

    Parameters
    ----------
    table
        A table as `fit` takes it, or a `Dataset` of it.
    spec
        The model; fixed parts are kept fixed, priors are not used.
    seed
        Seed or generator of the random starts.

    Returns
    -------
    Census
        Distinct optima, best first: the best three converged, the others to about 0.001 in the
        log likelihood. Two runs count as the same optimum when their log likelihoods differ by
        less than 0.01 and their sorted weights by less than 0.01.

    Raises
    ------
    DataError, ColumnTypeError, SpecError
        If the table does not suit the model, or another argument is not what it must be.
    """
    dataset, rng = as_dataset(table, spec), random_source(seed)
    problem = make_problem(dataset)
    n_starts = spec.sampler.starts if spec.n_clusters > 1 else 1
    coarse = _search(problem, n_starts, rng)
    return Census(_polish(problem, coarse, n_starts), n_starts)


def _polish(problem: Problem, coarse: Parameters, n_starts: int) -> tuple[Mode, ...]:
    """Run the distinct coarse optima to convergence, and count the starts that led to each."""
    values = [_expect(problem, coarse.take([i]))[1][0] for i in range(n_starts)]
    group = _groups(np.array(values))
    first = [int(np.flatnonzero(group == index)[0]) for index in range(group.max() + 1)]
    share, _ = _expect(problem, coarse.take(first))
    rest = _run(problem, share, _REST_TOLERANCE, max_iterations=1000)
    share, likelihood = _expect(problem, rest)
    best = np.argsort(-likelihood, kind="stable")[:_CONVERGED]
    converged = _run(problem, share[best], _TOLERANCE, max_iterations=3000)
    polished = rest.each()
    for name, value in converged.items():
        polished[name][best] = value
    modes: list[Mode] = []
    for index in range(len(first)):
        mode = _describe(problem, Parameters(**polished).take(index), int((group == index).sum()))
        same = [i for i, known in enumerate(modes) if _is_same(mode, known)]
        if same:
            known = modes[same[0]]
            modes[same[0]] = replace(known, n_starts=known.n_starts + mode.n_starts)
        else:
            modes.append(mode)
    return tuple(sorted(modes, key=lambda mode: (mode.collapsed, -mode.log_likelihood)))


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
    problem, whole = make_problem(dataset.under(fewer)), make_problem(dataset)
    (share,), _ = _expect(whole, whole.scaling.to_model(mode.parameters).batched())
    merged = []
    for one, other in pairs:
        together = share.copy()
        together[one] += together[other]
        merged.append(np.delete(together, other, axis=0))
    found = _run(problem, np.stack(merged), _SAME_OPTIMUM, max_iterations=500)
    _, value = _expect(problem, found)
    n = len(problem.values)
    value = value + n * problem.scaling.log_jacobian
    return np.asarray(-2 * value + fewer.n_parameters * np.log(n))


def _groups(values: np.ndarray) -> np.ndarray:
    """Group numbers of coarse log likelihoods (start,): neighbours closer than 0.01 share one."""
    order = np.argsort(-values, kind="stable")
    steps = np.diff(values[order], prepend=values[order[:1]]) < -_SAME_OPTIMUM
    group = np.empty(len(values), dtype=int)
    group[order] = np.cumsum(steps)
    return group
