"""The optima that runs of EM lead to: told apart, weighed by the posterior's mass, and ranked."""

from dataclasses import dataclass, field, replace

import numpy as np
from scipy.optimize import linear_sum_assignment
from scipy.special import entr

from jointmix.base.threads import on_cores
from jointmix.families.limits import VARIANCE_FLOOR
from jointmix.families.parameters import Parameters
from jointmix.kernel.allocate import mode_share, share_at
from jointmix.kernel.problem import n_free
from jointmix.model.dataset import Dataset
from jointmix.model.spec import ModelSpec
from jointmix.modes.census import Census, Mode
from jointmix.modes.climb import SAME_OPTIMUM, climb, expect, threads
from jointmix.modes.mass import Landscape
from jointmix.modes.mstep import Problem
from jointmix.modes.ordering import location_covariance

#: What is left to gain where the best optimum is run to, and where the others are.
_TOLERANCE, _REST_TOLERANCE = 1e-7, 1e-3
#: Optima whose posterior mass is computed, if within so many nats of the best: at a time and in
#: all, and the gradients that this may take, a tenth of what chains need.
_WEIGHED, _WEIGHED_IN_ALL, _WITHIN, _WEIGHING_GRADIENTS = 6, 18, 20.0, 6_000
#: Nats that the likeliest parameters of a subset of the rows are below those of all of them, at
#: most, in units of what is expected: half the number of parameters for every size of the subset.
_LOST = 4.0
#: Share of a row, on average, that two optima may allocate differently and yet be the same.
_SAME_SHARE = 0.02


@dataclass(frozen=True, eq=False)
class _Optimum:
    """A mode while it is searched for.

    `at_floor` tells whether a variance shrank to the floor; `score` is a rough log mass, by the
    posterior density there and the locations' standard errors; `ends` the numbers of the coarse
    runs' ends that led to it.
    """

    mode: Mode
    at_floor: bool
    ends: tuple[int, ...]
    score: float = -np.inf


def mass_level(mode: Mode) -> float:
    """What optima are ranked by."""
    return mode.log_likelihood if np.isnan(mode.log_mass) else mode.log_mass


@dataclass(eq=False)
class Optima:
    """What runs of EM have led to so far; without the rows, so that it may go on elsewhere.

    Attributes
    ----------
    to_weigh
        Optima whose posterior mass may still be computed.
    found
        The one with the most posterior mass first.
    values, allocations, counts
        Of each different end of a coarse run: its log likelihood, who is where, and how often.
    given
        Numbers of the ends of starts that were given.
    """

    to_weigh: int
    found: list[_Optimum] = field(default_factory=list)
    values: list[float] = field(default_factory=list)
    allocations: list[np.ndarray] = field(default_factory=list)
    counts: list[int] = field(default_factory=list)
    given: list[int] = field(default_factory=list)


