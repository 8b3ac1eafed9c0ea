"""Gaussian features a second time: x | k ~ N(μ_k, Σ_k), Σ_k = diag(s_k) R_k diag(s_k)."""

from collections.abc import Mapping
from typing import ClassVar

import numpy as np

from jointmix.families.parameters import Parameters
from jointmix.families.rows import Rows
from jointmix.validation.twin.elliptical import EllipticalTwin
from jointmix.validation.twin.family import Array
from jointmix.validation.twin.gaps import masked_covariance

_LOG_2PI = float(np.log(2 * np.pi))


class GaussianTwin(EllipticalTwin):
    """μ, s and the Cholesky factor of R; Σ has the factor diag(s) L."""

    gaussian: ClassVar[bool] = True

    def distribution(self, own: Mapping[str, Array], rows: Rows) -> Array:
        """N(μ, Σ)."""
        import numpyro.distributions as dist

        del rows
        return dist.MultivariateNormal(own["mean"], scale_tril=own["cholesky"])

    def masked(
        self, own: Mapping[str, Array], rows: Rows, there: np.ndarray
    ) -> tuple[Mapping[str, Array], Rows]:
        """Zeros in μ, and in Σ but for a variance at which a zero's density is one."""
        import jax.numpy as jnp

        kept = there[:, None, :]
        factor = jnp.linalg.cholesky(masked_covariance(own["cholesky"], there))
        return {**own, "mean": own["mean"] * kept, "cholesky": factor}, rows

    def log_density(self, own: Mapping[str, np.ndarray], rows: Rows) -> np.ndarray:
        """One component after the other."""
        from scipy.stats import Covariance, multivariate_normal

        found = np.empty((len(rows.x), len(own["mean"])))
        for k, (mean, factor) in enumerate(zip(own["mean"], own["cholesky"], strict=True)):
            covariance = Covariance.from_cholesky(factor)
            found[:, k] = multivariate_normal.logpdf(rows.x, mean, covariance)
        return found

    def size(self, parameters: Parameters, rows: Rows) -> np.ndarray:
        """½ ‖ |L⁻¹| (|x| + |μ|) ‖² and the magnitudes of the logs, of −½ |L⁻¹(x − μ)|² and logs."""
        square = (self.reach(parameters, rows) ** 2).sum(-1) / 2
        square = square + self.log_sizes(parameters)[..., None] + rows.x.shape[1] * _LOG_2PI / 2
        return np.swapaxes(square, -1, -2)
