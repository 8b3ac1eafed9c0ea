"""The rows that EM climbs on, and its M-step: each block's own, at weighted rows.

One matrix product of responsibilities with the rows' w w', w = (1, standardised columns), serves
the closed forms of all blocks, components and EM starts.
"""

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from jointmix.families.completing import expected_moments
from jointmix.families.parameters import Parameters
from jointmix.families.priors.priors import Fixed
from jointmix.families.protocol import Step
from jointmix.families.rows import Rows
from jointmix.families.steps import Products
from jointmix.model.completions import expanded_values
from jointmix.model.dataset import Dataset
from jointmix.model.rows import by_role
from jointmix.model.scaling import Scaling, standard_scaling
from jointmix.model.spec import ModelSpec
from jointmix.modes.expected import guessed


@dataclass(frozen=True, eq=False)
class Problem:
    """The standardised columns (obs, column) of a model, their scale, and the rows' weights.

    A row that misses levels on which its response depends is here as its completed rows, whose
    responsibilities are shares of it; ``owner`` (obs,) is then the row of each in the table.
    ``known`` are the rows by role, where they are made already.
    """

    spec: ModelSpec
    scaling: Scaling
    values: np.ndarray
    weight: np.ndarray | None = None
    owner: np.ndarray | None = None
    known: Rows | None = None

    @cached_property
    def table(self) -> Rows:
        """The rows once each, whatever they are completed by; of these levels none is read."""
        if self.owner is None:
            return self.rows
        return self.rows.take(np.unique(self.owner, return_index=True)[1])

    @cached_property
    def group(self) -> np.ndarray:
        """Places among `table` of the rows, (obs,)."""
        if self.owner is None:
            return np.arange(len(self.values))
        return np.unique(self.owner, return_inverse=True)[1]

    @cached_property
    def several(self) -> np.ndarray:
        """Places of the completed rows, (row,)."""
        return np.flatnonzero(np.bincount(self.group)[self.group] > 1)

    def joined(self, share: np.ndarray) -> np.ndarray:
        """Responsibilities (..., obs) of the rows of `table`: those of completed rows added."""
        if self.owner is None:
            return share
        starts = np.unique(self.owner, return_index=True)[1]
        return np.asarray(np.add.reduceat(share, starts, axis=-1))

    def parted(self, share: np.ndarray) -> np.ndarray:
        """Allocations (..., obs) in equal parts to completed rows of the same row."""
        return share if self.owner is None else share / np.bincount(self.group)[self.group]

    def take(self, chosen: np.ndarray) -> "Problem":
        """Those of some rows of `table`."""
        place = chosen
        if self.owner is not None:
            place = np.flatnonzero(np.isin(self.group, chosen))
        weight, owner = (
            None if own is None else own[place] for own in (self.weight, self.owner)
        )  # fmt: skip
        return Problem(self.spec, self.scaling, self.values[place], weight, owner)

    @cached_property
    def products(self) -> Products:
        """Of each row's w = (1, columns) with itself."""
        return Products(self.values)

    @cached_property
    def told_apart(self) -> np.ndarray | None:
        """The response (obs,) as starts take it, standardised; None without one."""
        if self.spec.response is None:
            return None
        if not self.rows.complete:
            return np.asarray(self.guesses[:, -1])
        return self._working(self.rows)

    def _working(self, rows: Rows) -> np.ndarray:
        value = self.spec.blocks[-1].working(rows)
        if not self.spec.linked:
            return value
        center = np.average(value, weights=rows.weight)
        spread = np.sqrt(np.average((value - center) ** 2, weights=rows.weight))
        return np.asarray((value - center) / max(float(spread), 1e-300))

    @cached_property
    def features_apart(self) -> np.ndarray:
        """The features as starts take them, (obs, column): each varies by as much as others.

        Of a feature of levels a column a level, so that rows which differ in it are as far apart
        as rows are in a standardised number on average.
        """
        rows = self.starting
        weight, found = rows.weights, [rows.x]
        for block in self.spec.blocks:
            if block.of_response or block.columns[0] in self.spec.features:
                continue
            columns = block.working(rows).reshape(len(weight), -1)
            center = np.average(columns, axis=0, weights=weight)
            variance = np.average((columns - center) ** 2, axis=0, weights=weight).sum()
            found.append((columns - center) / np.sqrt(max(float(variance), 1e-300)))
        return np.hstack(found)

    @cached_property
    def guesses(self) -> np.ndarray:
        """The columns with missing entries guessed, the response as `told_apart`, (obs, column)."""
        values = self.values.copy()
        if self.spec.response is not None:
            values[self.answered, -1] = self._working(self.answered_rows)
        coded = [self.spec.columns.index(own.column) for own in self.spec.discrete]
        numbers = np.setdiff1d(np.arange(values.shape[1]), coded)
        values[:, numbers] = guessed(values[:, numbers], self.weight)
        return values

    @cached_property
    def starting(self) -> Rows:
        """The rows as starts take them."""
        if self.rows.complete:
            return self.rows
        return by_role(self.guesses, self.spec, self.scaling, self.weight)

    @cached_property
    def answered(self) -> np.ndarray:
        """Places of the rows with a response."""
        return np.flatnonzero(~np.isnan(self.rows.y))

    @cached_property
    def answered_rows(self) -> Rows:
        """The rows with a response."""
        return self.rows.take(self.answered)

    @cached_property
    def answered_products(self) -> Products:
        """`products` of the rows with a response."""
        return self.products.take(self.answered)

    @cached_property
    def rows(self) -> Rows:
        """The scaled columns by role."""
        if self.known is not None:
            return self.known
        return by_role(self.values, self.spec, self.scaling, self.weight)


