"""Formulas as people write models: a response, and sums and products of factors (Wilkinson's)."""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property

from jointmix.base.errors import SpecError
from jointmix.tables.factors import Factor, column_factor, make_factor
from jointmix.tables.issues import quoted

#: Most signs of a formula, terms, factors of a term, and parentheses in one another.
_MOST_SIGNS, _MOST_TERMS, _MOST_FACTORS, _MOST_DEPTH = 2_000, 100, 6, 20
_TOKEN = re.compile(
    r"\s*(?:(?P<name>`[^`]*`|[^\W\d][\w.]*)|(?P<number>\d+(?:\.\d*)?)|(?P<sign>\*\*|[-+*/:^()~]))"
)


@dataclass(frozen=True)
class Term:
    """A product of factors; none of them is the intercept.

    Terms of the same factors are the same, in whatever order.
    """

    factors: tuple[Factor, ...] = ()

    def times(self, other: "Term") -> "Term":
        """The product, each factor once."""
        return Term(tuple(dict.fromkeys((*self.factors, *other.factors))))

    @cached_property
    def label(self) -> str:
        """As a formula has it."""
        return ":".join(factor.text for factor in self.factors)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Term) and set(self.factors) == set(other.factors)

    def __hash__(self) -> int:
        return hash(frozenset(self.factors))


@dataclass(frozen=True)
class Formula:
    """What a formula says.

    Attributes
    ----------
    response
        The column to the left.
    terms
        Those to the right, by the number of their factors.
    intercept
        Whether there is one.
    offset
        What is added to the line as it is; None for nothing.
    """

    response: str
    terms: tuple[Term, ...]
    intercept: bool
    offset: Factor | None

    @property
    def factors(self) -> tuple[Factor, ...]:
        """All factors, once each."""
        return tuple(dict.fromkeys(each for term in self.terms for each in term.factors))

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns that the terms read, once each."""
        return tuple(dict.fromkeys(name for each in self.factors for name in each.columns))


def parse_formula(text: object) -> Formula:
    """What a formula says, if it holds nothing but what it may.

    Parameters
    ----------
    text
        ``response ~ terms``: ``+`` adds terms and ``-`` takes them away, ``a:b`` is their product,
        ``a * b`` is ``a + b + a:b``, ``a / b`` is ``a + a:b``, ``(a + b) ** 2`` all products of
        two; ``0 +`` or ``- 1`` leaves out the intercept; ``offset(x)`` is added as it is. Names
        that are no identifiers stand in backticks.

    Raises
    ------
    SpecError
        If it cannot be read, or calls what is not listed; nothing of it has been run.
    """
    if not isinstance(text, str) or not text.strip():
        raise SpecError(f"formula must be text such as 'mass ~ bill * sex'; got {quoted(text)}.")
    if len(text) > _MOST_SIGNS:
        raise SpecError(f"A formula may have {_MOST_SIGNS} characters; got {len(text)}.")
    reader = _Reader(_tokens(text), text)
    kind, response = reader.take()
    if kind != "name" or reader.take() != ("sign", "~"):
        raise SpecError(
            "A formula needs one column to the left of '~', as in 'mass ~ bill * sex', and what is "
            f"to be transformed there must be a column of the table; got {quoted(text)}."
        )
    found = reader.sum(_Sum([Term()]))
    if reader.peek()[0] != "end":
        raise reader.unexpected()
    return _made(column_name(response), found)


def column_name(word: str) -> str:
    """The column that a word of a formula names."""
    return make_factor(word).text if not word.startswith("`") else word[1:-1]


def listed_terms(names: Iterable[str]) -> tuple[Term, ...]:
    """Columns by themselves, each a term."""
    return tuple(Term((column_factor(name),)) for name in names)


def _made(response: str, found: "_Sum") -> Formula:
    offsets = [term for term in found.terms if any(_is_offset(each) for each in term.factors)]
    if any(len(term.factors) > 1 for term in offsets) or len(offsets) > 1:
        raise SpecError(
            "A formula may have one offset, a term of its own; got "
            f"{' + '.join(term.label for term in offsets)}."
        )
    terms = [term for term in found.terms if term.factors and term not in offsets]
    for term in terms:
        if response in {name for each in term.factors for name in each.columns}:
            raise SpecError(f"The response {quoted(response)} stands on both sides of the formula.")
    ordered = sorted(terms, key=lambda term: len(term.factors))
    offset = make_factor(_argument(offsets[0].factors[0])) if offsets else None
    return Formula(response, tuple(ordered), Term() in found.terms, offset)


def _is_offset(factor: Factor) -> bool:
    return factor.text.startswith("offset(")


def _argument(offset: Factor) -> str:
    return offset.text[len("offset(") : -1]


class _Sum:
    """Terms in order, once each."""

    def __init__(self, terms: Iterable[Term] = ()) -> None:
        self.terms = list(dict.fromkeys(terms))
        if len(self.terms) > _MOST_TERMS:
            raise SpecError(f"A formula may have {_MOST_TERMS} terms; got more.")
        most = max((len(term.factors) for term in self.terms), default=0)
        if most > _MOST_FACTORS:
            raise SpecError(f"A term may be a product of {_MOST_FACTORS} factors; got {most}.")

    def plus(self, other: "_Sum") -> "_Sum":
        return _Sum([*self.terms, *other.terms])

    def minus(self, other: "_Sum") -> "_Sum":
        return _Sum(term for term in self.terms if term not in other.terms)

    def times(self, other: "_Sum") -> "_Sum":
        return _Sum(one.times(two) for one in self.terms for two in other.terms)

    def power(self, n: int) -> "_Sum":
        found = self
        for _ in range(n - 1):
            found = found.plus(found.times(self))
        return found

    def within(self, other: "_Sum") -> "_Sum":
        """This, and the other's terms in each combination of this."""
        everything = Term()
        for term in self.terms:
            everything = everything.times(term)
        return self.plus(_Sum([everything]).times(other))


