"""A feature of counts a second time: n | k ~ Poisson(λ_k)."""

from collections.abc import Iterator

import numpy as np

from jointmix.families.parameters import Parameters
from jointmix.families.rows import Rows
from jointmix.validation.twin.discrete import DiscreteTwin
from jointmix.validation.twin.family import Array, Candidate, Density


class PoissonFeatureTwin(DiscreteTwin):
    """λ is a rate, without a link."""

    def known(self, column: Array) -> Array:
        """Counts; 0 where none is known."""
        return np.where(np.isnan(column), 0, column)

    def family(self, parameter: Array) -> Array:
        """Poisson(λ)."""
        import numpyro.distributions as dist

        return dist.Poisson(parameter)

    def log_pmf(self, count: np.ndarray, parameter: np.ndarray) -> np.ndarray:
        """log Poisson(n | λ)."""
        from scipy.stats import poisson

        return np.asarray(poisson.logpmf(count, parameter))

    def magnitude(self, count: np.ndarray, parameter: np.ndarray) -> np.ndarray:
        """Of n log λ, λ and log n!; an error δ of log λ changes λ by λ δ."""
        from scipy.special import gammaln

        rate = parameter[:, None, :]
        return np.asarray((count + rate) * (1 + np.abs(np.log(rate))) + gammaln(count + 1))

    def mistakes(self, parameters: Parameters, rows: Rows, at: Density) -> Iterator[Candidate]:
        """Of the rate and of n!."""
        from scipy.special import gammaln

        yield from super().mistakes(parameters, rows, at)
        rate, right = parameters[self.name], at(parameters)
        count = self.known(self.column_of(rows))[:, None]
        there = ~np.isnan(self.column_of(rows))[:, None]
        for words, value in (("its logarithm", np.exp(rate)), ("its exponential", np.log(rate))):
            with np.errstate(all="ignore"):
                moved = at(parameters.replace(**{self.name: value}))
            yield f"The rate of {self.label} is taken for {words}.", moved
        yield f"log n! is missing from the term of {self.label}.", right + gammaln(count + 1)
        yield (
            f"The rate itself is missing from the term of {self.label}.",
            right + there * rate[:, None],
        )
