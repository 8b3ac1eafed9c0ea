"""Multi-start EM for the joint mixture, and the census of the optima it finds.

EM always runs on standardised columns; what it returns is on the users' scale.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain

import numpy as np
from threadpoolctl import threadpool_limits

from jointmix.base.arguments import random_source
from jointmix.base.errors import SpecError
from jointmix.base.machine import hidden_until_loaded
from jointmix.base.threads import on_cores
from jointmix.families.parameters import Parameters
from jointmix.model.dataset import Dataset, as_dataset
from jointmix.model.spec import ModelSpec
from jointmix.modes.census import Census
from jointmix.modes.climb import SAME_OPTIMUM, climb, expect, is_large, threads
from jointmix.modes.mstep import Problem, make_problem
from jointmix.modes.search import Optima, Search, mass_level
from jointmix.modes.starts import allocations, moves

#: The starts run on a random subset of large tables; the optima are then polished on all rows.
_SUBSET_ROWS, _SUBSET_ROWS_A_PARAMETER = 4_000, 10
#: What is left to gain where coarse runs end.
_TOLERANCE = 1e-2
#: Numbers (starts × rows × clusters) worked on at a time: 32 MB an array.
BATCH_NUMBERS = 4_000_000
#: Starts that a thread climbs from at a time, of so many rows that it pays.
_STARTS_A_THREAD = 5
#: Further rounds of starts end once the best optimum was found so often, or after so many rounds
#: or operations (starts × clusters × (rows × columns + columns³)).
_FOUND_OFTEN, _FURTHER_ROUNDS, _FURTHER_OPERATIONS = 5, 4, 600_000
#: Changes of the best optimum that are tried, for each start.
_MOVES = 3


@dataclass(frozen=True, eq=False)
class Begun:
    """What the usual starts lead to, which depends on nothing else that EM starts from.

    Attributes
    ----------
    optima
        Those found.
    chosen
        Places of the rows that coarse runs have, (row,); None for all.
    rng
        The source of all randomness that follows.
    """

    optima: Optima
    chosen: np.ndarray | None
    rng: np.random.Generator


def fit_em(
    table: object,
    spec: ModelSpec,
    seed: int | np.random.Generator = 1,
    shares: np.ndarray | None = None,
) -> Census:
    """Maximum likelihood from many starts, and the census of the optima by their posterior mass.

    EM runs from ``spec.sampler.starts`` starts, and again until the best optimum was found five
    times or a second or so is spent; then from changes of the best one, in which a cluster is
    given up and another split (Ueda, Nakano, Ghahramani and Hinton 2000), until none is better.

    Parameters
    ----------
    table
        A table as `fit` takes it, or a `Dataset` of it.
    spec
        The model; fixed parts are kept fixed, priors rank the optima.
    seed
        Seed or generator of the random starts.
    shares
        Responsibilities from which EM starts besides, (start, cluster, obs); None for none.

    Returns
    -------
    Census
        Distinct optima, that with the most posterior mass first (Laplace's approximation): the best
        one converged, the others to about 0.001 in the log likelihood. Two runs count as the same
        optimum when their log likelihoods differ by less than 0.01 and they allocate the same rows
        together.

    Raises
    ------
    DataError, ColumnTypeError, SpecError
        If the table does not suit the model, or another argument is not what it must be.

    Examples
    --------
    >>> table = jm.simulate(jm.four_clusters(2), 100, seed=1)
    >>> census = jm.fit_em(table, jm.ModelSpec(n_clusters=2, features=["x1", "x2"]))
    >>> census.best.parameters.mean.shape
    (2, 2)
    """
    dataset, rng = as_dataset(table, spec), random_source(seed)
    _as_shares(shares, dataset)
    return end_em(dataset, begin_em(dataset, rng), shares)


@hidden_until_loaded("jax")
def begin_em(dataset: Dataset, seed: int | np.random.Generator) -> Begun:
    """The optima to which the usual starts lead: random ones, and moves from the best."""
    rng, problem = random_source(seed), make_problem(dataset)
    chosen = _subset(problem, rng)
    search, part = Search(dataset, problem), _part(problem, chosen)
    n_starts = part.spec.sampler.starts if part.spec.n_clusters > 1 else 1
    # The matrices are small: threads would wait for each other.
    with threadpool_limits(1):
        search.add(_run(part, _random(part, n_starts, rng)), part)
        for share in chain(_rounds(search, part, rng), _moved(search, part, rng)):
            search.add(_run(part, share), part)
    return Begun(search.optima, chosen, rng)


@hidden_until_loaded("jax")
def end_em(dataset: Dataset, begun: Begun, shares: np.ndarray | None = None) -> Census:
    """The census of the optima to which the usual starts lead, what is given, and what follows.

    Parameters
    ----------
    dataset, begun
        What EM began with.
    shares
        As `fit_em` takes them.

    Raises
    ------
    SpecError
        If ``shares`` are not what they must be.
    """
    shares = _as_shares(shares, dataset)
    search = Search(dataset, make_problem(dataset), begun.optima)
    with threadpool_limits(1):
        if len(shares):
            before = mass_level(search.best)
            shares = search.problem.parted(shares[..., search.problem.group])
            found = climb(search.problem, shares, _TOLERANCE, max_iterations=1000)
            search.optima.given = search.add(found, search.problem)
            if mass_level(search.best) - before > SAME_OPTIMUM:
                part = _part(search.problem, begun.chosen)
                for share in _moved(search, part, begun.rng):
                    search.add(_run(part, share), part)
        return search.census()


def _part(problem: Problem, chosen: np.ndarray | None) -> Problem:
    return problem if chosen is None else problem.take(chosen)


def _as_shares(shares: np.ndarray | None, dataset: Dataset) -> np.ndarray:
    shape = (dataset.spec.n_clusters, len(dataset.values))
    if shares is None:
        return np.zeros((0, *shape))
    given = np.asarray(shares, dtype=float)
    if given.shape[1:] != shape or not (given >= 0).all() or not (given.sum(1) > 0).all():
        raise SpecError(
            f"shares must be responsibilities (start, {shape[0]}, {shape[1]}), none negative and "
            f"not all zero in a row; got shape {given.shape}."
        )
    return given / given.sum(axis=1, keepdims=True)


def subset_rows(spec: ModelSpec) -> int:
    """Rows on which the starts run, enough for every cluster's own parameters."""
    needed = _SUBSET_ROWS_A_PARAMETER * spec.n_clusters * spec.n_own_parameters
    return max(_SUBSET_ROWS, needed)


def _subset(problem: Problem, rng: np.random.Generator) -> np.ndarray | None:
    """Places of the rows on which the starts run; None for all."""
    n, size = len(problem.table.y), subset_rows(problem.spec)
    return None if n <= 1.5 * size else np.sort(rng.choice(n, size, replace=False))


def _random(part: Problem, n_starts: int, rng: np.random.Generator) -> np.ndarray:
    """Hard allocations (start, obs) of several kinds in turn."""
    u, k = part.starting.u, part.spec.n_clusters
    return allocations(part.features_apart, u, part.told_apart, k, n_starts, rng, part.weight)


def _rounds(search: Search, part: Problem, rng: np.random.Generator) -> Iterator[np.ndarray]:
    """Hard allocations (start, obs) at random to run EM from, as long as it may pay."""
    n_starts, most = part.spec.sampler.starts, _most(part)
    left = min(most, _FURTHER_ROUNDS * n_starts)
    while left > 0 and search.best.n_starts < _FOUND_OFTEN:
        yield _random(part, min(left, n_starts), rng)
        left -= n_starts


def _moved(search: Search, part: Problem, rng: np.random.Generator) -> Iterator[np.ndarray]:
    """Hard allocations (start, obs) near the best optimum, as long as it becomes better.

    Of two clusters, one given up and the other split is a start like any other.
    """
    rows, k, most = part.starting, part.spec.n_clusters, _most(part)
    settled = k < 3 or 2 * search.best.n_starts > search.n_starts
    gain = -np.inf if settled else np.inf
    while most > 0 and gain > SAME_OPTIMUM:
        best = search.best
        share, _ = expect(part, part.scaling.to_model(best.parameters).batched())
        found = moves(
            part.features_apart,
            rows.u,
            part.told_apart,
            share[0],
            min(most, _MOVES * part.spec.sampler.starts),
            rng,
            part.weight,
        )
        if not len(found):
            # No cluster has the rows to be split.
            return
        yield found
        gain = mass_level(search.best) - mass_level(best)


def _most(part: Problem) -> int:
    """Starts that each further round may have."""
    k, columns = part.spec.n_clusters, len(part.spec.columns) + 1
    cost = k * (len(part.values) * columns + columns**3)
    return _FURTHER_OPERATIONS // cost if k > 1 else 0


def _run(part: Problem, hard: np.ndarray) -> Parameters:
    """Coarse runs from allocations, a bounded number at a time; one start a batch entry."""
    k = part.spec.n_clusters
    size = max(1, BATCH_NUMBERS // (len(part.values) * k))
    if is_large(part):
        # As many whatever the cores, so that sums are the same to the last bit.
        size = min(size, _STARTS_A_THREAD)

    def run(first: int) -> Parameters:
        share = part.parted(np.eye(k)[:, hard[first : first + size]].swapaxes(0, 1))
        return climb(part, share, _TOLERANCE, max_iterations=500)

    found = on_cores(run, range(0, len(hard), size), threads(part))
    return Parameters(**{name: np.concatenate([each[name] for each in found]) for name in found[0]})
