"""A table's columns by the role that they play."""

import numpy as np

from jointmix.families.rows import Rows
from jointmix.model.scaling import Scaling
from jointmix.model.spec import ModelSpec


def by_role(values: np.ndarray, spec: ModelSpec) -> Rows:
    """Columns (obs, column), in the order of ``spec.columns``, by role."""
    predictors = [spec.columns.index(name) for name in spec.predictors]
    y = values[:, -1] if spec.response is not None else np.zeros(len(values))
    return Rows(values[:, : len(spec.features)], values[:, predictors], y)


def scaled_rows(rows: Rows, scaling: Scaling) -> Rows:
    """Rows on the users' scale as rows on the model's."""
    (x, x_scale), (u, u_scale), (y, y_scale) = scaling.feature, scaling.predictor, scaling.response
    return Rows((rows.x - x) / x_scale, (rows.u - u) / u_scale, (rows.y - y) / y_scale)
