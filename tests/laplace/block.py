"""A Laplace response about a line: y | x, k ~ Laplace(b_k + u'θ_k, σ_k)."""

from typing import ClassVar

import numpy as np

from jointmix.families.checks import Checks
from jointmix.families.line import line
from jointmix.families.parameters import Parameters
from jointmix.families.protocol import Scores, Step
from jointmix.families.regression import Regression
from jointmix.families.rows import Rows
from laplace.checks import LaplaceChecks


class LaplaceResponse(Regression):
    """y | x, k ~ Laplace(b_k + u'θ_k, σ_k), σ being the mean absolute residual."""

    family: ClassVar[str] = "laplace"
    words: ClassVar[str] = "a Laplace density of the response about its regression line"
    sigma_meaning: ClassVar[str] = "mean absolute residual of the response about its line"
    checked: ClassVar[type[Checks]] = LaplaceChecks
    twin: ClassVar[str] = "laplace.twin:LaplaceTwin"

    def log_density_at(self, residual: np.ndarray, parameters: Parameters) -> np.ndarray:
        """log Laplace(residual | 0, 1)."""
        del parameters
        return -np.abs(residual) - np.log(2)

    def variance(self, parameters: Parameters, rows: Rows) -> np.ndarray:
        """2 σ_k², (..., 1, component)."""
        del rows
        return 2 * parameters.sigma[..., None, :] ** 2

    def draw_noise(
        self, parameters: Parameters, cluster: np.ndarray, rng: np.random.Generator
    ) -> np.ndarray:
        """Standard Laplace, (obs,)."""
        del parameters
        return rng.laplace(size=cluster.shape)

    def maximise(self, step: Step) -> dict[str, np.ndarray]:
        """Least squares with weights 1 / |residual|, which majorise absolute residuals."""
        if step.previous is None:
            return self.maximise_line(step, step.average)
        weight = step.share / np.maximum(self._residuals(step, step.previous), 1e-9)
        found = self.maximise_line(step, step.moments(weight) / step.count[..., None, None])
        if self.spec.noise == "fixed":
            return found
        size = (step.share * self._residuals(step, Parameters(**found))).sum(axis=-1)
        total = step.count
        if self.spec.noise == "shared":
            size, total = (part.sum(-1, keepdims=True) for part in (size, total))
        return found | {"sigma": np.broadcast_to(size / total, step.count.shape)}

    @staticmethod
    def _residuals(step: Step, parameters: Parameters) -> np.ndarray:
        return np.abs(step.rows.y - np.swapaxes(line(parameters, step.rows), -1, -2))

    def scores(self, parameters: Parameters, rows: Rows, share: np.ndarray) -> Scores:
        """Of b and θ, and of log σ."""
        white = (rows.y[:, None] - line(parameters, rows)) / parameters.sigma
        location = self.line_scores(share * np.sign(white) / parameters.sigma, rows)
        return Scores(location, self.scale_scores(share * (np.abs(white) - 1)))
