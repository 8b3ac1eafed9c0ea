"""What a fit says of the rows of a table in parts, written part by part as Parquet."""

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr
from joblib import delayed
from narwhals.dependencies import is_dask_dataframe

from jointmix.base.arguments import file_path, progress_option
from jointmix.base.clusters import is_client
from jointmix.base.errors import DataError, SpecError, StorageError
from jointmix.base.opened_pools import opened
from jointmix.base.pools import Pool, other_pool, run_jobs
from jointmix.base.progress import Progress, ProgressOption, show_progress
from jointmix.base.schema import CLUSTER, OBS, require_group
from jointmix.model.designed import sources
from jointmix.posterior.draws import fitted_spec, id_columns
from jointmix.posterior.wide import columns_of, quantile_name
from jointmix.storage.part_folders import PartFolder, part_folder
from jointmix.tables.labels import as_labels
from jointmix.tables.loaded import Loaded, partitions
from jointmix.tables.part_sources import open_parts
from jointmix.tables.parts import ROWS_AT_A_TIME, Parts, as_frame
from jointmix.tables.reading import label_rows

if TYPE_CHECKING:
    import pyarrow as pa

#: Given a fit, rows for pandas, the same rows as they were read, and arguments by name: what is
#: written of them, as a table or by row.
Work = Callable[..., "pa.Table | xr.Dataset"]


@dataclass(frozen=True, kw_only=True)
class Writing:
    """What is written of a table's rows.

    Attributes
    ----------
    what
        The function that was asked.
    arguments
        What its result depends on besides the fit and the table.
    work
        Gives the rows of the result; a function of a module, as other processes are given it.
    whole
        Whether all columns of the table are read and not only the model's.
    optional
        Columns of the model that are read where the table has them.
    most
        Rows at a time.
    """

    what: str
    arguments: Mapping[str, Any]
    work: Work
    whole: bool = False
    optional: tuple[str, ...] = ()
    most: int = ROWS_AT_A_TIME


def write_parts(
    tree: xr.DataTree,
    table: object,
    out: str | Path,
    writing: Writing,
    progress: ProgressOption = None,
    pool: Pool = None,
) -> Path:
    """Write a file of results for each piece of a table, and return their folder.

    Parameters
    ----------
    pool
        What pieces are given to, each a job; None takes them one after another, in this process.

    Raises
    ------
    SpecError
        If there is no table, or the pool is none.
    DataError, ColumnTypeError
        If the table cannot be read or lacks what the model needs, naming the part.
    StorageError
        If there is something at ``out``, or it cannot be written.
    SamplingError
        If workers of the pool die time and again, or its cluster is lost.
    """
    progress_option(progress)
    path = file_path(out)
    if table is None:
        raise SpecError("out goes with a table; of the fit's own rows take the result in memory.")
    chosen = other_pool(pool, 1)
    parts, spec = open_parts(table), fitted_spec(tree)
    optional = [name for name in writing.optional if name in parts.columns]
    needed = [name for name in sources(spec) if name != spec.response or name in optional]
    labels = [name for name in id_columns(tree) if name in parts.columns]
    labels = labels if len(labels) == len(id_columns(tree)) else []
    columns = parts.columns if writing.whole else (*needed, *labels)
    parts.require([*needed, *columns])
    job = {
        "function": writing.what,
        "arguments": dict(writing.arguments),
        "fit": _digest(tree),
        "columns": [*columns],
        "parts": [[piece.name, piece.n_rows, piece.mark] for piece in parts.pieces],
    }
    with show_progress(progress) as tell, part_folder(path, job) as folder, opened(chosen) as ready:
        writer = _Writer(
            folder=folder,
            writing=writing,
            columns=tuple(columns),
            labels=tuple(labels),
            common=parts.common_schema() if writing.whole else None,
        )
        _Course(tree, parts, writer, tell).run(ready, table)
    return path


def read_column(folder: Path, name: str) -> np.ndarray:
    """A column of numbers of all files that were written, (row,)."""
    import pyarrow.parquet as pq

    return np.asarray(pq.read_table(folder, columns=[name])[name].to_numpy())


