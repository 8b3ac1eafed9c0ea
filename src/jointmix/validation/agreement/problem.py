"""What implementations are compared on: one posterior, and points where it is evaluated."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from jointmix.families.parameters import Parameters
from jointmix.families.rows import Rows
from jointmix.kernel import values
from jointmix.kernel.problem import free_parameters, make_problem, n_free
from jointmix.model.dataset import Dataset
from jointmix.model.rows import make_rows
from jointmix.model.scaling import model_scaling
from jointmix.model.spec import ModelSpec

#: Names of the blocks of unconstrained values, whatever the priors are stated on.
WEIGHT, LOCATION, SD, CORRELATION, SIGMA = "weight", "location", "sd", "correlation", "sigma"
_SHARES = 3

#: Unconstrained values at which one kind of parameter is extreme: standard deviations from 2e-3
#: to 150, partial correlations of ±0.995, weights of 1e-9, gaps of 1e-5 and of 90 prior scales.
_EXTREMES: dict[str, tuple[float, ...]] = {
    WEIGHT: (-10.0, 10.0),
    LOCATION: (-25.0, 25.0),
    SD: (-6.0, 5.0),
    CORRELATION: (-6.0, 6.0),
    SIGMA: (-6.0, 5.0),
}
#: The same for variances and for logs of gaps.
_VARIANCE, _GAP = (-12.0, 10.0), (-12.0, 4.5)


@dataclass(frozen=True, eq=False)
class Problem:
    """The posterior of a table under a specification, as a density of unconstrained values q.

    Attributes
    ----------
    dataset, spec
        The rows and the model.
    direction
        Unit vector along which components are ordered, (location,), or None.
    """

    dataset: Dataset
    spec: ModelSpec
    direction: np.ndarray | None

    @cached_property
    def rows(self) -> Rows:
        """The rows on the model's scale."""
        return make_rows(self.dataset, self.spec)

    @cached_property
    def slices(self) -> dict[str, tuple[slice, tuple[int, ...]]]:
        """Where each block stands in q, and its shape."""
        found, place = {}, 0
        for block in free_parameters(self.spec):
            found[block_name(block.name)] = (slice(place, place + block.size), block.shape)
            place += block.size
        return found

    @property
    def dim(self) -> int:
        """Number of unconstrained values."""
        return n_free(self.spec)

    def block(self, q: np.ndarray, name: str) -> np.ndarray:
        """A block of points (point, dim): (point, *shape)."""
        where, shape = self.slices[name]
        return q[:, where].reshape(len(q), *shape)

    def coordinate(self, index: int) -> tuple[str, tuple[int, ...]]:
        """The block of an unconstrained value, and its index there."""
        for name, (where, shape) in self.slices.items():
            if where.start <= index < where.stop:
                return name, tuple(int(i) for i in np.unravel_index(index - where.start, shape))
        raise IndexError(index)

    def parameters(self, q: np.ndarray) -> Parameters:
        """Parameters on the model's scale at points (point, dim), as the kernel has them.

        Covariances are factored from q itself: from correlations they would lose digits.
        """
        problem = make_problem(self.dataset, self.spec, self.direction)
        found = values.parameters(problem, self.spec, q)
        if "correlation" in found:
            sd, correlation = found.pop("sd"), found.pop("correlation")
            found["cholesky"] = sd[..., :, None] * self._factor(q, correlation)
        return Parameters(**found)

    def _factor(self, q: np.ndarray, correlation: np.ndarray) -> np.ndarray:
        """Cholesky factors of the correlation matrices, (point, component, D, D)."""
        k, d = correlation.shape[1:3]
        if self.spec.covariance == "fixed":
            _, scale = model_scaling(self.dataset, self.spec).feature
            covariance = self.spec.fixed_covariance() / np.outer(scale, scale)
            sd = np.sqrt(np.einsum("kii->ki", covariance))
            fixed = np.linalg.cholesky(covariance) / sd[:, :, None]
            return np.broadcast_to(fixed, (len(q), k, d, d))
        factor = np.zeros((len(q), k, d, d)) + np.eye(d)
        if CORRELATION not in self.slices:
            return factor
        logit = self.block(q, CORRELATION)
        for entry, (i, j) in enumerate(zip(*np.tril_indices(d, -1), strict=True)):
            # p = 2u − 1 and √(1 − p²), from log odds without cancellation.
            factor[:, :, i, j] = factor[:, :, i, i] * np.tanh(logit[:, :, entry] / 2)
            factor[:, :, i, i] /= np.cosh(logit[:, :, entry] / 2)
        return factor


def block_name(of_kernel: str) -> str:
    """`sd` for feature_sd and feature_variance, and so on."""
    names = {"feature": SD, "noise": SIGMA, "partial": CORRELATION}
    return names.get(of_kernel.split("_")[0], of_kernel)


def random_points(problem: Problem, center: np.ndarray, n: int, seed: int) -> np.ndarray:
    """Random points, (n, dim): near the centre, around it, and around zero.

    A third each has standard deviation 0.1 and 0.5 around ``center`` (dim,), the rest 0.8 around
    zero; logs of gaps around zero are of order one.
    """
    rng = np.random.default_rng(seed)
    noise = rng.normal(size=(n, problem.dim))
    kind = np.arange(n) % _SHARES
    near = center + noise * np.where(kind == 0, 0.1, 0.5)[:, None]
    return np.where((kind == _SHARES - 1)[:, None], 0.8 * noise, near)


def extreme_points(problem: Problem, center: np.ndarray) -> np.ndarray:
    """The centre with one kind of parameter at an extreme, in one component and in all."""
    found = [center, np.zeros(problem.dim)]
    for name, (where, shape) in problem.slices.items():
        kernel_name = [block.name for block in free_parameters(problem.spec)]
        variance = any(block_name(own) == name and own.endswith("variance") for own in kernel_name)
        for value in _VARIANCE if variance else _EXTREMES[name]:
            for everywhere in (False, True):
                point = center.copy()
                block = point[where].reshape(shape)
                _put(block, value, name, everywhere, problem.direction is not None)
                found.append(point)
    if LOCATION in problem.slices and problem.direction is not None:
        found += [_gaps(problem, center, value) for value in _GAP]
    return np.stack(found)


def _put(block: np.ndarray, value: float, name: str, everywhere: bool, ordered: bool) -> None:
    """Make a block extreme in place; factors of more than one strong correlation are singular."""
    if name == CORRELATION:
        block[slice(None) if everywhere else slice(1), 0] = value
    elif name == LOCATION:
        # Of ordered ones the first column holds a place and logs of gaps.
        block[slice(None) if everywhere else slice(1), 1 if ordered else 0 :] = value
        if ordered:
            block[0, 0] = value
    else:
        block.reshape(len(block), -1)[slice(None) if everywhere else slice(1)] = value


def _gaps(problem: Problem, center: np.ndarray, value: float) -> np.ndarray:
    point = center.copy()
    where, shape = problem.slices[LOCATION]
    point[where].reshape(shape)[1:, 0] = value
    return point
