"""What responses about a line with a scale share: σ, its M-step and its scores."""

from functools import cached_property
from typing import ClassVar

import numpy as np

from jointmix.families.checks import Checks
from jointmix.families.limits import VARIANCE_FLOOR
from jointmix.families.line import Line, line
from jointmix.families.matrices import least_squares
from jointmix.families.moments import Moments, Outside
from jointmix.families.parameters import Parameters
from jointmix.families.priors.priors import Fixed
from jointmix.families.protocol import Parameter, Step
from jointmix.families.regression_checks import RegressionChecks
from jointmix.families.rows import Rows
from jointmix.families.specified import Scaled
from jointmix.families.steps import Products
from jointmix.families.straight import Straightened


class Regression(Line):
    """A response whose location is the line b_k + u'θ_k, with a scale σ_k.

    A family of it says how y lies about the line: `log_density_at`, the log density of a
    standardised residual, `draw_noise`, and how its M-step weighs the rows.
    """

    own_priors: ClassVar[tuple[str, ...]] = ("sigma",)
    checked: ClassVar[type[Checks]] = RegressionChecks
    straight: ClassVar[tuple[Straightened, ...]] = (Straightened("sigma", ("intercept", "slope")),)
    #: What σ is, in a few words.
    sigma_meaning: ClassVar[str] = "sd of the response about its line"

    @cached_property
    def parameters(self) -> tuple[Parameter, ...]:
        """b, θ, σ and what the family adds."""
        spec, k = self.spec, self.spec.n_clusters
        noise = () if spec.noise == "fixed" else ((1,) if spec.noise == "shared" else (k,))
        return (
            *self.coefficients,
            Parameter(
                name="sigma", symbol="σ", role="scale", prior=spec.priors.sigma, free=noise,
                site="noise", meaning=self.sigma_meaning,
            ),
            *self.further(),
        )  # fmt: skip

    def log_density(self, parameters: Parameters, rows: Rows) -> np.ndarray:
        """log p(y | x, k), (..., obs, component)."""
        sigma = parameters.sigma[..., None, :]
        residual = (rows.y[:, None] - line(parameters, rows)) / sigma
        return self.log_density_at(residual, parameters) - np.log(sigma)

    def log_density_at(self, residual: np.ndarray, parameters: Parameters) -> np.ndarray:
        """Log density of (y − line) / σ, (..., obs, component)."""
        raise NotImplementedError

    def draw_noise(
        self, parameters: Parameters, cluster: np.ndarray, rng: np.random.Generator
    ) -> np.ndarray:
        """(y − line) / σ of rows of known clusters, (obs,)."""
        raise NotImplementedError

    def draw(
        self, parameters: Parameters, rows: Rows, cluster: np.ndarray, rng: np.random.Generator
    ) -> np.ndarray:
        """y of rows of known clusters, (obs,)."""
        value = parameters.intercept[cluster] + (rows.u * parameters.slope[cluster]).sum(-1)
        noise = self.draw_noise(parameters, cluster, rng)
        return np.asarray(value + parameters.sigma[cluster] * noise)

    def mean(self, parameters: Parameters, rows: Rows) -> np.ndarray:
        """E[y | x, k], the line."""
        return line(parameters, rows)

    def squared_scale(self, parameters: Parameters) -> np.ndarray:
        """σ_k²."""
        return np.asarray(parameters.sigma**2)

    def known(self, scaling: Scaled) -> dict[str, np.ndarray]:
        """Fixed b, θ and σ on scaled columns."""
        found, prior = super().known(scaling), self.spec.priors.sigma
        if isinstance(prior, Fixed):
            found["sigma"] = np.broadcast_to(prior.array, (self.spec.n_clusters,))
            found["sigma"] = found["sigma"] / scaling.response[1]
        return found

    def to_users(self, parameters: Parameters, scaling: Scaled) -> dict[str, np.ndarray]:
        """b, θ and σ of scaled columns as those on the users' scale."""
        _, y_scale = scaling.response
        return super().to_users(parameters, scaling) | {"sigma": parameters.sigma * y_scale}

    def to_model(self, parameters: Parameters, scaling: Scaled) -> dict[str, np.ndarray]:
        """b, θ and σ on the users' scale as those of scaled columns."""
        _, y_scale = scaling.response
        return super().to_model(parameters, scaling) | {"sigma": parameters.sigma / y_scale}

    def moments(self, before: Moments, parameters: Parameters, outside: Outside) -> Moments:
        """Those of the line, and σ² about it.

        A predictor that is a feature takes part in the features' spread.
        """
        features, slope = list(before.columns), parameters.slope
        inside = np.zeros((*slope.shape[:2], len(features)))
        for index, name in enumerate(self.spec.predictors):
            if name in features:
                inside[..., features.index(name)] = slope[..., index]
        level = parameters.intercept[:, None] + (inside[:, None] * before.mean).sum(-1)
        level = level + np.swapaxes(slope @ outside.rows.T, -1, -2)
        cross = np.einsum("mkij,mkj->mki", before.explained, inside)
        given = np.einsum("mki,ij,mkj->mk", slope, outside.covariance, slope)
        variance = (cross * inside).sum(-1) + given
        return Moments(
            columns=(*before.columns, *self.columns),
            mean=np.concatenate([before.mean, level[..., None]], axis=-1),
            explained=np.block(
                [[before.explained, cross[..., None]],
                 [cross[..., None, :], variance[..., None, None]]]
            ),
            noise=np.concatenate(
                [before.noise, self.squared_scale(parameters)[..., None]], axis=-1
            ),
        )  # fmt: skip

    def spread(self, parameters: Parameters) -> np.ndarray | None:
        """σ, unless it is fixed."""
        return None if self.spec.noise == "fixed" else parameters.sigma

    def maximise_line(self, step: Step, average: np.ndarray) -> dict[str, np.ndarray]:
        """b, θ and σ that minimise weighted squares.

        Parameters
        ----------
        average
            Weighted second moments of w = (1, columns) over the clusters' rows, (start, cluster,
            1 + column, 1 + column).
        """
        target, design = self._forms(step.scaling)
        gram = design @ average @ design.T
        right = np.einsum("pi,...kij,kj->...kp", design, average, target)
        coefficient = least_squares(gram, right)
        residual = target - coefficient @ design
        variance = np.einsum("...ki,...kij,...kj->...k", residual, average, residual)
        known = self.known(step.scaling).get("sigma")
        if known is not None:
            variance = np.broadcast_to(known**2, variance.shape)
        else:
            variance = np.maximum(variance, 0) + VARIANCE_FLOOR
            if self.spec.noise == "shared":
                count = step.count
                pooled = (count * variance).sum(-1, keepdims=True) / count.sum(-1, keepdims=True)
                variance = np.broadcast_to(pooled, variance.shape)
        # The residual is y − b − u'θ as a form in w: its constant is −b.
        places = [1 + self.spec.columns.index(name) for name in self.spec.predictors]
        return {
            "intercept": -residual[..., 0],
            "slope": -residual[..., places],
            "sigma": np.sqrt(variance),
        }

    def _forms(self, scaling: Scaled) -> tuple[np.ndarray, np.ndarray]:
        """The regression as linear forms in w: target·w (K, …) explained by design·w (free, …).

        Whatever is fixed enters the target; predictors are centred unless b is fixed.
        """
        spec, known = self.spec, self.known(scaling)
        width = 1 + len(spec.columns)
        target, predictors = np.zeros((spec.n_clusters, width)), np.zeros((0, width))
        center, scale = scaling.predictor
        predictors = np.zeros((len(spec.predictors), width))
        for row, name in enumerate(spec.predictors):
            predictors[row, 1 + spec.columns.index(name)] = 1
            if not spec.free_intercept:
                predictors[row, 0] = center[row] / scale[row]
        target[:, -1] = 1
        target[:, 0] = -known["intercept"] if "intercept" in known else 0.0
        design = np.eye(1, width) if spec.free_intercept else np.zeros((0, width))
        if "slope" in known:
            return target - known["slope"] @ predictors, design
        return target, np.vstack([design, predictors])

    def errors(self, parameters: Parameters, rows: Rows, share: np.ndarray) -> np.ndarray:
        """Of b and θ, those that are free: σ_k² (U'R_k U)⁻¹."""
        first = 0 if self.spec.free_intercept else 1
        last = 1 if isinstance(self.spec.priors.slope, Fixed) else 1 + rows.u.shape[1]
        gram = Products(rows.u).summed(share.T[None])[0, :, first:last, first:last]
        inverse = np.linalg.pinv(gram, hermitian=True)
        return np.asarray(inverse * parameters.sigma[:, None, None] ** 2)

    def scale_scores(self, each: np.ndarray) -> np.ndarray:
        """Scores of the free scales, (obs, scale), from those of log σ (obs, cluster)."""
        if self.spec.noise == "fixed":
            return each[:, :0]
        return each.sum(axis=1, keepdims=True) if self.spec.noise == "shared" else each
