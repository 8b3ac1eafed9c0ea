"""What can go wrong with successes of trials: other values, one level, and separation."""

from typing import ClassVar

import numpy as np
from scipy.optimize import linprog
from scipy.special import betainc, expit, ndtr

from jointmix.families.linked_checks import LARGEST_COUNT, LinkedChecks, line_of
from jointmix.families.parameters import Parameters
from jointmix.families.rows import Rows
from jointmix.families.specified import Table
from jointmix.tables.issues import Issue, error, listed, quoted, warning

#: Rows of a cluster that are looked at for separation: more are hardly ever separated.
_MOST_ROWS = 5_000


class BernoulliChecks(LinkedChecks):
    """Zeros and ones, both of them, which no predictor tells apart in all rows."""

    shape_remedy: ClassVar[str] = (
        "Take more clusters, or further predictors: the chances of {0} are not those of its rows."
    )
    #: What it is that separation keeps apart, before and after the response's name.
    sides: ClassVar[tuple[str, str]] = ("the ones of", "from the zeros")

    def value_issues(self, y: np.ndarray, name: str) -> tuple[Issue, ...]:
        """Values besides 0 and 1, and a response of one level."""
        what, other = f"The response {quoted(name)}", np.flatnonzero((y != 0) & (y != 1))
        if other.size:
            statement = f"{what} is neither 0 nor 1 in {other.size} rows, such as {y[other[0]]:g}"
            remedy = "give it as 0 and 1, or take another family"
            return (error("not_binary", statement, remedy, name, int(other[0]), float(other.size)),)
        if (y == y[0]).all():
            statement = f"{what} is {y[0]:g} in all {len(y)} rows used: no chance can be told"
            return (error("one_level", statement, "leave it out, or add rows", name, None, y[0]),)
        return ()

    def mode_issue(self, rows: Rows, allocation: np.ndarray) -> Issue | None:
        """Clusters in which a line through the predictors separates zeros from ones."""
        k = self.spec.n_clusters
        held = [rows.take(allocation == cluster) for cluster in range(k)]
        found = [len(part.y) for part in held if self._separated(part)]
        if not found:
            return None
        inside = "all rows" if k == 1 else f"{len(found)} of EM's {k} clusters ({sum(found)} rows)"
        names = listed(self.spec.predictors)
        message = (
            f"In {inside} {names} separate {self.sides[0]} {quoted(self.spec.response)} "
            f"{self.sides[1]} completely: no finite slopes are the most likely, and the prior of "
            "the slopes alone bounds them there."
        )
        remedy = "Take fewer clusters or predictors, or a prior of the slopes that you stand by."
        response = str(self.spec.response)
        return warning("complete_separation", message, remedy, response, None, len(found))

    def _separated(self, rows: Rows) -> bool:
        """Whether some line is at least one on the side of every row (Albert and Anderson 1984)."""
        none, every = rows.y == 0, rows.y == self.trials(rows)
        several = none.any() and every.any() and (none | every).all()
        if not self.spec.predictors or len(rows.y) > _MOST_ROWS or not several:
            return False
        scale = np.abs(rows.u).max(axis=0)
        design = np.column_stack([np.ones(len(rows.y)), rows.u / np.where(scale > 0, scale, 1)])
        design = design if self.spec.intercept else design[:, 1:]
        side = np.where(every, 1.0, -1.0)[:, None] * design
        free = [(None, None)] * design.shape[1]
        solved = linprog(np.zeros(design.shape[1]), -side, -np.ones(len(side)), bounds=free)
        return bool(solved.status == 0)

    def chances(
        self, parameters: Parameters, rows: Rows, allocation: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """By the distribution function, an incomplete beta function of the chance of a failure."""
        line, n = line_of(parameters, rows, allocation), self.trials(rows)
        fails = ndtr(-line) if self.spec.link == "probit" else expit(-line)

        def below(y: np.ndarray) -> np.ndarray:
            inside = betainc(np.maximum(n - y, 1), np.maximum(y, 0) + 1, fails)
            return np.where(y < 0, 0.0, np.where(y < n, inside, 1.0))

        return below(rows.y - 1), below(rows.y)

    @staticmethod
    def trials(rows: Rows) -> np.ndarray:
        """How many trials each row had, (obs,): one, unless it says so."""
        return np.ones(len(rows.y)) if rows.trials is None else rows.trials


class BinomialChecks(BernoulliChecks):
    """Whole numbers of successes in so many trials, neither none nor all of them everywhere."""

    shape_remedy: ClassVar[str] = (
        "Successes of {0} are spread otherwise than independent trials': look for a predictor that "
        "is missing, or take more clusters."
    )
    sides: ClassVar[tuple[str, str]] = ("rows of successes only in", "from rows of failures only")

    def domain_issues(self, table: Table) -> tuple[Issue, ...]:
        """Errors of trials, then of successes in them."""
        found = self.given_issues(table)
        if found:
            return found
        (name,) = self.columns
        y, n = table.select([name, str(self.spec.trials)]).T
        return _success_issues(y, n, name, str(self.spec.trials))

    def given_issues(self, table: Table) -> tuple[Issue, ...]:
        """Errors of the trials, and of exposures out of bounds."""
        name = str(self.spec.trials)
        found = _whole_issues(table.select([name])[:, 0], f"The trials column {quoted(name)}", name)
        return found or super().given_issues(table)


def _whole_issues(values: np.ndarray, what: str, name: str, least: int = 1) -> tuple[Issue, ...]:
    """The error of numbers (obs,) that are not whole, too small, or too large."""
    broken = np.flatnonzero(values != np.round(values))
    small, large = np.flatnonzero(values < least), np.flatnonzero(values > LARGEST_COUNT)
    for code, place, words, remedy in (
        ("not_whole", broken, "is no whole number", "give whole numbers"),
        ("too_small", small, f"is below {least}", f"give {least} or more, or leave those rows out"),
        ("too_large", large, "is too large for whole numbers to be doubles", "give fewer"),
    ):
        if place.size:
            statement = f"{what} {words} in {place.size} rows, such as {values[place[0]]:g}"
            found = error(code, statement, remedy, name, int(place[0]), float(place.size))
            return (found,)
    return ()


def _success_issues(y: np.ndarray, n: np.ndarray, name: str, trials: str) -> tuple[Issue, ...]:
    """Errors of successes y in trials n, each (obs,)."""
    what = f"The response {quoted(name)}"
    found = _whole_issues(y, what, name, 0)
    more = np.flatnonzero(y > n)
    if found:
        return found
    if more.size:
        first = int(more[0])
        statement = (
            f"{what} is more than its trials, column {quoted(trials)}, in {more.size} rows, such "
            f"as {y[first]:g} of {n[first]:g}"
        )
        remedy = "give successes, and how many trials they are of"
        return (error("too_many", statement, remedy, name, first, float(more.size)),)
    for level, words in ((0 * n, "0"), (n, "all of its trials")):
        if (y == level).all():
            statement = f"{what} is {words} in all {len(y)} rows used: no chance can be told"
            return (error("one_level", statement, "leave it out, or add rows", name, None, y[0]),)
    return ()
