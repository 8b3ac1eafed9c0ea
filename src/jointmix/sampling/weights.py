"""Importance weights of candidates: what they say of a proposal, smoothed, and who is chosen."""

from dataclasses import dataclass

import numpy as np
from arviz_stats.base import array_stats
from scipy.special import logsumexp

from jointmix.base.errors import NotNormalError


@dataclass(frozen=True)
class Weights:
    """What the weights of candidates say of a proposal.

    Attributes
    ----------
    share
        Effective share of the candidates (Kong 1992), in (0, 1].
    shape
        Pareto k̂ of the largest weights.
    largest
        Share that the largest has of their sum.
    acceptance
        Expected rate at which an independence chain accepts.
    log_mean, error
        Log of the mean weight, and its Monte Carlo standard error.
    n
        Number of candidates.
    """

    share: float
    shape: float
    largest: float
    acceptance: float
    log_mean: float
    error: float
    n: int


def weigh(log_weight: np.ndarray) -> Weights:
    """Summaries of log weights (candidate,)."""
    n = len(log_weight)
    total = logsumexp(log_weight)
    if not np.isfinite(total):
        return Weights(0.0, np.inf, 1.0, 0.0, -np.inf, np.inf, n)
    weight = np.exp(log_weight - total)
    share = 1 / (n * (weight**2).sum())
    # E min(w, w') / E w over pairs of candidates, from the sorted weights.
    ascending = np.sort(weight)
    acceptance = 2 * (ascending * (n - np.arange(n) - 0.5)).sum() / n
    error = np.sqrt(max(1 / share - 1, 0.0) / n)
    _, shape = smoothed(log_weight)
    return Weights(
        float(share), shape, float(weight.max()), float(acceptance),
        float(total - np.log(n)), float(error), n,
    )  # fmt: skip


def smoothed(log_ratio: np.ndarray) -> tuple[np.ndarray, float]:
    """Pareto-smoothed log weights (candidate,), normalised, and the shape k̂.

    A point of no density has weight zero; k̂ is then that of the others, −∞ where all weights
    are equal, and ∞ where no Pareto distribution fits the largest.
    """
    finite = np.isfinite(log_ratio)
    if finite.sum() < 100:
        return np.where(finite, 0.0, -np.inf) - np.log(max(finite.sum(), 1)), np.inf
    result = np.full(len(log_ratio), -np.inf)
    if np.ptp(log_ratio[finite]) < 1e-9:
        # Equal weights have no tail to fit.
        result[finite] = -np.log(finite.sum())
        return result, -np.inf
    with np.errstate(invalid="ignore", divide="ignore", over="ignore"):
        weight, shape = array_stats.psislw(-log_ratio[finite])
    if not (np.isfinite(shape) and np.isfinite(weight).all()):
        # No Pareto distribution fits the tail.
        weight, shape = log_ratio[finite] - logsumexp(log_ratio[finite]), np.inf
    result[finite] = weight
    return result, float(shape)


def systematic(weight: np.ndarray, n: int, rng: np.random.Generator) -> np.ndarray:
    """Places (n,) of candidates chosen in proportion to their weights (candidate,), side by side.

    Candidates are visited in random order at equal steps of their cumulated weight (Madow 1949;
    Carpenter, Clifford and Fearnhead 1999). None of weight below the step comes twice, so that a
    mean over the chosen has the error of ``n`` independent draws; choosing with replacement would
    add the error of the candidates to it, which no draw shows. A candidate of more weight stands
    next to itself, where effective sample sizes count it once.
    """
    order = rng.permutation(len(weight))
    reached = np.cumsum(weight[order])
    at = (np.arange(n) + rng.uniform()) * (reached[-1] / n)
    return order[np.searchsorted(reached, at, side="right").clip(max=len(weight) - 1)]


def require_density(usable: bool, n: int) -> None:
    """Refuse candidates of which none can be a draw.

    Raises
    ------
    NotNormalError
        Unless any is ``usable``.
    """
    if not usable:
        raise NotNormalError(
            f"The posterior has no density at any of {n:,} candidates around its mode; sample it "
            "with sampler='nutpie'."
        )
