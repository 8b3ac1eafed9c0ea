"""The K! copies of a posterior whose labels are left free, as candidates of one of them see it.

Exchangeable clusters make the posterior density the same under every permutation of the labels. Let
the proposal q be made as symmetric, q̄(θ) = Σ_σ q(σθ) / K!: since p/q̄ is symmetric too, its mean
over candidates of q is that over candidates of q̄, p(data), whether the copies lie apart or overlap
(Frühwirth-Schnatter 2004, doi:10.1111/j.1368-423X.2004.00125.x).
"""

from itertools import permutations
from math import factorial

import numpy as np
from scipy.special import logsumexp

from jointmix.kernel.values import relabelling
from jointmix.model.spec import ModelSpec
from jointmix.sampling.proposal import Proposal

#: Most clusters whose permutations are gone through, and most densities of candidates that are.
MOST_CLUSTERS, _MOST_DENSITIES = 6, 240_000
#: Candidates that are permuted at a time.
_AT_ONCE = 1_024


class Copies:
    """Candidates that are held against all copies, where labels were left free.

    Parameters
    ----------
    spec
        The model.
    direction
        Along which its components are ordered, or None.
    """

    def __init__(self, spec: ModelSpec, direction: np.ndarray | None) -> None:
        k = spec.n_clusters
        #: Whether candidates see some of several copies.
        self.free = k > 1 and spec.exchangeable and direction is None
        known = self.free and k <= MOST_CLUSTERS
        self._spec, self._needed = spec, _MOST_DENSITIES // factorial(k) if known else 0
        self.begin()

    def begin(self) -> None:
        """Forget candidates of an earlier proposal."""
        self._parts: list[tuple[np.ndarray, np.ndarray]] = []

    def keep(self, values: np.ndarray, log_density: np.ndarray) -> None:
        """Add candidates (n, dim) and the posterior's log densities there, if there are too few."""
        if self._needed > sum(len(part) for part, _ in self._parts):
            self._parts.append((values, log_density))

    def log_weights(self, proposal: Proposal) -> np.ndarray | None:
        """`symmetric_weights` of the candidates kept; None of too many clusters."""
        if not self._parts:
            return None
        values, log_density = (
            np.concatenate(each)[: self._needed] for each in zip(*self._parts, strict=True)
        )
        return symmetric_weights(proposal, self._spec, values, log_density)


def symmetric_weights(
    proposal: Proposal, spec: ModelSpec, values: np.ndarray, log_density: np.ndarray
) -> np.ndarray:
    """Log weights log p − log q̄ (candidate,), of which the mean estimates p(data).

    Parameters
    ----------
    proposal
        What the candidates are of.
    values, log_density
        Unconstrained values (candidate, dim), labels left free, and the posterior's log densities
        (candidate,) there, −∞ of candidates that are none.
    """
    found = np.full(len(values), -np.inf)
    usable = np.flatnonzero(np.isfinite(log_density))
    orders = [np.array(order) for order in permutations(range(spec.n_clusters))]
    maps = [relabelling(spec, order) for order in orders]
    for first in range(0, len(usable), _AT_ONCE):
        part = usable[first : first + _AT_ONCE]
        copies = [proposal.log_density(values[part] @ linear.T) for linear in maps]
        mean = logsumexp(copies, axis=0) - np.log(len(maps))
        found[part] = log_density[part] - mean
    return found
