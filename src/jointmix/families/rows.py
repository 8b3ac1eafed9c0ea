"""Rows by the role that their columns play."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np


@dataclass(frozen=True, eq=False)
class Rows:
    """The rows by role: x (obs, feature), u (obs, predictor), y (obs).

    ``label`` (obs) is what the table that they come from calls them, where that is asked for;
    ``offset`` (obs) is added to the line of a response that is linked to it, and of ``trials``
    (obs) a response is the successes.
    """

    x: np.ndarray
    u: np.ndarray
    y: np.ndarray
    label: np.ndarray | None = None
    offset: np.ndarray | None = None
    trials: np.ndarray | None = None

    @cached_property
    def made_of_them(self) -> dict[Any, np.ndarray]:
        """Arrays that are made of these rows once, by what they are for."""
        return {}

    def parts(self, size: int) -> Iterator["Rows"]:
        """The rows, so many at a time."""
        for first in range(0, len(self.y), size):
            yield self.take(slice(first, first + size))

    def take(self, index: np.ndarray | slice) -> "Rows":
        """Some of the rows."""
        label = None if self.label is None else self.label[index]
        offset = None if self.offset is None else self.offset[index]
        trials = None if self.trials is None else self.trials[index]
        return Rows(self.x[index], self.u[index], self.y[index], label, offset, trials)
