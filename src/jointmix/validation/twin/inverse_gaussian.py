"""An inverse Gaussian response a second time: mean m = exp(b_k + u'θ_k + offset), shape λ_k."""

from collections.abc import Callable, Mapping
from functools import cache
from typing import Any, ClassVar

import numpy as np

from jointmix.families.parameters import Parameters
from jointmix.families.protocol import Scaled
from jointmix.families.rows import Rows
from jointmix.validation.twin.family import Array
from jointmix.validation.twin.positive import PositiveTwin


class InverseGaussianTwin(PositiveTwin):
    """λ has the unit of y."""

    def shape_unit(self, scaling: Scaled) -> float:
        """That of y in the model."""
        return scaling.response[1]

    def about(self, line: Array, own: Mapping[str, Array]) -> Array:
        """Of the mean exp(line)."""
        import jax.numpy as jnp

        return _distribution()(jnp.exp(line), own["shape"])

    def log_pdf(self, y: np.ndarray, line: np.ndarray, own: Mapping[str, np.ndarray]) -> np.ndarray:
        """SciPy's has the scale λ, and the mean over it."""
        from scipy.stats import invgauss

        return np.asarray(invgauss.logpdf(y, np.exp(line) / own["shape"], scale=own["shape"]))

    def size(self, parameters: Parameters, rows: Rows) -> np.ndarray:
        """Of log λ, log y and λ (y − m)² / (m² y); an error δ of η moves y/m − 1 by δ y/m."""
        shape, y = parameters["shape"][:, None], rows.y[:, None]
        ratio = self.ratio_at(parameters, rows)
        moved = np.abs(ratio - 1) * (1 + ratio) * (1 + self.reach(parameters, rows))
        constant = 1 + np.abs(np.log(shape)) + 2 * np.abs(np.log(y))
        return np.asarray(constant + shape / y * (moved + (ratio - 1) ** 2))


@cache
def _distribution() -> Callable[[Array, Array], Array]:
    """NumPyro has none of its own."""
    import jax
    import jax.numpy as jnp
    from numpyro.distributions import Distribution, constraints
    from numpyro.distributions.util import validate_sample

    class InverseGaussian(Distribution):
        """Of expectation and shape."""

        arg_constraints: ClassVar[dict[str, Any]] = dict.fromkeys(
            ("expectation", "concentration"), constraints.positive
        )
        support = constraints.positive

        def __init__(self, expectation: Array, concentration: Array) -> None:
            batch = jax.lax.broadcast_shapes(jnp.shape(expectation), jnp.shape(concentration))
            self.expectation = jnp.broadcast_to(expectation, batch)
            self.concentration = jnp.broadcast_to(concentration, batch)
            super().__init__(batch_shape=batch)

        @validate_sample
        def log_prob(self, value: Array) -> Array:
            """½ log(λ / (2π y³)) − λ (y/m − 1)² / (2 y)."""
            shape = self.concentration
            square = shape * (value / self.expectation - 1) ** 2 / value
            return 0.5 * (jnp.log(shape / (2 * jnp.pi)) - 3 * jnp.log(value) - square)

    return InverseGaussian
