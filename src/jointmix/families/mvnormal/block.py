"""Gaussian features: x | k ~ N(μ_k, Σ_k), with every structure of Σ."""

from collections.abc import Mapping
from dataclasses import replace
from functools import cached_property
from typing import ClassVar

import numpy as np

from jointmix.families.checks import Checks
from jointmix.families.matrices import inverse_lower, lower_factor, unit_diagonal
from jointmix.families.moments import Imputed, Moments, Outside
from jointmix.families.mvnormal.checks import GaussianChecks
from jointmix.families.parameters import Parameters
from jointmix.families.priors.priors import Fixed
from jointmix.families.protocol import (
    VARIANCE_FLOOR,
    Block,
    Parameter,
    Scores,
    Step,
    freed,
)
from jointmix.families.rows import Rows
from jointmix.families.specified import Scaled
from jointmix.families.straight import Straightened

_LOG_2PI = float(np.log(2 * np.pi))


class GaussianFeatures(Block):
    """x | k ~ N(μ_k, Σ_k), Σ full, diagonal, spherical, tied or fixed."""

    family: ClassVar[str] = "mvnormal"
    of_response: ClassVar[bool] = False
    words: ClassVar[str] = "a Gaussian density of the features"
    checked: ClassVar[type[Checks]] = GaussianChecks
    straight: ClassVar[tuple[Straightened, ...]] = (Straightened("sd", ("mean",), "correlation"),)

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
                labels=tuple(spec.features), meaning="centre of the features",
            ),
            Parameter(
                name="sd", symbol="s", dims=("feature",), role="scale", prior=spec.priors.sd,
                free=scales.get(spec.covariance, ()), site="feature",
                meaning="standard deviation of the features",
            ),
            Parameter(
                name="correlation", symbol="R", dims=("feature", "feature_bis"),
                role="correlation", prior=spec.priors.correlation,
                free=(matrices, d * (d - 1) // 2) if matrices else (),
                site="partial_correlation", meaning="correlation of the features",
            ),
        )  # fmt: skip

    def log_density(self, parameters: Parameters, rows: Rows) -> np.ndarray:
        """log N(x | μ_k, Σ_k), (..., obs, component)."""
        cholesky = parameters.cholesky
        deviation = rows.x - parameters.mean[..., None, :]
        white = deviation @ np.swapaxes(inverse_lower(cholesky), -1, -2)
        log_det = np.log(np.diagonal(cholesky, axis1=-2, axis2=-1)).sum(-1)
        square = np.einsum("...nd,...nd->...n", white, white)
        constant = parameters.mean.shape[-1] * _LOG_2PI
        return np.swapaxes(-0.5 * (square + constant) - log_det[..., None], -1, -2)

    def draw(
        self, parameters: Parameters, rows: Rows, cluster: np.ndarray, rng: np.random.Generator
    ) -> np.ndarray:
        """x of rows of known clusters, (obs, feature)."""
        del rows
        noise = rng.standard_normal((len(cluster), parameters.mean.shape[-1]))
        factor = parameters.cholesky[cluster]
        return np.asarray(parameters.mean[cluster] + np.einsum("nij,nj->ni", factor, noise))

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

    def maximise(self, step: Step) -> dict[str, np.ndarray]:
        """Weighted means and covariances."""
        d, known = len(self.spec.features), self.known(step.scaling)
        sample_mean = step.average[..., 0, 1 : d + 1]
        mean = np.broadcast_to(known.get("mean", sample_mean), sample_mean.shape)
        if "cholesky" in known:
            shape = (*sample_mean.shape, d)
            return {"mean": mean, "cholesky": np.broadcast_to(known["cholesky"], shape)}
        cross = sample_mean[..., :, None] * mean[..., None, :]
        covariance = step.average[..., 1 : d + 1, 1 : d + 1] - cross - np.swapaxes(cross, -1, -2)
        covariance = covariance + mean[..., :, None] * mean[..., None, :]
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

    def scores(self, parameters: Parameters, rows: Rows, share: np.ndarray) -> Scores:
        """Of μ, and of the free entries of log Σ."""
        n = len(share)
        whiten = inverse_lower(parameters.cholesky)
        white = np.einsum("kij,nkj->nki", whiten, rows.x[:, None, :] - parameters.mean)
        mean = share[..., None] * np.einsum("kji,nkj->nki", whiten, white)
        square = white[..., :, None] * white[..., None, :] - np.eye(white.shape[-1])
        kind = self.spec.covariance
        if kind in ("full", "tied"):
            row, column = np.tril_indices(white.shape[-1])
            scale = share[..., None] * square[..., row, column]
        else:
            scale = share[..., None] * np.diagonal(square, axis1=-2, axis2=-1)
        if kind == "spherical":
            scale = scale.sum(axis=-1, keepdims=True)
        if kind == "tied":
            scale = scale.sum(axis=1, keepdims=True)
        if kind == "fixed":
            scale = scale[..., :0]
        return Scores({"mean": mean}, scale.reshape(n, -1))

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
    ) -> tuple[Rows, dict[str, np.ndarray]] | None:
        """The Gaussian of the features that are present; nothing where none is."""
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
