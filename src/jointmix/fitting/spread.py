"""A table whose parts lie with the workers of a Dask cluster, and the sample that a fit holds.

EM, labels, checks and pictures use the sample; scales, modes, their curvature and the densities of
candidates are sums over all parts, so that the posterior is that of all rows.
"""

import hashlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd
from narwhals.dependencies import is_dask_dataframe, is_polars_lazyframe

from jointmix.base.clusters import held, memory_of, of_parts
from jointmix.base.errors import DataError, MemoryLimitError
from jointmix.families.parameters import Parameters
from jointmix.fitting import held as worker
from jointmix.model.dataset import Dataset, inspect_table, make_dataset
from jointmix.model.designed import may_be_levels, sources, with_ends
from jointmix.model.scaling import Known, model_scaling
from jointmix.model.settings import SamplerSpec
from jointmix.model.spec import ModelSpec
from jointmix.tables import loaded as loading
from jointmix.tables.gathering import bytes_while_read
from jointmix.tables.issues import Issue
from jointmix.tables.part_sources import in_parts, open_parts
from jointmix.tables.parts import Parts

#: Rows of the sample, at most.
SAMPLE_ROWS = 50_000
#: Samplers that ask for log densities of candidates alone.
_OF_SUMS = ("auto", "independence", "laplace")


class Spread:
    """Rows in parts with the workers of a cluster; see `jointmix.model.elsewhere.Elsewhere`.

    Parameters
    ----------
    parts
        Futures of `held.Held`.
    found
        What was counted of each part.
    client
        That of the cluster.
    """

    def __init__(self, parts: list[Any], found: Sequence[worker.Counted], client: Any) -> None:
        self._parts, self._client = parts, client
        self.n_rows = sum(each.n for each in found)
        self.total = float(sum(each.total for each in found))

    @property
    def n_parts(self) -> int:
        """How many."""
        return len(self._parts)

    @cached_property
    def log_jacobian(self) -> float:
        """What to add to their log likelihood on the model's scale for the users' scale."""
        return float(sum(self._of_parts(worker.log_jacobian)))

    def log_likelihoods(self, points: np.ndarray) -> np.ndarray:
        """Of points (point, dim), (point,)."""
        return np.asarray(sum(self._of_parts(worker.log_likelihoods, points)))

    def gradient(self, point: np.ndarray) -> tuple[float, np.ndarray]:
        """The log likelihood at a point (dim,), and its gradient (dim,)."""
        found = self._of_parts(worker.gradient, point)
        return float(sum(value for value, _ in found)), np.asarray(sum(own for _, own in found))

    def curvature(self, point: np.ndarray) -> np.ndarray:
        """Its negative Hessian at a point (dim,), (dim, dim)."""
        return np.asarray(sum(self._of_parts(worker.bend, point)))

    def log_densities(self, parameters: Parameters) -> dict[str, float]:
        """Sums over rows of log p(x, y) and log p(x), at parameters on the users' scale."""
        found = self._of_parts(worker.log_densities, parameters)
        return {name: sum(each[name] for each in found) for name in ("joint", "feature")}

    def _of_parts(self, function: Any, *given: Any) -> list[Any]:
        # Sums are of the same parts in the same order, whoever holds them.
        return of_parts(function, self._parts, self._client, *given)


def takes_sums(settings: SamplerSpec) -> bool:
    """Whether a sampler asks for sums of log densities alone, which workers take by the kernel."""
    return settings.sampler in _OF_SUMS and not settings.scouts and settings.backend != "jax"


def lies_with_workers(table: object) -> bool:
    """Whether workers of a cluster can hold a table's parts, each its own; nothing is opened."""
    return in_parts(table) and not is_polars_lazyframe(table)


