"""Terms of a formula as columns of numbers, and all that it takes to make them of new rows."""

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache, cached_property, reduce
from itertools import chain, product
from typing import Any

import numpy as np

from jointmix.base.errors import SpecError
from jointmix.tables.bases import State
from jointmix.tables.coding import contrast_matrix, scoped_terms
from jointmix.tables.columns import Columns
from jointmix.tables.factors import Factor, OutsideError
from jointmix.tables.formulas import Formula, Term, listed_terms, parse_formula
from jointmix.tables.issues import Issue, error, listed, quoted
from jointmix.tables.labels import rows_named
from jointmix.tables.levels import coded_numbers

#: `parse_formula`, which gives the same for the same text.
cached_formula = cache(parse_formula)


@dataclass(frozen=True)
class TermColumns:
    """The columns of one term.

    Attributes
    ----------
    label
        The term as a formula has it, factors of levels by their columns' names.
    names
        Of its columns.
    factors
        Whose product it is.
    """

    label: str
    names: tuple[str, ...]
    factors: tuple[Factor, ...]

    @property
    def plain(self) -> bool:
        """Whether it is one column of the table by itself."""
        return len(self.names) == 1 and self.names[0] == self.label and self.factors[0].plain


@dataclass(frozen=True)
class Source:
    """Columns of a table as they are read: numbers, or codes of levels.

    Attributes
    ----------
    values
        (N,) each, NaN where missing.
    levels
        Labels of the codes, of columns that have them.
    labels, row
        What the table calls these rows and their numbers in it, (N,); None for their places.
    """

    values: Mapping[str, np.ndarray]
    levels: Mapping[str, tuple[str, ...]]
    labels: np.ndarray | None = None
    row: np.ndarray | None = None

    @classmethod
    def of(cls, read: Columns, values: Mapping[str, np.ndarray], row: np.ndarray) -> "Source":
        """Rows that were read, by their numbers in the table."""
        labels = None if read.labels is None else read.labels[row]
        return cls(values, read.levels, labels, row)

    def take(self, places: np.ndarray) -> "Source":
        """Some of the rows."""
        values = {name: column[places] for name, column in self.values.items()}
        labels, row = (None if one is None else one[places] for one in (self.labels, self.row))
        return replace(self, values=values, labels=labels, row=row)

    def named(self, place: np.ndarray) -> str:
        """Rows as a sentence names them."""
        return rows_named(place, self.labels, self.row)

    def coded(self, factor: Factor) -> tuple[np.ndarray, tuple[str, ...]]:
        """Codes (N,) of a factor's column, and the labels."""
        (name,) = factor.columns
        if name in self.levels:
            return self.values[name], self.levels[name]
        return coded_numbers(self.values[name])


