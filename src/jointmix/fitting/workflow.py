"""The whole fit on one screen: table → dataset → EM → chains → identified draws → checks."""

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Unpack

import xarray as xr

from jointmix.base.arguments import (
    file_path,
    progress_option,
    shown,
)
from jointmix.base.clusters import computing, is_client
from jointmix.base.errors import MemoryLimitError, SamplingError, SpecError, SumsError
from jointmix.base.machine import hidden_until_loaded
from jointmix.base.opened_pools import opened_pool
from jointmix.base.pools import Pool
from jointmix.base.progress import Progress, ProgressOption, show_progress
from jointmix.fitting.chain_jobs import drawn_in
from jointmix.fitting.clock import Clock
from jointmix.fitting.retries import Retrying
from jointmix.fitting.spread import lies_with_workers, takes_sums
from jointmix.fitting.stages import (
    Prepared,
    Searched,
    finish,
    prepare,
    prepare_from,
    search,
    search_spread,
)
from jointmix.model.designed import sources
from jointmix.model.settings import SamplerSpec
from jointmix.model.shorthand import ModelFields, as_spec
from jointmix.model.spec import ModelSpec
from jointmix.sampling import Control, Draws, Remaining, begin, plan_for
from jointmix.sampling.stream import open_stream, read_stream
from jointmix.tables.gathering import lack_of_room
from jointmix.tables.part_sources import open_parts


