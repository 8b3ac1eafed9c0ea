"""Columns that hold few whole numbers, and columns that are functions of others."""

import json
from collections.abc import Iterator, Sequence
from itertools import combinations

import numpy as np

from jointmix.tables.issues import Issue, quoted, warning

#: Whole numbers of no more different values than these are read as counts or codes.
MOST_CODES = 10
#: Rows from which so few values mean anything.
_FEWEST_ROWS = 20
#: A column is a function of others where they leave no more of its spread, and a curve where the
#: terms that are none of straight lines have more of it.
_EXACT, _CURVED = 1e-9, 1e-6
#: Rows by which functions are told from others before all rows are looked at.
_FEW_ROWS = 60
#: Different values that a column must have for its powers to mean anything.
_FEWEST_VALUES = 7


#: What to do about a response of such values.
_FAMILY = {
    "binary": 'Give it as 0 and 1 and take family="bernoulli"',
    "counts": 'If it counts events, take family="poisson"',
}

#: And of a feature, in a mapping of features.
_OF_FEATURE = {
    "binary": 'features={{{0}: "bernoulli", …}}',
    "counts": 'features={{{0}: "poisson", …}} for counts, "categorical" for codes',
}


def kind_warning(
    values: np.ndarray, counts: np.ndarray, name: str, of_response: bool
) -> Issue | None:
    """Two values only, or few whole numbers, in a column to which a density is given.

    Parameters
    ----------
    values, counts
        The column's values in order, and how many rows have each, (value,).
    """
    if counts.sum() < _FEWEST_ROWS:
        return None
    two = len(values) == 2
    if not two and (len(values) > MOST_CODES or (values != np.round(values)).any()):
        return None
    if two:
        what = f"holds two values only, {values[0]:g} and {values[1]:g}"
        code = "binary"
    else:
        what = (
            f"holds {len(values)} whole numbers only, from {values[0]:g} to {values[-1]:g}, as "
            "counts and codes do"
        )
        code = "counts"
    effect = (
        "the continuous density of the response spreads over values that it never takes"
        if of_response
        else "a Gaussian spreads over values that it never takes, and clusters may form on single "
        "ones"
    )
    if of_response:
        remedy = "; or read predicted means only, not densities or intervals of single rows."
        remedy = _FAMILY[code] + remedy
    else:
        own = _OF_FEATURE[code].format(json.dumps(name, ensure_ascii=False))
        remedy = f"Say what it is, {own}; as a predictor it may stay."
    message = f"Column {quoted(name)} {what}: {effect}."
    return warning(code, message, remedy, name, None, float(len(values)))


def derived_warnings(
    values: np.ndarray, names: Sequence[str], features: Sequence[str], response: str | None
) -> list[Issue]:
    """Columns (N, C) that powers, logs, roots, inverses or products of features give exactly."""
    some = np.unique(np.linspace(0, len(values) - 1, min(len(values), _FEW_ROWS)).astype(int))
    few = dict(zip(names, values[some].T, strict=True))
    found, told, explained = [], set(), set()
    for kind in (_powers, _others, _products):
        for target in names:
            for sources, words, terms in kind(few, target, features):
                together = frozenset((target, *sources))
                if target in explained or together in told or not _gives(terms, few[target]):
                    continue
                place = [names.index(name) for name in (target, *sources)]
                whole = dict(zip((target, *sources), values[:, place].T, strict=True))
                again = {said: each for _, said, each in kind(whole, target, sources)}
                if words not in again or not _gives(again[words], whole[target]):
                    continue
                told.add(together)
                explained.add(target)
                found.append(_derived(target, words, target in features, target == response))
    return found


#: Straight and curved functions (N,) of features, and with them the features and words for it.
_Terms = tuple[list[np.ndarray], list[np.ndarray]]
_Functions = Iterator[tuple[tuple[str, ...], str, _Terms]]


def _useful(
    columns: dict[str, np.ndarray], target: str, features: Sequence[str]
) -> dict[str, np.ndarray]:
    """Features besides the target with enough different values, standardised."""
    if len(np.unique(columns[target])) < 3:
        return {}
    return {
        name: _standard(columns[name])
        for name in features
        if name != target and len(np.unique(columns[name])) >= _FEWEST_VALUES
    }


def _powers(columns: dict[str, np.ndarray], target: str, features: Sequence[str]) -> _Functions:
    for name, z in _useful(columns, target, features).items():
        yield (name,), f"a polynomial in {quoted(name)}", ([z], [z**2, z**3])


def _others(columns: dict[str, np.ndarray], target: str, features: Sequence[str]) -> _Functions:
    for name in _useful(columns, target, features):
        x = columns[name]
        with np.errstate(all="ignore"):
            functions = {
                "logarithm": np.log(x),
                "exponential": np.exp(x - x.max()),
                "root": np.sqrt(x),
                "inverse": 1 / x,
            }
        for words, function in functions.items():
            if np.isfinite(function).all() and function.std() > 0:
                yield (name,), f"the {words} of {quoted(name)}", ([], [_standard(function)])


def _products(columns: dict[str, np.ndarray], target: str, features: Sequence[str]) -> _Functions:
    for (one, z), (other, w) in combinations(_useful(columns, target, features).items(), 2):
        words = f"the product of {quoted(one)} and {quoted(other)}"
        yield (one, other), words, ([z, w], [z * w])


def _standard(column: np.ndarray) -> np.ndarray:
    return np.asarray((column - column.mean()) / max(column.std(), 1e-300))


def _gives(terms: _Terms, column: np.ndarray) -> bool:
    """Whether terms give a column exactly, and not as a straight line."""
    lines, curves = terms
    own, design = _standard(column), np.column_stack([np.ones_like(column), *lines, *curves])
    if len(design) <= design.shape[1] + 1:
        return False
    coefficient, *_ = np.linalg.lstsq(design, own)
    exact = np.abs(own - design @ coefficient).max() <= _EXACT
    return bool(exact and np.abs(coefficient[1 + len(lines) :]).max() > _CURVED)


def _derived(target: str, what: str, is_feature: bool, is_response: bool) -> Issue:
    apart = (
        "replicated tables, predicted variances, R² and pictures take it for a column that varies "
        "on its own"
    )
    if is_response:
        message = f"The response {quoted(target)} is {what}, exactly: no noise is left to model."
        remedy = "Make sure that it was measured, or leave that feature out."
    elif is_feature:
        message = (
            f"Feature {quoted(target)} is {what}, exactly: no Gaussian has such a curve, and "
            f"{apart}."
        )
        remedy = "Leave it out of the features; it may stay among the predictors."
    else:
        message = f"Predictor {quoted(target)} is {what}, exactly, and {apart}."
        remedy = (
            "Read what needs new values of the features with care; lines are right where all "
            "columns are given."
        )
    return warning("derived", message, remedy, target, None, 0.0)
