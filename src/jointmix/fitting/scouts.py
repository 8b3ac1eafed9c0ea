"""Chains that disagree: scouts sent from other modes, and how much weight each mode deserves."""

from collections.abc import Generator
from contextlib import closing
from dataclasses import dataclass, replace
from typing import Any

import arviz_stats
import numpy as np
import xarray as xr
from joblib import delayed

from jointmix.base.errors import SamplingError
from jointmix.base.pools import Pool, run_jobs, run_threads
from jointmix.base.progress import Progress
from jointmix.base.schema import CHAIN, CLUSTER, SCOUT
from jointmix.checks.modes import is_apart
from jointmix.families.parameters import Parameters
from jointmix.families.rows import Rows
from jointmix.labels.draws import Identified, identify_draws
from jointmix.labels.visits import mode_visits
from jointmix.model.dataset import Dataset
from jointmix.model.spec import ModelSpec
from jointmix.modes.census import Census
from jointmix.modes.initial import make_start
from jointmix.modes.ordering import Ordering
from jointmix.posterior.draws import draw_parameters
from jointmix.posterior.stacking import stack
from jointmix.sampling import Control, sample

#: Chains sent from each further mode.
CHAINS_A_MODE = 2


@dataclass(frozen=True, eq=False)
class Levels:
    """Chains as far as modes are concerned.

    Attributes
    ----------
    log_likelihood
        (chain, draw), on the users' scale.
    visits
        Share of each chain's draws that is nearest to each census mode, (chain, mode).
    posterior
        Identified draws, dims chain, draw, cluster, ..., on the users' scale.
    """

    log_likelihood: np.ndarray
    visits: np.ndarray
    posterior: xr.Dataset

    @property
    def mode(self) -> np.ndarray:
        """The census mode that each chain is nearest to, from 0, (chain,)."""
        return np.asarray(self.visits.argmax(axis=1))


def levels_of(identified: Identified, dataset: Dataset, census: Census) -> Levels:
    """Where the chains of identified draws are."""
    posterior = identified.posterior
    n_chains = posterior.sizes[CHAIN]
    parameters = draw_parameters(posterior, CLUSTER, dataset.spec)
    likelihood = identified.gathered.log_likelihood.reshape(n_chains, -1)
    return Levels(likelihood, mode_visits(parameters, likelihood, dataset, census), posterior)


def scout(
    dataset: Dataset,
    census: Census,
    ordering: Ordering,
    seed: int,
    progress: Progress | None = None,
    control: Control | None = None,
    pool: Pool = None,
) -> tuple[list[tuple[int, Levels]], str]:
    """Send two chains from each of the next best modes; each pair is a job.

    Parameters
    ----------
    dataset, census
        The model and its rows, and EM's optima.
    ordering
        That of the fit: scouts sample the same posterior.
    seed, progress, control
        As `sampling.sample` takes them.
    pool
        As `jointmix.base.pools.run_jobs` takes it; None sends one pair after the other.

    Returns
    -------
    list, str
        The mode each pair came from, from 0, and where its chains are; and why there are fewer
        than asked for, or "".
    """
    spec = dataset.spec
    others = [
        index
        for index, mode in enumerate(census.modes)
        if index != census.home and not mode.collapsed
    ][: spec.sampler.scouts]
    # Chains that take candidates from one mode cannot leave it, whatever the posterior is.
    asked = spec.sampler.sampler
    sampler = "nutpie" if asked in ("auto", "independence") else asked
    settings = replace(spec.sampler, chains=CHAINS_A_MODE, sampler=sampler)
    fewer = dataset.under(replace(spec, sampler=settings))
    steering = (progress, control) if pool is None else ()
    jobs = [delayed(_sent)(fewer, census, ordering, index, seed, *steering) for index in others]
    sent: dict[int, _Pair] = {}
    absent = _STOPPED
    try:
        with closing(_run(jobs, pool)) as ended:
            for place, pair in ended:
                sent[place] = pair
                if pair.interrupted:
                    break
    except SamplingError as error:
        # The fit that scouts were to be held against stays.
        absent = _Pair(None, str(error))
    found: list[tuple[int, Levels]] = []
    for place, index in enumerate(others):
        pair = sent.get(place, absent)
        if pair.levels is not None:
            found.append((index, pair.levels))
        if pair.failure:
            return found, pair.failure
    if len(others) < spec.sampler.scouts:
        return found, f"EM found {len(others)} further optima only"
    return found, ""


@dataclass(frozen=True, eq=False)
class _Pair:
    """Two chains that were sent from a mode, if there are any, and why none are sent after them."""

    levels: Levels | None
    failure: str = ""
    interrupted: bool = False


_STOPPED = _Pair(None, "sampling was interrupted", True)


def _run(jobs: list[Any], pool: Pool) -> Generator[tuple[int, Any], None, None]:
    return run_threads(jobs, 1) if pool is None else run_jobs(jobs, pool)