@dataclass(frozen=True)
class Encoding:
    """How predictors are made of a table's columns: fit for JSON, the same numbers everywhere.

    Attributes
    ----------
    formula
        As it was written; None where columns were listed.
    names_listed
        The columns that were listed; empty with a formula.
    intercept
        Whether the model has one: without, the first factor keeps all its levels.
    content
        JSON: ``levels`` by factor, and ``states``, what splines, polynomials and centring learned.
    """

    formula: str | None
    names_listed: tuple[str, ...]
    intercept: bool
    content: str

    @cached_property
    def levels(self) -> dict[str, tuple[str, ...]]:
        """Labels of the levels in their order, the reference first, by factor."""
        return {text: tuple(found) for text, found in json.loads(self.content)["levels"].items()}

    @cached_property
    def states(self) -> dict[str, State]:
        """What was learned of the rows of the fit, by call."""
        found: dict[str, State] = json.loads(self.content)["states"]
        return found

    @cached_property
    def _formula(self) -> Formula | None:
        return None if self.formula is None else cached_formula(self.formula)

    @cached_property
    def _terms(self) -> tuple[Term, ...]:
        return listed_terms(self.names_listed) if self._formula is None else self._formula.terms

    @property
    def offset(self) -> Factor | None:
        """Of the formula."""
        return None if self._formula is None else self._formula.offset

    @cached_property
    def terms(self) -> tuple[TermColumns, ...]:
        """The terms that have columns, in their order."""
        scoped = scoped_terms(self._terms, frozenset(self.levels), self.intercept)
        found = []
        for term, parts in scoped:
            names = [
                ":".join(reversed(each))
                for part in parts
                for each in product(*(self._labels(*one) for one in reversed(part)))
            ]
            if names:
                label = ":".join(self._stem(factor) for factor in term.factors)
                found.append(TermColumns(label, tuple(names), term.factors))
        names = [name for term in found for name in term.names]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise SpecError(f"Two terms of the formula give the column {quoted(twice[0])}.")
        return tuple(found)

    @property
    def names(self) -> tuple[str, ...]:
        """Of the columns that are made."""
        return tuple(chain.from_iterable(term.names for term in self.terms))

    @cached_property
    def curved(self) -> frozenset[str]:
        """Names of columns of splines and polynomials, whose slopes say nothing one by one."""
        return frozenset(
            name
            for term in self.terms
            if any(factor.basis for factor in term.factors)
            for name in term.names
        )

    @cached_property
    def against(self) -> dict[str, tuple[str, str, str]]:
        """Factor, level and reference by column, where a level is alone held against one."""
        found: dict[str, tuple[str, str, str]] = {}
        for term in self.terms:
            factor, *others = term.factors
            levels = self.levels.get(factor.text, ())
            names = [f"{self._stem(factor)}[{level}]" for level in levels[1:]]
            # All levels, sums and products have other columns.
            if not others and list(term.names) == names:
                stem = self._stem(factor)
                found |= {
                    name: (stem, level, levels[0])
                    for name, level in zip(names, levels[1:], strict=True)
                }
        return found

    @cached_property
    def made(self) -> frozenset[str]:
        """Names of columns that are not columns of the table by themselves."""
        plain = {name for term in self.terms if term.plain for name in term.names}
        offset = self.offset
        names = self.names if offset is None or offset.plain else (*self.names, offset.text)
        return frozenset(names) - plain

    def derived(self, names: Collection[str]) -> bool:
        """Whether a column is made of one of these, which is more than the column by itself."""
        return any(
            name in names
            for term in self.terms
            if not term.plain
            for factor in term.factors
            for name in factor.columns
        )

    def _stem(self, factor: Factor) -> str:
        return factor.columns[0] if factor.text in self.levels else factor.text

    def _labels(self, factor: Factor, reduced: bool) -> list[str]:
        """Of the columns of one factor."""
        if factor.text in self.levels:
            levels = self.levels[factor.text]
            stem = self._stem(factor)
            coding = factor.coding
            if reduced and coding is not None and coding.kind == "sum":
                return [f"{stem}[S.{level}]" for level in levels[:-1]]
            return [f"{stem}[{level}]" for level in levels[reduced:]]
        if factor.basis:
            width = self._width(factor)
            return [f"{factor.text}[{place}]" for place in range(1, width + 1)]
        return [factor.text]

    def _width(self, factor: Factor) -> int:
        """Columns of a basis."""
        state = self.states[factor.written(factor.root)]
        if factor.basis == "poly":
            return len(state["alpha"])
        if factor.basis == "bs":
            return len(state["knots"]) - factor.degree - 2
        return len(state["rotation"][0])

    def columns(self, source: Source, alone: TermColumns | None = None) -> dict[str, np.ndarray]:
        """The columns of rows, (N,) each, by name; the offset too, by its text.

        Parameters
        ----------
        source
            Complete rows in which no level is `unseen`.
        alone
            The one of `terms` whose columns are wanted; None for all, and the offset.

        Raises
        ------
        OutsideError
            If a row lies where a function has no value.
        """
        found: dict[str, np.ndarray] = {}
        values: dict[Factor, np.ndarray] = {}
        scoped = scoped_terms(self._terms, frozenset(self.levels), self.intercept)
        if alone is not None:
            scoped = [(term, parts) for term, parts in scoped if term == Term(alone.factors)]
        for factor in dict.fromkeys(each for term, _ in scoped for each in term.factors):
            if factor.text in self.levels:
                values[factor] = self._placed(factor, source)
            else:
                values[factor] = factor.values(source.values, self.states, False)
        for _, parts in scoped:
            for part in parts:
                sides = [self._parts(factor, reduced, values[factor]) for factor, reduced in part]
                for each in product(*reversed(sides)):
                    name = ":".join(label for label, _ in reversed(each))
                    found[name] = reduce(np.multiply, [column for _, column in reversed(each)])
        if self.offset is not None and alone is None:
            found[self.offset.text] = self.offset.values(source.values, self.states, False)
        return found

    def _parts(
        self, factor: Factor, reduced: bool, values: np.ndarray
    ) -> list[tuple[str, np.ndarray]]:
        labels = self._labels(factor, reduced)
        if factor.text not in self.levels:
            matrix = values.reshape(len(values), len(labels))
            return list(zip(labels, matrix.T, strict=True))
        table = contrast_matrix(factor.coding, len(self.levels[factor.text]), reduced)
        return list(zip(labels, table[values].T, strict=True))

    def _placed(self, factor: Factor, source: Source) -> np.ndarray:
        """Places (N,) of a factor's entries among its levels, −1 for none of them."""
        codes, labels = source.coded(factor)
        known = {level: place for place, level in enumerate(self.levels[factor.text])}
        table = np.array([known.get(label, -1) for label in labels], dtype=int)
        return table[codes.astype(int)]

    def unseen(self, source: Source) -> list[Issue]:
        """An error for each factor that holds a level which no row of the fit has."""
        issues = []
        for factor in self.factors:
            rows = np.flatnonzero(self._placed(factor, source) < 0)
            if not rows.size:
                continue
            (name,) = factor.columns
            codes, labels = source.coded(factor)
            statement = (
                f"Column {quoted(name)} holds the level {quoted(labels[int(codes[rows[0]])])} in "
                f"{source.named(rows[:1])}, which no row of the fit has"
            )
            remedy = f"its levels are {listed(self.levels[factor.text])}"
            row, count = int(rows[0]), float(rows.size)
            issues.append(error("unseen_level", statement, remedy, name, row, count))
        return issues

    @property
    def codings(self) -> dict[str, str]:
        """How each factor of levels is coded, in words, by its text."""
        scoped = scoped_terms(self._terms, frozenset(self.levels), self.intercept)
        reduced = {factor.text for _, parts in scoped for part in parts
                   for factor, is_reduced in part if is_reduced}  # fmt: skip
        return {each.text: _coded(each, self.levels[each.text], each.text in reduced)
                for each in self.factors}  # fmt: skip

    def __repr__(self) -> str:
        """The factors' levels, among them their references."""
        said = [f"{quoted(name)}: {words}" for name, words in self.codings.items()]
        return f"Encoding({'; '.join(said)})"

    @property
    def factors(self) -> tuple[Factor, ...]:
        """Those of levels."""
        found = dict.fromkeys(each for term in self._terms for each in term.factors)
        return tuple(each for each in found if each.text in self.levels)

    def named(self, text: str) -> list[TermColumns]:
        """The terms that a text such as "bill * sex" names; empty where one is none here."""
        exact = [each for each in self.terms if each.label == text]
        if exact:
            return exact
        try:
            wanted = cached_formula(f"`.` ~ 0 + {text}").terms
        except SpecError:
            return []
        found = [each for each in self.terms if Term(each.factors) in wanted]
        return found if len(found) == len(wanted) else []

    def as_dict(self) -> dict[str, Any]:
        """What was learned, fit for JSON."""
        found: dict[str, Any] = json.loads(self.content)
        return found


