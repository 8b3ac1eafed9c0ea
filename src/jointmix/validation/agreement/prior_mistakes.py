"""Which mistake would give the prior density that an implementation gives."""

from collections.abc import Iterator
from dataclasses import fields, replace
from typing import Any

import numpy as np

from jointmix.families.priors.priors import (
    Dirichlet,
    InverseGamma,
    StudentT,
)
from jointmix.validation.agreement.plain_sides import positive_prior, scipy_prior
from jointmix.validation.agreement.problem import LOCATION, WEIGHT, Problem, locations
from jointmix.validation.agreement.terms import Terms

#: Differences of sums of log densities below which they are taken for the same.
_SAME = 1e-7
_FACTORS = {
    "half": 0.5, "twice": 2.0, "a quarter of": 0.25, "four times": 4.0,
}  # fmt: skip


def explain_prior(problem: Problem, q: np.ndarray, own: Terms) -> list[str]:
    """Sentences on what is wrong with an implementation's priors at a few points (point, dim)."""
    if own.prior is None:
        return []
    right = scipy_prior(problem, q)
    groups = own.prior
    if {b for blocks in groups for b in blocks} != set(problem.slices):
        groups = {tuple(problem.slices): sum(own.prior.values(), np.zeros(len(q)))}
    found = []
    for blocks, value in groups.items():
        expected = sum((right[(block,)] for block in blocks), np.zeros(len(q)))
        gap = value - expected
        scale = max(1.0, float(np.abs(expected).max()))
        if np.abs(gap).max() > _SAME * scale:
            found.append(_explain(problem, q, blocks, gap, scale))
    return found


def _explain(
    problem: Problem, q: np.ndarray, blocks: tuple[str, ...], gap: np.ndarray, scale: float
) -> str:
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
        yield from _families(problem, q, block, own)


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
    """Other scales: of a normal prior the one that fits, of a t prior multiples and powers."""
    from scipy.stats import norm, t

    if problem.direction is not None:
        return
    place = 0
    for name, prior, width in locations(problem.spec):
        xi = value[:, :, place : place + width]
        place += width
        family = t(prior.df) if isinstance(prior, StudentT) else norm()
        factors = [factor for _, factor in _multiples(prior.scale)]
        if not isinstance(prior, StudentT):
            # Another scale adds ½(1 − 1/f²) Σξ² and a constant.
            slope = float(np.polyfit((xi**2).sum(axis=(1, 2)), gap, 1)[0])
            factors = [(1 - 2 * slope) ** -0.5] if slope < 0.5 else []
        for factor in factors:
            changed = family.logpdf(xi / factor) - np.log(factor) - family.logpdf(xi)
            sentence = (
                f"The prior of the {name} has the scale {prior.scale * factor:.6g} in place of "
                f"{prior.scale:.6g}."
            )
            yield sentence, changed.sum(axis=(1, 2))
        yield f"The prior of the {name} is missing.", -family.logpdf(xi).sum(axis=(1, 2))


def _multiples(value: float) -> Iterator[tuple[str, float]]:
    """Words, and factors of a positive number."""
    for words, factor in _FACTORS.items():
        yield f"{words} the", factor
    if value > 0 and value != 1:
        yield "the square of the", value
        yield "the root of the", value**-0.5
        yield "the inverse of the", value**-2


def _families(
    problem: Problem, q: np.ndarray, block: str, own: np.ndarray
) -> Iterator[tuple[str, np.ndarray]]:
    """Other values of a prior's own parameters, and an inverse gamma of the sd itself."""
    prior: Any = problem.spec.parameters[block].prior
    words_of = _words(problem, block)
    for item in fields(prior):
        number = getattr(prior, item.name)
        if isinstance(number, bool) or not isinstance(number, int | float):
            continue
        choices = [(words, number * factor) for words, factor in _multiples(number)]
        if isinstance(prior, Dirichlet):
            choices += [("not the", 1.0), ("not the", 1.0 / problem.spec.n_clusters)]
        for words, changed in choices:
            if changed == number:
                continue
            priors = replace(problem.spec.priors, **{block: replace(prior, **{item.name: changed})})
            changed_spec = replace(problem.spec, priors=priors)
            other = Problem(problem.dataset.under(changed_spec), problem.direction)
            sentence = (
                f"The prior of the {words_of} has {words} {item.name}, {changed:.6g} for "
                f"{number:.6g}."
            )
            yield sentence, scipy_prior(other, q)[(block,)] - own
    if isinstance(prior, InverseGamma):
        value = problem.block(q, block).reshape(len(q), -1) / 2
        sentence = f"The prior of the {words_of} is stated on it, not on its square."
        yield sentence, positive_prior(prior, value).sum(1) - value.shape[1] * np.log(2) - own
