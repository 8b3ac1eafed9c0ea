"""What can go wrong with a gamma response."""

import numpy as np
from scipy.special import gammainc, gammaincc

from jointmix.families.positive_checks import PositiveChecks


class GammaChecks(PositiveChecks):
    """Its chances are incomplete gamma functions."""

    @property
    def family(self) -> str:
        """What it is called."""
        return "gamma"

    def tails(
        self, y: np.ndarray, mean: np.ndarray, shape: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Of α y / m."""
        at = shape * y / mean
        return gammainc(shape, at), gammaincc(shape, at)
