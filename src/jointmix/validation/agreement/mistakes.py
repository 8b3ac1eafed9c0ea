"""Which mistake would give the numbers that an implementation gives: usual ones, tried in turn.

Each mistake is computed from the parameters and rows; the one that reproduces the numbers that
are off is named. What cannot be explained is located by its rows and components alone.
"""

import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import replace
from functools import partial

import numpy as np

from jointmix.families.mixture import block_terms, component_log_density, log_likelihood
from jointmix.families.parameters import Parameters
from jointmix.families.protocol import Block
from jointmix.families.rows import Rows
from jointmix.tables.labels import label_text
from jointmix.validation.agreement.problem import Problem
from jointmix.validation.agreement.terms import Sizes, Terms, sizes
from jointmix.validation.twin.family import Candidate, orders
from jointmix.validation.twin.line import AXIS

#: Relative differences below which numbers are taken for the same.
_SAME = 1e-9
#: Those of numbers rounded to single precision: up to a few thousand roundings of 6e-8.
_SINGLE = 1e-4
_FEW = 5

_RAW = (
    "The rows are on the columns' own scale, the specification is on the standardised one: set "
    "standardize=False, or give the model columns of mean zero and standard deviation one."
)
_DDOF = (
    "The columns are standardised by standard deviations with n − 1 (ddof=1); the specification's "
    "are those with n (ddof=0)."
)


def explain_rows(problem: Problem, q: np.ndarray, own: Terms, factors: bool = False) -> list[str]:
    """Sentences on what is wrong with an implementation's rows at a few points (point, dim).

    ``factors`` says whether it may factor covariances, as `sizes` takes it.
    """
    parameters, rows = problem.parameters(q), problem.rows
    spec = problem.spec
    scale = sizes(rows, parameters, spec, factors)
    terms = {
        twin.column: _density(block, parameters, rows)
        for block, twin in zip(spec.blocks, problem.twins, strict=True)
    }
    weight = np.log(parameters.weight)[:, None, :]
    total = log_likelihood(sum(terms.values(), weight))
    if problem.spec.standardize and own.rows is not None:
        for sentence, other in ((_RAW, problem.dataset.users_rows), (_DDOF, _shrunk(rows))):
            value = log_likelihood(component_log_density(spec.blocks, other, parameters))
            if _same(own.rows, value, np.maximum(scale.rows, np.abs(value))):
                return [sentence]
    found: list[str] = []
    for word, names, given, size in _told_apart(own, terms, scale):
        right = sum((terms[name] for name in names), np.zeros_like(given))
        if not _same(given, right, size):
            candidates = _mistaken(problem, {name: terms[name] for name in names}, parameters)
            named = _named(given, size, candidates) or _permuted(given, right, size, word)
            named = named or _multiplied(given, right, size, f"The term of {word}")
            found += [named] if named else [_where(problem, given, right, size, word)]
    if found or own.rows is None or _same(own.rows, total, scale.rows):
        return found
    joint = _joint(problem, parameters, weight, terms)
    named = _named(own.rows, scale.rows, joint) or _shifted(own.rows, total)
    named = named or _multiplied(own.rows, total, scale.rows, "Every row's log density")
    return [named or _where(problem, own.rows, total, scale.rows, "(x, y)")]


def _density(block: Block, parameters: Parameters, rows: Rows) -> np.ndarray:
    """One block's log density of what is there, (point, obs, component)."""
    features, response = block_terms((block,), rows, parameters)
    return response if block.of_response else features


def _told_apart(
    own: Terms, right: Collection[str], scale: Sizes
) -> Iterator[tuple[str, list[str], np.ndarray, np.ndarray]]:
    """What an implementation tells apart: its name, whose terms it sums, value, and size."""
    discrete = own.discrete or {}
    for name, given in discrete.items():
        yield name, [name], given, scale.discrete[name]
    if own.features is not None:
        # What remains: the Gaussian features', if all others are told apart.
        rest = own.features - sum(discrete.values(), np.zeros(()))
        left = [name for name in right if name != "y" and name not in discrete]
        yield "x", left, rest, scale.features
    if own.response is not None:
        yield "y", [name for name in right if name == "y"], own.response, scale.response


def _mistaken(
    problem: Problem, terms: Mapping[str, np.ndarray], right: Parameters
) -> Iterator[Candidate]:
    """A sum of blocks' terms, as usual mistakes in one of them would have it."""
    for name in terms:
        others = sum((term for own, term in terms.items() if own != name), np.zeros(()))
        for sentence, changed in _of_block(problem, name, problem.rows, right):
            yield sentence, others + changed


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


