"""How much of the posterior lies around a mode: Laplace's approximation there.

Densities are of the unconstrained values of the kernel, in natural logs.
"""

from dataclasses import dataclass
from functools import cached_property, partial

import numpy as np
from scipy.linalg import solve_triangular
from scipy.optimize import minimize

from jointmix.base.errors import NotNormalError
from jointmix.base.threads import on_cores
from jointmix.families.parameters import Parameters
from jointmix.kernel.values import parameters as expanded
from jointmix.kernel.values import relabelling, unconstrain
from jointmix.model.dataset import Dataset
from jointmix.model.packing import packed
from jointmix.model.spec import ModelSpec
from jointmix.modes.curvature import curvature
from jointmix.modes.density import Curvature, LogDensity, RowsDensity
from jointmix.modes.free import free_values

_STEP = 1e-5
#: Steps of a climb, after which the coordinates are made round anew, and how often that is done.
_STEPS, _ROUNDS = 100, 5
#: A climb ends so near to the mode, in standard errors of the coordinates.
_STANDARD_ERRORS = 1e-5
#: Curvatures that are smaller, relative to the largest, are taken for so much.
_LEAST_CURVATURE = 1e-10
#: What may be left to gain at a mode, in nats, by its own curvature.
_LEFT_TO_GAIN = 0.01
#: Draws of a normal approximation at which the density must have fallen as it says, up to a factor:
#: 0.6 to 6 times as much was seen at modes with few rows or clusters too many, and at spikes more
#: than 40 times as much or no density at all.
_TRIED, _FALLS_WITHIN = 20, 20.0


