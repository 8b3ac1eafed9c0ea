"""Findings by number: what each means, and which of them a verdict puts aside."""

import tomllib
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

from jointmix.base.arguments import shown
from jointmix.base.errors import SpecError
from jointmix.base.shown import Glance, Shown

_PREFIX = "JM"


@dataclass(frozen=True, repr=False)
class Reference(Shown):
    """What a kind of finding means.

    Attributes
    ----------
    code, name
        Such as "JM101", which stays, and "rhat", as findings are printed.
    title, cause, example, remedy
        In a few words; what leads to it, a case of it, and what to do, in sentences.

    Examples
    --------
    >>> jm.explain("rhat").code
    'JM101'
    """

    code: str
    name: str
    title: str
    cause: str
    example: str
    remedy: str

    def lines(self) -> list[str]:
        """Its number, name and title; the cause; an example; and what to do."""
        head = f"{self.code} ({self.name}): {self.title}."
        return [head, self.cause, f"Example: {self.example}", f"What to do: {self.remedy}"]

    def _printed(self) -> list[str]:
        return self.lines()

    def _glance(self) -> Glance:
        return Glance(head=self.lines()[0], notes=tuple(self.lines()[1:]))


@cache
def references() -> dict[str, Reference]:
    """All kinds of findings, by name, in the order of their numbers."""
    text = files("jointmix.base").joinpath("codes.toml").read_text(encoding="utf-8")
    found = tomllib.loads(text)
    return {
        name: Reference(f"{_PREFIX}{item.pop('number')}", name, **item)
        for name, item in found.items()
    }


def code_of(name: str) -> str:
    """The number of a finding's name, such as "JM101" of "rhat"; "" where it has none."""
    known = references().get(name)
    return "" if known is None else known.code


def explain(code: str) -> Reference:
    """What a finding means, by its number or its name.

    Parameters
    ----------
    code
        Such as "JM101" or "rhat".

    Returns
    -------
    Reference
        A value with title, cause and remedy; prints as a paragraph.

    Raises
    ------
    SpecError
        If there is no such finding.

    Examples
    --------
    >>> import jointmix as jm
    >>> jm.explain("JM103").name
    'divergences'
    """
    names = sorted(named([code], "code"))
    if len(names) != 1:
        raise SpecError(f"code must be one finding's, such as JM101; {shown(code)} are several.")
    return references()[names[0]]


def named(codes: Iterable[str], what: str) -> frozenset[str]:
    """Names of the findings that are meant by numbers, the beginnings of numbers, or names.

    Raises
    ------
    SpecError
        If one is no text, or means no finding; `what` is what they were given as.
    """
    if isinstance(codes, str) or not isinstance(codes, Iterable):
        raise SpecError(f"{what} must be a list of codes such as 'JM401'; got {shown(codes)}.")
    found: set[str] = set()
    for code in codes:
        text = code if isinstance(code, str) else ""
        meant = [
            each.name for each in references().values()
            if text == each.name or (len(text) > len(_PREFIX) and each.code.startswith(text))
        ]  # fmt: skip
        if not meant:
            raise SpecError(
                f"{what} names no finding: {shown(code)}; codes are such as JM401 or 'ties', and "
                "JM4 means all that begin so (`jointmix explain` lists them)."
            )
        found.update(meant)
    return frozenset(found)
