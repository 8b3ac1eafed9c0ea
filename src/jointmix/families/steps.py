"""What EM's M-step is given, and what scores are."""

from dataclasses import dataclass
from functools import cache, cached_property

import numpy as np

from jointmix.families.parameters import Parameters
from jointmix.families.rows import Rows
from jointmix.families.specified import Scaled


@cache
def _triangle(width: int) -> tuple[np.ndarray, np.ndarray]:
    return np.triu_indices(width)


@dataclass(frozen=True, eq=False)
class Step:
    """What an M-step is given: the standardised rows, and who holds them.

    Attributes
    ----------
    rows, values
        By role, and all columns (obs, column), standardised.
    outer
        Upper triangle of each row's w w' with w = (1, columns), (obs, pair).
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
    outer: np.ndarray
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
        width = 1 + self.values.shape[1]
        flat = weight.reshape(-1, len(self.values)) @ self.outer
        i, j = _triangle(width)
        result = np.empty((len(flat), width, width))
        result[:, i, j] = result[:, j, i] = flat
        return result.reshape(*weight.shape[:2], width, width)


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
