"""Samplers behind one interface, with one normalised result.

Whatever ran, the draws come back as a DataTree with `posterior` (dims chain, draw, component, on
the model's scale) and `sample_stats` under the names of `STATISTICS`.
"""

import dataclasses
import os
import threading
import time
from collections.abc import Callable
from functools import partial
from importlib.util import find_spec
from typing import Any

import numpy as np
import pymc as pm
import xarray as xr

from jointmix.component import Product
from jointmix.data import Dataset
from jointmix.errors import MissingExtraError, SamplingError
from jointmix.initial import Start, constrained, draw_start, unconstrained
from jointmix.model import EXTRA, OBSERVED, REFLECTION, build_model, observed_arrays
from jointmix.ordering import householder
from jointmix.scaling import model_scaling
from jointmix.schema import CHAIN, COMPONENT, DRAW, PARAMETERS
from jointmix.spec import ModelSpec

#: Statistics of a draw under the package's names, and what the samplers call them.
STATISTICS = {
    "log_density": ("logp", "lp"),
    "diverging": ("diverging",),
    "tree_depth": ("depth", "tree_depth"),
    "n_steps": ("n_steps",),
    "step_size": ("step_size_bar", "step_size"),
    "energy": ("energy",),
    "acceptance_rate": ("mean_tree_accept", "acceptance_rate"),
}

Progress = Callable[[str, float, float, str], None]
#: Draws of a chain below which an interrupted run has nothing to show.
_LEAST_DRAWS = 4
_compiled: dict[str, tuple[pm.Model, Any]] = {}
_compile_lock = threading.Lock()


def choose_backend(spec: ModelSpec) -> tuple[str, str]:
    """The backend that will run, and why: ("numba" or "jax", sentence).

    Raises
    ------
    MissingExtraError
        If JAX is asked for, or needed by the sampler, and not installed.
    """
    wanted, sampler = spec.sampler.backend, spec.sampler.sampler
    has_jax = find_spec("jax") is not None
    if sampler == "pymc":
        if wanted == "jax":
            raise MissingExtraError("The sampler 'pymc' runs on numba only; got backend='jax'.")
        return "numba", "PyMC's own sampler runs on Numba."
    if sampler == "numpyro":
        if find_spec("numpyro") is None or not has_jax:
            raise MissingExtraError(
                "The sampler 'numpyro' needs the extra jax: pip install 'jointmix[jax]'."
            )
        return "jax", "NumPyro runs on JAX."
    if wanted == "jax" and not has_jax:
        raise MissingExtraError("backend='jax' needs the extra jax: pip install 'jointmix[jax]'.")
    if wanted != "auto":
        return wanted, "Asked for in the specification."
    if has_jax:
        return "jax", "JAX compiles in seconds, Numba in a minute or more from a cold cache."
    return "numba", "JAX is not installed (the extra jax)."


def sample(
    dataset: Dataset,
    spec: ModelSpec,
    start: Start,
    seed: int,
    progress: Progress | None = None,
) -> xr.DataTree:
    """Draw from the posterior.

    Parameters
    ----------
    dataset, spec
        The rows and the model.
    start
        Where chains start, and how components are ordered.
    seed
        Of all randomness: a rerun on the same machine gives the same draws.
    progress
        Called as ``progress(stage, done, total, note)``; may be called from other threads.

    Returns
    -------
    xarray.DataTree
        `posterior` and `sample_stats`; attrs say what ran, and whether it was interrupted.

    Raises
    ------
    SamplingError
        If no chain could start.
    MissingExtraError
        If the backend is not installed.
    """
    backend, reason = choose_backend(spec)
    if backend == "jax":
        _prepare_jax()
    report = progress or (lambda *_: None)
    run = {"nutpie": _nutpie, "numpyro": _numpyro, "pymc": _pymc}[spec.sampler.sampler]
    try:
        tree = run(dataset, spec, start, backend, seed, report)
    except SamplingError:
        raise
    except RuntimeError as error:
        # What follows the first line is a backtrace from below the sampler.
        cause = str(error).partition("\n")[0]
        raise SamplingError(f"The sampler {spec.sampler.sampler!r} failed: {cause}.") from error
    result = _normalise(tree)
    result.attrs |= {
        "backend": f"{spec.sampler.sampler} on {backend}",
        "backend_reason": reason,
        **{str(key): value for key, value in tree.attrs.items() if str(key).endswith("seconds")},
        "partial": int(tree.attrs.get("partial", 0)),
    }
    return result


def _prepare_jax() -> None:
    """One thread a chain: XLA's own threads only get in each other's way on small arrays.

    XLA reads its flags when JAX starts, so this has no effect on a JAX that is running.
    """
    flag = "--xla_cpu_multi_thread_eigen=false"
    if flag not in os.environ.get("XLA_FLAGS", ""):
        os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} {flag}".strip()