def _of_block(problem: Problem, column: str, rows: Rows, right: Parameters) -> Iterator[Candidate]:
    """Log densities of x or of y given each component, as usual mistakes would have them."""
    for block, twin in zip(problem.spec.blocks, problem.twins, strict=True):
        if twin.column == column:
            density = partial(_density, block, rows=rows)
            own = density(right)
            yield f"The term of {column} counts twice.", 2 * own
            yield f"The term of {column} is missing.", 0 * own
            yield from twin.mistakes(right, rows, density)
            for sentence, moved in _moved(rows, column):
                yield sentence, _density(block, right, moved)


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
    problem: Problem,
    right: Parameters,
    weight: np.ndarray,
    terms: dict[str, np.ndarray],
) -> Iterator[Candidate]:
    """log p(x, y) with one part mistaken."""
    none = np.zeros_like(weight)
    features = sum((term for name, term in terms.items() if name != "y"), none)
    response = terms.get("y", none)
    yield "The weights are missing.", log_likelihood(features + response)
    k = weight.shape[-1]
    yield "The weights are all taken for 1/K.", log_likelihood(features + response) - np.log(k)
    for order, words in orders(k):
        sentence = f"The weights belong to other components: {words}."
        yield sentence, log_likelihood(weight[..., order] + features + response)
    mean = (np.exp(weight) * (features + response)).sum(-1)
    yield "Log densities are averaged: densities must be, by logsumexp.", mean
    yield (
        "Log densities are summed over components, without logsumexp.",
        (weight + features + response).sum(-1),
    )
    for sentence, changed in _mistaken(problem, dict([*terms.items()][::-1]), right):
        yield sentence, log_likelihood(weight + changed)
    for order, words in orders(k):
        sentence = f"x and y belong to different components: {words}."
        yield sentence, log_likelihood(weight + features + response[..., order])
    one = "a row has one allocation, so that logsumexp is over components of the sum"
    apart = log_likelihood(weight + features) + log_likelihood(weight + response)
    yield f"x and y are a mixture each; {one}.", apart
    if "mean" in right:
        sd = np.sqrt((right.cholesky**2).sum(-1))[:, None]
        z = (problem.rows.x[:, None, :] - right.mean[:, None]) / sd
        each = -(z**2) / 2 - np.log(sd) - np.log(2 * np.pi) / 2
        columns = [log_likelihood(weight + each[..., d]) for d in range(each.shape[-1])]
        apart = sum(columns, log_likelihood(weight + response))
        yield f"Each feature is a mixture of its own; {one}.", apart


def _shrunk(rows: Rows) -> Rows:
    """Standardised rows as they are with n − 1 in the standard deviations."""
    factor = np.sqrt(1 - 1 / len(rows.y))
    y = rows.y if rows.offset is not None else rows.y * factor
    return replace(rows, x=rows.x * factor, u=rows.u * factor, y=y)


def _moved(rows: Rows, column: str) -> Iterator[tuple[str, Rows]]:
    """Rows whose columns have slipped against each other by one."""
    for step, which in ((1, "before"), (-1, "after")):
        if column == "x":
            yield f"x is that of the row {which}.", replace(rows, x=np.roll(rows.x, step, axis=0))
        elif column != "y":
            assert rows.discrete is not None
            discrete = np.roll(rows.discrete, step, axis=0)
            yield f"{column} is that of the row {which}.", replace(rows, discrete=discrete)
        else:
            u = np.roll(rows.u, step, axis=0)
            yield f"The predictors of y are those of the row {which}.", replace(rows, u=u)
            yield f"y is that of the row {which}.", replace(rows, y=np.roll(rows.y, step))


def _multiplied(given: np.ndarray, right: np.ndarray, size: np.ndarray, what: str) -> str | None:
    """Whether log densities have one factor, as by `numpyro.handlers.scale` or a subsample."""
    at = np.unravel_index(int(np.abs(right).argmax()), right.shape)
    times = float(given[at] / right[at])
    if not np.isfinite(times) or not _same(given, times * right, size * max(1.0, abs(times))):
        return None
    return f"{what} counts {times:.4g} times, as by handlers.scale or in a subsample."


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
    which = ", ".join(label_text(problem.dataset.label[i]) for i in rows[:_FEW])
    text = f"The density of {word} differs in {len(rows)} of {n} rows"
    text += f" ({which}{', …' if len(rows) > _FEW else ''})" if len(rows) < n else ""
    if len(rows) <= _FEW and not np.asarray(given)[:, rows].any():
        text += ": they are left out"
    if off.ndim > 2:
        components = np.flatnonzero(off.any(axis=(0, 1))).tolist()
        text += f", in the components {components}"
    return f"{text}."
