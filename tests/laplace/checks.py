"""What can go wrong with a Laplace response, besides what can with any about a line."""

import numpy as np
from scipy.stats import laplace, norm

from jointmix.families.parameters import Parameters
from jointmix.families.regression_checks import RegressionChecks
from jointmix.families.rows import Rows


class LaplaceChecks(RegressionChecks):
    """Far rows are less of a surprise than they are to a normal density."""

    def white(self, parameters: Parameters, rows: Rows, allocation: np.ndarray) -> np.ndarray:
        """The residual's normal score."""
        residual = super().white(parameters, rows, allocation)
        return np.sign(residual) * norm.isf(laplace.sf(np.abs(residual)))
