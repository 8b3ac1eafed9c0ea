"""nutpie's NUTS on the compiled kernel, or on the PyMC model through Numba or JAX.

Each chain is a run of its own, with a seed of its own: what it draws is the same wherever and
beside whatever it runs.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from jointmix.base.errors import SamplingError, StorageError
from jointmix.base.progress import Progress
from jointmix.base.schema import DRAW
from jointmix.kernel.entry import compiled
from jointmix.modes.mass import normal_at
from jointmix.sampling.backends import cores_used
from jointmix.sampling.control import Control
from jointmix.sampling.nutpie_runs import models
from jointmix.sampling.nutpie_runs.running import Told, run_chains
from jointmix.sampling.nutpie_runs.traces import (
    Traces,
    draws_of,
    finished,
    together,
    written,
)
from jointmix.sampling.result import Draws
from jointmix.sampling.target import LARGEST_DIM, Target

_ASKED = "Asked for in the specification."


@dataclass(frozen=True, eq=False)
class NutsChains:
    """Chains that are to be drawn.

    Attributes
    ----------
    target
        What is sampled, whitened if need be.
    backend
        "kernel", "numba" or "jax".
    seed
        Of all chains.
    adaptation
        As `SamplerSpec` names it.
    compiling, spent
        Seconds that went into compiling, and into sampling, before they begin.
    attrs
        What else is to be kept with the draws.
    """

    target: Target
    backend: str
    seed: int
    adaptation: str
    compiling: float = 0.0
    spent: float = 0.0
    attrs: dict[str, str | float] = field(default_factory=dict)

    @property
    def n(self) -> int:
        """How many."""
        return self.target.spec.sampler.chains

    @cached_property
    def _seeds(self) -> list[int]:
        children = np.random.SeedSequence(self.seed).spawn(self.n)
        return [int(child.generate_state(1)[0]) for child in children]

    def draw(self, chain: int) -> Draws:
        """One of them, by its number, with the seconds that it took."""
        began = time.perf_counter()
        control, told = Control(), Told(lambda *_: None, 1)
        begin = self._begin(None)
        traces, stopped = run_chains(lambda _, tell: begin(chain, tell), 1, 1, told, control)
        if stopped:
            raise KeyboardInterrupt
        draws = draws_of({chain: traces[0]}, self.target)
        draws.attrs["sample_seconds"] = time.perf_counter() - began
        return draws

    def gathered(self, chains: Sequence[Draws]) -> Draws:
        """All chains, drawn one by one, or those that are: the same as `draws`."""
        draws = together(chains)
        seconds = sum(float(own.attrs["sample_seconds"]) for own in chains)
        return self._described(draws, seconds, partial=len(chains) < self.n)

    def draws(self, report: Progress, control: Control, stream: Path | None = None) -> Draws:
        """All chains, as many at a time as there are cores; those finished when it is stopped.

        Parameters
        ----------
        stream
            Folder of Zarr stores to which draws are written as they come, one a chain; None keeps
            them in memory.
        """
        began, settings = time.perf_counter(), self.target.spec.sampler
        told = Told(report, settings.chains * (settings.tune + settings.draws))
        at_a_time = min(cores_used(self.target.spec), self.n)
        traces, stopped = run_chains(self._begin(stream), self.n, at_a_time, told, control)
        if stopped:
            traces = finished(traces)
        elif stream is not None:
            _require_written(traces, stream)
        draws = draws_of(dict(sorted(traces.items())), self.target)
        return self._described(draws, time.perf_counter() - began, stopped)

    def _described(self, draws: Draws, seconds: float, partial: bool) -> Draws:
        draws.attrs.update(
            compile_seconds=self.compiling,
            sample_seconds=self.spent + seconds,
            partial=int(partial),
            adaptation=self.adaptation,
            **self.attrs,
        )
        return draws

    def _begin(self, stream: Path | None) -> Callable[[int, Callable[[list[Any]], None]], Any]:
        """Starts the run of one chain, by its number."""
        import nutpie

        target, settings = self.target, self.target.spec.sampler
        if self.backend == "kernel":
            model = models.kernel_model(target)
        else:
            model = models.pymc_model(target, self.backend, self.seed)

        def begin(chain: int, tell: Callable[[list[Any]], None]) -> Any:
            store = None
            if stream is not None:
                store = nutpie.zarr_store.LocalStore(str(store_of(stream, chain)), mkdir=True)
            return nutpie.sample(
                model,
                draws=settings.draws,
                tune=settings.tune,
                chains=1,
                cores=1,
                seed=self._seeds[chain],
                # What whitening leaves is nearly a multiple of the identity, where a low-rank
                # metric only adds noise (iris: R-hat 1.31 with it, 1.005 without).
                adaptation="diag" if self.adaptation == "laplace" else self.adaptation,
                target_accept=settings.target_accept,
                progress_bar=False,
                save_warmup=False,
                store_unconstrained=self.backend != "kernel",
                progress_callback=tell,
                progress_rate=500,
                zarr_store=store,
                blocking=False,
                # Its own tree of a chain takes longer than a chain of few rows.
                return_raw_trace=self.backend == "kernel" and store is None,
            )

        return begin


def begin(target: Target, backend: str, seed: int, report: Progress, *_: object) -> NutsChains:
    """Compile what is sampled, and whiten it.

    Raises
    ------
    SamplingError
        If the density at the start is not finite, or whitening was asked for and the curvature at
        the mode is not that of the posterior.
    """
    report("compile", 0, 1, backend)
    began = time.perf_counter()
    # Called from Python, the density is another function to compile.
    target.check_start(seed)
    if backend == "kernel":
        compiled()
    else:
        models.compiled_model(target, backend)
    report("compile", 1, 1, backend)
    compiled_at = time.perf_counter()
    target, adaptation, reason = adapted(target, backend, seed)
    return NutsChains(
        target,
        backend,
        seed,
        adaptation,
        compiling=compiled_at - began,
        spent=time.perf_counter() - compiled_at,
        attrs={"adaptation_reason": reason},
    )


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


def store_of(stream: Path, chain: int) -> Path:
    """Where in a stream's folder a chain's draws are."""
    return stream / f"{chain}.zarr"


def _require_written(traces: Traces, stream: Path) -> None:
    for tree in traces.values():
        if written(tree) < tree["sample_stats"].sizes[DRAW]:
            raise StorageError(
                f"The stream in {stream.parent} has lost draws that were written to it."
            )
