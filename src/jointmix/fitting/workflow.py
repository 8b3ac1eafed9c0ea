"""The whole fit on one screen: table → dataset → EM → chains → identified draws → checks."""

import json
import time
from contextlib import nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Unpack

import numpy as np
import xarray as xr

from jointmix.base.arguments import (
    file_path,
    progress_option,
    shown,
    whole_number,
)
from jointmix.base.errors import SpecError
from jointmix.base.machine import hidden_until_loaded
from jointmix.base.progress import Progress, ProgressOption, show_progress
from jointmix.base.schema import CHAIN, DRAW
from jointmix.checks import judge
from jointmix.fitting.groups import attributes, mode_group, tree_groups
from jointmix.fitting.retries import retried
from jointmix.fitting.scouts import Levels, levels_of, scout, weigh_modes
from jointmix.fitting.starts import Given, read_start
from jointmix.labels.draws import identify_draws
from jointmix.model.dataset import Dataset, make_dataset
from jointmix.model.degenerate import table_warnings
from jointmix.model.settings import SamplerSpec
from jointmix.model.shorthand import ModelFields, as_spec
from jointmix.model.spec import ModelSpec, require_spec
from jointmix.modes.census import Census
from jointmix.modes.em import fit_em
from jointmix.modes.initial import Start, make_start
from jointmix.modes.ordering import Ordering, choose_ordering
from jointmix.modes.warnings import mode_warnings
from jointmix.posterior.pointwise import with_log_likelihood
from jointmix.sampling import Control, Plan, plan_for, sample
from jointmix.sampling.stream import open_stream, read_stream
from jointmix.tables.issues import Issue


def fit(
    table: object,
    spec: ModelSpec | str,
    seed: int = 1,
    progress: ProgressOption = None,
    control: Control | None = None,
    stream: str | Path | None = None,
    start: object = None,
    **model: Unpack[ModelFields],
) -> xr.DataTree:
    """Fit a joint mixture to a table.

    Parameters
    ----------
    table
        pandas, polars or arrow table, or a mapping from column names to values; or a table in
        parts: a Parquet file or a folder of such by its place, a pyarrow Dataset, a polars
        LazyFrame or a Dask DataFrame. Of these the model's columns alone are read, a few rows at a
        time, into the arrays of the fit, whose bits are those of the same table in memory.
    spec
        The model and the sampler; or a formula, beside which ``model`` says the rest.
    seed
        Of all randomness; the same seed on the same machine gives the same result.
    progress
        None shows it where a person looks: in a notebook, or on a terminal at standard error; True
        everywhere, False nowhere. A function is called as ``progress(stage, done, total, note)``,
        from other threads too.
    control
        Pauses, resumes or stops sampling from elsewhere; a stopped fit keeps its finished draws.
    stream
        A folder, new or empty, to which nutpie's draws are written as they come (the sampler "auto"
        takes it then); `recover` makes a fit of what a run that died has left there. Draws of a run
        that is repeated (`SamplerSpec`'s ``retry_budget``) are not written.
    start
        Where EM starts besides, and the chains do: a column of the table that no model sees, by
        name, or known groups as `crosstab` takes them, as many as clusters; parameters, such as
        those of a mode of `fit_em`; or another fit of the same columns. None sends chains to the
        mode with the most posterior mass.
    **model
        Beside a formula: ``n_clusters``, ``features``, ``family`` and other fields of `ModelSpec`.

    Returns
    -------
    xarray.DataTree
        Groups as described in `jointmix.base.schema`; ``posterior`` holds the identified parameters
        on the users' scale, ``attrs["verdict"]`` what the checks make of it.

    Raises
    ------
    SpecError
        If an argument is not what it must be, or everything in the model is fixed.
    DataError
        If the table cannot be fitted; the message names column, row or count.
    MissingExtraError
        If a package asked for is not installed.
    MemoryLimitError
        If the fit would not fit into memory.
    StorageError
        If the stream's folder cannot be used.
    SamplingError
        If no chain could start, or a chain went where parameters leave float64.

    Examples
    --------
    >>> import jointmix as jm
    >>> from jointmix.model.simulate import simulate
    >>> table = simulate(jm.four_clusters(), 200, seed=1)
    >>> quick = jm.SamplerSpec(sampler="laplace")
    >>> tree = jm.fit(table, "y ~ x1 * x2", features=["x1", "x2"], n_clusters=4, sampler=quick)
    >>> tree["posterior"]["slope"].coords["predictor"].values.tolist()
    ['x1', 'x2', 'x1:x2']
    """
    spec = as_spec(spec, **model)
    progress_option(progress)
    if control is not None and not isinstance(control, Control):
        raise SpecError(f"control must be a Control or None; got {shown(control)}.")
    folder = None if stream is None else file_path(stream)
    with show_progress(progress) as tell:
        clock = Clock(tell)
        searched = search(table, spec, seed, clock, start)
        return fit_from(searched, clock, tell, control, folder)


