"""Triangular factors of covariances."""

import numpy as np

_EPSILON = float(np.finfo(float).eps)
#: Eigenvalues below this share of the largest are taken for zero.
_NEGLIGIBLE = 1e-15


def lower_factor(matrix: np.ndarray) -> np.ndarray:
    """Lower Cholesky factors of covariances (..., D, D), also of those that rounding made singular.

    A matrix that is not positive definite in float64 has its diagonal raised by rounding errors,
    so that draws close to a singular covariance can still be judged.

    Raises
    ------
    numpy.linalg.LinAlgError
        If a matrix is not positive definite by more than rounding.
    """
    try:
        return np.linalg.cholesky(matrix)
    except np.linalg.LinAlgError:
        scale = np.sqrt(np.diagonal(matrix, axis1=-2, axis2=-1))
        unit = matrix / (scale[..., :, None] * scale[..., None, :])
        size = matrix.shape[-1]
        raised = 4 * size * _EPSILON
        singular = np.linalg.eigvalsh(unit)[..., :1, None] < raised / 2
        return scale[..., None] * np.linalg.cholesky(unit + singular * raised * np.eye(size))


def least_squares(gram: np.ndarray, right: np.ndarray) -> np.ndarray:
    """The shortest x (..., P) for which gram x is nearest to right (..., P).

    Gram is symmetric, (..., P, P); directions in which it is zero but for rounding are left out.
    """
    value, vector = np.linalg.eigh(gram)
    size = np.abs(value)
    usable = size > _NEGLIGIBLE * size.max(axis=-1, keepdims=True, initial=0.0)
    along = (np.swapaxes(vector, -1, -2) @ right[..., None])[..., 0]
    along = np.divide(along, value, out=np.zeros_like(along), where=usable)
    return np.asarray((vector @ along[..., None])[..., 0])


def unit_diagonal(correlation: np.ndarray) -> np.ndarray:
    """Correlation matrices (..., D, D) with the ones on their diagonals that rounding took."""
    found = np.array(correlation)
    places = np.arange(found.shape[-1])
    found[..., places, places] = 1.0
    return found


def inverse_lower(cholesky: np.ndarray) -> np.ndarray:
    """Inverse of lower triangular matrices, shape (..., D, D), by forward substitution."""
    size = cholesky.shape[-1]
    inverse = np.zeros_like(cholesky)
    for i in range(size):
        row = -np.einsum("...j,...jl->...l", cholesky[..., i, :i], inverse[..., :i, :])
        row[..., i] += 1
        inverse[..., i, :] = row / cholesky[..., i, i, None]
    return inverse