def make_problem(dataset: Dataset) -> Problem:
    """The rows, standardised."""
    weight = dataset.users_rows.weight
    if dataset.spec.standardize and not dataset.completed:
        # Those that are sampled are on the same scale.
        return Problem(dataset.spec, dataset.scaling, dataset.scaled, weight, known=dataset.rows)
    scaling = standard_scaling(dataset.values, dataset.spec, weight)
    rows, more = dataset.users_rows, dataset.completions
    more = None if more is None else more.of(~np.isnan(rows.y))
    if more is None:
        return Problem(dataset.spec, scaling, scaling.transform(dataset.values), weight)
    values = expanded_values(dataset.values, replace(rows, completions=more), dataset.spec)
    counted = None if weight is None else weight[more.owner]
    return Problem(dataset.spec, scaling, scaling.transform(values), counted, more.owner)


def maximise(problem: Problem, share: np.ndarray, previous: Parameters | None) -> Parameters:
    """The M-step.

    Parameters
    ----------
    share
        Responsibilities, (start, cluster, obs).
    previous
        The parameters that they come from; None for allocations that EM starts with.
    """
    if problem.weight is not None:
        share = share * problem.weight
    every, answered = _steps(problem, share, previous)
    prior, count = problem.spec.priors.weight, every.count
    weight = count / count.sum(-1, keepdims=True)
    if isinstance(prior, Fixed):
        weight = np.broadcast_to(prior.array, count.shape)
    arrays = {"weight": weight}
    for block in problem.spec.blocks:
        arrays |= block.maximise(answered if block.of_response else every)
    return Parameters(**arrays)


def _steps(problem: Problem, share: np.ndarray, previous: Parameters | None) -> tuple[Step, Step]:
    """What blocks of features and that of the response are given."""
    step = Step(
        rows=problem.rows,
        values=problem.values,
        products=problem.products,
        scaling=problem.scaling,
        share=share,
        previous=previous,
    )
    if problem.rows.complete:
        return step, step
    if previous is None:
        whole = replace(problem, values=problem.guesses, known=None)
        first = replace(step, values=whole.values, products=whole.products)
        every, answered = first.second, first.moments(np.where(np.isnan(problem.rows.y), 0, share))
    else:
        found = expected_moments(
            problem.rows, problem.products, share, previous, problem.spec.blocks
        )
        every, answered = found.every, found.answered
    return replace(step, expected=every), replace(
        step,
        rows=problem.answered_rows,
        values=problem.values[problem.answered],
        products=problem.answered_products,
        share=np.ascontiguousarray(share[..., problem.answered]),
        expected=answered,
    )
