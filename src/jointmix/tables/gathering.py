"""The columns that are needed of a table in parts, as compact arrays."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from jointmix.base.errors import DataError, MemoryLimitError
from jointmix.base.machine import available
from jointmix.tables.issues import quoted
from jointmix.tables.parts import Parts, as_frame, holds_text

if TYPE_CHECKING:
    import pyarrow as pa

#: Bytes an entry while columns become the arrays of a fit and are screened, as measured.
_BYTES = 8 * 7


def gathered(parts: Parts, columns: Sequence[str], step: int = 1) -> pd.DataFrame:
    """Some columns of all parts, one after the other.

    Numbers become float64 (float32 where all are), texts share one object for each different one,
    and categories have the levels of all parts, in the order in which these appear.

    Parameters
    ----------
    step
        One row of so many is taken, at random but always the same: evenly spaced ones could miss
        what comes in turns.

    Raises
    ------
    DataError
        If a part lacks a column or holds it as something else, cannot be read, there are no rows,
        or ordered categories contradict one another.
    MemoryLimitError
        If the columns would not fit into memory.
    """
    parts.require(columns)
    if step == 1:
        _require_room(parts, columns)
    found = {name: _Column(name) for name in dict.fromkeys(columns)}
    numbers: list[pd.Index] = []
    known = parts.n_rows if step == 1 else None
    first = 0
    for place, piece in enumerate(parts.pieces):
        for table in parts.tables(place, columns):
            chosen = table
            if step > 1:
                drawn = np.random.default_rng([first]).random(table.num_rows) * step < 1
                chosen = table.filter(drawn)
                numbers.append(pd.Index(first + np.flatnonzero(drawn)))
            elif parts.index:
                numbers.append(as_frame(chosen.select(parts.index), parts.index, first).index)
            for name, column in found.items():
                column.add(chosen.column(name), piece.name, known)
            first += table.num_rows
        _let_go()
    if not first:
        raise DataError(f"{parts.origin}: has no rows; give at least one.")
    index = numbers[0].append(numbers[1:]) if numbers else pd.RangeIndex(first)
    arrays = {name: found[name].whole() for name in columns}
    return pd.DataFrame(arrays, index=index, copy=False)


def _let_go() -> None:
    """Give back what pyarrow keeps of the memory in which a piece was read."""
    import pyarrow as pa

    pa.default_memory_pool().release_unused()


def _require_room(parts: Parts, columns: Sequence[str]) -> None:
    lack = lack_of_room(parts, columns)
    if lack is not None:
        raise MemoryLimitError(f"{lack[0]}; take fewer parts, or a sample of the rows.")


def bytes_while_read(n_rows: int, n_columns: int) -> int:
    """What rows take while they become the arrays of a fit."""
    return n_rows * n_columns * _BYTES


def lack_of_room(parts: Parts, columns: Sequence[str]) -> tuple[str, int] | None:
    """What would not fit into memory, a clause, and of how many rows one could be; else None.

    Of a table whose rows are not counted before they are read nobody knows.
    """
    n, free = parts.n_rows, max(available(), 0.0)
    needed = 0 if n is None else bytes_while_read(n, len(columns))
    if needed <= free:
        return None
    clause = (
        f"{parts.origin}: {n:,} rows of {len(columns)} columns take {needed / 2**30:.1f} GiB while "
        f"they are read and {free / 2**30:.1f} GiB are free"
    )
    return clause, int(min(needed // max(free, 1.0) + 1, n or 1))


def missing_counts(parts: Parts, columns: Sequence[str]) -> dict[str, int]:
    """Missing entries of columns in all rows, of which a few at a time are in memory."""
    found = dict.fromkeys(columns, 0)
    for place in range(len(parts.pieces)):
        for table in parts.tables(place, columns):
            for name in columns:
                found[name] += int(table.column(name).is_null(nan_is_null=True).to_pandas().sum())
    return found


class _Column:
    """Entries of one column as they come, in as few bytes as they can be read back from."""

    def __init__(self, name: str) -> None:
        self.name = name
        self._numbers: np.ndarray | None = None
        self._filled = 0
        self._rest: list[Any] = []
        self._codes: list[np.ndarray] = []
        self._levels: dict[Any, int] = {}
        self._known: dict[tuple[Any, ...], np.ndarray] = {}
        self._category = self._ordered = False

    def add(self, entries: "pa.ChunkedArray", piece: str, n_rows: int | None) -> None:
        import pyarrow as pa

        kind = entries.type
        if pa.types.is_null(kind) and (self._codes or self._rest):
            self._add_missing(len(entries))
        elif pa.types.is_null(kind):
            self._add_numbers(np.full(len(entries), np.nan), n_rows)
        elif pa.types.is_integer(kind) or pa.types.is_floating(kind):
            self._refuse_clash(bool(self._codes or self._rest), piece)
            self._add_numbers(entries.to_numpy(), n_rows)
        elif pa.types.is_dictionary(kind) or holds_text(kind):
            self._refuse_clash(bool(self._rest), piece)
            self._only_missing_before(piece)
            self._add_levels(entries, piece)
        else:
            self._refuse_clash(bool(self._codes), piece)
            self._only_missing_before(piece)
            self._rest.append(entries.to_pandas())

    def _add_missing(self, n: int) -> None:
        if self._codes:
            self._codes.append(np.full(n, -1, dtype=np.int32))
        else:
            self._rest.append(pd.Series([None] * n, dtype=object))

    def _only_missing_before(self, piece: str) -> None:
        """What was taken for numbers was missing, and so fits whatever comes."""
        if self._numbers is None:
            return
        n, self._numbers = self._filled, self._numbers[: self._filled]
        self._refuse_clash(not np.isnan(self._numbers).all(), piece)
        self._numbers = None
        if n:
            self._codes.append(np.full(n, -1, dtype=np.int32))

    def _refuse_clash(self, clash: bool, piece: str) -> None:
        if clash:
            raise DataError(
                f"{piece}: column {quoted(self.name)} holds something else than in the parts "
                "before; write all parts with the same types."
            )

    def _add_numbers(self, values: np.ndarray, n_rows: int | None) -> None:
        kind = np.float32 if values.dtype == np.float32 else np.float64
        end = self._filled + len(values)
        if self._numbers is None:
            self._numbers = np.empty(n_rows or 2 * len(values), dtype=kind)
        if end > len(self._numbers) or (kind is np.float64 and self._numbers.dtype != kind):
            wider = np.result_type(self._numbers.dtype, kind)
            grown = np.empty(max(len(self._numbers), 2 * end if n_rows is None else end), wider)
            grown[: self._filled] = self._numbers[: self._filled]
            self._numbers = grown
        self._numbers[self._filled : end] = values
        self._filled = end

    def _add_levels(self, entries: "pa.ChunkedArray", piece: str) -> None:
        import pyarrow as pa

        is_category = pa.types.is_dictionary(entries.type)
        # Views of texts have no codes.
        coded = entries if is_category else entries.cast(pa.large_string()).dictionary_encode()
        if not self._levels:
            self._category = is_category
        self._category &= is_category
        for chunk in coded.chunks:
            levels = tuple(chunk.dictionary.to_pylist())
            if is_category and chunk.type.ordered:
                self._ordered = True
                self._require_order(levels, piece)
            if levels not in self._known:
                places = [self._levels.setdefault(each, len(self._levels)) for each in levels]
                self._known[levels] = np.array([*places, -1], dtype=np.int32)
            place = chunk.indices.fill_null(len(levels)).to_numpy(zero_copy_only=False)
            self._codes.append(self._known[levels][place])

    def _require_order(self, levels: tuple[Any, ...], piece: str) -> None:
        known = [each for each in levels if each in self._levels]
        if known != sorted(known, key=self._levels.__getitem__):
            raise DataError(
                f"{piece}: the ordered categories of column {quoted(self.name)} stand in another "
                "order than in the parts before; give all parts the same order."
            )

    def whole(self) -> Any:
        """All entries, as pandas would have read them at once, or in fewer bytes."""
        if self._numbers is not None:
            return self._numbers[: self._filled]
        if self._rest:
            missing = sum(map(len, self._codes))
            self._rest.insert(0, pd.Series([None] * missing, dtype=object))
            return pd.concat(self._rest, ignore_index=True).array
        codes, levels = np.concatenate(self._codes), list(self._levels)
        if self._category:
            return pd.Categorical.from_codes(
                codes, categories=pd.Index(levels), ordered=self._ordered
            )
        return np.array([*levels, None], dtype=object)[codes]
