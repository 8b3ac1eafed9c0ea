"""Are there enough effective draws? Bulk and tail effective sample size."""

from math import ceil

import numpy as np
import xarray as xr

from jointmix.base.chains import Method, effective_sizes
from jointmix.base.numbers import fixed
from jointmix.base.schema import DRAW, require_group
from jointmix.checks.approximation import approximation
from jointmix.checks.finding import Finding, below, skipped
from jointmix.posterior.summaries import (
    ENTRY,
    identified_parameters,
    invariant_quantities,
    moving_entries,
)

CODE = "ess"
SOURCE = "Vehtari et al. (2021), Bayesian Analysis 16(2), doi:10.1214/20-BA1221"
CAUTION, FAIL = 400.0, 100.0
#: Draws that are asked for beyond those that would just do.
_SPARE = 1.25


def draws_for(draws: int, value: float) -> int:
    """Draws a chain that make an effective sample size of ``value`` enough, in whole hundreds."""
    return 100 * ceil(_SPARE * draws * CAUTION / max(value, 1.0) / 100)


def check(tree: xr.DataTree) -> tuple[Finding, ...]:
    """Judge the smallest bulk and tail effective sample sizes.

    Raises
    ------
    SchemaError
        If the draws' labels were never identified.
    """
    if approximation(tree):
        return (skipped(CODE, "bulk", "the draws form no chains", SOURCE),)
    groups = [
        moving_entries(identified_parameters(tree)),
        moving_entries(invariant_quantities(tree)),
    ]
    draws = require_group(tree, "posterior").sizes[DRAW]
    return _judge(groups, "bulk", draws), _judge(groups, "tail", draws)


def _judge(groups: list[xr.DataArray], method: Method, draws: int) -> Finding:
    named = [
        (str(name), float(value))
        for draws in groups
        if draws.size
        for name, value in zip(
            draws[ENTRY].values, effective_sizes(draws.values, method), strict=True
        )
        if np.isfinite(value)
    ]
    if not named:
        return skipped(CODE, method, "nothing varies between the draws", SOURCE)
    worst, value = min(named, key=lambda item: item[1])
    status, said = below(value, CAUTION, FAIL), fixed(value, 0, CAUTION, FAIL)
    return Finding(
        code=CODE,
        subject=method,
        status=status,
        value=value,
        threshold=CAUTION,
        message=f"The smallest {method} effective sample size is {said} ({worst}).",
        remedy=""
        if status == "ok"
        else f"Sample draws = {draws_for(draws, value)} a chain; until then estimates carry the "
        "Monte Carlo errors shown beside them.",
        source=SOURCE,
    )
