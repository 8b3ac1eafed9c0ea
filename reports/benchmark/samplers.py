"""One sampler on one posterior: what it drew, and what that took."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from importlib import import_module
from typing import Any

import numpy as np

from benchmark.cases import Case, Posterior, make_posterior, start_by_em
from benchmark.measure import CompileClock, peak_memory
from benchmark.results import Measured
from jointmix.model.settings import SamplerSpec


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Kept draws and adaptation steps of each chain, chains, and the seed."""

    draws: int = 1000
    tune: int = 1000
    chains: int = 4
    seed: int = 1


@dataclass(frozen=True, kw_only=True, eq=False)
class Outcome:
    """Draws, and the seconds they took.

    Attributes
    ----------
    draws
        Name → (chain, draw, component, ...), on the model's scale.
    wall_seconds
        From model to draws, compilation included, EM not.
    sample_seconds
        Of these, sampling alone.
    em_seconds
        Of EM and the choice of starts; None for what starts at the truth.
    gradients, all_gradients
        Evaluations of the gradient for the kept draws, and with those of the adaptation; None
        where unknown.
    divergences
        Among kept draws.
    pareto_shape
        k̂ of an approximation.
    """

    draws: Mapping[str, np.ndarray]
    wall_seconds: float
    sample_seconds: float
    em_seconds: float | None = None
    gradients: int | None = None
    all_gradients: int | None = None
    divergences: int | None = None
    pareto_shape: float | None = None


Runner = Callable[[Posterior, Settings, CompileClock], Outcome]


@dataclass(frozen=True, kw_only=True)
class Sampler:
    """A row of the tables.

    Attributes
    ----------
    title
        For people.
    run
        Samples a posterior.
    modules
        What it imports: done, and timed, before anything else.
    peer
        Whether it stands for what is used without this package.
    approximate
        Whether it draws from an approximation.
    """

    title: str
    run: Runner
    modules: tuple[str, ...]
    peer: bool = False
    approximate: bool = False


def ours(posterior: Posterior, settings: Settings, clock: CompileClock) -> Outcome:
    """Draws by `jointmix.sampling.sample`, from the start that EM finds."""
    from jointmix.sampling import sample

    began = time.perf_counter()
    start = start_by_em(posterior, settings.seed)
    em_seconds = time.perf_counter() - began
    progress: list[tuple[float, float, str]] = []

    def note(stage: str, done: float, total: float, text: str) -> None:
        if stage == "sample":
            progress.append((done, total, text))

    began = time.time()
    tree = sample(posterior.dataset, start, settings.seed, note)
    ended = time.time()
    # What a sampler compiles on its first draws is not sampling.
    sampling = float(tree.attrs["sample_seconds"])
    sampling -= clock.within(ended - sampling, ended)
    stats = tree["sample_stats"].to_dataset()
    gradients = int(stats["n_steps"].sum()) if "n_steps" in stats else None
    shape = tree.attrs.get("pareto_shape")
    return Outcome(
        draws={str(name): value.values for name, value in tree["posterior"].data_vars.items()},
        wall_seconds=ended - began,
        sample_seconds=sampling,
        em_seconds=em_seconds,
        gradients=gradients,
        all_gradients=_all_gradients(progress, posterior.spec.sampler.sampler),
        divergences=int(stats["diverging"].sum()) if "diverging" in stats else None,
        pareto_shape=None if shape is None else float(shape),
    )


def _all_gradients(progress: list[tuple[float, float, str]], sampler: str) -> int | None:
    """Gradients with those of the adaptation, from nutpie's last report: "…, 7.1 gradients …"."""
    if sampler != "nutpie" or not progress or progress[-1][0] != progress[-1][1]:
        return None
    done, _, text = progress[-1]
    words = text.split()
    return round(done * float(words[words.index("gradients") - 1]))


def peer(name: str, posterior: Posterior, settings: Settings, clock: CompileClock) -> Outcome:
    """Draws by a function of `peers`, which is imported when it runs."""
    run: Runner = getattr(import_module("benchmark.peers"), name)
    return run(posterior, settings, clock)


