"""A Poisson response: y | x, k ~ Poisson(exp(b_k + u'θ_k + offset))."""

from typing import ClassVar

import numpy as np
from scipy.special import gammaln

from jointmix.families.checks import Checks
from jointmix.families.linked import Own
from jointmix.families.log_link import LogLinked, without_offset
from jointmix.families.poisson.checks import PoissonChecks
from jointmix.families.rows import Rows

#: Rates of draws that whole numbers can follow.
_MOST_DRAWN = 2.0**53


class PoissonResponse(LogLinked):
    """y | x, k ~ Poisson(exp(η)), η = b_k + u'θ_k + offset; the offset is a log exposure."""

    family: ClassVar[str] = "poisson"
    words: ClassVar[str] = "a Poisson probability of the response, the log of its rate on a line"
    whole: ClassVar[bool] = True
    checked: ClassVar[type[Checks]] = PoissonChecks
    intercept_meaning: ClassVar[str] = "log rate of the response"
    slope_meaning: ClassVar[str] = "change of the log rate per unit"

    @property
    def ratio(self) -> str:
        """Exponentials of differences of log rates."""
        return "rate ratio"

    def working(self, rows: Rows) -> np.ndarray:
        """log(y + ½) less the offset."""
        return without_offset(np.log(rows.y + 0.5), rows)

    def log_density_at(self, y: np.ndarray, eta: np.ndarray, own: Own) -> np.ndarray:
        """y η − exp(η) − log y!."""
        del own
        return np.asarray(y * eta - self.mean_at(eta) - gammaln(y + 1))

    def pull_at(self, y: np.ndarray, eta: np.ndarray, own: Own) -> np.ndarray:
        """y − exp(η)."""
        del own
        return np.asarray(y - self.mean_at(eta))

    def information_at(self, eta: np.ndarray, own: Own) -> np.ndarray:
        """exp(η)."""
        del own
        return self.mean_at(eta)

    def variance_at(self, eta: np.ndarray, own: Own) -> np.ndarray:
        """exp(η)."""
        del own
        return self.mean_at(eta)

    def draw_at(self, eta: np.ndarray, own: Own, rng: np.random.Generator) -> np.ndarray:
        """Counts; rates are cut off where not all whole numbers are doubles."""
        del own
        return rng.poisson(np.minimum(self.mean_at(eta), _MOST_DRAWN)).astype(float)

    def compiled_rows(self, rows: Rows) -> np.ndarray:
        """u, the offset, −log y!, and y."""
        offset = np.zeros_like(rows.y) if rows.offset is None else rows.offset
        return np.vstack([rows.u.T, offset, -gammaln(rows.y + 1), rows.y])
