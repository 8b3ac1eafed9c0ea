"""Counts that are spread more than Poisson's: mean m = exp(η), variance m + m²/s of the size s."""

from typing import Any

import numpy as np
from scipy.special import expit, gammaln

from jointmix.families.counts import poisson_draws
from jointmix.families.rising import digamma_rising, log_rising

#: Between these, the upper one times the mean count, the M-step looks for sizes: above, the
#: variance is within a thousandth of Poisson's, and below, a cluster's total is that of one row.
_LEAST_SIZE, _MOST_SIZE = 1e-3, 1e3


def log_mass(y: np.ndarray, eta: Any, s: np.ndarray) -> np.ndarray:
    """log Γ(s + y)/(Γ(s) y!) + s log s/(s + m) + y log m/(s + m)."""
    spread = np.logaddexp(0, eta - np.log(s))
    return np.asarray(y * eta + log_rising(y, s) - (s + y) * spread - gammaln(y + 1))


def pull(y: np.ndarray, eta: np.ndarray, s: np.ndarray) -> np.ndarray:
    """Its derivative in η, s (y − m)/(s + m)."""
    away = eta - np.log(s)
    return np.asarray(y * expit(-away) - s * expit(away))


def size_slope(y: np.ndarray, eta: np.ndarray, s: np.ndarray) -> np.ndarray:
    """Its derivative in s."""
    spread = np.logaddexp(0, eta - np.log(s))
    return np.asarray(digamma_rising(y, s) - spread - pull(y, eta, s) / s)


def draws(mean: np.ndarray, s: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Poisson numbers of gamma rates."""
    return poisson_draws(rng.gamma(s, mean / s), rng)


def size_bounds(mean: float) -> tuple[float, float]:
    """Between which an M-step looks for sizes of counts with a mean over all rows."""
    return _LEAST_SIZE, _MOST_SIZE * max(1.0, mean)