def fit_from(
    searched: "Searched",
    clock: "Clock",
    progress: Progress | None = None,
    control: Control | None = None,
    stream: Path | None = None,
) -> xr.DataTree:
    """The fit whose modes EM has found."""
    prepared = _prepared(searched)
    tree = _sampled(prepared, clock, progress, control, stream)

    def again(settings: SamplerSpec) -> xr.DataTree:
        # Whoever chose nutpie for the first run has chosen.
        spec = replace(prepared.spec, sampler=replace(settings, sampler="nutpie"))
        dataset = prepared.dataset.under(spec)
        changed = replace(prepared, dataset=dataset, planned=plan_for(dataset))
        found = _sampled(changed, clock, progress, control)
        found.attrs["sampler_reason"] = tree.attrs["sampler_reason"]
        return found

    return retried(tree, prepared.spec.sampler, len(prepared.dataset.values), again)


def _sampled(
    prepared: "Prepared",
    clock: "Clock",
    progress: Progress | None,
    control: Control | None,
    stream: Path | None = None,
) -> xr.DataTree:
    clock.start("sample")
    dataset, start, seed = prepared.dataset, prepared.start, prepared.seed
    store = None if stream is None else open_stream(stream, dataset, seed)
    uses_jax = prepared.planned.backend == "jax"
    with nullcontext() if uses_jax else hidden_until_loaded("jax"):
        raw = sample(dataset, start, seed, progress, control, store, prepared.planned)
        return finish(prepared, raw, clock, progress, control)


def recover(
    table: object, spec: ModelSpec, seed: int, stream: str | Path, start: object = None
) -> xr.DataTree:
    """The fit of the draws that a run has left in its stream, marked partial.

    Parameters
    ----------
    table, spec, seed, start
        As they were given to `fit`.
    stream
        The folder that was given to `fit`.

    Returns
    -------
    xarray.DataTree
        As `fit` returns it.

    Raises
    ------
    StorageError
        If the folder holds no stream, or that of other rows, another model or another seed.
    SamplingError
        If fewer than four draws of a chain were written.

    Examples
    --------
    >>> table = jm.simulate(jm.four_clusters(2), 60, seed=1)
    >>> few = jm.SamplerSpec(draws=50, tune=50, chains=2)
    >>> spec = jm.ModelSpec(n_clusters=2, features=["x1", "x2"], sampler=few)
    >>> tree = jm.fit(table, spec, seed=1, stream="draws")
    >>> again = jm.recover(table, spec, seed=1, stream="draws")
    >>> again["posterior"].sizes["draw"]
    50
    """
    folder, clock = file_path(stream), Clock(None)
    prepared = prepare(table, spec, seed, clock, start)
    clock.start("sample")
    raw = read_stream(folder, prepared.dataset, prepared.start, seed)
    return finish(prepared, raw, clock)


@dataclass(frozen=True, eq=False)
class Asked:
    """A table under a model, and how it will be sampled."""

    dataset: Dataset
    seed: int
    planned: Plan

    @property
    def spec(self) -> ModelSpec:
        """The model."""
        return self.dataset.spec


@dataclass(frozen=True, eq=False)
class Searched(Asked):
    """What EM found besides."""

    census: Census
    #: What the fit was asked to start from; None if nothing.
    given: Given | None = None


@dataclass(frozen=True, eq=False, kw_only=True)
class Prepared(Searched):
    """All that sampling needs besides, and what table and modes warn of."""

    issues: tuple[Issue, ...]
    ordering: Ordering
    start: Start


def ask(table: object, spec: ModelSpec, seed: int, clock: "Clock") -> Asked:
    """Read the table, and plan the sampling: what cannot be done is refused before EM runs."""
    require_spec(spec)
    seed = whole_number("seed", seed, 0)
    clock.start("data")
    dataset = make_dataset(table, spec)
    return Asked(dataset, seed, plan_for(dataset))


