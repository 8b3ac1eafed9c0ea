"""The work of a comparison as jobs: EM, fits and their scores, of which some lead to others."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr
from joblib import delayed
from threadpoolctl import threadpool_limits

from jointmix.base.arguments import progress_option, whole_number
from jointmix.base.errors import SamplingError, StorageError
from jointmix.base.machine import hidden_until_loaded
from jointmix.base.pools import Pool, own_share, run_jobs, run_threads
from jointmix.base.progress import Progress, ProgressOption, show_progress
from jointmix.base.steps import Step, run_steps
from jointmix.fitting.candidates import (
    N_CLUSTERS,
    Grid,
    Key,
    make_grid,
    promising,
    screened,
    short_words,
)
from jointmix.fitting.chain_jobs import drawn_chain
from jointmix.fitting.clock import Clock
from jointmix.fitting.kept import Kept, kept_in
from jointmix.fitting.retries import interrupted
from jointmix.fitting.screening import Screening
from jointmix.fitting.stages import Searched
from jointmix.fitting.workflow import Begun, begin_fit, drawn, end_fit, fit_from
from jointmix.model.spec import ModelSpec, require_spec
from jointmix.posterior.draws import fitted_spec, observed_rows, posterior_parameters, spread
from jointmix.posterior.leave_one_out import loo_densities
from jointmix.sampling import Control, Draws

#: Draws from which leave-one-out densities are computed, evenly spaced.
_MOST_DRAWS = 2_000

#: Scores of each row (obs,), by name.
type Pointwise = dict[str, np.ndarray]
#: A fit, and its scores.
type Fitted = tuple[xr.DataTree, Pointwise]


class Course:
    """A comparison on its way: models that EM has run on are sampled, and scored by the same job.

    Parameters
    ----------
    screening
        EM under every model.
    grid
        The models.
    tell
        Called as ``tell("compare", done, total, note)``.
    store
        Where each fit is kept as it ends, and read from.
    part
        Which of so many parts of the models are sampled, and not scored; None for all of them.
    control
        Of fits in threads of this process: the first is alone, since it compiles what all use.
    """

    def __init__(
        self,
        screening: Screening,
        grid: Grid,
        tell: Progress,
        *,
        store: Kept | None = None,
        part: tuple[int, int] | None = None,
        control: Control | None = None,
    ) -> None:
        self.trees: dict[Key, xr.DataTree] = {}
        self.scores: dict[Key, Pointwise] = {}
        self._screening, self._grid, self._tell = screening, grid, tell
        self._store, self._part, self._control = store, part, control
        self._held: list[Step] | None = None if control is None else []
        self._asked: list[Key] = []
        self._known: set[Key] = set()

    @property
    def chosen(self) -> list[Key] | None:
        """The models that are sampled; None while that is not known of all."""
        keys = list(self._grid.specs)
        if not follow_at_once(self._grid):
            if len(self._screening.found) < len(keys):
                return None
            keys = self._promising()
        return keys if self._part is None else list(own_share(keys, self._part))

    def _promising(self) -> list[Key]:
        keys = list(self._grid.specs)
        return promising(self.frame(), self._grid.index(keys)) if self._screening.found else []

    def frame(self) -> pd.DataFrame:
        """What EM says of each model so far, (model, …)."""
        found = self._screening.found
        keys = [key for key in self._grid.specs if key in found]
        lines = [screened(found[key][0]) for key in keys]
        return pd.DataFrame(lines, index=self._grid.index(keys))

    def run(self, run: Callable[..., Iterator[tuple[int, Any]]]) -> dict[Key, xr.DataTree]:
        """Take all steps; the fits, in the order of the grid.

        Parameters
        ----------
        run
            As `run_steps` takes it.

        Raises
        ------
        SamplingError, StorageError
            If workers are lost or a fit cannot be kept; the message says how many fits are.
        """
        control = self._control
        try:
            # Of one process the threads of linear algebra are set for all threads at once.
            with threadpool_limits(1):
                for key, found in run_steps(self._screening.steps(self._screened), run):
                    if key is not None and not isinstance(found, Begun):
                        self._take(key, *found)
        except (SamplingError, StorageError) as error:
            raise type(error)(f"{error}{self._words()}") from error
        finally:
            # Threads that still sample when another has failed would keep the process alive.
            if control is not None:
                control.stop()
        return {key: self.trees[key] for key in self.chosen or ()}

    def _words(self) -> str:
        """What is left of a comparison that failed."""
        if self._store is None or self._store.whole:
            return ""
        n, chosen = len(self.trees), self.chosen
        of = "" if chosen is None else f" of {len(chosen)}"
        kept = f"{n}{of} fits are" if n != 1 else f"1{of} fits is" if of else "1 fit is"
        return f" {kept} kept in {self._store.folder}, from which the same command goes on."

    def _take(self, key: Key, tree: xr.DataTree, scores: Pointwise) -> None:
        if self._store is not None and key not in self._known:
            self._store.keep(self._screening.found[key][0], tree)
        self.trees[key], self.scores[key] = tree, scores
        words = f"K = {short_words(self.frame(), key)}: {tree.attrs['verdict']}"
        self._tell("compare", len(self.trees), len(self.chosen or self._asked), words)

    def _screened(self) -> Iterator[Step]:
        """The fits that may follow EM under a model, and those that waited for it."""
        chosen = self.chosen
        if chosen is None:
            # Which of all models a part has is known when all are.
            chosen = self._promising() if self._part is None else []
        if chosen and not self._asked:
            self._tell("compare", 0, len(chosen), "")
        ready = [each for each in chosen if each in self._screening.found]
        for each in [each for each in ready if each not in self._asked]:
            self._asked.append(each)
            step = self._fit(each)
            if self._held is None or len(self._asked) == 1:
                yield step
            else:
                self._held.append(step)

    def _fit(self, key: Key) -> Step:
        found, clock = self._screening.found[key]
        tree = None if self._store is None else self._store.read(found)
        scored = self._part is None
        # Where others sample too, the larger models go first: their fits take the longest.
        most = max(each.n_parameters for each in self._grid.specs.values())
        rank = 1 if self._control is not None else 1 + most - found.spec.n_parameters
        if tree is not None:
            self._known.add(key)
            job = delayed(_scored)(tree, scored)
        elif self._control is None:
            job = delayed(_begun)(found, clock, scored)
        else:
            job = delayed(_sampled)(found, clock, scored, self._control)
        return Step(job, partial(self._ended, key, rank), rank, key)

    def _ended(self, key: Key, rank: int, found: Fitted | Begun) -> Iterator[Step]:
        """The chains of a fit that has begun, which go side by side, and what makes a fit of them.

        After a fit follows what waited for the first one.
        """
        if not isinstance(found, Begun):
            yield from self._released()
            return
        drawn: dict[int, Draws | SamplingError] = {}

        def gathered(chain: int, draws: Draws | SamplingError) -> Iterator[Step]:
            drawn[chain] = draws
            if len(drawn) == found.remaining.n:
                chains = [drawn[place] for place in range(len(drawn))]
                job = delayed(_finished)(found, chains, self._part is None)
                yield Step(job, partial(self._ended, key, rank), rank, key)

        for chain in range(found.remaining.n):
            job = delayed(drawn_chain)(found.remaining, chain)
            yield Step(job, partial(gathered, chain), rank)

    def _released(self) -> Iterable[Step]:
        """What waited for the first fit."""
        held, self._held = self._held or [], None
        return held


def follow_at_once(grid: Grid) -> bool:
    """Whether all models are sampled, whatever EM finds (see `promising`).

    So it is where only the number of clusters varies.
    """
    return grid.names == (N_CLUSTERS,)


def fit_all(
    table: object, grid: Grid, seed: int, jobs: int, pool: Pool, tell: Progress, store: Kept | None
) -> tuple[pd.DataFrame, dict[Key, xr.DataTree], dict[Key, Pointwise]]:
    """What EM says of each model, (model, …), the fits of those to be sampled, and their scores.

    Parameters
    ----------
    jobs, pool
        Threads of this process, unless there is a pool.
    """
    screening = Screening(table, grid, seed, tell)
    control = Control() if pool is None else None
    course = Course(screening, grid, tell, store=store, control=control)
    run = partial(run_threads, threads=jobs) if pool is None else partial(run_jobs, pool=pool)
    trees = course.run(run)
    return course.frame(), trees, course.scores


def fit_part(
    table: object,
    spec: ModelSpec,
    n_clusters: Iterable[int],
    seed: int,
    store: str | Path,
    part: tuple[int, int],
    progress: ProgressOption = None,
    *,
    covariance: Iterable[str] | None = None,
    noise: Iterable[str] | None = None,
) -> int:
    """One part of a comparison's fits, into its store, for queues that have no server.

    Every part screens what its share of the models to be sampled depends on (all, where structures
    vary), which takes little, and samples its share; `compare` with the same arguments, ``store``
    and ``merge=True`` does the rest.

    Parameters
    ----------
    table, spec, n_clusters, seed, progress, covariance, noise
        As for `compare`.
    store
        The folder, which all parts write to.
    part
        Which part, from 1, of how many.

    Returns
    -------
    int
        Fits in this part.

    Raises
    ------
    SpecError, DataError, StorageError
        As `compare` does.
    """
    require_spec(spec)
    grid = make_grid(spec, n_clusters, covariance, noise)
    kept = kept_in(store)
    with show_progress(progress_option(progress)) as tell:
        own = own_share(list(grid.specs), part) if follow_at_once(grid) else None
        screening = Screening(table, grid, whole_number("seed", seed, 0), tell, own)
        course = Course(screening, grid, tell, store=kept, part=part, control=Control())
        return len(course.run(partial(run_threads, threads=1)))


def _sampled(found: Searched, clock: Clock, scored: bool, control: Control) -> Fitted:
    """A fit from what EM found, and its scores; fits of unequal numbers of draws are not compared.

    Raises
    ------
    KeyboardInterrupt
        If it is stopped, or another has been: Ctrl-C ends them all.
    """
    if control.stopped:
        raise KeyboardInterrupt
    clock.resume()
    with threadpool_limits(1):
        tree = fit_from(found, clock, control=control)
    if interrupted(tree):
        control.stop()
        raise KeyboardInterrupt
    return _scored(tree, scored)


def _begun(found: Searched, clock: Clock, scored: bool) -> Fitted | Begun:
    """A fit from what EM found, or as far as it goes before its chains."""
    clock.resume()
    with threadpool_limits(1):
        return _so_far(begin_fit(found, clock), scored)


def _finished(
    begun: Begun, chains: Sequence[Draws | SamplingError], scored: bool
) -> Fitted | Begun:
    """A fit of its chains, or as far as it goes before they are drawn again."""
    begun.clock.resume()
    with threadpool_limits(1):
        return _so_far(end_fit(begun, begun.gathered(chains)), scored)


def _so_far(found: xr.DataTree | Begun, scored: bool) -> Fitted | Begun:
    if isinstance(found, Begun):
        if not found.remaining.splits:
            return _scored(drawn(found), scored)
        found.clock.pause()
        return found
    if interrupted(found):
        raise KeyboardInterrupt
    return _scored(found, scored)


def _scored(tree: xr.DataTree, scored: bool) -> Fitted:
    """A fit and its scores."""
    return tree, pointwise(tree) if scored else {}


@hidden_until_loaded("jax")
def pointwise(tree: xr.DataTree) -> Pointwise:
    """Leave-one-out log densities and Pareto k of each row, (obs,)."""
    spec, parameters = fitted_spec(tree), posterior_parameters(tree)
    used = spread(len(parameters.weight), _MOST_DRAWS)
    with threadpool_limits(1):
        joint, feature, shape = loo_densities(
            observed_rows(tree, spec), parameters.take(used.tolist()), spec
        )
    return {"joint": joint, "conditional": joint - feature, "shape": shape}
