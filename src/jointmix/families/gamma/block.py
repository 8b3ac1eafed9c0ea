"""A gamma response: mean m = exp(b_k + u'θ_k + offset), variance m² / α_k."""

from typing import ClassVar

import numpy as np
from scipy.special import digamma, gammaln

from jointmix.families.checks import Checks
from jointmix.families.gamma.checks import GammaChecks
from jointmix.families.linked import Own
from jointmix.families.positive import Positive, drawn, log_of, log_ratio
from jointmix.families.rows import Rows

_LOG_ROOT_2PI = float(0.5 * np.log(2 * np.pi))
#: From here on the asymptotic series of log Γ and ψ are right to the last digit.
_FROM = 10.0
#: Their coefficients, of x⁻¹, x⁻³, … and of x⁻², x⁻⁴, … (DLMF 5.11.1, 5.11.2).
_LOG_GAMMA = (1 / 12, -1 / 360, 1 / 1260, -1 / 1680, 1 / 1188, -691 / 360360, 1 / 156)
_DIGAMMA = (1 / 12, -1 / 120, 1 / 252, -1 / 240, 1 / 132, -691 / 32760, 1 / 12)
#: Steps to the best shape, each of which leaves less than a third of the error.
_STEPS = 30


class GammaResponse(Positive):
    """y | x, k ~ Gamma with mean exp(η) and shape α_k: its coefficient of variation is α_k^−½."""

    family: ClassVar[str] = "gamma"
    words: ClassVar[str] = "a gamma density of the response, the log of its mean on a line"
    checked: ClassVar[type[Checks]] = GammaChecks
    shape_symbol: ClassVar[str] = "α"
    shape_meaning: ClassVar[str] = "shape of the response, 1 / squared coefficient of variation"
    power: ClassVar[float] = 1.0

    def log_constant(self, shape: np.ndarray) -> np.ndarray:
        """α log α − α − log Γ(α)."""
        far = np.maximum(shape, _FROM)
        series = sum(c * far ** -(2.0 * i + 1) for i, c in enumerate(_LOG_GAMMA))
        near = np.minimum(shape, _FROM)
        exact = near * np.log(near) - near - gammaln(near)
        return np.where(shape < _FROM, exact, 0.5 * np.log(far) - _LOG_ROOT_2PI - series)

    def constant_slope(self, shape: np.ndarray) -> np.ndarray:
        """α (log α − ψ(α))."""
        return shape * _log_less_digamma(shape)

    def half_deviance(self, y: np.ndarray, eta: np.ndarray) -> np.ndarray:
        """y / m − 1 − log(y / m)."""
        t = log_ratio(y, eta)
        return np.asarray(np.expm1(t) - t)

    def best_shape(self, mean: np.ndarray) -> np.ndarray:
        """Where log α − ψ(α) is the mean: α is α (log α − ψ(α)), a number of [½, 1], over it."""
        shape = 0.5 / mean
        for _ in range(_STEPS):
            shape = self.constant_slope(shape) / mean
        return shape

    def pull_at(self, y: np.ndarray, eta: np.ndarray, own: Own) -> np.ndarray:
        """α (y / m − 1)."""
        return np.asarray(own["shape"] * np.expm1(log_ratio(y, eta)))

    def information_at(self, eta: np.ndarray, own: Own) -> np.ndarray:
        """α."""
        return np.broadcast_to(own["shape"], eta.shape)

    def variance_at(self, eta: np.ndarray, own: Own) -> np.ndarray:
        """m² / α."""
        return np.asarray(self.mean_at(2 * eta) / own["shape"])

    def draw_at(self, eta: np.ndarray, own: Own, rng: np.random.Generator) -> np.ndarray:
        """Positive numbers."""
        with np.errstate(over="ignore"):
            return drawn(rng.gamma(own["shape"]) / own["shape"] * self.mean_at(eta))

    def compiled_rows(self, rows: Rows) -> np.ndarray:
        """u, the offset, and log y."""
        offset = np.zeros_like(rows.y) if rows.offset is None else rows.offset
        return np.vstack([rows.u.T, offset, log_of(rows.y)])


def _log_less_digamma(x: np.ndarray) -> np.ndarray:
    """log x − ψ(x), x > 0."""
    far, near = np.maximum(x, _FROM), np.minimum(x, _FROM)
    series = 0.5 / far + sum(c * far ** -(2.0 * i + 2) for i, c in enumerate(_DIGAMMA))
    return np.where(x < _FROM, np.log(near) - digamma(near), series)
