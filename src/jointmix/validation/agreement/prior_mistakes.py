"""Which mistake would give the prior density that an implementation gives."""

from collections.abc import Iterator
from dataclasses import fields, replace
from typing import Any

import numpy as np

from jointmix.families.priors.priors import Dirichlet, InverseGamma, StudentT
from jointmix.validation.agreement.plain_sides import block_prior, positive_prior, scipy_prior
from jointmix.validation.agreement.problem import LOCATION, WEIGHT, Problem, locations
from jointmix.validation.agreement.sorting import permuted
from jointmix.validation.agreement.structure import Structure
from jointmix.validation.agreement.terms import Side

#: Differences of sums of log densities below which they are taken for the same.
_SAME = 1e-7
_FACTORS = {
    "half": 0.5, "twice": 2.0, "a quarter of": 0.25, "four times": 4.0,
}  # fmt: skip
#: Factors among which another value of a prior's parameter is sought, and how often it is refined.
_SOUGHT, _REFINED = np.exp(np.linspace(-6, 6, 121)), 12

Group = tuple[str, ...]


def explain_prior(
    problem: Problem, q: np.ndarray, side: Side, structure: Structure | None = None
) -> list[str]:
    """Sentences on what is wrong with an implementation's priors at a few points (point, dim).

    The structure is that of a model that was handed in.
    """
    given = side.evaluate(q).prior
    if given is None:
        return []
    right, groups = scipy_prior(problem, q), _groups(problem, given)
    found = []
    for blocks, value in groups.items():
        expected = sum((right[(block,)] for block in blocks), np.zeros(len(q)))
        with np.errstate(invalid="ignore"):
            gap = value - expected
        scale = max(1.0, float(np.abs(expected).max()))
        if np.abs(gap).max() <= _SAME * scale:
            continue
        words = " and ".join(_words(problem, block) for block in blocks)
        if not np.isfinite(gap).all():
            found.append(
                f"The prior of the {words} is zero or no number at some values that the "
                "specification allows: a site's support or a factor excludes them."
            )
        else:
            found.append(
                _of_transform(problem, blocks, structure)
                or _of_labels(problem, q, side, blocks, scale)
                or _explain(problem, q, blocks, gap, scale)
            )
    return found


def _groups(problem: Problem, given: dict[Group, np.ndarray]) -> dict[Group, np.ndarray]:
    """Priors by group of blocks; one group of all where a factor is of none."""
    if {block for own in given for block in own} == set(problem.slices):
        return given
    return {tuple(problem.slices): sum(given.values(), np.zeros(()))}


def _of_transform(problem: Problem, blocks: Group, structure: Structure | None) -> str | None:
    """A prior that is an ordered transform of another distribution."""
    if structure is None:
        return None
    parts = {name: structure.chart.parts[name].quantity for name in structure.transformed}
    names = [name for name, own in parts.items() if {*problem.quantities[own]} & {*blocks}]
    if not names:
        return None
    return (
        f"The prior of {', '.join(names)} is made by OrderedTransform: its base is the "
        "distribution of the first value and of the logs of the gaps, which is not the "
        "specification's prior in an order. That is ImproperUniform(constraints.ordered_vector, "
        "(), (K,)), with the specification's log density as a factor."
    )


def _of_labels(
    problem: Problem, q: np.ndarray, side: Side, blocks: Group, scale: float
) -> str | None:
    """A prior that is not the same for all components, found by exchanging them."""
    k = problem.spec.n_clusters
    if not problem.spec.exchangeable or k == 1 or problem.direction is not None:
        return None
    order = np.tile(np.roll(np.arange(k), 1), (len(q), 1))
    rolled, names = permuted(problem, q, order), []
    given = _groups(problem, side.evaluate(q).prior or {})[blocks]
    for words, where in _columns(problem, blocks):
        moved = q.copy()
        moved[:, where] = rolled[:, where]
        change = np.abs(_groups(problem, side.evaluate(moved).prior or {})[blocks] - given)
        if np.isfinite(change).all() and change.max() > _SAME * scale:
            names.append(words)
    if not names:
        return None
    return (
        f"The prior of the {' and '.join(names)} depends on the labels: it changes where "
        "components are exchanged, and the specification's does not."
    )


