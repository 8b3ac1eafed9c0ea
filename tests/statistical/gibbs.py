"""Gibbs samplers of small mixtures, written apart from the package.

Priors: weights Dirichlet(a, ..., a), coefficients N(0, s²), variances inverse-gamma. A cluster's
data are a regression of each column on a design; a mean is a regression on a column of ones.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import logsumexp


@dataclass(frozen=True, kw_only=True)
class Block:
    """One column, normal around a line in its design, with a variance for each cluster."""

    target: NDArray
    design: NDArray
    prior_sd: float
    shape: float
    scale: float


@dataclass(frozen=True, eq=False)
class Draws:
    """weight (draw, cluster); for each block coefficient (draw, cluster, ·), variance."""

    weight: NDArray
    coefficient: list[NDArray]
    variance: list[NDArray]


def gibbs(
    blocks: list[Block], allocation: NDArray, concentration: float, n_draws: int, seed: int
) -> Draws:
    """Draws after a warm-up of a tenth as many, started at an allocation (obs,)."""
    rng = np.random.default_rng(seed)
    k = int(allocation.max()) + 1
    variance = [np.ones(k) for _ in blocks]
    kept: list[tuple[NDArray, list[NDArray], list[NDArray]]] = []
    warmup = n_draws // 10
    for step in range(warmup + n_draws):
        count = np.bincount(allocation, minlength=k)
        weight = rng.dirichlet(concentration + count)
        log_density = np.log(weight) + np.zeros((len(allocation), k))
        coefficient = []
        for index, block in enumerate(blocks):
            beta = np.stack(
                [_coefficient(block, allocation == j, variance[index][j], rng) for j in range(k)]
            )
            residual = block.target[:, None] - block.design @ beta.T
            square = np.array([(residual[allocation == j, j] ** 2).sum() for j in range(k)])
            rate = block.scale + square / 2
            variance[index] = rate / rng.gamma(block.shape + count / 2)
            log_density -= residual**2 / (2 * variance[index]) + np.log(variance[index]) / 2
            coefficient.append(beta)
        share = np.exp(log_density - logsumexp(log_density, axis=1, keepdims=True))
        below = rng.random((len(allocation), 1)) > share.cumsum(1)
        allocation = np.minimum(below.sum(1), k - 1)
        if step >= warmup:
            kept.append((weight, coefficient, [value.copy() for value in variance]))
    return Draws(
        weight=np.stack([draw[0] for draw in kept]),
        coefficient=[np.stack([draw[1][i] for draw in kept]) for i in range(len(blocks))],
        variance=[np.stack([draw[2][i] for draw in kept]) for i in range(len(blocks))],
    )


def _coefficient(
    block: Block, members: NDArray, variance: float, rng: np.random.Generator
) -> NDArray:
    """A draw from N(P⁻¹X'y/v, P⁻¹), P = X'X/v + I/s², over a cluster's rows."""
    design, target = block.design[members], block.target[members]
    precision = design.T @ design / variance + np.eye(design.shape[1]) / block.prior_sd**2
    root = np.linalg.cholesky(precision)
    center = np.linalg.solve(precision, design.T @ target / variance)
    return center + np.linalg.solve(root.T, rng.normal(size=len(center)))
