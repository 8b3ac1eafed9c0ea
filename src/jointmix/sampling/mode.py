"""The mode of the unconstrained posterior density, and the normal approximation there."""

from dataclasses import dataclass

import numpy as np
from scipy.linalg import solve_triangular
from scipy.optimize import minimize

from jointmix.base.errors import SamplingError
from jointmix.sampling.target import Target

_STEP = 1e-5
_LARGEST_ITERATIONS = 5000


@dataclass(frozen=True, eq=False)
class Normal:
    """N(center, SS') on the unconstrained scale: center (dim,), S = stretch lower triangular."""

    center: np.ndarray
    stretch: np.ndarray

    def draw(self, n: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        """Draws (n, dim), and their log densities (n,)."""
        z = rng.normal(size=(n, len(self.center)))
        log_det = np.log(np.diagonal(self.stretch)).sum()
        log_density = -0.5 * ((z**2).sum(-1) + z.shape[1] * np.log(2 * np.pi)) - log_det
        return self.center + z @ self.stretch.T, log_density


def laplace_normal(target: Target, seed: int) -> Normal:
    """The normal approximation at the mode of the unconstrained density.

    The mode by L-BFGS from the EM start, the curvature by central differences of the gradient.

    Raises
    ------
    SamplingError
        If no mode is found with a curvature that is negative in all directions.
    """

    def objective(q: np.ndarray) -> tuple[float, np.ndarray]:
        value, gradient = target.log_density(q)
        return -value, -gradient

    found = minimize(
        objective,
        target.point(seed),
        jac=True,
        method="L-BFGS-B",
        options={"maxiter": _LARGEST_ITERATIONS, "maxfun": 2 * _LARGEST_ITERATIONS, "maxcor": 30,
                 "ftol": 1e-15, "gtol": 1e-6},
    )  # fmt: skip
    hessian = np.empty((target.dim, target.dim))
    for i in range(target.dim):
        step = np.zeros(target.dim)
        step[i] = _STEP
        ahead, behind = target.log_density(found.x + step)[1], target.log_density(found.x - step)[1]
        hessian[i] = (behind - ahead) / (2 * _STEP)
    try:
        if not np.isfinite(hessian).all():
            raise np.linalg.LinAlgError
        factor = np.linalg.cholesky((hessian + hessian.T)[::-1, ::-1] / 2)[::-1, ::-1]
    except np.linalg.LinAlgError as error:
        raise SamplingError(
            "The posterior has no mode with curvature in all directions near the EM start; "
            "sample it, with sampler='nutpie'."
        ) from error
    # H = UU' with U upper triangular, so that S = U'⁻¹ is lower triangular and SS' = H⁻¹.
    stretch = solve_triangular(factor.T, np.eye(target.dim), lower=True)
    return Normal(found.x, stretch)