def spread_dataset(table: object, spec: ModelSpec, client: Any) -> Dataset:
    """A sample of a table's rows, with all of them elsewhere.

    Parameters
    ----------
    table
        One that `lies_with_workers`: a Parquet file or folder that they find at the same place, a
        pyarrow Dataset, or a Dask DataFrame.
    client
        Of a Dask cluster.

    Raises
    ------
    DataError, ColumnTypeError
        As `make_dataset` does; or of a part, by its name.
    SamplingError
        If the cluster is lost.
    """
    return spread_beside(table, spec, client, None)[0]


def spread_beside(
    table: object, spec: ModelSpec, client: Any, column: str | None
) -> tuple[Dataset, np.ndarray | None]:
    """As `spread_dataset`, with what a further column holds in the rows of the sample, (obs,)."""
    parts, loaded, counts = _opened(table, spec, client, column)
    frame, place = _sample(parts, loaded, counts, spec, client)
    dataset = make_dataset(frame, spec)
    beside = None if column is None else frame[column].to_numpy()[dataset.row]
    dataset = replace(dataset, row=place[dataset.row])
    numbers = held(worker.converted, loaded, client, dataset.spec)
    found = [each for each in of_parts(worker.counted, numbers, client) if each is not None]
    scaling = model_scaling(dataset.values, dataset.spec, dataset.users_rows.weight, _known(found))
    own = held(worker.scaled, numbers, client, scaling)
    return _of_all(dataset, sum(counts), own, found, spec, client).scaled_by(scaling), beside


def _of_all(
    dataset: Dataset,
    n_rows: int,
    parts: list[Any],
    found: Sequence[worker.Counted],
    spec: ModelSpec,
    client: Any,
) -> Dataset:
    """A sample's dataset with what was counted of all rows."""
    missing: Counter[str] = Counter()
    for each in found:
        missing.update(each.missing)
    digests = "".join(each.digest for each in found)
    return replace(
        dataset,
        n_rows=n_rows,
        missing={name: missing[name] for name in sources(spec) if missing[name]},
        digest=hashlib.sha256(digests.encode()).hexdigest(),
        n_zeros=sum(each.n_zeros for each in found),
        elsewhere=Spread(parts, found, client),
    )


def inspect_spread(
    table: object, spec: ModelSpec, client: Any
) -> tuple[Dataset | None, list[Issue], int | None]:
    """As `inspect_table`: errors of all rows, and what else is worth knowing of a sample.

    Returns
    -------
    dataset
        The sample's, with what is counted of all rows; None where an issue is an error.
    issues
        Their rows are numbers in the whole table.
    n_rows
        Rows that would be fitted; None where the sample's errors leave that open.

    Raises
    ------
    DataError, SamplingError
        If it has no rows, or the cluster is lost.
    """
    parts, loaded, counts = _opened(table, spec, client)
    frame, place = _sample(parts, loaded, counts, spec, client)
    dataset, found = inspect_table(frame, spec)
    issues = [_of_row(each, place) for each in found]
    if dataset is None:
        return None, issues, None
    looked = of_parts(worker.looked_at, loaded, client, dataset.spec)
    for each, first, n in zip(looked, np.cumsum([0, *counts]), counts, strict=False):
        issues += [_of_row(issue, first + np.arange(n)) for issue in each.errors]
    if any(each.errors for each in looked):
        return None, issues, None
    counted = [each.counted for each in looked if each.counted is not None]
    dataset = replace(dataset, row=place[dataset.row])
    whole = _of_all(dataset, sum(counts), [], counted, spec, client)
    return whole, issues, sum(each.n for each in counted)


def _of_row(issue: Issue, numbers: np.ndarray) -> Issue:
    return issue if issue.row is None else replace(issue, row=int(numbers[issue.row]))


