"""NUTS of NumPyro, BlackJAX and PyMC, on the PyMC model."""

import time
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pymc as pm
import xarray as xr

from jointmix.base.progress import Progress
from jointmix.base.schema import CHAIN
from jointmix.model.graph import mixture_model
from jointmix.model.spec import ModelSpec
from jointmix.modes.initial import draw_start
from jointmix.sampling.backends import n_devices, pymc_jax
from jointmix.sampling.blackjax_runs import nuts
from jointmix.sampling.control import Control
from jointmix.sampling.devices import density_of
from jointmix.sampling.result import Draws, statistics_of
from jointmix.sampling.target import Target

#: NumPyro's names of what it says of a draw, and those of `result.STATISTICS`.
_NUMPYRO = {
    "potential_energy": "logp",
    "diverging": "diverging",
    "num_steps": "n_steps",
    "adapt_state.step_size": "step_size",
    "energy": "energy",
    "accept_prob": "acceptance_rate",
}


def run_numpyro(
    target: Target, backend: str, seed: int, report: Progress, control: Control
) -> Draws:
    """Draws by NumPyro, through ``pymc.sampling.jax``.

    Where JAX has several devices the rows are spread over them, and chains run side by side; with
    ``chain_method="parallel"`` each chain has a device, and all rows, for itself.
    """
    del backend, control
    settings = target.spec.sampler
    if settings.chain_method == "vectorized" and n_devices(target.dataset.completed) > 1:
        return _numpyro_on_devices(target, seed, report)
    model = mixture_model(target.dataset, target.start.direction, "dot")
    report("sample", 0, 1, "numpyro")
    began = time.perf_counter()
    with model:
        tree = pymc_jax().sample_numpyro_nuts(
            **_arguments(target, seed),
            jitter=False,
            chain_method=settings.chain_method,
            nuts_kwargs={"dense_mass": settings.adaptation != "diag"},
        )
    # PyMC files NumPyro's potential, −log p, under the name of the log density.
    tree["sample_stats"]["lp"] = -tree["sample_stats"]["lp"]
    return _from_tree(tree, target.spec, {"sample_seconds": time.perf_counter() - began})


def _numpyro_on_devices(target: Target, seed: int, report: Progress) -> Draws:
    """The same with data as arguments: PyMC's wrapper makes constants of them, one a device."""
    import jax
    import numpyro

    settings = target.spec.sampler
    report("sample", 0, 1, "numpyro")
    began = time.perf_counter()
    density = density_of(target.dataset, target.start.direction)
    # NumPyro asks for it outside its program too: compiled, that is one program in place of one for
    # each operation.
    log_density = jax.jit(density.log_density)
    starts = target.points(seed, settings.chains)

    def model(data: Sequence[Any]) -> None:
        flat = numpyro.distributions.ImproperUniform(
            numpyro.distributions.constraints.real_vector, (), (target.dim,)
        )
        position = numpyro.sample("position", flat)
        numpyro.factor("log_density", log_density(position, *data))

    kernel = numpyro.infer.NUTS(
        model,
        target_accept_prob=settings.target_accept,
        dense_mass=settings.adaptation != "diag",
    )
    with jax.enable_x64(True):
        chains = numpyro.infer.MCMC(
            kernel,
            num_warmup=settings.tune,
            num_samples=settings.draws,
            num_chains=settings.chains,
            chain_method="vectorized",
            progress_bar=False,
            jit_model_args=True,
        )
        chains.run(
            jax.random.PRNGKey(seed),
            density.data,
            # NumPyro has no axis for a chain that is alone.
            init_params={"position": starts if settings.chains > 1 else starts[0]},
            extra_fields=tuple(_NUMPYRO),
        )
        positions = np.asarray(chains.get_samples(group_by_chain=True)["position"])
        told = chains.get_extra_fields(group_by_chain=True)
        said = {name: np.asarray(told[theirs]) for theirs, name in _NUMPYRO.items()}
    statistics = said | {
        "logp": -said["logp"],
        # Of a trajectory that was not cut short, as PyMC tells it.
        "depth": np.floor(np.log2(said["n_steps"])).astype(int) + 1,
    }
    return Draws(
        target.parameters(positions),
        statistics,
        np.arange(settings.chains),
        {"sample_seconds": time.perf_counter() - began, "devices": density.devices},
    )


def run_blackjax(
    target: Target, backend: str, seed: int, report: Progress, control: Control
) -> Draws:
    """Draws by BlackJAX, the rows on all of JAX's devices.

    PyMC's own wrapper of BlackJAX fails with the releases in use.
    """
    del backend
    settings = target.spec.sampler
    began = time.perf_counter()
    density = density_of(target.dataset, target.start.direction)
    report("sample", 0, 1, "blackjax")
    positions, statistics = nuts(
        density.log_density,
        target.points(seed, settings.chains),
        data=density.data,
        draws=settings.draws,
        tune=settings.tune,
        target_accept=settings.target_accept,
        dense=settings.adaptation != "diag",
        seed=seed,
        report=report,
        control=control,
    )
    partial = positions.shape[1] < settings.draws
    return Draws(
        target.parameters(positions),
        statistics,
        np.arange(len(positions)),
        {
            "sample_seconds": time.perf_counter() - began,
            "partial": int(partial),
            "devices": density.devices,
        },
    )


def run_pymc(target: Target, backend: str, seed: int, report: Progress, control: Control) -> Draws:
    """Draws by PyMC's own NUTS, one chain after another: the reference, and the slowest."""
    del backend, control
    report("sample", 0, 1, "pymc")
    began = time.perf_counter()
    model = mixture_model(target.dataset, target.start.direction, "sum")
    with model:
        tree = pm.sample(
            **_arguments(target, seed), cores=1, init="adapt_diag", nuts_sampler="pymc"
        )
    # Numba compiles what PyMC first calls while it samples: that time counts as sampling.
    sampling = float(tree["posterior"].attrs["sampling_time"])
    seconds = {
        "compile_seconds": time.perf_counter() - began - sampling,
        "sample_seconds": sampling,
    }
    return _from_tree(tree, target.spec, seconds)


def _arguments(target: Target, seed: int) -> dict[str, Any]:
    """What PyMC's samplers are given alike; each chain starts where its own generator puts it."""
    settings = target.spec.sampler
    generators = np.random.default_rng(seed).spawn(settings.chains)
    return {
        "draws": settings.draws,
        "tune": settings.tune,
        "chains": settings.chains,
        "target_accept": settings.target_accept,
        "random_seed": seed,
        "initvals": [draw_start(target.start, target.spec, rng) for rng in generators],
        "progressbar": False,
        "compute_convergence_checks": False,
    }


def _from_tree(tree: xr.DataTree, spec: ModelSpec, seconds: Mapping[str, float]) -> Draws:
    posterior, stats = tree["posterior"].to_dataset(), tree["sample_stats"].to_dataset()
    return Draws(
        {name: np.asarray(posterior[name]) for name in spec.parameters},
        statistics_of(stats),
        stats[CHAIN].values,
        {**seconds},
    )
