"""Student-t features: x | k ~ t(ν_k; μ_k, Σ_k), with every structure of the scale matrix Σ."""

from collections.abc import Mapping
from dataclasses import replace
from functools import cached_property
from typing import ClassVar

import numpy as np

from jointmix.families.checks import Checks
from jointmix.families.climbing import better_shape
from jointmix.families.completing import expected_moments, known_columns, missing_given
from jointmix.families.elliptical.block import Elliptical
from jointmix.families.matrices import inverse_lower
from jointmix.families.mvt.checks import StudentTFeaturesChecks
from jointmix.families.parameters import Parameters
from jointmix.families.patterns import by_pattern
from jointmix.families.priors.priors import Fixed
from jointmix.families.protocol import Parameter, Scores, Step, freed
from jointmix.families.rising import digamma_rising, log_rising
from jointmix.families.rows import Gaps, Rows
from jointmix.families.specified import Scaled

_LOG_2PI = float(np.log(2 * np.pi))
#: Between these the M-step looks for degrees of freedom: beyond 200 a t cannot be told from a
#: normal distribution, and below a half no row has a say in where the cluster lies.
_LEAST_DF, _MOST_DF = 0.5, 200.0
#: With which the first M-step, from allocations, begins.
_FIRST_DF = 30.0


class StudentTFeatures(Elliptical):
    """x | k ~ t(ν_k; μ_k, Σ_k): few rows far from a cluster neither move nor widen it.

    One ν for all features of a cluster: what is known of a row's distance in some of them says how
    far to expect it in the others. The features that a row has are again t, with the same ν.
    """

    family: ClassVar[str] = "mvt"
    words: ClassVar[str] = "a multivariate Student-t density of the features"
    own_priors: ClassVar[tuple[str, ...]] = ("feature_df",)
    checked: ClassVar[type[Checks]] = StudentTFeaturesChecks
    scale_meaning: ClassVar[str] = "scale of the features"
    scores_gaps: ClassVar[bool] = True

    @cached_property
    def parameters(self) -> tuple[Parameter, ...]:
        """μ, Σ = diag(s) R diag(s), and ν."""
        spec, prior = self.spec, self.spec.priors.feature_df
        one = spec.tails == "shared"
        return (
            *super().parameters,
            Parameter(
                name="feature_df", symbol="κ" if spec.family == "student_t" else "ν", role="shape",
                prior=prior, free=freed(prior, 1 if one else spec.n_clusters),
                site="feature_df_shared" if one and spec.n_clusters > 1 else "feature_df",
                meaning="degrees of freedom of the features",
            ),
        )  # fmt: skip

    def log_density(self, parameters: Parameters, rows: Rows) -> np.ndarray:
        """log t(x | ν_k, μ_k, Σ_k), (..., obs, component)."""
        white = self.white(parameters, rows)
        square, size = np.einsum("...nd,...nd->...n", white, white), white.shape[-1]
        found = _log_t(square, parameters.feature_df[..., None], size)
        return np.swapaxes(found - self.log_scale(parameters)[..., None], -1, -2)

    def draw(
        self, parameters: Parameters, rows: Rows, cluster: np.ndarray, rng: np.random.Generator
    ) -> np.ndarray:
        """x of rows of known clusters, (obs, feature)."""
        del rows
        noise = rng.standard_normal((len(cluster), parameters.mean.shape[-1]))
        df, factor = parameters.feature_df[cluster], parameters.cholesky[cluster]
        wide = np.einsum("nij,nj->ni", factor, noise) * np.sqrt(df / rng.chisquare(df))[:, None]
        return np.asarray(parameters.mean[cluster] + wide)

    def known(self, scaling: Scaled) -> dict[str, np.ndarray]:
        """Fixed values, ν among them."""
        found, prior = super().known(scaling), self.spec.priors.feature_df
        if isinstance(prior, Fixed):
            found["feature_df"] = np.broadcast_to(prior.array, (self.spec.n_clusters,))
        return found

    def maximise(self, step: Step) -> dict[str, np.ndarray]:
        """A conditional M-step each for μ and Σ and for ν (ECME; Liu and Rubin 1995).

        Rows weigh (ν + D) / (ν + |z|²), D features being there, in means and, over all that the
        cluster holds, in Σ; ν then climbs the likelihood itself, between 0.5 and 200.
        """
        known, shape = self.known(step.scaling).get("feature_df"), step.count.shape
        if step.previous is None:
            first = known if known is not None else np.full(shape[-1], _FIRST_DF)
            df = np.broadcast_to(first, shape).copy()
            return self.maximise_ellipsoid(step, step.average) | {"feature_df": df}
        df = step.previous.feature_df
        rows = _numbers(step.rows)
        size, square = self._reach(step.previous, rows)
        weight = _weight(square, df[..., None], size)
        if rows.complete:
            second = step.moments(step.share * weight)
        else:
            second = expected_moments(
                rows, step.products, step.share, step.previous, (self,), weight
            ).every
        second = second / step.count[..., None, None]
        mass = np.maximum(second[..., 0, 0], 1e-300)
        found = self.maximise_ellipsoid(step, second, mass)
        if known is None:
            at = Parameters(**{**step.previous, **found})
            df = self._better_df(step.share, *self._reach(at, rows), df)
        return found | {"feature_df": df}

    def scores(self, parameters: Parameters, rows: Rows, share: np.ndarray) -> Scores:
        """Of μ, of the free entries of log Σ, and of log ν; where entries are missing, of the rest.

        Those of the rest are expectations given it (Louis 1982): with x̂ and C / w, C of the
        missing entries, mean and covariance given a row's weight w, w z z' becomes
        w ẑ ẑ' + L⁻¹ C L⁻ᵀ.
        """
        n, k, d = len(share), *parameters.mean.shape
        first, second = np.empty((n, k, d)), np.empty((n, k, d, d))
        whiten, df = inverse_lower(parameters.cholesky), parameters.feature_df
        rows = _numbers(rows)
        size, square = self._reach(parameters, rows)
        weight = _weight(square, df[:, None], size).T
        for part in rows.patterns:
            x, covariance = self._filled(part, parameters)
            white = np.einsum("kij,nkj->nki", whiten, x - parameters.mean)
            own, place = weight[part.place][..., None], part.place
            first[place] = own * white
            second[place] = first[place][..., :, None] * white[..., None, :]
            second[place] += whiten @ covariance @ np.swapaxes(whiten, -1, -2)
        mean, scale = self.ellipsoid_scores(parameters, share, first, second)
        if not self.parameters[-1].free:
            return Scores({"mean": mean}, scale)
        of_df = share * (df[:, None] * _df_slope(square, df[:, None], size)).T
        if self.parameters[-1].free[0] == 1:
            of_df = of_df.sum(axis=1, keepdims=True)
        return Scores({"mean": mean}, np.concatenate([scale, of_df], axis=1))

    def to_users(self, parameters: Parameters, scaling: Scaled) -> dict[str, np.ndarray]:
        """ν has no unit."""
        return super().to_users(parameters, scaling) | {"feature_df": parameters.feature_df}

    def to_model(self, parameters: Parameters, scaling: Scaled) -> dict[str, np.ndarray]:
        """ν has no unit."""
        return super().to_model(parameters, scaling) | {"feature_df": parameters.feature_df}

    def compiled(self, parameters: Parameters) -> dict[str, np.ndarray]:
        """Those of the ellipsoid, and ν."""
        return super().compiled(parameters) | {"feature_df": parameters.feature_df}

    def packed(self, variables: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """``sd`` and ``correlation`` become ``cholesky``."""
        return super().packed(variables) | {"feature_df": variables["feature_df"]}

    def variables(self, parameters: Parameters) -> dict[str, np.ndarray]:
        """``cholesky`` becomes ``sd`` and ``correlation``."""
        return super().variables(parameters) | {"feature_df": parameters.feature_df}

    def errors(self, parameters: Parameters, rows: Rows, share: np.ndarray) -> np.ndarray:
        """Of the means: Σ_k (ν + D + 2) / ((ν + D) n_k), the inverse of their information."""
        df, size = parameters.feature_df, parameters.mean.shape[-1]
        wider = (df + size + 2) / (df + size)
        return super().errors(parameters, rows, share) * wider[:, None, None]

    def marginal(
        self, rows: Rows, parameters: Parameters, present: np.ndarray
    ) -> tuple[Rows, dict[str, np.ndarray]]:
        """μ, Σ and ν of the features that are present; nothing where none is."""
        reduced, own = super().marginal(rows, parameters, present)
        return reduced, own and own | {"feature_df": parameters.feature_df}

    def stretch(
        self, parameters: Parameters, rows: Rows, cluster: np.ndarray, rng: np.random.Generator
    ) -> np.ndarray:
        """√((ν + δ) / χ²) of ν + D degrees of freedom, of D features that are δ from the centre."""
        size, square = self._reach(parameters, rows)
        df = parameters.feature_df
        draw, row = np.arange(len(cluster))[:, None], np.arange(cluster.shape[1])
        near, own = square[draw, cluster, row], df[draw, cluster]
        return np.asarray(np.sqrt((own + near) / rng.chisquare(own + size)))

    def region(self, probability: float, parameters: Parameters) -> np.ndarray:
        """√(2 q) with q the quantile of F(2, ν): wider than a Gaussian's of the same scales.

        Its closed form is ν ((1 − p)^(−2/ν) − 1) / 2.
        """
        df = parameters.feature_df
        return np.asarray(np.sqrt(df * np.expm1(-2 / df * np.log1p(-probability))))

    def _reach(self, parameters: Parameters, rows: Rows) -> tuple[np.ndarray, np.ndarray]:
        """How many features each row has, (obs,), and |z|² of these, (..., component, obs)."""
        size = (~np.isnan(rows.x)).sum(axis=1)
        square = np.zeros((*parameters.mean.shape[:-1], len(size)))
        for part in by_pattern(rows, parameters, (self,)):
            if part.blocks:
                white = self.white(part.parameters, part.rows)
                square[..., part.place] = np.einsum("...nd,...nd->...n", white, white)
        return size, square

    def _filled(self, part: Gaps, parameters: Parameters) -> tuple[np.ndarray, np.ndarray]:
        """Rows with what each cluster expects where they miss, (row, cluster, feature), and C.

        C is the scale matrix of that given the rest, zero elsewhere, (cluster, feature, feature).
        """
        gone = np.flatnonzero(~part.present)
        k, d = parameters.mean.shape
        x, covariance = np.repeat(part.rows.x[:, None], k, axis=1), np.zeros((k, d, d))
        if gone.size:
            given = missing_given((self,), parameters, part.present, False)
            known = known_columns(part.rows, self.spec)
            x[..., gone] = np.einsum("nj,kmj->nkm", known, given.coefficient)
            covariance[:, gone[:, None], gone] = given.covariance
        return x, covariance

    def _better_df(
        self, share: np.ndarray, size: np.ndarray, square: np.ndarray, df: np.ndarray
    ) -> np.ndarray:
        """ν (start, cluster) of a higher Σ_n r_n log t(z_n | ν), of squares |z|²."""
        shape = df.shape
        if self.parameters[-1].free[0] < shape[-1]:
            # One value for the rows of all clusters.
            size = np.tile(size, shape[-1])
            share, square = (each.reshape(shape[0], 1, -1) for each in (share, square))
            df = df[:, :1]
        found = better_shape(
            share,
            df,
            lambda at: _log_t(square, at, size),
            lambda at: _df_slope(square, at, size),
            (_LEAST_DF, _MOST_DF),
        )
        return np.broadcast_to(found, shape).copy()


def _numbers(rows: Rows) -> Rows:
    """Rows as their numbers are: levels that are missing do not bear on them."""
    return rows if rows.completions is None else replace(rows, completions=None)


def _weight(square: np.ndarray, df: np.ndarray, size: np.ndarray) -> np.ndarray:
    """(ν + D) / (ν + |z|²)."""
    return np.asarray((df + size) / (df + square))


def _log_t(square: np.ndarray, df: np.ndarray, size: np.ndarray | int) -> np.ndarray:
    """log density of a standard t in D dimensions, of squares |z|²."""
    half = np.asarray(size) / 2
    constant = log_rising(half, df / 2) - half * _LOG_2PI
    return np.asarray(constant - (df / 2 + half) * np.log1p(square / df))


def _df_slope(square: np.ndarray, df: np.ndarray, size: np.ndarray) -> np.ndarray:
    """Derivative of `_log_t` in ν."""
    constant = digamma_rising(size / 2, df / 2) - size / df
    ratio = square / df
    pull = (df + size) / df * ratio / (1 + ratio)
    return np.asarray((constant - np.log1p(ratio) + pull) / 2)
