"""BlackJAX's NUTS and multi-path Pathfinder on a JAX log density over a flat vector.

JAX functions are traced in the calling thread: traced first in another one, they gave NaN.
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from scipy.special import logsumexp

from jointmix.base.errors import MissingExtraError, SamplingError
from jointmix.base.progress import Progress
from jointmix.sampling.control import LEAST_DRAWS, Control
from jointmix.sampling.jaxified import LogDensity

#: XLA cannot be interrupted: between so many parts of a run progress and Ctrl-C have their turn.
_SEGMENTS = 20


def nuts(
    logp: LogDensity,
    starts: np.ndarray,
    *,
    draws: int,
    tune: int,
    target_accept: float,
    dense: bool,
    seed: int,
    data: Sequence[Any] = (),
    report: Progress | None = None,
    control: Control | None = None,
) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Draws by NUTS, after Stan's window adaptation of step size and mass matrix.

    Parameters
    ----------
    logp
        JAX function from a vector (dim,), and data, to the log density there, a scalar.
    starts
        Where the chains start, (chain, dim).
    draws, tune
        Kept draws and adaptation steps of each chain.
    target_accept, dense
        Target acceptance rate of the step-size adaptation; whether the mass matrix is dense.
    seed
        Of all randomness: a rerun on the same machine gives the same draws.
    data
        Arrays, perhaps spread over devices, that are handed to ``logp`` and are no constants of it.
    report
        Called as ``report("sample", done, total, note)`` with numbers of steps of all chains.
    control
        Pauses and stops the chains; obeyed as rarely as report is called.

    Returns
    -------
    positions : numpy.ndarray
        (chain, draw, dim).
    statistics : dict
        Each (chain, draw): `logp`; `diverging`; `depth`, doublings of the trajectory; `n_steps`,
        its gradients; `step_size`; `energy`, the Hamiltonian at the draw; `acceptance_rate`.
        Further `partial`, a single truth value: whether the chains were stopped early.

    Raises
    ------
    SamplingError
        If the log density or its gradient is not finite at a start.
    KeyboardInterrupt
        If stopped before four draws of each chain are finished.
    MissingExtraError
        If BlackJAX is not installed.

    Notes
    -----
    Hoffman and Gelman (2014), with the multinomial trajectories of Betancourt (2017). All chains
    advance together, so that each draw takes as long as the chain with the longest trajectory.
    """
    jax = _require_jax()
    tell = report or (lambda *_: None)
    n_chains, length = len(starts), -(-draws // _SEGMENTS)
    parts: list[tuple[np.ndarray, dict[str, np.ndarray]]] = []
    with jax.enable_x64(True):
        positions = jax.numpy.asarray(starts, dtype="float64")
        _require_density(logp, positions, data)
        keys = jax.random.split(jax.random.key(seed), (2, n_chains))
        adapt = _adaptation(logp, tune, target_accept, dense)
        advance = _segment(logp, length)
        try:
            tell("sample", 0, n_chains * (tune + draws), "adapting")
            _obey(control)
            states, tuned = adapt(keys[0], positions, data)
            for first in range(0, draws, length):
                _obey(control)
                states, part = advance(states, tuned, keys[1], first, data)
                parts.append(jax.tree.map(np.asarray, part))
                done = n_chains * (tune + min(first + length, draws))
                tell("sample", done, n_chains * (tune + draws), _note(parts))
        except KeyboardInterrupt:
            if len(parts) * length < LEAST_DRAWS:
                raise KeyboardInterrupt("Stopped before the first draws were finished.") from None
    chains, statistics = jax.tree.map(lambda *all_: np.concatenate(all_, 1)[:, :draws], *parts)
    return chains, statistics | {"partial": np.asarray(chains.shape[1] < draws)}


def _obey(control: Control | None) -> None:
    """Wait as long as the run is paused; a stop is passed on as Ctrl-C would be."""
    if control is None:
        return
    control.hold()
    if control.stopped:
        raise KeyboardInterrupt


def _require_jax() -> Any:
    """The package jax, if it and BlackJAX are installed."""
    try:
        import blackjax  # noqa: F401
        import jax
    except ImportError as error:
        raise MissingExtraError(
            "The sampler 'blackjax' needs the extra jax: pip install 'jointmix[jax]'."
        ) from error
    return jax


def _require_density(logp: LogDensity, positions: Any, data: Sequence[Any]) -> None:
    import jax

    def at_all(points: Any, data: Sequence[Any]) -> Any:
        return jax.vmap(lambda point: jax.value_and_grad(logp)(point, *data))(points)

    values, gradients = jax.jit(at_all)(positions, data)
    finite = np.isfinite(values) & np.isfinite(gradients).all(axis=1)
    if not finite.all():
        value = float(values[int(np.argmin(finite))])
        raise SamplingError(
            f"The log density at a start is {value}, or its gradient is not finite; check for "
            "columns that are exact functions of others."
        )


def _adaptation(
    logp: LogDensity, tune: int, target_accept: float, dense: bool
) -> Callable[..., Any]:
    """From keys, positions and data to the chains' states, step sizes and mass matrices."""
    import blackjax
    import jax
    from blackjax.adaptation.base import get_filter_adapt_info_fn

    @jax.jit
    def adapt(keys: Any, positions: Any, data: Sequence[Any]) -> tuple[Any, tuple[Any, Any]]:
        algorithm = blackjax.window_adaptation(
            blackjax.nuts,
            lambda point: logp(point, *data),
            is_mass_matrix_diagonal=not dense,
            target_acceptance_rate=target_accept,
            # By default every state of every trajectory of the adaptation would be kept.
            adaptation_info_fn=get_filter_adapt_info_fn(),
        )

        def chain(key: Any, position: Any) -> tuple[Any, tuple[Any, Any]]:
            (state, tuned), _ = algorithm.run(key, position, tune)
            return state, (tuned["step_size"], tuned["inverse_mass_matrix"])

        return jax.vmap(chain)(keys, positions)

    return adapt


def _segment(logp: LogDensity, length: int) -> Callable[..., Any]:
    """A function that advances the chains by ``length`` draws."""
    import blackjax
    import jax

    kernel = blackjax.nuts.build_kernel()

    @jax.jit
    def advance(
        states: Any, tuned: Any, keys: Any, first: Any, data: Sequence[Any]
    ) -> tuple[Any, Any]:
        def density(point: Any) -> Any:
            return logp(point, *data)

        def chain(state: Any, tuned: tuple[Any, Any], key: Any) -> tuple[Any, Any]:
            def one(state: Any, index: Any) -> tuple[Any, Any]:
                # A key of the draw's number: how draws are cut into segments changes none.
                state, info = kernel(jax.random.fold_in(key, index), state, density, *tuned)
                statistics = {
                    "logp": state.logdensity,
                    "diverging": info.is_divergent,
                    "depth": info.num_trajectory_expansions,
                    "n_steps": info.num_integration_steps,
                    "step_size": tuned[0],
                    "energy": info.energy,
                    "acceptance_rate": info.acceptance_rate,
                }
                return state, (state.position, statistics)

            return jax.lax.scan(one, state, first + jax.numpy.arange(length))

        return jax.vmap(chain)(states, tuned, keys)

    return advance


def _note(parts: list[tuple[np.ndarray, dict[str, np.ndarray]]]) -> str:
    divergences = sum(int(statistics["diverging"].sum()) for _, statistics in parts)
    steps = np.mean([statistics["n_steps"].mean() for _, statistics in parts])
    return f"{divergences} divergences, {steps:.1f} gradients a draw"


def pathfinder(
    logp: LogDensity,
    starts: np.ndarray,
    *,
    draws: int,
    seed: int,
    max_iterations: int = 100,
    history: int = 10,
    elbo_draws: int = 25,
    report: Progress | None = None,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Candidates for importance resampling, by multi-path Pathfinder.

    From each start L-BFGS climbs towards a mode; of the normal approximations along its path,
    that of the largest ELBO is kept. Whichever path φ came from, q is the mixture of all,

        log q(φ) = log Σ_j N(φ | m_j, S_j) − log(number of paths).

    The paper weighs φ by its own path's approximation alone, which
    counts a mode once for each path that ends in it, and leaves weights unbounded where a path
    ends too narrow. The mixture does neither (the balance heuristic: Owen and Zhou 2000).

    Parameters
    ----------
    logp
        JAX function from a vector (dim,) to the log density there, a scalar.
    starts
        Where the paths start, (path, dim).
    draws, seed
        Candidates of each path, and the seed of all randomness.
    max_iterations, history, elbo_draws
        Steps of L-BFGS, how many of them its estimate of the Hessian remembers, and draws with
        which the ELBO is estimated at each step.
    report
        Called as ``report("sample", done, total, note)`` with numbers of paths.

    Returns
    -------
    positions : numpy.ndarray
        (candidate, dim), the paths in turn. Paths that failed are left out, and so are
        candidates at which log p is not finite.
    log_p, log_q : numpy.ndarray
        (candidate,): the log density, and that of the mixture of approximations.

    Raises
    ------
    SamplingError
        If the ELBO of no path is finite.
    MissingExtraError
        If BlackJAX is not installed.

    Notes
    -----
    Zhang, Carpenter, Gelman and Vehtari (2022), doi:10.48550/arXiv.2108.03782. L-BFGS moves in
    the principal axes of the Hessian of log p at its start, in units of their curvatures: in the
    given coordinates its variances were too small by factors of 30 and more in some directions.
    On 1,000 rows of the four-cluster example (39 dims) this took k̂ from 1.8 to 0.2.
    """
    jax = _require_jax()
    tell = report or (lambda *_: None)
    rng = np.random.default_rng(seed)
    normals: list[tuple[np.ndarray, np.ndarray]] = []
    with jax.enable_x64(True):
        approximate = _path(logp, max_iterations, history, elbo_draws)
        keys = jax.random.split(jax.random.key(seed), len(starts))
        for done, start in enumerate(np.asarray(starts, dtype="float64")):
            tell("sample", done, len(starts), f"{done - len(normals)} paths failed")
            elbo, mean, factor = approximate(keys[done], start)
            if np.isfinite(elbo):
                normals.append((np.asarray(mean), np.asarray(factor)))
        if not normals:
            raise SamplingError(
                "No path of Pathfinder has a finite ELBO; check for columns that are exact "
                "functions of others, or sample with NUTS."
            )
        positions = np.concatenate(
            [mean + rng.normal(size=(draws, len(mean))) @ factor.T for mean, factor in normals]
        )
        log_p = np.asarray(jax.jit(lambda points: jax.lax.map(logp, points))(positions))
    tell("sample", len(starts), len(starts), f"{len(starts) - len(normals)} paths failed")
    kept = np.isfinite(log_p)
    return positions[kept], log_p[kept], _log_mixture(positions[kept], normals)


def _log_mixture(positions: np.ndarray, normals: list[tuple[np.ndarray, np.ndarray]]) -> np.ndarray:
    """Log density (candidate,) of the mixture of normals with equal weights."""
    log_q = []
    for mean, factor in normals:
        z = np.linalg.solve(factor, (positions - mean).T)
        log_q.append(-(z**2 + np.log(2 * np.pi)).sum(axis=0) / 2 - np.linalg.slogdet(factor)[1])
    return logsumexp(log_q, axis=0) - np.log(len(normals))


def _path(
    logp: LogDensity, max_iterations: int, history: int, elbo_draws: int
) -> Callable[..., Any]:
    """A function from a key and a start to ELBO, mean m and factor B of the best normal.

    The normal is that of m + Bz with z ~ N(0, I). Log densities are mapped, not vectorised: each
    may need an array of the size rows × components.
    """
    import jax
    import jax.numpy as jnp
    from blackjax.vi import pathfinder as single

    lbfgs = {"maxiter": max_iterations, "maxcor": history, "ftol": 1e-9}

    def normal(point: Any) -> tuple[Any, Any]:
        covariance = jnp.diag(point.alpha) + point.beta @ point.gamma @ point.beta.T
        # BlackJAX 1.7 holds the gradient of −log p, but steps as if it were that of log p: its
        # own means and ELBOs lie as far beyond the point as the mode lies before it.
        return point.position - covariance @ point.grad_position, jnp.linalg.cholesky(covariance)

    @jax.jit
    def approximate(key: Any, start: Any) -> tuple[Any, Any, Any]:
        axes = _principal_axes(logp, start)

        def whitened(z: Any) -> Any:
            return logp(start + axes @ z)

        # One draw, as its ELBOs are not used.
        path = single.approximate(key, whitened, jnp.zeros_like(start), 1, **lbfgs)[1].path
        # The same noise along the path: its points differ by more than chance.
        noise = jax.random.normal(jax.random.fold_in(key, 1), (elbo_draws, len(start)))

        def elbo(point: Any) -> Any:  # But for a constant of the path.
            mean, factor = normal(point)
            entropy = jnp.log(jnp.diag(factor)).sum()
            value = jax.lax.map(whitened, mean + noise @ factor.T).mean() + entropy
            return jnp.where(jnp.isfinite(value), value, -jnp.inf)

        # A path that has arrived stays there for the rest of the iterations.
        steps = jnp.diff(path.position, axis=0, prepend=jnp.inf)
        elbos = jax.lax.map(
            lambda item: jax.lax.cond(item[0], elbo, lambda _: -jnp.inf, item[1]),
            ((steps != 0).any(axis=1), path),
        )
        best = jnp.argmax(elbos)
        mean, factor = normal(jax.tree.map(lambda values: values[best], path))
        return elbos[best], start + axes @ mean, axes @ factor

    return approximate


def _principal_axes(logp: LogDensity, start: Any) -> Any:
    """A matrix A (dim, dim) for which −log p(start + Az) has curvatures of ±1 at z = 0."""
    import jax
    import jax.numpy as jnp

    def product(vector: Any) -> Any:
        return jax.jvp(jax.grad(logp), (start,), (vector,))[1]

    hessian = jax.lax.map(product, jnp.eye(len(start)))
    values, vectors = jnp.linalg.eigh((hessian + hessian.T) / 2)
    curvature = jnp.abs(values)
    # A direction without curvature keeps its unit.
    return vectors / jnp.sqrt(jnp.where(curvature > 1e-12 * curvature.max(), curvature, 1.0))
