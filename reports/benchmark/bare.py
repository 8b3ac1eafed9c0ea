"""The least that a gradient takes: the arithmetic of the rows, without a model around it.

With v = (x, y) and Φ(v) = (1, v, v_i v_j for i ≤ j) the joint log density of a row and a
component is an inner product, log π_k p_k(x, y) = ⟨W_k, Φ(v)⟩. Value and gradient in W are

    Σ_n logsumexp_k(Φ W')    and    R'Φ,  with R = softmax_k(Φ W').

A density alone is the first of them.
"""

from collections.abc import Callable

import numpy as np

from jointmix.families.parameters import Parameters

#: From Φ (N, term) and W (K, term) to the log likelihood and its gradient (K, term).
Bare = Callable[[np.ndarray, np.ndarray], tuple[float, np.ndarray]]


def statistics(rows: np.ndarray) -> np.ndarray:
    """Φ of rows v (N, V): (N, 1 + V + V(V + 1)/2)."""
    first, second = np.triu_indices(rows.shape[1])
    return np.column_stack([np.ones(len(rows)), rows, rows[:, first] * rows[:, second]])


def natural_parameters(parameters: Parameters) -> np.ndarray:
    """W (K, 1 + V + V(V + 1)/2) of components whose predictors are their features.

    (x, y) is then normal with mean (μ, b + μ'θ) and Cholesky factor [[L, 0], [θ'L, σ]].
    """
    p = parameters
    assert p.mean is not None
    assert p.cholesky is not None
    assert p.slope is not None
    assert p.intercept is not None
    assert p.sigma is not None
    k, d = p.mean.shape
    mean = np.column_stack([p.mean, p.intercept + (p.mean * p.slope).sum(-1)])
    factor = np.zeros((k, d + 1, d + 1))
    factor[:, :d, :d] = p.cholesky
    factor[:, d, :d] = np.einsum("ki,kij->kj", p.slope, p.cholesky)
    factor[:, d, d] = p.sigma
    whiten = np.linalg.inv(factor)
    precision = np.einsum("kij,kil->kjl", whiten, whiten)
    linear = np.einsum("kij,kj->ki", precision, mean)
    log_det = np.log(np.diagonal(factor, axis1=1, axis2=2)).sum(-1)
    constant = np.log(p.weight) - 0.5 * (mean * linear).sum(-1) - log_det
    constant -= 0.5 * (d + 1) * np.log(2 * np.pi)
    first, second = np.triu_indices(d + 1)
    quadratic = -precision[:, first, second] * np.where(first == second, 0.5, 1.0)
    return np.column_stack([constant, linear, quadratic])


def numpy_gradient(phi: np.ndarray, natural: np.ndarray) -> tuple[float, np.ndarray]:
    """Log likelihood and its gradient in W, (K, term), in NumPy.

    Parameters
    ----------
    phi, natural
        Φ (N, term) and W (K, term).
    """
    share = phi @ natural.T
    top = share.max(axis=1, keepdims=True)
    share -= top
    np.exp(share, out=share)
    total = share.sum(axis=1, keepdims=True)
    share /= total
    return float(top.sum() + np.log(total).sum()), share.T @ phi


def jax_gradient() -> Bare:
    """The same as one function that JAX has compiled, in 64 bits; returns JAX's arrays."""
    import jax
    import jax.numpy as jnp

    jax.config.update("jax_enable_x64", True)

    @jax.jit
    def gradient(phi: jax.Array, natural: jax.Array) -> tuple[jax.Array, jax.Array]:
        joint = phi @ natural.T
        top = joint.max(axis=1, keepdims=True)
        share = jnp.exp(joint - top)
        total = share.sum(axis=1, keepdims=True)
        return top.sum() + jnp.log(total).sum(), (share / total).T @ phi

    return gradient


def jax_densities() -> Callable[[np.ndarray, np.ndarray], np.ndarray]:
    """Log likelihoods (point,) of W (point, K, term) one after another, compiled by JAX."""
    import jax
    import jax.numpy as jnp

    jax.config.update("jax_enable_x64", True)

    @jax.jit
    def densities(phi: jax.Array, natural: jax.Array) -> jax.Array:
        def density(own: jax.Array) -> jax.Array:
            joint = phi @ own.T
            top = joint.max(axis=1)
            return top.sum() + jnp.log(jnp.exp(joint - top[:, None]).sum(axis=1)).sum()

        return jax.lax.map(density, natural)

    return densities
