"""EM under every model of a comparison, where the larger models start from the smaller ones too."""

from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import replace
from functools import partial

import numpy as np
from joblib import delayed
from threadpoolctl import threadpool_limits

from jointmix.base.progress import Progress
from jointmix.base.steps import Step
from jointmix.fitting.candidates import Grid, Key
from jointmix.fitting.clock import Clock
from jointmix.fitting.stages import Asked, Searched, ask
from jointmix.kernel.allocate import share_at
from jointmix.model.spec import ModelSpec
from jointmix.modes.census import Census
from jointmix.modes.climb import SAME_OPTIMUM
from jointmix.modes.em import Begun, begin_em, end_em, fit_em
from jointmix.modes.mstep import make_problem
from jointmix.modes.starts import splits

#: Starts that are made of a model with fewer clusters, and how many times more of the usual ones
#: are tried where a larger model fits worse.
_MOST_SPLITS, _MORE_STARTS = 12, 5
#: Structures that are special cases of others.
_WITHIN = {
    "covariance": {"full": {"diagonal", "spherical", "tied"}, "diagonal": {"spherical"}},
    "noise": {"cluster": {"shared"}},
}
#: Structures that are one where there is one cluster.
_OF_ALL = {"covariance": {"full", "tied"}, "noise": {"cluster", "shared"}}


class Screening:
    """EM under every model, as steps of which some lead to others.

    A model with one cluster more starts from splits of the smaller one's optimum, and one with a
    richer structure from the simpler one's, besides the usual starts: the maximum of a model is at
    least that of a model within it. Where it is not, EM runs from five times as many starts. The
    usual starts wait for no other model.

    Attributes
    ----------
    found
        What EM found under the models that have been screened, and the clocks that go on when they
        are sampled.

    Parameters
    ----------
    grid
        The models.
    wanted
        Those that have to be screened, and with them the models within them; None for all.
    """

    def __init__(
        self,
        table: object,
        grid: Grid,
        seed: int,
        tell: Progress,
        wanted: Collection[Key] | None = None,
    ) -> None:
        specs = grid.specs
        order = sorted(specs, key=lambda key: (specs[key].n_clusters, specs[key].n_parameters))
        self.found: dict[Key, tuple[Searched, Clock]] = {}
        self._tell = tell
        self._within = {
            key: [each for each in order[:place] if _is_within(specs[each], specs[key])]
            for place, key in enumerate(order)
        }
        needed = set(order if wanted is None else wanted)
        for key in reversed(order):
            needed.update(self._within[key] if key in needed else ())
        order = [key for key in order if key in needed]
        self._within = {key: self._within[key] for key in order}
        self._asked = {key: _asked(table, specs[key], seed) for key in order}
        self._begun: dict[Key, tuple[Begun, Clock]] = {}
        tell("screen", 0, len(order), "")

    def steps(self, ended: Callable[[], Iterable[Step]]) -> Iterator[Step]:
        """The steps to begin with.

        Parameters
        ----------
        ended
            Called as each model has been screened: other steps that follow.
        """

        def begun(key: Key, found: tuple[Begun, Clock]) -> Iterator[Step]:
            self._begun[key] = found
            yield from self._ready(screened)

        def screened(key: Key, found: tuple[Census, Clock]) -> Iterator[Step]:
            asked, _ = self._asked.pop(key)
            self.found[key] = Searched(**vars(asked), census=found[0]), found[1]
            self._tell("screen", len(self.found), len(self._within), f"K = {asked.spec.n_clusters}")
            yield from self._ready(screened)
            yield from ended()

        for key, (asked, clock) in self._asked.items():
            yield Step(delayed(_begin)(asked, clock), partial(begun, key))

    def _ready(
        self, screened: Callable[[Key, tuple[Census, Clock]], Iterable[Step]]
    ) -> Iterator[Step]:
        """Models whose usual starts are over and that wait for no other."""
        for key in [key for key in self._begun if set(self._within[key]) <= set(self.found)]:
            (begun, clock), (asked, _) = self._begun.pop(key), self._asked[key]
            inner = [self.found[each][0] for each in self._within[key]]
            job = delayed(_end)(asked, begun, inner, clock)
            # What others wait for goes before all that nothing waits for.
            yield Step(job, partial(screened, key), rank=-1)


