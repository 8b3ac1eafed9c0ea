"""What counts share whose expectation is the exponential of their line."""

from typing import ClassVar

import numpy as np
from scipy.special import gammaln

from jointmix.families.log_link import LogLinked, without_offset
from jointmix.families.rows import Rows

#: Rates of draws that whole numbers can follow.
_MOST_DRAWN = 2.0**53


class Counts(LogLinked):
    """A count with mean exp(η), η = b_k + u'θ_k + offset; the offset is a log exposure."""

    whole: ClassVar[bool] = True

    @property
    def line_of(self) -> str:
        """The log of the mean for one unit of exposure."""
        return "log rate of the response"

    @property
    def ratio(self) -> str:
        """Exponentials of differences of log rates."""
        return "rate ratio"

    def working(self, rows: Rows) -> np.ndarray:
        """log(y + ½) less the offset."""
        return without_offset(np.log(rows.y + 0.5), rows)

    def compiled_rows(self, rows: Rows) -> np.ndarray:
        """u, the offset, −log y!, and y."""
        offset = np.zeros_like(rows.y) if rows.offset is None else rows.offset
        return np.vstack([rows.u.T, offset, -gammaln(rows.y + 1), rows.y])


def poisson_draws(rate: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Poisson numbers; rates are cut off where not all whole numbers are doubles."""
    return rng.poisson(np.minimum(rate, _MOST_DRAWN)).astype(float)
