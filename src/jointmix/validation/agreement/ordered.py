"""Models that order their components: in what, and the points at which they can be compared."""

from dataclasses import dataclass, replace
from itertools import product

import numpy as np
from scipy.special import gammaln

from jointmix.validation.agreement.plain_sides import numpy_side, scipy_prior
from jointmix.validation.agreement.problem import WEIGHT, Problem, random_points
from jointmix.validation.agreement.sorting import exchanged_alone, permuted
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
    moves
        Of a model that sorts parameters inside (see `sorting`): which unconstrained values these
        are, (dim,); None of one whose density is zero out of order.
    sorted, others
        Names of those parameters, and of further ones that are sorted by themselves.
    """

    problem: Problem
    label: str
    sign: int
    surplus: float = 0.0
    moves: np.ndarray | None = None
    sorted: str = ""
    others: tuple[str, ...] = ()

    def arranged(self, q: np.ndarray) -> np.ndarray:
        """Points (point, dim) with their components in order; those with ties are left out."""
        value = self._value(q)
        q = permuted(self.problem, q, np.argsort(value, axis=1, kind="stable"))
        return q[(np.diff(np.sort(value, axis=1), axis=1) > 0).all(axis=1)]

    def folded(self, q: np.ndarray) -> np.ndarray:
        """Draws (draw, dim) with what the model sorts sorted as it does."""
        if self.moves is None:
            return q
        order = np.argsort(self._value(q), axis=1, kind="stable")
        return permuted(self.problem, q, order, self.moves)

    def _value(self, q: np.ndarray) -> np.ndarray:
        return self.sign * _ordinals(self.problem, q)[self.label]

    def applied(self, side: Side) -> Side:
        """The implementation as it is compared at points in order.

        Its prior is on the unordered model's scale; what it sorts is given to it in other orders.
        """
        if self.moves is not None:
            return self._scattered(side, self.moves)

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

    def _scattered(self, side: Side, moves: np.ndarray) -> Side:
        k = self.problem.spec.n_clusters
        orders = np.stack([*(np.roll(np.arange(k), n) for n in range(k)), np.arange(k)[::-1]])
        unit = np.eye(self.problem.dim)
        # Exchanging is linear in q: one matrix, transposed, for each order.
        maps = np.stack([permuted(self.problem, unit, np.tile(o, (len(unit), 1)), moves)
                         for o in orders])  # fmt: skip

        def at(q: np.ndarray) -> Terms:
            own = maps[np.arange(len(q)) % len(maps)]
            found = side.evaluate((q[:, None, :] @ own)[:, 0])
            if found.gradient is None:
                return found
            back = own @ found.gradient[:, :, None]
            return replace(found, gradient=back[:, :, 0])

        text = (
            f"Your model sorts {self.sorted} inside, by {self.label}"
            f"{', falling' if self.sign < 0 else ''}: each of the K! orders that these come in "
            "must have the specification's density in that one, as a copy of its posterior; it "
            "was compared so in several of them."
        )
        return replace(side, evaluate=at, notes=(*side.notes, text))


def find_order(problem: Problem, side: Side) -> Order | None:
    """The order outside of which a model's density is zero, or which it sorts parameters to.

    Every parameter that is one number a component is tried. Where it is in order the density must
    be positive, and zero where two neighbours are exchanged. A model that sorts parameters inside
    is positive everywhere; it has None if it sorts none.
    """
    k = problem.spec.n_clusters
    if k == 1:
        return None
    q = random_points(problem, np.zeros(problem.dim), _POINTS, seed=2)
    if np.isfinite(_totals(side, q)).all():
        return _find_sorting(problem, side, q)
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


def _find_sorting(problem: Problem, side: Side, q: np.ndarray) -> Order | None:
    """The order to which a model sorts parameters: that in which it is nearest to what is right."""

    def likelihood(points: np.ndarray) -> np.ndarray:
        found = side.evaluate(points).likelihood
        assert found is not None
        return found

    moves = exchanged_alone(problem, likelihood, lambda points: _by_component(side, points))
    if not moves:
        return None
    (names, own), *others = moves.items()
    right, nearest, least = numpy_side(problem), None, np.inf
    for label, sign in product(_ordinals(problem, q), (1, -1)):
        if label in names or label.partition("[")[0] in names:
            also = tuple(", ".join(each) for each, _ in others)
            order = Order(problem, label, sign, moves=own, sorted=", ".join(names), others=also)
            inside = order.arranged(q)
            given, wanted = _by_component(side, inside), _by_component(right, inside)
            if given is None:
                given, wanted = likelihood(inside), right.evaluate(inside).likelihood
            far = float(np.median(np.abs(given - wanted)))
            if far < least:
                nearest, least = order, far
    return nearest


def _by_component(side: Side, q: np.ndarray) -> np.ndarray | None:
    """log p(x_i, y_i | k), (point, obs, component); None where it is not told apart."""
    found = side.evaluate(q)
    if found.features is None or found.response is None:
        return None
    return found.features + found.response


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
            columns = item.labels or (spec.entries[item.dims[0]] if len(item.dims) == 1 else ())
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
