"""Did trajectories stop at the limit of their length?"""

import xarray as xr

from jointmix.base.numbers import percent
from jointmix.base.schema import require_group
from jointmix.checks.finding import Finding, Status, skipped

CODE = "tree depth"
SOURCE = "Stan Development Team, Runtime warnings and convergence problems (2022)"
#: The limit that nutpie, NumPyro and PyMC have by default.
LIMIT = 10
CAUTION_SHARE = 0.01
REMEDY = "Sample with more tuning steps or the low-rank mass matrix; results stay valid but slow."


def check(tree: xr.DataTree) -> tuple[Finding, ...]:
    """Judge the share of draws whose trajectory reached the depth limit."""
    stats = require_group(tree, "sample_stats")
    if "tree_depth" not in stats:
        return (skipped(CODE, "draws", "the sampler did not report tree depths", SOURCE),)
    share = float((stats["tree_depth"] >= LIMIT).mean())
    status: Status = "caution" if share > CAUTION_SHARE else "ok"
    return (
        Finding(
            code=CODE,
            subject="draws",
            status=status,
            value=share,
            threshold=CAUTION_SHARE,
            message=f"{percent(share)} of the draws reached the depth limit of {LIMIT}.",
            remedy="" if status == "ok" else REMEDY,
            source=SOURCE,
        ),
    )
