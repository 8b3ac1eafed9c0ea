"""Rows of which a dataset holds a sample: all that is asked of them are sums."""

from typing import Protocol

import numpy as np

from jointmix.families.parameters import Parameters


class Elsewhere(Protocol):
    """The rows of a table that lie in parts with the workers of a cluster.

    Points are unconstrained values of the model, labels left free; prior densities are not in what
    is returned.

    Attributes
    ----------
    n_rows
        Rows that the model is fitted to.
    total
        The same, each as often as it counts.
    n_parts
        Parts that they lie in.
    log_jacobian
        What to add to their log likelihood on the model's scale for that on the users' scale.
    """

    @property
    def n_rows(self) -> int: ...
    @property
    def total(self) -> float: ...
    @property
    def n_parts(self) -> int: ...
    @property
    def log_jacobian(self) -> float: ...

    def log_likelihoods(self, points: np.ndarray) -> np.ndarray:
        """Of points (point, dim), (point,)."""

    def gradient(self, point: np.ndarray) -> tuple[float, np.ndarray]:
        """The log likelihood at a point (dim,), and its gradient (dim,)."""

    def curvature(self, point: np.ndarray) -> np.ndarray:
        """Its negative Hessian at a point (dim,), (dim, dim)."""

    def log_densities(self, parameters: Parameters) -> dict[str, float]:
        """Sums over rows of log p(x, y) and log p(x), at parameters on the users' scale."""
