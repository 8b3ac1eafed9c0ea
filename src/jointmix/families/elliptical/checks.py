"""What can go wrong with features in ellipsoids: ties, rows in a flat, collinear columns."""

from collections.abc import Sequence

import numpy as np

from jointmix.families.checks import (
    ROUNDING,
    SMALL,
    Checks,
    Closed,
    OwnScale,
    improper,
    inverse_gamma_remedy,
    most_equal,
)
from jointmix.families.matrices import inverse_lower
from jointmix.families.parameters import Parameters
from jointmix.families.priors.priors import Fixed
from jointmix.families.priors.zero import order_at_zero, rows_to_spike, vanishes_at_zero
from jointmix.families.rows import Rows
from jointmix.families.specified import Table
from jointmix.tables.issues import Issue, listed, quoted, warning
from jointmix.tables.screening import triangle_of

#: Of features with a full covariance. For two of them 1 − r² is 4 / condition²: at this limit 20
#: units in the last place of r; beyond it float64 cannot tell their correlation from one.
CONDITION_FEATURES = 3e7
_REMEDY_FLAT = (
    "Fit with fewer clusters, or with covariance='diagonal', which such rows cannot close on; "
    "with a full covariance even an inverse-gamma prior of sd leaves the correlations free to."
)


class EllipticalChecks(Checks):
    """Of densities of |L_k⁻¹ (x − μ_k)|; as they stand, of Gaussian ones."""

    @property
    def minimum_rows(self) -> int:
        """One more than a full covariance has columns."""
        return len(self.columns) + 1 if self.spec.covariance == "full" else 2

    @property
    def independent(self) -> dict[tuple[str, ...], float]:
        """The features, unless their covariance has an inverse whatever they are."""
        if self.spec.covariance not in ("full", "tied"):
            return {}
        return {self.columns: CONDITION_FEATURES}

    def harmless_ties(self, column: str) -> str:
        """One cluster holds all rows; a prior that vanishes at zero keeps others open."""
        del column
        if self.spec.covariance == "fixed" or vanishes_at_zero(self.spec.priors.sd):
            return "as the prior of its scale vanishes at zero"
        return "as one cluster holds all rows" if self.holds_all else ""

    def may_close(self, surplus: float, others: int, n_open: int) -> bool:
        """Whether the posterior may be improper where a cluster closes on rows.

        Parameters
        ----------
        surplus
            The power of 1/scale in the posterior that these rows and the prior of the scale leave.
        others
            How many rows there are besides.
        n_open
            Directions in which the cluster stays open.
        """
        del others, n_open
        return self.spec.n_clusters > 1 and surplus >= 0

    def improper_issues(self, table: Table) -> tuple[Issue, ...]:
        """Tied values, and rows that agree in all features under a full covariance.

        Of the latter (code "identical_rows") only draws tell whether it is of any consequence.
        """
        spec = self.spec
        if isinstance(spec.priors.mean, Fixed):
            return ()
        found: list[Issue | None]
        if spec.covariance == "spherical":
            found = [self._spherical_note(table)]
        else:
            found = [self._feature_note(table, name) for name in spec.features]
        found.append(self._identical_note(table))
        return tuple(note for note in found if note is not None)

    def _feature_note(self, table: Table, name: str) -> Issue | None:
        """A cluster's sd of one column, or with a tied covariance that of all clusters."""
        prior, k = self.spec.priors.sd, self.spec.n_clusters
        if self.spec.covariance == "fixed":
            return None
        order, column = order_at_zero(prior), table.select([name])
        if self.spec.covariance == "tied":
            distinct = len(np.unique(column))
            if distinct > k or not self.may_close(len(column) - order - distinct, 0, 0):
                return None
            what = f"Column {quoted(name)} takes only {distinct} values in {k} clusters"
            return improper(prior, "sd", name, len(column), what)
        count, (value,) = most_equal(column)
        n_open = len(self.columns) - 1
        if not self.may_close(count - order - 1, len(column) - count, n_open):
            return None
        return improper(
            prior, "sd", name, count, f"Column {quoted(name)} holds {value:g} in {count} rows"
        )

    def _spherical_note(self, table: Table) -> Issue | None:
        prior = self.spec.priors.sd
        rows = table.select(self.columns)
        count, _ = most_equal(rows)
        surplus = (count - 1) * len(self.columns) - order_at_zero(prior)
        if count < 2 or not self.may_close(surplus, len(rows) - count, 0):
            return None
        what = f"{count} rows agree in {listed(self.columns)}"
        return improper(prior, "sd", ", ".join(self.columns), count, what)

    def _identical_note(self, table: Table) -> Issue | None:
        """Rows on which a full covariance closes in a direction that is no column's."""
        prior = self.spec.priors.correlation
        several = self.spec.n_clusters > 1 and len(self.columns) > 1
        if self.spec.covariance != "full" or not several:
            return None
        count, _ = most_equal(table.select(self.columns))
        least = rows_to_spike(prior)
        if count < least:
            return None
        message = (
            f"{count} rows agree in {listed(self.columns)}; under LKJ({prior.eta:g})"
            f" correlations the density is unbounded where a cluster holds nothing but {least:g} "
            "or more such rows, which matters only if draws go there (see the check of collapse)."
        )
        names = ", ".join(self.columns)
        return warning("identical_rows", message, "", names, None, float(count))

    def white(self, parameters: Parameters, rows: Rows, allocation: np.ndarray) -> np.ndarray:
        """L⁻¹(x − μ)."""
        white, inverse = np.empty_like(rows.x), inverse_lower(parameters.cholesky)
        for cluster, mean in enumerate(parameters.mean):
            inside = allocation == cluster
            white[inside] = (rows.x[inside] - mean) @ inverse[cluster].T
        return white

    def smallest_spread(self, parameters: Parameters, rows: Rows) -> np.ndarray | None:
        """In any direction under full and tied covariances, under others in the columns' own."""
        if self.spec.covariance == "fixed":
            return None
        x = rows.x
        sd = x.std(axis=0)
        factor = parameters.cholesky / sd[:, None]
        if self.spec.covariance not in ("full", "tied"):
            return np.asarray(np.diagonal(factor, axis1=-2, axis2=-1).min(axis=-1))
        _, singular, turn = np.linalg.svd(triangle_of(x, x.mean(axis=0), sd), full_matrices=False)
        white = (turn @ factor) * (np.sqrt(len(x)) / singular[:, None])
        return np.asarray(np.linalg.svd(white, compute_uv=False)[..., -1])

    def closed(
        self, parameters: Parameters, rows: Rows, held: np.ndarray, cluster: int, share: float
    ) -> Closed | None:
        """On a value, or in a flat of the features."""
        scaled = (rows.x[held] - rows.x[held].mean(axis=0)) / rows.x.std(axis=0)
        tied = np.abs(scaled).max(axis=0) < ROUNDING
        if not tied.any() or vanishes_at_zero(self.spec.priors.sd):
            return self._closed_flat(parameters, scaled, cluster)
        place = int(tied.argmax())
        return Closed(
            cluster=cluster,
            n_rows=len(held),
            share=share,
            what=f"with {quoted(self.columns[place])} = {rows.x[held[0], place]:g}",
            remedy=inverse_gamma_remedy("sd"),
        )

    def _closed_flat(
        self, parameters: Parameters, scaled: np.ndarray, cluster: int
    ) -> Closed | None:
        """Rows in a flat that no column is constant on, where the prior of the sds has no say."""
        n_rows, size = scaled.shape
        rank = int((np.linalg.svd(scaled, compute_uv=False) > ROUNDING * np.sqrt(n_rows)).sum())
        factor = parameters.cholesky[:, cluster]
        unit = factor / np.sqrt((factor**2).sum(axis=-1, keepdims=True))
        share = float((np.linalg.svd(unit, compute_uv=False)[:, -1] < SMALL).mean())
        if self.spec.covariance != "full" or rank == size or share == 0:
            return None
        flat = {0: "in one point", 1: "on one line"}.get(rank, f"in {rank} dimensions")
        names = [quoted(name) for name in self.columns]
        what = f"{flat} of {', '.join(names[:-1])} and {names[-1]}"
        return Closed(cluster=cluster, n_rows=n_rows, share=share, what=what, remedy=_REMEDY_FLAT)

    def own_scales(self, rows: Rows) -> tuple[OwnScale, ...]:
        """The sd of each feature."""
        prior = self.spec.priors.sd
        if self.spec.covariance not in ("full", "diagonal") or not vanishes_at_zero(prior):
            return ()
        spread = [float(column.std()) for column in rows.x.T]
        return tuple(
            OwnScale(parameter="sd", entry=i, column=name, prior=prior, spread=spread[i],
                     constant=spread[i] == 0)
            for i, name in enumerate(self.columns)
        )  # fmt: skip

    def scale_words(self, scales: Sequence[OwnScale], rows: Rows) -> tuple[str, str]:
        """How far the column varies."""
        del rows
        largest = max(each.spread for each in scales)
        varies = f"varies by {largest:.2g}" if largest else "is constant"
        return f"column {quoted(scales[0].column)} {varies}", "its sd"
