"""What a factor of a formula may hold: a listed set of functions, columns, numbers, arithmetic."""

import ast
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NoReturn

import numpy as np

from jointmix.base.errors import SpecError
from jointmix.tables.bases import BASES, CENTRED, State
from jointmix.tables.issues import quoted

#: Functions of one number, with what their argument must be.
ELEMENTWISE: dict[str, tuple[Callable[..., Any], str]] = {
    "log": (np.log, "> 0"),
    "log2": (np.log2, "> 0"),
    "log10": (np.log10, "> 0"),
    "log1p": (np.log1p, "> -1"),
    "sqrt": (np.sqrt, ">= 0"),
    "exp": (np.exp, ""),
    "expm1": (np.expm1, ""),
    "abs": (np.abs, ""),
    "I": (np.positive, ""),
}
ARITHMETIC: dict[type[ast.operator], Callable[..., Any]] = {
    ast.Add: np.add, ast.Sub: np.subtract, ast.Mult: np.multiply, ast.Div: np.divide,
    ast.Pow: np.power,
}  # fmt: skip
FUNCTIONS = (*ELEMENTWISE, *CENTRED, *BASES, "C", "offset")
#: Most columns of a basis, and largest degree.
_MOST_DF, _MOST_DEGREE = 50, 10
#: Operations inside one another.
_MOST_DEPTH = 100


@dataclass(frozen=True)
class Coding:
    """How the levels of a factor become columns.

    Attributes
    ----------
    kind
        "treatment", each level against ``base``, or "sum", each but the last against the mean.
    base
        The level that others are held against; None for the first.
    levels
        Their order; None for the column's own.
    """

    kind: str = "treatment"
    base: str | None = None
    levels: tuple[str, ...] | None = None


def function_of(node: ast.expr) -> str:
    """The function that a call names, without "np."; "" for other nodes."""
    if not isinstance(node, ast.Call):
        return ""
    called = node.func
    if isinstance(called, ast.Name):
        return called.id
    numpy = isinstance(called, ast.Attribute) and isinstance(called.value, ast.Name)
    if numpy and called.value.id == "np" and called.attr in ELEMENTWISE:  # type: ignore[attr-defined]
        return str(called.attr)  # type: ignore[attr-defined]
    return ""


def check_expression(node: ast.expr, text: str, depth: int = 0) -> None:
    """Refuse what is neither a column, a number, arithmetic nor a call of a known function."""
    if depth > _MOST_DEPTH:
        raise SpecError(f"The formula's {quoted(text.strip())} is nested too deeply.")
    if isinstance(node, ast.Name):
        return
    if isinstance(node, ast.Constant):
        if type(node.value) not in (int, float):
            _refuse(f"{node.value!r}", text, "where a column or a number belongs")
        _number(node, text)
        return
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub | ast.UAdd):
        check_expression(node.operand, text, depth + 1)
        return
    if isinstance(node, ast.BinOp) and type(node.op) in ARITHMETIC:
        check_expression(node.left, text, depth + 1)
        check_expression(node.right, text, depth + 1)
        return
    if not isinstance(node, ast.Call):
        _refuse(ast.unparse(node), text, "which is no column, number, arithmetic or known function")
    name = function_of(node)
    if name not in FUNCTIONS:
        _refuse(
            ast.unparse(node.func), text,
            f"which is none of the functions that a formula may call, {', '.join(FUNCTIONS)}",
        )  # fmt: skip
    if not node.args or any(isinstance(each, ast.Starred) for each in node.args):
        raise SpecError(f"The formula's {name}() needs a column as its first argument.")
    if name in (*BASES, "C", "offset") and depth:
        _refuse(f"{name}()", text, "which can stand by itself or in an interaction only")
    if name == "C":
        if not isinstance(node.args[0], ast.Name):
            _refuse(ast.unparse(node.args[0]), text, "where C() needs a column")
        coding_of(node)
        return
    check_expression(node.args[0], text, depth + 1)
    if name in BASES:
        _check_basis(name, node)
    elif len(node.args) > 1 or node.keywords:
        raise SpecError(f"The formula's {name}() takes one argument; got {quoted(text.strip())}.")


def _refuse(what: str, text: str, why: str) -> NoReturn:
    where = "" if what == text.strip() else f" in {quoted(text.strip())}"
    raise SpecError(f"The formula holds {quoted(what)}{where}, {why}.")


def _number(node: ast.expr, text: str) -> float:
    sign, inner = 1.0, node
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub | ast.UAdd):
        sign, inner = (-1.0 if isinstance(node.op, ast.USub) else 1.0), node.operand
    if not isinstance(inner, ast.Constant) or type(inner.value) not in (int, float):
        _refuse(ast.unparse(node), text, "where a number belongs")
    try:
        return sign * float(inner.value)  # type: ignore[arg-type]
    except OverflowError:
        return float(_refuse("a number", text, "which is too large"))


