"""A negative binomial response a second time: mean m = exp(b_k + u'θ_k + offset), m + m²/size_k."""

from collections.abc import Iterator, Mapping

import numpy as np

from jointmix.families.parameters import Parameters
from jointmix.families.priors.priors import Fixed
from jointmix.families.protocol import Scaled
from jointmix.families.rows import Rows
from jointmix.validation.twin.family import Array, Arrays, Candidate, Density, orders
from jointmix.validation.twin.line import LineTwin


class NegativeBinomialTwin(LineTwin):
    """The line is the log of the mean; size is the shape of the gamma variable that scales it."""

    def complete(self, free: Mapping[str, Array], scaling: Scaled) -> Arrays:
        """The size too, which has no unit."""
        found, prior = super().complete(free, scaling), self.spec.priors.size
        if isinstance(prior, Fixed):
            return found | {"size": np.broadcast_to(prior.array, free["weight"].shape)}
        return found | {"size": free["size"]}

    def about(self, line: Array, own: Mapping[str, Array]) -> Array:
        """Of the log odds log mean − log size.

        NegativeBinomial2 has a beta function that JAX computes to 1e-9 only.
        """
        import jax.numpy as jnp
        import numpyro.distributions as dist

        return dist.NegativeBinomialLogits(own["size"], line - jnp.log(own["size"]))

    def log_pdf(self, y: np.ndarray, line: np.ndarray, own: Mapping[str, np.ndarray]) -> np.ndarray:
        """log NB(y | size, p) of log p = −log(1 + mean/size), which p near 1 would have lost."""
        from scipy.special import gammaln

        size = own["size"]
        odds = line - np.log(size)
        tail = np.logaddexp(0, odds)
        gammas = gammaln(y + size) - gammaln(size) - gammaln(y + 1)
        return np.asarray(gammas - size * tail + y * (odds - tail))

    def size(self, parameters: Parameters, rows: Rows) -> np.ndarray:
        """Of three log Γ, y log m/(s + m) and s log s/(s + m).

        An error δ of η changes the last two by s (y − m)/(s + m) δ at most, and a rounding of
        s/(s + m) the last by s times itself.
        """
        from scipy.special import gammaln

        line = self.line_at(parameters, rows)
        y, s, reach = rows.y[:, None], parameters.size[..., None, :], self.reach(parameters, rows)
        gammas = np.abs(gammaln(y + s)) + np.abs(gammaln(s)) + gammaln(y + 1)
        moved = (y + np.minimum(s, np.exp(line))) * (1 + reach)
        return np.asarray(gammas + moved + s + (s + y) * (1 + np.abs(np.log(s)) + np.abs(line)))

    def own_mistakes(self, parameters: Parameters, at: Density) -> Iterator[Candidate]:
        """Of the size."""
        size = parameters.size
        yield "size is taken for its inverse.", at(parameters.replace(size=1 / size))
        for order, words in orders(size.shape[1]):
            yield (
                f"The sizes belong to other components: {words}.",
                at(parameters.replace(size=size[:, order])),
            )

    def mistakes(self, parameters: Parameters, rows: Rows, at: Density) -> Iterator[Candidate]:
        """Of the distribution, and of the offset."""
        from scipy.stats import nbinom, poisson

        yield from super().mistakes(parameters, rows, at)
        line = rows.u @ np.swapaxes(parameters.slope, -1, -2) + parameters.intercept[:, None]
        y, own = rows.y[:, None], {"size": parameters.size[:, None]}
        if rows.offset is not None:
            yield "The offset is missing from the line of y.", self.log_pdf(y, line, own)
            line = line + rows.offset[:, None]
        mean = np.exp(line)
        with np.errstate(invalid="ignore", divide="ignore"):
            yield "y is given a Poisson distribution.", poisson.logpmf(y, mean)
            spread = nbinom.logpmf(y, mean / own["size"], 1 / (1 + own["size"]))
            yield "The variance of y is m (1 + size).", spread
