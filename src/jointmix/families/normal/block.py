"""A normal response about a line: y | x, k ~ N(b_k + u'θ_k, σ_k²)."""

from dataclasses import replace
from typing import ClassVar

import numpy as np

from jointmix.families.line import line
from jointmix.families.moments import Imputed
from jointmix.families.parameters import Parameters
from jointmix.families.protocol import Scores, Step
from jointmix.families.regression import Regression
from jointmix.families.rows import Rows

_LOG_2PI = float(np.log(2 * np.pi))


class NormalResponse(Regression):
    """y | x, k ~ N(b_k + u'θ_k, σ_k²); exact where features are missing, as x is Gaussian."""

    family: ClassVar[str] = "normal"
    words: ClassVar[str] = "a Gaussian density of the response about its regression line"

    @property
    def integrates_predictors(self) -> bool:
        """Of Gaussian features."""
        return self.spec.feature_family == "normal"

    def log_density_at(self, residual: np.ndarray, parameters: Parameters) -> np.ndarray:
        """log N(residual | 0, 1)."""
        del parameters
        return -0.5 * (residual**2 + _LOG_2PI)

    def squares(self, parameters: Parameters) -> tuple[np.ndarray, np.ndarray]:
        """(y − b_k − u'θ_k) / σ_k."""
        spec, sigma = self.spec, parameters.sigma
        forms = np.zeros((*sigma.shape, 1, 1 + len(spec.columns)))
        forms[..., 0, 0], forms[..., 0, -1] = -parameters.intercept, 1.0
        forms[
            ..., 0, [1 + spec.columns.index(name) for name in spec.predictors]
        ] = -parameters.slope
        return forms / sigma[..., None, None], -np.log(sigma) - _LOG_2PI / 2

    def variance(self, parameters: Parameters, rows: Rows) -> np.ndarray:
        """σ_k², (..., 1, component)."""
        del rows
        return parameters.sigma[..., None, :] ** 2

    def draw_noise(
        self, parameters: Parameters, cluster: np.ndarray, rng: np.random.Generator
    ) -> np.ndarray:
        """Standard normal, (obs,)."""
        del parameters
        return rng.standard_normal(cluster.shape)

    def maximise(self, step: Step) -> dict[str, np.ndarray]:
        """Least squares, closed form in the weighted second moments."""
        return self.maximise_line(step, step.average)

    def scores(self, parameters: Parameters, rows: Rows, share: np.ndarray) -> Scores:
        """Of b and θ, and of log σ."""
        white = (rows.y[:, None] - line(parameters, rows)) / parameters.sigma
        location = self.line_scores(share * white / parameters.sigma, rows)
        return Scores(location, self.scale_scores(share * (white**2 - 1)))

    def marginal(
        self, rows: Rows, parameters: Parameters, present: np.ndarray
    ) -> tuple[Rows, dict[str, np.ndarray]] | None:
        """The response given some of the features, the others integrated out.

        Inside a cluster the missing features are Gaussian given the others, so that y is again
        normal about a line. With B = Σ_mo Σ_oo⁻¹ its slope in the features that are present is
        θ_o + B'θ_m, its intercept b + θ_m'(μ_m − B μ_o) and its variance
        σ² + θ_m'(Σ_mm − B Σ_om) θ_m.
        """
        spec = self.spec
        if not self.integrates_predictors:
            return super().marginal(rows, parameters, present)
        there, gone = np.flatnonzero(present), np.flatnonzero(~present)
        outside = [i for i, name in enumerate(spec.predictors) if name not in spec.features]
        covariance = parameters.cholesky @ np.swapaxes(parameters.cholesky, -1, -2)
        inner = covariance[..., there[:, None], there]
        slope = self._feature_slopes(parameters, len(present))
        of_gone = slope[..., gone]
        cross = covariance[..., there[:, None], gone]
        carried = np.linalg.solve(inner, (cross @ of_gone[..., None]))[..., 0]
        spread = np.einsum(
            "...i,...ij,...j->...", of_gone, covariance[..., gone[:, None], gone], of_gone
        )
        explained = np.einsum("...i,...ij,...j->...", carried, cross, of_gone)
        intercept = parameters.intercept + (of_gone * parameters.mean[..., gone]).sum(-1)
        slopes = [slope[..., there] + carried, parameters.slope[..., outside]]
        x = rows.x[:, there]
        return replace(rows, x=x, u=np.hstack([x, rows.u[:, outside]])), {
            "intercept": intercept - (carried * parameters.mean[..., there]).sum(-1),
            "slope": np.concatenate(slopes, axis=-1),
            # Rounding may leave less than nothing of what is explained entirely.
            "sigma": np.sqrt(parameters.sigma**2 + np.maximum(spread - explained, 0.0)),
        }

    def impute(self, before: Imputed, parameters: Parameters, present: np.ndarray) -> Imputed:
        """The missing predictors given y too.

        With θ_m their slopes, C their covariance given the features that are there and r what is
        left of y, of the variance v = σ² + θ_m'Cθ_m, they move by g r with g = Cθ_m / v.
        """
        spec = self.spec
        of_gone = self._feature_slopes(parameters, len(present))[..., ~present]
        left = np.zeros((*parameters.weight.shape, before.coefficient.shape[-1]))
        left[..., -1] = 1.0
        left[..., 0] = -parameters.intercept
        for index, name in enumerate(spec.predictors):
            if name not in spec.features or present[list(spec.features).index(name)]:
                left[..., 1 + spec.columns.index(name)] -= parameters.slope[..., index]
        left -= (of_gone[..., None] * before.coefficient).sum(-2)
        pulled = (before.covariance @ of_gone[..., None])[..., 0]
        variance = parameters.sigma**2 + (of_gone * pulled).sum(-1)
        gain = pulled / variance[..., None]
        return Imputed(
            before.coefficient + gain[..., None] * left[..., None, :],
            before.covariance - gain[..., :, None] * pulled[..., None, :],
        )

    def reduction(self, present: np.ndarray) -> tuple[float, ...] | None:
        """Numbers of features and predictors, which features are left, whose slopes are whose."""
        places, there = self._feature_places, np.flatnonzero(present)
        if present[places[places >= 0]].all():
            return None
        sizes = (len(present), len(places), len(there))
        return tuple(float(number) for number in (*sizes, *there, *places))

    def _feature_slopes(self, parameters: Parameters, n_features: int) -> np.ndarray:
        """The slope in every feature, zero where it is no predictor, (..., cluster, feature)."""
        found, places = np.zeros((*parameters.weight.shape, n_features)), self._feature_places
        found[..., places[places >= 0]] = parameters.slope[..., places >= 0]
        return found

    @property
    def _feature_places(self) -> np.ndarray:
        """Which feature each predictor is, −1 for none, (predictor,)."""
        names = list(self.spec.features)
        found = [names.index(name) if name in names else -1 for name in self.spec.predictors]
        return np.array(found, dtype=int)
