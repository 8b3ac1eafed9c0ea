"""Are these draws of the posterior, or of an approximation of it?"""

import numpy as np
import xarray as xr

from jointmix.base.numbers import fixed
from jointmix.checks.finding import Finding, Status
from jointmix.model.settings import LARGEST_PARETO_SHAPE

CODE = "approximation"
SOURCE = "Vehtari et al. (2024), Journal of Machine Learning Research 25(72)"


def approximation(tree: xr.DataTree) -> str:
    """The name of the approximation that made the draws; empty for draws by NUTS."""
    return str(tree.attrs.get("approximation", ""))


def check(tree: xr.DataTree) -> tuple[Finding, ...]:
    """Judge an approximation by the Pareto shape k̂ of its importance weights."""
    name = approximation(tree)
    if not name:
        return ()
    shape = float(tree.attrs.get("pareto_shape", np.inf))
    reliable, said = shape <= LARGEST_PARETO_SHAPE, fixed(shape, 2, LARGEST_PARETO_SHAPE)
    status: Status = "caution" if reliable else "fail"
    message = f"These draws come from a quick approximation ({name}), not from NUTS; "
    if reliable:
        message += f"its importance weights are reliable (Pareto k = {said})."
    else:
        message += (
            f"it is far from the posterior (Pareto k = {said}, above {LARGEST_PARETO_SHAPE})."
        )
    return (
        Finding(
            code=CODE,
            subject="draws",
            status=status,
            value=shape,
            threshold=LARGEST_PARETO_SHAPE,
            message=message,
            remedy="Fit with sampler='nutpie' before conclusions are drawn.",
            source=SOURCE,
        ),
    )