def _columns(problem: Problem, blocks: Group) -> Iterator[tuple[str, np.ndarray]]:
    """What blocks hold, each location parameter by itself, and where in q."""
    for block in blocks:
        where, shape = problem.slices[block]
        index = np.arange(where.start, where.stop)
        if block != LOCATION:
            yield _words(problem, block), index
            continue
        place = 0
        for name, _, width in locations(problem.spec):
            yield name, index.reshape(shape)[:, place : place + width].ravel()
            place += width


def _explain(problem: Problem, q: np.ndarray, blocks: Group, gap: np.ndarray, scale: float) -> str:
    words = " and ".join(_words(problem, block) for block in blocks)
    for block in blocks:
        for sentence, change in _changes(problem, q, block, gap):
            if np.abs(gap - change).max() <= _SAME * scale and np.abs(change).max() > 0:
                return sentence
    if np.ptp(gap) <= _SAME * scale:
        return (
            f"The prior of the {words} is off by the constant {gap.mean():.6g}: it is not "
            "normalised, which changes no posterior but any comparison of models."
        )
    return (
        f"The prior of the {words} is another one: its log density differs by "
        f"{gap.min():.4g} to {gap.max():.4g}."
    )


def _words(problem: Problem, block: str) -> str:
    """What a block holds."""
    if block == LOCATION:
        return ", ".join(name for name, _, _ in locations(problem.spec))
    return problem.spec.parameters[block].meaning


def _changes(
    problem: Problem, q: np.ndarray, block: str, gap: np.ndarray
) -> Iterator[tuple[str, np.ndarray]]:
    """What usual mistakes add to the log prior density of a block; ``gap`` is what was added."""
    words, own = _words(problem, block), scipy_prior(problem, q)[(block,)]
    value = problem.block(q, block)
    yield f"The prior of the {words} counts twice.", own
    yield f"The prior of the {words} is missing.", -own
    for amount in _jacobians(problem, block, value):
        sentence = f"The prior of the {words} lacks the Jacobian of its change of variables."
        yield sentence, -amount
        yield f"The prior of the {words} counts a Jacobian twice.", amount
    if block == LOCATION:
        yield from _locations(problem, value, gap)
    else:
        yield from _families(problem, q, block, own, gap)
    times = 1 + gap[0] / own[0]
    yield f"The prior of the {words} counts {times:.4g} times.", (times - 1) * own


def _jacobians(problem: Problem, block: str, value: np.ndarray) -> Iterator[np.ndarray]:
    """Log Jacobians of the parameters in their unconstrained values, (point,)."""
    if block == WEIGHT:
        full = np.concatenate([value, -value.sum(1, keepdims=True)], axis=1)
        log_weight = full - np.logaddexp.reduce(full, axis=1, keepdims=True)
        yield log_weight.sum(1) + np.log(full.shape[1])
        yield log_weight.sum(1)
    elif block == LOCATION and problem.direction is not None:
        yield value[:, 1:, 0].sum(1)
    elif problem.role(block) in ("scale", "shape"):
        total = value.reshape(len(value), -1).sum(1)
        n = value[0].size
        # Of s and of s², in logs of either.
        for factor in (1.0, 0.5, 2.0):
            for constant in (0.0, np.log(2.0), -np.log(2.0)):
                yield factor * total + n * constant


def _locations(
    problem: Problem, value: np.ndarray, gap: np.ndarray
) -> Iterator[tuple[str, np.ndarray]]:
    """Other normal priors, by fit; of a t prior multiples and powers of its scale."""
    from scipy.stats import norm, t

    if problem.direction is not None:
        return
    own: dict[str, np.ndarray] = {}
    place = 0
    for name, prior, width in locations(problem.spec):
        xi = value[:, :, place : place + width]
        place += width
        if isinstance(prior, StudentT):
            family = t(prior.df)
            for _, factor in _multiples(prior.scale):
                changed = family.logpdf(xi / factor) - np.log(factor) - family.logpdf(xi)
                yield _other(name, prior, 0.0, factor), changed.sum(axis=(1, 2))
        else:
            family, own[name] = norm(), xi
        yield f"The prior of the {name} is missing.", -family.logpdf(xi).sum(axis=(1, 2))
    priors = {name: prior for name, prior, _ in locations(problem.spec)}
    for names in [*([name] for name in own), list(own)]:
        fitted = _fitted({name: own[name] for name in names}, gap)
        sentences = [_other(name, priors[name], *fitted[name]) for name in fitted]
        change = sum((_moved(own[n], *fitted[n]) for n in fitted), np.zeros(len(gap)))
        yield " ".join(sentences), change


