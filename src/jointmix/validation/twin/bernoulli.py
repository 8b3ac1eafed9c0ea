"""A yes or no a second time: y | x, k ~ Bernoulli(g⁻¹(b_k + u'θ_k + offset))."""

from collections.abc import Iterator, Mapping

import numpy as np

from jointmix.families.parameters import Parameters
from jointmix.families.rows import Rows
from jointmix.validation.twin.family import Array, Candidate, Density
from jointmix.validation.twin.line import LineTwin


class BernoulliTwin(LineTwin):
    """The line is the logit or the probit of the chance of 1."""

    def about(self, line: Array, own: Mapping[str, Array]) -> Array:
        """Bernoulli with logits."""
        import numpyro.distributions as dist
        from jax.scipy.stats.norm import logcdf

        del own
        if self.spec.link == "probit":
            line = logcdf(line) - logcdf(-line)
        return dist.Bernoulli(logits=line)

    def log_pdf(self, y: np.ndarray, line: np.ndarray, own: Mapping[str, np.ndarray]) -> np.ndarray:
        """The log of the logistic's or the normal's distribution function on the side of y."""
        from scipy.stats import logistic, norm

        del own
        law = norm if self.spec.link == "probit" else logistic
        return np.asarray(np.where(y > 0.5, law.logcdf(line), law.logsf(line)))

    def size(self, parameters: Parameters, rows: Rows) -> np.ndarray:
        """An error of η, of the roundings of its terms, times the slope, at most 1 + |η|."""
        reach = self.reach(parameters, rows)
        return np.asarray(1 + reach + reach**2 if self.spec.link == "probit" else 1 + reach)

    def mistakes(self, parameters: Parameters, rows: Rows, at: Density) -> Iterator[Candidate]:
        """Of the link, of the level and of the offset."""
        from scipy.stats import logistic, norm

        yield from super().mistakes(parameters, rows, at)
        line = rows.u @ np.swapaxes(parameters.slope, -1, -2) + parameters.intercept[:, None]
        y, own = rows.y[:, None], dict[str, np.ndarray]()
        if self.spec.offset is not None:
            yield "The offset is missing from the line of y.", self.log_pdf(y, line, own)
        if rows.offset is not None:
            line = line + rows.offset[:, None]
        yield "Zeros and ones of y are exchanged.", self.log_pdf(1 - y, line, own)
        other, name = (logistic, "logit") if self.spec.link == "probit" else (norm, "probit")
        density = np.where(y > 0.5, other.logcdf(line), other.logsf(line))
        yield f"The link is the {name}.", density
