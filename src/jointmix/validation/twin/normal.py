"""A normal response a second time: y | x, k ~ N(b_k + u'θ_k, σ_k²)."""

from collections.abc import Mapping
from typing import ClassVar

import numpy as np

from jointmix.validation.twin.family import Array
from jointmix.validation.twin.regression import RegressionTwin

_LOG_2PI = float(np.log(2 * np.pi))


class NormalTwin(RegressionTwin):
    """σ is the standard deviation."""

    gaussian: ClassVar[bool] = True

    def about(self, line: Array, own: Mapping[str, Array]) -> Array:
        """N(line, σ²)."""
        import numpyro.distributions as dist

        return dist.Normal(line, own["sigma"])

    def log_pdf(self, y: np.ndarray, line: np.ndarray, own: Mapping[str, np.ndarray]) -> np.ndarray:
        """log N(y | line, σ²)."""
        from scipy.stats import norm

        return np.asarray(norm.logpdf(y, line, own["sigma"]))

    def size_at(
        self, z: np.ndarray, reach: np.ndarray, own: Mapping[str, np.ndarray]
    ) -> np.ndarray:
        """½ reach² and ½ log 2π, of −½ z² and the constant."""
        del z, own
        return reach**2 / 2 + _LOG_2PI / 2