def require_out(out: object, pool: Pool) -> None:
    """Refuse a pool without a folder that its workers write to.

    Raises
    ------
    SpecError
    """
    if out is None and pool is not None:
        raise SpecError("A pool's workers write part by part: give out, or leave out pool.")


@dataclass(frozen=True, kw_only=True, eq=False)
class _Writer:
    """What is the same for all pieces of a table.

    Attributes
    ----------
    columns
        That are read.
    labels
        Those that name rows.
    common
        The types in which all columns are written again.
    """

    folder: PartFolder
    writing: Writing
    columns: tuple[str, ...]
    labels: tuple[str, ...]
    common: "pa.Schema | None"

    def write(
        self,
        tree: xr.DataTree,
        parts: Parts,
        name: str,
        first: int,
        schema: "pa.Schema | None",
        tell: Callable[[int], None] | None = None,
    ) -> "tuple[pa.Schema | None, int]":
        """Write the file of a table's only piece, and nothing if it has no rows.

        Parameters
        ----------
        name
            Of the file.
        first
            The number of the piece's first row in the whole table.
        schema
            That of the files; None if this is the first of them.
        tell
            Called with the rows that are done as they are.

        Returns
        -------
        tuple
            The schema, and the number of rows.
        """  # fmt: skip
        results = self._results(tree, parts, first, tell)
        head = next(results, None)
        if head is None:
            return schema, 0
        typed = _typed(chain([head], results), schema or head.schema, parts.pieces[0].name)
        return schema or head.schema, self.folder.write(name, schema or head.schema, typed)

    def _results(
        self, tree: xr.DataTree, parts: Parts, first: int, tell: Callable[[int], None] | None
    ) -> "Iterator[pa.Table]":
        done = 0
        for table in parts.tables(0, self.columns, self.writing.most):
            frame = as_frame(table, parts.index, first + done)
            try:
                table = table if self.common is None else table.cast(self.common)
                frame = label_rows(frame, self.labels) if self.labels else frame
                found = self.writing.work(tree, frame, table, **self.writing.arguments)
            except DataError as error:
                raise type(error)(f"{parts.pieces[0].name}: {error}") from error
            yield _as_table(found) if isinstance(found, xr.Dataset) else found
            done += table.num_rows
            if tell is not None:
                tell(done)


def _typed(tables: "Iterable[pa.Table]", schema: "pa.Schema", origin: str) -> "Iterator[pa.Table]":
    for table in tables:
        try:
            yield table.cast(schema)
        except (ValueError, NotImplementedError) as error:
            raise DataError(
                f"{origin}: its columns have other types than those of the parts before "
                f"({error}); write all parts with the same types."
            ) from error


def _written(
    tree: xr.DataTree, writer: _Writer, piece: Parts | Loaded, *given: Any
) -> "tuple[pa.Schema | None, int]":
    """Job of a pool: one piece."""
    return writer.write(tree, piece.parts() if isinstance(piece, Loaded) else piece, *given)


def _counted(piece: Parts | Loaded, columns: tuple[str, ...]) -> int:
    """Job of a pool: rows of a piece, which only reading tells."""
    if isinstance(piece, Loaded):
        return piece.n_rows
    return sum(table.num_rows for table in piece.tables(0, columns[:1]))


