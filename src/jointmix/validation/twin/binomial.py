"""Successes of trials a second time: y | x, k ~ Binomial(n, g⁻¹(b_k + u'θ_k + offset))."""

from collections.abc import Iterator, Mapping

import numpy as np

from jointmix.families.parameters import Parameters
from jointmix.families.rows import Rows
from jointmix.validation.twin.family import Array, Arrays, Candidate, Density
from jointmix.validation.twin.line import LineTwin

#: Of the asymptotic series that JAX takes below −20, of three terms by default: these leave 1e-18.
_TERMS = 10


class BinomialTwin(LineTwin):
    """The line is the logit or the probit of the chance of a success; one trial is a yes or no."""

    def given(self, rows: Rows) -> Arrays:
        """The trials."""
        return {"trials": np.ones(rows.y.shape) if rows.trials is None else rows.trials}

    def about(self, line: Array, own: Mapping[str, Array]) -> Array:
        """Binomial with logits."""
        import numpyro.distributions as dist
        from jax.scipy.special import log_ndtr

        if self.spec.link == "probit":
            line = log_ndtr(line, _TERMS) - log_ndtr(-line, _TERMS)
        if self.spec.trials is None:
            return dist.Bernoulli(logits=line)
        return dist.Binomial(total_count=own["trials"], logits=line)

    def log_pdf(self, y: np.ndarray, line: np.ndarray, own: Mapping[str, np.ndarray]) -> np.ndarray:
        """Logs of the logistic's or the normal's distribution function on both sides."""
        from scipy.special import gammaln
        from scipy.stats import logistic, norm

        law = norm if self.spec.link == "probit" else logistic
        n = own["trials"]
        ways = gammaln(n + 1) - gammaln(y + 1) - gammaln(n - y + 1)
        return np.asarray(ways + y * law.logcdf(line) + (n - y) * law.logsf(line))

    def size(self, parameters: Parameters, rows: Rows) -> np.ndarray:
        """An error of η, of the roundings of its terms, times n (1 + |η|), the largest slope."""
        from scipy.special import gammaln

        reach, n = self.reach(parameters, rows), self.given(rows)["trials"][:, None]
        each = 1 + reach + reach**2 if self.spec.link == "probit" else 1 + reach
        return np.asarray(n * each + gammaln(n + 1))

    def mistakes(self, parameters: Parameters, rows: Rows, at: Density) -> Iterator[Candidate]:
        """Of the link, of the level, of the offset and of the trials."""
        from scipy.stats import logistic, norm

        yield from super().mistakes(parameters, rows, at)
        line = rows.u @ np.swapaxes(parameters.slope, -1, -2) + parameters.intercept[:, None]
        y, n = rows.y[:, None], self.given(rows)["trials"][:, None]
        own = {"trials": n}
        if self.spec.offset is not None:
            yield "The offset is missing from the line of y.", self.log_pdf(y, line, own)
        if rows.offset is not None:
            line = line + rows.offset[:, None]
        sides = "Zeros and ones" if self.spec.trials is None else "Successes and failures"
        yield f"{sides} of y are exchanged.", self.log_pdf(n - y, line, own)
        other, name = (logistic, "logit") if self.spec.link == "probit" else (norm, "probit")
        right = self.log_pdf(y, line, own)
        law = norm if self.spec.link == "probit" else logistic
        moved = y * (other.logcdf(line) - law.logcdf(line))
        moved = moved + (n - y) * (other.logsf(line) - law.logsf(line))
        yield f"The link is the {name}.", right + moved
        if self.spec.trials is not None:
            most = {"trials": np.full_like(n, n.max())}
            yield "All rows have as many trials as the most.", self.log_pdf(y, line, most)
