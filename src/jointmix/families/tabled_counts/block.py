"""A feature of spread counts as the kernel takes it: each count that occurs is worked out once."""

from collections.abc import Mapping, Sequence
from typing import ClassVar, Protocol

import numpy as np
from scipy.special import gammaln

from jointmix.families.parameters import Parameters
from jointmix.families.protocol import Compiled
from jointmix.families.rows import Rows
from jointmix.families.specified import Specified


class Counted(Compiled, Protocol):
    """A feature of counts."""

    def counts(self, rows: Rows) -> np.ndarray: ...


class TabledCounts:
    """Counts by their places among those that occur; of the place behind them none is known.

    Parameters
    ----------
    block
        The feature.
    value
        Counts that occur, in order, (value,).
    """

    family: ClassVar[str] = "tabled_counts"
    of_response: ClassVar[bool] = False
    compiled_parts: ClassVar[tuple[tuple[str, int], ...]] = ()

    def __init__(self, block: Counted, value: np.ndarray) -> None:
        self.block, self.value = block, value

    @property
    def spec(self) -> Specified:
        """The model's."""
        return self.block.spec

    @property
    def aliases(self) -> Mapping[str, str]:
        """A rate's and a size's."""
        return self.block.aliases

    @property
    def compiled_size(self) -> int:
        """How many counts occur."""
        return len(self.value)

    def options(self, parameters: Parameters) -> tuple[float, ...]:
        """The counts, and −log n! of each."""
        del parameters
        return (*self.value.tolist(), *(-gammaln(self.value + 1)).tolist())

    def compiled(self, parameters: Parameters) -> dict[str, np.ndarray]:
        """Rates and sizes."""
        return self.block.compiled(parameters)

    def compiled_rows(self, rows: Rows) -> np.ndarray:
        """Places of the rows' counts as whole numbers in the bits of doubles, (1, obs)."""
        n, known = self.block.counts(rows)
        place = np.where(known > 0, np.searchsorted(self.value, n), len(self.value))
        return place.astype(np.uint64).view(np.float64)[None]

    def reduction(self, present: np.ndarray) -> tuple[float, ...] | None:
        """It stays as it is without other features."""
        return self.block.reduction(present)

    def marginal(
        self, rows: Rows, parameters: Parameters, present: np.ndarray
    ) -> tuple[Rows, dict[str, np.ndarray]] | None:
        """Itself."""
        return self.block.marginal(rows, parameters, present)


def tabled(block: Counted, rows: Rows, most: int) -> Sequence[TabledCounts]:
    """The feature of these rows by its table; nothing where more than ``most`` counts occur."""
    n, known = block.counts(rows)
    value = np.unique(n[known > 0])
    return (TabledCounts(block, value),) if 0 < len(value) <= most else ()