def _normalise(tree: xr.DataTree) -> xr.DataTree:
    posterior = tree["posterior"].to_dataset()
    names = [name for name in PARAMETERS if name in posterior]
    given = tree["sample_stats"].to_dataset()
    statistics = {}
    for name, aliases in STATISTICS.items():
        found = [alias for alias in aliases if alias in given]
        if found:
            # NumPyro's statistics are JAX arrays, which not all of xarray understands.
            statistics[name] = ((CHAIN, DRAW), np.asarray(given[found[0]].transpose(CHAIN, DRAW)))
    coords = {name: given[name].variable for name in (CHAIN, DRAW)}
    stats = xr.Dataset(statistics, coords=coords)
    return xr.DataTree.from_dict({"posterior": posterior[names], "sample_stats": stats})


def _structure(dataset: Dataset, spec: ModelSpec, start: Start, backend: str) -> str:
    """What the compiled model depends on: everything but the rows and the direction."""
    model = dataclasses.replace(spec, ordering="auto", sampler=type(spec.sampler)())
    scaling = model_scaling(dataset, spec)
    moved = [scaling.center, scaling.scale] if _has_fixed_values(spec) else []
    return repr((model, start.direction is not None, backend, [part.tolist() for part in moved]))


def _has_fixed_values(spec: ModelSpec) -> bool:
    return not spec.intercept or "Fixed(" in repr(spec.priors)


def _compile(dataset: Dataset, spec: ModelSpec, start: Start, backend: str) -> tuple[pm.Model, Any]:
    """The PyMC model and nutpie's compilation of it, with these rows; kept for the next fit."""
    import nutpie

    key = _structure(dataset, spec, start, backend)
    with _compile_lock:
        if key not in _compiled:
            product: Product = "dot" if backend == "jax" else "sum"
            model = build_model(dataset, spec, start.direction, product)
            options: dict[str, Any] = {"gradient_backend": "jax"} if backend == "jax" else {}
            # Starts of our own replace the model's: these would only cost compilation.
            point = draw_start(start, spec, np.random.default_rng(0))
            _compiled[key] = (
                model,
                nutpie.compile_pymc_model(
                    model,
                    backend=backend,
                    freeze_model=False,
                    initial_points=point,
                    jitter_rvs=set(),
                    # Parameters are computed afterwards, for all draws at once.
                    var_names=[],
                    **options,
                ),
            )
        model, compiled = _compiled[key]
    data = _data(dataset, spec, start)
    with model:
        pm.set_data(data)
    if backend == "jax":
        import jax.numpy as jnp

        data = {name: jnp.asarray(value) for name, value in data.items()}
    return model, compiled.with_data(**data)


def _data(dataset: Dataset, spec: ModelSpec, start: Start) -> dict[str, np.ndarray]:
    """What the model's data containers hold for these rows."""
    observed, extra = observed_arrays(dataset, spec)
    data = {OBSERVED: observed}
    if extra.shape[1]:
        data[EXTRA] = extra
    if start.direction is not None:
        data[REFLECTION] = householder(start.direction)
    return data


def _initial_point(
    model: pm.Model, spec: ModelSpec, start: Start
) -> Callable[[int | None], np.ndarray]:
    """A function from a seed to a flat vector of unconstrained values, safe to call in threads."""
    convert, lock = unconstrained(model), threading.Lock()

    def initial_point(seed: int | None) -> np.ndarray:
        with lock:
            values = convert(draw_start(start, spec, np.random.default_rng(seed)))
        return np.concatenate([np.ravel(value) for value in values.values()]).astype("float64")

    return initial_point


def _nutpie(
    dataset: Dataset, spec: ModelSpec, start: Start, backend: str, seed: int, report: Progress
) -> xr.DataTree:
    import nutpie

    report("compile", 0, 1, backend)
    began = time.perf_counter()
    model, compiled = _compile(dataset, spec, start, backend)
    point = _initial_point(model, spec, start)
    # nutpie has no interface for starts of one's own; a test guards these private fields.
    field = "initial_point_func" if backend == "numba" else "_make_initial_points"
    compiled = dataclasses.replace(compiled, **{field: point})
    if backend == "jax":
        _warm(compiled, point(seed))
    report("compile", 1, 1, backend)
    compiled_at = time.perf_counter()
    settings = spec.sampler
    sampler = nutpie.sample(
        compiled,
        draws=settings.draws,
        tune=settings.tune,
        chains=settings.chains,
        cores=_cores(spec),
        seed=seed,
        adaptation=settings.adaptation,
        target_accept=settings.target_accept,
        progress_bar=False,
        save_warmup=False,
        store_unconstrained=True,
        progress_callback=partial(_report_chains, report),
        progress_rate=500,
        blocking=False,
    )
    tree = _parametrised(_wait(sampler), model)
    tree.attrs |= {
        "compile_seconds": compiled_at - began,
        "sample_seconds": time.perf_counter() - compiled_at,
    }
    return tree


