"""What implementations are compared on: one posterior, and points where it is evaluated."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from jointmix.families.parameters import Parameters
from jointmix.families.priors.priors import Fixed, InverseGamma, Normal, StudentT
from jointmix.families.protocol import Parameter, Role
from jointmix.families.rows import Rows
from jointmix.model.dataset import Dataset
from jointmix.model.location import coordinates, householder
from jointmix.model.spec import ModelSpec
from jointmix.validation.twin.family import Twin, twins
from jointmix.validation.twin.priors import full_shape

#: Names of the first blocks of unconstrained values; others are called as the parameter is.
WEIGHT, LOCATION = "weight", "location"
_SHARES = 3

#: Unconstrained values at which one kind of parameter is extreme: weights and probabilities of
#: 1e-9, scales from 2e-3 to 150, partial correlations of ±0.995, shapes from 0.02 to 22,000.
_EXTREMES: dict[Role, tuple[float, ...]] = {
    "weight": (-10.0, 10.0),
    "location": (-25.0, 25.0),
    "scale": (-6.0, 5.0),
    "correlation": (-6.0, 6.0),
    "shape": (-4.0, 10.0),
    "probability": (-10.0, 10.0),
}
#: The same for squares of scales, and for logs of gaps of 1e-5 and of 90 prior scales.
_VARIANCE, _GAP = (-12.0, 10.0), (-12.0, 4.5)


@dataclass(frozen=True, eq=False)
class Problem:
    """The posterior of a table under a specification, as a density of unconstrained values q.

    Attributes
    ----------
    dataset
        The model and its rows.
    direction
        Unit vector along which components are ordered, (location,), or None.
    """

    dataset: Dataset
    direction: np.ndarray | None

    @property
    def spec(self) -> ModelSpec:
        """The model."""
        return self.dataset.spec

    @cached_property
    def rows(self) -> Rows:
        """The rows on the model's scale."""
        return self.dataset.rows

    @cached_property
    def twins(self) -> tuple[Twin, ...]:
        """The independent implementations of the model's blocks."""
        return twins(self.spec)

    @cached_property
    def slices(self) -> dict[str, tuple[slice, tuple[int, ...]]]:
        """Where each block stands in q, and its shape: weights, locations, then the others."""
        free = [item for item in self.spec.parameters.values() if item.free]
        shapes = {item.name: item.free for item in free if item.role == "weight"}
        if n_locations := len(coordinates(self.spec)):
            shapes[LOCATION] = (self.spec.n_clusters, n_locations)
        shapes |= {item.name: item.free for item in free if item.role not in (WEIGHT, LOCATION)}
        found, place = {}, 0
        for name, shape in shapes.items():
            size = int(np.prod(shape))
            found[name] = (slice(place, place + size), shape)
            place += size
        return found

    @cached_property
    def quantities(self) -> dict[str, tuple[str, ...]]:
        """What a site of a NumPyro model can hold, and the blocks of q that it is a function of."""
        found: dict[str, tuple[str, ...]] = {WEIGHT: (WEIGHT,)}
        found |= dict.fromkeys(("place", "across"), (LOCATION,))
        for name, item in self.spec.parameters.items():
            match item.role:
                case "location":
                    found |= dict.fromkeys((name, f"{name}_xi"), (LOCATION,))
                case "scale":
                    units = (f"{item.site}_sd", f"{item.site}_variance")
                    found |= dict.fromkeys((name, f"log_{name}", *units), (name,))
                case "shape":
                    found |= dict.fromkeys((name, f"log_{name}"), (name,))
                case "correlation":
                    found |= dict.fromkeys((name, f"{name}_cholesky"), (name,))
                case "probability":
                    found[name] = (name,)
        for twin in self.twins:
            found |= twin.further
        return found

    @property
    def dim(self) -> int:
        """Number of unconstrained values."""
        return self.spec.n_parameters

    def role(self, block: str) -> Role:
        """What the parameters of a block are."""
        return "location" if block == LOCATION else self.spec.parameters[block].role

    def block_of(self, variable: str) -> str:
        """The block of a free variable of the PyMC model: sd of feature_variance, and so on."""
        for name, item in self.spec.parameters.items():
            if item.site and variable in (item.site, f"{item.site}_sd", f"{item.site}_variance"):
                return name
        return variable

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
        """What densities take, on the model's scale, at points (point, dim).

        Covariances are factored from q itself: from correlations they would lose digits.
        """
        free = {WEIGHT: self._weight(q)}
        if LOCATION in self.slices:
            free |= self._locations(self.block(q, LOCATION))
        for name in self.slices:
            item = self.spec.parameters.get(name)
            if item is not None and item.role != "weight":
                value, shape = self.block(q, name), full_shape(item, self.spec)
                if item.role == "correlation":
                    value = _factor(value, shape[-1])
                elif item.role == "probability":
                    value = _shares(value)
                else:
                    value = np.exp(value / 2 if of_square(item) else value)
                free[name] = np.broadcast_to(value, (len(q), *shape))
        found, scaling = {WEIGHT: free[WEIGHT]}, self.dataset.scaling
        for twin in self.twins:
            found |= twin.complete(free, scaling)
        return Parameters(**found)

    def _weight(self, q: np.ndarray) -> np.ndarray:
        """π (point, component), from q or as it is known."""
        k, prior = self.spec.n_clusters, self.spec.priors.weight
        if WEIGHT not in self.slices:
            known = prior.array if isinstance(prior, Fixed) else np.ones(1)
            return np.broadcast_to(known, (len(q), k))
        return _shares(self.block(q, WEIGHT))

    def _locations(self, value: np.ndarray) -> dict[str, np.ndarray]:
        """Location parameters, each (point, component, *core)."""
        _, xi = cone(self, value)
        found, place = {}, 0
        for name, prior, width in locations(self.spec):
            own = prior.loc + prior.scale * xi[:, :, place : place + width]
            found[name] = own if self.spec.parameters[name].dims else own[:, :, 0]
            place += width
        return found


