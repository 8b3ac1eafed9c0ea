"""Effective sample size and R-hat of draws whose labels were matched to the truth."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from jointmix.labels.assignment import assign, permute, switch_rate

#: Parameters that are scored; correlations are left out, as the peers' forms of them differ.
SCORED = ("weight", "mean", "sd", "intercept", "slope", "sigma")
_LOCATIONS = ("mean", "intercept", "slope")
_LEAST_DRAWS = 4


@dataclass(frozen=True)
class Scores:
    """How good draws are.

    Attributes
    ----------
    min_ess
        The smallest bulk effective sample size of any parameter's entry.
    r_hat
        The largest R-hat.
    switched
        Share of draws whose components stood in another order than those of most; they were put
        in order before the other two were computed.
    """

    min_ess: float
    r_hat: float
    switched: float


def score(draws: Mapping[str, np.ndarray], values: Mapping[str, np.ndarray]) -> Scores:
    """Score draws after sorting out their labels.

    Each draw's components are matched to the truth's by their locations (mean, intercept and
    slope), so that the squared distances have the smallest sum.

    Parameters
    ----------
    draws
        Name → (chain, draw, component, ...).
    values
        The truth on the same scale, name → (component, ...).

    Raises
    ------
    ValueError
        If a chain has fewer than four draws, or all parameters are constant.
    """
    n_chains, n_draws, k = draws["weight"].shape
    if n_draws < _LEAST_DRAWS:
        raise ValueError(f"Scores need {_LEAST_DRAWS} draws of a chain; got {n_draws}.")
    at = _locations({name: draws[name] for name in _LOCATIONS}, (n_chains * n_draws, k))
    true = _locations({name: values[name] for name in _LOCATIONS}, (1, k))[0]
    distance = ((at[:, None, :, :] - true[None, :, None, :]) ** 2).sum(-1)
    order = assign(-distance)
    sizes, ratios = [], []
    for name in SCORED:
        if name in draws:
            flat = draws[name].reshape(n_chains * n_draws, *draws[name].shape[2:])
            for entry in _free_entries(permute(flat, order).reshape(n_chains, n_draws, -1)):
                sizes.append(_diagnostic("ess", entry))
                ratios.append(_diagnostic("rhat", entry))
    if not sizes:
        raise ValueError("All parameters are constant: there is nothing to score.")
    return Scores(min(sizes), max(ratios), switch_rate(order))


def _locations(values: Mapping[str, np.ndarray], shape: tuple[int, int]) -> np.ndarray:
    """Mean, intercept and slope side by side, (draw, component, location)."""
    return np.concatenate([values[name].reshape(*shape, -1) for name in _LOCATIONS], axis=-1)


def _free_entries(values: np.ndarray) -> list[np.ndarray]:
    """Entries (chain, draw) of (chain, draw, entry) that are not known constants."""
    spread = np.ptp(values, axis=(0, 1))
    # A constant that went through a change of scale may differ in its last bits.
    free = spread > 1e-12 * np.abs(values).max(axis=(0, 1))
    return [values[..., i] for i in np.flatnonzero(free)]


def _diagnostic(name: str, entry: np.ndarray) -> float:
    from arviz_stats.base import array_stats

    return float(getattr(array_stats, name)(entry, chain_axis=0, draw_axis=1))
