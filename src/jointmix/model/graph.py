"""The joint mixture as a PyMC model: `pm.Mixture` over one batched component.

All variables are on the model's scale; the parameters carry the dim ``component``.
"""

from collections.abc import Callable, Sequence
from functools import partial
from itertools import groupby
from typing import Any

import numpy as np
import pymc as pm
import pytensor.tensor as pt
from pymc.distributions.transforms import Transform
from pytensor.tensor.variable import TensorVariable

from jointmix.base.schema import COMPONENT
from jointmix.families.graph import Values, graph_of
from jointmix.families.membership.graph import weights
from jointmix.families.priors.graph import standard_draws, standard_log_density
from jointmix.model.component import (
    Product,
    further_predictors,
    log_density,
    random_mixture,
    random_rows,
    shapes_of,
    signature,
)
from jointmix.model.dataset import Dataset
from jointmix.model.location import coordinates, householder
from jointmix.model.patterned import row_densities
from jointmix.model.spec import ModelSpec

#: Names of the data containers, exchanged when a compiled model serves other rows.
OBSERVED, EXTRA, COUNTS, REFLECTION = "rows", "extra", "row_weights", "reflection"


class ConeTransform(Transform):
    """Orders the components along a direction c of the location parameters.

    With H the Householder reflection that sends the first axis to c, η = ξH has c'ξ_k as its
    first column, which is mapped to its first value and the logs of its differences. H is
    orthogonal, so the Jacobian is that of the differences alone, and any prior that is the same
    for all components keeps its form inside the cone. H is the last parameter of the variable.
    """

    name = "cone"

    def backward(self, value: TensorVariable, *inputs: TensorVariable) -> TensorVariable:
        """ξ (component, location) from unconstrained values of the same shape."""
        steps = pt.concatenate([value[:1, :1], pt.exp(value[1:, :1])], axis=0)
        eta = pt.concatenate([pt.cumsum(steps, axis=0), value[:, 1:]], axis=1)
        return eta @ _matrix(inputs[-1], value)

    def forward(self, value: TensorVariable, *inputs: TensorVariable) -> TensorVariable:
        """Unconstrained values from ξ (component, location)."""
        eta = value @ _matrix(inputs[-1], value)
        steps = pt.concatenate([eta[:1, :1], pt.log(eta[1:, :1] - eta[:-1, :1])], axis=0)
        return pt.concatenate([steps, eta[:, 1:]], axis=1)

    def log_jac_det(self, value: TensorVariable, *inputs: TensorVariable) -> TensorVariable:
        """Log determinant of the Jacobian of `backward`: a scalar."""
        del inputs
        return value[1:, 0].sum()


def _matrix(reflection: TensorVariable, value: TensorVariable) -> TensorVariable:
    """H without the batch dim that a variable's parameters are given."""
    size = value.type.shape[-1]
    return reflection.reshape((size, size))


#: The rows' log likelihood, each or their sum: of the model, weights (component,), values by name,
#: (x, y), what else rows are given, and how often each counts, (obs,), or None.
Likelihood = Callable[
    [ModelSpec, TensorVariable, Values, TensorVariable, Sequence[TensorVariable],
     TensorVariable | None],
    TensorVariable,
]  # fmt: skip


def mixture_model(
    dataset: Dataset,
    direction: np.ndarray | None = None,
    product: Product = "sum",
    likelihood: Likelihood | None = None,
) -> pm.Model:
    """The model of a table; see `jointmix.kernel.fused.build_model`.

    Parameters
    ----------
    likelihood
        What takes the mixture's place, if anything does.
    """
    spec = dataset.spec
    data = data_arrays(dataset)
    if likelihood is None and not dataset.rows.complete:
        likelihood = partial(row_densities, dataset.rows.patterns)
    with pm.Model(coords=_coords(spec)) as model:
        rows = pm.Data(OBSERVED, data[OBSERVED])
        given = [pm.Data(name, data[name]) for name in (EXTRA, COUNTS) if name in data]
        weight, values = _variables(dataset, direction)
        if likelihood is None and COUNTS not in data:
            _mixture(spec, weight, values, rows, given, product)
        elif likelihood is None:
            _whole(spec, weight, values, rows, given, partial(_weighted, product), True)
        else:
            _whole(spec, weight, values, rows, given, likelihood, COUNTS in data)
    return model


def _variables(
    dataset: Dataset, direction: np.ndarray | None
) -> tuple[TensorVariable, dict[str, TensorVariable]]:
    """Weights (component,), and the blocks' values by name, with their priors."""
    spec = dataset.spec
    weight = weights(spec.membership)
    locations = _locations(spec, direction)
    values: dict[str, TensorVariable] = {}
    for block in spec.blocks:
        values |= graph_of(block).variables(block, dataset.scaling, locations)
    return weight, values


def data_arrays(dataset: Dataset) -> dict[str, np.ndarray]:
    """What the model's data containers hold, on the model's scale, by their names.

    (x, y), (obs, D + 1); the predictors that are not features with any offset and trials, (obs,
    number of such columns), if there are any; and the rows' weights, (obs,), if they have any.
    PyMC takes no NaN: in the place of missing entries, which are not read, stands 0, and −1 of
    discrete features.
    """
    spec, rows = dataset.spec, dataset.rows
    places = [spec.predictors.index(name) for name in further_predictors(spec)]
    given = [rows.u[:, places]]
    if rows.offset is not None:
        given.append(rows.offset[:, None])
    if rows.trials is not None:
        given.append(rows.trials[:, None])
    discrete = [] if rows.discrete is None else [np.nan_to_num(rows.discrete, nan=-1.0)]
    response = [] if spec.response is None else [np.nan_to_num(rows.y)[:, None]]
    own = [np.nan_to_num(rows.x), *discrete, *response]
    extra = np.ascontiguousarray(np.nan_to_num(np.hstack(given)))
    found = {OBSERVED: np.ascontiguousarray(np.hstack(own))}
    found |= {EXTRA: extra} if extra.shape[1] else {}
    return found | ({COUNTS: rows.weight} if rows.weight is not None else {})


