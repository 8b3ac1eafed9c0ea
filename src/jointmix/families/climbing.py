"""Steps in the log of a shape, for M-steps."""

from collections.abc import Callable

import numpy as np

_HALVINGS = 3
#: The longest step, and over how much of the logarithm the slope is looked at for its curvature.
_LONGEST, _APART = 2.0, 1e-3

#: Of values (start, cluster, 1): numbers of each row, (start, cluster, obs).
EachRow = Callable[[np.ndarray], np.ndarray]


def better_shape(
    share: np.ndarray,
    value: np.ndarray,
    height: EachRow,
    slope: EachRow,
    bounds: tuple[float, float],
) -> np.ndarray:
    """Values (start, cluster) of a higher Σ_n r_n height_n, or as they are, between bounds.

    Newton's step in the log, the longest uphill where the curvature is that of no maximum, and a
    quarter of it until it climbs. The mean square of the slopes is the curvature near the maximum
    alone: far from it steps would be as short as one over the slopes.

    Parameters
    ----------
    share
        Responsibilities r, (start, cluster, obs).
    value
        (start, cluster), positive.
    height, slope
        Log densities, and their derivatives in the value.
    """

    def total(values: np.ndarray) -> np.ndarray:
        return np.asarray((share * height(values[..., None])).sum(axis=-1))

    def pull(values: np.ndarray) -> np.ndarray:
        return values * (share * slope(values[..., None])).sum(axis=-1)

    here = pull(value)
    curvature = (pull(value * np.exp(_APART)) - here) / _APART
    newton = here / np.maximum(-curvature, np.abs(here) / _LONGEST + 1e-300)
    step = np.where(curvature < 0, newton, _LONGEST * np.sign(here))
    before, found = total(value), value
    for _ in range(_HALVINGS):
        tried = np.clip(value * np.exp(step), *bounds)
        climbs = total(tried) >= before
        found = np.where(climbs, tried, found)
        if climbs.all():
            break
        step = np.where(climbs, step, step / 4)
    return found