def _tokens(text: str) -> list[tuple[str, str]]:
    """Names, whole calls, numbers and signs, in their order."""
    found, place = [], 0
    while place < len(text.rstrip()):
        match = _TOKEN.match(text, place)
        if match is None:
            raise SpecError(
                f"The formula cannot hold {quoted(text[place:].strip()[:1])}, as in "
                f"{quoted(text.strip())}; names that are no identifiers stand in `backticks`."
            )
        kind, word = str(match.lastgroup), match[str(match.lastgroup)]
        place = match.end()
        if kind == "name" and text[place : place + 1] == "(" and not word.startswith("`"):
            end = _closing(text, place)
            kind, word = "call", word + text[place:end]
            place = end
        found.append((kind, word))
    return [*found, ("end", "")]


def _closing(text: str, opening: int) -> int:
    """The place after the parenthesis that closes the one at ``opening``."""
    depth, quote = 0, ""
    for place in range(opening, len(text)):
        sign = text[place]
        if quote:
            quote = "" if sign == quote else quote
        elif sign in "\"'`":
            quote = sign
        elif sign in "([{":
            depth += 1
        elif sign in ")]}":
            depth -= 1
            if depth == 0:
                return place + 1
        if depth > _MOST_DEPTH:
            raise SpecError(f"A formula may have {_MOST_DEPTH} parentheses inside one another.")
    raise SpecError(f"A parenthesis of the formula {quoted(text.strip())} is never closed.")


class _Reader:
    """Reads tokens from left to right, each operator at its own level."""

    def __init__(self, tokens: list[tuple[str, str]], text: str) -> None:
        self._tokens, self._text, self._place, self._depth = tokens, text, 0, 0

    def peek(self) -> tuple[str, str]:
        return self._tokens[self._place]

    def take(self) -> tuple[str, str]:
        found = self._tokens[self._place]
        self._place = min(self._place + 1, len(self._tokens) - 1)
        return found

    def unexpected(self) -> SpecError:
        kind, word = self.peek()
        what = "its end" if kind == "end" else quoted(word)
        return SpecError(f"The formula {quoted(self._text.strip())} cannot be read at {what}.")

    def sum(self, found: _Sum) -> _Sum:
        """``a + b - c``, added to what is there; 0 takes the intercept away."""
        sign = "+"
        if self.peek() in (("sign", "+"), ("sign", "-")):
            sign = self.take()[1]
        while True:
            if self.peek() == ("number", "0"):
                self.take()
                one = _Sum([Term()])
                found = found.minus(one) if sign == "+" else found.plus(one)
            else:
                part = self.product()
                found = found.plus(part) if sign == "+" else found.minus(part)
            if self.peek() not in (("sign", "+"), ("sign", "-")):
                return found
            sign = self.take()[1]

    def product(self) -> _Sum:
        """``a * b`` and ``a / b``."""
        found = self.interaction()
        while self.peek() in (("sign", "*"), ("sign", "/")):
            sign = self.take()[1]
            other = self.interaction()
            if sign == "*":
                found = found.plus(other).plus(found.times(other))
            else:
                found = found.within(other)
        return found

    def interaction(self) -> _Sum:
        """``a:b``."""
        found = self.power()
        while self.peek() == ("sign", ":"):
            self.take()
            found = found.times(self.power())
        return found

    def power(self) -> _Sum:
        """``(a + b) ** 2``."""
        found = self.atom()
        while self.peek() in (("sign", "**"), ("sign", "^")):
            self.take()
            kind, word = self.take()
            if kind != "number" or not word.isdigit() or not 1 <= int(word[:3]) <= _MOST_FACTORS:
                raise SpecError(
                    f"A power of terms must be a number from 1 to {_MOST_FACTORS}, got "
                    f"{quoted(word)}; powers of numbers stand in I(), as in I(x**2)."
                )
            found = found.power(int(word))
        return found

    def atom(self) -> _Sum:
        kind, word = self.peek()
        if (kind, word) == ("sign", "("):
            self._depth += 1
            if self._depth > _MOST_DEPTH:
                raise SpecError(f"A formula may have {_MOST_DEPTH} parentheses inside one another.")
            self.take()
            found = self.sum(_Sum())
            if self.take() != ("sign", ")"):
                self._place -= 1
                raise self.unexpected()
            self._depth -= 1
            return found
        if kind == "number" and word != "1":
            raise SpecError(
                f"A formula may hold the numbers 0 and 1 as terms, got {word}; others stand in I()."
            )
        if kind not in ("name", "call", "number"):
            raise self.unexpected()
        self.take()
        if kind == "number":
            return _Sum([Term()])
        return _Sum([Term((_dotted(word) if kind == "name" else make_factor(word),))])


def _dotted(word: str) -> Factor:
    if word.startswith("`"):
        return column_factor(column_name(word)) if len(word) > 2 else make_factor(word)
    if "." in word:
        raise SpecError(
            f"The formula holds {quoted(word)}; a column so named stands in backticks, `{word}`."
        )
    return make_factor(word)
