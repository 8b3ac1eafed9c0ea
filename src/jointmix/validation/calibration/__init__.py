"""Simulation-based calibration: does the fit find, as often as it says, what made the data?

Parameters are drawn from the prior, a table is drawn at them, and the model is fitted to it: over
many tables the rank of each true quantity among its posterior draws is uniform if prior,
likelihood, sampler and what is computed from the draws are all right (Talts, Betancourt, Simpson,
Vehtari and Gelman 2018, arXiv:1804.06788; Modrák et al. 2025, doi:10.1214/23-BA1404, on which
quantities to rank).
"""

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

import numpy as np
import xarray as xr
from joblib import delayed

from jointmix.base.arguments import function_or_none, progress_option, whole_number
from jointmix.base.errors import (
    DataError,
    SamplingError,
    SpecError,
    StorageError,
)
from jointmix.base.pools import Pool, chosen_pool, own_share, run_jobs
from jointmix.base.progress import ProgressOption, show_progress
from jointmix.families.priors.priors import Fixed
from jointmix.fitting.workflow import fit
from jointmix.model.dataset import make_dataset
from jointmix.model.demands import minimum_rows
from jointmix.model.spec import ModelSpec, require_spec
from jointmix.storage.files import check_writable
from jointmix.validation.calibration.holes import checked_shares
from jointmix.validation.calibration.quantities import free_quantities
from jointmix.validation.calibration.replicates import (
    BLOCK,
    Analysis,
    Replicate,
    run_replicate,
    true_arrays,
)
from jointmix.validation.calibration.result import (
    Calibration,
    keep_calibration,
    merge_calibrations,
    read_calibration,
    require_same_model,
    write_calibration,
)

__all__ = [
    "Calibration",
    "Replicate",
    "calibrate",
    "keep_calibration",
    "merge_calibrations",
    "read_calibration",
    "require_same_calibration",
    "require_same_model",
    "write_calibration",
]

#: Draws among which a truth is ranked: 100 possible ranks.
_RANKED = 99
#: Seconds between writes of what is finished.
_WRITE_SECONDS = 15.0
_PACKAGES = ("jointmix", "pymc", "nutpie", "numpy")


def calibrate(
    spec: ModelSpec,
    n_rows: int,
    replicates: int = 100,
    *,
    seed: int = 1,
    jobs: int = 1,
    store: str | Path | None = None,
    pool: Pool = None,
    part: tuple[int, int] | None = None,
    analyse: Analysis | None = None,
    progress: ProgressOption = None,
    table: object = None,
    missing: Mapping[str, float] | None = None,
) -> Calibration:
    """Fit tables drawn from the prior, and rank the truths among their posterior draws.

    The tables live on the scale on which the priors are stated: the specification is taken with
    ``standardize=False``. Predictors that are no features are standard normal. Clusters are sorted
    in the truth and in the draws by one rule, so that free and ordered labels are calibrated alike.
    Ranked are all free parameters, the log likelihood, means and covariances of the whole mixture,
    densities and predictions at rows, the complete log likelihood and cluster sizes of drawn
    allocations, and a new response.

    Parameters
    ----------
    spec
        The model and the sampler; a fit uses one core.
    n_rows
        Rows of each table.
    replicates
        Number of tables. More of them later go on where fewer ended.
    seed
        Of all randomness: replicate i is the same whatever the number of replicates or jobs.
    jobs
        Tables at a time, each in a process of its own if more than one.
    store
        A .json file that keeps what is finished every 15 seconds, and at the end; a calibration
        that was interrupted goes on from it.
    pool
        Where tables are fitted in the place of ``jobs`` processes: a Dask client, or the address
        of its scheduler, such as "tcp://host:8786"; an executor of concurrent.futures; None for
        the backend that `joblib.parallel_config` names, where it names one.
    part
        Only the i-th of n parts of the tables, as ``(i, n)``; `merge_calibrations` puts the parts'
        stores together.
    analyse
        Called as ``analyse(table, spec, seed)`` for a fitted tree: what is calibrated in the
        place of `jointmix.fit`.
    progress
        As for `jointmix.fit`; a function is called as ``progress("calibrate", done, total, note)``.
    table
        Rows from which a formula, or listed columns of words, learn which predictors they make; not
        needed of a specification that knows them, as that of a fit. None of its numbers enters.

    missing
        Shares of entries that are deleted at random, such as ``{"x": 0.2, "y": 0.1}``, of features
        and the response of a model with ``missing="model"``. The first row of each table stays
        whole, and so do rows of which nothing would be left.

    Returns
    -------
    Calibration
        Ranks, with `table`, `text` and `passed`.

    Raises
    ------
    SpecError
        If a count is no whole number or too small, everything is fixed, rows have weights, a
        formula has no table, a value is fixed on the users' scale of a model whose priors are
        on another, or ``missing`` does not suit the model.
    DataError
        If there are fewer rows than the model needs, ``table`` cannot be the model's, or it cannot
        integrate over a column of ``missing``.
    StorageError
        If the store cannot be written, or holds the calibration of something else.
    SamplingError
        If workers died time and again, or the Dask scheduler does not answer, has no workers or is
        lost.
    MissingExtraError
        If Dask is asked for and not installed.

    Examples
    --------
    >>> quick = jm.SamplerSpec(draws=100, chains=2, tune=100)
    >>> spec = jm.ModelSpec(n_clusters=1, features=["x"], standardize=False, sampler=quick)
    >>> found = jm.calibrate(spec, n_rows=20, replicates=4)
    >>> found.n_rows, len(found.replicates)
    (20, 4)
    """
    if require_spec(spec).row_weights is not None:
        raise SpecError(
            "calibrate draws rows, and a row that counts several times says as much as several "
            "that happen to be alike, which drawn rows are not: ranks would not be uniform even if "
            "the fit were right; leave out row_weights, whole ones being those of repeated rows."
        )
    if table is not None:
        spec = make_dataset(table, spec, demand="density").spec
    if spec.pending:
        raise SpecError(
            "calibrate draws its own tables, and cannot know which columns a formula makes of "
            "yours; give it one of them, calibrate(…, table=table)."
        )
    spec, seed = _own_scale(spec.plain), whole_number("seed", seed, 0)
    function_or_none("analyse", analyse)
    progress_option(progress)
    _check_counts(spec, n_rows, replicates, jobs)
    shares = checked_shares(missing, spec)
    pool = chosen_pool(pool, jobs)
    known: dict[int, Replicate] = {}
    date = ""
    if store is not None:
        known, date = _stored(check_writable(store), spec, n_rows, seed, shares)
    asked = range(replicates) if part is None else own_share(range(replicates), part)
    todo = [number for number in asked if number not in known]
    written = time.monotonic()

    def result() -> Calibration:
        numbers = sorted(number for number in known if number < replicates)
        found = tuple(known[number] for number in numbers)
        versions = {name: version(name) for name in _PACKAGES}
        return Calibration(spec, n_rows, seed, _RANKED, found, date, versions, shares)

    try:
        with show_progress(progress) as tell:
            for each in _run(spec, n_rows, todo, seed, pool, analyse or fit_one, shares):
                known[each.number] = each
                date = datetime.now(UTC).date().isoformat()
                tell("calibrate", len(known), len(asked), each.failure)
                if store is not None and time.monotonic() - written > _WRITE_SECONDS:
                    write_calibration(result(), store)
                    written = time.monotonic()
    except SamplingError as error:
        n = len(known)
        tables = "1 table is" if n == 1 else f"{n} tables are"
        kept = "" if store is None else f" {tables} kept in {store}."
        raise SamplingError(f"{error}{kept}") from error
    finally:
        if store is not None and todo and known:
            write_calibration(result(), store)
    return result()


