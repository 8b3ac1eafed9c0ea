"""A normal response a second time: y | x, k ~ N(b_k + u'θ_k, σ_k²)."""

from collections.abc import Mapping
from dataclasses import replace
from typing import ClassVar

import numpy as np

from jointmix.families.rows import Rows
from jointmix.validation.twin.family import Array
from jointmix.validation.twin.gaps import masked_covariance
from jointmix.validation.twin.regression import RegressionTwin

_LOG_2PI = float(np.log(2 * np.pi))


class NormalTwin(RegressionTwin):
    """σ is the standard deviation."""

    gaussian: ClassVar[bool] = True

    def about(self, line: Array, own: Mapping[str, Array]) -> Array:
        """N(line, σ²)."""
        import numpyro.distributions as dist

        return dist.Normal(line, own["sigma"])

    def log_pdf(self, y: np.ndarray, line: np.ndarray, own: Mapping[str, np.ndarray]) -> np.ndarray:
        """log N(y | line, σ²)."""
        from scipy.stats import norm

        return np.asarray(norm.logpdf(y, line, own["sigma"]))

    def without(
        self, own: Mapping[str, Array], rows: Rows, present: np.ndarray
    ) -> tuple[Mapping[str, Array], Rows]:
        """y given the features that are there, by Cholesky's factor of their joint covariance.

        Its last row (l', s) and the others' factor L_o make y normal about the slopes L_o⁻ᵀl, with
        the standard deviation s.
        """
        inside, places, outside = self._places
        if present[places].all():
            return own, rows
        there, whole = np.flatnonzero(present), own["cholesky"]
        of_features = own["slope"][..., inside] @ np.eye(len(present))[places]
        last = (of_features[..., None, :] @ whole)[..., 0, :]
        wide = np.concatenate([whole[..., there, :], last[..., None, :]], axis=-2)
        covariance = wide @ np.swapaxes(wide, -1, -2)
        noise = np.zeros((len(there) + 1, len(there) + 1))
        noise[-1, -1] = 1.0
        covariance = covariance + own["sigma"][..., None, None] ** 2 * noise
        factor = np.linalg.cholesky(covariance)
        slope = of_features[..., :0]
        if there.size:
            upper = np.swapaxes(factor[..., :-1, :-1], -1, -2)
            slope = np.linalg.solve(upper, factor[..., -1, :-1, None])[..., 0]
        mean = own["mean"]
        center = own["intercept"] + (of_features * mean).sum(-1)
        slopes = [slope, own["slope"][..., outside]]
        x = rows.x[:, there]
        return {
            **own,
            "intercept": center - (slope * mean[..., there]).sum(-1),
            "slope": np.concatenate(slopes, axis=-1),
            "sigma": factor[..., -1, -1],
        }, replace(rows, x=x, u=np.hstack([x, rows.u[:, outside]]))

    @property
    def _places(self) -> tuple[np.ndarray, ...]:
        """Places of predictors that are features, of these features, and of other predictors."""
        names, predictors = list(self.spec.features), self.spec.predictors
        inside = [i for i, name in enumerate(predictors) if name in names]
        outside = [i for i, name in enumerate(predictors) if name not in names]
        places = [names.index(predictors[i]) for i in inside]
        return tuple(np.array(found, dtype=int) for found in (inside, places, outside))

    def lacks(self, there: np.ndarray) -> np.ndarray:
        """Any that is a predictor."""
        return ~there[:, self._places[1]].all(axis=1)

    def masked(
        self, own: Mapping[str, Array], rows: Rows, there: np.ndarray
    ) -> tuple[Mapping[str, Array], Rows]:
        """As `without`: the slope of what is not there is zero, as nothing depends on it."""
        import jax.numpy as jnp

        inside, places, outside = self._places
        kept, whole = there[:, None, :], own["cholesky"]
        of_features = own["slope"][:, inside] @ np.eye(there.shape[1])[places]
        last = (of_features[:, None, :] @ whole)[:, 0, :]
        cross = (whole @ last[..., None])[..., 0] * kept
        variance = (last**2).sum(-1) + own["sigma"] ** 2
        variance = jnp.broadcast_to(variance, cross.shape[:2])[..., None, None]
        upper = jnp.concatenate([masked_covariance(whole, there), cross[..., None]], axis=-1)
        lower = jnp.concatenate([cross[..., None, :], variance], axis=-1)
        factor = jnp.linalg.cholesky(jnp.concatenate([upper, lower], axis=-2))
        turned = jnp.swapaxes(factor[..., :-1, :-1], -1, -2)
        slope = jnp.linalg.solve(turned, factor[..., -1, :-1, None])[..., 0]
        center = own["intercept"] + (of_features * own["mean"]).sum(-1)
        others = own["slope"][:, outside]
        others = jnp.broadcast_to(others, (len(there), *others.shape))
        return {
            **own,
            "intercept": center - (slope * own["mean"]).sum(-1),
            "slope": jnp.concatenate([slope, others], axis=-1),
            "sigma": factor[..., -1, -1],
        }, replace(rows, u=np.hstack([rows.x, rows.u[:, outside]]))

    def size_at(
        self, z: np.ndarray, reach: np.ndarray, own: Mapping[str, np.ndarray]
    ) -> np.ndarray:
        """½ reach² and ½ log 2π, of −½ z² and the constant."""
        del z, own
        return reach**2 / 2 + _LOG_2PI / 2
