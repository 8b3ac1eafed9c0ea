"""A Poisson response: y | x, k ~ Poisson(exp(b_k + u'θ_k + offset))."""

from typing import ClassVar

import numpy as np
from scipy.special import gammaln

from jointmix.families.checks import Checks
from jointmix.families.counts import Counts, poisson_draws
from jointmix.families.linked import Own
from jointmix.families.poisson.checks import PoissonChecks


class PoissonResponse(Counts):
    """y | x, k ~ Poisson(exp(η)), η = b_k + u'θ_k + offset; the offset is a log exposure."""

    family: ClassVar[str] = "poisson"
    words: ClassVar[str] = "a Poisson probability of the response, the log of its rate on a line"
    checked: ClassVar[type[Checks]] = PoissonChecks

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
        """Counts."""
        del own
        return poisson_draws(self.mean_at(eta), rng)
