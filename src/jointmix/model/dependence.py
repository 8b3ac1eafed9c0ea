"""Columns that must not depend on one another, and responses that their predictors determine."""

import numpy as np

from jointmix.families.priors.priors import (
    Fixed,
    InverseGamma,
    LogNormal,
)
from jointmix.model.spec import ModelSpec
from jointmix.tables.issues import (
    Issue,
    error,
    listed,
    quoted,
    warning,
)
from jointmix.tables.screening import CONDITION_ERROR, EXACT_RATIO, exact_ratio


def exact_issue(u: np.ndarray, y: np.ndarray, spec: ModelSpec) -> Issue | None:
    """A response (N,) that its predictors (N, R) determine: nothing is left to call noise."""
    known = isinstance(spec.priors.slope, Fixed) or isinstance(spec.priors.intercept, Fixed)
    if spec.response is None or known or len(y) <= len(spec.predictors) + 1:
        return None
    ratio, rounding = exact_ratio(u, y, spec.intercept)
    if ratio >= max(EXACT_RATIO, rounding):
        return None
    names = listed(spec.predictors)
    statement = (
        f"The response {quoted(spec.response)} is an exact linear function of {names} (residual "
        f"sd / sd = {ratio:.1g})"
    )
    floor = noise_floor(spec, len(y), float(y.std()))
    if floor is None:
        return warning(
            "exact_response",
            f"{statement}, while the noise is fixed.",
            "Make sure that the response was not computed from the predictors.",
            spec.response,
            None,
            ratio,
        )
    if floor < EXACT_RATIO:
        remedy = (
            "leave out the response, or give sigma a prior that keeps it from zero, such as "
            "inverse_gamma"
        )
        return error("exact_response", statement, remedy, spec.response, None, ratio)
    return warning(
        "exact_response",
        f"{statement}, so that the prior of sigma alone sets the noise, near {floor:.2g} of the "
        "response's sd.",
        "Leave out the predictor that the response was computed from.",
        spec.response,
        None,
        ratio,
    )


def noise_floor(spec: ModelSpec, n_rows: int, sd: float) -> float | None:
    """Where the posterior of σ peaks without residuals, over the response's sd; None if fixed.

    With n rows the likelihood is σ⁻ⁿ: times an inverse-gamma (a, b) on σ² it peaks at
    σ² = b / (a + 1 + n / 2), times a log-normal (m, s) at log σ = m − n s². Under priors that do
    not vanish at zero it has no peak, and the floor is 0.

    Parameters
    ----------
    sd
        Of the response, on the users' scale.
    """
    prior, unit = spec.priors.sigma, 1.0 if spec.standardize else sd
    n = n_rows if spec.noise == "shared" else n_rows / spec.n_clusters
    if isinstance(prior, Fixed):
        return None
    if isinstance(prior, InverseGamma):
        return float(np.sqrt(prior.scale / (prior.shape + 1 + n / 2))) / unit
    if isinstance(prior, LogNormal):
        return float(np.exp(prior.loc - n * prior.scale**2)) / unit
    return 0.0


#: Of features with a full covariance. For two of them 1 − r² is 4 / condition²: at this limit 20
#: units in the last place of r; beyond it float64 cannot tell their correlation from one.
CONDITION_FEATURES = 3e7


def independent_groups(spec: ModelSpec) -> dict[tuple[str, ...], float]:
    """The columns that must be linearly independent, with the largest condition number allowed.

    Independent of each other and of the constant.
    """
    # Diagonal, spherical and fixed covariances have an inverse whatever the columns are.
    features = spec.features if spec.covariance in ("full", "tied") else ()
    limits = {tuple(features): CONDITION_FEATURES}
    if set(spec.predictors) != set(features):
        limits[tuple(spec.predictors)] = CONDITION_ERROR
    return {names: limit for names, limit in limits.items() if len(names) > 1}
