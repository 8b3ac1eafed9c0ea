"""Features of levels that the kernel takes together: their rows by cells of several features.

Of features with a few levels each a table of all their combinations is short, and holds sums of
log probabilities: one look-up serves several features, and so does one count of responsibilities.
"""

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import ClassVar, Protocol

import numpy as np

from jointmix.families.parameters import Parameters
from jointmix.families.protocol import Compiled
from jointmix.families.rows import Rows
from jointmix.families.specified import Specified

#: Bits of a cell's number, and how many numbers a double holds. It is a number as long as there are
#: no more than 30,000 cells.
_BITS, _PACKED = 16, 4
#: Cells of a group, at most, and rows for each: filling and emptying a table is work too.
_MOST_OF_GROUP, _ROWS_A_CELL = 256, 8


class Coded(Compiled, Protocol):
    """A feature of levels."""

    @property
    def name(self) -> str: ...
    def codes(self, rows: Rows) -> np.ndarray: ...


class JointLevels:
    """Features of levels as one block of the kernel.

    A cell is a combination of the levels of a group of features, or of none known; cells of all
    groups are numbered through, and a row's numbers are packed four to a double.

    Parameters
    ----------
    blocks
        Of the features.
    n_rows
        For how many rows.
    """

    family: ClassVar[str] = "joint_levels"
    of_response: ClassVar[bool] = False
    aliases: ClassVar[Mapping[str, str]] = MappingProxyType({})

    def __init__(self, blocks: Sequence[Coded], n_rows: int) -> None:
        self.blocks = tuple(blocks)
        self.groups: list[list[Coded]] = []
        most, cells = min(_MOST_OF_GROUP, n_rows // _ROWS_A_CELL), 1
        for block in self.blocks:
            states = block.compiled_size + 1
            cells *= states
            if not self.groups or cells > most:
                self.groups.append([])
                cells = states
            self.groups[-1].append(block)

    @property
    def spec(self) -> Specified:
        """The model's."""
        return self.blocks[0].spec

    @property
    def compiled_size(self) -> int:
        """The number of cells."""
        return sum(_cells(group) for group in self.groups)

    @property
    def compiled_parts(self) -> tuple[tuple[str, int], ...]:
        """A name and a number of levels for each feature."""
        return tuple((block.name, block.compiled_size) for block in self.blocks)

    def options(self, parameters: Parameters) -> tuple[float, ...]:
        """Numbers of features and groups, each feature's levels, each group's features."""
        del parameters
        levels = [float(block.compiled_size) for block in self.blocks]
        sizes = [float(len(group)) for group in self.groups]
        return (float(len(levels)), float(len(sizes)), *levels, *sizes)

    def compiled(self, parameters: Parameters) -> dict[str, np.ndarray]:
        """Logs of probabilities."""
        found: dict[str, np.ndarray] = {}
        for block in self.blocks:
            found |= block.compiled(parameters)
        return found

    def compiled_rows(self, rows: Rows) -> np.ndarray:
        """The numbers of each row's cells, packed: (column, obs)."""
        n_columns = -(-len(self.groups) // _PACKED)
        packed, first = np.zeros((n_columns, len(rows.y)), dtype=np.uint64), 0
        for place, group in enumerate(self.groups):
            number, width = np.full(len(rows.y), first), 1
            for block in group:
                number += width * block.codes(rows)
                width *= block.compiled_size + 1
            column, shift = divmod(place, _PACKED)
            packed[column] |= number.astype(np.uint64) << np.uint64(_BITS * shift)
            first += width
        return packed.view(np.float64)

    def reduction(self, present: np.ndarray) -> tuple[float, ...] | None:
        """They stay as they are without other features."""
        del present
        return None

    def marginal(
        self, rows: Rows, parameters: Parameters, present: np.ndarray
    ) -> tuple[Rows, dict[str, np.ndarray]] | None:
        """Themselves, as each of them."""
        found: dict[str, np.ndarray] = {}
        reduced = rows
        for block in self.blocks:
            own = block.marginal(rows, parameters, present)
            assert own is not None
            reduced, found = own[0], found | own[1]
        return reduced, found


def _cells(group: Sequence[Coded]) -> int:
    return int(np.prod([block.compiled_size + 1 for block in group]))
