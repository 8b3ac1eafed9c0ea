"""Do the chains agree? Rank-normalised split R-hat."""

from math import sqrt

import arviz_stats
import numpy as np
import xarray as xr
from scipy.stats import f as f_distribution

from jointmix.checks.approximation import approximation
from jointmix.checks.finding import Finding, above, skipped
from jointmix.schema import CHAIN, DRAW, require_group
from jointmix.summaries import (
    entries,
    identified_parameters,
    invariant_quantities,
    is_constant,
)

CODE = "rhat"
SOURCE = "Vehtari et al. (2021), Bayesian Analysis 16(2), doi:10.1214/20-BA1221"
CAUTION, FAIL = 1.01, 1.05
REMEDY = (
    "Sample longer (more draws and tuning steps); if R-hat stays, the chains sit in different "
    "modes: raise the number of EM starts or use fewer clusters."
)
_FALSE_ALARM = 1e-3


def check(tree: xr.DataTree) -> tuple[Finding, ...]:
    """Judge the worst R-hat of quantities that labels do not enter, and of identified parameters.

    Raises
    ------
    SchemaError
        If the draws' labels were never identified.
    """
    if approximation(tree):
        return (skipped(CODE, "parameters", "the draws form no chains", SOURCE),)
    named = [
        (name, value)
        for parameter, draws in identified_parameters(tree).items()
        for name, value in entries(_rhat(draws), parameter)
        if np.isfinite(value)
    ]
    likelihood = require_group(tree, "invariant")["log_likelihood"]
    free = [
        (name, value)
        for quantity, draws in invariant_quantities(tree).items()
        for name, value in entries(_rhat(draws), quantity)
        if np.isfinite(value)
    ]
    return (
        _judge("label-free quantities", free, likelihood),
        _judge("parameters", named, likelihood),
    )


def _rhat(draws: xr.DataArray) -> xr.DataArray:
    with np.errstate(invalid="ignore", divide="ignore"):
        return arviz_stats.rhat(draws).where(~is_constant(draws))


def chance_bound(n_chains: int, n_draws: int, n_quantities: int) -> float:
    """R-hat that the largest of many well-mixed quantities exceeds once in 1,000 runs.

    For independent normal draws in m half-chains of length n, R-hat² = 1 + (F − 1)/n with
    F ~ F(m − 1, m(n − 1)). From about 500 draws a chain on, the bound is below 1.01.
    """
    m, n = 2 * n_chains, n_draws // 2
    # Each quantity has two R-hats (bulk and tail), of which the larger is reported.
    tail = _FALSE_ALARM / (2 * n_quantities)
    return sqrt(1 + max(0.0, f_distribution.isf(tail, m - 1, m * (n - 1)) - 1) / n)


def _judge(subject: str, named: list[tuple[str, float]], draws: xr.DataArray) -> Finding:
    if not any(np.isfinite(value) for _, value in named):
        return skipped(CODE, subject, "nothing varies between the draws", SOURCE)
    worst, value = max(named, key=lambda item: item[1])
    bound = chance_bound(draws.sizes[CHAIN], draws.sizes[DRAW], len(named))
    caution = min(max(CAUTION, bound), FAIL)
    beyond = sum(value > caution for _, value in named)
    message = f"The largest R-hat is {value:.3f} ({worst})"
    if len(named) > 1:
        message += f"; {beyond} of {len(named)} quantities exceed {caution:.3f}"
    status = above(value, caution, FAIL)
    return Finding(
        code=CODE,
        subject=subject,
        status=status,
        value=value,
        threshold=caution,
        message=f"{message}.",
        remedy="" if status == "ok" else REMEDY,
        source=SOURCE,
    )
