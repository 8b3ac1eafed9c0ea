"""What features of counts share: a rate, the expected count of a row, and what EM counts once."""

from typing import ClassVar

import numpy as np
from scipy.special import gammaln

from jointmix.families.checks import Checks
from jointmix.families.count_feature_checks import CountFeatureChecks
from jointmix.families.feature import Feature
from jointmix.families.parameters import Parameters
from jointmix.families.protocol import Parameter, Step
from jointmix.families.rows import Rows

#: Rows with one count by which the M-step raises a cluster's, so that no count is impossible.
_LEAST_COUNT = 1e-8


class CountFeature(Feature):
    """Counts n with the mean λ_k; they have no unit, and the prior is of λ itself."""

    own_priors: ClassVar[tuple[str, ...]] = ("rate",)
    checked: ClassVar[type[Checks]] = CountFeatureChecks
    letter: ClassVar[str] = "n"
    shaped: ClassVar[bool] = True
    #: What specifications call the family.
    kind: ClassVar[str]

    @classmethod
    def is_kind_of(cls, family: str) -> bool:
        """Whether it is this family."""
        return family == cls.kind

    @property
    def name(self) -> str:
        """That of its rate."""
        return f"rate_{self.own.stem}"

    @property
    def rate(self) -> Parameter:
        """The rate, one a cluster."""
        return Parameter(
            name=self.name, symbol="λ", role="shape", prior=self.spec.priors.rate,
            free=(self.spec.n_clusters,), site=self.name,
            meaning=f"expected {self.own.column}", stated="rate",
        )  # fmt: skip

    def counts(self, rows: Rows) -> np.ndarray:
        """Counts, 0 where none is known, and whether one is, (2, obs); made once of rows."""
        key, made = (self.name, "counts"), rows.made_of_them
        if key not in made:
            column = self.column(rows)
            known = ~np.isnan(column)
            made[key] = np.stack([np.where(known, column, 0.0), known])
        return made[key]

    def central(self, parameters: Parameters, cluster: int) -> tuple[float, float, float]:
        """Variance, skewness and kurtosis in a cluster, at parameters without batch dims."""
        raise NotImplementedError

    def told_apart(
        self, parameters: Parameters, rows: Rows, cluster: int, held: float
    ) -> np.ndarray:
        """The orthogonal polynomials of degrees 1 and 2: where counts lie, how they are spread."""
        del held
        n, known = self.counts(rows)
        variance, skewness, kurtosis = self.central(parameters, cluster)
        z = (n - parameters[self.name][cluster]) / np.sqrt(variance)
        square = (z**2 - skewness * z - 1) / np.sqrt(kurtosis - 1 - skewness**2)
        return np.asarray(np.stack([z, square]) * known)

    def filled(self, values: np.ndarray, rows: Rows) -> np.ndarray:
        """Values of the rows (obs,), where no count is known the mean of the others."""
        known = self.counts(rows)[1]
        weight = rows.weights * known
        mean = float(weight @ values) / max(float(weight.sum()), 1e-300)
        return np.where(known > 0, values, mean)

    def mean_counts(self, step: Step) -> np.ndarray:
        """Mean counts, (start, cluster)."""
        n, known = self.counts(step.rows)
        # Two products with vectors take half the time of one with both.
        total, held = step.share @ n, step.count if known.all() else step.share @ known
        return np.asarray((total + _LEAST_COUNT) / (held + _LEAST_COUNT))

    def compiled_rows(self, rows: Rows) -> np.ndarray:
        """n, −log n!, and whether n is known."""
        n, known = self.counts(rows)
        return np.vstack([n, -gammaln(n + 1), known])
