"""Are all draws parameters? Draws that left float64, or whose covariance is none."""

import numpy as np
import xarray as xr

from jointmix.base.errors import SpecError
from jointmix.base.schema import CHAIN, DRAW, require_group
from jointmix.checks.finding import Finding, above, counted, listed, skipped
from jointmix.posterior.draws import fitted_spec, require_draws
from jointmix.posterior.support import outside_support

CODE = "support"
SUBJECT = "draws"
SOURCE = "IEEE 754: squares of what lies beyond 1e±150 are no doubles"
REMEDY = (
    "Fit again; if it stays, give what it names a prior that keeps away from there, or use fewer "
    "clusters."
)


def check(tree: xr.DataTree) -> tuple[Finding, ...]:
    """Judge the share of draws of which no density can be had."""
    try:
        spec = fitted_spec(tree)
    except SpecError as error:
        return (skipped(CODE, SUBJECT, str(error).rstrip("."), SOURCE),)
    posterior = require_group(tree, "posterior")
    require_draws(posterior, spec)
    found = outside_support(posterior, spec)
    n = posterior.sizes[CHAIN] * posterior.sizes[DRAW]
    share = float(np.any(list(found.values()), axis=0).mean()) if found else 0.0
    message = "All draws are parameters that densities take."
    if found:
        parts = [f"{name} in {counted(int(bad.sum()), 'draw')}" for name, bad in found.items()]
        message = (
            f"Of {n:,} draws some left what densities take (not finite, no positive scale, or no "
            f"correlation matrix): {listed(parts)}."
        )
    return (
        Finding(
            code=CODE,
            subject=SUBJECT,
            status=above(share, 0, 0),
            value=share,
            threshold=0.0,
            message=message,
            remedy=REMEDY if found else "",
            source=SOURCE,
        ),
    )
