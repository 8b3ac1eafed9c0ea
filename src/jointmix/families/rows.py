"""Rows by the role that their columns play."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np

from jointmix.tables.weights import is_frequency, standing_places


@dataclass(frozen=True, eq=False)
class Gaps:
    """Rows that miss the same entries.

    Attributes
    ----------
    place
        Places of the rows, (row,).
    rows
        The rows themselves.
    present
        Which features are there, (feature,).
    answered
        Whether the response is.
    made
        What is made of them once, by what it is for.
    alternatives
        Completed rows that stand side by side for each of them, see `Completions`.
    """

    place: np.ndarray
    rows: "Rows"
    present: np.ndarray
    answered: bool
    made: dict[str, "Rows"]
    alternatives: int = 1


@dataclass(frozen=True, eq=False)
class Completions:
    """Rows that miss levels of which predictors are made, completed by all they may be.

    The density of such a row, with its response, is the sum of those of its completed rows.

    Attributes
    ----------
    u, discrete
        Of the completed rows, those of one row side by side, (completion, predictor) and
        (completion, discrete).
    first, count
        Where those of each row begin, and how many there are, (obs,): one, which is not read,
        of rows that are as they are.
    """

    u: np.ndarray
    discrete: np.ndarray
    first: np.ndarray
    count: np.ndarray

    def of(self, needed: np.ndarray) -> "Completions | None":
        """The others left as they are, of rows (obs,)."""
        return replace(self, count=np.where(needed, self.count, 1)).take(slice(None))

    def take(self, index: np.ndarray | slice) -> "Completions | None":
        """Those of some rows; None where they need none."""
        found = replace(self, first=self.first[index], count=self.count[index])
        return found if (found.count > 1).any() else None

    @property
    def owner(self) -> np.ndarray:
        """The place among the rows of each completed row, (row,)."""
        return np.repeat(np.arange(len(self.count)), self.count)

    @property
    def source(self) -> np.ndarray:
        """Where each completed row's values are, (row,); -1 of rows that are as they are."""
        ends = np.cumsum(self.count)
        within = np.arange(int(self.count.sum())) - np.repeat(ends - self.count, self.count)
        return np.where(self.count[self.owner] > 1, self.first[self.owner] + within, -1)


