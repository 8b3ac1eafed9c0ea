"""A yes or no: y | x, k ~ Bernoulli(g⁻¹(b_k + u'θ_k + offset)), g being the logit or the probit."""

from typing import ClassVar

import numpy as np
from scipy.special import expit, log_expit, log_ndtr, logit, ndtr, ndtri

from jointmix.families.bernoulli.checks import BernoulliChecks
from jointmix.families.checks import Checks
from jointmix.families.linked import Linked, Own
from jointmix.families.parameters import Parameters
from jointmix.families.rows import Rows

_LOG_ROOT_2PI = float(0.5 * np.log(2 * np.pi))


class BernoulliResponse(Linked):
    """y | x, k is 1 with probability g⁻¹(η), η = b_k + u'θ_k + offset, else 0."""

    family: ClassVar[str] = "bernoulli"
    words: ClassVar[str] = "a Bernoulli probability of the response, linked to a line"
    links: ClassVar[tuple[str, ...]] = ("logit", "probit")
    whole: ClassVar[bool] = True
    may_peak: ClassVar[bool] = False
    checked: ClassVar[type[Checks]] = BernoulliChecks

    @property
    def logistic(self) -> bool:
        """Whether the link is the logit."""
        return self.spec.link != "probit"

    @property
    def ratio(self) -> str:
        """Exponentials of differences of logits are odds ratios."""
        return "odds ratio" if self.logistic else ""

    @property
    def line_of(self) -> str:
        """What the line is."""
        return "log odds" if self.logistic else "probit"

    def level(self, y: np.ndarray, offset: np.ndarray, weight: np.ndarray) -> float:
        """The link of the share of ones, less the mean offset."""
        # Of rows that are all alike the link would be infinite.
        total = weight.sum()
        share = ((weight * y).sum() + 0.5) / (total + 1)
        return float((logit if self.logistic else ndtri)(share) - (weight * offset).sum() / total)

    def working(self, rows: Rows) -> np.ndarray:
        """The link of ¼ and ¾, less the offset."""
        value = (logit if self.logistic else ndtri)(0.25 + 0.5 * rows.y)
        return np.asarray(value if rows.offset is None else value - rows.offset)

    def log_density_at(self, y: np.ndarray, eta: np.ndarray, own: Own) -> np.ndarray:
        """log g⁻¹(±η)."""
        del own
        turned = (2 * y - 1) * eta
        return np.asarray(log_expit(turned) if self.logistic else log_ndtr(turned))

    def pull_at(self, y: np.ndarray, eta: np.ndarray, own: Own) -> np.ndarray:
        """y − p of logits; ±φ(η) / Φ(±η) of probits."""
        del own
        side = 2 * y - 1
        if self.logistic:
            return np.asarray(side * expit(-side * eta))
        return np.asarray(side * np.exp(-0.5 * eta**2 - _LOG_ROOT_2PI - log_ndtr(side * eta)))

    def information_at(self, eta: np.ndarray, own: Own) -> np.ndarray:
        """p (1 − p) of logits; φ² / (p (1 − p)) of probits."""
        del own
        if self.logistic:
            return np.asarray(expit(eta) * expit(-eta))
        both = log_ndtr(eta) + log_ndtr(-eta)
        return np.asarray(np.exp(-(eta**2) - 2 * _LOG_ROOT_2PI - both))

    def mean_at(self, eta: np.ndarray) -> np.ndarray:
        """The probability of 1."""
        return np.asarray(expit(eta) if self.logistic else ndtr(eta))

    def variance_at(self, eta: np.ndarray, own: Own) -> np.ndarray:
        """p (1 − p)."""
        del own
        return self.mean_at(eta) * self.mean_at(-eta)

    def draw_at(self, eta: np.ndarray, own: Own, rng: np.random.Generator) -> np.ndarray:
        """Zeros and ones."""
        del own
        return (rng.random(eta.shape) < self.mean_at(eta)).astype(float)

    def compiled_rows(self, rows: Rows) -> np.ndarray:
        """u, the offset, and ±1."""
        offset = np.zeros_like(rows.y) if rows.offset is None else rows.offset
        return np.vstack([rows.u.T, offset, 2 * rows.y - 1])

    def options(self, parameters: Parameters) -> tuple[float, ...]:
        """Whether the link is the probit."""
        del parameters
        return (0.0 if self.logistic else 1.0,)