_NUTPIE = ("jointmix.sampling.nutpie_runs", "nutpie.compile_pymc")
_ON_JAX = ("pymc.sampling.jax", "jax", "jointmix.sampling.pymc_runs")
_NUMPYRO = ("numpyro", "numpyro.contrib.funsor", "jointmix.validation.twin")

SAMPLERS: dict[str, Sampler] = {
    "nutpie-kernel": Sampler(title="nutpie on the kernel", run=ours, modules=_NUTPIE),
    "independence-kernel": Sampler(
        title="independence chains on the kernel",
        run=ours,
        modules=("jointmix.sampling.independence",),
    ),
    "nutpie-jax": Sampler(title="nutpie on JAX", run=ours, modules=(*_NUTPIE, *_ON_JAX)),
    "nutpie-numba": Sampler(
        title="nutpie on Numba", run=ours, modules=(*_NUTPIE, "jointmix.model.graph")
    ),
    "numpyro-jax": Sampler(title="NumPyro, vectorized", run=ours, modules=("numpyro", *_ON_JAX)),
    "blackjax-jax": Sampler(title="BlackJAX", run=ours, modules=("blackjax", *_ON_JAX)),
    "pymc-numba": Sampler(title="PyMC's NUTS", run=ours, modules=("jointmix.sampling.pymc_runs",)),
    "laplace-kernel": Sampler(
        title="Laplace", run=ours, modules=("jointmix.sampling.approximate",), approximate=True
    ),
    "pathfinder-jax": Sampler(
        title="Pathfinder", run=ours, modules=("blackjax", *_ON_JAX), approximate=True
    ),
    "peer-enumerated": Sampler(
        title="NumPyro, the original script corrected",
        run=partial(peer, "enumerated"),
        modules=_NUMPYRO,
        peer=True,
    ),
    "peer-marginal": Sampler(
        title="NumPyro, explicit marginal model",
        run=partial(peer, "marginal"),
        modules=_NUMPYRO,
        peer=True,
    ),
    "peer-textbook": Sampler(
        title="PyMC, textbook mixture, nutpie on JAX",
        run=partial(peer, "textbook"),
        modules=("nutpie", "pymc.sampling.jax", "jax"),
        peer=True,
    ),
}


def spec_of(name: str, settings: Settings) -> SamplerSpec:
    """The package's own settings for a row; for peers only the counts have a meaning."""
    counts: dict[str, Any] = {
        "draws": settings.draws,
        "tune": settings.tune,
        "chains": settings.chains,
    }
    if SAMPLERS[name].peer:
        return SamplerSpec(**counts)
    sampler, backend = name.split("-")
    return SamplerSpec(sampler=sampler, backend=backend, **counts)


def measure(case: Case, name: str, settings: Settings, began: float) -> Measured:
    """Run one row, in this process.

    Parameters
    ----------
    began
        When the process was started, by `time.time`.

    Raises
    ------
    ImportError
        If a package it needs is not installed.
    JointmixError
        If sampling fails.
    """
    from benchmark.scores import score

    sampler = SAMPLERS[name]
    for module in sampler.modules:
        import_module(module)
    imported = time.time() - began
    clock = CompileClock()
    clock.listen()
    posterior = make_posterior(case, spec_of(name, settings))
    outcome = sampler.run(posterior, settings, clock)
    measured = Measured(
        import_seconds=imported,
        em_seconds=outcome.em_seconds,
        compile_seconds=outcome.wall_seconds - outcome.sample_seconds,
        sample_seconds=outcome.sample_seconds,
        peak_memory=peak_memory(),
        gradients=outcome.gradients,
        all_gradients=outcome.all_gradients,
        divergences=outcome.divergences,
        pareto_shape=_finite(outcome.pareto_shape),
    )
    if sampler.approximate:
        # Their draws are independent: an effective sample size would flatter them.
        return measured
    found = score(outcome.draws, posterior.values)
    return replace(
        measured,
        min_ess=_finite(found.min_ess),
        r_hat=_finite(found.r_hat),
        switched=found.switched,
    )


def _finite(value: float | None) -> float | None:
    """None for what JSON has no number for, such as the R-hat of chains that do not move."""
    return None if value is None or not np.isfinite(value) else value
