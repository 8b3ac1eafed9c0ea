"""A feature of counts in PyMC."""

import pytensor.tensor as pt
from pytensor.tensor.variable import TensorVariable

from jointmix.base.schema import COMPONENT
from jointmix.families.graph import Values
from jointmix.families.poisson_feature.block import PoissonFeature
from jointmix.families.priors.graph import positive
from jointmix.families.protocol import Scaled
from jointmix.families.rows import Rows


def variables(
    block: PoissonFeature, scaling: Scaled, locations: Values
) -> dict[str, TensorVariable]:
    """The rates, (component,)."""
    del scaling, locations
    shape, prior = (block.spec.n_clusters,), block.spec.priors.rate
    return {block.name: positive(block.name, prior, shape=shape, dims=COMPONENT)}


def log_density(block: PoissonFeature, values: Values, rows: Rows) -> TensorVariable:
    """log Poisson(n | λ_k), (obs, component)."""
    n, rate = block.column(rows)[:, None], values[block.name]
    return n * pt.log(rate) - rate - pt.gammaln(n + 1)


def compiled(block: PoissonFeature, values: Values) -> dict[str, TensorVariable]:
    """The rates."""
    return {block.name: values[block.name]}


def compiled_rows(block: PoissonFeature, rows: Rows) -> TensorVariable:
    """n, −log n!, and 1, (obs, 3)."""
    n = block.column(rows)
    return pt.stack([n, -pt.gammaln(n + 1), pt.ones_like(n)], axis=1)