@dataclass(frozen=True, eq=False)
class Rows:
    """The rows by role: x (obs, feature), u (obs, predictor), y (obs).

    Entries of x and y that are not a number are missing, and predictors that are features with
    them; where y is missing, what it depends on may be too.

    ``label`` (obs) is what the table that they come from calls them, where that is asked for;
    ``offset`` (obs) is added to the line of a response that is linked to it, and of ``trials``
    (obs) a response is the successes.
    ``weight`` (obs) says how often a row counts in the likelihood; None for once each. ``unit``
    (obs) is the part of a row's weight that is one observation: all of it, or, None, one where
    weights are whole numbers, so that a row stands for as many equal ones.
    ``discrete`` (obs, discrete) are the features beside x, codes of levels, NaN where one is not
    known. ``completions`` are of rows that miss levels on which their response depends.
    """

    x: np.ndarray
    u: np.ndarray
    y: np.ndarray
    label: np.ndarray | None = None
    offset: np.ndarray | None = None
    trials: np.ndarray | None = None
    weight: np.ndarray | None = None
    unit: np.ndarray | None = None
    discrete: np.ndarray | None = None
    completions: Completions | None = None

    @cached_property
    def made_of_them(self) -> dict[Any, Any]:
        """What is made of these rows once, by what it is for."""
        return {}

    def __getstate__(self) -> dict[str, Any]:
        """What another process needs: compiled functions have other addresses there."""
        return {name: value for name, value in vars(self).items() if name != "made_of_them"}

    @cached_property
    def complete(self) -> bool:
        """Whether no feature and no response is missing, nor a level that a response depends on."""
        return self.completions is None and not (np.isnan(self.x).any() or np.isnan(self.y).any())

    @cached_property
    def patterns(self) -> tuple[Gaps, ...]:
        """The rows by what they miss, complete ones first."""
        if self.complete:
            everything = np.ones(self.x.shape[1], dtype=bool)
            return (Gaps(np.arange(len(self.y)), self, everything, True, {}),)
        gone = np.isnan(np.column_stack([self.x, self.y]))
        count = np.ones(len(gone))
        if self.completions is not None:
            # Without a response nothing depends on the levels.
            count = np.where(gone[:, -1], 1, self.completions.count)
        kinds, group = np.unique(np.column_stack([count, gone]), axis=0, return_inverse=True)
        found = []
        for index, (number, *kind) in enumerate(kinds.tolist()):
            place, present = np.flatnonzero(group.ravel() == index), ~np.array(kind, dtype=bool)
            rows = self.take(place)
            rows = rows.expanded if number > 1 else replace(rows, completions=None)
            found.append(Gaps(place, rows, present[:-1], bool(present[-1]), {}, int(number)))
        return tuple(found)

    @cached_property
    def expanded(self) -> "Rows":
        """Each row that has completions in their place; levels are missing nowhere else."""
        if self.completions is None:
            return self
        source = self.completions.source
        place, found = np.flatnonzero(source >= 0), self.take(self.completions.owner)
        u, discrete = found.u.copy(), np.array(found.discrete)
        u[place], discrete[place] = (
            own[source[place]] for own in (self.completions.u, self.completions.discrete)
        )
        return replace(found, u=u, discrete=discrete, completions=None)

    @cached_property
    def weights(self) -> np.ndarray:
        """How often each row counts, (obs,)."""
        return np.ones(len(self.y)) if self.weight is None else self.weight

    @property
    def units(self) -> np.ndarray:
        """What one observation of each row weighs, (obs,)."""
        return np.ones(len(self.y)) if self.unit is None else self.unit

    @property
    def copies(self) -> np.ndarray:
        """Observations that each row stands for, (obs,)."""
        return self.weights / self.units

    @property
    def total(self) -> float:
        """The sum of the weights: the number of rows where there are none."""
        return float(len(self.y)) if self.weight is None else float(self.weight.sum())

    def weighted(self, share: np.ndarray) -> np.ndarray:
        """Shares of the rows (..., obs, cluster) times their weights."""
        return share if self.weight is None else share * self.weight[:, None]

    @property
    def effective(self) -> float:
        """Rows of equal weight whose average is known as well: W² / Σ w u, of copies their number.

        Of weights that are no frequencies it is Kish's effective number.
        """
        return self.total**2 / float(self.weights @ self.units)

    def standing(self, most: int) -> "Rows":
        """Rows that count once each in place of these, which may stand for several equal ones.

        Of more than ``most`` copies, so many are taken in equal steps.
        """
        if self.weight is None:
            return self
        places = standing_places(self.copies, most)
        return replace(self, weight=None, unit=None).take(places)

    def quantile(self, values: np.ndarray, at: float) -> float:
        """A quantile of values of the rows, (obs,), that count as often as they weigh.

        Between neighbours in the order it is linear, as it is of repeated rows; values that are
        missing do not count.
        """
        there = ~np.isnan(values)
        if not there.all():
            return self.take(there).quantile(values[there], at)
        if self.weight is None:
            return float(np.quantile(values, at))
        order = np.argsort(values, kind="stable")
        until, place = self.weight[order].cumsum(), max(self.total - 1.0, 0.0) * at
        below, above = (
            values[order][min(int(np.searchsorted(until, each, side="right")), len(until) - 1)]
            for each in (np.floor(place), np.ceil(place))
        )
        return float(below + (place - np.floor(place)) * (above - below))

    def parts(self, size: int) -> Iterator["Rows"]:
        """The rows, so many at a time."""
        for first in range(0, len(self.y), size):
            yield self.take(slice(first, first + size))

    def take(self, index: np.ndarray | slice) -> "Rows":
        """Some of the rows."""
        names = ("label", "offset", "trials", "weight", "unit", "discrete")
        given = {name: getattr(self, name) for name in names}
        some = {name: None if own is None else own[index] for name, own in given.items()}
        found = Rows(self.x[index], self.u[index], self.y[index], **some)
        if self.completions is None:
            return found
        return replace(found, completions=self.completions.take(index))


def with_weight(rows: Rows, weight: np.ndarray | None) -> Rows:
    """Rows with weights (obs,), > 0; weights of one each are the same as none."""
    if weight is None or (weight == 1).all():
        return rows
    unit = None if is_frequency(weight) else weight
    return replace(rows, weight=weight, unit=unit)