def search(
    table: object, spec: ModelSpec, seed: int, clock: "Clock", start: object = None
) -> Searched:
    """Read the table, plan the sampling, and run EM.

    Parameters
    ----------
    start
        As `fit` takes it.
    """
    asked = ask(table, spec, seed, clock)
    dataset, seed = asked.dataset, asked.seed
    clock.start("em")
    if start is None:
        return Searched(**vars(asked), census=fit_em(dataset, dataset.spec, seed))
    given = read_start(start, table, dataset)
    census = fit_em(dataset, dataset.spec, seed, given.share[None])
    reached = census.reached[0]
    home = 0 if census.modes[reached].collapsed else reached
    return Searched(**vars(asked), census=replace(census, home=home), given=given)


def prepare(
    table: object, spec: ModelSpec, seed: int, clock: "Clock", start: object = None
) -> Prepared:
    return _prepared(search(table, spec, seed, clock, start))


@hidden_until_loaded("jax")
def _prepared(searched: Searched) -> Prepared:
    dataset, census, seed = searched.dataset, searched.census, searched.seed
    ordering = choose_ordering(census.start, dataset, seed)
    start = make_start(census.start, dataset, ordering, census.rivals)
    words = "" if searched.given is None else searched.given.words
    issues = (*table_warnings(dataset), *mode_warnings(dataset, census, words))
    return Prepared(**vars(searched), issues=issues, ordering=ordering, start=start)


def finish(
    prepared: Prepared,
    raw: xr.DataTree,
    clock: "Clock",
    progress: Progress | None = None,
    control: Control | None = None,
) -> xr.DataTree:
    """Identified draws, diagnosed: the fitted tree."""
    clock.start("labels")
    dataset, spec, census = prepared.dataset, prepared.spec, prepared.census
    posterior = raw["posterior"].to_dataset()
    # Where the sampler knows it; the identified draws keep it elsewhere.
    likelihood = raw["sample_stats"].data_vars.get("log_likelihood")
    known = None if likelihood is None else likelihood.transpose(CHAIN, DRAW).values
    identified = identify_draws(posterior, dataset, census, prepared.ordering, known)
    main = levels_of(identified, dataset, census)
    scouts: list[tuple[int, Levels]] = []
    why = ""
    if spec.sampler.scouts and not raw.attrs["partial"]:
        clock.start("scouts")
        scouts, why = scout(dataset, census, prepared.ordering, prepared.seed, progress, control)
    clock.start("checks")
    groups, sent = weigh_modes(dataset.users_rows, main, scouts, spec)
    tree = xr.DataTree.from_dict(
        {
            **tree_groups(dataset, census, identified, raw),
            "modes": mode_group(spec, census, main, groups),
            **({"scouts": sent.assign_attrs(text=why)} if spec.sampler.scouts else {}),
        }
    )
    tree.attrs |= attributes(
        dataset, prepared.seed, prepared.issues, prepared.ordering, identified, raw
    )
    if prepared.given is not None:
        tree.attrs |= {"started": prepared.given.words, "start": prepared.given.column}
    # The checks look at the tree alone.
    dataset.release()
    judge(tree)
    tree.attrs["seconds"] = json.dumps(clock.seconds(raw))
    return with_log_likelihood(tree)


class Clock:
    """Seconds of each stage, passed on as progress."""

    def __init__(self, progress: Progress | None) -> None:
        self._progress = progress
        self._began: list[tuple[str, float]] = []
        self._paused = 0.0
        self._compiled = 0.0

    def pause(self) -> None:
        """Let time pass that belongs to no stage, until `resume`."""
        self._paused = time.perf_counter()

    def resume(self) -> None:
        gap = time.perf_counter() - self._paused
        self._began = [(stage, began + gap) for stage, began in self._began]

    def start(self, stage: str) -> None:
        self._began.append((stage, time.perf_counter()))
        if self._progress is not None and stage != "sample":
            self._progress(stage, 0, 1, "")

    def seconds(self, raw: xr.DataTree) -> dict[str, float]:
        """Seconds by stage, of all times that it was gone through.

        Compiling is told apart from sampling where the sampler says so.
        """
        stages, times = zip(*self._began, strict=True)
        spent = dict.fromkeys(stages, 0.0)
        for stage, seconds in zip(stages, np.diff([*times, time.perf_counter()]), strict=True):
            spent[stage] += float(seconds)
        if "compile_seconds" in raw.attrs:
            self._compiled += raw.attrs["compile_seconds"]
            spent["compile"] = self._compiled
            spent["sample"] -= self._compiled
        return {stage: round(value, 3) for stage, value in spent.items()}
