"""What an encoding learns of complete rows: levels, knots, means. And what is wrong with them."""

import json

import numpy as np

from jointmix.tables.bases import State
from jointmix.tables.design import Encoding, Source, cached_formula, outside_issue
from jointmix.tables.factors import Factor, OutsideError
from jointmix.tables.formulas import listed_terms
from jointmix.tables.issues import Issue, error, listed, quoted
from jointmix.tables.scarce import empty_levels, one_level, scarce_levels

_MOST_COLUMNS = 1_000


def learn(
    formula: str | None, listed_names: tuple[str, ...], intercept: bool, source: Source
) -> tuple[Encoding | None, list[Issue]]:
    """The encoding that complete rows lead to; None where an issue is an error.

    Parameters
    ----------
    formula, listed_names
        One of them: the formula, or columns that are predictors as they are.
    intercept
        Whether the model has one.
    """
    said = None if formula is None else cached_formula(formula)
    terms = listed_terms(listed_names) if said is None else said.terms
    issues: list[Issue] = []
    levels: dict[str, tuple[str, ...]] = {}
    states: dict[str, State] = {}
    factors = dict.fromkeys(each for term in terms for each in term.factors)
    if said is not None and said.offset is not None:
        factors[said.offset] = None
    for factor in factors:
        if factor.coding is not None or (factor.plain and factor.text in source.levels):
            found, said_of = _learned_levels(factor, source)
            levels[factor.text] = found
            issues += said_of
        else:
            wrong = _learned_numbers(factor, source, states)
            issues += [] if wrong is None else [wrong]
    if any(issue.severity == "error" for issue in issues):
        return None, issues
    content = json.dumps({"levels": levels, "states": states}, allow_nan=False)
    encoding = Encoding(formula, listed_names, intercept, content)
    if len(encoding.names) > _MOST_COLUMNS:
        statement = f"The formula makes {len(encoding.names)} columns, more than {_MOST_COLUMNS}"
        issues.append(error("many_columns", statement, "leave out terms or join levels"))
        return None, issues
    return encoding, issues


def _learned_numbers(factor: Factor, source: Source, states: dict[str, State]) -> Issue | None:
    words = [name for name in factor.columns if name in source.levels]
    if words:
        remedy = "use it by itself, in a product or by C()"
        statement = f"Column {quoted(words[0])} holds levels, no numbers, for {quoted(factor.text)}"
        return error("levels_as_numbers", statement, remedy, words[0])
    try:
        factor.values(source.values, states, True)
    except OutsideError as outside:
        return outside_issue(outside, source)
    except (ValueError, ArithmeticError, np.linalg.LinAlgError) as failure:
        why = str(failure).partition(". ")[0].rstrip(".")
        statement = f"{quoted(factor.text)} cannot be made of these rows ({why})"
        column = listed(factor.columns)
        return error("no_basis", statement, "take another term, or fewer df", column)
    return None


def _learned_levels(factor: Factor, source: Source) -> tuple[tuple[str, ...], list[Issue]]:
    """The levels that rows have, the reference first, and what is to be said of them."""
    (name,) = factor.columns
    codes, labels = source.coded(factor)
    coding = factor.coding
    known = codes[~np.isnan(codes)].astype(int)
    counts = dict(zip(labels, np.bincount(known, minlength=len(labels)).tolist(), strict=True))
    order = labels if coding is None or coding.levels is None else coding.levels
    issues: list[Issue] = []
    strange = [label for label in labels if counts[label] and label not in order]
    if strange:
        statement = f"Column {quoted(name)} holds {quoted(strange[0])}, no level of {factor.text}"
        issues.append(error("unseen_level", statement, "name it there too", name))
    levels = [label for label in order if counts.get(label, 0)]
    empty = [label for label in order if not counts.get(label, 0)]
    issues += empty_levels(name, empty, "")
    base = None if coding is None else coding.base
    if base is not None and base not in levels:
        statement = f"Column {quoted(name)} has no level {quoted(base)} to hold others against"
        issues.append(error("no_base", statement, f"its levels are {listed(levels)}", name))
    elif base is not None:
        levels = [base, *(each for each in levels if each != base)]
    if len(levels) < 2:
        issues.append(one_level(name, levels))
    else:
        many = f"so that each cluster has {len(levels) - 1} slopes for it"
        rare = "which decides what is said of it"
        issues += scarce_levels(name, levels, counts, many, "leave it out", rare)
    return tuple(levels), issues
