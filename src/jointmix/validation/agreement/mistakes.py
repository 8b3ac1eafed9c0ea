"""Which mistake would give the numbers that an implementation gives: usual ones, tried in turn.

Each mistake is computed from the parameters and rows; the one that reproduces the numbers that
are off is named. What cannot be explained is located by its rows and components alone.
"""

import re
from collections.abc import Iterator
from itertools import combinations

import numpy as np

from jointmix.families.mixture import block_terms, component_log_density, log_likelihood
from jointmix.families.parameters import Parameters
from jointmix.families.rows import Rows
from jointmix.model.rows import users_rows
from jointmix.model.spec import ModelSpec
from jointmix.validation.agreement.problem import Problem
from jointmix.validation.agreement.terms import Terms, sizes

Candidate = tuple[str, np.ndarray]

#: Relative differences below which numbers are taken for the same.
_SAME = 1e-9
#: Those of numbers rounded to single precision: up to a few thousand roundings of 6e-8.
_SINGLE = 1e-4
_FEW = 5

_RAW = (
    "The rows are on the columns' own scale, the specification is on the standardised one: set "
    "standardize=False, or give the model columns of mean zero and standard deviation one."
)
AXIS = (
    "Under enumeration arrays have the components in front, (component, obs, predictor), so that "
    ".sum(axis=1) sums over rows: use .sum(axis=-1)"
)


def explain_rows(problem: Problem, q: np.ndarray, own: Terms) -> list[str]:
    """Sentences on what is wrong with an implementation's rows at a few points (point, dim)."""
    parameters, rows = problem.parameters(q), problem.rows
    spec = problem.spec
    scale = sizes(rows, parameters, spec)
    features, response = block_terms(spec.blocks, rows, parameters)
    weight = np.log(parameters.weight)[:, None, :]
    total = log_likelihood(weight + features + response)
    if problem.spec.standardize and own.rows is not None:
        raw = users_rows(problem.dataset, problem.spec)
        unscaled = log_likelihood(component_log_density(spec.blocks, raw, parameters))
        if _same(own.rows, unscaled, np.maximum(scale.rows, np.abs(unscaled))):
            return [_RAW]
    found: list[str] = []
    for given, right, size, candidates in (
        (own.features, features, scale.features, _features(rows, parameters, spec)),
        (own.response, response, scale.response, _response(rows, parameters, spec)),
    ):
        if given is not None and not _same(given, right, size):
            word = "x" if right is features else "y"
            named = _named(given, size, candidates) or _permuted(given, right, size, word)
            found += [named] if named else [_where(problem, given, right, size, word)]
    if found or own.rows is None or _same(own.rows, total, scale.rows):
        return found
    joint = _joint(rows, parameters, (weight, features, response), own, spec)
    named = _named(own.rows, scale.rows, joint) or _shifted(own.rows, total)
    return [named or _where(problem, own.rows, total, scale.rows, "(x, y)")]


def explain_shape(problem: Problem, message: str) -> str | None:
    """The usual cause of shapes that do not fit, if the message names such shapes."""
    n, k = len(problem.rows.y), problem.spec.n_clusters
    shapes = [
        tuple(int(part) for part in re.findall(r"\d+", text))
        for text in re.findall(r"\(([\d, ]+)\)", message)
    ]
    widths = {problem.rows.u.shape[1], problem.rows.x.shape[1]} - {n}
    if any(len(shape) >= 2 and shape[0] == k and shape[-1] in widths for shape in shapes):
        return f"{AXIS}."
    lengths = {shape[-1] for shape in shapes if shape}
    if missing := [length for length in lengths if 0 < n - length <= _FEW and length not in widths]:
        return f"The model has {missing[0]} rows, the table {n}."
    return None


def _same(a: np.ndarray, b: np.ndarray, size: np.ndarray, bound: float = _SAME) -> bool:
    with np.errstate(invalid="ignore"):
        return bool((np.abs(a - b) <= bound * size).all())


def _named(given: np.ndarray, size: np.ndarray, candidates: Iterator[Candidate]) -> str | None:
    for sentence, value in candidates:
        # A mistake changes sizes too; what it gives may itself be larger than what is right.
        if value.shape == given.shape and _same(given, value, np.maximum(size, np.abs(value))):
            return sentence
    return None


