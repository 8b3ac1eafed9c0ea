"""A Student-t response in PyMC: y | x, k ~ t(ν_k; b_k + u'θ_k, σ_k)."""

import numpy as np
import pymc as pm
import pytensor.tensor as pt
from pytensor.tensor.variable import TensorVariable

from jointmix.base.schema import COMPONENT
from jointmix.families.graph import Values, line_variables, residual
from jointmix.families.priors.graph import positive
from jointmix.families.protocol import Scaled
from jointmix.families.rows import Rows
from jointmix.families.student_t.block import StudentTResponse

_LOG_PI = float(np.log(np.pi))
#: From here on the asymptotic series of log Γ(x + ½) − log Γ(x) is right to the last digit.
_FROM = 10.0
#: Its coefficients, of x⁻¹, x⁻³, …
_SERIES = (-1 / 8, 1 / 192, -1 / 640, 17 / 14336, -31 / 18432, 691 / 180224, -5461 / 425984)


def variables(
    block: StudentTResponse, scaling: Scaled, locations: Values
) -> dict[str, TensorVariable]:
    """``intercept``, ``slope``, ``sigma`` and ``df`` (component)."""
    found, known = line_variables(block, scaling, locations), block.known(scaling)
    if "df" in known:
        df = pm.Deterministic("df", pt.as_tensor(known["df"]), dims=COMPONENT)
    else:
        # Dims alone would leave the shape open.
        shape = (block.spec.n_clusters,)
        df = positive("df", block.spec.priors.df, shape=shape, dims=COMPONENT)
    return found | {"df": df}


def log_density(block: StudentTResponse, values: Values, rows: Rows) -> TensorVariable:
    """log t(y | ν_k, b_k + u'θ_k, σ_k), (obs, component)."""
    del block
    df = values["df"]
    # PyMC's own density takes the difference of two log gamma functions, of size ν log ν.
    constant = _log_gamma_step(df / 2) - 0.5 * (pt.log(df) + _LOG_PI)
    tail = (df + 1) / 2 * pt.log1p(residual(values, rows) ** 2 / df)
    return constant - pt.log(values["sigma"]) - tail


def _log_gamma_step(x: TensorVariable) -> TensorVariable:
    """log Γ(x + ½) − log Γ(x), x > 0."""
    far = pt.maximum(x, _FROM)
    series = sum(c * far ** -(2 * i + 1) for i, c in enumerate(_SERIES))
    near = pt.minimum(x, _FROM)
    return pt.switch(
        x < _FROM, pt.gammaln(near + 0.5) - pt.gammaln(near), 0.5 * pt.log(far) + series
    )
