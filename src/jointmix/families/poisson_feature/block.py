"""A feature of counts: n | k ~ Poisson(λ_k)."""

from typing import ClassVar

import numpy as np
from scipy.special import gammaln

from jointmix.families.count_feature import CountFeature
from jointmix.families.parameters import Parameters
from jointmix.families.protocol import Parameter, Scores, Step
from jointmix.families.rows import Rows


class PoissonFeature(CountFeature):
    """n | k ~ Poisson(λ_k); counts have no unit, and their prior is of λ itself."""

    family: ClassVar[str] = "poisson_feature"
    words: ClassVar[str] = "a Poisson probability of a feature"
    kind: ClassVar[str] = "poisson"

    @property
    def parameters(self) -> tuple[Parameter, ...]:
        """The rate."""
        return (self.rate,)

    def log_density(self, parameters: Parameters, rows: Rows) -> np.ndarray:
        """n log λ − λ − log n!, (..., obs, component)."""
        (n, known), rate = self.counts(rows), parameters[self.name][..., None, :]
        n, known = n[:, None], known[:, None]
        return np.asarray(n * np.log(rate) - known * rate - gammaln(n + 1))

    def draw(
        self, parameters: Parameters, rows: Rows, cluster: np.ndarray, rng: np.random.Generator
    ) -> np.ndarray:
        """Counts of rows of known clusters, (obs, 1)."""
        del rows
        return rng.poisson(parameters[self.name][cluster]).astype(float)[:, None]

    def central(self, parameters: Parameters, cluster: int) -> tuple[float, float, float]:
        """λ, 1/√λ and 3 + 1/λ."""
        rate = float(parameters[self.name][cluster])
        return rate, rate**-0.5, 3 + 1 / rate

    def working(self, rows: Rows) -> np.ndarray:
        """Roots, of which Poisson's have one variance; those unknown at the mean of the others."""
        return self.filled(np.sqrt(self.counts(rows)[0]), rows)

    def maximise(self, step: Step) -> dict[str, np.ndarray]:
        """Mean counts, (start, cluster)."""
        return {self.name: self.mean_counts(step)}

    def scores(self, parameters: Parameters, rows: Rows, share: np.ndarray) -> Scores:
        """n − λ, in the log of λ."""
        n, known = self.counts(rows)
        return Scores({}, share * (n[:, None] - known[:, None] * parameters[self.name]))

    def overlap(self, parameters: Parameters, one: int, other: int) -> np.ndarray:
        """exp(−½ (√λ_1 − √λ_2)²)."""
        root = np.sqrt(parameters[self.name])
        return np.asarray(np.exp(-0.5 * (root[..., one] - root[..., other]) ** 2))

    @property
    def aliases(self) -> dict[str, str]:  # type: ignore[override]
        """Compiled functions know a rate."""
        return {"rate": self.name}
