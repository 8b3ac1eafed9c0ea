"""One mixture component as a distribution of the row (x, y), for PyMC: the sum of its blocks."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Literal

import numpy as np
import pytensor.tensor as pt
from pytensor.tensor.variable import TensorVariable

from jointmix.families.graph import Values, graph_of
from jointmix.families.parameters import Parameters
from jointmix.families.rows import Rows
from jointmix.model.quadratic import natural_parameters, sufficient_statistics
from jointmix.model.spec import ModelSpec

Product = Literal["sum", "dot"]
#: Shapes of a component's values, by name, in the order in which it takes them.
Shapes = Mapping[str, tuple[int, ...]]


def further_predictors(spec: ModelSpec) -> tuple[str, ...]:
    """Predictors that are no Gaussian features, which the component is given after its values."""
    return tuple(name for name in spec.predictors if name not in spec.features)


def n_given(spec: ModelSpec) -> int:
    """Columns that the component is given after its values: such predictors, offset, trials."""
    return len(further_predictors(spec)) + spec.linked + (spec.trials is not None)


def rows_by_role(spec: ModelSpec, rows: TensorVariable) -> Rows:
    """Rows (obs, column) as `joined_rows` gives them, by role."""
    d, width = len(spec.features), len(spec.clustering)
    further = further_predictors(spec)
    at = dict(zip(spec.features, range(d), strict=True))
    at |= {name: width + i for i, name in enumerate(further)}
    places, end = [at[name] for name in spec.predictors], width + len(further)
    offset = rows[:, end] if spec.linked else None
    trials = rows[:, end + 1] if spec.trials is not None else None
    found = Rows(rows[:, :d], rows[:, places], rows[:, -1], offset=offset, trials=trials)
    return replace(found, discrete=rows[:, d:width])


def shapes_of(values: Values) -> Shapes:
    """Shapes of one component's values, from those of all (component, ...)."""
    return {name: tuple(value.type.shape[1:]) for name, value in values.items()}


def signature(spec: ModelSpec, shapes: Shapes) -> str:
    """Core dims of the values, of what is given and of a row, as CustomDist takes them."""
    core = [*shapes.values()]
    if extra := n_given(spec):
        core.append((extra,))
    width = len(spec.clustering) + (spec.response is not None)
    return f"{','.join(f'({",".join(map(str, sizes))})' for sizes in core)}->({width})"


def block_sum(
    spec: ModelSpec, values: Values, rows: TensorVariable, product: Product
) -> TensorVariable:
    """log p(row | k), (obs, component), of rows (obs, column)."""
    graphs = [(block, graph_of(block)) for block in spec.blocks]
    if all(hasattr(graph, "quadratic") for _, graph in graphs):
        forms = [graph.quadratic(block, values) for block, graph in graphs]
        terms, weights = sufficient_statistics(rows), natural_parameters(forms)
        if product == "dot":
            return terms @ weights.T
        return (terms[:, None, :] * weights).sum(-1)
    roles = rows_by_role(spec, rows)
    return sum(graph.log_density(block, values, roles) for block, graph in graphs)


def log_density(spec: ModelSpec, shapes: Shapes, product: Product) -> Callable[..., TensorVariable]:
    """The component's log density as CustomDist takes it, of rows (obs, D + 1).

    Inside a mixture it returns (obs, component), for a single component (obs,).

    Parameters
    ----------
    product
        How ⟨W, Φ⟩ is computed where all blocks are quadratic.
    """
    k = spec.n_clusters

    def logp(value: TensorVariable, *args: TensorVariable) -> TensorVariable:
        values = {
            name: given.reshape((k, *shape))
            for (name, shape), given in zip(shapes.items(), args, strict=False)
        }
        result = block_sum(spec, values, joined_rows(spec, value, args), product)
        return result if k > 1 else result[:, 0]

    return logp


def joined_rows(
    spec: ModelSpec, own: TensorVariable, args: Sequence[TensorVariable]
) -> TensorVariable:
    """Rows (obs, column): (x, y) with what is given, the last of ``args``, between."""
    d, n_extra = len(spec.clustering), n_given(spec)
    rows = own.reshape((-1, d + (spec.response is not None)))
    if n_extra:
        extra = args[-1].reshape((-1, n_extra))
        rows = pt.concatenate([rows[:, :d], extra, rows[:, d:]], axis=1)
    return pt.specify_shape(rows, (None, d + n_extra + (spec.response is not None)))


def random_rows(spec: ModelSpec, shapes: Shapes) -> Callable[..., np.ndarray]:
    """Draws of (x, y) given a component's values, as CustomDist takes it."""
    extra = n_given(spec)
    order = [*spec.features, *further_predictors(spec)]
    places = [order.index(name) for name in spec.predictors]

    def random(*args: Any, rng: np.random.Generator, size: tuple[int, ...]) -> np.ndarray:
        n = math.prod(size)
        core = [*shapes.values(), (extra,)]
        flat = [
            np.broadcast_to(given, (*size, *shape)).reshape(n, *shape)
            for given, shape in zip(args, core, strict=False)
        ]
        values = Parameters(**dict(zip(shapes, flat, strict=False)))
        x = np.zeros((n, 0))
        further, drawn = (flat[-1] if extra else x), list[np.ndarray]()
        # Every row is a draw from a component of its own.
        for block in spec.blocks:
            u = np.hstack([x, further])[:, places] if block.of_response else x
            n_offset = len(further_predictors(spec))
            offset = further[:, n_offset] if spec.linked else None
            trials = further[:, -1] if spec.trials is not None else None
            given = Rows(x, u, np.zeros(n), offset=offset, trials=trials)
            part = block.draw(values, given, np.arange(n), rng).reshape(n, -1)
            x = part if set(block.columns) <= set(spec.features) else x
            drawn.append(part)
        return np.hstack(drawn).reshape(*size, -1)

    return random


def random_mixture(spec: ModelSpec, shapes: Shapes) -> Callable[..., np.ndarray]:
    """Draws of (x, y) given weights and the values of all components, as CustomDist takes it."""
    k, draw = spec.n_clusters, random_rows(spec, shapes)

    def random(
        weight: np.ndarray, *args: Any, rng: np.random.Generator, size: tuple[int, ...]
    ) -> np.ndarray:
        below = np.cumsum(np.broadcast_to(weight, (*size, k)), axis=-1)[..., :-1]
        component = (below < rng.random(size)[..., None]).sum(-1)
        place = (*np.indices(size, sparse=True), component)
        own = [
            np.broadcast_to(given, (*size, k, *shape))[place]
            for given, shape in zip(args, shapes.values(), strict=False)
        ]
        return draw(*own, *args[len(own) :], rng=rng, size=size)

    return random
