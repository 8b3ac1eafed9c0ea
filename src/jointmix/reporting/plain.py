"""Documents as Markdown, and as JSON: the same words and numbers, pictures by their texts."""

import json
import re
from dataclasses import asdict
from typing import Any

from jointmix.base.shown import marked
from jointmix.reporting.elements import (
    Badge,
    Bullets,
    Callout,
    Cell,
    Code,
    Document,
    Element,
    Equation,
    Facts,
    Figure,
    Group,
    Heading,
    Prose,
    Table,
    Tiles,
)
from jointmix.reporting.text import tidy

#: What CommonMark or its tables would read as more than text.
_SPECIAL = re.compile(r"([\\`*_{}\[\]<>#|~$&!])")
_LIST = re.compile(r"^([-+=]|\d+[.)])(?=\s|$)")


def to_markdown(document: Document) -> str:
    """The document as CommonMark with pipe tables; every text is escaped."""
    parts = [
        f"# {_escaped(document.title)}",
        f"{_escaped(document.kicker)}. {_escaped(document.subtitle)}",
    ]
    for section in document.sections:
        parts.append(f"## {_escaped(section.title)}")
        parts += [_markdown(element) for element in section.elements]
    return "\n\n".join([*parts, "---", _escaped(document.footer)]) + "\n"


def to_json(document: Document) -> str:
    """The document as one JSON object.

    ``title``, ``subtitle``, ``footer``, ``kicker`` and ``sections``, each with ``id``, ``title``
    and ``elements``: the fields of the element's class and its ``kind``. Pictures are left out;
    their texts and tables are kept.
    """
    content = {
        "title": tidy(document.title),
        "subtitle": tidy(document.subtitle),
        "footer": tidy(document.footer),
        "kicker": tidy(document.kicker),
        "sections": [
            {
                "id": section.id,
                "title": section.title,
                "withheld": section.withheld,
                "elements": [_plain(element) for element in section.elements],
            }
            for section in document.sections
        ],
    }
    return json.dumps(_cleaned(content), ensure_ascii=False, indent=1) + "\n"


def _plain(element: Element) -> dict[str, Any]:
    if isinstance(element, Figure):
        return {
            "kind": element.kind,
            "caption": element.caption,
            "panels": [panel.alt for panel in element.panels],
            "table": asdict(element.table),
        }
    if isinstance(element, Group):
        return {
            "kind": element.kind,
            "form": element.form,
            "withheld": element.withheld,
            "title": None if element.title is None else asdict(element.title),
            "elements": [_plain(each) for each in element.elements],
        }
    return {"kind": element.kind, **asdict(element)}


def _cleaned(value: Any) -> Any:
    """Nested texts with control characters made visible."""
    if isinstance(value, str):
        return tidy(value)
    if isinstance(value, dict):
        return {key: _cleaned(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_cleaned(item) for item in value]
    return value


def _escaped(text: str) -> str:
    line = " ".join(tidy(text).split())
    return _LIST.sub(r"\\\1", _SPECIAL.sub(r"\\\1", line))


def _cell(cell: Cell) -> str:
    text = _escaped(cell.text)
    if cell.status is not None:
        text = marked(cell.status, text)
    if cell.href is not None:
        text = f"[{text}](<{cell.href}>)"
    return f"{text} ({_escaped(cell.detail)})" if cell.detail else text


def _markdown(element: Element) -> str:
    match element:
        case Heading():
            return f"### {_escaped(element.text)}"
        case Prose():
            return _escaped(element.text)
        case Bullets():
            return "\n".join(f"- {_cell(item)}" for item in element.items)
        case Facts():
            return "\n".join(f"- {_escaped(one)}: {_escaped(what)}" for one, what in element.items)
        case Tiles():
            return "\n".join(f"- {_escaped(one)} {_escaped(what)}" for one, what in element.items)
        case Table():
            return markdown_table(element)
        case Figure():
            pictures = "\n".join(f"- Picture: {_escaped(panel.alt)}" for panel in element.panels)
            return (
                f"**{_escaped(element.caption)}**\n\n{pictures}\n\n{markdown_table(element.table)}"
            )
        case Equation():
            return _escaped(element.words)
        case Code():
            return _code(element)
        case Callout():
            return f"> **{_escaped(element.title)}** {_escaped(element.text)}"
        case Badge():
            return f"**{_escaped(element.verdict)}** {_escaped(element.text)}"
        case Group():
            head = [] if element.title is None else [f"### {_cell(element.title)}"]
            return "\n\n".join([*head, *(_markdown(each) for each in element.elements)])


def markdown_table(table: Table) -> str:
    """A table with its caption and notes; every text is escaped."""
    rule = ["--:" if cell.numeric else "---" for cell in table.columns]
    head = [_cell(cell) for cell in table.columns]
    rows = [head, rule, *([_cell(cell) for cell in row] for row in table.rows)]
    lines = "\n".join(f"| {' | '.join(row)} |" for row in rows)
    notes = "".join(f"\n\n{_escaped(note)}" for note in table.notes)
    return f"{_escaped(table.caption)}:\n\n{lines}{notes}"


def _code(code: Code) -> str:
    text = tidy(code.text)
    # A fence longer than any inside.
    fence = "`" * max(3, 1 + max((len(run) for run in re.findall("`+", text)), default=0))
    return f"{_escaped(code.caption)}:\n\n{fence}\n{text.rstrip()}\n{fence}"
