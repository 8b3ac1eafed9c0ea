"""What can go wrong with a Student-t response, besides what can with any about a line."""

import numpy as np

from jointmix.families.checks import Closed
from jointmix.families.parameters import Parameters
from jointmix.families.priors.priors import Fixed
from jointmix.families.regression_checks import RegressionChecks
from jointmix.families.rows import Rows

#: Scales from the line within which a cluster that closed holds its rows; tails reach the others.
_CORE = 5.0


class StudentTChecks(RegressionChecks):
    """A t distribution may close on some rows and reach all others with its tails."""

    @property
    def holds_all(self) -> bool:
        """Never by itself: see `may_close`."""
        return False

    def may_close(self, surplus: float, others: int) -> bool:
        """With tails in place of other clusters.

        Each other row contributes σ^ν, so that one cluster closes if ν · others ≤ m − c − r
        (Fernández and Steel 1999, doi:10.1093/biomet/86.1.153): some ν do so if they are free.
        """
        if self.spec.n_clusters > 1:
            return surplus >= 0
        df = self.spec.priors.df
        if isinstance(df, Fixed):
            return bool(df.array.min() * others <= surplus)
        return surplus > 0

    def closed(
        self, parameters: Parameters, rows: Rows, held: np.ndarray, cluster: int, share: float
    ) -> Closed | None:
        """On rows that a line gives exactly, those at the centre of the distribution."""
        draw = int(parameters.sigma[:, cluster].argmin())
        part = rows.take(held)
        line = parameters.intercept[draw, cluster] + part.u @ parameters.slope[draw, cluster]
        core = held[np.abs(part.y - line) <= _CORE * parameters.sigma[draw, cluster]]
        if len(core) < 2:
            return None
        return super().closed(parameters, rows, core, cluster, share)

    def white(self, parameters: Parameters, rows: Rows, allocation: np.ndarray) -> np.ndarray:
        """The residual's normal score: as far out as a normal number of the same chance."""
        from scipy.stats import norm, t

        residual = super().white(parameters, rows, allocation)[:, 0]
        size = np.abs(residual)
        score = norm.isf(t.sf(size, parameters.df[allocation]))
        # Chances that underflow are of residuals in which t and normal tails hardly differ.
        return (np.sign(residual) * np.minimum(size, score))[:, None]
