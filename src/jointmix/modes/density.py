"""A model's posterior density given all its rows, in this process or elsewhere."""

from collections.abc import Callable
from functools import cached_property

import numpy as np

from jointmix.families.rows import with_weight
from jointmix.kernel.densities import SquaredDensity, densities, prior_densities
from jointmix.kernel.entry import value_and_gradient
from jointmix.kernel.problem import make_problem
from jointmix.model.dataset import Dataset
from jointmix.modes.curvature import curvature

#: Log density at a point (dim,), and its gradient (dim,).
LogDensity = Callable[[np.ndarray], tuple[float, np.ndarray]]
#: The negative Hessian at a point (dim,), (dim, dim).
Curvature = Callable[[np.ndarray], np.ndarray]

#: Rows beyond which coordinates are made round by some of them, and how many.
_MANY_ROWS, _SOME_ROWS = 40_000, 10_000


class RowsDensity:
    """The log posterior density of unconstrained values, labels left free.

    Parameters
    ----------
    dataset
        The model and its rows; where these are a sample of rows elsewhere, the density is given
        all of those.
    """

    def __init__(self, dataset: Dataset) -> None:
        self._dataset = dataset

    @cached_property
    def problem(self) -> np.ndarray:
        """The kernel's description of model, priors and the rows in this process."""
        return make_problem(self._dataset)

    @cached_property
    def alone(self) -> np.ndarray:
        """That of model and priors alone."""
        return make_problem(self._dataset, rows=self._dataset.rows.take(slice(0, 0)))

    @cached_property
    def squared(self) -> SquaredDensity | None:
        """Densities of many points by products of matrices, where these take less time."""
        pays = SquaredDensity.pays(self._dataset)
        return SquaredDensity(self._dataset, self.problem) if pays else None

    @property
    def total(self) -> float:
        """Rows, each as often as it counts."""
        elsewhere = self._dataset.elsewhere
        return self._dataset.rows.total if elsewhere is None else elsewhere.total

    @property
    def log_jacobian(self) -> float:
        """What to add to the log likelihood on the model's scale for that on the users' scale."""
        if self._dataset.elsewhere is None:
            return self._dataset.scaling.total_jacobian(self._dataset.rows)
        return self._dataset.elsewhere.log_jacobian

    def __call__(self, q: np.ndarray) -> tuple[float, np.ndarray]:
        """At unconstrained values (dim,), and its gradient (dim,)."""
        if self._dataset.elsewhere is None:
            return value_and_gradient(self.problem, q)
        value, slope = value_and_gradient(self.alone, q)
        likelihood, own = self._dataset.elsewhere.gradient(q)
        return value + likelihood, slope + own

    def many(self, points: np.ndarray, cores: int | None) -> np.ndarray:
        """At points (point, dim), (point,); NaN where it cannot be computed."""
        if self._dataset.elsewhere is not None:
            prior = prior_densities(self.alone, points)
            return prior + self._dataset.elsewhere.log_likelihoods(points)
        if self.squared is not None:
            return self.squared(points, cores)
        return densities(self.problem, points, cores)

    def curvature(self, at: np.ndarray) -> np.ndarray:
        """The negative Hessian at unconstrained values, (dim, dim)."""
        if self._dataset.elsewhere is None:
            return curvature(self.problem, at)
        return curvature(self.alone, at) + self._dataset.elsewhere.curvature(at)

    @cached_property
    def rough(self) -> np.ndarray | None:
        """The kernel's description of some of many rows, that weigh as much; None of few."""
        dataset, n = self._dataset, len(self._dataset.values)
        if dataset.elsewhere is None and n <= _MANY_ROWS:
            return None
        rng = np.random.default_rng(0)
        chosen = rng.choice(n, _SOME_ROWS, replace=False) if n > _SOME_ROWS else np.arange(n)
        some = dataset.rows.take(np.sort(chosen))
        weight = some.weights * (self.total / some.total)
        return make_problem(dataset, rows=with_weight(some, weight))
