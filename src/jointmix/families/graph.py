"""The PyMC side of a family: where it is, and what those of responses about a line share.

A family's module `graph`, beside its block, has two functions, and more where they apply:

    variables(block, scaling, locations)    values by name, tensors (component, ...)
    log_density(block, values, rows)        tensor (obs, component)
    quadratic(block, values)                if the log density is quadratic in the row
    compiled(block, values)                 if its compiled functions name other values
    compiled_rows(block, rows)              tensor (obs, column), as `Block.compiled_rows`
    marginal(block, values, rows, present)  if it is another density without some of the features

`variables` creates the free variables of scales and shapes, and a variable of each parameter's
name; it is given the free locations (component, label) on the model's scale, by name. `values` are
those of all blocks of the model; rows are tensors by role, in which a discrete feature that is not
known is negative.
"""

from collections.abc import Mapping
from importlib import import_module
from types import ModuleType
from typing import NamedTuple

import numpy as np
import pymc as pm
import pytensor.tensor as pt
from pytensor.tensor.variable import TensorVariable

from jointmix.base.schema import COMPONENT, PREDICTOR
from jointmix.families.priors.graph import positive, scale_of
from jointmix.families.protocol import Block, Scaled
from jointmix.families.rows import Rows

Values = Mapping[str, TensorVariable]


class Quadratic(NamedTuple):
    """log p = −½ Σ_t ((form_t'v − offset_t)² + log 2π) − log_scale, v being the whole row.

    Shapes: form (component, term, column), offset (component, term), log_scale (component).
    """

    form: TensorVariable
    offset: TensorVariable
    log_scale: TensorVariable


def graph_of(block: Block) -> ModuleType:
    """The module `graph` beside a block, loaded when asked for."""
    package = type(block).__module__.rpartition(".")[0]
    return import_module(f"{package}.graph".lstrip("."))


def coefficient_variables(
    block: Block, scaling: Scaled, locations: Values
) -> dict[str, TensorVariable]:
    """b (component) and θ (component, predictor)."""
    spec, known = block.spec, block.known(scaling)
    k, r = spec.n_clusters, len(spec.predictors)
    fixed = pt.as_tensor(known.get("slope", np.zeros((k, r))))
    slope = locations.get("slope", fixed)
    if "intercept" in locations:
        intercept = locations["intercept"][:, 0]
    else:
        _, share = block.follows(scaling)["intercept"]
        intercept = known["intercept"] + (slope * share).sum(-1)
    return {
        "intercept": pm.Deterministic("intercept", intercept, dims=COMPONENT),
        "slope": pm.Deterministic("slope", slope, dims=(COMPONENT, PREDICTOR)),
    }


def line_variables(block: Block, scaling: Scaled, locations: Values) -> dict[str, TensorVariable]:
    """b (component), θ (component, predictor) and σ (component)."""
    found, known = coefficient_variables(block, scaling, locations), block.known(scaling)
    if "sigma" in known:
        sigma = pt.as_tensor(known["sigma"])
    else:
        (own,) = (item for item in block.parameters if item.name == "sigma")
        sigma = pt.broadcast_to(scale_of(own), (block.spec.n_clusters,))
    return found | {"sigma": pm.Deterministic("sigma", sigma, dims=COMPONENT)}


def shape_variables(block: Block, scaling: Scaled, locations: Values) -> dict[str, TensorVariable]:
    """b (component), θ (component, predictor) and a shape (component)."""
    found, known = coefficient_variables(block, scaling, locations), block.known(scaling)
    if "shape" in known:
        shape = pm.Deterministic("shape", pt.as_tensor(known["shape"]), dims=COMPONENT)
    else:
        # Dims alone would leave the shape open.
        own = (block.spec.n_clusters,)
        shape = positive("shape", block.spec.priors.shape, shape=own, dims=COMPONENT)
    return found | {"shape": shape}


def linear(values: Values, rows: Rows) -> TensorVariable:
    """b + u'θ and the offset, (obs, component)."""
    line = values["intercept"] + rows.u @ values["slope"].T
    return line if rows.offset is None else line + rows.offset[:, None]


def compiled_rows(block: Block, rows: Rows) -> TensorVariable:
    """What the block's compiled functions are given, (obs, column)."""
    own = getattr(graph_of(block), "compiled_rows", None)
    if own is not None:
        return own(block, rows)
    return pt.concatenate([rows.u, rows.y[:, None]], axis=1) if block.of_response else rows.x


def without(
    block: Block, values: Values, rows: Rows, present: np.ndarray
) -> tuple[Values, Rows] | None:
    """Values and rows without the features that are not ``present``; None if nothing is left."""
    marginal = getattr(graph_of(block), "marginal", None)
    if marginal is None or present.all():
        return values, rows
    found: tuple[Values, Rows] | None = marginal(block, values, rows, present)
    return found


def count_rows(block: Block, rows: Rows) -> TensorVariable:
    """Those of a count as `jointmix.families.counts.Counts` has them, (obs, column)."""
    del block
    own = pt.stack([rows.offset, -pt.gammaln(rows.y + 1), rows.y], axis=1)
    return pt.concatenate([rows.u, own], axis=1)


def residual(values: Values, rows: Rows) -> TensorVariable:
    """(y − b − u'θ) / σ, (obs, component)."""
    return (rows.y[:, None] - linear(values, rows)) / values["sigma"]
