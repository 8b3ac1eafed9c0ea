"""A stratified sample of the rows, by which the labels of draws are found where rows are many."""

from dataclasses import dataclass

import numpy as np

from jointmix.families.rows import Rows
from jointmix.labels.assignment import assign
from jointmix.labels.relabel import cross_counts

#: Rows of each cluster in a sample, and in a first one, which is enough for most draws.
SAMPLE_ROWS, FEW_ROWS = 500, 150
#: Standard errors by which a cluster's favourite component leads in a sample before it is taken
#: for that of all rows: a chance of 3e-7 a cluster.
_SURE = 5.0


@dataclass(frozen=True, eq=False)
class Sample:
    """Rows drawn from each cluster of a pivot alike.

    Attributes
    ----------
    rows
        The rows of the sample.
    pivot
        Their clusters, (row,), from 0.
    weight
        Rows of the table that each stands for, times their own weights, (row,).
    error
        Standard error of a share of a cluster's rows, at most, times what the cluster weighs,
        (cluster,); 0 of a cluster of which all rows are in the sample.
    """

    rows: Rows
    pivot: np.ndarray
    weight: np.ndarray
    error: np.ndarray

    def ecr(self, allocations: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The permutations (draw, cluster) by ECR, and of which draws all rows would say the same.

        A draw is sure where each cluster's favourite component is another one and leads by so
        much that no sampling error brings it down: then no other permutation can have more in
        common with the pivot.

        Parameters
        ----------
        allocations
            Component of each row of the sample, (draw, row).
        """
        k = len(self.error)
        counts = cross_counts(allocations, self.pivot, k, self.weight)
        labels = assign(counts)
        favourite = counts.argmax(axis=-1)
        own = np.take_along_axis(counts, labels[..., None], -1)[..., 0]
        others = counts.copy()
        np.put_along_axis(others, labels[..., None], -np.inf, -1)
        lead = own - others.max(axis=-1)
        sure = (favourite == labels).all(axis=-1) & (lead >= _SURE * self.error).all(axis=-1)
        return labels, sure


def stratified(rows: Rows, pivot: np.ndarray, k: int, size: int = SAMPLE_ROWS) -> Sample:
    """A sample of some rows of each cluster of a pivot (obs,), the same for the same rows."""
    rng, places, weights, error = np.random.default_rng(0), [], [], np.zeros(k)
    own = np.ones(len(pivot)) if rows.weight is None else rows.weight
    for cluster in range(k):
        every = np.flatnonzero(pivot == cluster)
        place = every
        if len(every) > size:
            place = np.sort(rng.choice(every, size, replace=False))
            total, weight = own[every].sum(), own[place]
            # Of a difference of two shares, whose variance is at most that of ±1.
            error[cluster] = total * np.sqrt((weight**2).sum()) / weight.sum()
            weights.append(weight * (total / weight.sum()))
        else:
            weights.append(own[place])
        places.append(place)
    chosen = np.concatenate(places)
    order = np.argsort(chosen, kind="stable")
    at, weight = chosen[order], np.concatenate(weights)[order]
    return Sample(rows.take(at), pivot[at], weight, error)
