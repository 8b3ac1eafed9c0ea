"""What can go wrong with an inverse Gaussian response."""

import numpy as np
from scipy.special import erfcx, ndtr

from jointmix.families.positive_checks import PositiveChecks

_ROOT_2 = float(np.sqrt(2.0))


class InverseGaussianChecks(PositiveChecks):
    """Its chances are normal ones."""

    @property
    def family(self) -> str:
        """What it is called."""
        return "inverse_gaussian"

    def root_unit(self, y: np.ndarray) -> float:
        """√λ is that of the response over its coefficient of variation."""
        return float(np.sqrt(y.mean()))

    def tails(
        self, y: np.ndarray, mean: np.ndarray, shape: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Φ(±a) ± exp(2λ/m) Φ(−b), the latter as ½ exp(−a²/2) erfcx(b/√2), b² − a² being 4λ/m.

        Where the upper one is small both its terms are of the size of exp(−a²/2); their difference
        loses as many digits as λ/m and a² have.
        """
        root = np.sqrt(shape / y)
        # Far out exp(−a²/2) is zero, as of an a whose square leaves float64.
        with np.errstate(over="ignore"):
            a, b = root * (y / mean - 1), root * (y / mean + 1)
            reflected = 0.5 * np.exp(-0.5 * a**2) * erfcx(b / _ROOT_2)
        return ndtr(a) + reflected, np.maximum(ndtr(-a) - reflected, 1e-300)
