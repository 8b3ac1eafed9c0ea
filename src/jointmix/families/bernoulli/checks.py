"""What can go wrong with a yes or no: other values, one level, and separation."""

from typing import ClassVar

import numpy as np
from scipy.optimize import linprog
from scipy.special import expit, ndtr

from jointmix.families.linked_checks import LinkedChecks, line_of
from jointmix.families.parameters import Parameters
from jointmix.families.rows import Rows
from jointmix.tables.issues import Issue, error, listed, quoted, warning

#: Rows of a cluster that are looked at for separation: more are hardly ever separated.
_MOST_ROWS = 5_000


class BernoulliChecks(LinkedChecks):
    """Zeros and ones, both of them, which no predictor tells apart in all rows."""

    shape_remedy: ClassVar[str] = (
        "Take more clusters, or further predictors: the chances of {0} are not those of its rows."
    )

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
            f"In {inside} {names} separate the ones of {quoted(self.spec.response)} from the zeros "
            "completely: no finite slopes are the most likely, and the prior of the slopes alone "
            "bounds them there."
        )
        remedy = "Take fewer clusters or predictors, or a prior of the slopes that you stand by."
        return warning("separation", message, remedy, str(self.spec.response), None, len(found))

    def _separated(self, rows: Rows) -> bool:
        """Whether some line is at least one on the side of every row (Albert and Anderson 1984)."""
        if not self.spec.predictors or len(rows.y) > _MOST_ROWS or len(np.unique(rows.y)) < 2:
            return False
        scale = np.abs(rows.u).max(axis=0)
        design = np.column_stack([np.ones(len(rows.y)), rows.u / np.where(scale > 0, scale, 1)])
        design = design if self.spec.intercept else design[:, 1:]
        side = (2 * rows.y - 1)[:, None] * design
        free = [(None, None)] * design.shape[1]
        solved = linprog(np.zeros(design.shape[1]), -side, -np.ones(len(side)), bounds=free)
        return bool(solved.status == 0)

    def chances(
        self, parameters: Parameters, rows: Rows, allocation: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Below 0 nothing, below 1 the chance of 0."""
        line = line_of(parameters, rows, allocation)
        zero = ndtr(-line) if self.spec.link == "probit" else expit(-line)
        return np.where(rows.y > 0, zero, 0.0), np.where(rows.y > 0, 1.0, zero)
