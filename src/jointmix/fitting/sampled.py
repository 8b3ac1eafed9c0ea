"""The models of a comparison, sampled: here or in a pool, some or all, and kept if asked."""

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import pandas as pd
import xarray as xr
from joblib import delayed

from jointmix.base.arguments import progress_option, whole_number
from jointmix.base.errors import StorageError
from jointmix.base.pools import Pool, own_share, run_jobs, run_threads
from jointmix.base.progress import Progress, ProgressOption, show_progress
from jointmix.fitting.candidates import (
    Grid,
    Key,
    make_grid,
    promising,
    screened,
    short_words,
)
from jointmix.fitting.retries import interrupted
from jointmix.fitting.screening import screen
from jointmix.fitting.workflow import Clock, Searched, fit_from
from jointmix.model.dataset import Dataset
from jointmix.model.serialised import spec_to_dict
from jointmix.model.spec import ModelSpec, require_spec
from jointmix.sampling import Control
from jointmix.storage.files import made_folder
from jointmix.storage.trees import load, save


@dataclass(frozen=True)
class Kept:
    """A folder that keeps fits, each under the name of what it is a fit of.

    A name holds a digest of the model, the sampler, the rows, the seed and this package's version,
    so that the fits of several comparisons may share a folder.
    """

    folder: Path
    #: Whether every fit has to be there already.
    whole: bool = False

    def place(self, found: Searched) -> Path:
        """Where a fit is kept."""
        spec, dataset = found.spec, found.dataset
        parts = [
            json.dumps(spec_to_dict(spec), sort_keys=True),
            _rows_digest(dataset),
            str(found.seed),
            version("jointmix"),
        ]
        digest = hashlib.sha256("\n".join(parts).encode()).hexdigest()
        return self.folder / f"k{spec.n_clusters}-{digest[:16]}.nc"

    def read(self, found: Searched) -> xr.DataTree | None:
        """The fit, if it is kept.

        Raises
        ------
        StorageError
            If its file is damaged, or it is not there and has to be.
        """
        place = self.place(found)
        if place.exists():
            return load(place)
        if self.whole:
            raise StorageError(
                f"{self.folder}: the fit of {found.spec.n_clusters} clusters is not there "
                f"({place.name}); run the part that makes it."
            )
        return None

    def keep(self, found: Searched, tree: xr.DataTree) -> None:
        """Write a fit.

        Raises
        ------
        StorageError
            If it cannot be written; what is kept already stays.
        """
        save(tree, self.place(found))


def _rows_digest(dataset: Dataset) -> str:
    """Of all that a fit keeps of its rows: values, weights and labels."""
    weight = b"" if dataset.weight is None else dataset.weight.tobytes()
    labels = json.dumps([str(label) for label in dataset.label]).encode()
    return dataset.digest + hashlib.sha256(weight + labels).hexdigest()


def kept_in(folder: str | Path | None, whole: bool = False) -> Kept | None:
    """The folder of a comparison's fits, made if it is not there.

    Parameters
    ----------
    whole
        Whether every fit has to be there already.

    Raises
    ------
    StorageError
        If nothing can be written there.
    """
    return None if folder is None else Kept(made_folder(folder), whole)


def fit_all(
    searched: Mapping[Key, tuple[Searched, Clock]],
    frame: pd.DataFrame,
    jobs: int,
    pool: Pool,
    tell: Progress,
    store: Kept | None = None,
) -> dict[Key, xr.DataTree]:
    """The models that EM leaves, sampled, or read from where they are kept.

    Parameters
    ----------
    searched
        By key; what EM found, and the time that it took.
    frame
        The comparison's table as far as it is known.
    jobs, pool
        Threads of this process, unless there is a pool.
    tell
        Called as ``tell("compare", done, total, note)``.
    store
        Where each fit is kept as it ends.
    """
    found: dict[Key, xr.DataTree] = {}

    def ended(key: Key, tree: xr.DataTree) -> None:
        found[key] = tree
        words = f"K = {short_words(frame, key)}: {tree.attrs['verdict']}"
        tell("compare", len(found), len(searched), words)

    def sampled(key: Key, tree: xr.DataTree) -> None:
        if store is not None:
            store.keep(searched[key][0], tree)
        ended(key, tree)

    tell("compare", 0, len(searched), "")
    for key, (each, _) in searched.items():
        tree = None if store is None else store.read(each)
        if tree is not None:
            ended(key, tree)
    left = [key for key in searched if key not in found]
    if pool is not None:
        tasks = [delayed(_sampled)(*searched[key]) for key in left]
        for place, tree in run_jobs(tasks, pool):
            sampled(left[place], tree)
        return {key: found[key] for key in searched}
    control = Control()
    try:
        # The first compiles what all others use.
        for key in left[:1]:
            sampled(key, _sampled(*searched[key], control))
        others = [delayed(_sampled)(*searched[key], control) for key in left[1:]]
        for place, tree in run_threads(others, jobs):
            sampled(left[1 + place], tree)
    finally:
        # Threads that still sample when another has failed would keep the process alive.
        control.stop()
    return {key: found[key] for key in searched}


def chosen_models(
    table: object, grid: Grid, seed: int, tell: Progress
) -> tuple[pd.DataFrame, dict[Key, tuple[Searched, Clock]]]:
    """What EM says of each model, (model, …), and what it found of those to be sampled."""
    searched = screen(table, grid, seed, tell)
    lines = [screened(found) for found, _ in searched.values()]
    frame = pd.DataFrame(lines, index=grid.index(grid.specs))
    return frame, {key: searched[key] for key in promising(frame)}


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

    Every part screens all models, which takes little, and samples its share of those to be sampled;
    `compare` with the same arguments, ``store`` and ``merge=True`` does the rest.

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
        frame, chosen = chosen_models(table, grid, whole_number("seed", seed, 0), tell)
        own = {key: chosen[key] for key in own_share(list(chosen), part)}
        fit_all(own, frame, 1, None, tell, kept)
    return len(own)


def _sampled(found: Searched, clock: Clock, control: Control | None = None) -> xr.DataTree:
    """A fit from what EM found; fits of unequal numbers of draws are not compared.

    Raises
    ------
    KeyboardInterrupt
        If it is stopped, or another has been: Ctrl-C ends them all.
    """
    if control is not None and control.stopped:
        raise KeyboardInterrupt
    clock.resume()
    tree = fit_from(found, clock, control=control)
    if interrupted(tree):
        if control is not None:
            control.stop()
        raise KeyboardInterrupt
    return tree
