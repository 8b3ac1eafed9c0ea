"""A Poisson response a second time: y | x, k ~ Poisson(exp(b_k + u'θ_k + offset))."""

from collections.abc import Iterator, Mapping

import numpy as np

from jointmix.families.limits import MOST_EXPONENT
from jointmix.families.parameters import Parameters
from jointmix.families.rows import Rows
from jointmix.validation.twin.family import Array, Candidate, Density
from jointmix.validation.twin.line import LineTwin


class PoissonTwin(LineTwin):
    """The line is the log of the rate."""

    def about(self, line: Array, own: Mapping[str, Array]) -> Array:
        """Poisson(exp(line))."""
        import jax.numpy as jnp
        import numpyro.distributions as dist

        del own
        return dist.Poisson(jnp.exp(line))

    def log_pdf(self, y: np.ndarray, line: np.ndarray, own: Mapping[str, np.ndarray]) -> np.ndarray:
        """log Poisson(y | exp(line))."""
        from scipy.stats import poisson

        del own
        return np.asarray(poisson.logpmf(y, np.exp(line)))

    def size(self, parameters: Parameters, rows: Rows) -> np.ndarray:
        """Of y η, exp(η) and log y!; an error δ of η changes exp(η) by exp(η) δ."""
        from scipy.special import gammaln

        line = self.line_at(parameters, rows)
        y, reach = rows.y[:, None], self.reach(parameters, rows)
        rate = np.where(line > MOST_EXPONENT, np.inf, np.exp(np.minimum(line, MOST_EXPONENT)))
        return np.asarray((y + rate) * (1 + reach) + gammaln(y + 1))

    def mistakes(self, parameters: Parameters, rows: Rows, at: Density) -> Iterator[Candidate]:
        """Of the link and of the offset."""
        from scipy.stats import poisson

        yield from super().mistakes(parameters, rows, at)
        line = rows.u @ np.swapaxes(parameters.slope, -1, -2) + parameters.intercept[:, None]
        y = rows.y[:, None]
        shift = 0.0 if rows.offset is None else rows.offset[:, None]
        with np.errstate(invalid="ignore", divide="ignore"):
            yield "The line is taken for the rate, without exp.", poisson.logpmf(y, line + shift)
            if self.spec.offset is not None:
                exposure = np.exp(line) + np.exp(shift)
                yield "The exposure is added to the rate.", poisson.logpmf(y, exposure)
        if rows.offset is not None:
            yield "The offset is missing from the line of y.", poisson.logpmf(y, np.exp(line))
