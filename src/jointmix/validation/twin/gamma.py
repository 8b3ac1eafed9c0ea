"""A gamma response a second time: mean m = exp(b_k + u'θ_k + offset), shape α_k."""

from collections.abc import Iterator, Mapping

import numpy as np

from jointmix.families.parameters import Parameters
from jointmix.families.rows import Rows
from jointmix.validation.twin.family import Array, Candidate, Density
from jointmix.validation.twin.positive import PositiveTwin


class GammaTwin(PositiveTwin):
    """α is the shape, α / m the rate."""

    def about(self, line: Array, own: Mapping[str, Array]) -> Array:
        """Gamma(α, α exp(−line))."""
        import jax.numpy as jnp
        import numpyro.distributions as dist

        return dist.Gamma(own["shape"], own["shape"] * jnp.exp(-line))

    def log_pdf(self, y: np.ndarray, line: np.ndarray, own: Mapping[str, np.ndarray]) -> np.ndarray:
        """log gamma(y | α, scale m / α)."""
        from scipy.stats import gamma

        return np.asarray(gamma.logpdf(y, own["shape"], scale=np.exp(line) / own["shape"]))

    def size(self, parameters: Parameters, rows: Rows) -> np.ndarray:
        """Of α log(α/m), log Γ(α), (α − 1) log y and α y / m; an error δ of η moves two by α δ."""
        from scipy.special import gammaln

        shape, log_y = parameters["shape"][:, None], np.abs(np.log(rows.y))[:, None]
        ratio = self.ratio_at(parameters, rows)
        reach = 1 + self.reach(parameters, rows) + log_y + np.abs(np.log(shape))
        return np.asarray(log_y + np.abs(gammaln(shape)) + shape * (1 + ratio) * reach)

    def mistakes(self, parameters: Parameters, rows: Rows, at: Density) -> Iterator[Candidate]:
        """Of what NumPyro and SciPy are given."""
        from scipy.stats import gamma

        yield from super().mistakes(parameters, rows, at)
        mean, shape = np.exp(self.line_at(parameters, rows)), parameters["shape"][:, None]
        y = rows.y[:, None]
        for words, scale in (("rate", 1 / mean), ("scale", mean)):
            sentence = f"The mean is taken for the {words} of the gamma distribution."
            yield sentence, gamma.logpdf(y, shape, scale=scale)