def _fitted(xi: dict[str, np.ndarray], gap: np.ndarray) -> dict[str, tuple[float, float]]:
    """Location and scale of normal densities in place of standard ones, where they are others.

    N(m, f²) adds ½(1 − 1/f²) Σξ² + m/f² Σξ and a constant.
    """
    columns = [(own**power).sum(axis=(1, 2)) for own in xi.values() for power in (2, 1)]
    design = np.column_stack([*columns, np.ones(len(gap))])
    if len(gap) <= design.shape[1]:
        return {}
    factors = np.linalg.lstsq(design, gap, rcond=None)[0]
    found = {}
    for name, square, linear in zip(xi, factors[:-1:2], factors[1::2], strict=True):
        if square < 0.5 and max(abs(square), abs(linear)) > _SAME:
            scale = float((1 - 2 * square) ** -0.5)
            found[name] = float(linear * scale**2), scale
    return found


def _moved(xi: np.ndarray, loc: float, scale: float) -> np.ndarray:
    """log N(ξ | loc, scale²) − log N(ξ | 0, 1), summed, (point,)."""
    each = (xi**2 - ((xi - loc) / scale) ** 2) / 2 - np.log(scale)
    return np.asarray(each.sum(axis=(1, 2)))


def _other(name: str, prior: Any, loc: float, factor: float) -> str:
    """That a location parameter's prior has another location or scale, in its own units."""
    place, scale = prior.loc + prior.scale * loc, prior.scale * factor
    parts = []
    if abs(loc) > 1e-6:
        parts.append(f"the location {place:.6g} in place of {prior.loc:.6g}")
    if abs(factor - 1) > 1e-6:
        which = ", the variance" if np.isclose(scale, prior.scale**2) else ""
        parts.append(f"the scale {scale:.6g} in place of {prior.scale:.6g}{which}")
    return f"The prior of the {name} has {' and '.join(parts)}."


def _multiples(value: float) -> Iterator[tuple[str, float]]:
    """Words, and factors of a positive number."""
    for words, factor in _FACTORS.items():
        yield f"{words} the", factor
    if value > 0 and value != 1:
        yield "the square of the", value
        yield "the root of the", value**-0.5
        yield "the inverse of the", value**-2


def _families(
    problem: Problem, q: np.ndarray, block: str, own: np.ndarray, gap: np.ndarray
) -> Iterator[tuple[str, np.ndarray]]:
    """Other values of a prior's own parameters, and priors of a square in place of its root."""
    prior: Any = problem.spec.parameters[block].prior
    words_of = _words(problem, block)
    for item in fields(prior):
        number = getattr(prior, item.name)
        if isinstance(number, bool) or not isinstance(number, int | float):
            continue
        choices = [(words, number * factor) for words, factor in _multiples(number)]
        if isinstance(prior, Dirichlet):
            choices += [("not the", 1.0), ("not the", 1.0 / problem.spec.n_clusters)]

        def change(value: float, name: str = item.name) -> np.ndarray:
            return block_prior(problem, q, block, replace(prior, **{name: value})) - own

        if number > 0:
            choices.append(("another", _sought(number, gap, change)))
        for words, changed in choices:
            if changed != number:
                sentence = (
                    f"The prior of the {words_of} has {words} {item.name}, {changed:.6g} for "
                    f"{number:.6g}."
                )
                yield sentence, change(changed)
    if problem.role(block) != "scale":
        return
    value = problem.block(q, block).reshape(len(q), -1)
    n, log_two = value.shape[1], np.log(2)
    if isinstance(prior, InverseGamma):
        sentence = f"The prior of the {words_of} is stated on it, not on its square."
        yield sentence, positive_prior(prior, value / 2).sum(1) - n * log_two - own
    else:
        sentence = f"The prior of the {words_of} is stated on its square, not on it."
        yield sentence, positive_prior(prior, 2 * value).sum(1) + n * log_two - own


def _sought(number: float, gap: np.ndarray, change: Any) -> float:
    """The value of a prior's positive parameter that comes closest to what was added."""

    def far(value: float) -> float:
        off = np.abs(change(value) - gap).max()
        return float(off) if np.isfinite(off) else np.inf

    grid = number * _SOUGHT
    step = float(_SOUGHT[1] / _SOUGHT[0])
    for _ in range(_REFINED):
        best = min(grid, key=far)
        grid, step = best * step ** np.linspace(-1, 1, 21), step**0.1
    return float(min(grid, key=far))
