"""Quick approximations of the posterior around a mode, with a measure of how far to trust them.

Both draw candidates from normal approximations q on the unconstrained scale, weight them by p/q,
smooth the largest weights (PSIS) and resample. Where the Pareto shape k̂ exceeds 0.7 the weights
are not reliable; the candidates are then returned unweighted, and k̂ says so.
"""

import time

import numpy as np
from arviz_stats.base import array_stats
from scipy.special import logsumexp

from jointmix.base.errors import SamplingError
from jointmix.base.progress import Progress
from jointmix.model.settings import CANDIDATES, LARGEST_PARETO_SHAPE
from jointmix.sampling.control import Control
from jointmix.sampling.mode import laplace_normal
from jointmix.sampling.result import Draws
from jointmix.sampling.target import Target

#: Paths of Pathfinder, from starts of their own.
_PATHS = 8
#: Smaller eigenvalues of a correlation matrix are lost in rounding.
_LEAST_EIGENVALUE = 1e-12


def run_laplace(
    target: Target, backend: str, seed: int, report: Progress, control: Control
) -> Draws:
    """Draws of the Laplace approximation at the mode, improved by importance resampling.

    Raises
    ------
    SamplingError
        If the mode has no curvature in some direction, or lies at singular correlations.
    """
    del backend, control
    report("sample", 0, 1, "laplace")
    began = time.perf_counter()
    target.check_start(seed)
    rng = np.random.default_rng(seed)
    settings = target.spec.sampler
    n = settings.chains * settings.draws
    normal = laplace_normal(target, seed)
    candidates, log_q = normal.draw(CANDIDATES * n, rng)
    log_p = np.array([target.log_density(q)[0] for q in candidates])
    return _resampled(target, candidates, log_p, log_q, rng, began)


def run_pathfinder(
    target: Target, backend: str, seed: int, report: Progress, control: Control
) -> Draws:
    """Draws by multi-path Pathfinder (Zhang, Carpenter, Gelman and Vehtari 2022).

    Raises
    ------
    SamplingError
        If no path finds an approximation, or all lie at singular correlations.
    """
    from jointmix.model.graph import mixture_model
    from jointmix.sampling.blackjax_runs import jaxified, pathfinder

    del backend, control
    report("sample", 0, 1, "pathfinder")
    began = time.perf_counter()
    target.check_start(seed)
    settings = target.spec.sampler
    model = mixture_model(target.dataset, target.start.direction, "dot")
    log_density, _ = jaxified(model)
    n = settings.chains * settings.draws
    candidates, log_p, log_q = pathfinder(
        log_density, target.points(seed, _PATHS), draws=-(-CANDIDATES * n // _PATHS), seed=seed
    )
    return _resampled(target, candidates, log_p, log_q, np.random.default_rng(seed), began)


def _resampled(
    target: Target,
    candidates: np.ndarray,
    log_p: np.ndarray,
    log_q: np.ndarray,
    rng: np.random.Generator,
    began: float,
) -> Draws:
    settings = target.spec.sampler
    n = settings.chains * settings.draws
    log_weight, shape = smoothed(log_p - log_q)
    if shape <= LARGEST_PARETO_SHAPE:
        chosen = systematic(np.exp(log_weight), n, rng)
    else:
        # Paths that failed may have left fewer than are asked for.
        usable = np.flatnonzero(np.isfinite(log_p))
        chosen = rng.choice(usable, size=n, replace=len(usable) < n)
    chosen = invertible(target, candidates, chosen, rng)
    draws = candidates[chosen].reshape(settings.chains, settings.draws, -1)
    return Draws(
        target.parameters(draws),
        {"logp": log_p[chosen].reshape(draws.shape[:2])},
        np.arange(settings.chains),
        {
            "sample_seconds": time.perf_counter() - began,
            "approximation": settings.sampler,
            "pareto_shape": shape,
        },
    )


def invertible(
    target: Target, candidates: np.ndarray, chosen: np.ndarray, rng: np.random.Generator
) -> np.ndarray:
    """Places of candidates (draw,), those of singular correlations exchanged for others chosen.

    Far from the mode a correlation can round to ±1, where the density of any row is undefined.
    """
    correlation = target.parameters(candidates[chosen]).get("correlation")
    if correlation is None:
        return chosen
    regular = (np.linalg.eigvalsh(correlation)[..., 0] > _LEAST_EIGENVALUE).all(axis=-1)
    if not regular.any():
        raise SamplingError(
            "The approximation lies where the features of a cluster are exact functions of each "
            "other; use fewer clusters, or covariance='diagonal'."
        )
    result = chosen.copy()
    result[~regular] = rng.choice(chosen[regular], size=np.count_nonzero(~regular))
    return result


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
