"""A normal response in PyMC: y | x, k ~ N(b_k + u'θ_k, σ_k²)."""

from dataclasses import replace

import numpy as np
import pytensor.tensor as pt
from pytensor.tensor.variable import TensorVariable

from jointmix.families.graph import Quadratic, Values, line_variables, residual
from jointmix.families.normal.block import NormalResponse
from jointmix.families.protocol import Scaled
from jointmix.families.rows import Rows

_LOG_2PI = float(np.log(2 * np.pi))


def variables(
    block: NormalResponse, scaling: Scaled, locations: Values
) -> dict[str, TensorVariable]:
    """``intercept``, ``slope`` and ``sigma``."""
    return line_variables(block, scaling, locations)


def log_density(block: NormalResponse, values: Values, rows: Rows) -> TensorVariable:
    """log N(y | b_k + u'θ_k, σ_k²), (obs, component)."""
    del block
    return -0.5 * (residual(values, rows) ** 2 + _LOG_2PI) - pt.log(values["sigma"])


def marginal(
    block: NormalResponse, values: Values, rows: Rows, present: np.ndarray
) -> tuple[Values, Rows]:
    """As `NormalResponse.marginal`: b, θ and σ without the features that are not present.

    With A the rows of Σ's factor that features present have, and θ'L their slopes along it, the
    slopes are those of least squares, (AA')⁻¹AL'θ, and what they leave adds to σ².
    """
    spec = block.spec
    names, predictors = list(spec.features), spec.predictors
    inside = [i for i, name in enumerate(predictors) if name in names]
    outside = [i for i, name in enumerate(predictors) if name not in names]
    places = [names.index(predictors[i]) for i in inside]
    if present[places].all():
        return values, rows
    there, whole = np.flatnonzero(present), values["cholesky"]
    of_features = values["slope"][:, inside] @ np.eye(len(names))[places]
    along = (of_features[:, :, None] * whole).sum(1)
    slope, left, center = of_features[:, :0], along, 0.0
    if there.size:
        part = whole[:, there]
        square = part @ pt.swapaxes(part, -1, -2)
        right = (part * along[:, None, :]).sum(-1)
        slope = pt.linalg.solve(square, right, b_ndim=1)
        left = along - (slope[:, :, None] * part).sum(1)
        center = (slope * values["mean"][:, there]).sum(-1)
    shift = (of_features * values["mean"]).sum(-1) - center
    x = rows.x[:, there]
    return {
        **values,
        "intercept": values["intercept"] + shift,
        "slope": pt.concatenate([slope, values["slope"][:, outside]], axis=1),
        "sigma": pt.sqrt(values["sigma"] ** 2 + (left**2).sum(-1)),
    }, replace(rows, x=x, u=pt.concatenate([x, rows.u[:, outside]], axis=1))


def quadratic(block: NormalResponse, values: Values) -> Quadratic:
    """(y − b − u'θ)² / σ² as a form in the row."""
    spec, sigma = block.spec, values["sigma"]
    width = len(spec.columns)
    form = np.eye(width)[-1]
    if spec.predictors:
        places = [spec.columns.index(name) for name in spec.predictors]
        form = form - values["slope"] @ np.eye(width)[places]
    offset = (values["intercept"] / sigma)[:, None]
    return Quadratic((form / sigma[:, None])[:, None, :], offset, pt.log(sigma))
