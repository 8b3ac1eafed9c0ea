"""What can go wrong with Student-t features, besides what can with any in ellipsoids."""

import numpy as np
from scipy.special import ndtri, stdtr

from jointmix.families.elliptical.checks import EllipticalChecks
from jointmix.families.matrices import inverse_lower
from jointmix.families.parameters import Parameters
from jointmix.families.priors.priors import Fixed
from jointmix.families.rows import Rows


class StudentTFeaturesChecks(EllipticalChecks):
    """A cluster may close on some rows and reach all others with its tails."""

    @property
    def holds_all(self) -> bool:
        """Never by itself: see `may_close`."""
        return False

    def may_close(self, surplus: float, others: int, n_open: int) -> bool:
        """With tails in place of other clusters.

        Where a cluster of D columns closes in D − n of them, with its scale s there, each other row
        has the density s^(ν + n) (as Fernández and Steel 1999, doi:10.1093/biomet/86.1.153, for one
        column): one cluster closes if (ν + n) others ≤ surplus, and some ν do so if they are free.
        """
        if self.spec.n_clusters > 1:
            return surplus >= 0
        df = self.spec.priors.feature_df
        if isinstance(df, Fixed):
            return bool((df.array.min() + n_open) * others <= surplus)
        return surplus > n_open * others

    def white(self, parameters: Parameters, rows: Rows, allocation: np.ndarray) -> np.ndarray:
        """Normal scores of L⁻¹(x − μ), column after column given those before.

        With z the first j columns of it, the next is √((ν + z'z) / (ν + j)) times a t number of
        ν + j degrees of freedom that does not depend on them.
        """
        plain, inverse = np.empty_like(rows.x), inverse_lower(parameters.cholesky)
        for cluster, mean in enumerate(parameters.mean):
            inside = allocation == cluster
            plain[inside] = (rows.x[inside] - mean) @ inverse[cluster].T
        start = parameters.feature_df[allocation][:, None]
        df = start + np.arange(plain.shape[1])
        before = np.cumsum(plain**2, axis=1) - plain**2
        size = np.abs(plain) / np.sqrt((start + before) / df)
        # Chances that underflow are of numbers in which t and normal tails hardly differ.
        score = np.minimum(size, -ndtri(stdtr(df, -size)))
        return np.asarray(np.sign(plain) * score)
