"""How factors of levels become columns that are linearly independent beside the other terms."""

from collections.abc import Sequence
from functools import cache
from itertools import chain, combinations

import numpy as np

from jointmix.tables.allowed import Coding
from jointmix.tables.factors import Factor
from jointmix.tables.formulas import Term

#: A factor in a product, and whether a level of it is left out.
Scoped = tuple[Factor, bool]


def contrast_matrix(coding: Coding | None, n_levels: int, reduced: bool) -> np.ndarray:
    """Columns by level, (level, column): of all levels, or treatment or sum contrasts."""
    every = np.eye(n_levels)
    if not reduced:
        return every
    if coding is not None and coding.kind == "sum":
        return np.vstack([every[:-1, :-1], np.full((1, n_levels - 1), -1.0)])
    return every[:, 1:]


@cache
def scoped_terms(
    terms: tuple[Term, ...], with_levels: frozenset[str], intercept: bool
) -> list[tuple[Term, list[tuple[Scoped, ...]]]]:
    """Each term as products of factors, so coded that columns are linearly independent.

    A product of factors of levels, all levels of each, spans the products of all subsets of them
    without their first levels. What earlier terms span is left out, and what remains is joined
    again where a factor may keep all its levels.
    """
    spanned: set[tuple[frozenset[Factor], frozenset[Factor]]] = set()
    if intercept:
        spanned.add((frozenset(), frozenset()))
    found = []
    for term in terms:
        of_levels = [each for each in term.factors if each.text in with_levels]
        numbers = frozenset(term.factors) - frozenset(of_levels)
        sizes = range(len(of_levels) + 1)
        subsets = chain.from_iterable(combinations(of_levels, size) for size in sizes)
        new = [each for each in subsets if (numbers, frozenset(each)) not in spanned]
        spanned |= {(numbers, frozenset(each)) for each in new}
        joined = _joined([frozenset((factor, True) for factor in each) for each in new])
        parts = []
        for each in joined:
            reduced = dict(each)
            parts.append(
                tuple(
                    (factor, reduced.get(factor, False))
                    for factor in term.factors
                    if factor in numbers or factor in reduced
                )
            )
        found.append((term, parts))
    return found


def _joined(parts: Sequence[frozenset[Scoped]]) -> list[frozenset[Scoped]]:
    """The fewest products with the same span: P and P·(f without a level) are P·(all of f)."""
    kept: list[frozenset[Scoped]] = []
    for part in sorted(parts, key=len):
        for other in kept:
            more = part - other
            if other < part and len(more) == 1 and next(iter(more))[1]:
                factor = next(iter(more))[0]
                rest = [each for each in kept if each != other]
                kept = _joined([*rest, other | {(factor, False)}])
                break
        else:
            kept.append(part)
    return kept
