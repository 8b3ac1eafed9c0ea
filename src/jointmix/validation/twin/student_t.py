"""A Student-t response a second time: y | x, k ~ t(ν_k; b_k + u'θ_k, σ_k)."""

from collections.abc import Iterator, Mapping
from typing import ClassVar

import numpy as np

from jointmix.families.parameters import Parameters
from jointmix.families.priors.priors import Fixed
from jointmix.families.protocol import Scaled
from jointmix.families.rows import Rows
from jointmix.validation.twin.family import Array, Arrays, Candidate, Density, orders
from jointmix.validation.twin.regression import RegressionTwin

#: Degrees of freedom that models fix.
_USUAL_DF = (1, 2, 3, 4, 5, 6, 7, 8, 10, 15, 20, 30)


class StudentTTwin(RegressionTwin):
    """σ is the scale, ν the degrees of freedom."""

    sigma_word: ClassVar[str] = "scale"

    def complete(self, free: Mapping[str, Array], scaling: Scaled) -> Arrays:
        """ν too, which has no unit."""
        found, prior = super().complete(free, scaling), self.spec.priors.df
        if isinstance(prior, Fixed):
            return found | {"df": np.broadcast_to(prior.array, free["weight"].shape)}
        return found | {"df": free["df"]}

    def about(self, line: Array, own: Mapping[str, Array]) -> Array:
        """t(ν; line, σ)."""
        import numpyro.distributions as dist

        return dist.StudentT(own["df"], line, own["sigma"])

    def log_pdf(self, y: np.ndarray, line: np.ndarray, own: Mapping[str, np.ndarray]) -> np.ndarray:
        """log t(y | ν, line, σ)."""
        from scipy.stats import t

        return np.asarray(t.logpdf(y, own["df"], line, own["sigma"]))

    def size_at(
        self, z: np.ndarray, reach: np.ndarray, own: Mapping[str, np.ndarray]
    ) -> np.ndarray:
        """Of log Γ((ν+1)/2) − log Γ(ν/2) − ½ log(πν) − ½(ν+1) log1p(z²/ν).

        The two log Γ cancel to ½ log(ν/2) where ν is large, each of them being ½ν log ν: what is
        left has the rounding of what they were. An error δ of z changes the last term by
        (ν+1) z δ / (ν + z²), δ being a rounding of reach; errors of z²/ν relative to itself change
        it by ½(ν+1) r/(1+r) of them with r = z²/ν, and those of its factor by the term itself,
        which is at least as large since log1p(r) ≥ r/(1+r).
        """
        from scipy.special import gammaln

        df = own["df"]
        constant = np.abs(gammaln((df + 1) / 2)) + np.abs(gammaln(df / 2))
        constant = constant + np.abs(np.log(np.pi * df)) / 2
        moved = (df + 1) * np.abs(z) * reach / (df + z**2)
        return np.asarray(constant + moved + (df + 1) * np.log1p(z**2 / df))

    def mistakes(self, parameters: Parameters, rows: Rows, at: Density) -> Iterator[Candidate]:
        """Of ν, and of what σ is."""
        from scipy.stats import norm

        yield from super().mistakes(parameters, rows, at)
        line = rows.u @ np.swapaxes(parameters.slope, -1, -2) + parameters.intercept[:, None]
        normal = norm.logpdf(rows.y[:, None], line, parameters.sigma[:, None])
        yield "y is given a normal distribution in place of Student's t.", normal
        for order, words in orders(parameters.df.shape[1]):
            sentence = f"The degrees of freedom belong to other components: {words}."
            yield sentence, at(parameters.replace(df=parameters.df[:, order]))
        for df in _USUAL_DF:
            sentence = f"y has {df} degrees of freedom in all components."
            yield sentence, at(parameters.replace(df=np.full_like(parameters.df, df)))
        # Where ν ≤ 2 there is no standard deviation.
        ratio = np.where(parameters.df > 2, (parameters.df - 2) / parameters.df, np.nan)
        yield (
            "sigma is taken for the standard deviation of y; it is the scale of Student's t.",
            at(parameters.replace(sigma=parameters.sigma * np.sqrt(ratio))),
        )
