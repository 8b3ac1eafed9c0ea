"""A Poisson response: y | x, k ~ Poisson(exp(b_k + u'θ_k + offset))."""

from typing import ClassVar

import numpy as np
from scipy.special import gammaln

from jointmix.families.checks import Checks
from jointmix.families.linked import Linked, Own
from jointmix.families.poisson.checks import PoissonChecks
from jointmix.families.rows import Rows

#: Exponents beyond which rates would leave float64; rates of draws that whole numbers can follow.
_MOST, _MOST_DRAWN = 700.0, 2.0**53


class PoissonResponse(Linked):
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

    def level(self, y: np.ndarray, offset: np.ndarray, weight: np.ndarray) -> float:
        """The log of all counts over all exposure."""
        largest = offset.max()
        exposure = (weight * np.exp(offset - largest)).mean()
        return float(np.log((weight * y).mean()) - np.log(exposure) - largest)

    def working(self, rows: Rows) -> np.ndarray:
        """log(y + ½) less the offset."""
        value = np.log(rows.y + 0.5)
        return value if rows.offset is None else value - rows.offset

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

    def mean_at(self, eta: np.ndarray) -> np.ndarray:
        """exp(η)."""
        return np.asarray(np.exp(np.minimum(eta, _MOST)))

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