def _response(rows: Rows, right: Parameters, spec: ModelSpec) -> Iterator[Candidate]:
    """log p(y | x, k) as usual mistakes would have it."""
    if spec.response is None:
        return

    def at(changed: Parameters) -> np.ndarray:
        return spec.blocks[-1].log_density(changed, rows)

    own = at(right)
    yield "The term of y counts twice.", 2 * own
    yield "The term of y is missing.", 0 * own
    yield (
        "The intercept is missing from the line of y.",
        at(right.replace(intercept=0 * right.intercept)),
    )
    yield (
        "The slopes are missing from the line of y.",
        at(right.replace(slope=0 * right.slope)),
    )
    yield "The slopes have the wrong sign.", at(right.replace(slope=-right.slope))
    yield (
        "y is given the variance sigma² for a standard deviation.",
        at(right.replace(sigma=right.sigma**2)),
    )
    yield (
        "y is given the root of sigma for a standard deviation.",
        at(right.replace(sigma=np.sqrt(right.sigma))),
    )
    yield from _wrong_axis(rows, right)
    for i, j in combinations(range(right.slope.shape[-1]), 2):
        order = np.arange(right.slope.shape[-1])
        order[[i, j]] = j, i
        yield (
            f"The slopes of predictors {i} and {j} are exchanged.",
            at(right.replace(slope=right.slope[..., order])),
        )
    for order, words in _orders(right.slope.shape[1]):
        yield (
            f"The slopes belong to other components: {words}.",
            at(right.replace(slope=right.slope[:, order])),
        )


def _wrong_axis(rows: Rows, right: Parameters) -> Iterator[Candidate]:
    """The sum over predictors of u θ, (component, obs, predictor), taken over rows."""
    n, r = rows.u.shape
    if r not in (1, n):
        return
    # (point, component, predictor): taken for one number a row.
    line = right.intercept[..., None] + right.slope * rows.u.sum(axis=0)
    sigma = right.sigma[..., None]
    density = -0.5 * (((rows.y - line) / sigma) ** 2 + np.log(2 * np.pi)) - np.log(sigma)
    sentence = f"The predictors of y are summed over rows. {AXIS}."
    yield sentence, np.swapaxes(density, 1, 2)


def _features(rows: Rows, right: Parameters, spec: ModelSpec) -> Iterator[Candidate]:
    """log p(x | k) as usual mistakes would have it."""
    if not spec.features:
        return

    def at(factor: np.ndarray, mean: np.ndarray = right.mean) -> np.ndarray:
        return spec.blocks[0].log_density(right.replace(cholesky=factor, mean=mean), rows)

    factor = right.cholesky
    own = at(factor)
    yield "The term of x counts twice.", 2 * own
    yield "The term of x is missing.", 0 * own
    turned = np.swapaxes(factor, -1, -2)
    eye = np.eye(factor.shape[-1])
    sd = np.sqrt((factor**2).sum(-1))
    diagonal = factor * eye
    covariance = factor @ turned
    correlation = covariance / sd[..., :, None] / sd[..., None, :]
    transposed = "The Cholesky factor of x is transposed: it must be lower triangular, Σ = LL'."
    yield transposed, at(np.linalg.cholesky(turned @ factor))
    yield transposed, at(diagonal)
    yield "The correlations of x are left out.", at(sd[..., None] * eye)
    for power, words in ((0.5, "standard deviations for variances"), (2.0, "variances for sds")):
        scale = sd**power
        changed = correlation * scale[..., :, None] * scale[..., None, :]
        sentence = f"The covariance of x is made with {words}."
        yield sentence, at(np.linalg.cholesky(changed))
    with np.errstate(all="ignore"):
        inverse = np.linalg.inv(covariance)
        if np.isfinite(inverse).all() and (np.linalg.eigvalsh(inverse) > 0).all():
            sentence = "x is given the covariance for a precision, or the other way round."
            yield sentence, at(np.linalg.cholesky(inverse))
    for order, words in _orders(right.mean.shape[1]):
        moved = at(factor, right.mean[:, order])
        yield f"The means belong to other components: {words}.", moved
    for order, words in _orders(right.mean.shape[1]):
        sentence = f"The covariances belong to other components: {words}."
        yield sentence, at(factor[:, order])


