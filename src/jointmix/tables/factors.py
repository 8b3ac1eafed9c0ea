"""Factors of a formula, functions of columns: Python's parser reads them, nothing runs them."""

import ast
import re
import unicodedata
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from jointmix.base.errors import SpecError
from jointmix.tables.allowed import (
    ARITHMETIC,
    ELEMENTWISE,
    Coding,
    arguments_of,
    check_expression,
    coding_of,
    function_of,
)
from jointmix.tables.bases import BASES, CENTRED, State, basis, learned, scaled
from jointmix.tables.issues import quoted

_DOMAIN: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "> 0": lambda x: x > 0, "> -1": lambda x: x > -1, ">= 0": lambda x: x >= 0,
}  # fmt: skip
_WORD = re.compile(r"`([^`]*)`|\"[^\"]*\"|'[^']*'|(?<![\w.])[^\W\d]\w*")
#: Stands for a name in backticks while Python's parser reads the rest.
_STAND_IN = "_column_{}_"


class OutsideError(Exception):
    """A row that a factor has no value for."""

    def __init__(
        self, factor: "Factor", rows: np.ndarray, needs: str, columns: Sequence[str]
    ) -> None:
        super().__init__(needs)
        self.text, self.rows, self.needs, self.columns = factor.text, rows, needs, tuple(columns)


@dataclass(frozen=True)
class Factor:
    """One factor of a term, equal to others of the same text.

    Attributes
    ----------
    text
        As a formula has it, spaced alike; a column's name if it is nothing else.
    names
        Backticked, or otherwise no identifier: stand-in → column.
    plain
        Whether it is a column by itself.
    """

    text: str
    source: str = ""
    names: tuple[tuple[str, str], ...] = ()
    plain: bool = False

    @cached_property
    def root(self) -> ast.expr:
        """What Python's parser made of it."""
        return ast.parse(self.source, mode="eval").body

    @cached_property
    def columns(self) -> tuple[str, ...]:
        """The columns that it reads."""
        if self.plain:
            return (self.text,)
        argument = self.root.args[0] if self.coding is not None else self.root  # type: ignore[attr-defined]
        return tuple(dict.fromkeys(self._column(node) for node in _columns(argument)))

    @cached_property
    def coding(self) -> Coding | None:
        """Of a factor by C(); None for numbers."""
        if self.plain or function_of(self.root) != "C":
            return None
        return coding_of(self.root)  # type: ignore[arg-type]

    @property
    def basis(self) -> str:
        """The function of several columns that it is; "" for one column."""
        found = "" if self.plain else function_of(self.root)
        return found if found in BASES else ""

    @property
    def degree(self) -> int:
        """Of a B-spline."""
        assert isinstance(self.root, ast.Call)
        return int(arguments_of(self.root).get("degree", 3))

    def values(
        self, columns: Mapping[str, np.ndarray], states: dict[str, State], learn: bool
    ) -> np.ndarray:
        """Its numbers, (N,), or (N, m) of a basis.

        Parameters
        ----------
        columns
            (N,) each.
        states
            By the text of the call that learned it; filled where ``learn``, read otherwise.

        Raises
        ------
        OutsideError
            If a row lies where a function has no value.
        ValueError
            If a basis cannot be formed of these rows.
        """
        if self.plain:
            return columns[self.text]
        with np.errstate(all="ignore"):
            found = self._value(self.root, columns, states, learn)
        n = len(next(iter(columns.values())))
        found = np.broadcast_to(found, (n,)) if np.ndim(found) < 2 else found
        finite = np.isfinite(found) if found.ndim == 1 else np.isfinite(found).all(axis=1)
        if not finite.all():
            raise OutsideError(self, np.flatnonzero(~finite), "to be finite", self.columns)
        return np.asarray(found)

    def _column(self, node: ast.Name) -> str:
        return dict(self.names).get(node.id, node.id)

    def written(self, node: ast.expr) -> str:
        """A part of it, as a formula has it."""
        return _restored(ast.unparse(node), self.names)

    def _value(
        self, node: ast.expr, columns: Mapping[str, np.ndarray], states: dict[str, State],
        learn: bool,
    ) -> Any:  # fmt: skip
        if isinstance(node, ast.Name):
            return columns[self._column(node)]
        if isinstance(node, ast.Constant):
            return np.float64(node.value)  # type: ignore[arg-type]
        if isinstance(node, ast.UnaryOp):
            inner = self._value(node.operand, columns, states, learn)
            return -inner if isinstance(node.op, ast.USub) else inner
        if isinstance(node, ast.BinOp):
            left, right = (
                self._value(side, columns, states, learn) for side in (node.left, node.right)
            )
            return ARITHMETIC[type(node.op)](left, right)
        assert isinstance(node, ast.Call)
        name = function_of(node)
        inner = np.ascontiguousarray(self._value(node.args[0], columns, states, learn))
        if name in ELEMENTWISE:
            function, needs = ELEMENTWISE[name]
            self._require(_DOMAIN[needs](inner) if needs else None, node, f"numbers {needs}")
            return function(inner)
        text = self.written(node)
        x = np.broadcast_to(inner, (len(next(iter(columns.values()))),))
        if learn:
            states[text] = learned(name, x, arguments_of(node))
        state = states[text]
        if name in CENTRED:
            return x - state["center"] if name == "center" else scaled(x, state)
        if name in ("bs", "cr"):
            low, high = state["lower_bound"], state["upper_bound"]
            needs = f"numbers between its boundary knots, {low:g} and {high:g}"
            self._require((x >= low) & (x <= high), node, needs)
        return basis(name, x, state, arguments_of(node))

    def _require(self, fine: np.ndarray | None, node: ast.Call, needs: str) -> None:
        if fine is not None and not np.all(fine):
            inside = tuple(dict.fromkeys(self._column(each) for each in _columns(node)))
            bad = np.atleast_1d(~fine)
            raise OutsideError(self, np.flatnonzero(bad), needs, inside)


