"""nutpie's NUTS on the compiled kernel, or on the PyMC model through Numba or JAX."""

import dataclasses
import threading
import time
import warnings
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from jointmix.base.errors import SamplingError, StorageError
from jointmix.base.progress import Progress
from jointmix.base.schema import CHAIN, DRAW
from jointmix.kernel.entry import compiled
from jointmix.kernel.problem import free_parameters
from jointmix.kernel.values import parameter_dims
from jointmix.model.location import householder
from jointmix.model.spec import ModelSpec
from jointmix.modes.initial import draw_start
from jointmix.modes.mass import normal_at
from jointmix.sampling.backends import cores_used
from jointmix.sampling.control import LEAST_DRAWS, POLL_SECONDS, Control
from jointmix.sampling.result import Draws, parameter_coords, statistics_of
from jointmix.sampling.target import LARGEST_DIM, Target

_TOO_EARLY = "Interrupted before the first draws were finished."
_ASKED = "Asked for in the specification."
_UNCONSTRAINED = "unconstrained_parameter"

_compiled: dict[str, tuple[Any, Any]] = {}
_compile_lock = threading.Lock()


def run(
    target: Target,
    backend: str,
    seed: int,
    report: Progress,
    control: Control,
    stream: Path | None = None,
) -> Draws:
    """Draws by nutpie.

    Parameters
    ----------
    backend
        "kernel", "numba" or "jax".
    stream
        Folder of a Zarr store to which draws are written as they come; None keeps them in memory.

    Raises
    ------
    SamplingError
        If no chain could start.
    """
    import nutpie

    report("compile", 0, 1, backend)
    began = time.perf_counter()
    # Called from Python, the density is another function to compile.
    target.check_start(seed)
    if backend == "kernel":
        compiled()
    else:
        model = _pymc_model(target, backend, seed)
    report("compile", 1, 1, backend)
    compiled_at = time.perf_counter()
    target, adaptation, reason = adapted(target, backend, seed)
    if backend == "kernel":
        model = _kernel_model(target)
    settings = target.spec.sampler
    store = None if stream is None else nutpie.zarr_store.LocalStore(str(stream), mkdir=True)
    sampler = nutpie.sample(
        model,
        draws=settings.draws,
        tune=settings.tune,
        chains=settings.chains,
        cores=cores_used(target.spec),
        seed=seed,
        # What whitening leaves is nearly a multiple of the identity, where a low-rank metric only
        # adds noise (iris: R-hat 1.31 with it, 1.005 without).
        adaptation="diag" if adaptation == "laplace" else adaptation,
        target_accept=settings.target_accept,
        progress_bar=False,
        save_warmup=False,
        store_unconstrained=backend != "kernel",
        progress_callback=partial(_report_chains, report),
        progress_rate=500,
        zarr_store=store,
        blocking=False,
    )
    tree = _wait(sampler, control)
    if stream is not None and _written(tree).min() < tree["sample_stats"].sizes[DRAW]:
        raise StorageError(f"The stream in {stream.parent} has lost draws that were written to it.")
    draws = _from_tree(tree, target)
    draws.attrs.update(
        compile_seconds=compiled_at - began,
        sample_seconds=time.perf_counter() - compiled_at,
        partial=int(tree.attrs.get("partial", 0)),
        adaptation=adaptation,
        adaptation_reason=reason,
    )
    return draws


def adapted(target: Target, backend: str, seed: int) -> tuple[Target, str, str]:
    """The target, whitened by the curvature at its mode if need be, the adaptation, and why it is.

    Raises
    ------
    SamplingError
        If whitening was asked for, and the curvature at the mode is not that of the posterior.
    """
    wanted = target.spec.sampler.adaptation
    if wanted in ("low_rank", "diag"):
        return target, wanted, _ASKED
    if backend != "kernel":
        return target, "low_rank", "Whitening by the curvature at the mode needs the kernel."
    if wanted == "auto" and target.dim > LARGEST_DIM:
        return target, "low_rank", f"More than {LARGEST_DIM:,} values are not whitened."
    try:
        normal = normal_at(target.log_density, target.point(seed))
    except SamplingError as error:
        if wanted == "laplace":
            raise
        reason, _, _ = str(error).partition(";")
        return target, "low_rank", f"{reason}."
    reason = _ASKED if wanted == "laplace" else "The curvature at the mode describes the posterior."
    return target.whitened(normal.center, normal.stretch), "laplace", reason


def _from_tree(tree: xr.DataTree, target: Target) -> Draws:
    """Parameters and statistics of nutpie's tree, as arrays in memory."""
    stats = tree["sample_stats"].to_dataset()
    posterior = tree["posterior"].to_dataset()
    if set(target.spec.shapes) <= set(posterior.data_vars):
        parameters = {name: posterior[name].values for name in target.spec.shapes}
    else:
        parameters = target.parameters(_unconstrained(tree, target.spec))
    return Draws(parameters, statistics_of(stats), stats[CHAIN].values)


