"""Values of the model's free variables as the kernel's vector, and its vectors as parameters."""

import numpy as np

from jointmix.base.schema import COMPONENT
from jointmix.families.protocol import Parameter
from jointmix.kernel.entry import expand
from jointmix.kernel.problem import free_parameters
from jointmix.kernel.records import CONE, POSITIVE, SIMPLEX, VINE
from jointmix.model.location import householder
from jointmix.model.spec import ModelSpec


def unconstrain(
    values: dict[str, np.ndarray], spec: ModelSpec, direction: np.ndarray | None
) -> np.ndarray:
    """The unconstrained vector of values of the free variables.

    Parameters
    ----------
    values
        By the names of `problem.free_parameters`, in the shapes that the PyMC model gives them.
    direction
        Along which the components are ordered, (location,), or None.

    Returns
    -------
    numpy.ndarray
        Shape (dim,).
    """
    parts = []
    for parameter in free_parameters(spec):
        value = np.asarray(values[parameter.name], dtype=float)
        if parameter.transform == SIMPLEX:
            log_weight = np.log(value)
            value = log_weight[..., :-1] - log_weight.mean(-1, keepdims=True)
        elif parameter.transform == CONE and direction is not None:
            eta = value @ householder(direction)
            value = np.column_stack(
                [np.concatenate([eta[:1, 0], np.log(np.diff(eta[:, 0]))]), eta[:, 1:]]
            )
        elif parameter.transform == VINE:
            value = np.log(value) - np.log1p(-value)
        elif parameter.transform == POSITIVE:
            value = np.log(value)
        parts.append(value.ravel())
    return np.concatenate(parts) if parts else np.zeros(0)


def relabelling(spec: ModelSpec, order: np.ndarray) -> np.ndarray:
    """M (dim, dim), for which M q are the unconstrained values q with components in another order.

    Labels are left free. The map is one of volumes too: |det M| = 1.

    Parameters
    ----------
    order
        Entry k is the component that becomes the k-th, (component,).
    """
    n_clusters, first = spec.n_clusters, 0
    parts = []
    for parameter in free_parameters(spec):
        own = np.arange(first, first + parameter.size)
        first += parameter.size
        if parameter.name == "weight":
            # The logs of all weights but one, which sum to 0 with it.
            centred = np.vstack([np.eye(n_clusters - 1), -np.ones(n_clusters - 1)])
            parts.append((own, own, centred[order[:-1]]))
        elif parameter.shape[0] == n_clusters:
            moved = own.reshape(parameter.shape)[order].ravel()
            parts.append((own, moved, np.eye(len(own))))
        else:
            parts.append((own, own, np.eye(len(own))))
    result = np.zeros((first, first))
    for to, source, block in parts:
        result[np.ix_(to, source)] = block
    return result


def within(values: np.ndarray, parameter: Parameter, farthest: float) -> np.ndarray:
    """Which numbers are that large at most and, of scales and shapes, its inverse at least.

    NaN is neither.
    """
    found = np.abs(values) <= farthest
    return found & (values >= 1 / farthest) if parameter.role in ("scale", "shape") else found


def parameter_dims(spec: ModelSpec) -> dict[str, tuple[str, ...]]:
    """Dims of the parameters, besides chain and draw."""
    return {name: (COMPONENT, *item.dims) for name, item in spec.parameters.items()}


def parameters(problem: np.ndarray, spec: ModelSpec, draws: np.ndarray) -> dict[str, np.ndarray]:
    """Parameters on the model's scale.

    Parameters
    ----------
    problem
        As `problem.make_problem` returns it.
    draws
        The kernel's vectors, (..., dim).

    Returns
    -------
    dict
        Name → array (..., *shape), shapes as ``spec.shapes`` has them.
    """
    shapes = spec.shapes
    sizes = [int(np.prod(shape)) for shape in shapes.values()]
    n_draws = int(np.prod(draws.shape[:-1]))
    flat = np.ascontiguousarray(draws, dtype=float).reshape(n_draws, draws.shape[-1])
    out = np.empty((len(flat), sum(sizes)))
    for draw, row in zip(flat, out, strict=True):
        expand(problem, draw, row)
    pieces = np.split(out, np.cumsum(sizes)[:-1], axis=1)
    return {
        name: piece.reshape(*draws.shape[:-1], *shape)
        for (name, shape), piece in zip(shapes.items(), pieces, strict=True)
    }
