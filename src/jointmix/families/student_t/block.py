"""A Student-t response about a line: y | x, k ~ t(ν_k; b_k + u'θ_k, σ_k)."""

from typing import ClassVar

import numpy as np
from scipy.special import digamma, gammaln

from jointmix.families.checks import Checks
from jointmix.families.climbing import better_shape
from jointmix.families.line import line
from jointmix.families.parameters import Parameters
from jointmix.families.priors.priors import Fixed
from jointmix.families.protocol import Parameter, Scores, Step, freed
from jointmix.families.regression import Regression
from jointmix.families.rows import Rows
from jointmix.families.specified import Scaled
from jointmix.families.student_t.checks import StudentTChecks

#: Between these the M-step looks for degrees of freedom: beyond 200 a t cannot be told from a
#: normal distribution, and below a half no row has a say in where the line lies.
_LEAST_DF, _MOST_DF = 0.5, 200.0
#: With which the first M-step, from allocations, begins.
_FIRST_DF = 30.0


class StudentTResponse(Regression):
    """y | x, k ~ t(ν_k; b_k + u'θ_k, σ_k): few rows far from the line do not move it."""

    family: ClassVar[str] = "student_t"
    words: ClassVar[str] = "a Student-t density of the response about its regression line"
    own_priors: ClassVar[tuple[str, ...]] = ("df",)
    checked: ClassVar[type[Checks]] = StudentTChecks
    sigma_meaning: ClassVar[str] = "scale of the response about its line"

    def further(self) -> tuple[Parameter, ...]:
        """ν, one a cluster."""
        prior = self.spec.priors.df
        return (
            Parameter(
                name="df", symbol="ν", role="shape", prior=prior,
                free=freed(prior, self.spec.n_clusters), site="df",
                meaning="degrees of freedom of the response about its line",
            ),
        )  # fmt: skip

    def log_density_at(self, residual: np.ndarray, parameters: Parameters) -> np.ndarray:
        """log t(residual | ν)."""
        df = parameters.df[..., None, :]
        return _constant(df) - (df + 1) / 2 * np.log1p(residual**2 / df)

    def variance(self, parameters: Parameters, rows: Rows) -> np.ndarray:
        """σ_k² ν_k / (ν_k − 2), infinite up to ν = 2; (..., 1, component)."""
        del rows
        df = parameters.df
        factor = np.where(df > 2, df / np.maximum(df - 2, 1e-300), np.inf)
        return (parameters.sigma**2 * factor)[..., None, :]

    def draw_noise(
        self, parameters: Parameters, cluster: np.ndarray, rng: np.random.Generator
    ) -> np.ndarray:
        """Student-t with the cluster's degrees of freedom, (obs,)."""
        return rng.standard_t(parameters.df[cluster])

    def known(self, scaling: Scaled) -> dict[str, np.ndarray]:
        """Fixed values, ν among them."""
        found, prior = super().known(scaling), self.spec.priors.df
        if isinstance(prior, Fixed):
            found["df"] = np.broadcast_to(prior.array, (self.spec.n_clusters,))
        return found

    def to_users(self, parameters: Parameters, scaling: Scaled) -> dict[str, np.ndarray]:
        """ν has no unit."""
        return super().to_users(parameters, scaling) | {"df": parameters.df}

    def to_model(self, parameters: Parameters, scaling: Scaled) -> dict[str, np.ndarray]:
        """ν has no unit."""
        return super().to_model(parameters, scaling) | {"df": parameters.df}

    def maximise(self, step: Step) -> dict[str, np.ndarray]:
        """A conditional M-step each for the line and for ν (ECME; Liu and Rubin 1995).

        Rows weigh (ν + 1) / (ν + z²) in the line's least squares, z their residual before; ν then
        climbs the likelihood itself, between 0.5 and 200.
        """
        shape = step.count.shape
        known = self.known(step.scaling).get("df")
        if step.previous is None:
            found = self.maximise_line(step, step.average)
            first = known if known is not None else np.full(shape[-1], _FIRST_DF)
            return found | {"df": np.broadcast_to(first, shape).copy()}
        df = step.previous.df
        square = self._squares(step, step.previous)
        weight = step.share * ((df + 1)[..., None] / (df[..., None] + square))
        found = self.maximise_line(step, step.moments(weight) / step.count[..., None, None])
        if known is None:
            square = self._squares(step, Parameters(**found))
            df = _better_df(step.share, square, df)
        return found | {"df": df}

    @staticmethod
    def _squares(step: Step, parameters: Parameters) -> np.ndarray:
        """Squared standardised residuals, (start, cluster, obs)."""
        residual = step.rows.y - np.swapaxes(line(parameters, step.rows), -1, -2)
        return np.asarray((residual / parameters.sigma[..., None]) ** 2)

    def scores(self, parameters: Parameters, rows: Rows, share: np.ndarray) -> Scores:
        """Of b and θ, of log σ, and of log ν."""
        sigma, df = parameters.sigma, parameters.df
        white = (rows.y[:, None] - line(parameters, rows)) / sigma
        weight = (df + 1) / (df + white**2)
        location = self.line_scores(share * weight * white / sigma, rows)
        rest = self.scale_scores(share * (weight * white**2 - 1))
        if isinstance(self.spec.priors.df, Fixed):
            return Scores(location, rest)
        of_df = share * df * _df_slope(df, white**2)
        return Scores(location, np.concatenate([rest, of_df], axis=1))


def _constant(df: np.ndarray) -> np.ndarray:
    return np.asarray(gammaln((df + 1) / 2) - gammaln(df / 2) - 0.5 * np.log(df * np.pi))


def _df_slope(df: np.ndarray, square: np.ndarray) -> np.ndarray:
    """Derivative of log t(z | ν) in ν, of squares z²."""
    constant = digamma((df + 1) / 2) - digamma(df / 2) - 1 / df
    ratio = square / df
    return np.asarray((constant - np.log1p(ratio) + (df + 1) / df * ratio / (1 + ratio)) / 2)


def _better_df(share: np.ndarray, square: np.ndarray, df: np.ndarray) -> np.ndarray:
    """ν (start, cluster) of a higher Σ_n r_n log t(z_n | ν), of squares z²."""
    return better_shape(
        share,
        df,
        lambda at: _constant(at) - (at + 1) / 2 * np.log1p(square / at),
        lambda at: _df_slope(at, square),
        (_LEAST_DF, _MOST_DF),
    )