def make_factor(text: str) -> Factor:
    """The factor that a text is, if it holds nothing but what a formula may.

    Raises
    ------
    SpecError
        If it holds anything else; nothing of it has been run.
    """
    source, names = _without_backticks(text)
    try:
        root = ast.parse(source.strip(), mode="eval").body
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise SpecError(f"The formula's {quoted(text.strip())} cannot be read.") from error
    if isinstance(root, ast.Name):
        name = dict(names).get(root.id, root.id)
        return Factor(name, plain=True)
    try:
        check_expression(root, text)
        source = ast.unparse(root)
    except RecursionError as error:
        raise SpecError(f"The formula's {quoted(text.strip())} is nested too deeply.") from error
    factor = Factor(_restored(source, names), source, names)
    if not factor.columns:
        raise SpecError(f"The formula's {quoted(factor.text)} names no column.")
    return factor


def column_factor(name: str) -> Factor:
    """The factor that is a column by itself."""
    return Factor(name, plain=True)


def _without_backticks(text: str) -> tuple[str, tuple[tuple[str, str], ...]]:
    names: dict[str, str] = {}

    def stand_in(found: re.Match[str]) -> str:
        word = found[0]
        if word[0] in "\"'":
            return word
        # Python's parser would take another name for one that is not in its normal form.
        if found[1] is None and unicodedata.normalize("NFKC", word) == word:
            return word
        column = word if found[1] is None else found[1]
        if not column:
            raise SpecError("The formula names a column by empty backticks.")
        return names.setdefault(column, _STAND_IN.format(len(names)))

    source = _WORD.sub(stand_in, text)
    return source, tuple((place, column) for column, place in names.items())


def _restored(source: str, names: tuple[tuple[str, str], ...]) -> str:
    for place, column in names:
        source = source.replace(place, f"`{column}`")
    return source


def _columns(node: ast.expr) -> Iterator[ast.Name]:
    """Names of columns below a node that was checked."""
    if isinstance(node, ast.Name):
        yield node
    elif isinstance(node, ast.UnaryOp):
        yield from _columns(node.operand)
    elif isinstance(node, ast.BinOp):
        yield from _columns(node.left)
        yield from _columns(node.right)
    elif isinstance(node, ast.Call):
        yield from _columns(node.args[0])
