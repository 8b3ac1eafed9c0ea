"""Does the sampler explore the energy well? E-BFMI of each chain."""

import arviz_stats
import numpy as np
import xarray as xr

from jointmix.base.numbers import fixed
from jointmix.base.schema import require_group
from jointmix.checks.finding import Finding, Status, skipped

CODE = "energy"
SOURCE = "Betancourt (2017), arXiv:1701.02434"
CAUTION = 0.3
REMEDY = "Sample with more tuning steps, or state tighter priors on the scales."


def check(tree: xr.DataTree) -> tuple[Finding, ...]:
    """Judge the smallest E-BFMI = mean((E_t − E_{t−1})²) / var(E) of the chains."""
    stats = require_group(tree, "sample_stats")
    if "energy" not in stats or float(stats["energy"].std("draw").min()) == 0:
        return (skipped(CODE, "chains", "the sampler did not report varying energies", SOURCE),)
    ratios = np.asarray(arviz_stats.bfmi(stats["energy"]))
    value, chain = float(ratios.min()), stats["chain"].values[int(ratios.argmin())]
    status: Status = "caution" if value < CAUTION else "ok"
    return (
        Finding(
            code=CODE,
            subject="chains",
            status=status,
            value=value,
            threshold=CAUTION,
            message=f"The smallest E-BFMI is {fixed(value, 2, CAUTION)} (chain {chain}).",
            remedy="" if status == "ok" else REMEDY,
            source=SOURCE,
        ),
    )
