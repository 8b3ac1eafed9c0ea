"""Which backend runs: what was asked for, or what is expected to take the least time."""

import os
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from importlib.metadata import distributions
from types import ModuleType

from jointmix.base.errors import MissingExtraError
from jointmix.base.machine import available_cores, is_installed
from jointmix.kernel.entry import is_compiled
from jointmix.model.settings import JAX_SAMPLERS, SAMPLERS
from jointmix.model.spec import ModelSpec

#: Seconds to compile, (from a cold cache, from a warm one). JAX keeps nothing on disk.
COMPILE_SECONDS = {"kernel": (30.0, 1.0), "jax": (6.0, 6.0), "numba": (150.0, 30.0)}
#: A kernel is compiled once for all models of a machine, so a fit is charged a part of it.
_FITS_SHARING_A_KERNEL = 10
#: Nanoseconds of a gradient for each row and component: (fixed, per pair of columns).
_ROW_NANOSECONDS = {"kernel": (6.0, 0.26), "jax": (16.0, 0.26), "numba": (16.0, 0.5)}
#: Microseconds of a gradient whatever its size.
_CALL_MICROSECONDS = {"kernel": 5.0, "jax": 180.0, "numba": 40.0}
#: An accelerator is taken to do a gradient's multiplications this many times as fast as a core.
_ACCELERATOR_GAIN = 20.0
#: Gradients a draw of the low-rank sampler, tuning included.
GRADIENTS_A_DRAW = 9.0


@dataclass(frozen=True)
class Cost:
    """What a fit is expected to take on one backend, in seconds."""

    backend: str
    compiling: float
    sampling: float
    text: str

    @property
    def total(self) -> float:
        """Compiling and sampling."""
        return self.compiling + self.sampling


def choose_backend(spec: ModelSpec, n_rows: int) -> tuple[str, str]:
    """The backend that will run, and why: (name, sentence).

    Parameters
    ----------
    n_rows
        Rows that will be fitted.

    Raises
    ------
    MissingExtraError
        If a package that was asked for is not installed.
    """
    wanted, sampler = spec.sampler.backend, spec.sampler.sampler
    _require(spec)
    if len(SAMPLERS[sampler]) == 1:
        return SAMPLERS[sampler][0], f"The only backend that the sampler {sampler!r} runs on."
    if wanted == "auto" and sampler == "independence":
        return "kernel", "Candidates are weighed by the kernel unless backend='jax' is asked for."
    if wanted == "auto" and spec.missing == "model":
        return "kernel", "The kernel takes the least time where entries are missing."
    if wanted != "auto":
        return wanted, "Asked for in the specification."
    if spec.sampler.adaptation == "laplace":
        return "kernel", "Whitening by the curvature at the mode is done with the kernel."
    costs = sorted(expected_costs(spec, n_rows), key=lambda cost: cost.total)
    listed = "; ".join(f"{cost.backend} {cost.text}" for cost in costs)
    whose = " of nutpie" if sampler == "auto" else ""
    return costs[0].backend, f"The least expected time{whose}: {listed}."


def _require(spec: ModelSpec) -> None:
    sampler = spec.sampler.sampler
    needed = ["jax"] if sampler in JAX_SAMPLERS or spec.sampler.backend == "jax" else []
    needed += {"numpyro": ["numpyro"], "blackjax": ["blackjax"], "pathfinder": ["blackjax"]}.get(
        sampler, []
    )
    for package in needed:
        if not is_installed(package):
            asked = f"sampler={sampler!r}" if sampler in JAX_SAMPLERS else "backend='jax'"
            raise MissingExtraError(f"{asked} needs the extra jax: pip install 'jointmix[jax]'.")


def expected_costs(spec: ModelSpec, n_rows: int) -> list[Cost]:
    """Of each backend that nutpie could run on here."""
    settings = spec.sampler
    gradients = settings.chains * (settings.draws + settings.tune) * GRADIENTS_A_DRAW
    width = len(spec.columns)
    costs = []
    for backend, (cold, warm) in COMPILE_SECONDS.items():
        if backend == "jax" and not is_installed("jax"):
            continue
        ready = backend == "kernel" and is_compiled()
        compiling = warm if ready else cold
        fixed, per_pair = _ROW_NANOSECONDS[backend]
        rows = n_rows * spec.n_clusters * (fixed + per_pair * width * (width + 1) / 2) * 1e-3
        accelerated = backend == "jax" and has_accelerator()
        microseconds = _CALL_MICROSECONDS[backend] + rows / (
            _ACCELERATOR_GAIN if accelerated else 1
        )
        # Python's lock lets one chain at a time call a JAX function.
        threads = 1 if backend == "jax" else cores_used(spec)
        seconds = gradients * microseconds * 1e-6 / threads
        text = f"{compiling + seconds:.0f} s ({compiling:.0f} s to compile"
        if backend == "kernel":
            text += ", once for all models" if not ready else ", compiled before"
            compiling = warm if ready else cold / _FITS_SHARING_A_KERNEL
        text += ", on an accelerator" if accelerated else ""
        costs.append(Cost(backend, compiling, seconds, f"{text})"))
    return costs


def cores_used(spec: ModelSpec) -> int:
    """Chains sampled at a time."""
    return spec.sampler.cores or min(spec.sampler.chains, available_cores())


#: How many devices JAX was told to make of this machine, for as many chains.
_made_for_chains: list[int] = []
#: For how many chains PyMC's samplers by JAX have it make devices.
_DEVICES_OF_PYMC = 100


def pymc_jax() -> ModuleType:
    """``pymc.sampling.jax``, whose import does not tell JAX of 100 devices here.

    PyMC writes them into the environment, for this process and for those that it starts, over what
    the user may have asked for.
    """
    before = os.environ.get("XLA_FLAGS")
    from pymc.sampling import jax as found

    if before is None:
        os.environ.pop("XLA_FLAGS", None)
    else:
        os.environ["XLA_FLAGS"] = before
    return found


def reserve_devices(chains: int) -> None:
    """Have JAX make a device of this machine for each chain, so that NumPyro's run side by side.

    No effect where JAX runs already, or was told a number; rows are not spread over them.
    """
    import jax

    if "xla_force_host_platform_device_count" in os.environ.get("XLA_FLAGS", ""):
        return
    if jax.config.jax_num_cpu_devices == -1:
        # That JAX runs already it says by an error.
        with suppress(RuntimeError):
            jax.config.update("jax_num_cpu_devices", chains)
            _made_for_chains.append(chains)


def n_devices(completed: bool) -> int:
    """Devices over which rows are spread: all that JAX has, of all hosts.

    One where rows miss levels and are completed: by what is part of the program, the same
    everywhere; and where there are several only for chains, ours or those of a script that imported
    PyMC's samplers by JAX: they share the machine's cores.
    """
    import jax

    devices = jax.devices()
    for_chains = _made_for_chains or jax.local_device_count() == _DEVICES_OF_PYMC
    alone = completed or (for_chains and devices[0].platform == "cpu")
    return 1 if alone else len(devices)


@cache
def has_accelerator() -> bool:
    """Whether JAX was installed with a plugin for a GPU or TPU."""
    names = (distribution.metadata["Name"] or "" for distribution in distributions())
    return any(
        name.startswith(("jax-cuda", "jax-rocm", "jax_cuda", "jax_rocm", "libtpu"))
        for name in names
    )
