"""The two component log densities, log p(x | k) and log p(y | x, k), in NumPy.

    p(x, y) = Σ_k π_k N(x | μ_k, Σ_k) N(y | b_k + u'θ_k, σ_k²)

Everything that reads a density outside the PyMC model reads these two terms: the likelihood is
their logsumexp, responsibilities are their softmax. Arrays may carry leading batch dims (draws,
EM starts), written as ``...``.
"""

from dataclasses import dataclass

import numpy as np

_LOG_2PI = float(np.log(2 * np.pi))
_EPSILON = float(np.finfo(float).eps)


@dataclass(frozen=True, eq=False)
class Parameters:
    """Parameters of a joint mixture, with any batch dims in front.

    Attributes
    ----------
    weight
        π, shape (..., K).
    mean, cholesky
        μ, shape (..., K, D), and the lower Cholesky factor of Σ, shape (..., K, D, D); both None
        without features.
    intercept, slope, sigma
        b, shape (..., K), θ, shape (..., K, R), and σ, shape (..., K); all None without a
        response.
    """

    weight: np.ndarray
    mean: np.ndarray | None = None
    cholesky: np.ndarray | None = None
    intercept: np.ndarray | None = None
    slope: np.ndarray | None = None
    sigma: np.ndarray | None = None

    def each(self) -> dict[str, np.ndarray]:
        """The arrays that are present, by name."""
        return {name: value for name, value in vars(self).items() if value is not None}

    def take(self, index: int | slice | list[int]) -> "Parameters":
        """The parameters at ``index`` of the leading batch dim (an int, a slice or a list)."""
        return Parameters(**{name: value[index] for name, value in self.each().items()})

    def batched(self) -> "Parameters":
        """The same with one leading batch dim of length one."""
        return Parameters(**{name: value[None] for name, value in self.each().items()})

    def permute(self, permutation: np.ndarray) -> "Parameters":
        """Reorder the clusters: entry k of ``permutation`` (K,) becomes cluster k."""
        core = {"weight": 1, "intercept": 1, "sigma": 1, "mean": 2, "slope": 2, "cholesky": 3}
        return Parameters(
            **{
                name: np.take(value, permutation, axis=value.ndim - core[name])
                for name, value in self.each().items()
            }
        )


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


def inverse_lower(cholesky: np.ndarray) -> np.ndarray:
    """Inverse of lower triangular matrices, shape (..., D, D), by forward substitution."""
    size = cholesky.shape[-1]
    inverse = np.zeros_like(cholesky)
    for i in range(size):
        row = -np.einsum("...j,...jl->...l", cholesky[..., i, :i], inverse[..., :i, :])
        row[..., i] += 1
        inverse[..., i, :] = row / cholesky[..., i, i, None]
    return inverse


def feature_log_density(x: np.ndarray, parameters: Parameters) -> np.ndarray:
    """log N(x | μ_k, Σ_k) for each row and component.

    Parameters
    ----------
    x
        Features, shape (N, D).
    parameters
        With batch dims ``...``.

    Returns
    -------
    numpy.ndarray
        Shape (..., N, K), natural log; zeros without features.
    """
    mean, cholesky = parameters.mean, parameters.cholesky
    if mean is None or cholesky is None:
        return np.zeros((*parameters.weight.shape[:-1], len(x), parameters.weight.shape[-1]))
    deviation = x - mean[..., None, :]
    white = deviation @ np.swapaxes(inverse_lower(cholesky), -1, -2)
    log_det = np.log(np.diagonal(cholesky, axis1=-2, axis2=-1)).sum(-1)
    square = np.einsum("...nd,...nd->...n", white, white)
    log_density = -0.5 * (square + mean.shape[-1] * _LOG_2PI) - log_det[..., None]
    return np.swapaxes(log_density, -1, -2)


def response_mean(u: np.ndarray, parameters: Parameters) -> np.ndarray:
    """b_k + u'θ_k for rows u (N, R) and each component: shape (..., N, K)."""
    assert parameters.intercept is not None
    assert parameters.slope is not None
    line = parameters.slope @ u.T + parameters.intercept[..., None]
    return np.swapaxes(line, -1, -2)


def response_log_density(y: np.ndarray, u: np.ndarray, parameters: Parameters) -> np.ndarray:
    """log N(y | b_k + u'θ_k, σ_k²) for each row and component.

    Parameters
    ----------
    y, u
        Response, shape (N,), and predictors, shape (N, R).
    parameters
        With batch dims ``...``.

    Returns
    -------
    numpy.ndarray
        Shape (..., N, K), natural log; zeros without a response.
    """
    sigma = parameters.sigma
    if sigma is None:
        return np.zeros((*parameters.weight.shape[:-1], len(u), parameters.weight.shape[-1]))
    residual = (y[:, None] - response_mean(u, parameters)) / sigma[..., None, :]
    return -0.5 * (residual**2 + _LOG_2PI) - np.log(sigma)[..., None, :]


def component_log_density(
    x: np.ndarray, u: np.ndarray, y: np.ndarray, parameters: Parameters
) -> np.ndarray:
    """log π_k + log p(x | k) + log p(y | x, k), shape (..., N, K)."""
    return (
        np.log(parameters.weight)[..., None, :]
        + feature_log_density(x, parameters)
        + response_log_density(y, u, parameters)
    )


def log_likelihood(component: np.ndarray) -> np.ndarray:
    """Log density of each row from component log densities (..., N, K): shape (..., N)."""
    largest = component.max(axis=-1)
    return largest + np.log(np.exp(component - largest[..., None]).sum(axis=-1))


def responsibility(component: np.ndarray) -> np.ndarray:
    """p(k | row) from component log densities (..., N, K), of the same shape."""
    scaled = np.exp(component - component.max(axis=-1, keepdims=True))
    return scaled / scaled.sum(axis=-1, keepdims=True)