def fit_one(table: dict[str, np.ndarray], spec: ModelSpec, seed: int) -> xr.DataTree:
    """`jointmix.fit` on one core, sampled once: what is calibrated if nothing else is given."""
    once = replace(spec.sampler, cores=1, retry_budget=0)
    return fit(table, replace(spec, sampler=once), seed, progress=False)


def _run(
    spec: ModelSpec,
    n_rows: int,
    todo: Sequence[int],
    seed: int,
    pool: Pool,
    analyse: Analysis,
    missing: Mapping[str, float],
) -> Iterator[Replicate]:
    if not todo:
        return
    blocks = {number // BLOCK for number in todo}
    truths = {block: true_arrays(spec, block, seed) for block in sorted(blocks)}
    names = free_quantities(true_arrays(spec, 0, seed), spec)
    tasks = (
        delayed(run_replicate)(
            spec,
            {
                name: values[number % BLOCK, None]
                for name, values in truths[number // BLOCK].items()
            },
            n_rows,
            number,
            seed,
            _RANKED,
            names,
            analyse,
            missing,
        )
        for number in todo
    )
    for _, found in run_jobs(tasks, pool):
        yield found


def _own_scale(spec: ModelSpec) -> ModelSpec:
    """The model with its priors on the scale of the table.

    Raises
    ------
    SpecError
        If a value is fixed on the users' scale while the priors are on the standardised one.
    """
    if not spec.n_parameters:
        raise SpecError("Everything in the model is fixed, so that there is nothing to calibrate.")
    if not spec.standardize:
        return spec
    unitless = [
        item.name
        for item in spec.parameters.values()
        if item.role in ("weight", "shape") and not item.measured
    ]
    fixed = [
        name
        for name, prior in vars(spec.priors).items()
        if isinstance(prior, Fixed) and name not in unitless
    ]
    if fixed:
        raise SpecError(
            f"The fixed {fixed[0]} is on the columns' scale and the priors on the standardised "
            "one, and calibration draws tables on the priors' scale; set standardize = false."
        )
    return replace(spec, standardize=False)


def _check_counts(spec: ModelSpec, n_rows: int, replicates: int, jobs: int) -> None:
    whole_number("replicates", replicates, 2)
    whole_number("jobs", jobs, 1)
    needed = minimum_rows(spec)
    if whole_number("n_rows", n_rows, 1) < needed:
        raise DataError(f"This model needs tables of at least {needed} rows; got {n_rows}.")


def _stored(
    store: Path, spec: ModelSpec, n_rows: int, seed: int, missing: Mapping[str, float]
) -> tuple[dict[int, Replicate], str]:
    """What a store holds of this calibration."""
    if store.suffix != ".json":
        raise StorageError(f"{store}: the name of a calibration must end in .json.")
    if not store.exists():
        return {}, ""
    found = read_calibration(store)
    require_same_calibration(found, spec, n_rows, seed, store, missing)
    return {each.number: each for each in found.replicates}, found.date


def require_same_calibration(
    found: Calibration,
    spec: ModelSpec,
    n_rows: int,
    seed: int,
    path: Path,
    missing: Mapping[str, float] | None = None,
) -> None:
    """Refuse a file, or a folder of parts, that is about something else.

    Raises
    ------
    StorageError
        If it holds the calibration of another model, number of rows, seed or missing entries.
    """
    own = Calibration(
        _own_scale(spec.plain), n_rows, seed, _RANKED, (), missing=dict(missing or {})
    )
    if found.of != own.of:
        raise StorageError(
            f"{path}: holds the calibration of another model, number of rows, seed or missing "
            "entries; name another file."
        )