def fit(
    table: object,
    spec: ModelSpec | str,
    seed: int = 1,
    progress: ProgressOption = None,
    control: Control | None = None,
    stream: str | Path | None = None,
    start: object = None,
    pool: Pool = None,
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
    pool
        Whose jobs are the chains that nutpie draws on the kernel, and pairs of scouts: a Dask
        client or its scheduler's address, an executor of concurrent.futures, or a number of
        processes; None takes a cluster that `joblib.parallel_config` names (Dask, Ray), and else
        threads of this process. Draws are the same wherever they are drawn.

        Workers of a Dask cluster given here also hold the parts of a table (a Parquet file or
        folder that they find at the same place, a pyarrow Dataset, a Dask DataFrame), so that no
        process has all rows. The posterior is that of all of them, by the samplers "auto",
        "independence" and "laplace"; the tree's ``observed_data`` are at most 50,000 rows at random
        and a few more, so that each level has some, of which EM, labels, inner knots of splines,
        checks of single rows and pictures are, and ``attrs["n_fitted"]`` says how many all are.
        Where those samplers do not serve, or others are asked for, all rows are read here, if
        there is room.
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
        If no chain could start, a chain went where parameters leave float64, or the pool is lost.

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
    if pool is not None and stream is not None:
        raise SpecError("A stream holds draws of this process: leave out stream, or pool.")
    with show_progress(progress) as tell, opened_pool(pool) as workers:
        ways = Ways(tell, control, folder, workers if folder is None else None)
        asked = pool is not None and is_client(workers)
        if asked and takes_sums(spec.sampler) and lies_with_workers(table):
            try:
                return _spread_fit(table, spec, seed, start, ways)
            except SumsError as error:
                _require_room(table, spec, error)
        clock = Clock(tell)
        with computing(workers):
            searched = search(table, spec, seed, clock, start)
        return _ended(searched, clock, ways)


def _spread_fit(
    table: object, spec: ModelSpec, seed: int, start: object, ways: "Ways"
) -> xr.DataTree:
    """The fit of a table that lies with the workers of a Dask cluster.

    Raises
    ------
    SumsError
        If NUTS is to draw, which takes the rows.
    """
    clock = Clock(ways.progress)
    return _ended(search_spread(table, spec, seed, clock, start, ways.pool), clock, ways)


def _require_room(table: object, spec: ModelSpec, error: SumsError) -> None:
    """Refuse to take rows here that do not fit.

    Raises
    ------
    MemoryLimitError
        Saying why they would be here.
    """
    lack = lack_of_room(open_parts(table), sources(spec))
    if lack is not None:
        raise MemoryLimitError(
            f"Independence chains do not serve here ({error}), and NUTS takes all rows in one "
            f"process, but {lack[0]}; take a sample of the rows, or fewer clusters."
        )


@dataclass(frozen=True, eq=False)
class Ways:
    """How sampling is told of and steered, where its draws are written, and who draws.

    Attributes
    ----------
    pool
        Whose jobs are the chains of nutpie, and scouts; None draws them here.
    """

    progress: Progress | None = None
    control: Control | None = None
    stream: Path | None = None
    pool: Pool = None


_ALONE = Ways()


@dataclass(frozen=True, eq=False)
class Begun:
    """A fit of which chains are still to be drawn, each of which can be a job of its own.

    Attributes
    ----------
    remaining
        The chains.
    store
        Where their draws are written; None keeps them in memory.
    retrying
        The fit that these chains are to mend; None for the first ones.
    """

    prepared: Prepared
    remaining: Remaining
    clock: Clock
    store: Path | None = None
    retrying: Retrying | None = None

    def drawn(self, ways: Ways) -> xr.DataTree | BaseException:
        """All chains, drawn by this process, or what ended them."""
        try:
            with _without_jax(self.prepared):
                if ways.pool is not None and self.remaining.splits:
                    return drawn_in(self.remaining, ways.pool, ways.progress, ways.control)
                return self.remaining.draws(ways.progress, ways.control, self.store)
        except Retrying.MISHAPS as error:
            return error

    def gathered(self, chains: Sequence[Draws | SamplingError]) -> xr.DataTree | BaseException:
        """All chains, drawn elsewhere, or what ended one."""
        failed = [each for each in chains if isinstance(each, SamplingError)]
        if failed:
            return failed[0]
        try:
            return self.remaining.gathered([each for each in chains if isinstance(each, Draws)])
        except SamplingError as error:
            return error


def fit_from(
    searched: Searched,
    clock: Clock,
    progress: Progress | None = None,
    control: Control | None = None,
    stream: Path | None = None,
) -> xr.DataTree:
    """The fit whose modes EM has found."""
    return _ended(searched, clock, Ways(progress, control, stream))


def _ended(searched: Searched, clock: Clock, ways: Ways) -> xr.DataTree:
    return drawn(begin_fit(searched, clock, ways), ways)


def drawn(found: xr.DataTree | Begun, ways: Ways = _ALONE) -> xr.DataTree:
    """A fit whose chains are drawn, by this process or its pool, as often as need be."""
    while isinstance(found, Begun):
        found = end_fit(found, found.drawn(ways), ways)
    return found


def begin_fit(searched: Searched, clock: Clock, ways: Ways = _ALONE) -> xr.DataTree | Begun:
    """The fit whose modes EM has found, or as far as it goes before chains are drawn by nutpie."""
    prepared = prepare_from(searched)
    return _mended(_begun(prepared, clock, ways, None), clock, ways, prepared)


def end_fit(
    begun: Begun, raw: xr.DataTree | BaseException, ways: Ways = _ALONE
) -> xr.DataTree | Begun:
    """The fit of the chains that were drawn, or what is to be sampled again.

    Parameters
    ----------
    raw
        What `Begun.drawn` or `Begun.gathered` returned; what ended chains is raised where there is
        no fit before it.
    """
    prepared, clock = begun.prepared, begun.clock
    try:
        if isinstance(raw, BaseException):
            raise raw
        with _without_jax(prepared):
            found = finish(prepared, raw, clock, ways.progress, ways.control, ways.pool)
    except Retrying.MISHAPS as error:
        if begun.retrying is None:
            raise
        return _mended(error, clock, ways, prepared, begun.retrying)
    return _mended(found, clock, ways, prepared, begun.retrying)


def _mended(
    found: xr.DataTree | Begun | BaseException,
    clock: Clock,
    ways: Ways,
    prepared: Prepared,
    retrying: Retrying | None = None,
) -> xr.DataTree | Begun:
    """A fit, sampled again for as long as that may mend it."""
    if prepared.dataset.elsewhere is not None and isinstance(found, xr.DataTree):
        # What samples again follows gradients of rows in one process.
        return found
    while not isinstance(found, Begun):
        if retrying is not None:
            if isinstance(found, xr.DataTree):
                found.attrs["sampler_reason"] = retrying.tree.attrs["sampler_reason"]
            retrying.take(found)
        elif isinstance(found, BaseException):
            raise found
        else:
            n_rows = len(prepared.dataset.values)
            retrying = Retrying(found, prepared.spec.sampler, n_rows)
        if retrying.settings is None:
            return retrying.ended()
        try:
            again = _again(prepared, retrying.settings)
            found = _begun(again, clock, replace(ways, stream=None), retrying)
        except Retrying.MISHAPS as error:
            found = error
    return found


def _again(prepared: Prepared, settings: SamplerSpec) -> Prepared:
    # Whoever chose nutpie for the first run has chosen.
    spec = replace(prepared.spec, sampler=replace(settings, sampler="nutpie"))
    dataset = prepared.dataset.under(spec)
    return replace(prepared, dataset=dataset, planned=plan_for(dataset))


def _begun(
    prepared: Prepared, clock: Clock, ways: Ways, retrying: Retrying | None
) -> xr.DataTree | Begun:
    """The fit, or as far as it goes before nutpie's chains."""
    clock.start("sample")
    dataset, start, seed, stream = prepared.dataset, prepared.start, prepared.seed, ways.stream
    store = None if stream is None else open_stream(stream, dataset, seed)
    with _without_jax(prepared):
        raw = begin(
            dataset, start, seed, ways.progress, ways.control,
            streams=stream is not None, planned=prepared.planned,
        )  # fmt: skip
        if isinstance(raw, Remaining):
            return Begun(prepared, raw, clock, store, retrying)
        return finish(prepared, raw, clock, ways.progress, ways.control, ways.pool)


def _without_jax(prepared: Prepared) -> AbstractContextManager[None]:
    return nullcontext() if prepared.planned.backend == "jax" else hidden_until_loaded("jax")


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
