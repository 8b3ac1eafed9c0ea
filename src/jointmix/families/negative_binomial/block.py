"""A negative binomial response: a count with mean m = exp(b_k + u'θ_k + offset) and variance
m + m²/size_k."""

from typing import ClassVar

import numpy as np
from scipy.special import expit

from jointmix.families.checks import Checks
from jointmix.families.climbing import better_shape
from jointmix.families.counts import Counts
from jointmix.families.line import line
from jointmix.families.linked import Own
from jointmix.families.negative_binomial.checks import NegativeBinomialChecks
from jointmix.families.parameters import Parameters
from jointmix.families.priors.priors import Fixed
from jointmix.families.protocol import Parameter, Step, freed
from jointmix.families.rows import Rows
from jointmix.families.spread_counts import draws, log_mass, pull, size_bounds, size_slope


class NegativeBinomialResponse(Counts):
    """y | x, k with mean m = exp(η), η = b_k + u'θ_k + offset, and variance m + m²/size_k.

    A Poisson count whose rate is a gamma variable of the shape ``size``.
    """

    family: ClassVar[str] = "negative_binomial"
    words: ClassVar[str] = (
        "a negative binomial probability of the response, the log of its mean on a line"
    )
    own_priors: ClassVar[tuple[str, ...]] = ("size",)
    checked: ClassVar[type[Checks]] = NegativeBinomialChecks

    def further(self) -> tuple[Parameter, ...]:
        """The size, one a cluster."""
        prior = self.spec.priors.size
        return (
            Parameter(
                name="size", symbol="s", role="shape", prior=prior,
                free=freed(prior, self.spec.n_clusters), site="size",
                meaning="size s of the response's variance m + m²/s at its mean m",
            ),
        )  # fmt: skip

    def log_density_at(self, y: np.ndarray, eta: np.ndarray, own: Own) -> np.ndarray:
        """log Γ(s + y)/(Γ(s) y!) + s log s/(s + m) + y log m/(s + m)."""
        return log_mass(y, eta, own["size"])

    def pull_at(self, y: np.ndarray, eta: np.ndarray, own: Own) -> np.ndarray:
        """s (y − m)/(s + m)."""
        return pull(y, eta, own["size"])

    def information_at(self, eta: np.ndarray, own: Own) -> np.ndarray:
        """s m/(s + m)."""
        return np.asarray(own["size"] * expit(eta - np.log(own["size"])))

    def variance_at(self, eta: np.ndarray, own: Own) -> np.ndarray:
        """m + m²/s."""
        mean = self.mean_at(eta)
        return mean + mean * (mean / own["size"])

    def draw_at(self, eta: np.ndarray, own: Own, rng: np.random.Generator) -> np.ndarray:
        """Poisson numbers of gamma rates."""
        return draws(self.mean_at(eta), own["size"], rng)

    def rest_scores(self, parameters: Parameters, rows: Rows, share: np.ndarray) -> np.ndarray:
        """Of log s, where it is free."""
        if isinstance(self.spec.priors.size, Fixed):
            return super().rest_scores(parameters, rows, share)
        s, y, eta = parameters.size, rows.y[:, None], line(parameters, rows)
        return np.asarray(share * s * size_slope(y, eta, s))

    def first_shapes(self, step: Step) -> dict[str, np.ndarray]:
        """The known size, or 1: logs of counts then say alike where the line is."""
        known = self.known(step.scaling).get("size", np.ones(self.spec.n_clusters))
        return {"size": np.broadcast_to(known, step.count.shape)}

    def better_shapes(
        self, step: Step, eta: np.ndarray, own: dict[str, np.ndarray]
    ) -> dict[str, np.ndarray]:
        """A step of scoring in log s, between the bounds."""
        if isinstance(self.spec.priors.size, Fixed):
            return own
        y = step.rows.y
        found = better_shape(
            step.share,
            own["size"],
            lambda at: self.log_density_at(y, eta, {"size": at}),
            lambda at: size_slope(y, eta, at),
            size_bounds(float(y.mean())),
        )
        return {"size": found}
