"""Did every chain move? Share of distinct log likelihoods in each chain."""

import numpy as np
import xarray as xr

from jointmix.base.numbers import percent
from jointmix.base.schema import CHAIN, require_group
from jointmix.checks.finding import Finding, below

CODE = "frozen"
SOURCE = "Convention: a chain of NUTS draws seldom repeats a draw"
CAUTION, FAIL = 0.5, 0.1
REMEDY = "Fit again with another seed; a chain that does not move started at a bad point."


def check(tree: xr.DataTree) -> tuple[Finding, ...]:
    """Judge the smallest share of distinct draws that a chain has."""
    draws = require_group(tree, "invariant")["log_likelihood"].transpose(CHAIN, ...)
    shares = [np.unique(chain).size / chain.size for chain in draws.values]
    worst = int(np.argmin(shares))
    status = below(shares[worst], CAUTION, FAIL)
    return (
        Finding(
            code=CODE,
            subject="chains",
            status=status,
            value=shares[worst],
            threshold=CAUTION,
            message=f"At least {percent(shares[worst], 1, CAUTION, FAIL)} of the draws in each "
            f"chain are distinct (fewest in chain {draws[CHAIN].values[worst]}).",
            remedy="" if status == "ok" else REMEDY,
            source=SOURCE,
        ),
    )