@dataclass(frozen=True, eq=False)
class Normal:
    """N(center, SS') at a mode: center (dim,), S = stretch lower triangular.

    `log_density` is the posterior's at the centre.
    """

    center: np.ndarray
    stretch: np.ndarray
    log_density: float

    @cached_property
    def log_det(self) -> float:
        """log |S|."""
        return float(np.log(np.diagonal(self.stretch)).sum())

    @property
    def log_mass(self) -> float:
        """Log of the integral of the posterior around the mode, as the normal has it."""
        return self.log_density + self.log_det + len(self.center) / 2 * float(np.log(2 * np.pi))

    def moved(self, linear: np.ndarray) -> "Normal":
        """That of M x, of a linear map M (dim, dim) that leaves volumes as they are."""
        upper = np.linalg.qr((linear @ self.stretch).T, mode="r")
        stretch = (upper * np.sign(np.diagonal(upper))[:, None]).T
        return Normal(linear @ self.center, stretch, self.log_density)

    def draw(self, n: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        """Draws (n, dim), and their log densities (n,)."""
        z = rng.normal(size=(n, len(self.center)))
        log_density = -0.5 * ((z**2).sum(-1) + z.shape[1] * np.log(2 * np.pi)) - self.log_det
        return self.center + z @ self.stretch.T, log_density


def normal_at(
    log_density: LogDensity,
    start: np.ndarray,
    curvature: Curvature | None = None,
    rough: Curvature | None = None,
) -> Normal:
    """The normal approximation at the mode that is climbed to from a start (dim,).

    The mode by L-BFGS in coordinates that the curvature where it sets out makes round.

    Parameters
    ----------
    log_density
        Called from several threads.
    curvature
        Of many rows, the negative Hessian; of few it is found by differences of the gradient.
    rough
        One much like it that costs less, by which coordinates are made round: that of some rows.

    Raises
    ------
    NotNormalError
        If no mode is found with a curvature that is negative in all directions, or a standard error
        or two from it the posterior is nothing like the approximation.
    """
    # Of few rows a gradient takes less than handing it to a thread.
    cores = 1 if curvature is None else None
    bends = curvature or partial(_differences, log_density)
    center, value = start, -np.inf
    for _ in range(_ROUNDS):
        center, value, ended = _climbed(log_density, center, rough or bends)
        if ended:
            break
    try:
        here = bends(center)
        if not np.isfinite(here).all():
            raise np.linalg.LinAlgError
        factor = np.linalg.cholesky(here[::-1, ::-1])[::-1, ::-1]
    except np.linalg.LinAlgError as error:
        raise NotNormalError(
            "The posterior has no mode with curvature in all directions near the EM start; sample "
            "it, with sampler='nutpie' and adaptation='auto'."
        ) from error
    # H = UU' with U upper triangular, so that S = U'⁻¹ is lower triangular and SS' = H⁻¹.
    stretch = solve_triangular(factor.T, np.eye(len(start)), lower=True)
    normal = Normal(center, stretch, value)
    if not _is_near(normal, log_density, cores):
        raise NotNormalError(
            "The curvature at the mode near the EM start does not describe the posterior around "
            "it; sample it, with sampler='nutpie' and adaptation='auto'."
        )
    return normal


def _is_near(normal: Normal, log_density: LogDensity, cores: int | None) -> bool:
    """Whether the density peaks at the centre, and falls around it about as the normal does."""
    # Half the squared length of the whitened gradient is what a parabola has left to gain.
    left = normal.stretch.T @ log_density(normal.center)[1]
    if not left @ left / 2 < _LEFT_TO_GAIN:
        return False
    z = np.random.default_rng(0).normal(size=(_TRIED, len(normal.center)))
    tried = normal.center + z @ normal.stretch.T
    fall = normal.log_density - np.array(on_cores(lambda at: log_density(at)[0], tried, cores))
    ratio = fall / ((z**2).sum(axis=1) / 2)
    # NaN compares as false.
    return bool(((ratio > 1 / _FALLS_WITHIN) & (ratio < _FALLS_WITHIN)).all())


def _climbed(
    log_density: LogDensity, start: np.ndarray, curvature: Curvature
) -> tuple[np.ndarray, float, bool]:
    """Where some steps uphill lead, the log density there, and whether that is the end."""
    rounding = _rounding(curvature(start))

    def objective(z: np.ndarray) -> tuple[float, np.ndarray]:
        value, gradient = log_density(start + rounding @ z)
        if not (np.isfinite(value) and np.isfinite(gradient).all()):
            return np.inf, np.zeros(len(z))
        return -value, -(rounding.T @ gradient)

    found = minimize(
        objective,
        np.zeros(len(start)),
        jac=True,
        method="L-BFGS-B",
        options={"maxiter": _STEPS, "maxfun": 2 * _STEPS, "maxcor": 10, "ftol": 1e-15,
                 "gtol": _STANDARD_ERRORS},
    )  # fmt: skip
    return start + rounding @ found.x, -float(found.fun), bool(found.success)


def _differences(log_density: LogDensity, at: np.ndarray) -> np.ndarray:
    """The negative Hessian by central differences of the gradient, (dim, dim)."""
    steps = _STEP * np.eye(len(at))
    found = np.array([log_density(at - step)[1] - log_density(at + step)[1] for step in steps])
    return (found + found.T) / (4 * _STEP)


def _rounding(curvature: np.ndarray) -> np.ndarray:
    """R for which R'|H|R is the identity, but for directions with next to no curvature."""
    if not np.isfinite(curvature).all():
        return np.eye(len(curvature))
    try:
        return np.linalg.inv(np.linalg.cholesky(curvature)).T
    except np.linalg.LinAlgError:
        value, vector = np.linalg.eigh(curvature)
    size = np.abs(value)
    return np.asarray(vector / np.sqrt(np.maximum(size, _LEAST_CURVATURE * size.max(initial=1.0))))


@dataclass(frozen=True, eq=False)
class Peak:
    """A mode of the posterior: the normal approximation, and parameters on the model's scale."""

    normal: Normal
    parameters: Parameters

    def permuted(self, order: np.ndarray, spec: ModelSpec) -> "Peak":
        """The same with entry k of ``order`` (component,) as the k-th component."""
        if (np.diff(order) == 1).all():
            return self
        normal = self.normal.moved(relabelling(spec, order))
        return Peak(normal, self.parameters.permute(order))


class Landscape:
    """A model's posterior given rows, labels left free, as modes are looked for on it."""

    def __init__(self, dataset: Dataset) -> None:
        self._dataset = dataset
        self.log_density = RowsDensity(dataset)
        rough = self.log_density.rough
        self._curvatures: tuple[Curvature, ...] = ()
        if rough is not None:
            self._curvatures = self.log_density.curvature, partial(curvature, rough)

    def point(self, parameters: Parameters) -> np.ndarray:
        """The unconstrained values (dim,) at parameters on the users' scale."""
        spec = self._dataset.spec
        values = free_values(self._dataset.scaling.to_model(parameters), spec)
        return unconstrain(values, spec, None)

    def peak_near(self, parameters: Parameters) -> Peak | None:
        """The mode of the posterior that is climbed to from parameters on the users' scale.

        None where there is none: the climb does not end, or not at a maximum that the posterior
        falls off from as its curvature says.
        """
        try:
            normal = normal_at(self.log_density, self.point(parameters), *self._curvatures)
        except NotNormalError:
            return None
        spec = self._dataset.spec
        return Peak(normal, packed(expanded(self.log_density.problem, spec, normal.center), spec))
