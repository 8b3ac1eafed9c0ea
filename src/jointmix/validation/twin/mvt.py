"""Student-t features a second time: x | k ~ t(ν_k; μ_k, Σ_k), Σ_k = diag(s_k) R_k diag(s_k)."""

from collections.abc import Iterator, Mapping
from typing import ClassVar

import numpy as np

from jointmix.families.parameters import Parameters
from jointmix.families.priors.priors import Fixed
from jointmix.families.protocol import Scaled
from jointmix.families.rows import Rows
from jointmix.validation.twin.elliptical import EllipticalTwin
from jointmix.validation.twin.family import Array, Arrays, Candidate, Density, orders

#: Degrees of freedom that models fix.
_USUAL_DF = (1, 2, 3, 4, 5, 6, 7, 8, 10, 15, 20, 30)


class StudentTFeaturesTwin(EllipticalTwin):
    """Σ is the scale matrix, ν the degrees of freedom."""

    matrix: ClassVar[str] = "scale matrix"
    matrices: ClassVar[str] = "scale matrices"

    def complete(self, free: Mapping[str, Array], scaling: Scaled) -> Arrays:
        """ν too, which has no unit."""
        found, prior = super().complete(free, scaling), self.spec.priors.feature_df
        if isinstance(prior, Fixed):
            return found | {"feature_df": np.broadcast_to(prior.array, free["weight"].shape)}
        return found | {"feature_df": free["feature_df"] + np.zeros(free["weight"].shape)}

    def distribution(self, own: Mapping[str, Array], rows: Rows) -> Array:
        """t(ν; μ, Σ); where features are masked, of those that are there."""
        import numpyro.distributions as dist

        if "size" not in own:
            return dist.MultivariateStudentT(own["feature_df"], own["mean"], own["cholesky"])
        gaussian = dist.MultivariateNormal(own["mean"], scale_tril=own["cholesky"])
        return _Mixed(gaussian, own["feature_df"], own["size"], rows.x.shape[-1])

    def masked(
        self, own: Mapping[str, Array], rows: Rows, there: np.ndarray
    ) -> tuple[Mapping[str, Array], Rows]:
        """Zeros in μ, ones in Σ's diagonal alone, and how many features are there."""
        import jax.numpy as jnp

        kept = there[:, None, :]
        whole = own["cholesky"] @ jnp.swapaxes(own["cholesky"], -1, -2)
        both = kept[..., :, None] & kept[..., None, :]
        matrix = whole * both + np.eye(there.shape[1]) * ~kept[..., None]
        size = jnp.broadcast_to(there.sum(axis=1)[:, None], (len(there), len(own["weight"])))
        factor = jnp.linalg.cholesky(matrix)
        return {**own, "mean": own["mean"] * kept, "cholesky": factor, "size": size}, rows

    def log_density(self, own: Mapping[str, np.ndarray], rows: Rows) -> np.ndarray:
        """One component after the other."""
        from scipy.stats import multivariate_t

        found = np.empty((len(rows.x), len(own["mean"])))
        for k, (mean, factor) in enumerate(zip(own["mean"], own["cholesky"], strict=True)):
            law = multivariate_t(mean, factor @ factor.T, own["feature_df"][k])
            found[:, k] = law.logpdf(rows.x)
        return found

    def size(self, parameters: Parameters, rows: Rows) -> np.ndarray:
        """Of log Γ((ν+D)/2) − log Γ(ν/2) − ½ D log(πν) − log det L − ½(ν+D) log1p(|z|²/ν).

        The two log Γ cancel to ½ D log(ν/2) where ν is large: what is left has the rounding of what
        they were. A rounding of the reach of z changes the last term by (ν+D) |z| reach / (ν+|z|²).
        """
        from scipy.special import gammaln

        d, df = rows.x.shape[1], parameters.feature_df[..., None]
        deviation = rows.x - parameters.mean[..., None, :]
        white = deviation @ np.swapaxes(np.linalg.inv(parameters.cholesky), -1, -2)
        reach = self.reach(parameters, rows)
        square = (white**2).sum(-1)
        constant = np.abs(gammaln((df + d) / 2)) + np.abs(gammaln(df / 2))
        constant = constant + d * np.abs(np.log(np.pi * df)) / 2
        constant = constant + self.log_sizes(parameters)[..., None]
        moved = (df + d) * (np.abs(white) * reach).sum(-1) / (df + square)
        total = constant + moved + (df + d) * np.log1p(square / df)
        return np.asarray(np.swapaxes(total, -1, -2))

    def mistakes(self, parameters: Parameters, rows: Rows, at: Density) -> Iterator[Candidate]:
        """Of ν, and of what Σ is."""
        from scipy.stats import multivariate_normal, t

        yield from super().mistakes(parameters, rows, at)
        mean, factor, df = parameters.mean, parameters.cholesky, parameters.feature_df
        shape = (*df.shape[:1], len(rows.x), df.shape[1])
        normal, apart = np.empty(shape), np.empty(shape)
        for s, k in np.ndindex(df.shape):
            covariance = factor[s, k] @ factor[s, k].T
            normal[s, :, k] = multivariate_normal.logpdf(rows.x, mean[s, k], covariance)
            sd = np.sqrt(np.diag(covariance))
            apart[s, :, k] = t.logpdf(rows.x, df[s, k], mean[s, k], sd).sum(-1)
        yield "x is given a normal distribution in place of Student's t.", normal
        yield "x is given a Student's t for each feature, in place of one for all.", apart
        for order, words in orders(df.shape[1]):
            sentence = f"The degrees of freedom of x belong to other components: {words}."
            yield sentence, at(parameters.replace(feature_df=df[:, order]))
        for value in _USUAL_DF:
            sentence = f"x has {value} degrees of freedom in all components."
            yield sentence, at(parameters.replace(feature_df=np.full_like(df, value)))
        # Where ν ≤ 2 there is no covariance.
        ratio = np.where(df > 2, (df - 2) / df, np.nan)[..., None, None]
        yield (
            "The scale matrix of x is taken for its covariance.",
            at(parameters.replace(cholesky=factor * np.sqrt(ratio))),
        )


class _Mixed:
    """The density of t features of which some are not there, from that of Gaussian ones.

    Parameters
    ----------
    gaussian
        Of all features: those not there are zeros about zero, with the variance 1.
    df, size
        ν, and how many features are there, (..., component).
    width
        How many there are in all.
    """

    def __init__(self, gaussian: Array, df: Array, size: Array, width: int) -> None:
        self.gaussian, self.df, self.size, self.width = gaussian, df, size, width

    def log_prob(self, value: Array) -> Array:
        """log t(ν; μ, Σ) of the features that are there."""
        import jax.numpy as jnp
        from jax.scipy.special import gammaln

        log_2pi = float(np.log(2 * np.pi))
        log_det = -self.gaussian.log_prob(self.gaussian.loc) - self.width / 2 * log_2pi
        square = -2 * (self.gaussian.log_prob(value) + self.width / 2 * log_2pi + log_det)
        df, size = self.df, self.size
        constant = gammaln((df + size) / 2) - gammaln(df / 2) - size / 2 * jnp.log(df * np.pi)
        return constant - log_det - (df + size) / 2 * jnp.log1p(square / df)
