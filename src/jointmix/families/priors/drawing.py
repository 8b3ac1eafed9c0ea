"""Draws from all prior families, in NumPy."""

import numpy as np

from jointmix.families.matrices import unit_diagonal
from jointmix.families.priors.priors import (
    LKJ,
    Dirichlet,
    Gamma,
    HalfNormal,
    HalfStudentT,
    InverseGamma,
    LogNormal,
    Normal,
    StudentT,
)


def drawn(prior: object, shape: tuple[int, ...], rng: np.random.Generator) -> np.ndarray:
    """Independent draws of a parameter as its prior is stated.

    Parameters
    ----------
    prior
        Of any family but `Fixed`.
    shape
        Of the draws: of single values; (..., n) of weights, which sum to one over the last dim;
        (..., D, D) of correlation matrices.
    rng
        What they are drawn with.

    Returns
    -------
    numpy.ndarray
        Of that shape: locations, standard deviations (variances under an inverse gamma), degrees
        of freedom, weights or matrices, as in `density.log_density`.

    Raises
    ------
    TypeError
        If it is no prior that can be drawn from.
    """
    match prior:
        case Dirichlet():
            return rng.dirichlet(np.full(shape[-1], prior.concentration), shape[:-1])
        case LKJ():
            return _correlations(prior.eta, shape, rng)
        case Normal():
            return rng.normal(prior.loc, prior.scale, shape)
        case StudentT():
            return prior.loc + prior.scale * rng.standard_t(prior.df, shape)
        case InverseGamma():
            return prior.scale / rng.standard_gamma(prior.shape, shape)
        case HalfNormal():
            return np.abs(rng.normal(0.0, prior.scale, shape))
        case HalfStudentT():
            return np.abs(prior.scale * rng.standard_t(prior.df, shape))
        case LogNormal():
            return rng.lognormal(prior.loc, prior.scale, shape)
        case Gamma():
            return rng.standard_gamma(prior.shape, shape) / prior.rate
    raise TypeError(f"{prior!r} is no prior that can be drawn from")


def _correlations(eta: float, shape: tuple[int, ...], rng: np.random.Generator) -> np.ndarray:
    """LKJ(η) matrices by a C-vine (Lewandowski, Kurowicka and Joe 2009).

    Partial correlations p_ij = 2u_ij − 1 with u_ij ~ Beta(a_j, a_j), a_j = η + (D − 2 − j)/2;
    row i of the Cholesky factor is p_ij ∏_{l<j} √(1 − p_il²).
    """
    *several, _, size = shape
    row, column = np.tril_indices(size, -1)
    a = eta + (size - 2 - column) / 2
    factor = np.zeros(shape) + np.eye(size)
    factor[..., row, column] = 2 * rng.beta(a, a, (*several, len(row))) - 1
    root = np.sqrt(1 - np.tril(factor, -1) ** 2)
    factor[..., 1:] *= np.cumprod(root, axis=-1)[..., :-1]
    return unit_diagonal(factor @ np.swapaxes(factor, -1, -2))