def of_square(parameter: Parameter) -> bool:
    """Whether the free values of a scale are its squares."""
    return isinstance(parameter.prior, InverseGamma)


def locations(spec: ModelSpec) -> list[tuple[str, Normal | StudentT, int]]:
    """Name, prior and number of columns in ξ of each free location parameter, in ξ's order."""
    items = coordinates(spec)
    priors = {item.parameter: item.prior for item in items}
    names = [item.parameter for item in items]
    return [(name, prior, names.count(name)) for name, prior in priors.items()]


def cone(problem: Problem, value: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Log Jacobian (point,) and ξ (point, component, column) of the block of locations.

    Inside the cone the block holds the first place along the direction, logs of gaps, and what is
    across.
    """
    if problem.direction is None:
        return np.zeros(len(value)), value
    gaps = np.exp(value[:, 1:, 0])
    place = np.cumsum(np.concatenate([value[:, :1, 0], gaps], axis=1), axis=1)
    eta = np.concatenate([place[:, :, None], value[:, :, 1:]], axis=2)
    return value[:, 1:, 0].sum(1), eta @ householder(problem.direction)


def _shares(logit: np.ndarray) -> np.ndarray:
    """Numbers (..., n + 1) that sum to one from all but the last of their log ratios (..., n)."""
    whole = np.concatenate([logit, -logit.sum(-1, keepdims=True)], axis=-1)
    share = np.exp(whole - whole.max(-1, keepdims=True))
    return np.asarray(share / share.sum(-1, keepdims=True))


def _factor(logit: np.ndarray, d: int) -> np.ndarray:
    """Cholesky factors of correlation matrices (point, matrix, d, d) from their log odds."""
    factor = np.zeros((*logit.shape[:2], d, d)) + np.eye(d)
    for entry, (i, j) in enumerate(zip(*np.tril_indices(d, -1), strict=True)):
        # p = 2u − 1 and √(1 − p²), from log odds without cancellation.
        factor[:, :, i, j] = factor[:, :, i, i] * np.tanh(logit[:, :, entry] / 2)
        factor[:, :, i, i] /= np.cosh(logit[:, :, entry] / 2)
    return factor


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
        role = problem.role(name)
        square = role == "scale" and of_square(problem.spec.parameters[name])
        for value in _VARIANCE if square else _EXTREMES[role]:
            for everywhere in (False, True):
                point = center.copy()
                block = point[where].reshape(shape)
                _put(block, value, role, everywhere, problem.direction is not None)
                found.append(point)
    if LOCATION in problem.slices and problem.direction is not None:
        found += [_gaps(problem, center, value) for value in _GAP]
    return np.stack(found)


def _put(block: np.ndarray, value: float, role: Role, everywhere: bool, ordered: bool) -> None:
    """Make a block extreme in place; factors of more than one strong correlation are singular."""
    if role == "correlation":
        block[slice(None) if everywhere else slice(1), 0] = value
    elif role == "location":
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