def _coords(spec: ModelSpec) -> dict[str, list[str] | np.ndarray]:
    coords: dict[str, list[str] | np.ndarray] = {COMPONENT: np.arange(spec.n_clusters)}
    dims = {dim for parameter in spec.parameters.values() for dim in parameter.dims}
    return coords | {dim: list(own) for dim, own in spec.entries.items() if dim in dims}


def _locations(spec: ModelSpec, direction: np.ndarray | None) -> dict[str, TensorVariable]:
    """Free locations (component, label) on the model's scale, by name.

    They are parts of one variable ξ (component, location), in units of their priors' scales.
    """
    items = coordinates(spec)
    if not items:
        return {}
    priors, size = [item.prior for item in items], len(items)

    def logp(value: TensorVariable, reflection: TensorVariable) -> TensorVariable:
        del reflection
        return standard_log_density(priors, value)

    def random(
        reflection: np.ndarray, rng: np.random.Generator, size: tuple[int, ...]
    ) -> np.ndarray:
        del reflection
        return standard_draws(priors, rng, size)

    xi = pm.CustomDist(
        "location",
        pm.Data(REFLECTION, np.eye(size) if direction is None else householder(direction)),
        logp=logp,
        random=random,
        signature=f"(p,p)->({size})",
        shape=(spec.n_clusters, size),
        default_transform=None if direction is None else ConeTransform(),
    )
    found, first = {}, 0
    for name, own in groupby(items, key=lambda item: item.parameter):
        prior, *others = (item.prior for item in own)
        last = first + 1 + len(others)
        found[name] = prior.loc + prior.scale * xi[:, first:last]
        first = last
    return found


def _mixture(
    spec: ModelSpec, weight: TensorVariable, values: Values, rows: TensorVariable,
    extra: list[TensorVariable], product: Product,
) -> None:  # fmt: skip
    """The observed rows: a mixture of the joint components, or a single one when K = 1."""
    inputs, options = _component(spec, values, extra, product)
    if spec.n_clusters == 1:
        pm.CustomDist("obs", *inputs, **options, observed=rows)
        return
    component = pm.CustomDist.dist(*inputs, **options)
    pm.Mixture("obs", w=weight, comp_dists=component, observed=rows)


def _component(
    spec: ModelSpec, values: Values, extra: Sequence[TensorVariable], product: Product
) -> tuple[list[TensorVariable], dict[str, Any]]:
    """What a batched component is given, and how it is defined, as CustomDist takes them."""
    k, shapes = spec.n_clusters, shapes_of(values)
    inputs = [value if k > 1 else value[0] for value in values.values()]
    inputs += [each[:, None, :] if k > 1 else each for each in extra]
    return inputs, {
        "logp": log_density(spec, shapes, product),
        "random": random_rows(spec, shapes),
        "signature": signature(spec, shapes),
    }


def _weighted(
    product: Product, spec: ModelSpec, weight: TensorVariable, values: Values,
    rows: TensorVariable, extra: Sequence[TensorVariable], counts: TensorVariable | None,
) -> TensorVariable:  # fmt: skip
    """The mixture's log density of each row, as often as it counts, (obs,)."""
    inputs, options = _component(spec, values, extra, product)
    mixture = pm.CustomDist.dist(*inputs, **options)
    if spec.n_clusters > 1:
        mixture = pm.Mixture.dist(w=weight, comp_dists=mixture)
    return counts * pm.logp(mixture, rows)


def _whole(
    spec: ModelSpec, weight: TensorVariable, values: Values, rows: TensorVariable,
    extra: list[TensorVariable], likelihood: Likelihood, weighted: bool,
) -> None:  # fmt: skip
    """The observed rows, all components of which are one distribution.

    With ``weighted``, how often each row counts is the last of ``extra``.
    """
    k, shapes = spec.n_clusters, shapes_of(values)
    of_all = {"weight": (k,)} | {name: (k, *shape) for name, shape in shapes.items()}
    core, out = signature(spec, of_all).split("->")
    n_own = len(of_all) + len(extra) - weighted

    def logp(value: TensorVariable, *args: TensorVariable) -> TensorVariable:
        sized = zip(of_all.items(), args, strict=False)
        given = {name: each.reshape(shape) for (name, shape), each in sized}
        counts = args[-1] if weighted else None
        return likelihood(
            spec, given.pop("weight"), given, value, args[len(of_all) : n_own], counts
        )

    def random(*args: Any, rng: np.random.Generator, size: tuple[int, ...]) -> np.ndarray:
        return random_mixture(spec, shapes)(*args[:n_own], rng=rng, size=size)

    pm.CustomDist(
        "obs",
        weight,
        *values.values(),
        *extra,
        logp=logp,
        random=random,
        signature=f"{core}{',()' if weighted else ''}->{out}",
        observed=rows,
    )
