"""Did the sampler's trajectories diverge?"""

import xarray as xr

from jointmix.base.numbers import percent
from jointmix.base.schema import require_group
from jointmix.checks.finding import Finding, above, counted, skipped

CODE = "divergences"
SOURCE = "Betancourt (2017), arXiv:1701.02434"
FAIL_SHARE = 0.01
REMEDY = (
    "Raise target_accept to 0.95 or more; if divergences stay, a cluster is close to singular: "
    "look at the smallest sd and at tied values."
)


def check(tree: xr.DataTree) -> tuple[Finding, ...]:
    """Judge the number of divergent draws: any is a caution, more than 1% a failure."""
    stats = require_group(tree, "sample_stats")
    if "diverging" not in stats:
        return (skipped(CODE, "draws", "the sampler did not report divergences", SOURCE),)
    diverging = stats["diverging"].astype(bool)
    count = int(diverging.sum())
    status = above(count, 0, FAIL_SHARE * diverging.size)
    return (
        Finding(
            code=CODE,
            subject="draws",
            status=status,
            value=float(count),
            threshold=0.0,
            message=f"{counted(count, 'draw')} of {diverging.size:,} diverged "
            f"({percent(count / diverging.size, 2, FAIL_SHARE)}).",
            remedy="" if status == "ok" else REMEDY,
            source=SOURCE,
        ),
    )
