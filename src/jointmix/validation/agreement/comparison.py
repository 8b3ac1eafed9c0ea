"""The largest difference of each pair of implementations in each term, and where it is."""

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import combinations
from typing import Any

import numpy as np

from jointmix.validation.agreement.problem import Problem
from jointmix.validation.agreement.terms import (
    Side,
    Sizes,
    Terms,
    sizes,
)

#: Largest relative differences of implementations that agree: some thousand roundings of 1e-16.
DENSITY_BOUND, GRADIENT_BOUND = 1e-12, 1e-9
#: The group of blocks that holds all, where two sides tell them apart in different ways.
_EVERY = ("all parameters",)
#: Numbers (points × rows × components) worked on at a time: 4 MB an array.
_BATCH_NUMBERS = 500_000

PRIOR, LIKELIHOOD, ROWS = "prior", "likelihood", "rows"
FEATURES, RESPONSE, GRADIENT, TOTAL = "features", "response", "gradient", "total"


@dataclass(frozen=True)
class Difference:
    """The largest relative difference of two implementations in one term.

    Attributes
    ----------
    left, right
        Names of the implementations.
    term
        prior, likelihood, total, rows, features, response or gradient; x[NAME], of the features'
        what is that of the discrete one.
    size
        |left − right|, relative to the magnitude of what enters the term (see `terms.Sizes`).
    bound
        The largest size at which the two agree.
    values
        What the two gave there.
    point
        Number of the point, from 0.
    block, index
        Of a prior or a gradient: the parameter, and its index there (empty for a whole block).
    row, component
        Of rows, features, x[NAME] and response: the row's number in the table and the component,
        from 0; None where the term is not of one.
    named
        The row by its label in the table, or its number where it has none.
    """

    left: str
    right: str
    term: str
    size: float
    bound: float
    values: tuple[float, float]
    point: int
    block: str = ""
    index: tuple[int, ...] = ()
    row: int | None = None
    component: int | None = None
    named: str = ""

    @property
    def agrees(self) -> bool:
        """Whether the two agree in this term at all points."""
        return self.size <= self.bound

    @property
    def place(self) -> str:
        """Where the difference is, in words."""
        parts = [f"point {self.point}"]
        if self.block:
            index = f"[{', '.join(map(str, self.index))}]" if self.index else ""
            parts.append(f"{self.block}{index}")
        if self.row is not None:
            parts.append(self.named or f"row {self.row}")
        if self.component is not None:
            parts.append(f"component {self.component}")
        return ", ".join(parts)


