"""A feature of levels in PyMC."""

import numpy as np
import pymc as pm
import pytensor.tensor as pt
from pytensor.tensor.variable import TensorVariable

from jointmix.base.schema import COMPONENT
from jointmix.families.categorical.block import CategoricalFeature
from jointmix.families.graph import Values
from jointmix.families.priors.priors import Dirichlet
from jointmix.families.protocol import Scaled
from jointmix.families.rows import Rows


def variables(
    block: CategoricalFeature, scaling: Scaled, locations: Values
) -> dict[str, TensorVariable]:
    """The probabilities, (component, level)."""
    del scaling, locations
    (own,) = block.parameters
    assert isinstance(own.prior, Dirichlet)
    shape = (block.spec.n_clusters, len(block.own.levels))
    concentration = np.full(shape, own.prior.concentration)
    dims = (COMPONENT, block.own.dim)
    found = pm.Dirichlet(own.name, concentration, shape=shape, dims=dims)
    return {own.name: pt.specify_shape(found, shape)}


def log_density(block: CategoricalFeature, values: Values, rows: Rows) -> TensorVariable:
    """log p_kl of each row's level, zero where none is known, (obs, component)."""
    code = block.column(rows)
    known = code >= 0
    found = pt.log(values[block.name]).T[pt.switch(known, code, 0).astype("int64")]
    return pt.switch(known[:, None], found, 0.0)


def compiled(block: CategoricalFeature, values: Values) -> dict[str, TensorVariable]:
    """Logs of probabilities."""
    return {block.name: pt.log(values[block.name])}


def compiled_rows(block: CategoricalFeature, rows: Rows) -> TensorVariable:
    """The codes, (obs, 1); that behind the last level where none is known."""
    code = block.column(rows)
    return pt.switch(code < 0, len(block.own.levels), code)[:, None]
