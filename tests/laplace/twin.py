"""A Laplace response a second time."""

from collections.abc import Mapping
from typing import ClassVar

import numpy as np

from jointmix.validation.twin.family import Array
from jointmix.validation.twin.regression import RegressionTwin


class LaplaceTwin(RegressionTwin):
    """σ is the scale."""

    sigma_word: ClassVar[str] = "scale"

    def about(self, line: Array, own: Mapping[str, Array]) -> Array:
        """Laplace(line, σ)."""
        import numpyro.distributions as dist

        return dist.Laplace(line, own["sigma"])

    def log_pdf(self, y: np.ndarray, line: np.ndarray, own: Mapping[str, np.ndarray]) -> np.ndarray:
        """log Laplace(y | line, σ)."""
        from scipy.stats import gennorm

        # SciPy takes its own Laplace's logarithm of a density that underflows.
        return np.asarray(gennorm.logpdf(y, 1.0, line, own["sigma"]))

    def size_at(
        self, z: np.ndarray, reach: np.ndarray, own: Mapping[str, np.ndarray]
    ) -> np.ndarray:
        """Of −|z| and the constant."""
        del z, own
        return reach + np.log(2)
