"""Rows by role and draws as parameters: what densities outside PyMC are computed from."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from jointmix.families.parameters import (
    Parameters,
    feature_log_density,
    response_log_density,
)
from jointmix.model.dataset import Dataset
from jointmix.model.scaling import Scaling, model_scaling
from jointmix.model.spec import ModelSpec


@dataclass(frozen=True, eq=False)
class Rows:
    """The rows by role: x (obs, feature), u (obs, predictor), y (obs)."""

    x: np.ndarray
    u: np.ndarray
    y: np.ndarray

    def log_density(self, parameters: Parameters) -> tuple[np.ndarray, np.ndarray]:
        """log π_k + log p(x | k) and log p(y | x, k), each (..., obs, component)."""
        weight = np.log(parameters.weight)[..., None, :]
        features = weight + feature_log_density(self.x, parameters)
        return features, response_log_density(self.y, self.u, parameters)

    @cached_property
    def columns(self) -> np.ndarray:
        """x, u and y one after another, (column, obs)."""
        return np.vstack([self.x.T, self.u.T, self.y])

    @property
    def places(self) -> np.ndarray:
        """Where the predictors stand in `columns`."""
        return self.x.shape[1] + np.arange(self.u.shape[1])

    def take(self, index: np.ndarray | slice) -> "Rows":
        """Some of the rows."""
        return Rows(self.x[index], self.u[index], self.y[index])


def make_rows(dataset: Dataset, spec: ModelSpec) -> Rows:
    """The dataset's rows on the model's scale."""
    return _by_role(model_scaling(dataset, spec).transform(dataset.values), spec)


def users_rows(dataset: Dataset, spec: ModelSpec) -> Rows:
    """The dataset's rows on the users' scale."""
    return _by_role(dataset.values, spec)


def _by_role(values: np.ndarray, spec: ModelSpec) -> Rows:
    predictors = [spec.columns.index(name) for name in spec.predictors]
    y = values[:, -1] if spec.response is not None else np.zeros(len(values))
    return Rows(values[:, : len(spec.features)], values[:, predictors], y)


def scaled_rows(rows: Rows, scaling: Scaling) -> Rows:
    """Rows on the users' scale as rows on the model's."""
    (x, x_scale), (u, u_scale), (y, y_scale) = scaling.feature, scaling.predictor, scaling.response
    return Rows((rows.x - x) / x_scale, (rows.u - u) / u_scale, (rows.y - y) / y_scale)
