"""What a fit says of the rows of a table in parts, written part by part as Parquet."""

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd
import xarray as xr

from jointmix.base.arguments import file_path, progress_option
from jointmix.base.errors import DataError, SpecError
from jointmix.base.progress import Progress, ProgressOption, show_progress
from jointmix.base.schema import CLUSTER, OBS, require_group
from jointmix.model.designed import sources
from jointmix.posterior.draws import fitted_spec, id_columns
from jointmix.posterior.wide import columns_of, quantile_name
from jointmix.storage.part_folders import PartFolder, part_folder
from jointmix.tables.labels import as_labels
from jointmix.tables.part_sources import open_parts
from jointmix.tables.parts import ROWS_AT_A_TIME, Parts, as_frame
from jointmix.tables.reading import label_rows

if TYPE_CHECKING:
    import pyarrow as pa

#: Rows for pandas and as they were read, to what is written of them.
Work = Callable[[pd.DataFrame, "pa.Table"], "pa.Table"]


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
        Gives the rows of the result.
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
) -> Path:
    """Write a file of results for each piece of a table, and return their folder.

    Raises
    ------
    SpecError
        If there is no table.
    DataError, ColumnTypeError
        If the table cannot be read or lacks what the model needs, naming the part.
    StorageError
        If there is something at ``out``, or it cannot be written.
    """
    progress_option(progress)
    path = file_path(out)
    if table is None:
        raise SpecError("out goes with a table; of the fit's own rows take the result in memory.")
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
    with show_progress(progress) as tell, part_folder(path, job) as folder:
        _Run(parts, folder, writing, tuple(columns), tuple(labels), tell).all()
    return path


class _Run:
    """One pass over the pieces of a table."""

    def __init__(
        self,
        parts: Parts,
        folder: PartFolder,
        writing: Writing,
        columns: tuple[str, ...],
        labels: tuple[str, ...],
        progress: Progress,
    ) -> None:
        self.parts, self.folder, self.writing = parts, folder, writing
        self.columns, self.labels, self.progress = columns, labels, progress
        self.schema: pa.Schema | None = None
        self.done = 0
        self.common = parts.common_schema() if writing.whole else None

    def all(self) -> None:
        names = _file_names(self.parts)
        empty = []
        for place, name in enumerate(names):
            there = self.folder.written(name)
            if there is not None:
                self.schema, self.done = there[0], self.done + there[1]
                self._tell(place + 1, name)
                continue
            results = self._results(place)
            head = next(results, None)
            if head is None:
                empty.append(name)
                continue
            self.schema = self.schema or head.schema
            self.folder.write(name, self.schema, self._typed(head, results, place, name))
            self._tell(place + 1, name)
        if self.schema is None:
            raise DataError(f"{self.parts.origin}: has no rows; give at least one.")
        for name in empty:
            self.folder.write(name, self.schema, iter(()))

    def _results(self, place: int) -> "Iterator[pa.Table]":
        piece = self.parts.pieces[place]
        for table in self.parts.tables(place, self.columns, self.writing.most):
            frame = as_frame(table, self.parts.index, self.done)
            try:
                table = table if self.common is None else table.cast(self.common)
                frame = label_rows(frame, self.labels) if self.labels else frame
                yield self.writing.work(frame, table)
            except DataError as error:
                raise type(error)(f"{piece.name}: {error}") from error
            self.done += table.num_rows

    def _typed(
        self, head: "pa.Table", rest: "Iterator[pa.Table]", place: int, name: str
    ) -> "Iterator[pa.Table]":
        table: pa.Table | None = head
        while table is not None:
            try:
                yield table.cast(self.schema)
            except (ValueError, NotImplementedError) as error:
                raise DataError(
                    f"{self.parts.pieces[place].name}: its columns have other types than those of "
                    f"the parts before ({error}); write all parts with the same types."
                ) from error
            self._tell(place, name)
            table = next(rest, None)

    def _tell(self, place: int, name: str) -> None:
        total = self.parts.n_rows
        if total is None:
            self.progress("parts", place, len(self.parts.pieces), name)
        else:
            self.progress("rows", self.done, total, name)


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


def as_table(found: xr.Dataset) -> "pa.Table":
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
