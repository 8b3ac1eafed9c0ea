"""Do the chains agree? Rank-normalised split R-hat."""

from math import sqrt

import numpy as np
import xarray as xr
from scipy.stats import f as f_distribution

from jointmix.base.chains import effective_sizes, r_hats
from jointmix.base.numbers import deciding
from jointmix.base.schema import CHAIN, DRAW
from jointmix.checks.approximation import approximation
from jointmix.checks.finding import Finding, above, skipped
from jointmix.posterior.summaries import (
    ENTRY,
    identified_parameters,
    invariant_quantities,
    moving_entries,
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
    return (
        _judge("label-free quantities", moving_entries(invariant_quantities(tree))),
        _judge("parameters", moving_entries(identified_parameters(tree))),
    )


def chance_bound(
    n_chains: int, n_draws: int, n_quantities: int, effective: float | None = None
) -> float:
    """R-hat that the largest of many well-mixed quantities exceeds once in 1,000 runs.

    For normal draws in m half-chains of length n, of which each is worth n / τ independent ones,
    R-hat² = 1 + (τF − 1)/n with F ~ F(m − 1, m(n/τ − 1)). For independent draws the bound is
    below 1.01 from about 500 draws a chain on.

    Parameters
    ----------
    n_chains, n_draws
        Chains, and draws of each.
    n_quantities
        How many R-hats the largest is taken of.
    effective
        Effective draws within a chain; as many as there are by default.
    """
    m, n = 2 * n_chains, n_draws // 2
    stretch = max(1.0, n_draws / max(effective or n_draws, 4.0))
    # Each quantity has two R-hats (bulk and tail), of which the larger is reported.
    tail = _FALSE_ALARM / (2 * n_quantities)
    ratio = stretch * f_distribution.isf(tail, m - 1, m * (n / stretch - 1))
    return sqrt(1 + max(0.0, ratio - 1) / n)


def _within_chains(draws: np.ndarray) -> np.ndarray:
    """Effective draws of a chain, from each chain alone: chains that disagree do not enter.

    R-hat is the larger one of locations and of spreads, and so this the smaller one.

    Parameters
    ----------
    draws
        (entry, chain, draw).
    """
    folded = abs(draws - np.median(draws, axis=(1, 2), keepdims=True))
    sizes = [effective_sizes(values[:, :, None]).mean(axis=1) for values in (draws, folded)]
    return np.asarray(np.minimum(*sizes))


def _judge(subject: str, draws: xr.DataArray) -> Finding:
    """Judge the draws of several quantities, [entry, chain, draw], of which none is constant."""
    if not draws.size:
        return skipped(CODE, subject, "nothing varies between the draws", SOURCE)
    values = r_hats(draws.values)
    shape = draws.sizes[CHAIN], draws.sizes[DRAW], max(int((~np.isnan(values)).sum()), 1)
    bounds = np.full(values.shape, _bound(*shape, draws.sizes[DRAW]))
    beyond = np.flatnonzero(values > bounds)
    if beyond.size:
        bounds[beyond] = [_bound(*shape, size) for size in _within_chains(draws.values[beyond])]
    names = draws[ENTRY].values.tolist()
    found = [
        each
        for each in zip(values.tolist(), bounds.tolist(), names, strict=True)
        if not np.isnan(each[0])
    ]
    if not found:
        return skipped(CODE, subject, "nothing varies between the draws", SOURCE)
    # The worst is the one furthest beyond its own bound.
    value, bound, worst = max(found, key=lambda item: item[0] - item[1])
    beyond = sum(value > bound for value, bound, _ in found)
    status = above(value, bound, FAIL)
    places = deciding(value, (bound, FAIL), "{:.{}f}".format, 3)
    message = (
        f"The R-hat of {worst} is {value:.{places}f}, where up to {bound:.{places}f} is no concern"
    )
    if len(found) > 1:
        message += f"; {beyond} of {len(found)} quantities exceed their bounds"
    return Finding(
        code=CODE,
        subject=subject,
        status=status,
        value=value,
        threshold=bound,
        message=f"{message}.",
        remedy="" if status == "ok" else REMEDY,
        source=SOURCE,
    )


def _bound(n_chains: int, n_draws: int, n_quantities: int, effective: float) -> float:
    """What a quantity's R-hat may reach before it is a concern."""
    if not np.isfinite(effective):
        return CAUTION
    return min(max(CAUTION, chance_bound(n_chains, n_draws, n_quantities, effective)), FAIL)
