"""What can go wrong with a positive response: values that are not, and exact means."""

from collections.abc import Sequence
from typing import ClassVar

import numpy as np
from scipy.special import ndtri

from jointmix.families.checks import ROUNDING, OwnScale
from jointmix.families.linked_checks import LinkedChecks, line_of
from jointmix.families.log_link import mean_of
from jointmix.families.parameters import Parameters
from jointmix.families.priors.priors import Fixed, Gamma, InverseGamma
from jointmix.families.priors.zero import peak_without_spread
from jointmix.families.rows import Rows
from jointmix.families.specified import Table
from jointmix.tables.issues import Issue, error, listed, quoted, warning
from jointmix.tables.screening import EXACT_RATIO, exact_ratio

#: Normal scores beyond this are of chances that underflow.
_FARTHEST = 37.0


class PositiveChecks(LinkedChecks):
    """Numbers above zero; a cluster closes on rows that follow its mean only as far as priors let.

    A gamma prior of the shape is an inverse-gamma one of 1 / shape, which stands for a squared
    coefficient of variation: the posterior is proper, whatever the ties.
    """

    shape_remedy: ClassVar[str] = (
        "Look at {0} over its fitted mean: family='gamma' has a variance that grows with the "
        "squared mean, 'inverse_gaussian' with the cubed one and heavier tails; or take more "
        "clusters."
    )

    @property
    def measured(self) -> tuple[str, ...]:
        """The response is a real number."""
        return self.columns

    def harmless_ties(self, column: str) -> str:
        """The prior bounds the shape."""
        del column
        fixed = isinstance(self.spec.priors.shape, Fixed)
        return "as the shape is fixed" if fixed else "as the prior of its shape bounds it"

    def value_issues(self, y: np.ndarray, name: str) -> tuple[Issue, ...]:
        """Zeros and negative numbers."""
        other = np.flatnonzero(y <= 0)
        if not other.size:
            return ()
        what = "negative or 0" if y.min() < 0 else "0"
        statement = (
            f"The response {quoted(name)} is {what} in {other.size} rows, and the family "
            f"{self.family} has positive numbers only"
        )
        remedy = (
            "take another family; zeros that are values below a limit of measurement are no zeros"
        )
        return (error("not_positive", statement, remedy, name, int(other[0]), float(other.size)),)

    @property
    def family(self) -> str:
        """What it is called."""
        raise NotImplementedError

    @property
    def spread_prior(self) -> InverseGamma | None:
        """The prior of 1 / shape; None if it is fixed."""
        prior = self.spec.priors.shape
        if not isinstance(prior, Gamma):
            return None
        return InverseGamma(shape=prior.shape, scale=prior.rate)

    def exact_issue(self, table: Table) -> Issue | None:
        """A response that its predictors determine: its log is a linear function of them."""
        spec, name = self.spec, str(self.spec.response)
        given = () if spec.offset is None else (spec.offset,)
        whole = table.select([*spec.predictors, *given, name])
        u, y = whole[:, : len(spec.predictors)], whole[:, -1]
        known = isinstance(spec.priors.slope, Fixed) or isinstance(spec.priors.intercept, Fixed)
        if known or len(y) <= len(spec.predictors) + 1 or (y <= 0).any():
            return None
        offset = whole[:, -2] if given else 0.0
        log_y = np.log(y) - offset
        if not log_y.std():
            return None
        ratio, rounding = exact_ratio(u, log_y, spec.intercept)
        if ratio >= max(EXACT_RATIO, rounding):
            return None
        message = (
            f"The log of the response {quoted(name)} is an exact linear function of "
            f"{listed(spec.predictors)} (residual sd / sd = {ratio:.1g}), {self._floor(len(y))}."
        )
        remedy = "Make sure that the response was not computed from the predictors."
        return warning("exact_response", message, remedy, name, None, ratio)

    def _floor(self, n_rows: int) -> str:
        """What sets the spread where rows have none, a clause."""
        prior = self.spread_prior
        if prior is None:
            return "while the shape is fixed"
        floor = peak_without_spread(prior, n_rows / self.spec.n_clusters)
        return (
            "so that the prior of shape alone sets the spread, a coefficient of variation near "
            f"{floor:.2g}"
        )

    def mode_issue(self, rows: Rows, allocation: np.ndarray) -> Issue | None:
        """Clusters in which the response is its mean exactly."""
        spec, k = self.spec, self.spec.n_clusters
        if k == 1 or self.spread_prior is None:
            return None
        parts = [rows.take(allocation == cluster) for cluster in range(k)]
        enough = [part for part in parts if len(part.y) > len(spec.predictors) + 2]
        exact = [len(part.y) for part in enough if self.residual_spread(part) <= ROUNDING]
        if not exact:
            return None
        what = f"an exact function of {listed(spec.predictors)}" if spec.predictors else "constant"
        message = (
            f"In {len(exact)} of EM's {k} clusters ({sum(exact)} rows) the response "
            f"{quoted(spec.response)} is {what}, {self._floor(len(rows.y))}."
        )
        remedy = "Make sure that the response was measured."
        return warning("exact_in_clusters", message, remedy, str(spec.response), None, 0.0)

    def residual_spread(self, rows: Rows) -> float:
        """Standard deviation of log y around the own line of some rows."""
        log_y = np.log(rows.y) - (0.0 if rows.offset is None else rows.offset)
        scale = np.abs(rows.u).max(axis=0, initial=0.0)
        design = rows.u / np.where(scale > 0, scale, 1)
        if self.spec.intercept:
            design = np.column_stack([np.ones(len(log_y)), design])
        coefficient = np.linalg.lstsq(design, log_y)[0]
        return float(np.sqrt(((log_y - design @ coefficient) ** 2).mean()))

    def own_scales(self, rows: Rows) -> tuple[OwnScale, ...]:
        """1 / √shape, which rows about their own line have."""
        prior = self.spread_prior
        if prior is None:
            return ()
        return (
            OwnScale(
                parameter="shape", entry=None, column=str(self.spec.response), prior=prior,
                spread=self.residual_spread(rows) / self.root_unit(rows.y),
                constant=float(rows.y.std()) == 0, precision=True,
            ),
        )  # fmt: skip

    def root_unit(self, y: np.ndarray) -> float:
        """By what a coefficient of variation is divided for 1 / √shape."""
        del y
        return 1.0

    def scale_words(self, scales: Sequence[OwnScale], rows: Rows) -> tuple[str, str]:
        """How far the response lies from its mean."""
        del rows
        name, largest = quoted(scales[0].column), max(each.spread for each in scales)
        if largest > ROUNDING:
            return f"{name} hardly varies about its mean", "shape"
        if all(each.constant for each in scales) or not self.spec.predictors:
            return f"{name} is constant", "shape"
        return f"{name} follows exactly from {listed(self.spec.predictors)}", "shape"

    def tails(
        self, y: np.ndarray, mean: np.ndarray, shape: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """P(Y ≤ y) and P(Y > y), each to the digits of its own."""
        raise NotImplementedError

    def white(self, parameters: Parameters, rows: Rows, allocation: np.ndarray) -> np.ndarray:
        """The response's normal score: as far out as a normal number of the same chance."""
        mean = mean_of(line_of(parameters, rows, allocation))
        below, above = self.tails(rows.y, mean, parameters["shape"][allocation])
        score = np.where(below < above, ndtri(below), -ndtri(above))
        return np.clip(score, -_FARTHEST, _FARTHEST)[:, None]
