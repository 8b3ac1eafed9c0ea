"""Samplers behind one interface, with one normalised result.

Whatever ran, the draws come back as a DataTree with `posterior` (dims chain, draw, component, on
the model's scale) and `sample_stats` under the names of `result.STATISTICS`.
"""

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

import xarray as xr

from jointmix.base.errors import JointmixError, SamplingError, SpecError, StorageError
from jointmix.base.progress import Progress
from jointmix.kernel.problem import n_free
from jointmix.model.dataset import Dataset
from jointmix.model.settings import SamplerSpec
from jointmix.model.spec import ModelSpec
from jointmix.modes.initial import Start
from jointmix.sampling import memory
from jointmix.sampling.backends import choose_backend, reserve_devices
from jointmix.sampling.control import Control
from jointmix.sampling.result import STATISTICS, Draws, normalised
from jointmix.sampling.target import Target

if TYPE_CHECKING:
    from jointmix.sampling.nutpie_runs import NutsChains

__all__ = [
    "STATISTICS",
    "Control",
    "Draws",
    "Plan",
    "Remaining",
    "Target",
    "begin",
    "choose_backend",
    "plan",
    "plan_for",
    "sample",
]

#: Where each sampler's runner lives; imported when it runs, as most bring heavy libraries. It
#: returns draws, or nutpie's chains that are still to be drawn.
_RUNNERS = {
    "nutpie": ("nutpie_runs", "begin"),
    "numpyro": ("pymc_runs", "run_numpyro"),
    "blackjax": ("pymc_runs", "run_blackjax"),
    "pymc": ("pymc_runs", "run_pymc"),
    "auto": ("independence", "begin_auto"),
    "independence": ("independence", "run"),
    "laplace": ("approximate", "run_laplace"),
    "pathfinder": ("approximate", "run_pathfinder"),
}


@dataclass(frozen=True)
class Plan:
    """The backend that will run, a sentence that says why, and the memory it will take."""

    backend: str
    reason: str
    needed: memory.Memory


def plan(spec: ModelSpec, n_rows: int, completed: bool = False) -> Plan:
    """How a model will be sampled; refuses before anything runs what cannot be.

    Parameters
    ----------
    spec, n_rows
        The model, and how many rows it is fitted to.
    completed
        Whether rows miss levels that are summed over, which keeps all rows on one device of JAX.

    Raises
    ------
    SpecError
        If everything in the model is fixed.
    MissingExtraError
        If a package that was asked for is not installed.
    MemoryLimitError
        If the fit would not fit into memory.
    """
    if n_free(spec) == 0:
        raise SpecError(
            "Everything in the model is fixed, so that there is nothing to sample; leave at least "
            "one of its parameters free."
        )
    backend, reason = choose_backend(spec, n_rows)
    if backend == "jax":
        _prepare_jax(spec.sampler)
    return Plan(backend, reason, memory.require(spec, n_rows, backend, completed))


def plan_for(dataset: Dataset) -> Plan:
    """`plan` of a model and its rows.

    Raises
    ------
    SpecError, MissingExtraError, MemoryLimitError
        As `plan` does.
    """
    return plan(dataset.spec, len(dataset.values), dataset.completed)


def sample(
    dataset: Dataset,
    start: Start,
    seed: int,
    progress: Progress | None = None,
    control: Control | None = None,
    stream: Path | None = None,
    planned: Plan | None = None,
) -> xr.DataTree:
    """Draw from the posterior, or from an approximation of it.

    Parameters
    ----------
    dataset
        The model and its rows.
    start
        Where chains start, and how components are ordered.
    seed
        Of all randomness: a rerun on the same machine gives the same draws.
    progress
        Called as ``progress(stage, done, total, note)``; may be called from other threads.
    control
        Pauses, resumes and stops the run from elsewhere.
    stream
        Folder of Zarr stores to which nutpie's chains write their draws as they come.
    planned
        What `plan_for` says of the dataset; asked here if it is None.

    Returns
    -------
    xarray.DataTree
        `posterior` and `sample_stats`; attrs say what ran and why, whether it was interrupted
        (`partial`), and for approximations which (`approximation`) and its k̂ (`pareto_shape`).

    Raises
    ------
    SamplingError
        If no chain could start, or a chain went where parameters leave float64.
    StorageError
        If draws written to the stream are no longer there.
    SpecError
        If everything in the model is fixed.
    MissingExtraError
        If a package that was asked for is not installed.
    MemoryLimitError
        If the fit would not fit into memory.
    """
    found = begin(
        dataset, start, seed, progress, control, streams=stream is not None, planned=planned
    )
    return found.draws(progress, control, stream) if isinstance(found, Remaining) else found


