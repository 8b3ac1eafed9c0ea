"""A model whose predictors are made of a table's columns: formulas, and columns of levels."""

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from jointmix.model.completions import filled, without_unknown
from jointmix.model.discrete import may_hold, settled, source_values
from jointmix.model.spec import ModelSpec
from jointmix.tables.design import Encoding, Source, cached_formula, outside_issue
from jointmix.tables.factors import OutsideError
from jointmix.tables.issues import Issue, error, quoted
from jointmix.tables.labels import rows_named
from jointmix.tables.learning import learn


def made_of(spec: ModelSpec) -> tuple[str, ...]:
    """Columns of a table of which predictors and offset are made, or which they are."""
    if spec.formula is None:
        predictors = spec.predictors if spec.encoding is None else spec.encoding.names_listed
        return (*predictors, *(() if spec.offset is None else (spec.offset,)))
    said = cached_formula(spec.formula)
    inside = () if said.offset is None else said.offset.columns
    outside = (spec.offset,) if said.offset is None and spec.offset is not None else ()
    return tuple(dict.fromkeys((*said.columns, *inside, *outside)))


def sources(spec: ModelSpec) -> tuple[str, ...]:
    """Columns of a table that a model reads.

    Features, what predictors and offset are made of, trials, response.
    """
    last = tuple(name for name in (spec.trials, spec.response) if name is not None)
    return tuple(dict.fromkeys((*spec.clustering, *made_of(spec), *last)))


def may_be_levels(spec: ModelSpec) -> dict[str, bool]:
    """Columns that may hold categories or words; with true, texts of any kind."""
    if spec.formula is None:
        factors = dict.fromkeys(made_of(spec), False)
    else:
        found = cached_formula(spec.formula).factors
        factors = {each.text: False for each in found if each.plain}
        factors |= {each.columns[0]: True for each in found if each.coding is not None}
    if spec.encoding is not None:
        known = spec.encoding.factors
        factors = {each.columns[0]: True for each in known}
    numbers = {*spec.clustering, spec.response, *spec.given}
    may = {name: anything for name, anything in factors.items() if name not in numbers}
    for name, anything in may_hold(spec.features, spec.types).items():
        may[name] = anything or factors.get(name, False)
    return may


def with_ends(spec: ModelSpec) -> tuple[str, ...]:
    """Columns of terms that learn where their numbers end, such as splines."""
    if spec.formula is None or spec.encoding is not None:
        return ()
    factors = cached_formula(spec.formula).factors
    learning = [each for each in factors if not each.plain and each.coding is None]
    return tuple(dict.fromkeys(name for each in learning for name in each.columns))


def may_be_truths(spec: ModelSpec) -> tuple[str, ...]:
    """Columns in which truth values are levels: those of features that may have levels."""
    return tuple(may_hold(spec.features, spec.types))


def with_types(
    spec: ModelSpec, source: Source
) -> tuple[ModelSpec, dict[str, np.ndarray], list[Issue]]:
    """A model that knows its features, the codes of those with levels, (n,), and what is wrong.

    Parameters
    ----------
    source
        The complete rows.
    """
    found = settled(
        tuple(spec.features), spec.types, source.values, source.levels,
        spec.priors.probability.concentration, source.named,
    )  # fmt: skip
    if found.types != spec.types:
        spec = replace(spec, features=found.features, types=found.types)
    return spec, found.codes, _of_table(found.issues, source)


