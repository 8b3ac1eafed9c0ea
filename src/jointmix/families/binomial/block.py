"""Successes of n trials: y | x, k ~ Binomial(n, g⁻¹(b_k + u'θ_k + offset)), g logit or probit.

A Bernoulli response is that of one trial.
"""

from typing import ClassVar

import numpy as np
from scipy.special import betaln, expit, log_expit, log_ndtr, logit, ndtr, ndtri

from jointmix.families.binomial.checks import BernoulliChecks, BinomialChecks
from jointmix.families.checks import Checks
from jointmix.families.linked import Linked, Own
from jointmix.families.parameters import Parameters
from jointmix.families.rows import Rows

_LOG_ROOT_2PI = float(0.5 * np.log(2 * np.pi))


def trials_of(rows: Rows) -> np.ndarray:
    """How many trials each row had, (obs,): one, unless it says so."""
    return np.ones(len(rows.y)) if rows.trials is None else rows.trials


class BinomialResponse(Linked):
    """y | x, k of n trials, each a success with probability g⁻¹(η), η = b_k + u'θ_k + offset."""

    family: ClassVar[str] = "binomial"
    words: ClassVar[str] = "a binomial probability of the response, its chance linked to a line"
    links: ClassVar[tuple[str, ...]] = ("logit", "probit")
    whole: ClassVar[bool] = True
    counts_successes: ClassVar[bool] = True
    checked: ClassVar[type[Checks]] = BinomialChecks

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

    def level(
        self, y: np.ndarray, offset: np.ndarray, weight: np.ndarray, trials: np.ndarray | None
    ) -> float:
        """The link of the share of successes in all trials, less the mean offset."""
        # Of trials that are all alike the link would be infinite.
        total = weight.sum()
        tried = total if trials is None else weight @ trials
        share = (weight @ y + 0.5) / (tried + 1)
        return float((logit if self.logistic else ndtri)(share) - weight @ offset / total)

    def working(self, rows: Rows) -> np.ndarray:
        """The link of (y + ½) / (n + 1), less the offset."""
        share = (rows.y + 0.5) / (trials_of(rows) + 1)
        value = (logit if self.logistic else ndtri)(share)
        return np.asarray(value if rows.offset is None else value - rows.offset)

    def given(self, rows: Rows) -> dict[str, np.ndarray]:
        """The trials."""
        return {"trials": trials_of(rows)}

    def log_density_at(self, y: np.ndarray, eta: np.ndarray, own: Own) -> np.ndarray:
        """y log p + (n − y) log(1 − p) and the log of n over y."""
        n = own["trials"]
        below = log_expit if self.logistic else log_ndtr
        return np.asarray(y * below(eta) + (n - y) * below(-eta) + log_choices(y, n))

    def pull_at(self, y: np.ndarray, eta: np.ndarray, own: Own) -> np.ndarray:
        """y − n p of logits; y φ(η) / Φ(η) − (n − y) φ(η) / Φ(−η) of probits."""
        rest = own["trials"] - y
        if self.logistic:
            return np.asarray(y * expit(-eta) - rest * expit(eta))
        log_height = -0.5 * eta**2 - _LOG_ROOT_2PI
        up, down = (np.exp(log_height - log_ndtr(side * eta)) for side in (1, -1))
        return np.asarray(y * up - rest * down)

    def information_at(self, eta: np.ndarray, own: Own) -> np.ndarray:
        """n p (1 − p) of logits; n φ² / (p (1 − p)) of probits."""
        if self.logistic:
            return np.asarray(own["trials"] * expit(eta) * expit(-eta))
        both = log_ndtr(eta) + log_ndtr(-eta)
        return np.asarray(own["trials"] * np.exp(-(eta**2) - 2 * _LOG_ROOT_2PI - both))

    def mean_at(self, eta: np.ndarray) -> np.ndarray:
        """The chance of a success."""
        return np.asarray(expit(eta) if self.logistic else ndtr(eta))

    def mean(self, parameters: Parameters, rows: Rows) -> np.ndarray:
        """n p, (..., obs, component)."""
        return trials_of(rows)[:, None] * super().mean(parameters, rows)

    def variance_at(self, eta: np.ndarray, own: Own) -> np.ndarray:
        """n p (1 − p)."""
        return np.asarray(own["trials"] * self.mean_at(eta) * self.mean_at(-eta))

    def draw_at(self, eta: np.ndarray, own: Own, rng: np.random.Generator) -> np.ndarray:
        """Numbers of successes."""
        return rng.binomial(own["trials"].astype(np.int64), self.mean_at(eta)).astype(float)

    def compiled_rows(self, rows: Rows) -> np.ndarray:
        """u, the offset, the log of n over y, y, and n − y."""
        offset, n = np.zeros_like(rows.y) if rows.offset is None else rows.offset, trials_of(rows)
        return np.vstack([rows.u.T, offset, log_choices(rows.y, n), rows.y, n - rows.y])

    def options(self, parameters: Parameters) -> tuple[float, ...]:
        """Whether the link is the probit."""
        del parameters
        return (0.0 if self.logistic else 1.0,)


class BernoulliResponse(BinomialResponse):
    """y | x, k is 1 with probability g⁻¹(η), η = b_k + u'θ_k + offset, else 0."""

    family: ClassVar[str] = "bernoulli"
    words: ClassVar[str] = "a Bernoulli probability of the response, linked to a line"
    counts_successes: ClassVar[bool] = False
    may_peak: ClassVar[bool] = False
    checked: ClassVar[type[Checks]] = BernoulliChecks


def log_choices(y: np.ndarray, n: np.ndarray) -> np.ndarray:
    """The log of how many ways there are of y successes in n trials."""
    return np.asarray(-betaln(n - y + 1, y + 1) - np.log1p(n))
