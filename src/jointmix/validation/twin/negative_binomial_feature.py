"""A feature of spread counts a second time: n | k has the mean λ_k and the variance λ + λ²/s_k."""

from collections.abc import Iterator, Mapping

import numpy as np

from jointmix.families.parameters import Parameters
from jointmix.families.priors.priors import Fixed
from jointmix.families.protocol import Block, Scaled
from jointmix.families.rows import Rows
from jointmix.validation.twin.family import Array, Arrays, Candidate, Density, Twin, orders


class NegativeBinomialFeatureTwin(Twin):
    """A count whose Poisson rate is a gamma variable; one not known has the density one."""

    def __init__(self, block: Block) -> None:
        super().__init__(block)
        self.rate, self.spread = (parameter.name for parameter in block.parameters)
        (self.label,), self.place = block.columns, block.place

    @property
    def column(self) -> str:
        """By its name in the table."""
        return f"x[{self.label}]"

    def column_of(self, rows: Rows) -> np.ndarray:
        """The feature, (obs, ...), NaN where it is not known."""
        assert rows.discrete is not None
        return np.asarray(rows.discrete[..., self.place])

    def observed(self, rows: Rows) -> Array:
        """Counts; 0 where none is known."""
        column = self.column_of(rows)
        return np.where(np.isnan(column), 0, column)

    def complete(self, free: Mapping[str, Array], scaling: Scaled) -> Arrays:
        """Rates and sizes, which have no unit."""
        del scaling
        prior = self.spec.priors.size
        if isinstance(prior, Fixed):
            size = np.broadcast_to(prior.array, free["weight"].shape)
            return {self.rate: free[self.rate], self.spread: size}
        return {name: free[name] for name in (self.rate, self.spread)}

    def distribution(self, own: Mapping[str, Array], rows: Rows) -> Array:
        """Of the log odds log λ − log s, without the counts not known."""
        import jax.numpy as jnp
        import numpyro.distributions as dist

        rate, size = own[self.rate], own[self.spread]
        found = dist.NegativeBinomialLogits(size, jnp.log(rate) - jnp.log(size))
        column = self.column_of(rows)
        return found.mask(~np.isnan(column)) if np.isnan(column).any() else found

    def log_density(self, own: Mapping[str, np.ndarray], rows: Rows) -> np.ndarray:
        """Zero where the count is not known."""
        count = self.observed(rows)[:, None]
        found = _log_pmf(count, own[self.rate], own[self.spread])
        return np.where(np.isnan(self.column_of(rows))[:, None], 0.0, found)

    def size(self, parameters: Parameters, rows: Rows) -> np.ndarray:
        """Of three log Γ, n log λ/(s + λ) and s log s/(s + λ)."""
        from scipy.special import gammaln

        count = self.observed(rows)[:, None]
        rate, size = (parameters[name][..., None, :] for name in (self.rate, self.spread))
        gammas = np.abs(gammaln(count + size)) + np.abs(gammaln(size)) + gammaln(count + 1)
        moved = count + np.minimum(size, rate)
        logs = 1 + np.abs(np.log(size)) + np.abs(np.log(rate))
        return np.asarray(gammas + moved + size + (size + count) * logs)

    def mistakes(self, parameters: Parameters, rows: Rows, at: Density) -> Iterator[Candidate]:
        """Of the rate, of the size, and of the distribution."""
        from scipy.stats import poisson

        rate, size = parameters[self.rate], parameters[self.spread]
        moved = at(parameters.replace(**{self.spread: 1 / size}))
        yield f"The size of {self.label} is taken for its inverse.", moved
        for name, words in ((self.rate, "rates"), (self.spread, "sizes")):
            for order, said in orders(rate.shape[1]):
                moved = at(parameters.replace(**{name: parameters[name][:, order]}))
                yield f"The {words} of {self.label} belong to other components: {said}.", moved
        count, right = self.observed(rows)[:, None], at(parameters)
        known = ~np.isnan(self.column_of(rows))[:, None]
        plain = poisson.logpmf(count, rate[:, None])
        gap = known * (plain - _log_pmf(count, rate[:, None], size[:, None]))
        yield f"{self.label} is given a Poisson distribution.", right + gap


def _log_pmf(count: np.ndarray, rate: np.ndarray, size: np.ndarray) -> np.ndarray:
    """By log gammas, of log s/(s + λ) = −log(1 + λ/s)."""
    from scipy.special import gammaln

    odds = np.log(rate) - np.log(size)
    tail = np.logaddexp(0, odds)
    gammas = gammaln(count + size) - gammaln(size) - gammaln(count + 1)
    return np.asarray(gammas - size * tail + count * (odds - tail))
