"""Gaussian features: x | k ~ N(μ_k, Σ_k), with every structure of Σ."""

from typing import ClassVar

import numpy as np

from jointmix.families.elliptical.block import Elliptical
from jointmix.families.matrices import inverse_lower
from jointmix.families.parameters import Parameters
from jointmix.families.protocol import Scores, Step
from jointmix.families.rows import Rows

_LOG_2PI = float(np.log(2 * np.pi))


class GaussianFeatures(Elliptical):
    """x | k ~ N(μ_k, Σ_k), Σ full, diagonal, spherical, tied or fixed."""

    family: ClassVar[str] = "mvnormal"
    words: ClassVar[str] = "a Gaussian density of the features"

    def log_density(self, parameters: Parameters, rows: Rows) -> np.ndarray:
        """log N(x | μ_k, Σ_k), (..., obs, component)."""
        white = self.white(parameters, rows)
        square = np.einsum("...nd,...nd->...n", white, white)
        constant = parameters.mean.shape[-1] * _LOG_2PI
        log_scale = self.log_scale(parameters)[..., None]
        return np.swapaxes(-0.5 * (square + constant) - log_scale, -1, -2)

    def squares(self, parameters: Parameters) -> tuple[np.ndarray, np.ndarray]:
        """L_k⁻¹ (x − μ_k)."""
        whiten, d = inverse_lower(parameters.cholesky), len(self.spec.features)
        forms = np.zeros((*whiten.shape[:-1], 1 + len(self.spec.columns)))
        forms[..., 0] = -(whiten @ parameters.mean[..., None])[..., 0]
        forms[..., 1 : 1 + d] = whiten
        return forms, -self.log_scale(parameters) - d / 2 * _LOG_2PI

    def draw(
        self, parameters: Parameters, rows: Rows, cluster: np.ndarray, rng: np.random.Generator
    ) -> np.ndarray:
        """x of rows of known clusters, (obs, feature)."""
        del rows
        noise = rng.standard_normal((len(cluster), parameters.mean.shape[-1]))
        factor = parameters.cholesky[cluster]
        return np.asarray(parameters.mean[cluster] + np.einsum("nij,nj->ni", factor, noise))

    def maximise(self, step: Step) -> dict[str, np.ndarray]:
        """Weighted means and covariances."""
        return self.maximise_ellipsoid(step, step.average)

    def scores(self, parameters: Parameters, rows: Rows, share: np.ndarray) -> Scores:
        """Of μ, and of the free entries of log Σ."""
        white = np.swapaxes(self.white(parameters, rows), 0, 1)
        square = white[..., :, None] * white[..., None, :]
        mean, scale = self.ellipsoid_scores(parameters, share, white, square)
        return Scores({"mean": mean}, scale)
