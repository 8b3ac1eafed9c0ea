"""An inverse Gaussian response: mean m = exp(b_k + u'θ_k + offset), variance m³ / λ_k."""

from typing import ClassVar

import numpy as np

from jointmix.families.checks import Checks
from jointmix.families.inverse_gaussian.checks import InverseGaussianChecks
from jointmix.families.limits import MOST_RATIO
from jointmix.families.linked import Own
from jointmix.families.positive import Positive, drawn, log_of, log_ratio
from jointmix.families.rows import Rows

_LOG_ROOT_2PI = float(0.5 * np.log(2 * np.pi))


class InverseGaussianResponse(Positive):
    """y | x, k ~ inverse Gaussian with mean exp(η) and shape λ_k, in the response's unit.

    The model is one of y over the mean of all rows, so that neither the unit of y nor that of an
    exposure bears on what the prior of λ says.
    """

    family: ClassVar[str] = "inverse_gaussian"
    words: ClassVar[str] = (
        "an inverse Gaussian density of the response, the log of its mean on a line"
    )
    checked: ClassVar[type[Checks]] = InverseGaussianChecks
    shape_symbol: ClassVar[str] = "λ"
    shape_meaning: ClassVar[str] = "shape of the response, its cubed mean over its variance"
    shape_measured: ClassVar[bool] = True
    power: ClassVar[float] = 1.5

    def unit(self, y: np.ndarray, weight: np.ndarray) -> float:
        """The mean of all rows."""
        return float(np.average(y, weights=weight))

    def log_constant(self, shape: np.ndarray) -> np.ndarray:
        """½ log(λ / 2π)."""
        return np.asarray(0.5 * np.log(shape) - _LOG_ROOT_2PI)

    def constant_slope(self, shape: np.ndarray) -> np.ndarray:
        """½."""
        return np.full_like(shape, 0.5)

    def half_deviance(self, y: np.ndarray, eta: np.ndarray) -> np.ndarray:
        """(y − m)² / (2 m² y)."""
        return np.asarray(0.5 * np.expm1(log_ratio(y, eta)) ** 2 / y)

    def best_shape(self, mean: np.ndarray) -> np.ndarray:
        """½ over the mean."""
        return 0.5 / mean

    def pull_at(self, y: np.ndarray, eta: np.ndarray, own: Own) -> np.ndarray:
        """λ (y − m) / m²."""
        t = log_ratio(y, eta)
        return np.asarray(own["shape"] * np.expm1(t) * np.exp(t) / y)

    def information_at(self, eta: np.ndarray, own: Own) -> np.ndarray:
        """λ / m."""
        return np.asarray(own["shape"] * np.exp(np.minimum(-eta, MOST_RATIO)))

    def variance_at(self, eta: np.ndarray, own: Own) -> np.ndarray:
        """m³ / λ."""
        return np.asarray(self.mean_at(3 * eta) / own["shape"])

    def draw_at(self, eta: np.ndarray, own: Own, rng: np.random.Generator) -> np.ndarray:
        """Positive numbers, of two roots one (Michael, Schucany and Haas 1976)."""
        mean = self.mean_at(eta)
        with np.errstate(over="ignore"):
            half = 0.5 * mean / own["shape"] * rng.standard_normal(eta.shape) ** 2
            # The roots over the mean are r and 1/r; the difference of two numbers would lose r.
            root = np.minimum(1 + half + np.sqrt(half * (2 + half)), 1e150)
            larger = rng.random(eta.shape) * (1 + root) < 1
            return drawn(mean * np.where(larger, root, 1 / root))

    def compiled_rows(self, rows: Rows) -> np.ndarray:
        """u, the offset, log y, and 1 / y."""
        offset = np.zeros_like(rows.y) if rows.offset is None else rows.offset
        log_y = log_of(rows.y)
        return np.vstack([rows.u.T, offset, log_y, np.exp(-log_y)])
