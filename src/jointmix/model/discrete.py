"""Families of features; levels and codes of those that are no numbers of one density together."""

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from jointmix.base.arguments import choice, column_names
from jointmix.base.errors import SpecError
from jointmix.families import (
    OF_LEVELS,
    feature_families,
    has_levels,
    most_levels,
    numeric_families,
    response_families,
)
from jointmix.families.specified import Discrete
from jointmix.tables.issues import Issue, error, listed, quoted
from jointmix.tables.labels import rows_named
from jointmix.tables.levels import coded_numbers
from jointmix.tables.scarce import empty_levels, one_level, scarce_levels

#: What truth values are called where a column holds them, and where it holds them as numbers.
_TRUTHS = {"0": "False", "1": "True"}


def typed_features(
    features: object, types: Sequence[Discrete] | None
) -> tuple[tuple[str, ...], tuple[Discrete, ...] | None]:
    """The Gaussian features, and the others: None where a table has yet to say which these are.

    Parameters
    ----------
    features
        Names, or a mapping of names to families.
    types
        The others, where they are known already.

    Raises
    ------
    SpecError
        If it is neither, or a family is unknown.
    """
    if not isinstance(features, Mapping):
        return column_names("features", features), None if types is None else tuple(types)
    names = column_names("features", list(features))
    for name in names:
        own = features[name]
        if own in response_families() and own not in feature_families():
            raise SpecError(
                f"The feature {name!r} cannot be {own}, which responses alone are: features of "
                'numbers are "normal" or "student_t" together in a cluster; make it one of these, '
                "of a transformed column (a root, a logarithm) where it is skewed."
            )
        choice(f"The family of the feature {name!r}", features[name], feature_families())
    numeric = tuple(name for name in names if features[name] in numeric_families())
    others = [name for name in names if name not in numeric]
    known = {(own.column, own.family): own.levels for own in types or ()}
    families = {name: features[name] for name in others}
    return numeric, made(families, known)


def numeric_family(features: object, family: str) -> str:
    """The family that all numeric features have: as a mapping of features says, or ``family``.

    Raises
    ------
    SpecError
        If the mapping gives them several, or another than is asked for besides.
    """
    if not isinstance(features, Mapping):
        return family
    usual = numeric_families()[0]
    named = {own: str(name) for name, own in features.items() if own in numeric_families()}
    if len(named) > 1:
        each = " and ".join(f"{name!r} is {own}" for own, name in named.items())
        raise SpecError(
            f"Numeric features have one density together, of one family; {each}: give all of them "
            "the same."
        )
    found = next(iter(named), family)
    if family not in (usual, found):
        raise SpecError(
            f"feature_family={family!r} contradicts the features, of which {named[found]!r} is "
            f"{found}; leave one of the two out."
        )
    return found


def made(
    families: Mapping[str, str], levels: Mapping[tuple[str, str], tuple[str, ...]]
) -> tuple[Discrete, ...]:
    """Features by their columns' families, with levels by column and family where known."""
    stems: dict[str, str] = {}
    for name in families:
        stem = re.sub(r"\W", "_", name)
        taken = sum(re.sub(r"\W", "_", other) == stem for other in stems)
        stems[name] = f"{stem}_{taken + 1}" if taken else stem
    return tuple(
        Discrete(name, family, stems[name], levels.get((name, family), ()))
        for name, family in families.items()
    )


@dataclass(frozen=True, eq=False)
class Settled:
    """What complete rows make of a model's features.

    Attributes
    ----------
    features, types
        The Gaussian features, and the others with their levels.
    codes
        Columns of the others, (n,) each.
    issues
        What is wrong, or worth knowing.
    """

    features: tuple[str, ...]
    types: tuple[Discrete, ...] | None
    codes: dict[str, np.ndarray]
    issues: list[Issue]


def settled(
    features: tuple[str, ...],
    types: tuple[Discrete, ...] | None,
    values: Mapping[str, np.ndarray],
    levels: Mapping[str, tuple[str, ...]],
    concentration: float,
    named: Any,
) -> Settled:
    """Features as complete rows have them.

    Parameters
    ----------
    features, types
        Of the model, which may say no more than names.
    values
        Complete rows by column, (n,) each: numbers, or codes of `levels`.
    concentration
        Of the prior of levels' probabilities.
    named
        Says how a sentence names rows, given their places.
    """
    if types is None:
        words = {name: OF_LEVELS for name in features if name in levels}
        if not words:
            return Settled(features, None, {}, [])
        features = tuple(name for name in features if name not in words)
        types = made(words, {})
    codes, issues, found = {}, list[Issue](), []
    for own in types:
        column = values[own.column]
        if has_levels(own.family):
            labels, place = _labelled(column, levels.get(own.column), own.levels)
            if not own.levels:
                own, said = _learned(own, labels, place, concentration)
                issues += said
            column, said = _placed(own, labels, place, named)
            issues += said
        codes[own.column] = column
        found.append(own)
    return Settled(features, tuple(found), codes, issues)


def _labelled(
    column: np.ndarray, levels: tuple[str, ...] | None, known: tuple[str, ...]
) -> tuple[tuple[str, ...], np.ndarray]:
    """Labels, and each row's place among them, (n,), NaN where a row has none."""
    place = column
    if levels is None:
        place, levels = coded_numbers(column)
        if known and {*known} <= {*_TRUTHS.values()}:
            levels = tuple(_TRUTHS.get(label, label) for label in levels)
    return levels, place


