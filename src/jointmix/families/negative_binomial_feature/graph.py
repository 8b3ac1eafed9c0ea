"""A feature of spread counts in PyMC."""

import numpy as np
import pymc as pm
import pytensor.tensor as pt
from pytensor.tensor.variable import TensorVariable

from jointmix.base.schema import COMPONENT
from jointmix.families.graph import Values
from jointmix.families.negative_binomial_feature.block import NegativeBinomialFeature
from jointmix.families.priors.graph import positive
from jointmix.families.priors.priors import Fixed
from jointmix.families.protocol import Scaled
from jointmix.families.rising import log_rising
from jointmix.families.rows import Rows


def variables(
    block: NegativeBinomialFeature, scaling: Scaled, locations: Values
) -> dict[str, TensorVariable]:
    """The rates and the sizes, (component,)."""
    del locations
    shape, priors, found = (block.spec.n_clusters,), block.spec.priors, {}
    found[block.name] = positive(block.name, priors.rate, shape=shape, dims=COMPONENT)
    name = block.size_name
    if isinstance(priors.size, Fixed):
        known = pt.as_tensor(np.array(block.known(scaling)[name]))
        return found | {name: pm.Deterministic(name, known, dims=COMPONENT)}
    return found | {name: positive(name, priors.size, shape=shape, dims=COMPONENT)}


def log_density(block: NegativeBinomialFeature, values: Values, rows: Rows) -> TensorVariable:
    """log NB(n | λ_k, s_k), (obs, component)."""
    n, size = block.column(rows)[:, None], values[block.size_name]
    eta = pt.log(values[block.name])
    spread = pt.softplus(eta - pt.log(size))
    return n * eta + log_rising(n, size, pt.log1p) - (size + n) * spread - pt.gammaln(n + 1)


def compiled(block: NegativeBinomialFeature, values: Values) -> dict[str, TensorVariable]:
    """Rates and sizes."""
    return {name: values[name] for name in (block.name, block.size_name)}


def compiled_rows(block: NegativeBinomialFeature, rows: Rows) -> TensorVariable:
    """n, −log n!, and 1, (obs, 3)."""
    n = block.column(rows)
    return pt.stack([n, -pt.gammaln(n + 1), pt.ones_like(n)], axis=1)
