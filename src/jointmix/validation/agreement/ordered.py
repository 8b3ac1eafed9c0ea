"""Models that order their components: in what, and the points at which they can be compared."""

from dataclasses import dataclass, replace
from itertools import product

import numpy as np
from scipy.special import gammaln

from jointmix.validation.agreement.plain_sides import scipy_prior
from jointmix.validation.agreement.problem import WEIGHT, Problem, random_points
from jointmix.validation.agreement.terms import Side, Terms

_POINTS = 16
#: Differences of sums of log densities below which they are taken for the same.
_SAME = 1e-7


@dataclass(frozen=True, eq=False)
class Order:
    """An order of components that a model imposes, inside which it is compared.

    Attributes
    ----------
    problem
        The posterior, whose labels are free.
    label
        What is ordered: one number a component, such as mean[x1].
    sign
        1 if it rises, −1 if it falls.
    surplus
        log K! where the prior is normalised inside the order, else 0.
    """

    problem: Problem
    label: str
    sign: int
    surplus: float = 0.0

    def arranged(self, q: np.ndarray) -> np.ndarray:
        """Points (point, dim) with their components in order; those with ties are left out."""
        value = self.sign * _ordinals(self.problem, q)[self.label]
        q = permuted(self.problem, q, np.argsort(value, axis=1, kind="stable"))
        return q[(np.diff(np.sort(value, axis=1), axis=1) > 0).all(axis=1)]

    def applied(self, side: Side) -> Side:
        """The implementation, its prior on the unordered model's scale."""

        def at(q: np.ndarray) -> Terms:
            found = side.evaluate(q)
            assert found.total is not None
            assert found.prior is not None
            own = _of_surplus(self.problem, q, found.prior, self.surplus)
            prior = found.prior | {own: found.prior[own] - self.surplus}
            return replace(found, total=found.total - self.surplus, prior=prior)

        text = f"Your model orders its components by {self.label} and was compared in that order."
        if self.surplus:
            text = (
                f"{text[:-1]}; there its prior is K! times as high as without an order, being "
                "normalised."
            )
        found = replace(side, notes=(*side.notes, text))
        return replace(found, evaluate=at) if self.surplus else found


def find_order(problem: Problem, side: Side) -> Order | None:
    """The order outside of which a model's density is zero, if there is one.

    Every parameter that is one number a component is tried. Where it is in order the density must
    be positive, and zero where two neighbours are exchanged.
    """
    k = problem.spec.n_clusters
    if k == 1:
        return None
    q = random_points(problem, np.zeros(problem.dim), _POINTS, seed=2)
    if np.isfinite(_totals(side, q)).all():
        return None
    for label, sign in product(_ordinals(problem, q), (1, -1)):
        order = Order(problem, label, sign)
        inside = order.arranged(q)
        if len(inside) == 0:
            continue
        exchanged = np.tile(np.arange(k), (len(inside), 1))
        place = np.arange(len(inside)) % (k - 1)
        exchanged[np.arange(len(inside)), place] += 1
        exchanged[np.arange(len(inside)), place + 1] -= 1
        outside = permuted(problem, inside, exchanged)
        if (
            np.isfinite(_totals(side, inside)).all()
            and not np.isfinite(_totals(side, outside)).any()
        ):
            return replace(order, surplus=_surplus(problem, side, inside))
    return None


def permuted(problem: Problem, q: np.ndarray, order: np.ndarray) -> np.ndarray:
    """Points (point, dim) whose component k is ``order[point, k]`` of the given ones'."""
    found = q.copy()
    k, every = problem.spec.n_clusters, np.arange(len(q))[:, None]
    for name, (where, shape) in problem.slices.items():
        block = problem.block(q, name)
        if name == WEIGHT:
            full = np.column_stack([block, -block.sum(1)])
            found[:, where] = full[every, order][:, :-1]
        elif shape[0] == k:
            found[:, where] = block[every, order].reshape(len(q), -1)
    return found


def _ordinals(problem: Problem, q: np.ndarray) -> dict[str, np.ndarray]:
    """What components can be ordered by, (point, component)."""
    spec, found = problem.spec, {}
    for name, value in problem.parameters(q).items():
        item = spec.parameters.get(name)
        if item is None or not item.free or (name != WEIGHT and item.free[0] != spec.n_clusters):
            continue
        if value.ndim == 2:
            found[name] = value
        elif value.ndim == 3:
            columns = item.labels or (spec.features if len(item.dims) == 1 else ())
            found |= {f"{name}[{label}]": value[:, :, i] for i, label in enumerate(columns)}
    return found


def _totals(side: Side, q: np.ndarray) -> np.ndarray:
    found = side.evaluate(q).total
    assert found is not None
    return found


def _surplus(problem: Problem, side: Side, q: np.ndarray) -> float:
    """log K! if a prior exceeds the unordered one by that, else 0."""
    prior = side.evaluate(q).prior
    assert prior is not None
    gap = sum(prior.values(), np.zeros(len(q)))
    gap = gap - sum(scipy_prior(problem, q).values(), np.zeros(len(q)))
    known = float(gammaln(problem.spec.n_clusters + 1))
    return known if np.allclose(gap, known, rtol=_SAME, atol=_SAME) else 0.0


def _of_surplus(
    problem: Problem, q: np.ndarray, prior: dict[tuple[str, ...], np.ndarray], surplus: float
) -> tuple[str, ...]:
    """The group of blocks whose prior has the surplus; the first, where groups are not told."""
    right = scipy_prior(problem, q)
    if {block for own in prior for block in own} == set(problem.slices):
        for own, value in prior.items():
            gap = value - sum((right[block,] for block in own), np.zeros(len(q)))
            if np.allclose(gap, surplus, rtol=_SAME, atol=_SAME * np.abs(value).max()):
                return own
    return next(iter(prior))
