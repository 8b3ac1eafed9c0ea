"""What can go wrong with counts."""

from typing import ClassVar

import numpy as np
from scipy.special import pdtr

from jointmix.families.linked_checks import CountChecks, line_of
from jointmix.families.log_link import mean_of
from jointmix.families.parameters import Parameters
from jointmix.families.rows import Rows


class PoissonChecks(CountChecks):
    """Counts whose variance is their mean."""

    shape_remedy: ClassVar[str] = (
        "Counts of {0} are spread otherwise than Poisson's, whose variance is their mean: look for "
        'a predictor that is missing, or take more clusters or family="negative_binomial".'
    )

    def chances(
        self, parameters: Parameters, rows: Rows, allocation: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """By Poisson's distribution function."""
        rate = mean_of(line_of(parameters, rows, allocation))
        below = np.where(rows.y > 0, pdtr(np.maximum(rows.y - 1, 0), rate), 0.0)
        return below, pdtr(rows.y, rate)
