"""Pieces of MathML of which equations are made, for families and for the whole model."""

# Mathematical bold letters: <mi mathvariant="bold"> is not part of MathML Core.
_BOLD = {
    "x": "𝐱",
    "u": "𝐮",
    "μ": "𝛍",
    "Σ": "𝚺",
    "θ": "𝛉",
    "I": "𝐈",
    "s": "𝐬",
    "R": "𝐑",
    "c": "𝐜",
}


def row(*parts: str) -> str:
    """Parts side by side, as one."""
    return f"<mrow>{''.join(parts)}</mrow>"


def letter(text: str, *, bold: bool = False) -> str:
    """A variable; bold if it is a vector or matrix."""
    return f"<mi>{_BOLD.get(text, text) if bold else text}</mi>"


def sign(text: str) -> str:
    """An operator, bracket or separator."""
    return f"<mo>{text}</mo>"


def under(base: str, index: str) -> str:
    """A base with an index, or without one where it is empty."""
    return f"<msub>{base}{index}</msub>" if index else base


def squared(base: str, index: str) -> str:
    """The square of a base with an index."""
    if not index:
        return f"<msup>{base}<mn>2</mn></msup>"
    return f"<msubsup>{base}{index}<mn>2</mn></msubsup>"


def density(name: str, variable: str, *given: str) -> str:
    """name(variable ∣ given, …)."""
    inside = [variable]
    for i, part in enumerate(given):
        inside += [sign("," if i else "∣"), part]
    return row(name, sign("("), row(*inside), sign(")"))


def display(*parts: str) -> str:
    """An equation on a line of its own."""
    return f'<math display="block">{row(*parts)}</math>'


I, K = letter("i"), letter("k")  # noqa: E741
#: Row i of features, predictors and the response.
X_I = under(letter("x", bold=True), I)
U_I = under(letter("u", bold=True), I)
Y_I = under(letter("y"), I)
