"""Features in ellipsoids: a location μ_k and a scale matrix Σ_k, with every structure of Σ."""

from collections.abc import Mapping
from dataclasses import replace
from functools import cached_property
from typing import ClassVar

import numpy as np

from jointmix.families.checks import Checks
from jointmix.families.elliptical.checks import EllipticalChecks
from jointmix.families.limits import VARIANCE_FLOOR
from jointmix.families.matrices import inverse_lower, lower_factor, unit_diagonal
from jointmix.families.moments import Imputed, Moments, Outside
from jointmix.families.parameters import Parameters
from jointmix.families.priors.priors import Fixed
from jointmix.families.protocol import Block, Parameter, Step, freed
from jointmix.families.rows import Rows
from jointmix.families.specified import Scaled
from jointmix.families.straight import Straightened


class Elliptical(Block):
    """A density of |L_k⁻¹ (x − μ_k)|, L_k L_k' = Σ_k full, diagonal, spherical, tied or fixed."""

    of_response: ClassVar[bool] = False
    checked: ClassVar[type[Checks]] = EllipticalChecks
    straight: ClassVar[tuple[Straightened, ...]] = (Straightened("sd", ("mean",), "correlation"),)
    #: What μ and s are, in a few words.
    location_meaning: ClassVar[str] = "centre of the features"
    scale_meaning: ClassVar[str] = "standard deviation of the features"

    @cached_property
    def parameters(self) -> tuple[Parameter, ...]:
        """μ, and Σ = diag(s) R diag(s)."""
        spec, k, d = self.spec, self.spec.n_clusters, len(self.spec.features)
        scales: dict[str, tuple[int, ...]]
        scales = {"full": (k, d), "diagonal": (k, d), "spherical": (k, 1), "tied": (1, d)}
        matrices = {"full": k, "tied": 1}.get(spec.covariance, 0) if d > 1 else 0
        return (
            Parameter(
                name="mean", symbol="μ", dims=("feature",), role="location",
                prior=spec.priors.mean, free=freed(spec.priors.mean, k, d),
                labels=tuple(spec.features), meaning=self.location_meaning,
            ),
            Parameter(
                name="sd", symbol="s", dims=("feature",), role="scale", prior=spec.priors.sd,
                free=scales.get(spec.covariance, ()), site="feature",
                meaning=self.scale_meaning,
            ),
            Parameter(
                name="correlation", symbol="R", dims=("feature", "feature_bis"),
                role="correlation", prior=spec.priors.correlation,
                free=(matrices, d * (d - 1) // 2) if matrices else (),
                site="partial_correlation", meaning="correlation of the features",
            ),
        )  # fmt: skip

    def white(self, parameters: Parameters, rows: Rows) -> np.ndarray:
        """z = L_k⁻¹ (x − μ_k), (..., component, obs, feature)."""
        deviation = rows.x - parameters.mean[..., None, :]
        return np.asarray(deviation @ np.swapaxes(inverse_lower(parameters.cholesky), -1, -2))

    def log_scale(self, parameters: Parameters) -> np.ndarray:
        """log det L_k, (..., component)."""
        diagonal = np.diagonal(parameters.cholesky, axis1=-2, axis2=-1)
        return np.asarray(np.log(diagonal).sum(-1))

    def known(self, scaling: Scaled) -> dict[str, np.ndarray]:
        """A fixed μ or Σ on scaled columns: ``mean``, ``cholesky``."""
        (center, scale), spec, found = scaling.feature, self.spec, {}
        if isinstance(spec.priors.mean, Fixed):
            mean = np.broadcast_to(spec.priors.mean.array, (spec.n_clusters, len(spec.features)))
            found["mean"] = (mean - center) / scale
        if spec.covariance == "fixed":
            covariance = spec.fixed_covariance() / np.outer(scale, scale)
            found["cholesky"] = np.linalg.cholesky(covariance)
        return found

    def to_users(self, parameters: Parameters, scaling: Scaled) -> dict[str, np.ndarray]:
        """μ and the factor of Σ on the users' scale."""
        center, scale = scaling.feature
        return {
            "mean": center + scale * parameters.mean,
            "cholesky": scale[:, None] * parameters.cholesky,
        }

    def to_model(self, parameters: Parameters, scaling: Scaled) -> dict[str, np.ndarray]:
        """μ and the factor of Σ of scaled columns."""
        center, scale = scaling.feature
        return {
            "mean": (parameters.mean - center) / scale,
            "cholesky": parameters.cholesky / scale[:, None],
        }

    def compiled(self, parameters: Parameters) -> dict[str, np.ndarray]:
        """``cholesky`` as standard deviations times a factor of correlations."""
        cholesky = parameters.cholesky
        sd = np.sqrt((cholesky**2).sum(-1))
        return {"mean": parameters.mean, "sd": sd, "factor": cholesky / sd[..., None]}

    def options(self, parameters: Parameters) -> tuple[float, ...]:
        """Whether any Σ has entries beside its diagonal."""
        free = any(item.role == "correlation" and item.free for item in self.parameters)
        cholesky = parameters.cholesky
        return (float(free or (cholesky * (1 - np.eye(cholesky.shape[-1]))).any()),)

    def packed(self, variables: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """``sd`` and ``correlation`` become ``cholesky``."""
        factor = lower_factor(variables["correlation"])
        return {"mean": variables["mean"], "cholesky": variables["sd"][..., None] * factor}

    def variables(self, parameters: Parameters) -> dict[str, np.ndarray]:
        """``cholesky`` becomes ``sd`` and ``correlation``."""
        cholesky = parameters.cholesky
        sd = np.sqrt((cholesky**2).sum(-1))
        unit = cholesky / sd[..., None]
        return {
            "mean": parameters.mean,
            "sd": sd,
            "correlation": unit_diagonal(unit @ np.swapaxes(unit, -1, -2)),
        }

    def spread(self, parameters: Parameters) -> np.ndarray | None:
        """Smallest standard deviation in any direction, unless Σ is fixed."""
        if self.spec.covariance == "fixed":
            return None
        return np.asarray(np.linalg.svd(parameters.cholesky, compute_uv=False).min(axis=-1))

    def maximise_ellipsoid(
        self, step: Step, second: np.ndarray, mass: np.ndarray | float = 1.0
    ) -> dict[str, np.ndarray]:
        """Weighted means, and scale matrices about them.

        Parameters
        ----------
        second
            Second moments of w = (1, columns), weighted, over the rows that each cluster holds,
            (start, cluster, 1 + column, 1 + column).
        mass
            Their first entry, the sum of the weights over those rows, (start, cluster).
        """
        d, known = len(self.spec.features), self.known(step.scaling)
        mass = np.asarray(mass)[..., None]
        sample_mean = second[..., 0, 1 : d + 1] / mass
        mean = np.broadcast_to(known.get("mean", sample_mean), sample_mean.shape)
        if "cholesky" in known:
            shape = (*sample_mean.shape, d)
            return {"mean": mean, "cholesky": np.broadcast_to(known["cholesky"], shape)}
        cross = second[..., 0, 1 : d + 1, None] * mean[..., None, :]
        covariance = second[..., 1 : d + 1, 1 : d + 1] - cross - np.swapaxes(cross, -1, -2)
        covariance = covariance + mass[..., None] * mean[..., :, None] * mean[..., None, :]
        match self.spec.covariance:
            case "tied":
                pooled = np.einsum("...k,...kij->...ij", step.count, covariance)
                pooled /= step.count.sum(-1)[..., None, None]
                covariance = np.broadcast_to(pooled[..., None, :, :], covariance.shape)
            case "diagonal":
                covariance = covariance * np.eye(d)
            case "spherical":
                variance = np.trace(covariance, axis1=-2, axis2=-1) / d
                covariance = variance[..., None, None] * np.eye(d)
        covariance = covariance + VARIANCE_FLOOR * np.eye(d)
        return {"mean": mean, "cholesky": np.linalg.cholesky(covariance)}

    def ellipsoid_scores(
        self,
        parameters: Parameters,
        share: np.ndarray,
        first: np.ndarray,
        second: np.ndarray,
    ) -> tuple[np.ndarray, np.ndarray]:
        """Scores of μ (obs, cluster, feature), and of the free entries of log Σ (obs, value).

        Parameters
        ----------
        share
            Responsibilities, (obs, cluster).
        first, second
            Of each row what stands for z and z z' in a Gaussian density's scores, weights
            included, (obs, cluster, feature) and (obs, cluster, feature, feature).
        """
        n = len(share)
        whiten = inverse_lower(parameters.cholesky)
        mean = share[..., None] * np.einsum("kji,nkj->nki", whiten, first)
        square = second - np.eye(first.shape[-1])
        kind = self.spec.covariance
        if kind in ("full", "tied"):
            row, column = np.tril_indices(first.shape[-1])
            scale = share[..., None] * square[..., row, column]
        else:
            scale = share[..., None] * np.diagonal(square, axis1=-2, axis2=-1)
        if kind == "spherical":
            scale = scale.sum(axis=-1, keepdims=True)
        if kind == "tied":
            scale = scale.sum(axis=1, keepdims=True)
        if kind == "fixed":
            scale = scale[..., :0]
        return mean, scale.reshape(n, -1)

    def errors(self, parameters: Parameters, rows: Rows, share: np.ndarray) -> np.ndarray:
        """Of the means: Σ_k / n_k, of each feature the rows that have it."""
        if isinstance(self.spec.priors.mean, Fixed):
            return np.zeros((len(parameters.mean), 0, 0))
        covariance = parameters.cholesky @ np.swapaxes(parameters.cholesky, -1, -2)
        if rows.complete:
            return np.asarray(covariance / np.maximum(share.sum(0), 1.0)[:, None, None])
        counts = np.sqrt(np.maximum(share.T @ ~np.isnan(rows.x), 1.0))
        return np.asarray(covariance / (counts[:, :, None] * counts[:, None, :]))

    def moments(self, before: Moments, parameters: Parameters, outside: Outside) -> Moments:
        """μ and Σ; no block of features comes before."""
        del before
        mean = np.repeat(parameters.mean[:, None], len(outside.rows), axis=1)
        covariance = parameters.cholesky @ np.swapaxes(parameters.cholesky, -1, -2)
        return Moments(self.columns, mean, covariance, np.zeros(parameters.mean.shape))

    def marginal(
        self, rows: Rows, parameters: Parameters, present: np.ndarray
    ) -> tuple[Rows, dict[str, np.ndarray]]:
        """μ and Σ of the features that are present; nothing where none is."""
        there = np.flatnonzero(present)
        reduced = replace(rows, x=rows.x[:, there], u=rows.u[:, :0])
        if not there.size:
            return reduced, {}
        covariance = parameters.cholesky @ np.swapaxes(parameters.cholesky, -1, -2)
        inner = covariance[..., there[:, None], there]
        return reduced, {"mean": parameters.mean[..., there], "cholesky": lower_factor(inner)}

    def impute(self, before: Imputed, parameters: Parameters, present: np.ndarray) -> Imputed:
        """μ_m + B (x_o − μ_o) with B = Σ_mo Σ_oo⁻¹, and Σ_mm − B Σ_om."""
        there, gone = np.flatnonzero(present), np.flatnonzero(~present)
        covariance = parameters.cholesky @ np.swapaxes(parameters.cholesky, -1, -2)
        inner, cross = (covariance[..., there[:, None], part] for part in (there, gone))
        by = np.swapaxes(np.linalg.solve(inner, cross), -1, -2)
        coefficient = before.coefficient.copy()
        coefficient[..., 1 + there] = by
        at_mean = (by @ parameters.mean[..., there, None])[..., 0]
        coefficient[..., 0] = parameters.mean[..., gone] - at_mean
        return Imputed(coefficient, covariance[..., gone[:, None], gone] - by @ cross)

    def reduction(self, present: np.ndarray) -> tuple[float, ...] | None:
        """How many features there are and are left, and which."""
        there = np.flatnonzero(present)
        return None if present.all() else (float(len(present)), float(len(there)), *there)
