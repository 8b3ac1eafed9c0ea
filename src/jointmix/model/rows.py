"""A table's rows on the model's scale and on the users'."""

import numpy as np

from jointmix.families.rows import Rows
from jointmix.model.dataset import Dataset
from jointmix.model.scaling import Scaling, model_scaling
from jointmix.model.spec import ModelSpec


def make_rows(dataset: Dataset, spec: ModelSpec) -> Rows:
    """The dataset's rows on the model's scale."""
    return by_role(model_scaling(dataset, spec).transform(dataset.values), spec)


def users_rows(dataset: Dataset, spec: ModelSpec) -> Rows:
    """The dataset's rows on the users' scale."""
    return by_role(dataset.values, spec)


def by_role(values: np.ndarray, spec: ModelSpec) -> Rows:
    """Columns (obs, column), in the order of ``spec.columns``, by role."""
    predictors = [spec.columns.index(name) for name in spec.predictors]
    y = values[:, -1] if spec.response is not None else np.zeros(len(values))
    return Rows(values[:, : len(spec.features)], values[:, predictors], y)


def scaled_rows(rows: Rows, scaling: Scaling) -> Rows:
    """Rows on the users' scale as rows on the model's."""
    (x, x_scale), (u, u_scale), (y, y_scale) = scaling.feature, scaling.predictor, scaling.response
    return Rows((rows.x - x) / x_scale, (rows.u - u) / u_scale, (rows.y - y) / y_scale)
