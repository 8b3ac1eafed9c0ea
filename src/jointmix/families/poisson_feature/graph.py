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
    """log Poisson(n | λ_k), zero where n is not known, (obs, component)."""
    n, _, known = (own[:, None] for own in _counts(block, rows))
    rate = values[block.name]
    return n * pt.log(rate) - known * rate - pt.gammaln(n + 1)


def compiled(block: PoissonFeature, values: Values) -> dict[str, TensorVariable]:
    """The rates."""
    return {block.name: values[block.name]}


def compiled_rows(block: PoissonFeature, rows: Rows) -> TensorVariable:
    """n, −log n!, and whether n is known, (obs, 3)."""
    return pt.stack(_counts(block, rows), axis=1)


def _counts(block: PoissonFeature, rows: Rows) -> list[TensorVariable]:
    """Counts (obs,), 0 where none is known, −log n!, and whether one is."""
    column = block.column(rows)
    known = column >= 0
    n = pt.switch(known, column, 0.0)
    return [n, -pt.gammaln(n + 1), known.astype("float64")]
