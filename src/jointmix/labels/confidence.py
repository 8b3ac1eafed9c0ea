"""How sure the labels are: do other methods, and the parameters themselves, agree with them?"""

from dataclasses import dataclass

import numpy as np

from jointmix.families.parameters import Parameters
from jointmix.families.rows import Rows, with_weight
from jointmix.kernel.allocate import allocate
from jointmix.labels.assignment import inverse, permute, switch_rate
from jointmix.labels.relabel import ecr, stephens
from jointmix.labels.sample import stratified
from jointmix.model.spec import ModelSpec

#: Responsibilities (draws × rows × components) that a pass of the comparison may evaluate, and the
#: fewest and most draws it takes: larger problems are compared on a sample of the rows and, if need
#: be, on evenly spaced draws.
_MOST_NUMBERS, _SAMPLED_NUMBERS, _LEAST_DRAWS, _MOST_DRAWS = 40_000_000, 20_000_000, 200, 10_000
_MOST_ROUNDS = 20
#: Added to probabilities of levels before their logarithms are taken.
_LEAST_PROBABILITY = 0.01


@dataclass(frozen=True, kw_only=True)
class Confidence:
    """How sure identified labels are.

    Attributes
    ----------
    agreement
        Share of draws to which another method gives the same labels, up to one permutation of
        all draws: ECR for Stephens' and for clusters sorted by a variable, which may cross, so
        that a draw's cluster is another one's rows; Stephens' for all others.
    other
        That method's name.
    n_compared
        Number of draws compared.
    true_permutations
        Share of draws whose components' parameters fall one by one into the clusters that all
        draws' parameters form.
    switch_rate
        Share of draws whose permutation is not the commonest.
    """

    agreement: float
    other: str
    n_compared: int
    true_permutations: float
    switch_rate: float


@dataclass(frozen=True, eq=False)
class Responsibilities:
    """p(k | x, y) of draws, (draw, obs, component), computed when a block of draws is read."""

    rows: Rows
    parameters: Parameters
    spec: ModelSpec

    @property
    def shape(self) -> tuple[int, int, int]:
        """Draws, rows, components."""
        n_draws, k = self.parameters.weight.shape
        return n_draws, len(self.rows.y), k

    def __getitem__(self, key: slice, /) -> np.ndarray:
        """The responsibilities of a block of draws."""
        blocks = self.spec.blocks
        share, _, _ = allocate(self.rows, self.parameters.take(key), blocks, least=0)
        return share.swapaxes(1, 2)


@dataclass(frozen=True, eq=False)
class Allocations:
    """The most probable component of each row in draws, (draw, obs), read by blocks."""

    responsibilities: Responsibilities

    @property
    def shape(self) -> tuple[int, int]:
        """Draws, rows."""
        return self.responsibilities.shape[:2]

    def __getitem__(self, key: slice, /) -> np.ndarray:
        """The allocations of a block of draws."""
        return self.responsibilities[key].argmax(axis=-1)


def confidence(
    rows: Rows,
    parameters: Parameters,
    permutation: np.ndarray,
    spec: ModelSpec,
    method: str,
    pivot: np.ndarray | None = None,
) -> Confidence:
    """How sure the labels of identified draws are.

    Parameters
    ----------
    rows, parameters
        On the same scale; parameters of the draws (draw,) in the sampler's labels.
    permutation
        That identification applied, (draw, cluster).
    method
        That found them.
    pivot
        Cluster of each row (obs,), to which ECR matches the draws where it is the other method;
        by default the most probable one by the labels found, which sorted labels may blend.
    """
    k = spec.n_clusters
    if k == 1 or not spec.exchangeable:
        return Confidence(
            agreement=1.0, other="none", n_compared=0, true_permutations=1.0, switch_rate=0.0
        )
    most = _MOST_NUMBERS
    if len(permutation) * len(rows.y) * k > most:
        most = _SAMPLED_NUMBERS
        if pivot is None:
            first, _, _ = allocate(rows, parameters.take([0]), spec.blocks)
            pivot = np.argsort(permutation[0])[first[0].argmax(axis=0)]
        sample = stratified(rows, pivot, k)
        rows, pivot = with_weight(sample.rows, sample.weight), sample.pivot
    kept = compared_draws(len(permutation), len(rows.y) * k, most)
    values = Responsibilities(rows, parameters.take(kept.tolist()), spec)
    other, found = other_method(values, permutation[kept], method, pivot)
    points = permute(label_parameters(values.parameters, spec), permutation[kept])
    return Confidence(
        agreement=agreement(permutation[kept], found),
        other=other,
        n_compared=len(kept),
        true_permutations=true_permutation_share(points),
        switch_rate=switch_rate(permutation),
    )