def encoded(
    spec: ModelSpec, source: Source, learned: Source, codes: Mapping[str, np.ndarray]
) -> tuple[ModelSpec, np.ndarray | None, list[Issue]]:
    """A model that knows its predictors, and its columns (n, C); None where an error is found.

    Parameters
    ----------
    source
        The complete rows.
    learned
        The rows of which knots, centres and scales are taken: as often as each counts.
    codes
        Of features, by column, (n,).
    """
    encoding, issues = spec.encoding, list[Issue]()
    if encoding is None and spec.formula is None and not {*spec.predictors} & {*source.levels}:
        both = sorted({own.column for own in spec.discrete if own.levels} & {*spec.predictors})
        if both:
            statement = f"The codes of {quoted(both[0])} are no numbers to be a predictor"
            remedy = f"write it into a formula, as C({both[0]})"
            return spec, None, [error("levels_as_numbers", statement, remedy, both[0])]
        columns = {**source.values, **codes}
        return spec, np.column_stack([columns[name] for name in spec.columns]), issues
    if encoding is None:
        listed_names = spec.predictors if spec.formula is None else ()
        encoding, issues = learn(spec.formula, tuple(listed_names), spec.intercept, learned)
        if encoding is None:
            return spec, None, _of_table(issues, learned)
        spec = replace(spec, predictors=encoding.names, encoding=encoding)
    found, wrong = encoded_columns(encoding, filled(source, encoding))
    if wrong:
        return spec, None, _of_table(wrong, source)
    found = without_unknown(found, source, encoding)
    columns = {**source.values, **found, **codes}
    return spec, np.column_stack([columns[name] for name in spec.columns]), issues


def encoded_columns(
    encoding: Encoding, source: Source
) -> tuple[dict[str, np.ndarray], list[Issue]]:
    """Columns of rows by name, (N,) each, and what prevents them."""
    issues = encoding.unseen(source)
    if issues:
        return {}, issues
    try:
        return encoding.columns(source), []
    except OutsideError as outside:
        return {}, [outside_issue(outside, source)]


def _of_table(issues: list[Issue], source: Source) -> list[Issue]:
    """Issues whose rows are numbered as in the table."""
    row = source.row
    return [
        issue if issue.row is None or row is None else replace(issue, row=int(row[issue.row]))
        for issue in issues
    ]


def made_anew(
    spec: ModelSpec, source: Source, x: Mapping[str, np.ndarray], u: np.ndarray
) -> np.ndarray:
    """Predictors (n, R) of rows whose features are drawn anew.

    Where a term has no value at what was drawn, as a spline beyond its boundary knots or the
    logarithm of a negative number, it is that of the row's own features.

    Parameters
    ----------
    source
        The rows.
    x
        Their new features by name, (n,) each.
    u
        Predictors of which those stay that are columns by themselves, (n, R).
    """
    assert spec.encoding is not None
    levels = {own.column: own.levels for own in spec.discrete if own.levels}
    drawn = dict(source.values) | {
        name: source_values(column, levels.get(name), source.levels.get(name)).copy()
        for name, column in x.items()
    }
    found: dict[str, np.ndarray] | None = None
    while found is None:
        try:
            found = spec.encoding.columns(replace(source, values=drawn))
        except OutsideError as outside:
            for name in x:
                drawn[name][outside.rows] = source.values[name][outside.rows]
    columns = [found[name] if name in spec.made else u[:, i]
               for i, name in enumerate(spec.predictors)]  # fmt: skip
    return np.stack(columns, axis=1)


def half_known_issues(
    encoding: Encoding, absent: dict[str, np.ndarray], labels: np.ndarray | None
) -> list[Issue]:
    """Missing features of which more is made than a column by itself.

    Parameters
    ----------
    absent
        Whether an entry is missing, (N,) each, of the columns in which it may be.
    """
    issues = []
    for term in encoding.terms:
        for name in dict.fromkeys(each for factor in term.factors for each in factor.columns):
            rows = np.flatnonzero(absent.get(name, np.zeros(0, dtype=bool)))
            if term.plain or not rows.size:
                continue
            statement = (
                f"Column {quoted(name)} has missing entries: {rows.size}, the first in "
                f"{rows_named(rows[:1], labels)}, and {quoted(term.label)} is made of it; only "
                "features that stand in the model as they are may be missing"
            )
            row, count = int(rows[0]), float(rows.size)
            issues.append(error("missing", statement, "fill them in", name, row, count))
    return issues