def begin(
    dataset: Dataset,
    start: Start,
    seed: int,
    progress: Progress | None = None,
    control: Control | None = None,
    *,
    streams: bool = False,
    planned: Plan | None = None,
) -> "xr.DataTree | Remaining":
    """`sample`, as far as nutpie's chains, which may be drawn elsewhere; draws of other samplers.

    Parameters
    ----------
    streams
        Whether chains will write their draws to disk.
    dataset, start, seed, progress, control, planned
        As for `sample`.

    Raises
    ------
    SamplingError, SpecError, MissingExtraError, MemoryLimitError
        As `sample` does.
    """
    planned = planned or plan_for(dataset)
    sampler = dataset.spec.sampler.sampler
    module, name = _RUNNERS[sampler]
    run: Callable[..., Any] = getattr(import_module(f"jointmix.sampling.{module}"), name)
    options = {"streams": True} if streams and sampler == "auto" else {}
    report, target = progress or _nobody, Target(dataset, start)
    with _one_sentence(sampler):
        found = run(target, planned.backend, seed, report, control or Control(), **options)
    if isinstance(found, Draws):
        return _tree(found, dataset.spec, planned)
    return Remaining(found, planned)


@dataclass(frozen=True, eq=False)
class Remaining:
    """Chains that are still to be drawn, each of which can be a job of its own.

    Attributes
    ----------
    chains
        The sampler's.
    planned
        How they are drawn.
    """

    chains: "NutsChains"
    planned: Plan

    @property
    def n(self) -> int:
        """How many."""
        return self.chains.n

    @property
    def splits(self) -> bool:
        """Whether jobs of their own cost nothing: a PyMC model each would have to compile."""
        return self.planned.backend == "kernel"

    @property
    def length(self) -> int:
        """Draws of each, those before adaptation has ended among them."""
        return self._spec.sampler.tune + self._spec.sampler.draws

    @property
    def nbytes(self) -> int:
        """Of its rows, which all jobs are given."""
        return int(self.chains.target.dataset.values.nbytes)

    def draw(self, chain: int) -> Draws:
        """One chain, by its number.

        Raises
        ------
        SamplingError
            If it could not start.
        """
        with _one_sentence(self._spec.sampler.sampler):
            return self.chains.draw(chain)

    def gathered(self, chains: Sequence[Draws]) -> xr.DataTree:
        """What `sample` returns, from all chains, or from those before it was stopped."""
        return _tree(self.chains.gathered(chains), self._spec, self.planned)

    def draws(
        self,
        progress: Progress | None = None,
        control: Control | None = None,
        stream: Path | None = None,
    ) -> xr.DataTree:
        """What `sample` returns, as it does."""
        with _one_sentence(self._spec.sampler.sampler, stream):
            draws = self.chains.draws(progress or _nobody, control or Control(), stream)
        return _tree(draws, self._spec, self.planned)

    @property
    def _spec(self) -> ModelSpec:
        return self.chains.target.spec


def _nobody(*_: object) -> None:
    """Progress that nobody is told of."""


@contextmanager
def _one_sentence(sampler: str, stream: Path | None = None) -> Iterator[None]:
    """What fails below the package, by its name.

    Raises
    ------
    SamplingError, StorageError
        In place of what was raised below.
    """
    try:
        yield
    except JointmixError:
        raise
    except RuntimeError as error:
        # What follows the first line is a backtrace from below the sampler.
        cause = str(error).partition("\n")[0].rstrip(".")
        if stream is not None:
            cause += f"; is there room in {stream.parent}? `recover` takes the draws that it holds"
        raise SamplingError(f"The sampler {sampler!r} failed: {cause}.") from error
    except (OSError, ValueError, KeyError) as error:
        if stream is None:
            raise
        raise StorageError(
            f"The stream in {stream.parent} cannot be read back: {error}."
        ) from error
    except BaseException as error:
        # A panic below nutpie is no Exception, and its class cannot be imported.
        if type(error).__name__ != "PanicException":
            raise
        cause = str(error).partition("\n")[0].rpartition("value: ")[-1]
        raise SamplingError(
            f"The sampler {sampler!r} failed ({cause}); state priors in the columns' "
            "units, or let columns be standardised."
        ) from error


def _tree(draws: Draws, spec: ModelSpec, planned: Plan) -> xr.DataTree:
    """Draws as all samplers return them, with what ran and why."""
    tree, devices = normalised(draws, spec), int(draws.attrs.get("devices", 1))
    tree.attrs |= {
        "backend": f"{draws.attrs.get('sampler', spec.sampler.sampler)} on {planned.backend}",
        "backend_reason": planned.reason
        + (f" The rows lie on {devices} devices of JAX." if devices > 1 else ""),
        "memory_estimate": planned.needed.total,
    }
    return tree


def _prepare_jax(settings: SamplerSpec) -> None:
    """One thread a chain: XLA's own threads only get in each other's way on small arrays.

    XLA reads its flags when JAX starts, so this has no effect on a JAX that is running.
    """
    flag = "--xla_cpu_multi_thread_eigen=false"
    if flag not in os.environ.get("XLA_FLAGS", ""):
        os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} {flag}".strip()
    if settings.sampler == "numpyro" and settings.chain_method == "parallel":
        reserve_devices(settings.chains)