def compared_draws(n_draws: int, numbers: int, most: int = _MOST_NUMBERS) -> np.ndarray:
    """Evenly spaced draws whose responsibilities, so many numbers a draw, can be compared."""
    count = min(max(_LEAST_DRAWS, most // max(1, numbers)), _MOST_DRAWS)
    return np.unique(np.linspace(0, n_draws - 1, min(n_draws, count)).astype(int))


def other_method(
    values: Responsibilities,
    permutation: np.ndarray,
    method: str,
    pivot: np.ndarray | None = None,
) -> tuple[str, np.ndarray]:
    """A method that works on another principle, and its permutations of the same draws."""
    weight = values.rows.weight
    if method not in ("stephens", "order_by"):
        return "stephens", stephens(values, permutation, weight)
    if pivot is None:
        total = np.zeros(values.shape[1:])
        for draw, labels in enumerate(permutation):
            total += values[draw : draw + 1][0][:, labels]
        pivot = total.argmax(axis=-1)
    return "ecr", ecr(Allocations(values), pivot, values.shape[2], weight)


def agreement(one: np.ndarray, other: np.ndarray) -> float:
    """Share of draws in which two permutations (draw, cluster) agree, up to a common one."""
    return 1 - switch_rate(np.take_along_axis(inverse(other), one, axis=1))


def label_parameters(parameters: Parameters, spec: ModelSpec) -> np.ndarray:
    """The parameters by which clusters are told apart, (draw, component, parameter).

    Locations, and the logarithms of scales, shapes and probabilities; those that are the same for
    all clusters say nothing and are left out.
    """
    parts = []
    for block in spec.blocks:
        variables = block.variables(parameters)
        for parameter in block.parameters:
            value = variables[parameter.name]
            value = value.reshape(*value.shape[:2], -1)
            if parameter.role == "location":
                parts.append(value)
            elif parameter.role in ("scale", "shape"):
                parts.append(np.log(value))
            elif parameter.role == "probability":
                # A probability of next to nothing is known as such, and not how small it is.
                parts.append(np.log(value + _LEAST_PROBABILITY))
    points = np.concatenate(parts, axis=-1)
    return points[..., np.ptp(points, axis=1).max(axis=0) > 0]


def true_permutation_share(points: np.ndarray) -> float:
    """Share of draws whose components fall one by one into the clusters of all draws' points.

    The points of all draws and components are clustered into K groups, from the identified
    labels, by the normal density with the group's own mean and covariance; a draw whose
    components all fall into different groups is a true permutation. After Malsiner-Walli,
    Frühwirth-Schnatter and Grün (2016), doi:10.1007/s11222-014-9500-2.

    Parameters
    ----------
    points
        Parameters of identified draws, (draw, cluster, parameter).
    """
    n_draws, k, p = points.shape
    if p == 0:
        return float("nan")
    scale = points.reshape(-1, p).std(axis=0)
    flat = (points / scale).reshape(-1, p)
    group = np.tile(np.arange(k), n_draws)
    for _ in range(_MOST_ROUNDS):
        score = np.stack([_log_normal(flat, flat[group == j]) for j in range(k)], axis=1)
        better = score.argmax(axis=1)
        if np.array_equal(better, group):
            break
        group = better
    labels = np.sort(group.reshape(n_draws, k), axis=1)
    return float((labels == np.arange(k)).all(axis=1).mean())


def _log_normal(points: np.ndarray, members: np.ndarray) -> np.ndarray:
    """Log normal density of points (point, parameter) about a group's members, up to a constant."""
    n, p = members.shape
    if n <= p + 1:
        # Too few members for a covariance: nothing is nearest to such a group.
        return np.full(len(points), -np.inf)
    center = members.mean(axis=0)
    deviation = members - center
    covariance = deviation.T @ deviation / (n - 1)
    # Fixed or perfectly correlated parameters would make the covariance singular.
    covariance += (1e-9 + 1e-6 * np.trace(covariance) / p) * np.eye(p)
    factor = np.linalg.cholesky(covariance)
    white = np.linalg.solve(factor, (points - center).T)
    return np.asarray(-0.5 * (white**2).sum(axis=0) - np.log(np.diag(factor)).sum())
