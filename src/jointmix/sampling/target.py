"""What is sampled: the log posterior density over one vector, with starts and parameters."""

from dataclasses import dataclass, fields, replace
from functools import cached_property
from typing import Any

import numpy as np

from jointmix.base.errors import SamplingError
from jointmix.kernel.entry import value_and_gradient
from jointmix.kernel.problem import make_problem, n_free
from jointmix.kernel.values import parameters, unconstrain
from jointmix.model.dataset import Dataset
from jointmix.model.spec import ModelSpec
from jointmix.modes.initial import Start, draw_start

#: Unconstrained values beyond which a dense curvature would cost more than it gains.
LARGEST_DIM = 1500
#: Standard deviation of whitened starts, in units of the posterior's.
_WIDER = 1.3


@dataclass(frozen=True, eq=False)
class Target:
    """A model's posterior given rows, as samplers see it: a density of unconstrained values.

    Attributes
    ----------
    dataset, start
        The model and its rows, and where chains start.
    whitening
        Centre (dim,) and lower triangular S (dim, dim) of a change of variables, or None.
    """

    dataset: Dataset
    start: Start
    whitening: tuple[np.ndarray, np.ndarray] | None = None

    def __getstate__(self) -> dict[str, Any]:
        """What other processes are given: addresses of compiled functions are this one's."""
        return {each.name: getattr(self, each.name) for each in fields(self)}

    @property
    def spec(self) -> ModelSpec:
        """The model."""
        return self.dataset.spec

    @cached_property
    def problem(self) -> np.ndarray:
        """The kernel's description of model and rows."""
        direction = self.start.direction
        return make_problem(self.dataset, direction, self.whitening)

    @cached_property
    def dim(self) -> int:
        """Number of unconstrained values."""
        return n_free(self.spec)

    def whitened(self, center: np.ndarray, stretch: np.ndarray) -> "Target":
        """The same posterior as a density of z, where center + stretch z are the values."""
        return replace(self, whitening=(center, stretch))

    def point(self, seed: int | np.random.SeedSequence | None) -> np.ndarray:
        """A start, jittered around the mode, inside the constraint: (dim,)."""
        rng = np.random.default_rng(seed)
        if self.whitening is not None:
            # Wider than the normal approximation, which is N(0, I) here.
            return _WIDER * rng.normal(size=self.dim)
        values = draw_start(self.start, self.spec, rng)
        return unconstrain(values, self.spec, self.start.direction).astype(np.float64)

    def points(self, seed: int, n: int) -> np.ndarray:
        """As many starts, (n, dim)."""
        children = np.random.SeedSequence(seed).spawn(n)
        return np.stack([self.point(child) for child in children])

    def log_density(self, q: np.ndarray) -> tuple[float, np.ndarray]:
        """Log posterior density of unconstrained values (dim,), and its gradient (dim,)."""
        return value_and_gradient(self.problem, q)

    def parameters(self, draws: np.ndarray) -> dict[str, np.ndarray]:
        """Parameters on the model's scale of draws (..., dim)."""
        return parameters(self.problem, self.spec, draws)

    def check_start(self, seed: int) -> None:
        """Refuse a start of no density.

        Raises
        ------
        SamplingError
            If the log density or its gradient is not finite.
        """
        value, gradient = self.log_density(self.point(seed))
        if not (np.isfinite(value) and np.isfinite(gradient).all()):
            raise SamplingError(
                f"The log density at the start is {value}; check for columns that are exact "
                "functions of others."
            )
