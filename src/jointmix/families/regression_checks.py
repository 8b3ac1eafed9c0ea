"""What can go wrong with a response about a line: exact lines, ties, collinear predictors."""

from collections.abc import Sequence

import numpy as np

from jointmix.families.checks import (
    ROUNDING,
    Checks,
    Closed,
    OwnScale,
    improper,
    inverse_gamma_remedy,
    most_equal,
)
from jointmix.families.parameters import Parameters
from jointmix.families.priors.priors import Fixed
from jointmix.families.priors.zero import order_at_zero, peak_without_spread, vanishes_at_zero
from jointmix.families.rows import Rows
from jointmix.families.specified import Table
from jointmix.tables.issues import Issue, error, listed, quoted, warning
from jointmix.tables.screening import CONDITION_ERROR, EXACT_RATIO, exact_ratio


class RegressionChecks(Checks):
    """Of y | x, k about b_k + u'θ_k, with a scale σ_k."""

    @property
    def minimum_rows(self) -> int:
        """One more than the line and its noise need."""
        return len(self.spec.predictors) + 2

    @property
    def independent(self) -> dict[tuple[str, ...], float]:
        """The predictors."""
        return {tuple(self.spec.predictors): CONDITION_ERROR}

    def harmless_ties(self, column: str) -> str:
        """One cluster holds all rows; a prior that vanishes at zero keeps others open."""
        del column
        if vanishes_at_zero(self.spec.priors.sigma):
            return "as the prior of its scale vanishes at zero"
        return "as one cluster holds all rows" if self.holds_all else ""

    def exact_issue(self, table: Table) -> Issue | None:
        """A response that its predictors determine: nothing is left to call noise."""
        spec, name = self.spec, str(self.spec.response)
        whole = table.select([*spec.predictors, name])
        u, y = whole[:, :-1], whole[:, -1]
        known = isinstance(spec.priors.slope, Fixed) or isinstance(spec.priors.intercept, Fixed)
        if known or len(y) <= len(spec.predictors) + 1:
            return None
        ratio, rounding = exact_ratio(u, y, spec.intercept)
        if ratio >= max(EXACT_RATIO, rounding):
            return None
        statement = (
            f"The response {quoted(name)} is an exact linear function of "
            f"{listed(spec.predictors)} (residual sd / sd = {ratio:.1g})"
        )
        floor = self.noise_floor(len(y), float(y.std()))
        if floor is not None and floor < EXACT_RATIO:
            remedy = (
                "leave out the response, or give sigma a prior that keeps it from zero, such as "
                "inverse_gamma"
            )
            return error("exact_response", statement, remedy, name, None, ratio)
        message = f"{statement}, while the noise is fixed."
        remedy = "Make sure that the response was not computed from the predictors."
        if floor is not None:
            message = (
                f"{statement}, so that the prior of sigma alone sets the noise, near {floor:.2g} "
                "of the response's sd."
            )
            remedy = "Leave out the predictor that the response was computed from."
        return warning("exact_response", message, remedy, name, None, ratio)

    def noise_floor(self, n_rows: int, sd: float) -> float | None:
        """Where the posterior of σ peaks without residuals, over the response's; None if fixed.

        Parameters
        ----------
        sd
            Of the response, on the users' scale.
        """
        prior, unit = self.spec.priors.sigma, 1.0 if self.spec.standardize else sd
        if isinstance(prior, Fixed):
            return None
        n = n_rows if self.spec.noise == "shared" else n_rows / self.spec.n_clusters
        return peak_without_spread(prior, n) / unit

    def improper_issues(self, table: Table) -> tuple[Issue, ...]:
        """Rows with one response, and rows with one response and the same predictors.

        m rows on one plane contribute σ^−m, and its coefficients give back as many powers as the
        rows' designs have ranks r: the integral is infinite from m = c + r rows on. Rows on other
        planes than those of a constant column or response are not looked for.
        """
        spec, name = self.spec, str(self.spec.response)
        known = isinstance(spec.priors.slope, Fixed) or not spec.free_intercept
        if known or spec.noise == "fixed" or (spec.noise == "shared" and spec.n_clusters > 1):
            return ()
        order = order_at_zero(spec.priors.sigma)
        alike = (*spec.predictors, name)
        for names, rank in (((name,), 1 + len(spec.predictors)), (alike, 1)):
            values = table.select(names)
            count, row = most_equal(values)
            if self.may_close(count - order - rank, len(values) - count):
                what = f"The response {quoted(name)} is {row[-1]:g} in {count} rows"
                if len(names) > 1:
                    what += f" with the same {listed(spec.predictors)}"
                return (improper(spec.priors.sigma, "sigma", name, count, what),)
        return ()

    def may_close(self, surplus: float, others: int) -> bool:
        """Whether a cluster may close on rows, ``surplus`` more than just enough of them.

        Parameters
        ----------
        surplus
            m − c − r.
        others
            Rows besides them, which other clusters explain if there are any.
        """
        del others
        return surplus >= 0 and not self.holds_all

    def mode_issue(self, rows: Rows, allocation: np.ndarray) -> Issue | None:
        """Clusters in which the predictors determine the response, whatever EM's floor makes."""
        spec, k = self.spec, self.spec.n_clusters
        if k == 1 or spec.noise == "fixed":
            return None
        whole = float(rows.y.std())
        least, exact = np.inf, []
        for cluster in range(k):
            part = rows.take(allocation == cluster)
            if len(part.y) <= rows.u.shape[1] + 2:
                continue
            sd = float(part.y.std())
            ratio, rounding = exact_ratio(part.u, part.y, spec.intercept) if sd else (0.0, 1.0)
            if ratio * sd / whole < EXACT_RATIO or ratio < rounding:
                exact.append(len(part.y))
                least = min(least, ratio * sd / whole)
        if not exact:
            return None
        floor = self.noise_floor(len(rows.y), whole)
        prior = (
            f"the prior of sigma alone sets the noise there, near {floor:.2g} of the response's sd"
            if floor
            else f"nothing keeps sigma from zero there under its prior ({spec.priors.sigma.family})"
        )
        what = (
            f"an exact linear function of {listed(spec.predictors)} (residual sd / sd = "
            f"{least:.1g})"
            if spec.predictors
            else "constant"
        )
        message = (
            f"In {len(exact)} of EM's {k} clusters ({sum(exact)} rows) the response "
            f"{quoted(spec.response)} is {what}, so that {prior}."
        )
        remedy = "Make sure that the response was measured, and give sigma an inverse-gamma prior."
        return warning("exact_in_clusters", message, remedy, str(spec.response), None, least)

    def white(self, parameters: Parameters, rows: Rows, allocation: np.ndarray) -> np.ndarray:
        """The residual over σ."""
        line = parameters.intercept[allocation]
        line = line + (rows.u * parameters.slope[allocation]).sum(axis=1)
        return ((rows.y - line) / parameters.sigma[allocation])[:, None]

    def smallest_spread(self, parameters: Parameters, rows: Rows) -> np.ndarray | None:
        """σ, where its prior does not keep it from zero."""
        if self.spec.noise == "fixed" or vanishes_at_zero(self.spec.priors.sigma):
            return None
        return np.asarray(parameters.sigma / rows.y.std())

    def closed(
        self, parameters: Parameters, rows: Rows, held: np.ndarray, cluster: int, share: float
    ) -> Closed | None:
        """On rows that a line gives exactly."""
        del parameters
        if self.residual_spread(rows.take(held)) > ROUNDING * rows.y.std():
            return None
        return Closed(
            cluster=cluster,
            n_rows=len(held),
            share=share,
            what=f"whose {quoted(self.spec.response)} their line gives exactly",
            remedy=inverse_gamma_remedy("sigma"),
        )

    def residual_spread(self, rows: Rows) -> float:
        """Standard deviation of the response of some rows around their own line."""
        scale = np.abs(rows.u).max(axis=0, initial=0.0)
        design = rows.u / np.where(scale > 0, scale, 1)
        if self.spec.intercept:
            design = np.column_stack([np.ones(len(rows.y)), design])
        coefficient = np.linalg.lstsq(design, rows.y)[0]
        return float(np.sqrt(((rows.y - design @ coefficient) ** 2).mean()))

    def own_scales(self, rows: Rows) -> tuple[OwnScale, ...]:
        """σ, if each cluster has its own."""
        prior = self.spec.priors.sigma
        if self.spec.noise != "cluster" or not vanishes_at_zero(prior):
            return ()
        return (
            OwnScale(
                parameter="sigma", entry=None, column=str(self.spec.response), prior=prior,
                spread=self.residual_spread(rows), constant=float(rows.y.std()) == 0,
            ),
        )  # fmt: skip

    def scale_words(self, scales: Sequence[OwnScale], rows: Rows) -> tuple[str, str]:
        """How far the response lies from its line."""
        name, largest = quoted(scales[0].column), max(each.spread for each in scales)
        if largest > ROUNDING * float(rows.y.std()):
            return f"{name} varies by {largest:.2g} about its line", "sigma"
        if all(each.constant for each in scales) or not self.spec.predictors:
            return f"{name} is constant", "sigma"
        given = [quoted(each) for each in self.spec.predictors]
        names = given[0] if len(given) == 1 else f"{', '.join(given[:-1])} and {given[-1]}"
        return f"{name} follows exactly from {names}", "sigma"
