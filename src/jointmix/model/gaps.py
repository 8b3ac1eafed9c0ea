"""Missing entries that a model integrates over: where they may be, and how many there are."""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from jointmix.families import has_levels, numeric_families
from jointmix.model.spec import ModelSpec
from jointmix.tables.design import cached_formula
from jointmix.tables.issues import Issue, error, quoted, warning
from jointmix.tables.labels import rows_named

_WAY_OUT = 'fill them in or leave those rows out with missing="drop"'


@dataclass(frozen=True, eq=False)
class Available:
    """Columns (obs, column) by name, of the rows that have the entries that are asked for."""

    values: np.ndarray
    names: tuple[str, ...]

    def select(self, names: Iterable[str]) -> np.ndarray:
        """Columns of the rows in which none of them is missing, (row, name)."""
        found = self.values[:, [self.names.index(name) for name in names]]
        there = ~np.isnan(found).any(axis=1)
        return found if there.all() else found[there]

    def enough(self, names: Sequence[str]) -> bool:
        """Whether so many rows have these entries that a dependence is no chance."""
        whole = not np.isnan(self.values).any()
        return whole or len(self.select(names)) > len(names) + 1


def observed_anything(absent: np.ndarray, names: Sequence[str], spec: ModelSpec) -> np.ndarray:
    """Rows (obs,) of which the model has a density: with a feature, or the response, present.

    Parameters
    ----------
    absent
        Whether an entry is missing, (obs, column) of the columns ``names``.
    """
    own = [name for block in spec.blocks for name in block.columns if name in names]
    there: np.ndarray = ~absent[:, [list(names).index(name) for name in own]]
    return there.any(axis=1)


def gap_issues(
    absent: np.ndarray,
    names: Sequence[str],
    spec: ModelSpec,
    labels: np.ndarray | None,
    words: Collection[str] = (),
) -> list[Issue]:
    """Errors of missing entries that no density of the model can be integrated over.

    Parameters
    ----------
    absent
        Whether an entry is missing, (obs, column) of the columns ``names``, whose rows have
        ``labels`` (obs,).
    words
        Columns that hold words or categories.
    """
    issues = []
    for name, column in zip(names, absent.T, strict=True):
        why = _why_not(name, spec, words)
        if why is None or not column.any():
            continue
        row, count = int(column.argmax()), int(column.sum())
        statement = (
            f"Column {quoted(name)} has missing entries: {count}, the first in "
            f"{rows_named([row], labels)}, and {why[0]}"
        )
        issues.append(error("missing", statement, f"{why[1]}{_WAY_OUT}", name, row, float(count)))
    return issues


@dataclass(frozen=True)
class Regained:
    """What ``missing="model"`` keeps of the rows with missing entries.

    Attributes
    ----------
    rows, patterns
        How many rows it could integrate over, and of how many patterns of missing entries.
    closed
        Columns with missing entries over which it could not: it refuses a table with such rows.
    """

    rows: int = 0
    patterns: int = 0
    closed: tuple[str, ...] = ()


def regained(
    absent: np.ndarray, names: Sequence[str], spec: ModelSpec, words: Collection[str] = ()
) -> Regained:
    """What the model could integrate over.

    Parameters
    ----------
    absent
        Whether an entry is missing, (obs, column) of the columns ``names``.
    words
        Columns that hold words or categories.
    """
    if not absent.any():
        return Regained()
    closed = np.array([_why_not(name, spec, words) is not None for name in names])
    open_rows = absent.any(axis=1) & ~absent[:, closed].any(axis=1)
    open_rows &= observed_anything(absent, names, spec)
    refused = np.flatnonzero(closed & absent.any(axis=0))
    return Regained(
        int(open_rows.sum()),
        len(np.unique(absent[open_rows], axis=0)),
        tuple(names[place] for place in refused.tolist()),
    )


