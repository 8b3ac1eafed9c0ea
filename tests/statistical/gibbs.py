"""Gibbs samplers of small mixtures, written apart from the package.

Priors: weights Dirichlet(a, ..., a), coefficients N(0, s²), variances inverse-gamma. A cluster's
data are a regression of each column on a design; a mean is a regression on a column of ones. Two
features may be correlated: their variances inverse-gamma and their correlation ρ with density
∝ (1 − ρ²)^(η − 1), which is LKJ(η), drawn by Metropolis steps. Chains run side by side.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

#: Metropolis steps for the variances and the correlation in each sweep.
_STEPS = 6


@dataclass(frozen=True, kw_only=True)
class Block:
    """One column, normal around a line in its design, with a variance for each cluster."""

    target: NDArray
    design: NDArray
    prior_sd: float
    shape: float
    scale: float


@dataclass(frozen=True, kw_only=True)
class Pair:
    """Two columns (obs, 2), normal around each cluster's mean with a full covariance."""

    target: NDArray
    prior_sd: float
    shape: float
    scale: float
    eta: float


@dataclass(frozen=True, eq=False)
class Draws:
    """weight (chain, draw, cluster); for each block, in their order, coefficient
    (chain, draw, cluster, ·) and variance (chain, draw, cluster); for the pair mean, sd
    (chain, draw, cluster, 2) and correlation (chain, draw, cluster)."""

    weight: NDArray
    coefficient: list[NDArray]
    variance: list[NDArray]
    mean: NDArray | None = None
    sd: NDArray | None = None
    correlation: NDArray | None = None


def gibbs(
    blocks: list[Block],
    allocation: NDArray,
    concentration: float,
    n_draws: int,
    seed: int,
    pair: Pair | None = None,
    n_chains: int = 50,
) -> Draws:
    """Draws of each chain after 200 sweeps of warm-up, started at an allocation (obs,)."""
    rng = np.random.default_rng(seed)
    k = int(allocation.max()) + 1
    clusters = np.arange(k)[:, None]
    # Rows are last, over which NumPy runs fast.
    member = np.tile((allocation == clusters).astype(float), (n_chains, 1, 1))
    variance = [np.ones((n_chains, k)) for _ in blocks]
    shape = np.zeros((n_chains, k, 3))
    kept: list[dict[str, NDArray]] = []
    for step in range(200 + n_draws):
        count = member.sum(-1)
        gamma = rng.gamma(concentration + count)
        now = {"weight": gamma / gamma.sum(-1, keepdims=True)}
        log_density = np.log(now["weight"])[..., None] + np.zeros_like(member)
        for index, block in enumerate(blocks):
            beta = _coefficient(block, member, variance[index], rng)
            square = (block.target - beta @ block.design.T) ** 2
            rate = block.scale + (member * square).sum(-1) / 2
            variance[index] = rate / rng.gamma(block.shape + count / 2)
            spread = variance[index][..., None]
            log_density -= square / (2 * spread) + np.log(spread) / 2
            now |= {f"coefficient {index}": beta, f"variance {index}": variance[index]}
        if pair is not None:
            center = _centers(pair, member, _matrices(shape), rng)
            shape = _shapes(pair, member, center, shape, rng)
            log_density += _log_normal(pair.target, center, shape)
            now |= {"mean": center, "sd": np.exp(shape[..., :2] / 2)}
            now["correlation"] = np.tanh(shape[..., 2])
        share = np.exp(log_density - log_density.max(1, keepdims=True)).cumsum(1)
        below = rng.random((n_chains, 1, len(allocation))) * share[:, -1:] > share
        member = (below.sum(1, keepdims=True) == clusters).astype(float)
        if step >= 200:
            kept.append(now)
    drawn = {name: np.stack([each[name] for each in kept], axis=1) for name in kept[0]}
    order = range(len(blocks))
    return Draws(
        weight=drawn["weight"],
        coefficient=[drawn[f"coefficient {index}"] for index in order],
        variance=[drawn[f"variance {index}"] for index in order],
        **{name: drawn.get(name) for name in ("mean", "sd", "correlation")},
    )


def _normal(precision: NDArray, linear: NDArray, rng: np.random.Generator) -> NDArray:
    """Draws from N(P⁻¹l, P⁻¹) for P (..., p, p) and l (..., p)."""
    root = np.linalg.cholesky(precision)
    center = np.linalg.solve(precision, linear[..., None])
    noise = np.linalg.solve(np.swapaxes(root, -1, -2), rng.normal(size=center.shape))
    return (center + noise)[..., 0]