def arguments_of(call: ast.Call) -> State:
    """The arguments of a basis besides the column, as numbers and lists of them."""
    name, text = function_of(call), ast.unparse(call)
    found: State = {}
    given = [*zip(BASES.get(name, ()), call.args[1:2], strict=False)]
    given += [(str(each.arg), each.value) for each in call.keywords]
    for key, value in given:
        if isinstance(value, ast.List | ast.Tuple):
            found[key] = [_number(item, text) for item in value.elts]
        else:
            number = _number(value, text)
            whole = key in ("df", "degree") and number == int(number)
            found[key] = int(number) if whole else number
    return found


def _check_basis(name: str, call: ast.Call) -> None:
    text = ast.unparse(call)
    if len(call.args) > 2:
        raise SpecError(f"The formula's {name}() takes arguments after two by name; got {text}.")
    for each in call.keywords:
        if each.arg not in BASES[name]:
            _refuse(str(each.arg), text, f"where {name}() takes {', '.join(BASES[name])}")
    keys = [*BASES[name][: len(call.args) - 1], *(each.arg for each in call.keywords)]
    if len(set(keys)) < len(keys):
        raise SpecError(f"The formula gives {name}() an argument twice; got {text}.")
    for key, value in arguments_of(call).items():
        if isinstance(value, list) != (key == "knots"):
            kind = "a list of numbers" if key == "knots" else "a number"
            _refuse(f"{key}", text, f"which must be {kind}")
    found = arguments_of(call)
    least = {"bs": found.get("degree", 3), "cr": 2, "cc": 2, "poly": 1}[name]
    for key, low, most in (("degree", 1, _MOST_DEGREE), ("df", least, _MOST_DF)):
        number = found.get(key, low)
        if not isinstance(number, int) or not low <= number <= most:
            why = f"which must be a whole number from {low} to {most}"
            _refuse(f"{key}={number}", text, why)
    if "df" in found and "knots" in found:
        raise SpecError(f"The formula gives {name}() df and knots; give one of them, got {text}.")
    if name in ("cr", "cc") and not {"df", "knots"} & set(found):
        raise SpecError(f"The formula's {name}() needs df or knots, as in {name}(x, df=4).")
    if len(found.get("knots", ())) > _MOST_DF:
        raise SpecError(f"The formula gives {name}() more than {_MOST_DF} knots.")


def coding_of(call: ast.Call) -> Coding:
    """What C() says of its levels."""
    text = ast.unparse(call)
    parts = dict(zip(("contrasts",), call.args[1:], strict=False))
    for each in call.keywords:
        if each.arg not in ("contrasts", "levels") or each.arg in parts:
            _refuse(str(each.arg), text, "where C() takes contrasts and levels")
        parts[str(each.arg)] = each.value
    if len(call.args) > 2:
        raise SpecError(f"The formula's C() takes a column, contrasts and levels; got {text}.")
    levels = None
    if "levels" in parts:
        given = parts["levels"]
        if not isinstance(given, ast.List | ast.Tuple):
            _refuse(ast.unparse(given), text, "where C() needs a list of levels")
        levels = tuple(_level(item, text) for item in given.elts)
        if len(set(levels)) < len(levels):
            raise SpecError(f"The formula names a level twice in {text}.")
    kind, base = "treatment", None
    if "contrasts" in parts:
        kind, base = _contrasts(parts["contrasts"], text)
    if base is not None and levels is not None and base not in levels:
        raise SpecError(f"The formula's {text} names the level {quoted(base)} as base only.")
    return Coding(kind, base, levels)


def _contrasts(node: ast.expr, text: str) -> tuple[str, str | None]:
    called = node.func if isinstance(node, ast.Call) else node
    known = {"contr.sum": "sum", "contr.treatment": "treatment"}
    kind = known.get(ast.unparse(called) if isinstance(called, ast.Attribute) else "")
    if kind is None:
        _refuse(ast.unparse(node), text, f"where C() takes {' or '.join(known)}")
    given = [*node.args] if isinstance(node, ast.Call) else []
    if isinstance(node, ast.Call):
        for each in node.keywords:
            if each.arg != "base":
                _refuse(str(each.arg), text, "where contr.treatment takes base")
            given.append(each.value)
    if len(given) > (kind == "treatment"):
        _refuse(ast.unparse(node), text, "where contr.treatment takes one level and contr.sum none")
    return str(kind), _level(given[0], text) if given else None


def _level(node: ast.expr, text: str) -> str:
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return node.value
    return level_label(_number(node, text))


def level_label(value: float) -> str:
    """What a level that is a number is called."""
    return str(int(value)) if value == round(value) and abs(value) < 1e15 else repr(float(value))
