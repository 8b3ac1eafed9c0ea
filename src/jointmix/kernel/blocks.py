"""The blocks of a model as the kernel takes them: families, their columns, places of values."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache, partial
from types import MappingProxyType
from typing import Any

import numpy as np

from jointmix import families
from jointmix.families import protocol
from jointmix.families.compiling import Family
from jointmix.families.loops import block_length
from jointmix.families.parameters import Parameters
from jointmix.families.rows import Rows
from jointmix.kernel.records import BLOCK, Tape

#: A block's rows in tiles of so many, as `tiled` makes them.
type Tiles = Callable[[Block, int], np.ndarray]


@dataclass(frozen=True)
class Block:
    """A family, its columns, and what its setup says besides their number, or in its place.

    `aliases` are the values' names in the model, where the family has others; `parts` are names and
    numbers of the values, where the family does not say them.
    """

    name: str
    columns: tuple[int, ...]
    options: tuple[float, ...] = ()
    aliases: tuple[tuple[str, str], ...] = ()
    size: int = 0
    parts: tuple[tuple[str, int], ...] = ()

    @property
    def family(self) -> Family:
        """The family's compiled functions."""
        found: Family = families.compiled(self.name).FAMILY
        return found

    @property
    def sizes(self) -> dict[str, int]:
        """Names of a component's values, and how many there are of each."""
        if self.parts:
            return dict(self.parts)
        names = dict(self.aliases)
        return {names.get(name, name): size for name, size in self.family.values(self.n).items()}

    @property
    def n(self) -> int:
        """What the family's functions are told of their size: mostly their number of columns."""
        return self.size or len(self.columns)

    @property
    def setup(self) -> np.ndarray:
        """What all functions of the family are given first."""
        return np.array([self.n, *self.options], dtype=float)


@dataclass(frozen=True)
class Place:
    """Where a parameter stands among the values: component c's begin at first + c step."""

    first: int
    step: int
    width: int


@cache
def places(blocks: tuple[Block, ...], k: int) -> Mapping[str, Place]:
    """Places of all parameters: log weights first, then block by block, component by component."""
    found, first = {"weight": Place(0, 1, 1)}, k
    for block in blocks:
        step, place = sum(block.sizes.values()), first
        for name, width in block.sizes.items():
            found[name] = Place(place, step, width)
            place += width
        first += k * step
    return MappingProxyType(found)


@cache
def n_values(blocks: tuple[Block, ...], k: int) -> int:
    """Length of the vector of values."""
    return k * (1 + sum(sum(block.sizes.values()) for block in blocks))


def put(values: np.ndarray, place: Place, own: np.ndarray) -> None:
    """Write a parameter (..., component, *dims) into vectors of values (..., value)."""
    k = own.shape[values.ndim - 1]
    values[..., _index(place, k)] = own.reshape(*values.shape[:-1], k, place.width)


@cache
def _index(place: Place, k: int) -> np.ndarray:
    """Places of the numbers of k components, (component, number)."""
    return place.first + place.step * np.arange(k)[:, None] + np.arange(place.width)


