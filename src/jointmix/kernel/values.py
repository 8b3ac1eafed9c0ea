"""Values of the model's free variables as the kernel's vector, and its vectors as parameters."""

import numpy as np

from jointmix.base.schema import COMPONENT
from jointmix.kernel import layout as at
from jointmix.kernel.entry import expand
from jointmix.model.location import householder
from jointmix.model.spec import ModelSpec


def unconstrain(
    values: dict[str, np.ndarray], spec: ModelSpec, direction: np.ndarray | None
) -> np.ndarray:
    """The unconstrained vector of values of the free variables.

    Parameters
    ----------
    values
        By the names of `layout.blocks`, in the shapes that the PyMC model gives them.
    direction
        Along which the components are ordered, (location,), or None.

    Returns
    -------
    numpy.ndarray
        Shape (dim,).
    """
    parts = []
    for block in at.blocks(spec):
        value = np.asarray(values[block.name], dtype=float)
        if block.name == "weight":
            log_weight = np.log(value)
            value = log_weight[:-1] - log_weight.mean()
        elif block.name == "location" and direction is not None:
            eta = value @ householder(direction)
            value = np.column_stack(
                [np.concatenate([eta[:1, 0], np.log(np.diff(eta[:, 0]))]), eta[:, 1:]]
            )
        elif block.name == "partial_correlation":
            value = np.log(value) - np.log1p(-value)
        elif block.name != "location":
            value = np.log(value)
        parts.append(value.ravel())
    return np.concatenate(parts) if parts else np.zeros(0)


def parameter_shapes(spec: ModelSpec) -> dict[str, tuple[int, ...]]:
    """Names and shapes of the parameters, in the order in which the kernel gives them."""
    k, d, r = spec.n_clusters, len(spec.features), len(spec.predictors)
    shapes: dict[str, tuple[int, ...]] = {"weight": (k,)}
    if d:
        shapes |= {"mean": (k, d), "sd": (k, d), "correlation": (k, d, d)}
    if spec.response is not None:
        shapes |= {"intercept": (k,), "slope": (k, r), "sigma": (k,)}
    return shapes


def parameter_dims(spec: ModelSpec) -> dict[str, tuple[str, ...]]:
    """Dims of the parameters, besides chain and draw."""
    return {name: (COMPONENT, *item.dims) for name, item in spec.parameters.items()}


def parameters(problem: np.ndarray, spec: ModelSpec, draws: np.ndarray) -> dict[str, np.ndarray]:
    """Parameters on the model's scale.

    Parameters
    ----------
    problem
        As `layout.make_problem` returns it.
    draws
        The kernel's vectors, (..., dim).

    Returns
    -------
    dict
        Name → array (..., *shape), shapes as `parameter_shapes` has them.
    """
    shapes = parameter_shapes(spec)
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
