"""The component's log density where all blocks are quadratic in the row v: one inner product.

With Φ(v) = (1, v, v v') and natural parameters W_k, log p(v | k) = ⟨W_k, Φ(v)⟩. Means and scales
enter squared before they are subtracted, so that about 2e-16 (m/s)² is lost in absolute terms
where columns or means reach m and a standard deviation is s: 1e-9 at m/s = 2,000. The compiled
kernel (`jointmix.kernel`) takes residuals first and loses nothing.
"""

from collections.abc import Sequence

import numpy as np
import pytensor.tensor as pt
from pytensor.tensor.variable import TensorVariable

from jointmix.families.graph import Quadratic

_LOG_2PI = float(np.log(2 * np.pi))


def natural_parameters(forms: Sequence[Quadratic]) -> TensorVariable:
    """W (component, term): the constant, the linear and the quadratic terms of Φ."""
    form = pt.concatenate([each.form for each in forms], axis=1)
    offset = pt.concatenate([each.offset for each in forms], axis=1)
    n_terms, width = form.type.shape[1:]
    quadratic = (form[:, :, :, None] * form[:, :, None, :]).sum(1)
    linear = (form * offset[:, :, None]).sum(1)
    log_scale = sum(each.log_scale for each in forms)
    constant = -0.5 * ((offset**2).sum(-1) + n_terms * _LOG_2PI) - log_scale
    i, j = np.triu_indices(width)
    twice = np.where(i == j, -0.5, -1.0)
    return pt.concatenate([constant[:, None], linear, quadratic[:, i, j] * twice], axis=1)


def sufficient_statistics(rows: TensorVariable) -> TensorVariable:
    """Φ(v) = (1, v, v_i v_j for i ≤ j) of each row: (obs, term)."""
    i, j = np.triu_indices(rows.type.shape[-1])
    return pt.concatenate([pt.ones_like(rows[:, :1]), rows, rows[:, i] * rows[:, j]], axis=1)
