"""What can go wrong with counts that may be spread more than Poisson's: that none are."""

from typing import ClassVar

import numpy as np
from scipy.special import betainc, gammaincc

from jointmix.families.linked_checks import CountChecks, line_of
from jointmix.families.log_link import mean_of
from jointmix.families.parameters import Parameters
from jointmix.families.rows import Rows
from jointmix.tables.issues import Issue, quoted, warning

#: Of standard normal numbers, one in ten exceeds it.
_SURE = 1.28
_MOST_STEPS, _LONGEST = 50, 5.0


class NegativeBinomialChecks(CountChecks):
    """Counts some of which are spread more than Poisson's, whose variance is their mean."""

    shape_remedy: ClassVar[str] = (
        "Counts of {0} are spread otherwise than m + m²/size about their mean m: look for a "
        "predictor that is missing, or take more clusters."
    )

    def mode_issue(self, rows: Rows, allocation: np.ndarray) -> Issue | None:
        """Counts that are nowhere spread more than Poisson's.

        By the score test of Dean and Lawless (1989, doi:10.1080/01621459.1989.10478792) in each
        cluster.
        """
        k = self.spec.n_clusters
        held = [rows.take(allocation == cluster) for cluster in range(k)]
        found = [excess(part, self.spec.intercept) for part in held if len(part.y)]
        if not found or max(found) > _SURE:
            return None
        where = "" if k == 1 else " in any of EM's clusters"
        message = (
            f"The counts of {quoted(self.spec.response)} are not spread more than Poisson's"
            f"{where}: the largest of {len(found)} scores for it is {max(found):.2g} standard "
            "errors. Their size has no upper bound but its prior."
        )
        remedy = 'Take family="poisson", which has one parameter a cluster less.'
        return warning(
            "no_overdispersion", message, remedy, str(self.spec.response), None, max(found)
        )

    def chances(
        self, parameters: Parameters, rows: Rows, allocation: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """By the distribution function, an incomplete beta function."""
        mean, size = mean_of(line_of(parameters, rows, allocation)), parameters.size[allocation]

        def below(y: np.ndarray) -> np.ndarray:
            at = np.maximum(y, 0) + 1
            # Where s swallows m, s/(s + m) has lost what Poisson's limit keeps.
            near = betainc(size, at, size / (size + mean))
            return np.where(y < 0, 0.0, np.where(size > 1e9 * at, gammaincc(at, mean), near))

        return below(rows.y - 1), below(rows.y)


def excess(rows: Rows, intercept: bool) -> float:
    """Σ ((y − m)² − y) over its standard error √(2 Σ m²), m being Poisson's best fit to rows."""
    design = np.column_stack([np.ones(len(rows.y)), rows.u]) if intercept else rows.u
    width = np.abs(design).max(axis=0, initial=0.0)
    design = design / np.where(width > 0, width, 1.0)
    offset = np.zeros(len(rows.y)) if rows.offset is None else rows.offset
    line = np.log(rows.y + 0.5)
    for _ in range(_MOST_STEPS):
        mean = mean_of(line)
        # The root of the weights on both sides: a step of scoring is least squares.
        root = np.sqrt(mean)
        target = root * (line - offset) + (rows.y - mean) / np.maximum(root, 1e-150)
        fitted = offset + design @ np.linalg.lstsq(root[:, None] * design, target)[0]
        move = np.clip(fitted - line, -_LONGEST, _LONGEST)
        line = line + move
        if np.abs(move).max() < 1e-8:
            break
    mean = mean_of(line)
    error = np.sqrt(2 * (mean**2).sum())
    return float((((rows.y - mean) ** 2 - rows.y).sum()) / max(error, 1e-300))
