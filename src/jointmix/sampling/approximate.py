"""Quick approximations of the posterior around a mode, with a measure of how far to trust them.

Both draw candidates from normal approximations q, Laplace's in straight coordinates, weight them
by p/q, smooth the largest weights (PSIS) and resample. Where the Pareto shape k̂ exceeds 0.7 the
weights are not reliable; the candidates are then returned unweighted, and k̂ says so.
"""

import time
from collections.abc import Callable
from functools import partial

import numpy as np

from jointmix.base.errors import SamplingError
from jointmix.base.progress import Progress
from jointmix.kernel.densities import prior_densities
from jointmix.kernel.values import parameters as expanded
from jointmix.model.settings import CANDIDATES, LARGEST_PARETO_SHAPE
from jointmix.model.spec import ModelSpec
from jointmix.sampling.backends import cores_used
from jointmix.sampling.control import Control
from jointmix.sampling.proposal import Posterior
from jointmix.sampling.result import Draws
from jointmix.sampling.target import Target
from jointmix.sampling.weights import require_density, smoothed, systematic

#: Paths of Pathfinder, from starts of their own.
_PATHS = 8
#: Candidates that are weighed at a time.
_AT_ONCE = 256
#: Smaller eigenvalues of a correlation matrix are lost in rounding.
_LEAST_EIGENVALUE = 1e-12


def run_laplace(
    target: Target, backend: str, seed: int, report: Progress, control: Control
) -> Draws:
    """Draws of the Laplace approximation at the mode, improved by importance resampling.

    Raises
    ------
    SamplingError
        If the mode has no curvature in some direction, or lies at singular correlations, or there
        is no density around it.
    """
    del backend, control
    report("sample", 0, 1, "laplace")
    began = time.perf_counter()
    target.check_start(seed)
    rng, start, spec = np.random.default_rng(seed), target.start, target.spec
    n = spec.sampler.chains * spec.sampler.draws
    posterior = Posterior(target.dataset, start.direction)
    main, *_ = start.known or (None,)
    normal = posterior.normal_near(start.parameters, main)
    candidates, log_q = normal.draw(CANDIDATES * n, rng)
    usable = np.flatnonzero(np.isfinite(log_q))
    log_p, cores = np.full(len(candidates), -np.inf), cores_used(spec)
    # A few at a time, so that who asks for the end is heard.
    for part in np.array_split(usable, -(-len(usable) // _AT_ONCE) or 1):
        log_p[part] = posterior.log_densities(candidates[part], cores)
    parameters = partial(expanded, posterior.problem, spec)
    likelihood = log_p - prior_densities(posterior.problem, candidates)
    return _resampled(spec, parameters, candidates, log_p, log_q, rng, began, likelihood)


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
    from jointmix.sampling.blackjax_runs import pathfinder
    from jointmix.sampling.jaxified import jaxified

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
    rng = np.random.default_rng(seed)
    return _resampled(target.spec, target.parameters, candidates, log_p, log_q, rng, began)


def _resampled(
    spec: ModelSpec,
    parameters: Callable[[np.ndarray], dict[str, np.ndarray]],
    candidates: np.ndarray,
    log_p: np.ndarray,
    log_q: np.ndarray,
    rng: np.random.Generator,
    began: float,
    log_likelihood: np.ndarray | None = None,
) -> Draws:
    settings = spec.sampler
    n = settings.chains * settings.draws
    require_density(bool(np.isfinite(log_p).any()), len(log_p))
    log_weight, shape = smoothed(log_p - log_q)
    if shape <= LARGEST_PARETO_SHAPE:
        chosen = systematic(np.exp(log_weight), n, rng)
    else:
        # Paths that failed may have left fewer than are asked for.
        usable = np.flatnonzero(np.isfinite(log_p))
        chosen = rng.choice(usable, size=n, replace=len(usable) < n)
    chosen = invertible(parameters, candidates, chosen, rng)
    draws = candidates[chosen].reshape(settings.chains, settings.draws, -1)
    found = {"logp": log_p, "log_likelihood": log_likelihood}
    return Draws(
        parameters(draws),
        {
            name: value[chosen].reshape(draws.shape[:2])
            for name, value in found.items()
            if value is not None
        },
        np.arange(settings.chains),
        {
            "sample_seconds": time.perf_counter() - began,
            "approximation": settings.sampler,
            "pareto_shape": shape,
        },
    )


def invertible(
    parameters: Callable[[np.ndarray], dict[str, np.ndarray]],
    candidates: np.ndarray,
    chosen: np.ndarray,
    rng: np.random.Generator,
) -> np.ndarray:
    """Places of candidates (draw,), those of singular correlations exchanged for others chosen.

    Far from the mode a correlation can round to ±1, where the density of any row is undefined.
    """
    correlation = parameters(candidates[chosen]).get("correlation")
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