@dataclass
class Comparison:
    """Largest differences so far, over chunks of points."""

    problem: Problem
    sides: Sequence[Side]
    found: dict[tuple[str, str, str], Difference] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)
    underflows: dict[str, int] = field(default_factory=dict)
    n_points: int = 0
    n_cut: int = 0

    def run(self, points: np.ndarray) -> list[Difference]:
        """Compare all pairs at all points (point, dim), some at a time."""
        self.n_points += len(points)
        n_rows, k = len(self.problem.rows.y), self.problem.spec.n_clusters
        step = max(1, min(len(points), _BATCH_NUMBERS // (n_rows * k)))
        for first in range(0, len(points), step):
            chunk = points[first : first + step]
            # A compiled function of a batch is compiled for its length: the last is filled up.
            filled = np.concatenate([chunk, np.repeat(chunk[-1:], step - len(chunk), axis=0)])
            given = {}
            for side in self.sides:
                began = time.perf_counter()
                given[side.name] = _cut(side.evaluate(filled), len(chunk))
                spent = time.perf_counter() - began
                self.seconds[side.name] = self.seconds.get(side.name, 0.0) + spent
                under = given[side.name].underflow
                count = 0 if under is None else int(under.sum())
                self.underflows[side.name] = self.underflows.get(side.name, 0) + count
            scales = self._sizes(chunk)
            response = next(iter(scales.values())).response
            self.n_cut += int(np.isinf(response).any((1, 2)).sum())
            self._compare(given, scales, first)
        return list(self.found.values())

    def notes(self) -> list[str]:
        """At how many points something could not be compared."""
        cut = (
            f"At {self.n_cut} of {self.n_points:,} points a response is so far from a component's "
            "mean that jointmix cuts its density off: it was not compared there."
        )
        return [cut] * (self.n_cut > 0) + [
            f"At {count} of {self.n_points:,} points the sum over components of {name} "
            "underflows, x and y being likely in different components: rows were compared there, "
            "their total was not."
            for name, count in self.underflows.items()
            if count
        ]

    def _sizes(self, q: np.ndarray) -> dict[bool, Sizes]:
        """Magnitudes at points, for sides that factor covariances and for others."""
        parameters = self.problem.parameters(q)
        return {
            factors: sizes(self.problem.rows, parameters, self.problem.spec, factors)
            for factors in {side.factors for side in self.sides}
        }

    def _compare(self, given: dict[str, Terms], scales: dict[bool, Sizes], first: int) -> None:
        factors = {side.name: side.factors for side in self.sides}
        for left, right in combinations(given, 2):
            scale = scales[factors[left] or factors[right]]
            for item in _differences(self.problem, given[left], given[right], scale):
                key = (left, right, item.term)
                known = self.found.get(key)
                if known is None or item.size > known.size:
                    dataset = self.problem.dataset
                    row = None if item.row is None else int(dataset.row[item.row])
                    named = "" if row is None else dataset.named(np.array([row]))
                    self.found[key] = Difference(
                        **vars(item)
                        | {"left": left, "right": right, "point": item.point + first, "row": row}
                        | {"named": named}
                    )


def _cut(terms: Terms, n: int) -> Terms:
    """The first n points."""
    cut: dict[str, Any] = {}
    for name, value in vars(terms).items():
        if isinstance(value, dict):
            cut[name] = {own: each[:n] for own, each in value.items()}
        else:
            cut[name] = None if value is None else value[:n]
    return Terms(**cut)


def _differences(problem: Problem, left: Terms, right: Terms, scale: Sizes) -> Iterator[Difference]:
    """Of all terms that both sides have, at one chunk of points."""
    total = scale.rows.sum(1)
    out = np.isinf(total)
    for side in (left, right):
        out |= False if side.underflow is None else side.underflow
    if left.prior is not None and right.prior is not None:
        yield from _prior(problem, left.prior, right.prior, scale.condition)
    for term in (LIKELIHOOD, TOTAL):
        a, b = getattr(left, term), getattr(right, term)
        if a is not None and b is not None:
            size, at = _largest(np.where(out, 0, a), np.where(out, 0, b), total)
            yield _difference(term, size, DENSITY_BOUND, (a[at], b[at]), at[0])
    for term, a, b, magnitude in _pairs(left, right, scale):
        if a is not None and b is not None:
            size, at = _largest(a, b, magnitude)
            component = int(at[2]) if len(at) > 2 else None
            yield _difference(
                term, size, DENSITY_BOUND, (a[at], b[at]), at[0], row=int(at[1]),
                component=component,
            )  # fmt: skip
    if left.gradient is not None and right.gradient is not None and problem.dim:
        a, b = (np.where(out[:, None], 0, own) for own in (left.gradient, right.gradient))
        largest = np.maximum(np.abs(a), np.abs(b)).max(1)
        size, at = _largest(a, b, (np.maximum(1, largest) * scale.condition)[:, None])
        block, index = problem.coordinate(int(at[1]))
        values = (a[at], b[at])
        yield _difference(GRADIENT, size, GRADIENT_BOUND, values, at[0], block=block, index=index)


def _pairs(left: Terms, right: Terms, scale: Sizes) -> Iterator[tuple[str, Any, Any, np.ndarray]]:
    """Terms that are of rows: name, both values, and their magnitudes."""
    for term in (ROWS, FEATURES, RESPONSE):
        yield term, getattr(left, term), getattr(right, term), getattr(scale, term)
    a, b = left.discrete or {}, right.discrete or {}
    for term, magnitude in scale.discrete.items():
        yield term, a.get(term), b.get(term), magnitude


def _prior(
    problem: Problem,
    left: dict[tuple[str, ...], np.ndarray],
    right: dict[tuple[str, ...], np.ndarray],
    condition: np.ndarray,
) -> Iterator[Difference]:
    """The group of blocks in which two priors differ most."""
    worst = None
    correlations = {name for name in problem.slices if problem.role(name) == "correlation"}
    for own, a, b in _common(left, right):
        factor = condition if correlations & {*own} or own == _EVERY else 1.0
        size, at = _largest(a, b, np.maximum(1, np.maximum(np.abs(a), np.abs(b))) * factor)
        if worst is None or size > worst.size:
            block = " and ".join(own)
            values = (a[at], b[at])
            worst = _difference(PRIOR, size, DENSITY_BOUND, values, at[0], block=block)
    if worst is not None:
        yield worst


def _common(
    left: dict[tuple[str, ...], np.ndarray], right: dict[tuple[str, ...], np.ndarray]
) -> Iterator[tuple[tuple[str, ...], np.ndarray, np.ndarray]]:
    """Groups of blocks that both sides can sum to: the coarser of the two partitions."""
    if {b for own in left for b in own} != {b for own in right for b in own}:
        zero = np.zeros(())
        yield _EVERY, sum(left.values(), zero), sum(right.values(), zero)
        return
    groups = [set(own) for own in (*left, *right)]
    while groups:
        group = groups.pop()
        while touching := [other for other in groups if other & group]:
            group = group.union(*touching)
            groups = [other for other in groups if not other & group]
        sums = [
            sum((value for own, value in side.items() if set(own) <= group), np.zeros(()))
            for side in (left, right)
        ]
        yield tuple(sorted(group)), sums[0], sums[1]


def _largest(a: np.ndarray, b: np.ndarray, scale: np.ndarray) -> tuple[float, tuple[int, ...]]:
    """The largest |a − b| / scale and where; infinite where one of the two alone is no number.

    Where the scale is infinite they are not compared.
    """
    same = (a == b) | (np.isnan(a) & np.isnan(b))
    with np.errstate(invalid="ignore"):
        relative = np.where(same | np.isinf(scale), 0.0, np.abs(a - b) / scale)
    relative = np.where(np.isnan(relative), np.inf, relative)
    at = np.unravel_index(int(relative.argmax()), relative.shape)
    return float(relative[at]), tuple(int(i) for i in at)


def _difference(
    term: str,
    size: float,
    bound: float,
    values: tuple[float, float],
    point: int,
    **place: object,
) -> Difference:
    both = (float(values[0]), float(values[1]))
    return Difference("", "", term, size, bound, both, point, **place)  # type: ignore[arg-type]


def odd_ones(differences: Sequence[Difference]) -> list[str]:
    """Implementations that differ from most others, while those agree with one another."""
    pairs: dict[frozenset[str], bool] = {}
    for item in differences:
        pair = frozenset((item.left, item.right))
        pairs[pair] = pairs.get(pair, True) and item.agrees
    names = sorted({name for pair in pairs for name in pair})
    failed = {n: sum(not ok for pair, ok in pairs.items() if n in pair) for n in names}
    return [n for n in names if failed[n] * 2 > sum(n in pair for pair in pairs)]