def _parametrised(tree: xr.DataTree, model: pm.Model) -> xr.DataTree:
    """The sampler's tree with the model's parameters as its posterior."""
    names = ("posterior", "unconstrained_posterior")
    groups = [tree[name].to_dataset() for name in names if name in tree.children]
    draws = {}
    for variable in model.free_RVs:
        name = model.rvs_to_values[variable].name
        found = [group[name].values for group in groups if name in group]
        draws[name] = found[0].reshape(-1, *found[0].shape[2:])
    shape = tuple(tree["sample_stats"].sizes[dim] for dim in (CHAIN, DRAW))
    coords = {dim: tree["sample_stats"][dim].values for dim in (CHAIN, DRAW)}
    variables = {
        name: ((CHAIN, DRAW, COMPONENT, *PARAMETERS[name]), value.reshape(*shape, *value.shape[1:]))
        for name, value in constrained(model)(draws).items()
    }
    for name, values in model.coords.items():
        coords[name] = np.asarray(values)
    posterior = xr.Dataset(variables, coords=coords)
    groups_out = {"posterior": posterior, "sample_stats": tree["sample_stats"].to_dataset()}
    result = xr.DataTree.from_dict(groups_out)
    result.attrs |= tree.attrs
    return result


def _warm(compiled: Any, point: np.ndarray) -> None:
    """Trace JAX's functions here: traced first in a sampler's thread, they gave NaN."""
    logp = compiled._make_logp_func()
    value, gradient = logp(point, **compiled._shared_data)
    if not (np.isfinite(value) and np.isfinite(gradient).all()):
        raise SamplingError(
            f"The log density at the start is {value}; check for columns that are exact functions "
            "of others."
        )


def _report_chains(report: Progress, chains: list[Any]) -> None:
    """Pass on what nutpie's chains have done; called from a thread of its own."""
    done = sum(chain.finished_draws for chain in chains)
    total = sum(chain.total_draws for chain in chains)
    steps = sum(chain.total_num_steps for chain in chains) / max(done, 1)
    divergences = sum(chain.divergences for chain in chains)
    report("sample", done, total, f"{divergences} divergences, {steps:.1f} gradients a draw")


def _cores(spec: ModelSpec) -> int:
    return spec.sampler.cores or min(spec.sampler.chains, os.cpu_count() or 1)


def _wait(sampler: Any) -> xr.DataTree:
    """The finished trace; on Ctrl-C the draws finished so far, marked partial."""
    try:
        return sampler.wait()
    except KeyboardInterrupt:
        return _finished(sampler.abort())


def _finished(tree: xr.DataTree) -> xr.DataTree:
    """As many draws as possible of an aborted trace, equally many of each chain that is kept.

    Chains run a few at a time: some may not have begun when others are done.

    Raises
    ------
    KeyboardInterrupt
        If there are fewer than four.
    """
    finished = np.isfinite(tree["sample_stats"].to_dataset()["logp"].values).sum(axis=1)
    longest = np.sort(finished)[::-1]
    n_draws = int(longest[(longest * np.arange(1, len(longest) + 1)).argmax()])
    if n_draws < _LEAST_DRAWS:
        raise KeyboardInterrupt("Interrupted before the first draws were finished.")
    tree = tree.isel({CHAIN: np.flatnonzero(finished >= n_draws), DRAW: slice(0, n_draws)})
    tree.attrs["partial"] = 1
    return tree


def _numpyro(
    dataset: Dataset, spec: ModelSpec, start: Start, backend: str, seed: int, report: Progress
) -> xr.DataTree:
    from pymc.sampling import jax as pymc_jax

    del backend
    model = build_model(dataset, spec, start.direction, "dot")
    report("sample", 0, 1, "numpyro")
    settings = spec.sampler
    with model:
        tree = pymc_jax.sample_numpyro_nuts(
            draws=settings.draws,
            tune=settings.tune,
            chains=settings.chains,
            target_accept=settings.target_accept,
            random_seed=seed,
            initvals=_initial_values(spec, start, seed),
            jitter=False,
            chain_method="vectorized",
            progressbar=False,
            compute_convergence_checks=False,
            nuts_kwargs={"dense_mass": settings.adaptation == "low_rank"},
        )
    # PyMC files NumPyro's potential, −log p, under the name of the log density.
    tree["sample_stats"]["lp"] = -tree["sample_stats"]["lp"]
    return tree


def _pymc(
    dataset: Dataset, spec: ModelSpec, start: Start, backend: str, seed: int, report: Progress
) -> xr.DataTree:
    del backend
    model = build_model(dataset, spec, start.direction, "sum")
    report("sample", 0, 1, "pymc")
    settings = spec.sampler
    with model:
        return pm.sample(
            draws=settings.draws,
            tune=settings.tune,
            chains=settings.chains,
            cores=1,
            target_accept=settings.target_accept,
            random_seed=seed,
            initvals=_initial_values(spec, start, seed),
            init="adapt_diag",
            nuts_sampler="pymc",
            progressbar=False,
            compute_convergence_checks=False,
        )


def _initial_values(spec: ModelSpec, start: Start, seed: int) -> list[dict[str, np.ndarray]]:
    generators = np.random.default_rng(seed).spawn(spec.sampler.chains)
    return [draw_start(start, spec, rng) for rng in generators]
