"""What twins of features in ellipsoids share: μ_k, Σ_k = diag(s_k) R_k diag(s_k), mistakes."""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import ClassVar

import numpy as np

from jointmix.families.parameters import Parameters
from jointmix.families.priors.priors import Fixed
from jointmix.families.protocol import Scaled
from jointmix.families.rows import Rows
from jointmix.validation.twin.family import Array, Arrays, Candidate, Density, Twin, orders


class EllipticalTwin(Twin):
    """μ, s and the Cholesky factor of R; Σ has the factor diag(s) L."""

    #: What Σ is called in a sentence.
    matrix: ClassVar[str] = "covariance"
    matrices: ClassVar[str] = "covariances"
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

    def reach(self, parameters: Parameters, rows: Rows) -> np.ndarray:
        """|L⁻¹| (|x| + |μ|), (point, component, obs, feature): what rounds z = L⁻¹ (x − μ)."""
        reach = np.abs(rows.x) + np.abs(parameters.mean)[..., None, :]
        return np.asarray(reach @ np.swapaxes(np.abs(np.linalg.inv(parameters.cholesky)), -1, -2))

    def log_sizes(self, parameters: Parameters) -> np.ndarray:
        """Σ |log L_ii|, (point, component)."""
        diagonal = np.diagonal(parameters.cholesky, axis1=-2, axis2=-1)
        return np.asarray(np.abs(np.log(diagonal)).sum(-1))

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
            yield f"The {self.matrix} of x is made with {words}.", having(changed)
        with np.errstate(all="ignore"):
            inverse = np.linalg.inv(covariance)
            if np.isfinite(inverse).all() and (np.linalg.eigvalsh(inverse) > 0).all():
                sentence = f"x is given the {self.matrix} for a precision, or the other way round."
                yield sentence, having(inverse)
        for name, words in (("mean", "means"), ("cholesky", self.matrices)):
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
