"""Steps of scoring in the log of a shape, for M-steps."""

from collections.abc import Callable

import numpy as np

_HALVINGS = 3

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

    A step of scoring in the log, halved until it climbs.

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

    each = value[..., None] * slope(value[..., None])
    information = (share * each**2).sum(axis=-1)
    step = np.clip((share * each).sum(axis=-1) / np.maximum(information, 1e-10), -1.0, 1.0)
    before, found = total(value), value
    for _ in range(_HALVINGS):
        tried = np.clip(value * np.exp(step), *bounds)
        climbs = total(tried) >= before
        found = np.where(climbs, tried, found)
        if climbs.all():
            break
        step = np.where(climbs, step, step / 4)
    return found