def kept_issue(
    absent: np.ndarray, names: Sequence[str], spec: ModelSpec, words: Collection[str] = ()
) -> Issue | None:
    """What the two ways out of missing entries keep; None where nothing is missing.

    Parameters
    ----------
    absent
        Whether an entry is missing, (obs, column) of the columns ``names``, of rows that count.
    words
        Columns that hold words or categories.
    """
    gone = absent.any(axis=1)
    if not gone.any():
        return None
    n, whole = len(absent), int((~gone).sum())
    said = f'missing="drop" would keep {whole} of {n} rows'
    kept = regained(absent, names, spec, words)
    more, patterns = kept.rows, kept.patterns
    if more:
        they = "it has" if more == 1 else "they have"
        said += (
            f', and missing="model" {whole + more}: {more} by what {they}, in '
            f"{patterns} {'pattern' if patterns == 1 else 'patterns'} of missing entries"
        )
    else:
        said += ', and missing="model" no more'
    for name in kept.closed[:1]:
        why, count = _why_not(name, spec, words), int(absent[:, list(names).index(name)].sum())
        rows = "the row" if count == 1 else f"the {count} rows"
        reason = "" if why is None else f", as {why[0]}"
        said += f"; {rows} without {quoted(name)} would have to go first{reason}"
    remedy = 'Say missing="model", or "drop".' if more else 'Say missing="drop", or fill them in.'
    return warning("rows_kept", f"{said}.", remedy, "", int(gone.argmax()), float(whole + more))


def _why_not(name: str, spec: ModelSpec, words: Collection[str]) -> tuple[str, str] | None:
    """Why entries of a column may not be missing, and a way out besides; None where they may."""
    if name == spec.response:
        return None
    if name not in spec.clustering:
        made = " predictor" if name not in spec.given else ""
        way = "make it a feature too, " if made else ""
        return f"it is no feature, so that nothing says what the{made or ' entry'} was", way
    if name in _levels_alone(spec, words):
        return None
    for label, columns in _made_terms(spec):
        if name in columns:
            return f"{quoted(label)} is made of it, over which there is no exact integral", ""
    block = spec.blocks[-1]
    counted = {own.column for own in spec.discrete if not has_levels(own.family)}
    if name in _plain_predictors(spec) and name in counted:
        return "it is a predictor too, over whose counts nothing is summed", ""
    if name in _plain_predictors(spec) and not block.integrates_predictors:
        reason = f"it is a predictor of a response of the family {quoted(spec.family)}"
        if spec.feature_family != numeric_families()[0]:
            reason = "it is a predictor and a Student-t feature"
        return f"{reason}, over which there is no exact integral", ""
    return None


def _levels_alone(spec: ModelSpec, words: Collection[str]) -> frozenset[str]:
    """Features of which predictors are made as factors of levels only: sums go over the levels."""
    coded = {own.column for own in spec.types or () if has_levels(own.family)}
    if spec.formula is None:
        listed = spec.predictors if spec.encoding is None else spec.encoding.names_listed
        return frozenset({*listed} & {*words})
    found: dict[str, bool] = {}
    for term in cached_formula(spec.formula).terms:
        for part in term.factors:
            alone = part.coding is not None or (part.plain and part.text in words)
            for column in part.columns:
                found[column] = alone and found.get(column, True)
    return frozenset(name for name, alone in found.items() if alone and name in {*words, *coded})


def _made_terms(spec: ModelSpec) -> list[tuple[str, tuple[str, ...]]]:
    """Terms of the predictors that are more than a column by itself, and their columns."""
    if spec.formula is None:
        return []
    terms = cached_formula(spec.formula).terms
    return [
        (term.label, tuple(dict.fromkeys(each for part in term.factors for each in part.columns)))
        for term in terms
        if len(term.factors) > 1 or not term.factors[0].plain
    ]


def _plain_predictors(spec: ModelSpec) -> tuple[str, ...]:
    """Columns of the table that are predictors by themselves."""
    if spec.formula is None:
        return tuple(spec.predictors)
    terms = cached_formula(spec.formula).terms
    return tuple(name for term in terms for part in term.factors for name in part.columns)