def _sent(
    fewer: Dataset,
    census: Census,
    ordering: Ordering,
    index: int,
    seed: int,
    progress: Progress | None = None,
    control: Control | None = None,
) -> _Pair:
    """Chains from one mode, by its place in the census."""
    start = make_start(census.modes[index], fewer, ordering)
    own_seed = int(np.random.SeedSequence([seed, index]).generate_state(1)[0])
    try:
        raw = sample(fewer, start, own_seed, progress, control)
    except SamplingError as error:
        return _Pair(None, str(error))
    identified = identify_draws(raw["posterior"].to_dataset(), fewer, census, ordering)
    levels = levels_of(identified, fewer, census)
    if raw.attrs["partial"]:
        return replace(_STOPPED, levels=levels)
    return _Pair(levels)


def group_chains(log_likelihood: np.ndarray, mode: np.ndarray) -> np.ndarray:
    """Which chains sit together: the same mode of the census, and no gap in log likelihood.

    Parameters
    ----------
    log_likelihood
        (chain, draw).
    mode
        (chain,).

    Returns
    -------
    numpy.ndarray
        Group of each chain, from 0, the one with the highest mean log likelihood first.
    """
    mean, error = log_likelihood.mean(axis=1), _errors(log_likelihood)
    group = np.full(len(mean), -1)
    count = 0
    for best in np.argsort(-mean, kind="stable"):
        if group[best] >= 0:
            continue
        apart = is_apart(mean[best] - mean, np.hypot(error, error[best]))
        group[(group < 0) & (mode == mode[best]) & ~apart] = count
        group[best] = count
        count += 1
    return group


def _errors(log_likelihood: np.ndarray) -> np.ndarray:
    """Monte Carlo standard error of each chain's mean, (chain,)."""
    return np.array(
        [float(arviz_stats.mcse(chain[None], method="mean")) for chain in log_likelihood]
    )


def weigh_modes(
    rows: Rows, main: Levels, scouts: list[tuple[int, Levels]], spec: ModelSpec
) -> tuple[xr.Dataset, xr.Dataset]:
    """Which chains sit together, and the weight of each group where there are several.

    Parameters
    ----------
    rows
        On the users' scale.
    main, scouts
        The chains of the fit, and those sent from other modes.

    Returns
    -------
    groups
        ``chain_group`` [chain], from 1; with several groups ``stacking_weight`` and
        ``unreliable`` (share of rows with Pareto k > 0.7) [group].
    scouts
        ``start_mode``, ``scout_mode``, ``scout_group``, from 1, ``log_likelihood`` and ``mcse``,
        each [scout]; the attribute ``rhat_nested`` is that of the log likelihood over starts.
    """
    parts = [main, *(part for _, part in scouts)]
    likelihood = [chain for part in parts for chain in part.log_likelihood]
    # Scouts that were interrupted are shorter.
    length = min(len(chain) for chain in likelihood)
    level = np.stack([chain[:length] for chain in likelihood])
    mode = np.concatenate([part.mode for part in parts])
    group = group_chains(level, mode)
    n_main = len(main.mode)
    groups = xr.Dataset(
        {"chain_group": (CHAIN, group[:n_main] + 1)}, coords={CHAIN: main.posterior[CHAIN].values}
    )
    if group.max() > 0:
        draws = _group_draws(parts, group, spec)
        weight, unreliable = stack(rows, draws, spec)
        groups = groups.assign_coords(group=np.arange(1, len(weight) + 1))
        groups["stacking_weight"], groups["unreliable"] = ("group", weight), ("group", unreliable)
    start = np.repeat([index for index, _ in scouts], CHAINS_A_MODE).astype(int)
    sent = xr.Dataset(
        {
            "start_mode": (SCOUT, start + 1),
            "scout_mode": (SCOUT, mode[n_main:] + 1),
            "scout_group": (SCOUT, group[n_main:] + 1),
            "log_likelihood": (SCOUT, level[n_main:].mean(axis=1)),
            "mcse": (SCOUT, _errors(level[n_main:])),
        },
        coords={SCOUT: np.arange(len(start))},
    )
    if len(start) and n_main >= CHAINS_A_MODE:
        sent.attrs["rhat_nested"] = nested_rhat(np.r_[level[:CHAINS_A_MODE], level[n_main:]])
    return groups, sent


def nested_rhat(draws: np.ndarray) -> float:
    """Nested R-hat (Margossian et al. 2024, doi:10.1214/24-BA1453) of chains sent in pairs.

    Parameters
    ----------
    draws
        (chain, draw), two chains from the same start next to each other.
    """
    starts = np.repeat(np.arange(len(draws) // CHAINS_A_MODE), CHAINS_A_MODE)
    return float(arviz_stats.rhat_nested(draws, superchain_ids=starts.tolist(), method="rank"))


def _group_draws(parts: list[Levels], group: np.ndarray, spec: ModelSpec) -> list[Parameters]:
    """The draws of each group's chains, one after the other."""
    found = []
    chains = [
        draw_parameters(part.posterior.isel({CHAIN: [index]}), CLUSTER, spec)
        for part in parts
        for index in range(len(part.mode))
    ]
    for number in range(group.max() + 1):
        own = [chain.each() for chain, at in zip(chains, group, strict=True) if at == number]
        found.append(
            Parameters(**{name: np.concatenate([each[name] for each in own]) for name in own[0]})
        )
    return found