class _Course:
    """The pieces of a table, until a file stands for each."""

    def __init__(
        self, tree: xr.DataTree, parts: Parts, writer: _Writer, progress: Progress
    ) -> None:
        self.tree, self.parts, self.writer, self.progress = tree, parts, writer, progress
        self.names = _file_names(parts)
        self.n_rows = [piece.n_rows for piece in parts.pieces]
        self.schema: pa.Schema | None = None
        self.finished: dict[int, int] = {}

    def run(self, pool: Pool, table: object) -> None:
        """Write what is not there yet."""
        for place, name in enumerate(self.names):
            there = self.writer.folder.written(name)
            if there is not None:
                self._finish(place, *there)
        waiting = [place for place in range(len(self.names)) if place not in self.finished]
        if pool is None:
            for place in waiting:
                self._here(place)
        else:
            self._elsewhere(waiting, pool, table)
        if self.schema is None:
            raise DataError(f"{self.parts.origin}: has no rows; give at least one.")
        for place in waiting:
            if not self.finished[place]:
                self.writer.folder.write(self.names[place], self.schema, iter(()))

    def _here(self, place: int) -> None:
        before = sum(self.finished.values())

        def tell(done: int) -> None:
            self._tell(before + done, place)

        given = self.names[place], self._first(place), self.schema, tell
        self._finish(place, *self.writer.write(self.tree, self._piece(place), *given))

    def _elsewhere(self, waiting: list[int], pool: Pool, table: object) -> None:
        """By a pool; the first piece with rows, whose types are those of all, before the others."""
        if not waiting:
            return
        pieces: list[Any] = [self._piece(place) for place in range(len(self.names))]
        if is_client(pool) and is_dask_dataframe(table):
            made = partitions(table, self.parts, self.writer.columns, pool, waiting)
            for place, piece in zip(waiting, made, strict=True):
                pieces[place] = piece
        unknown = [place for place, n in enumerate(self.n_rows) if n is None]
        counting = [delayed(_counted)(pieces[place], self.writer.columns) for place in unknown]
        for number, n in run_jobs(counting, pool):
            self.n_rows[unknown[number]] = n
        while waiting and self.schema is None:
            self._jobs(waiting[:1], pieces, pool)
            waiting = waiting[1:]
        self._jobs(waiting, pieces, pool)

    def _jobs(self, places: list[int], pieces: list[Any], pool: Pool) -> None:
        jobs = [
            delayed(_written)(
                self.tree, self.writer, pieces[place], self.names[place], self._first(place),
                self.schema,
            )
            for place in places
        ]  # fmt: skip
        for number, (schema, n) in run_jobs(jobs, pool):
            place = places[number]
            if n and self.writer.folder.written(self.names[place]) is None:
                raise StorageError(
                    f"{self.writer.folder.path}: a worker has written {self.names[place]} where "
                    "this process does not find it; give a folder that all of them see."
                )
            self._finish(place, schema, n)

    def _piece(self, place: int) -> Parts:
        return replace(self.parts, pieces=(self.parts.pieces[place],))

    def _first(self, place: int) -> int:
        """The number of a piece's first row, once those of the pieces before are known."""
        return sum(n for n in self.n_rows[:place] if n is not None)

    def _finish(self, place: int, schema: "pa.Schema | None", n: int) -> None:
        self.schema = self.schema or schema
        self.n_rows[place] = self.finished[place] = n
        self._tell(sum(self.finished.values()), place)

    def _tell(self, done: int, place: int) -> None:
        name, total = self.names[place], self.parts.n_rows
        if total is None:
            self.progress("parts", len(self.finished), len(self.names), name)
        else:
            self.progress("rows", done, total, name)


def _file_names(parts: Parts) -> list[str]:
    """What files are called: as those that are read, or by their number."""
    names = [Path(piece.name).name for piece in parts.pieces]
    files = all(name.endswith(".parquet") for name in names)
    if files and len({*names}) == len(names):
        return names
    return [f"part-{place:05d}.parquet" for place in range(len(names))]


def _digest(tree: xr.DataTree) -> str:
    """SHA-256 of the draws and the model."""
    digest = hashlib.sha256(tree.attrs["spec"].encode())
    posterior = require_group(tree, "posterior")
    for name in sorted(map(str, posterior.data_vars)):
        digest.update(json.dumps([name, *map(int, posterior[name].shape)]).encode())
        digest.update(posterior[name].values.tobytes())
    return digest.hexdigest()


def _as_table(found: xr.Dataset) -> "pa.Table":
    """What a result says of rows as an Arrow table, with their labels in the column ``row``.

    A variable of rows, clusters and quantiles has the columns ``p(k) q05``.
    """
    import pyarrow as pa

    columns: dict[str, Any] = {"row": as_labels(found.indexes[OBS])}
    for name, variable in found.data_vars.items():
        if variable.dims == (OBS, CLUSTER, "quantile"):
            of = str(name).removesuffix("_quantiles")
            for level in variable["quantile"].values.tolist():
                each = columns_of(of, variable.sel(quantile=level, drop=True))
                columns |= {f"{key} {quantile_name(level)}": one for key, one in each.items()}
        else:
            columns |= columns_of(str(name), variable)
    return pa.table({name: pa.array(values) for name, values in columns.items()})
