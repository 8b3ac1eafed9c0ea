"""What nutpie samples: the compiled kernel, or the PyMC model through Numba or JAX."""

import dataclasses
import threading
from typing import Any

import numpy as np

from jointmix.kernel.entry import compiled
from jointmix.kernel.values import parameter_dims
from jointmix.model.location import householder
from jointmix.modes.initial import draw_start
from jointmix.sampling.result import parameter_coords
from jointmix.sampling.target import Target

_UNCONSTRAINED = "unconstrained_parameter"

_compiled: dict[str, tuple[Any, Any]] = {}
_compile_lock = threading.Lock()


def kernel_model(target: Target) -> Any:
    """The kernel as a model that nutpie samples: two C functions and what they are given."""
    import pandas as pd
    from nutpie.compile_pymc import CompiledPyMCModel

    density, expand = compiled()
    spec, shapes = target.spec, target.spec.shapes
    ends = np.cumsum([0, *(int(np.prod(shape)) for shape in shapes.values())])
    slices = [slice(*pair) for pair in zip(ends[:-1].tolist(), ends[1:].tolist(), strict=True)]
    coords = {name: pd.Index(values) for name, values in parameter_coords(spec).items()}
    return CompiledPyMCModel(
        dims=parameter_dims(spec),
        _coords=coords | {_UNCONSTRAINED: pd.RangeIndex(target.dim)},
        _n_dim=target.dim,
        _shapes=shapes,
        compiled_logp_func=density,
        compiled_expand_func=expand,
        initial_point_func=target.point,
        shared_data={},
        shared_var_keys={},
        user_data=target.problem,
        n_expanded=int(ends[-1]),
        shape_info=(list(shapes), slices, list(shapes.values())),
        logp_func=None,
        expand_func=None,
        reparameterized_names=[],
    )


def _structure(target: Target, backend: str) -> str:
    """What a compiled PyMC model depends on: all but the direction, and what rows hold."""
    spec = target.spec
    model = dataclasses.replace(spec, ordering="auto", sampler=type(spec.sampler)())
    scaling = target.dataset.scaling
    fixed = not spec.intercept or "Fixed(" in repr(spec.priors)
    moved = [scaling.center.tolist(), scaling.scale.tolist()] if fixed else []
    weighted = target.dataset.rows.weight is not None
    rows, gaps = target.dataset.rows, list[np.ndarray]()
    if not rows.complete:
        gaps = [np.isnan(np.column_stack([rows.x, rows.y]))]
    if rows.completions is not None:
        # What levels may be is part of the model, and no data.
        gaps += [rows.expanded.u, rows.completions.count]
    missing = [each.tobytes().hex() for each in gaps]
    return repr((model, weighted, missing, target.start.direction is not None, backend, moved))


def compiled_model(target: Target, backend: str) -> tuple[Any, Any]:
    """The PyMC model, and nutpie's compilation of it, which is kept for the next fit."""
    import nutpie

    from jointmix.model.component import Product
    from jointmix.model.graph import mixture_model

    spec, start = target.spec, target.start
    key = _structure(target, backend)
    with _compile_lock:
        if key not in _compiled:
            product: Product = "dot" if backend == "jax" else "sum"
            model = mixture_model(target.dataset, start.direction, product)
            options: dict[str, Any] = {"gradient_backend": "jax"} if backend == "jax" else {}
            _compiled[key] = (
                model,
                nutpie.compile_pymc_model(
                    model,
                    backend=backend,
                    freeze_model=False,
                    # Starts of our own replace the model's: these would only cost compilation.
                    initial_points=draw_start(start, spec, np.random.default_rng(0)),
                    jitter_rvs=set(),
                    # Parameters are computed afterwards, for all draws at once.
                    var_names=[],
                    **options,
                ),
            )
        return _compiled[key]


def pymc_model(target: Target, backend: str, seed: int) -> Any:
    """nutpie's compilation of the PyMC model, with these rows."""
    import pymc as pm

    from jointmix.model.graph import REFLECTION, data_arrays

    start = target.start
    model, found = compiled_model(target, backend)
    data = data_arrays(target.dataset)
    if start.direction is not None:
        data[REFLECTION] = householder(start.direction)
    with model:
        pm.set_data(data)
    if backend == "jax":
        import jax.numpy as jnp

        data = {name: jnp.asarray(value) for name, value in data.items()}
    # nutpie has no interface for starts of one's own; a test guards these private fields.
    name = "initial_point_func" if backend == "numba" else "_make_initial_points"
    found = dataclasses.replace(found.with_data(**data), **{name: target.point})
    if backend == "jax":
        # Traced first in a sampler's thread, JAX's functions gave NaN.
        found._make_logp_func()(target.point(seed), **found._shared_data)
    return found