def _coded(factor: Factor, levels: Sequence[str], reduced: bool) -> str:
    if not reduced:
        return f"levels {', '.join(levels)}, each by itself"
    if factor.coding is not None and factor.coding.kind == "sum":
        return f"levels {', '.join(levels)}, each against the mean of all"
    return f"levels {', '.join(levels[1:])}, held against {levels[0]}"


def encoding_from_dict(
    formula: str | None, names: Sequence[str], intercept: bool, content: object
) -> Encoding:
    """The encoding that `Encoding.as_dict` made the content of.

    Raises
    ------
    SpecError
        If it is no such content.
    """
    try:
        found = Encoding(formula, tuple(names), intercept, json.dumps(content))
        _ = found.names
    except (AttributeError, KeyError, TypeError, ValueError) as failure:
        raise SpecError("The model's encoding cannot be read; fit the model again.") from failure
    return found


def outside_issue(outside: OutsideError, source: Source) -> Issue:
    """What rows a factor has no value for."""
    first = outside.rows[:1]
    name = outside.columns[0]
    holds = ", ".join(f"{quoted(each)} {source.values[each][first[0]]:g}"
                      for each in outside.columns)  # fmt: skip
    more = f" (and {len(outside.rows) - 1} more like it)" if len(outside.rows) > 1 else ""
    statement = (
        f"The formula's {quoted(outside.text)} needs {outside.needs}, but {source.named(first)} "
        f"holds {holds}{more}"
    )
    remedy = "leave those rows out or take another term"
    row, count = int(first[0]), float(len(outside.rows))
    return error("outside", statement, remedy, name, row, count)