def _coefficient(
    block: Block, member: NDArray, variance: NDArray, rng: np.random.Generator
) -> NDArray:
    """Draws from N(P⁻¹X'y/v, P⁻¹), P = X'X/v + I/s², over each cluster's rows."""
    design, v = block.design, variance[..., None]
    p = design.shape[1]
    outer = (design[:, :, None] * design[:, None, :]).reshape(len(design), p * p)
    gram = (member @ outer).reshape(*variance.shape, p, p)
    precision = gram / v[..., None] + np.eye(p) / block.prior_sd**2
    return _normal(precision, member @ (design * block.target[:, None]) / v, rng)


def _matrices(shape: NDArray) -> NDArray:
    """Covariances (..., 2, 2) of log variances and inverse tanh of the correlation (..., 3)."""
    one, two = np.exp(shape[..., 0] / 2), np.exp(shape[..., 1] / 2)
    cross = np.tanh(shape[..., 2]) * one * two
    rows = [np.stack([one**2, cross], -1), np.stack([cross, two**2], -1)]
    return np.stack(rows, -2)


def _centers(pair: Pair, member: NDArray, matrix: NDArray, rng: np.random.Generator) -> NDArray:
    """Draws of the means (chain, cluster, 2), given covariances."""
    inverse = np.linalg.inv(matrix)
    precision = member.sum(-1)[..., None, None] * inverse + np.eye(2) / pair.prior_sd**2
    total = member @ pair.target
    return _normal(precision, (inverse @ total[..., None])[..., 0], rng)


def _shapes(
    pair: Pair, member: NDArray, center: NDArray, shape: NDArray, rng: np.random.Generator
) -> NDArray:
    """Log variances and inverse tanh of the correlation after some Metropolis steps."""
    count = member.sum(-1)
    one, two = (pair.target[:, i] - center[..., i, None] for i in (0, 1))
    scatter = [(member * product).sum(-1) for product in (one**2, two**2, one * two)]

    def log_density(at: NDArray) -> NDArray:
        # Inverse-gamma of each variance with the Jacobian of its logarithm; (1 − ρ²)^(η − 1)
        # with dρ/d(artanh ρ) = 1 − ρ².
        log_det, square = _quadratic(at, *scatter)
        log_variance = at[..., :2]
        prior = -pair.shape * log_variance - pair.scale * np.exp(-log_variance)
        flat = pair.eta * np.log1p(-(np.tanh(at[..., 2]) ** 2))
        return -(count * log_det + square) / 2 + prior.sum(-1) + flat

    width = np.sqrt(np.array([2.0, 2.0, 1.0]) / np.maximum(count, 4)[..., None])
    value = log_density(shape)
    for _ in range(_STEPS):
        proposal = shape + 1.2 * width * rng.normal(size=shape.shape)
        new = log_density(proposal)
        accepted = np.log(rng.random(new.shape)) < new - value
        shape = np.where(accepted[..., None], proposal, shape)
        value = np.where(accepted, new, value)
    return shape


def _log_normal(target: NDArray, center: NDArray, shape: NDArray) -> NDArray:
    """log N(x | μ_k, Σ_k) without its constant, (chain, cluster, obs)."""
    one, two = (target[:, i] - center[..., i, None] for i in (0, 1))
    log_det, square = _quadratic(shape[..., None, :], one**2, two**2, one * two)
    return -(square + log_det) / 2


def _quadratic(
    shape: NDArray, one: NDArray, two: NDArray, both: NDArray
) -> tuple[NDArray, NDArray]:
    """log |Σ| and tr(Σ⁻¹S), S of the diagonal (one, two) and ``both`` beside it.

    Σ⁻¹ = [[1/v, −ρ/√(vw)], [−ρ/√(vw), 1/w]] / (1 − ρ²).
    """
    first, second, rho = shape[..., 0], shape[..., 1], np.tanh(shape[..., 2])
    free = 1 - rho**2
    trace = one * (np.exp(-first) / free) + two * (np.exp(-second) / free)
    trace -= both * (2 * rho * np.exp(-(first + second) / 2) / free)
    return first + second + np.log(free), trace
