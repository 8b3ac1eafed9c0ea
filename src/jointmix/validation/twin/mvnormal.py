"""Gaussian features a second time: x | k ~ N(μ_k, Σ_k), Σ_k = diag(s_k) R_k diag(s_k)."""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import ClassVar

import numpy as np

from jointmix.families.parameters import Parameters
from jointmix.families.priors.priors import Fixed
from jointmix.families.protocol import Scaled
from jointmix.families.rows import Rows
from jointmix.validation.twin.family import Array, Arrays, Candidate, Density, Twin, orders
from jointmix.validation.twin.gaps import masked_covariance

_LOG_2PI = float(np.log(2 * np.pi))


class GaussianTwin(Twin):
    """μ, s and the Cholesky factor of R; Σ has the factor diag(s) L."""

    gaussian: ClassVar[bool] = True
    further: ClassVar[dict[str, tuple[str, ...]]] = {
        "variance": ("sd",),
        **dict.fromkeys(("covariance", "covariance_cholesky", "precision"), ("sd", "correlation")),
    }

    def complete(self, free: Mapping[str, Array], scaling: Scaled) -> Arrays:
        """μ, s, the factor of R and that of Σ."""
        spec, (center, unit) = self.spec, scaling.feature
        shape = (*free["weight"].shape, len(spec.features))
        if isinstance(spec.priors.mean, Fixed):
            mean = np.broadcast_to((spec.priors.mean.array - center) / unit, shape)
        else:
            mean = free["mean"]
        if spec.covariance == "fixed":
            covariance = spec.fixed_covariance() / unit[:, None] / unit
            known = np.sqrt(np.einsum("kii->ki", covariance))
            factor = np.linalg.cholesky(covariance) / known[:, :, None]
            sd = np.broadcast_to(known, shape)
        else:
            sd, factor = free["sd"], free.get("correlation", np.eye(shape[-1]))
        factor = factor + np.zeros((*shape, shape[-1]))
        cholesky = sd[..., None] * factor
        return {"mean": mean, "sd": sd, "correlation_cholesky": factor, "cholesky": cholesky}

    def distribution(self, own: Mapping[str, Array], rows: Rows) -> Array:
        """N(μ, Σ)."""
        import numpyro.distributions as dist

        del rows
        return dist.MultivariateNormal(own["mean"], scale_tril=own["cholesky"])

    def without(
        self, own: Mapping[str, Array], rows: Rows, present: np.ndarray
    ) -> tuple[Mapping[str, Array], Rows]:
        """Entries of μ and of Σ."""
        there, factor = np.flatnonzero(present), own["cholesky"]
        covariance = (factor @ np.swapaxes(factor, -1, -2))[..., there[:, None], there]
        left = {"mean": own["mean"][..., there], "cholesky": np.linalg.cholesky(covariance)}
        return {**own, **left}, replace(rows, x=rows.x[..., there])

    def lacks(self, there: np.ndarray) -> np.ndarray:
        """Any."""
        return ~there.all(axis=1)

    def masked(
        self, own: Mapping[str, Array], rows: Rows, there: np.ndarray
    ) -> tuple[Mapping[str, Array], Rows]:
        """Zeros in μ, and in Σ but for a variance at which a zero's density is one."""
        import jax.numpy as jnp

        kept = there[:, None, :]
        factor = jnp.linalg.cholesky(masked_covariance(own["cholesky"], there))
        return {**own, "mean": own["mean"] * kept, "cholesky": factor}, rows

    def log_density(self, own: Mapping[str, np.ndarray], rows: Rows) -> np.ndarray:
        """One component after the other."""
        from scipy.stats import Covariance, multivariate_normal

        found = np.empty((len(rows.x), len(own["mean"])))
        for k, (mean, factor) in enumerate(zip(own["mean"], own["cholesky"], strict=True)):
            covariance = Covariance.from_cholesky(factor)
            found[:, k] = multivariate_normal.logpdf(rows.x, mean, covariance)
        return found

    def size(self, parameters: Parameters, rows: Rows) -> np.ndarray:
        """½ ‖ |L⁻¹| (|x| + |μ|) ‖² and the magnitudes of the logs, of −½ |L⁻¹(x − μ)|² and logs."""
        cholesky = parameters.cholesky
        reach = np.abs(rows.x) + np.abs(parameters.mean)[..., None, :]
        white = reach @ np.swapaxes(np.abs(np.linalg.inv(cholesky)), -1, -2)
        logs = np.abs(np.log(np.diagonal(cholesky, axis1=-2, axis2=-1))).sum(-1)
        square = (white**2).sum(-1) / 2 + logs[..., None] + rows.x.shape[1] * _LOG_2PI / 2
        return np.swapaxes(square, -1, -2)

    def mistakes(self, parameters: Parameters, rows: Rows, at: Density) -> Iterator[Candidate]:
        """Of factors, of standard deviations, and of components."""
        del rows
        factor = parameters.cholesky

        def having(covariance: np.ndarray) -> np.ndarray:
            return at(parameters.replace(cholesky=np.linalg.cholesky(covariance)))

        turned = np.swapaxes(factor, -1, -2)
        eye = np.eye(factor.shape[-1])
        sd = np.sqrt((factor**2).sum(-1))
        covariance = factor @ turned
        correlation = covariance / sd[..., :, None] / sd[..., None, :]
        transposed = "The Cholesky factor of x is transposed: it must be lower triangular, Σ = LL'."
        yield transposed, having(turned @ factor)
        yield transposed, at(parameters.replace(cholesky=factor * eye))
        yield (
            "The correlations of x are left out.",
            at(parameters.replace(cholesky=sd[..., None] * eye)),
        )
        for power, words in (
            (0.5, "standard deviations for variances"),
            (2.0, "variances for sds"),
        ):
            scale = sd**power
            changed = correlation * scale[..., :, None] * scale[..., None, :]
            yield f"The covariance of x is made with {words}.", having(changed)
        with np.errstate(all="ignore"):
            inverse = np.linalg.inv(covariance)
            if np.isfinite(inverse).all() and (np.linalg.eigvalsh(inverse) > 0).all():
                sentence = "x is given the covariance for a precision, or the other way round."
                yield sentence, having(inverse)
        for name, words in (("mean", "means"), ("cholesky", "covariances")):
            for order, which in orders(factor.shape[1]):
                moved = parameters.replace(**{name: parameters[name][:, order]})
                yield f"The {words} belong to other components: {which}.", at(moved)

    def quantity(self, name: str, found: Arrays) -> Array:
        """Variances, Σ, its factor or its inverse, as many of them as there are free ones."""
        import jax.numpy as jnp

        sd = found["sd"]
        if name == "variance":
            return sd**2
        d = len(self.spec.features)
        n = 1 if self.spec.covariance == "tied" else self.spec.n_clusters
        factor = found.get("correlation_cholesky", jnp.broadcast_to(jnp.eye(d), (n, d, d)))
        cholesky = jnp.broadcast_to(sd, (n, d))[:, :, None] * factor
        if name == "covariance_cholesky":
            return cholesky
        covariance = cholesky @ jnp.swapaxes(cholesky, -1, -2)
        return jnp.linalg.inv(covariance) if name == "precision" else covariance

    def separated(self, given: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """s and R."""
        if "variance" in given:
            return {"sd": np.sqrt(given["variance"])}
        if "covariance_cholesky" in given:
            factor = given["covariance_cholesky"]
            covariance = factor @ np.swapaxes(factor, -1, -2)
        elif "precision" in given:
            covariance = np.linalg.inv(given["precision"])
        elif "covariance" in given:
            covariance = given["covariance"]
        else:
            return {}
        sd = np.sqrt(np.einsum("...ii->...i", covariance))
        return {"sd": sd, "correlation": covariance / sd[..., :, None] / sd[..., None, :]}