def _opened(
    table: object, spec: ModelSpec, client: Any, column: str | None = None
) -> tuple[Parts, list[Any], list[int]]:
    """A table in parts, futures of them with workers, and how many rows each has."""
    named = (*sources(spec), spec.row_weights, column)
    columns = tuple(dict.fromkeys(name for name in named if name is not None))
    parts = open_parts(table)
    parts.require(columns)
    _require_room(parts, len(columns), client)
    loaded = _loaded(table, parts, columns, client)
    return parts, loaded, of_parts(loading.n_rows, loaded, client)


def _require_room(parts: Parts, n_columns: int, client: Any) -> None:
    """Refuse rows that workers have no room for, where these have limits and rows are counted.

    Raises
    ------
    MemoryLimitError
        Saying how much there is of what is needed.
    """
    limits, counts = memory_of(client), [piece.n_rows or 0 for piece in parts.pieces]
    if len(limits) < len(client.ncores()):
        return
    needed = bytes_while_read(sum(counts), n_columns)
    largest = bytes_while_read(max(counts), n_columns)
    if needed > sum(limits):
        raise MemoryLimitError(
            f"{parts.origin}: {sum(counts):,} rows of {n_columns} columns take "
            f"{needed / 2**30:.1f} GiB with a cluster's workers, which may take "
            f"{sum(limits) / 2**30:.1f} GiB together; add workers, or take fewer parts."
        )
    if largest > max(limits):
        name = parts.pieces[int(np.argmax(counts))].name
        raise MemoryLimitError(
            f"{name}: {max(counts):,} rows take {largest / 2**30:.1f} GiB with one worker, which "
            f"may take {max(limits) / 2**30:.1f} GiB; write smaller parts."
        )


def _loaded(table: Any, parts: Parts, columns: tuple[str, ...], client: Any) -> list[Any]:
    """Futures of the parts as they are read, each by a worker."""
    if is_dask_dataframe(table):
        return loading.partitions(table, parts, columns, client, range(len(parts.pieces)))
    # In turn, as all that is asked of a part later is done where it lies.
    workers = sorted(client.ncores())
    return [
        client.submit(
            loading.load, replace(parts, pieces=(piece,)), columns, pure=False,
            workers=workers[place % len(workers)], allow_other_workers=True,
        )
        for place, piece in enumerate(parts.pieces)
    ]  # fmt: skip


def _sample(
    parts: Parts, loaded: list[Any], counts: list[int], spec: ModelSpec, client: Any
) -> tuple[pd.DataFrame, np.ndarray]:
    """Rows at random, always the same, and their numbers in the whole table.

    Some of each level are among them, however rare it is, and the ends of what has knots.
    """
    n = sum(counts)
    if n == 0:
        raise DataError(f"{parts.origin}: has no rows; give at least one.")
    place, edges = np.arange(n), np.cumsum([0, *counts])
    if n > SAMPLE_ROWS:
        place = np.random.default_rng(0).choice(n, SAMPLE_ROWS, replace=False)
        given = may_be_levels(spec), with_ends(spec), spec.row_weights
        found = of_parts(loading.notable, loaded, client, *given)
        place = np.union1d(place, loading.notable_rows(found, edges[:-1].tolist()))
    taken = []
    for part, first, last in zip(loaded, edges, edges[1:], strict=False):
        own = place[slice(*np.searchsorted(place, [first, last]))] - first
        if len(own):
            taken += of_parts(loading.rows_at, [part], client, own)
    frame = loading.together(taken).frame()
    if not parts.index:
        frame.index = pd.Index(place)
    return frame, place


def _known(found: Sequence[worker.Counted]) -> Known:
    """What the scale of all rows depends on."""
    there = np.array([each.there for each in found])
    centers, squares = (
        np.array([getattr(each, name) for each in found]) for name in ("center", "square")
    )
    total = np.maximum(there.sum(axis=0), 1e-300)
    center = (there * centers).sum(axis=0) / total
    square = (squares + there * (centers - center) ** 2).sum(axis=0)
    line = np.concatenate([each.line for each in found])
    return Known(center, np.sqrt(square / total), line)
