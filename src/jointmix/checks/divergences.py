"""Did the sampler's trajectories diverge?"""

import xarray as xr

from jointmix.base.errors import SchemaError, SpecError
from jointmix.base.numbers import percent
from jointmix.base.schema import require_group
from jointmix.checks.finding import Finding, above, counted, skipped
from jointmix.model.settings import SamplerSpec
from jointmix.posterior.draws import fitted_spec

CODE = "divergences"
SOURCE = "Betancourt (2017), arXiv:1701.02434"
FAIL_SHARE = 0.01
#: Target acceptance rates to try in turn.
_RATES = (0.95, 0.99)


def higher(rate: float) -> float:
    """The next target acceptance rate to try; the same if it is high already."""
    return next((each for each in _RATES if each > rate), rate)


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
            remedy="" if status == "ok" else _remedy(_rate(tree)),
            source=SOURCE,
        ),
    )


def _rate(tree: xr.DataTree) -> float:
    """The target acceptance rate of a fit; the default where the fit does not say."""
    try:
        return fitted_spec(tree).sampler.target_accept
    except (SchemaError, SpecError):
        return SamplerSpec.target_accept


def _remedy(rate: float) -> str:
    cause = "a cluster is close to singular: look at the smallest sd and at tied values."
    if higher(rate) == rate:
        return f"At target_accept = {rate:g} smaller steps do not help: {cause}"
    return f"Raise target_accept to {higher(rate):g}; if divergences stay, {cause}"