class Search:
    """Looks for optima of a model, given rows.

    Parameters
    ----------
    dataset, problem
        The rows under the model.
    optima
        What was found before; None if nothing.
    """

    def __init__(self, dataset: Dataset, problem: Problem, optima: Optima | None = None) -> None:
        self.dataset, self.problem, self._landscape = dataset, problem, Landscape(dataset)
        # A climb takes about a hundred gradients, the curvature two for each dimension.
        cost = 100 + 2 * n_free(dataset.spec)
        to_weigh = min(_WEIGHED_IN_ALL, max(1, _WEIGHING_GRADIENTS // cost))
        self.optima = optima or Optima(to_weigh)
        if optima is not None:
            # Of what is found now some are weighed, however many were before.
            self.optima.to_weigh = max(self.optima.to_weigh, min(_WEIGHED, to_weigh))

    @property
    def n_starts(self) -> int:
        """Runs of EM so far."""
        return sum(self.optima.counts)

    @property
    def best(self) -> Mode:
        """The first, and how many runs led to it."""
        return self._counted(self.optima.found[0])

    def census(self) -> Census:
        """All of them, the best run to convergence."""
        first, *rest = self.optima.found
        parameters = self.problem.scaling.to_model(first.mode.parameters)
        share, _ = expect(self.problem, parameters.batched())
        at = climb(self.problem, share, _TOLERANCE, max_iterations=3000)
        mode, _ = _described(self.problem, at.take(0))
        known, peak = first.mode, first.mode.peak
        if peak is not None and self.dataset.spec.exchangeable:
            peak = peak.permuted(_by_weight(at.take(0)), self.dataset.spec)
        mode = replace(mode, log_mass=known.log_mass, collapsed=known.collapsed, peak=peak)
        self.optima.found = [replace(first, mode=mode)]
        for each in rest:
            self._join(each)
        reached = tuple(
            next(place for place, each in enumerate(self.optima.found) if end in each.ends)
            for end in self.optima.given
        )
        return Census(
            tuple(self._counted(each) for each in self.optima.found), self.n_starts, reached
        )

    def _counted(self, optimum: _Optimum) -> Mode:
        return replace(optimum.mode, n_starts=sum(self.optima.counts[end] for end in optimum.ends))

    def add(self, coarse: Parameters, part: Problem) -> list[int]:
        """Polish the new ends of coarse runs, one a batch entry; weigh those that may be best.

        They ran on the rows ``part``. What is so far below the best that all rows cannot lift it
        there is not polished. Returns the numbers of the ends.
        """
        ends = [self._end(coarse.take([i]), part) for i in range(len(coarse.weight))]
        new = {end: i for i, end in reversed(list(enumerate(ends))) if self.optima.counts[end] == 0}
        for end in ends:
            self.optima.counts[end] += 1
        if new:
            found = on_cores(
                lambda end: self._optimum(coarse.take(new[end]), end), new, threads(self.problem)
            )
            level = max(each.score for each in (*self.optima.found, *found)) - 2 * _WITHIN
            if part is not self.problem:
                times = self.problem.table.total / part.table.total
                level -= _LOST * times * self.dataset.spec.n_parameters / 2
            near = [i for i, each in enumerate(found) if each.score >= level]
            if near:
                at = [new[found[i].ends[0]] for i in near]
                share, _ = expect(self.problem, coarse.take(at))
                polished = climb(self.problem, share, _REST_TOLERANCE, max_iterations=1000)
                for index, i in enumerate(near):
                    found[i] = self._optimum(polished.take(index), *found[i].ends)
            for optimum in found:
                self._join(optimum)
        self._weigh()
        return ends

    def _optimum(self, parameters: Parameters, end: int) -> _Optimum:
        """The optimum at parameters on the standardised scale, without batch dim."""
        mode, at_floor = _described(self.problem, parameters)
        score = -np.inf if at_floor else self._score(mode.parameters)
        return _Optimum(mode, at_floor, (end,), score)

    def _end(self, parameters: Parameters, part: Problem) -> int:
        """The number of the end at which a coarse run on some rows is."""
        (share,), (value,) = expect(part, parameters)
        hard = part.joined(share).argmax(0).astype(np.int16)
        for number in np.flatnonzero(np.abs(np.array(self.optima.values) - value) < SAME_OPTIMUM):
            known = self.optima.allocations[number]
            if len(known) == len(hard) and _alike(hard, known, part):
                return int(number)
        self.optima.values.append(float(value))
        self.optima.allocations.append(hard)
        self.optima.counts.append(0)
        return len(self.optima.values) - 1

    def _join(self, optimum: _Optimum) -> None:
        for index, known in enumerate(self.optima.found):
            if self._is_same(known, optimum):
                self.optima.found[index] = replace(known, ends=known.ends + optimum.ends)
                return
        self.optima.found.append(optimum)

    def _score(self, parameters: Parameters) -> float:
        """The log density, and half the log determinant of the locations' sampling covariance."""
        dataset, scaled = self.dataset, self.dataset.scaling.to_model(parameters)
        share = share_at(dataset, parameters)
        errors = location_covariance(scaled, dataset.spec, share, dataset.rows)
        size = float(np.linalg.slogdet(errors)[1].sum()) / 2 if errors.size else 0.0
        return self._landscape.log_density(self._landscape.point(parameters))[0] + size

    def _is_same(self, one: _Optimum, other: _Optimum) -> bool:
        if abs(one.mode.log_likelihood - other.mode.log_likelihood) > SAME_OPTIMUM:
            return False
        ours, theirs = (np.sort(each.mode.parameters.weight) for each in (one, other))
        if np.abs(ours - theirs).max() > SAME_OPTIMUM:
            return False
        scaling = self.dataset.scaling
        return self._agree(*(scaling.to_model(each.mode.parameters) for each in (one, other)))

    def _agree(self, one: Parameters, other: Parameters) -> bool:
        """Whether parameters on the model's scale put the same rows together."""
        rows, spec = self.dataset.rows, self.dataset.spec
        ours, theirs = (mode_share(rows, each, spec.blocks) for each in (one, other))
        if spec.exchangeable:
            _, match = linear_sum_assignment(-(rows.weighted(ours).T @ theirs))
            theirs = theirs[:, match]
        apart = rows.weighted(np.abs(ours - theirs)).sum()
        return bool(apart / 2 < _SAME_SHARE * rows.total)

    def _weigh(self) -> None:
        """The posterior mass of the optima that may have most of it, and all in its order."""
        # Spikes that are known for what they are set no level.
        alive = [
            each for each in self.optima.found if each.mode.log_mass > -np.inf or _unknown(each)
        ]
        level = max((each.score for each in alive), default=-np.inf)
        near = [each for each in alive if _unknown(each) and not each.at_floor]
        near = [each for each in near if each.score >= level - _WITHIN]
        near.sort(key=lambda each: -each.score)
        if not any(np.isfinite(each.mode.log_mass) for each in self.optima.found):
            self.optima.to_weigh = max(self.optima.to_weigh, 1)
        for optimum in near[: min(_WEIGHED, self.optima.to_weigh)]:
            self.optima.to_weigh -= 1
            self.optima.found.remove(optimum)
            peak = self._landscape.peak_near(optimum.mode.parameters)
            mass = -np.inf if peak is None else peak.normal.log_mass
            mode = replace(optimum.mode, log_mass=mass, collapsed=peak is None, peak=peak)
            self._join_peak(replace(optimum, mode=mode))
        self.optima.found.sort(key=_rank)

    def _join_peak(self, optimum: _Optimum) -> None:
        """Add an optimum, or count it with the one that leads to the same posterior mode."""
        for index, known in enumerate(self.optima.found):
            if self._leads_alike(known, optimum):
                higher = max(known, optimum, key=lambda each: each.mode.log_likelihood)
                self.optima.found[index] = replace(higher, ends=known.ends + optimum.ends)
                return
        self.optima.found.append(optimum)

    def _leads_alike(self, one: _Optimum, other: _Optimum) -> bool:
        ours, theirs = one.mode.peak, other.mode.peak
        if ours is None or theirs is None:
            return False
        gap = ours.normal.log_density - theirs.normal.log_density
        return abs(gap) < SAME_OPTIMUM and self._agree(ours.parameters, theirs.parameters)


def _unknown(optimum: _Optimum) -> bool:
    """Whether its posterior mass was not computed."""
    return bool(np.isnan(optimum.mode.log_mass))


def _rank(optimum: _Optimum) -> tuple[bool, bool, float]:
    mode = optimum.mode
    return mode.collapsed, bool(np.isnan(mode.log_mass)), -mass_level(mode)


def _alike(one: np.ndarray, other: np.ndarray, problem: Problem) -> bool:
    """Whether two allocations (obs,) are the same, but for labels where clusters exchange."""
    k, rows = problem.spec.n_clusters, problem.table
    together = np.bincount(one.astype(np.intp) * k + other, rows.weight, k * k).reshape(k, k)
    match = np.diag_indices(k)
    if problem.spec.exchangeable:
        match = linear_sum_assignment(together, maximize=True)
    return bool(together[match].sum() > (1 - _SAME_SHARE) * rows.total)


def _described(problem: Problem, parameters: Parameters) -> tuple[Mode, bool]:
    """The mode at ``parameters`` (no batch dim, standardised scale), and whether at the floor."""
    spec, rows, n = problem.spec, problem.table, problem.table.total
    (share,), (value,) = expect(problem, parameters.batched())
    share = problem.joined(share)
    value += problem.scaling.total_jacobian(rows)
    at_floor = _at_floor(problem, parameters)
    own = spec.n_own_parameters if spec.n_clusters > 1 else 0
    entropy = rows.weighted(entr(share).T).sum()
    bic = -2 * value + spec.n_parameters * np.log(n)
    users = problem.scaling.to_users(parameters)
    if not spec.intercept:
        users = users.replace(intercept=np.zeros(spec.n_clusters))
    mode = Mode(
        parameters=_canonical(users, spec),
        log_likelihood=float(value),
        n_starts=0,
        bic=float(bic),
        icl=float(bic + 2 * entropy),
        smallest_share=float(parameters.weight.min()),
        log_mass=float("nan"),
        collapsed=at_floor or bool((parameters.weight * n < own).any()),
    )
    return mode, at_floor


def _canonical(parameters: Parameters, spec: ModelSpec) -> Parameters:
    if not spec.exchangeable:
        return parameters
    return parameters.permute(_by_weight(parameters))


def _by_weight(parameters: Parameters) -> np.ndarray:
    return np.argsort(-parameters.weight, kind="stable")


def _at_floor(problem: Problem, parameters: Parameters) -> bool:
    spreads = [block.spread(parameters) for block in problem.spec.blocks]
    least = min((float(each.min()) for each in spreads if each is not None), default=np.inf)
    return least**2 < 10 * VARIANCE_FLOOR