def tiled(columns: np.ndarray, length: int) -> np.ndarray:
    """Columns (column, obs) as tiles of `length` rows and a rest, each (column, rows)."""
    n, m = columns.shape
    whole = m // length * length
    result = np.empty(n * m)
    tiles = columns[:, :whole].reshape(n, m // length, length).transpose(1, 0, 2)
    result[: n * whole].reshape(tiles.shape)[:] = tiles
    result[n * whole :] = columns[:, whole:].ravel()
    return result


def add_blocks(
    tape: Tape,
    blocks: tuple[Block, ...],
    k: int,
    tiles: Sequence[Tiles],
    n_rows: int,
    most: int = 256,
    weight: np.ndarray | None = None,
    starts: Sequence[int] | None = None,
    alternatives: int = 1,
) -> dict[str, int]:
    """Put blocks of k components on the tape, and beside it their rows; what the header says.

    Parameters
    ----------
    tiles
        Of each block.
    most
        Rows that are taken at a time, at most.
    weight
        Of the rows, (obs,); None for one each.
    starts
        Where component 0's values are, of each block; None for one block after another.
    alternatives
        Rows side by side whose densities are added: they are taken at one time.

    Returns
    -------
    dict
        Entries `n_clusters`, `n_rows`, `length`, `blocks`, `n_blocks`, `weights` and
        `alternatives`.
    """
    numbers = [(block.family, block.n) for block in blocks]
    length = min(most, block_length(k * (1 + sum(f.n_kept(n) for f, n in numbers))))
    length = alternatives * max(1, length // alternatives)
    rows: list[dict[str, Any]] = []
    ends = {"value": k, "state": 0, "summed": 0, "kept": 0}
    for block, own, (family, n) in zip(blocks, tiles, numbers, strict=True):
        sizes = {"n_values": sum(block.sizes.values()), "n_state": family.n_state(n),
                 "n_sums": family.n_sums(n), "n_kept": family.n_kept(n)}  # fmt: skip
        rows.append(
            {name: family.address(name) for name in ("prepare", "terms", "sums", "pullback")}
            | {"setup": tape.add(block.setup)}
            | {"rows": tape.beside(own(block, length))}
            | {"n_columns": len(block.columns), "n_scratch": family.n_scratch(n)}
            | sizes
            | ends
        )
        for name, size in zip(ends, sizes.values(), strict=True):
            ends[name] += k * size
    for row, start in zip(rows, starts or (), strict=False):
        row["value"] = start
    return {
        "n_clusters": k,
        "n_rows": n_rows,
        "length": length,
        "blocks": tape.table(BLOCK, rows),
        "n_blocks": len(blocks),
        "weights": 0 if weight is None else tape.beside(weight),
        "alternatives": alternatives,
    }


def tiles_of(blocks: Sequence[protocol.Compiled], rows: Rows) -> list[Tiles]:
    """The rows of blocks, made once for as long as the rows live, whatever problems have them."""
    return [partial(_kept_tiles, block, rows) for block in blocks]


def passing_tiles(block: protocol.Compiled, rows: Rows) -> Tiles:
    """The rows of a block, for as long as one problem lives."""
    return lambda _, length: tiled(block.compiled_rows(rows), length)


def _kept_tiles(block: protocol.Compiled, rows: Rows, own: Block, length: int) -> np.ndarray:
    made, key = rows.made_of_them, (replace(own, options=(), aliases=()), length)
    if key not in made:
        made[key] = tiled(block.compiled_rows(rows), length)
    return made[key]


def rows_problem(
    blocks: tuple[Block, ...], k: int, given: Sequence[protocol.Compiled], rows: Rows
) -> np.ndarray:
    """The kernel's array of rows and blocks alone, made once for as long as the rows live."""
    made = rows.made_of_them
    if (blocks, k) not in made:
        tape = Tape()
        tiles = tiles_of(given, rows)
        header = add_blocks(tape, blocks, k, tiles, len(rows.y), weight=rows.weight)
        made[blocks, k] = tape.problem(**header)
    return made[blocks, k]


def compiled_blocks(
    blocks: Sequence[protocol.Compiled], rows: Rows, parameters: Parameters
) -> tuple[Block, ...]:
    """Blocks as the kernel takes them; their columns are numbered through."""
    found, first, some = [], 0, rows.take(slice(0, 0))
    for block in blocks:
        last = first + len(block.compiled_rows(some))
        options, aliases = block.options(parameters), tuple(block.aliases.items())
        columns = tuple(range(first, last))
        size, parts = block.compiled_size, block.compiled_parts
        found.append(Block(block.family, columns, options, aliases, size, parts))
        first = last
    return tuple(found)


def compiled_values(
    blocks: Sequence[protocol.Compiled], parameters: Parameters
) -> dict[str, np.ndarray]:
    """Parameters by the names of compiled values, log weights among them."""
    given = {"weight": parameters.log_weight}
    for block in blocks:
        given |= block.compiled(parameters)
    return given


def values_of(
    parameters: Parameters, blocks: Sequence[protocol.Compiled], compiled: tuple[Block, ...]
) -> np.ndarray:
    """Parameters (draw, component, ...) as the kernel's vectors of values, (draw, value)."""
    n_draws, k = parameters.weight.shape
    given = compiled_values(blocks, parameters)
    values = np.empty((n_draws, n_values(compiled, k)))
    for name, place in places(compiled, k).items():
        put(values, place, given[name])
    return values
