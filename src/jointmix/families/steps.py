"""What EM's M-step is given, and what scores are."""

from dataclasses import dataclass
from functools import cache, cached_property, partial

import numpy as np

from jointmix.base.threads import on_cores, row_parts
from jointmix.families.parameters import Parameters
from jointmix.families.rows import Rows
from jointmix.families.specified import Scaled

#: Products of rows that are held, at most, and rows whose products are made at a time else.
_HELD, _ROWS = 4_000_000, 4096


@cache
def _triangle(width: int) -> tuple[np.ndarray, np.ndarray]:
    return np.triu_indices(width)


@dataclass(frozen=True, eq=False)
class Products:
    """The upper triangle of each row's w w', w = (1, columns), with zeros for missing entries.

    Those of few rows are held; of many they would be several times the rows, and are made anew, a
    few at a time, whenever they are added up.

    Attributes
    ----------
    values
        Columns, (obs, column).
    """

    values: np.ndarray

    @cached_property
    def held(self) -> np.ndarray | None:
        """All of them, (obs, pair); None of many rows."""
        width = 1 + self.values.shape[1]
        if len(self.values) * width * (width + 1) // 2 > _HELD:
            return None
        return self.made(slice(None)).T

    def made(self, some: slice) -> np.ndarray:
        """Those of some rows, (pair, row)."""
        rows = self.values[some].T
        w = np.ones((1 + len(rows), rows.shape[1]))
        w[1:] = np.nan_to_num(rows, nan=0.0) if self._has_gaps else rows
        found, first = np.empty((len(w) * (len(w) + 1) // 2, rows.shape[1])), 0
        for i, column in enumerate(w):
            np.multiply(column, w[i:], out=found[first : first + len(w) - i])
            first += len(w) - i
        return found

    @cached_property
    def _has_gaps(self) -> bool:
        return bool(np.isnan(self.values).any())

    def summed(self, weight: np.ndarray) -> np.ndarray:
        """Sums of w w' over rows with weights (start, cluster, obs), (start, cluster, …, …)."""
        width = 1 + self.values.shape[1]
        flat = weight.reshape(-1, len(self.values))
        if self.held is not None:
            total = flat @ self.held
        else:
            total = sum(on_cores(partial(self._summed, flat), row_parts(len(self.values), _ROWS)))
        i, j = _triangle(width)
        result = np.empty((len(flat), width, width))
        result[:, i, j] = result[:, j, i] = total
        return result.reshape(*weight.shape[:2], width, width)

    def _summed(self, flat: np.ndarray, part: slice) -> np.ndarray:
        """Those of one part of the rows, (weight, pair)."""
        total = 0.0
        for first in range(part.start, part.stop, _ROWS):
            some = slice(first, min(first + _ROWS, part.stop))
            total = total + flat[:, some] @ self.made(some).T
        return np.asarray(total)

    def take(self, place: np.ndarray) -> "Products":
        """Those of some rows."""
        return Products(self.values[place])


@dataclass(frozen=True, eq=False)
class Step:
    """What an M-step is given: the standardised rows, and who holds them.

    Attributes
    ----------
    rows, values
        By role, and all columns (obs, column), standardised.
    products
        Of each row's w = (1, columns) with itself.
    scaling
        Of the columns.
    share
        Responsibilities times the rows' weights, (start, cluster, obs).
    previous
        The parameters that they come from; None for the allocations that EM starts with.
    expected
        `second` of rows with missing entries; None where there are none.
    """

    rows: Rows
    values: np.ndarray
    products: Products
    scaling: Scaled
    share: np.ndarray
    previous: Parameters | None
    expected: np.ndarray | None = None

    @cached_property
    def count(self) -> np.ndarray:
        """Expected rows of each cluster, (start, cluster)."""
        return np.maximum(self.second[..., 0, 0], 1e-10)

    @cached_property
    def second(self) -> np.ndarray:
        """Second moments of w, weighted by responsibilities: (start, cluster, 1 + column, …)."""
        return self.moments(self.share) if self.expected is None else self.expected

    @cached_property
    def average(self) -> np.ndarray:
        """`second` over `count`."""
        return self.second / self.count[..., None, None]

    def moments(self, weight: np.ndarray) -> np.ndarray:
        """Sums of w w' over rows with weights (start, cluster, obs)."""
        return self.products.summed(weight)


@dataclass(frozen=True, eq=False)
class Scores:
    """Derivatives of each row's log density of one block, times the row's responsibilities.

    Attributes
    ----------
    location
        By parameter, (obs, cluster, entry), in the parameter's own units.
    rest
        In the free scales and shapes, on log scales, (obs, value).
    """

    location: dict[str, np.ndarray]
    rest: np.ndarray