def _asked(table: object, spec: ModelSpec, seed: int) -> tuple[Asked, Clock]:
    clock = Clock(None)
    asked = ask(table, spec, seed, clock)
    clock.pause()
    return asked, clock


def _begin(asked: Asked, clock: Clock) -> tuple[Begun, Clock]:
    """What the usual starts lead to."""
    clock.resume()
    clock.start("em")
    # Sums over another number of threads round differently.
    with threadpool_limits(1):
        begun = begin_em(asked.dataset, asked.seed)
    clock.pause()
    return begun, clock


def _end(
    asked: Asked, begun: Begun, inner: Sequence[Searched], clock: Clock
) -> tuple[Census, Clock]:
    """What EM finds besides, from the optima of the models within this one."""
    clock.resume()
    with threadpool_limits(1):
        census = _searched(asked, begun, inner)
    clock.pause()
    return census, clock


def _searched(asked: Asked, begun: Begun, inner: Sequence[Searched]) -> Census:
    k = asked.spec.n_clusters
    rng = np.random.default_rng([asked.seed, k])
    smaller = [each.spec.n_clusters for each in inner if each.spec.n_clusters < k]
    near = [each for each in inner if each.spec.n_clusters >= max(smaller, default=0)]
    shares = [_with_clusters(each, k, rng) for each in near]
    given = np.concatenate(shares) if shares else None
    census = end_em(asked.dataset, begun, given)
    highest = max((each.census.log_likelihood for each in inner), default=-np.inf)
    if census.log_likelihood < highest - SAME_OPTIMUM:
        return _searched_again(asked, census, given)
    return census


def _is_within(inner: ModelSpec, outer: ModelSpec) -> bool:
    """Whether a model is the special case of another that has one thing more."""
    changed = [name for name in _WITHIN if getattr(outer, name) not in _same(inner, name)]
    if inner.n_clusters != outer.n_clusters:
        return not changed and inner.n_clusters < outer.n_clusters
    if len(changed) != 1:
        return False
    return getattr(inner, changed[0]) in _WITHIN[changed[0]].get(getattr(outer, changed[0]), set())


def _same(spec: ModelSpec, name: str) -> set[str]:
    """A structure, and others that are the same: one cluster's is everyone's."""
    value = getattr(spec, name)
    if spec.n_clusters == 1 and value in _OF_ALL[name]:
        return _OF_ALL[name]
    return {value}


def _with_clusters(searched: Searched, k: int, rng: np.random.Generator) -> np.ndarray:
    """Responsibilities (start, cluster, obs) of a model's best optimum, clusters split up to K."""
    dataset = searched.dataset
    shares = share_at(dataset, searched.census.best.parameters).T[None]
    problem = make_problem(dataset)
    rows, x, y = problem.starting, problem.features_apart, problem.told_apart
    for _ in range(k - searched.spec.n_clusters):
        more = [splits(x, rows.u, y, share, rng, problem.weight) for share in shares]
        split = np.concatenate(more)
        shares = split[np.sort(rng.permutation(len(split))[:_MOST_SPLITS])]
        if not len(shares):
            return np.zeros((0, k, len(dataset.values)))
    return shares


def _searched_again(asked: Asked, census: Census, shares: np.ndarray | None) -> Census:
    sampler = replace(asked.spec.sampler, starts=_MORE_STARTS * asked.spec.sampler.starts)
    more = replace(asked.spec, sampler=sampler)
    again = fit_em(asked.dataset.under(more), more, asked.seed, shares)
    return census if again.log_likelihood <= census.log_likelihood else again
