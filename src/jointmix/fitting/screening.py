"""EM under every model of a comparison, where the larger models start from the smaller ones too."""

from dataclasses import replace

import numpy as np

from jointmix.base.progress import Progress
from jointmix.fitting.candidates import Grid, Key
from jointmix.fitting.workflow import Clock, Searched, search
from jointmix.kernel.allocate import share_at
from jointmix.model.spec import ModelSpec
from jointmix.modes.climb import SAME_OPTIMUM
from jointmix.modes.em import fit_em
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


def screen(
    table: object, grid: Grid, seed: int, tell: Progress
) -> dict[Key, tuple[Searched, Clock]]:
    """What EM finds under every model, and the clocks that go on when models are sampled.

    A model with one cluster more starts from splits of the smaller one's optimum, and one with a
    richer structure from the simpler one's, besides the usual starts: the maximum of a model is at
    least that of a model within it. Where it is not, EM runs from five times as many starts.
    """
    found: dict[Key, tuple[Searched, Clock]] = {}
    order = sorted(
        grid.specs, key=lambda key: (grid.specs[key].n_clusters, grid.specs[key].n_parameters)
    )
    tell("screen", 0, len(order), "")
    for done, key in enumerate(order, start=1):
        spec, clock = grid.specs[key], Clock(None)
        inner = [each for each, _ in found.values() if _is_within(each.spec, spec)]
        rng = np.random.default_rng([seed, spec.n_clusters])
        fewer = max(
            (each.spec.n_clusters for each in inner if each.spec.n_clusters < spec.n_clusters),
            default=0,
        )
        near = [each for each in inner if each.spec.n_clusters >= fewer]
        shares = [_with_clusters(each, spec.n_clusters, rng) for each in near]
        given = np.concatenate(shares) if shares else None
        searched = search(table, spec, seed, clock, shares=given)
        highest = max((each.census.log_likelihood for each in inner), default=-np.inf)
        if searched.census.log_likelihood < highest - SAME_OPTIMUM:
            searched = _searched_again(searched, given)
        clock.pause()
        found[key] = (searched, clock)
        tell("screen", done, len(order), f"K = {spec.n_clusters}")
    return {key: found[key] for key in grid.specs}


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
    rows, x, y = problem.rows, problem.features_apart, problem.told_apart
    for _ in range(k - searched.spec.n_clusters):
        more = [splits(x, rows.u, y, share, rng, problem.weight) for share in shares]
        split = np.concatenate(more)
        shares = split[np.sort(rng.permutation(len(split))[:_MOST_SPLITS])]
        if not len(shares):
            return np.zeros((0, k, len(dataset.values)))
    return shares


def _searched_again(searched: Searched, shares: np.ndarray | None) -> Searched:
    spec = searched.spec
    sampler = replace(spec.sampler, starts=_MORE_STARTS * spec.sampler.starts)
    more = replace(spec, sampler=sampler)
    census = fit_em(searched.dataset.under(more), more, searched.seed, shares)
    if census.log_likelihood <= searched.census.log_likelihood:
        return searched
    return replace(searched, census=census)
