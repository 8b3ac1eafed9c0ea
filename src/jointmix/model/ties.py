"""Values that many rows share, and whether the priors keep clusters from closing on them."""

import numpy as np

from jointmix.families.priors.priors import (
    ZERO_AVOIDING,
)
from jointmix.model.spec import ModelSpec
from jointmix.tables.issues import (
    Issue,
    quoted,
    warning,
)

TIED_SHARE_NOTE = 0.5


def tie_warning(column: np.ndarray, name: str, spec: ModelSpec) -> Issue | None:
    """Values of a column (N,) that many rows share, as rounding leaves them."""
    _, counts = np.unique(column, return_counts=True)
    tied, n = int(counts[counts > 1].sum()), len(column)
    if tied <= TIED_SHARE_NOTE * n:
        return None
    message = (
        f"Column {quoted(name)} holds rounded values: {tied} of {n} rows share theirs with "
        f"another row ({len(counts)} distinct values)."
    )
    remedy = (
        "None is needed, as the prior of its scale vanishes at zero."
        if ties_are_harmless(spec, name)
        else "Use a prior on the scale that vanishes at zero faster than any power, such as the "
        "default inverse-gamma; a cluster can otherwise close on tied rows."
    )
    return warning("ties", message, remedy, name, None, tied / n)


def ties_are_harmless(spec: ModelSpec, column: str) -> bool:
    """Whether the prior keeps a cluster from closing on tied values of a column."""
    if column == spec.response:
        return spec.priors.sigma.family in ZERO_AVOIDING
    return spec.covariance == "fixed" or spec.priors.sd.family in ZERO_AVOIDING
