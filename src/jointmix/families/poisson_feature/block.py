"""A feature of counts: n | k ~ Poisson(λ_k)."""

from typing import ClassVar

import numpy as np
from scipy.special import gammaln

from jointmix.families.checks import Checks
from jointmix.families.feature import Feature
from jointmix.families.parameters import Parameters
from jointmix.families.poisson_feature.checks import PoissonFeatureChecks
from jointmix.families.protocol import Parameter, Scores, Step
from jointmix.families.rows import Rows

#: Rows with one count by which the M-step raises a cluster's, so that no count is impossible.
_LEAST_COUNT = 1e-8


class PoissonFeature(Feature):
    """n | k ~ Poisson(λ_k); counts have no unit, and their prior is of λ itself."""

    family: ClassVar[str] = "poisson_feature"
    words: ClassVar[str] = "a Poisson probability of a feature"
    own_priors: ClassVar[tuple[str, ...]] = ("rate",)
    checked: ClassVar[type[Checks]] = PoissonFeatureChecks
    letter: ClassVar[str] = "n"

    @classmethod
    def is_kind_of(cls, family: str) -> bool:
        """Whether a family has a Poisson rate."""
        return family == "poisson"

    @property
    def name(self) -> str:
        """That of its parameter."""
        return f"rate_{self.own.stem}"

    @property
    def parameters(self) -> tuple[Parameter, ...]:
        """The rate."""
        return (
            Parameter(
                name=self.name, symbol="λ", role="shape", prior=self.spec.priors.rate,
                free=(self.spec.n_clusters,), site=self.name,
                meaning=f"expected {self.own.column}", stated="rate",
            ),
        )  # fmt: skip

    def counts(self, rows: Rows) -> tuple[np.ndarray, np.ndarray]:
        """Counts (obs,), 0 where none is known, and whether one is."""
        column = self.column(rows)
        known = ~np.isnan(column)
        return np.where(known, column, 0.0), known.astype(float)

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

    def working(self, rows: Rows) -> np.ndarray:
        """Roots, of which Poisson's have one variance; those unknown at the mean of the others."""
        n, known = self.counts(rows)
        root, weight = np.sqrt(n), rows.weights * known
        mean = float(weight @ root) / max(float(weight.sum()), 1e-300)
        return np.where(known > 0, root, mean)

    def maximise(self, step: Step) -> dict[str, np.ndarray]:
        """Mean counts, (start, cluster)."""
        n, known = self.counts(step.rows)
        rate = (step.share @ n + _LEAST_COUNT) / (step.share @ known + _LEAST_COUNT)
        return {self.name: rate}

    def scores(self, parameters: Parameters, rows: Rows, share: np.ndarray) -> Scores:
        """n − λ, in the log of λ."""
        n, known = self.counts(rows)
        return Scores({}, share * (n[:, None] - known[:, None] * parameters[self.name]))

    def overlap(self, parameters: Parameters, one: int, other: int) -> np.ndarray:
        """exp(−½ (√λ_1 − √λ_2)²)."""
        root = np.sqrt(parameters[self.name])
        return np.asarray(np.exp(-0.5 * (root[..., one] - root[..., other]) ** 2))

    def compiled_rows(self, rows: Rows) -> np.ndarray:
        """n, −log n!, and whether n is known."""
        n, known = self.counts(rows)
        return np.vstack([n, -gammaln(n + 1), known])

    @property
    def aliases(self) -> dict[str, str]:  # type: ignore[override]
        """Compiled functions know a rate."""
        return {"rate": self.name}