def _unconstrained(tree: xr.DataTree, spec: ModelSpec) -> np.ndarray:
    """The sampler's values of the PyMC model's variables, (chain, draw, dim)."""
    names = ("posterior", "unconstrained_posterior")
    groups = [tree[name].to_dataset() for name in names if name in tree.children]
    found = {str(name): group[name].values for group in groups for name in group.data_vars}
    parts = []
    for parameter in free_parameters(spec):
        name = next(name for name in found if name.startswith(parameter.name))
        parts.append(found[name].reshape(*found[name].shape[:2], parameter.size))
    return np.concatenate(parts, axis=-1)


def _kernel_model(target: Target) -> Any:
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


def _pymc_model(target: Target, backend: str, seed: int) -> Any:
    """nutpie's compilation of the PyMC model, with these rows; kept for the next fit."""
    import nutpie
    import pymc as pm

    from jointmix.model.component import Product
    from jointmix.model.graph import (
        REFLECTION,
        data_arrays,
        mixture_model,
    )

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
        model, found = _compiled[key]
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


def _report_chains(report: Progress, chains: list[Any]) -> None:
    """Pass on what nutpie's chains have done; called from a thread of its own."""
    done = sum(chain.finished_draws for chain in chains)
    total = sum(chain.total_draws for chain in chains)
    steps = sum(chain.total_num_steps for chain in chains) / max(done, 1)
    divergences = sum(chain.divergences for chain in chains)
    report("sample", done, total, f"{divergences} divergences, {steps:.1f} gradients a draw")


def _wait(sampler: Any, control: Control) -> xr.DataTree:
    """The finished trace; stopped or on Ctrl-C the draws finished so far, marked partial."""
    try:
        while not control.stopped:
            if control.paused:
                sampler.pause()
                control.hold()
                sampler.resume()
                continue
            try:
                return sampler.wait(timeout=POLL_SECONDS)
            except TimeoutError:
                continue
    except KeyboardInterrupt:
        pass
    try:
        with warnings.catch_warnings():
            # Of fewer draws than chains.
            warnings.filterwarnings("ignore", "Found chain dimension to be longer", UserWarning)
            tree = sampler.abort()
    except ValueError as error:
        # Before its chains have begun, nutpie has no trace to return.
        raise KeyboardInterrupt(_TOO_EARLY) from error
    return finished(tree)


def finished(tree: xr.DataTree) -> xr.DataTree:
    """As many draws as possible of an aborted trace, equally many of each chain that is kept.

    Chains run a few at a time: some may not have begun when others are done.

    Raises
    ------
    KeyboardInterrupt
        If there are fewer than four.
    """
    done = _written(tree)
    longest = np.sort(done)[::-1]
    n_draws = int(longest[(longest * np.arange(1, len(longest) + 1)).argmax()])
    if n_draws < LEAST_DRAWS:
        raise KeyboardInterrupt(_TOO_EARLY)
    kept = np.flatnonzero(done >= n_draws)
    tree = tree.isel({CHAIN: kept, DRAW: slice(0, n_draws)})
    # A stream carries no numbers of its chains: those that are kept would be counted anew.
    tree = tree.map_over_datasets(
        lambda group: group.assign_coords({CHAIN: kept}) if CHAIN in group.sizes else group
    )
    tree.attrs["partial"] = 1
    return tree


def _written(tree: xr.DataTree) -> np.ndarray:
    """How many draws of each chain are there, (chain,), up to the first that lacks a number.

    A killed run has written some variables of its last draws to its stream, and others not yet.
    """
    there = np.isfinite(tree["sample_stats"].to_dataset()["logp"].values)
    # Of a stream, more than what has been drawn would take minutes to look through.
    begun = slice(0, int(there.sum(axis=1).max()))
    stats = tree["sample_stats"].to_dataset().isel({DRAW: begun})
    numbers = [stats[name] for name in ("energy", "step_size_bar") if name in stats]
    for name in ("posterior", "unconstrained_posterior"):
        if name in tree.children:
            numbers += tree[name].to_dataset().isel({DRAW: begun}).data_vars.values()
    for values in numbers:
        there[:, begun] &= np.isfinite(values.values).all(axis=tuple(range(2, values.ndim)))
    if "n_steps" in stats:
        # Whole numbers that were not written are read as 0.
        there[:, begun] &= stats["n_steps"].values > 0
    return np.cumprod(there, axis=1).sum(axis=1)


def kept_draws(tree: xr.DataTree, target: Target) -> Draws:
    """Draws of a stream that a run left behind.

    Raises
    ------
    SamplingError
        If fewer than four draws of a chain were written.
    """
    try:
        tree = finished(tree)
    except KeyboardInterrupt as error:
        raise SamplingError("The stream holds fewer than four finished draws.") from error
    draws = _from_tree(tree, target)
    draws.attrs["partial"] = 1
    return draws