def _learned(
    own: Discrete, labels: tuple[str, ...], place: np.ndarray, concentration: float
) -> tuple[Discrete, list[Issue]]:
    """The feature with the levels that rows have, and what is to be said of them."""
    name, known = own.column, place[~np.isnan(place)].astype(int)
    count = dict(zip(labels, np.bincount(known, minlength=len(labels)).tolist(), strict=True))
    levels = tuple(label for label in labels if count[label])
    issues: list[Issue] = []
    most = most_levels(own.family)
    empty = [label for label in labels if not count[label]]
    issues += empty_levels(name, empty, ", so that new rows cannot have it")
    if len(levels) < 2:
        issues.append(one_level(name, levels))
    elif len(levels) > (most or len(levels)):
        statement = f"Column {quoted(name)} has {len(levels)} levels, and a {own.family} feature "
        statement += f"at most {most}"
        remedy = f"make it {OF_LEVELS}"
        issues.append(error("many_levels", statement, remedy, name, None, float(len(levels))))
    else:
        many = (
            "of whose probabilities the prior says as much as "
            f"{concentration * len(levels):g} rows in each cluster"
        )
        rare = "so that elsewhere the prior alone says how probable it is"
        instead = "give the prior of probability a smaller concentration"
        issues += scarce_levels(name, levels, count, many, instead, rare)
    return replace(own, levels=levels), issues


def _placed(
    own: Discrete, labels: tuple[str, ...], place: np.ndarray, named: Any
) -> tuple[np.ndarray, list[Issue]]:
    """Codes among the feature's levels, (n,), NaN where not known; an error for others."""
    known = {label: float(code) for code, label in enumerate(own.levels)}
    table = np.array([known.get(label, -1.0) for label in labels] + [np.nan])
    codes = table[np.where(np.isnan(place), len(labels), place).astype(int)]
    strange = np.flatnonzero(codes < 0)
    if not strange.size:
        return codes, []
    label = labels[int(place[strange[0]])]
    statement = (
        f"Column {quoted(own.column)} holds the level {quoted(label)} in {named(strange[:1])}, "
        "which no row of the fit has"
    )
    remedy = f"its levels are {listed(own.levels)}"
    row, count = int(strange[0]), float(strange.size)
    return codes, [error("unseen_level", statement, remedy, own.column, row, count)]


def new_codes(
    types: Sequence[Discrete],
    values: Mapping[str, np.ndarray],
    levels: Mapping[str, tuple[str, ...]],
    labels: np.ndarray | None,
) -> tuple[dict[str, np.ndarray], list[Issue]]:
    """Codes of new rows' features, of columns that are there, (n,) each, and what is wrong."""
    there = tuple(own for own in types if own.column in values)

    def named(place: np.ndarray) -> str:
        return rows_named(place, labels)

    found = settled((), there, values, levels, 1.0, named)
    return found.codes, found.issues


def labelled(columns: Mapping[str, np.ndarray], types: Sequence[Discrete]) -> dict[str, np.ndarray]:
    """Labels of codes, of the columns (n,) that are features of levels; None of missing ones."""
    found: dict[str, np.ndarray] = {}
    for own in types:
        if own.levels and own.column in columns:
            found[own.column] = labels_of(columns[own.column], own.levels)
    return found


def labels_of(codes: np.ndarray, levels: Sequence[str]) -> np.ndarray:
    """Labels of codes (n,), None of missing ones."""
    known = ~np.isnan(codes)
    labels = np.array(levels)[np.where(known, codes, 0).astype(int)]
    if known.all():
        return labels
    found = labels.astype(object)
    found[~known] = None
    return found


def source_values(
    codes: np.ndarray, own: tuple[str, ...] | None, source: tuple[str, ...] | None
) -> np.ndarray:
    """A feature's values (n,) as the table had them: numbers, or codes among its own labels."""
    if own is None:
        return codes
    place = [float(label) if source is None else source.index(label) for label in own]
    known = ~np.isnan(codes)
    found = np.array(place, dtype=float)[np.where(known, codes, 0).astype(int)]
    return np.where(known, found, np.nan)


def may_hold(features: Collection[str], types: tuple[Discrete, ...] | None) -> dict[str, bool]:
    """Features that may hold categories or words; with true, texts of any kind."""
    if types is None:
        return dict.fromkeys(features, False)
    return {own.column: True for own in types if has_levels(own.family)}


def types_from(features: object, levels: object) -> tuple[Discrete, ...] | None:
    """The features that are not Gaussian, as a specification's tables have them.

    Raises
    ------
    SpecError
        If the levels are no lists of texts by column.
    """
    if not isinstance(features, Mapping):
        return None
    given = {} if levels is None else levels
    if not isinstance(given, Mapping) or not all(
        isinstance(own, Sequence) and all(isinstance(label, str) for label in own)
        for own in given.values()
    ):
        raise SpecError("[data] needs levels as lists of texts by feature.")
    known = {(name, str(features.get(name))): tuple(own) for name, own in given.items()}
    numeric = numeric_families()
    families = {name: family for name, family in features.items() if family not in numeric}
    return made(families, known)
