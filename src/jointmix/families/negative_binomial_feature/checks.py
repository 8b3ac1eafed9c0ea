"""What can go wrong with a feature of spread counts: that they are no more spread than others."""

import numpy as np

from jointmix.families.count_feature_checks import CountFeatureChecks
from jointmix.families.rows import Rows
from jointmix.tables.issues import Issue, quoted, warning

#: Of standard normal numbers, one in ten exceeds it.
_SURE = 1.28


class NegativeBinomialFeatureChecks(CountFeatureChecks):
    """Of n | k with a size."""

    def mode_issue(self, rows: Rows, allocation: np.ndarray) -> Issue | None:
        """Counts that are nowhere spread more than Poisson's.

        By the score test of Dean and Lawless (1989, doi:10.1080/01621459.1989.10478792) in each
        cluster: Σ ((n − m)² − n) over √2 m each, m being the cluster's mean.
        """
        (name,) = self.columns
        place = [own.column for own in self.spec.discrete].index(name)
        assert rows.discrete is not None
        found = []
        for cluster in range(self.spec.n_clusters):
            inside = (allocation == cluster) & ~np.isnan(rows.discrete[:, place])
            n, weight = rows.discrete[inside, place], rows.weights[inside]
            if weight.sum() > 0 and n.any():
                mean = float(np.average(n, weights=weight))
                error = mean * np.sqrt(2 * float(weight @ rows.units[inside]))
                found.append(float(weight @ ((n - mean) ** 2 - n)) / error)
        if not found or max(found) > _SURE:
            return None
        where = "" if self.spec.n_clusters == 1 else " in any of EM's clusters"
        message = (
            f"The counts of {quoted(name)} are not spread more than Poisson's{where}: the largest "
            f"of {len(found)} scores for it is {max(found):.2g} standard errors. Their size has no "
            "upper bound but its prior."
        )
        remedy = f'Say features={{{name!r}: "poisson"}}, which has one parameter a cluster less.'
        return warning("no_overdispersion", message, remedy, name, None, max(found))