def _orders(k: int) -> Iterator[tuple[np.ndarray, str]]:
    """Orders of components that mistakes produce: reversed, shifted by one, two exchanged."""
    seen = {tuple(range(k))}
    swaps = []
    for i, j in combinations(range(k), 2):
        order = np.arange(k)
        order[[i, j]] = j, i
        swaps.append(order)
    for order in (np.arange(k)[::-1], np.roll(np.arange(k), 1), np.roll(np.arange(k), -1), *swaps):
        if tuple(order) not in seen:
            seen.add(tuple(order))
            yield order, f"component k has those of {order.tolist()}[k]"


def _permuted(given: np.ndarray, right: np.ndarray, size: np.ndarray, word: str) -> str | None:
    """Whether components are merely in another order."""
    k = right.shape[-1]
    order = []
    for own in range(k):
        same = [j for j in range(k) if _same(given[..., own], right[..., j], size[..., j])]
        order.append(same[0] if same else -1)
    if sorted(order) != list(range(k)):
        return None
    return f"The components of {word} are in another order: k is component {order}[k] elsewhere."


def _joint(
    rows: Rows,
    right: Parameters,
    parts: tuple[np.ndarray, np.ndarray, np.ndarray],
    own: Terms,
    spec: ModelSpec,
) -> Iterator[Candidate]:
    """log p(x, y) with one part mistaken."""
    weight, features, response = parts
    yield "The weights are missing.", log_likelihood(features + response)
    k = weight.shape[-1]
    yield "The weights are all taken for 1/K.", log_likelihood(features + response) - np.log(k)
    for order, words in _orders(k):
        sentence = f"The weights belong to other components: {words}."
        yield sentence, log_likelihood(weight[..., order] + features + response)
    mean = (np.exp(weight) * (features + response)).sum(-1)
    yield "Log densities are averaged: densities must be, by logsumexp.", mean
    yield (
        "Log densities are summed over components, without logsumexp.",
        (weight + features + response).sum(-1),
    )
    if own.response is None:
        for sentence, changed in _response(rows, right, spec):
            yield sentence, log_likelihood(weight + features + changed)
        for sentence, changed in _features(rows, right, spec):
            yield sentence, log_likelihood(weight + changed + response)
        for order, words in _orders(k):
            sentence = f"x and y belong to different components: {words}."
            yield sentence, log_likelihood(weight + features + response[..., order])


def _shifted(given: np.ndarray, right: np.ndarray) -> str | None:
    """Whether each row is off by one number, as with weights whose sum is not one."""
    shift = given - right
    if not np.isfinite(shift).all() or np.ptp(shift, axis=1).max() > 1e-8 * np.abs(shift).max():
        return None
    total = np.exp(shift[:, 0])
    return (
        "Every row's density has the same factor: the weights are not normalised, their sum is "
        f"{total.min():.4g} to {total.max():.4g}."
    )


def _where(
    problem: Problem, given: np.ndarray, right: np.ndarray, size: np.ndarray, word: str
) -> str:
    """Which rows and components differ, when no usual mistake explains it."""
    off = ~(np.abs(given - right) <= _SAME * size)
    if _same(given, right, size, _SINGLE):
        return (
            f"The density of {word} is right to single precision only (float32): the data or "
            "parameters are cast, or numpyro.enable_x64() is missing."
        )
    by_row = off.any(axis=(0, *range(2, off.ndim)))
    rows = np.flatnonzero(by_row)
    n = len(by_row)
    which = ", ".join(str(int(problem.dataset.row[i])) for i in rows[:_FEW])
    text = f"The density of {word} differs in {len(rows)} of {n} rows"
    text += f" ({which}{', …' if len(rows) > _FEW else ''})" if len(rows) < n else ""
    if len(rows) <= _FEW and not np.asarray(given)[:, rows].any():
        text += ": they are left out"
    if off.ndim > 2:
        components = np.flatnonzero(off.any(axis=(0, 1))).tolist()
        text += f", in the components {components}"
    return f"{text}."
