"""What responses share the log of whose mean is a line."""

from typing import Any

import numpy as np

from jointmix.families.limits import MOST_EXPONENT
from jointmix.families.linked import Linked
from jointmix.families.rows import Rows


class LogLinked(Linked):
    """A response with mean exp(η), η = b_k + u'θ_k + offset; the offset is a log exposure."""

    @property
    def line_of(self) -> str:
        """The log of the mean."""
        return "log of the expected response"

    @property
    def ratio(self) -> str:
        """Exponentials of differences of logs of means."""
        return "ratio of means"

    def level(
        self, y: np.ndarray, offset: np.ndarray, weight: np.ndarray, trials: np.ndarray | None
    ) -> float:
        """The log of all responses over all exposure."""
        del trials
        return float(np.log(np.average(y, weights=weight)) - self.common_offset(offset, weight))

    def common_offset(self, offset: np.ndarray, weight: np.ndarray) -> float:
        """The log of the mean exposure."""
        largest = offset.max()
        return float(np.log(np.average(np.exp(offset - largest), weights=weight)) + largest)

    def mean_at(self, eta: np.ndarray) -> np.ndarray:
        """exp(η)."""
        return np.asarray(mean_of(eta))


def mean_of(line: Any) -> Any:
    """exp(η), cut off before float64 ends on either side, of an array or a DataArray."""
    return np.exp(np.maximum(np.minimum(line, MOST_EXPONENT), -MOST_EXPONENT))


def without_offset(log_y: np.ndarray, rows: Rows) -> np.ndarray:
    """What is left of logs of responses (obs,) without the rows' offset."""
    return log_y if rows.offset is None else log_y - rows.offset
