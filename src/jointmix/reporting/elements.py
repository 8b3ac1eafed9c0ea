"""What a section is made of: plain data, worded and escaped only when it is rendered."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import ClassVar, Literal


@dataclass(frozen=True, kw_only=True)
class Cell:
    """A table's cell.

    Parameters
    ----------
    text
        What it says.
    numeric
        Whether it is aligned as a number.
    cluster
        The cluster's position from 0, where its mark stands before the text.
    status
        A check's status, where its symbol stands before the text.
    detail
        A second line in smaller type.
    href
        An address, relative and quoted, that the text links to.
    """

    text: str
    numeric: bool = False
    cluster: int | None = None
    status: str | None = None
    detail: str = ""
    href: str | None = None


@dataclass(frozen=True, kw_only=True)
class Heading:
    """A heading inside a section."""

    kind: ClassVar[str] = "heading"
    text: str


@dataclass(frozen=True, kw_only=True)
class Prose:
    """A paragraph."""

    kind: ClassVar[str] = "prose"
    text: str


@dataclass(frozen=True, kw_only=True)
class Bullets:
    """Sentences in a list, a mark before its sentence; ``narrow``: in two columns on paper."""

    kind: ClassVar[str] = "bullets"
    items: tuple[Cell, ...]
    narrow: bool = False


@dataclass(frozen=True, kw_only=True)
class Facts:
    """Terms and what they are."""

    kind: ClassVar[str] = "facts"
    items: tuple[tuple[str, str], ...]


@dataclass(frozen=True, kw_only=True)
class Tiles:
    """A few numbers in large type: value, what it is."""

    kind: ClassVar[str] = "tiles"
    items: tuple[tuple[str, str], ...]


@dataclass(frozen=True, kw_only=True)
class Table:
    """A table whose first cell of each row is the row's header."""

    kind: ClassVar[str] = "table"
    caption: str
    columns: tuple[Cell, ...]
    rows: tuple[tuple[Cell, ...], ...]
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Panel:
    """One picture: SVG bytes, and a text with its numbers for who does not see it."""

    svg: bytes
    alt: str
    wide: bool = False


@dataclass(frozen=True, kw_only=True)
class Figure:
    """Panels under one caption, with the numbers behind them as a table."""

    kind: ClassVar[str] = "figure"
    caption: str
    panels: tuple[Panel, ...]
    table: Table
    legend: tuple[Cell, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Equation:
    """MathML made by this package, and the same in words."""

    kind: ClassVar[str] = "equation"
    mathml: str
    words: str


@dataclass(frozen=True, kw_only=True)
class Code:
    """Text in a fixed-width face; on paper a ``narrow`` one stands in two columns."""

    kind: ClassVar[str] = "code"
    caption: str
    text: str
    narrow: bool = False


@dataclass(frozen=True, kw_only=True)
class Callout:
    """A remark that stands out."""

    kind: ClassVar[str] = "callout"
    tone: Literal["note", "ok", "caution", "fail"]
    title: str
    text: str


@dataclass(frozen=True, kw_only=True)
class Badge:
    """The verdict, and what it rests on in a sentence."""

    kind: ClassVar[str] = "badge"
    status: Literal["ok", "caution", "fail"]
    verdict: str
    text: str


@dataclass(frozen=True, kw_only=True)
class Group:
    """Elements that belong together.

    Parameters
    ----------
    form
        "opening" sets text and picture side by side where there is room, "card" frames what is
        said of one cluster, "fold" shows the title alone until it is opened.
    title
        Its heading; an opening has none.
    elements
        In their order.
    withheld
        Whether it stands in grey, as it must not be used.
    """

    kind: ClassVar[str] = "group"
    form: Literal["opening", "card", "fold"]
    elements: tuple["Element", ...]
    title: Cell | None = None
    withheld: bool = False


Element = (
    Heading
    | Prose
    | Bullets
    | Facts
    | Tiles
    | Table
    | Figure
    | Equation
    | Code
    | Callout
    | Badge
    | Group
)


@dataclass(frozen=True, kw_only=True)
class Section:
    """A titled part of the report; ``id`` selects and links it.

    What is ``withheld`` stands in grey: it must not be used.
    """

    id: str
    title: str
    elements: tuple[Element, ...]
    withheld: bool = False


@dataclass(frozen=True, kw_only=True)
class Document:
    """A report before it is HTML, Markdown or JSON.

    Parameters
    ----------
    sections
        In their order; the contents list them.
    title, subtitle, footer
        Of the page.
    kicker
        The line above the title: what kind of page this is.
    """

    sections: tuple[Section, ...]
    title: str
    subtitle: str
    footer: str
    kicker: str = "Joint mixture report"


def flat(elements: Iterable[Element]) -> Iterator[Element]:
    """All elements, those inside groups among them, without the groups."""
    for element in elements:
        if isinstance(element, Group):
            yield from flat(element.elements)
        else:
            yield element


def text_cells(*texts: str) -> tuple[Cell, ...]:
    """Cells of text."""
    return tuple(Cell(text=text) for text in texts)


def number_cells(*texts: str) -> tuple[Cell, ...]:
    """Cells aligned as numbers."""
    return tuple(Cell(text=text, numeric=True) for text in texts)
