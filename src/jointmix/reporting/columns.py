"""Every table of a document, those of its pictures among them, as CSV that machines read."""

import csv
import io
import re
import unicodedata

from jointmix.reporting.elements import Cell, Document, Figure, Table, flat
from jointmix.reporting.text import MINUS, MISSING, tidy

_SUPERSCRIPTS = str.maketrans("⁰¹²³⁴⁵⁶⁷⁸⁹⁻", "0123456789-")
_NUMBER = rf"[{MINUS}-]?\d[\d,]*(?:\.\d+)?(?:×10[⁰¹²³⁴⁵⁶⁷⁸⁹⁻]+)?%?"
_PLAIN = re.compile(rf"^{_NUMBER}$")
#: "6.14 [5.56, 6.71]", "[5.56, 6.71]" and "2.85 ± 0.70".
_BETWEEN = re.compile(rf"^(?:({_NUMBER}) )?\[({_NUMBER}), ({_NUMBER})\]$")
_ABOUT = re.compile(rf"^({_NUMBER}) ± ({_NUMBER})$")
_FORMULA = ("=", "+", "-", "@", "\t", "\r")
_LONGEST = 60


def csv_files(document: Document) -> dict[str, str]:
    """CSV by file name, in the document's order: "03-clusters-1-rows-of-this-cluster.csv".

    Numbers are plain: a point, no thousands, shares in place of percent. A cell with an interval
    becomes three columns, one with an error two. The same document gives the same bytes.
    """
    found = {}
    for place, section in enumerate(document.sections, 1):
        tables = [
            element.table if isinstance(element, Figure) else element
            for element in flat(section.elements)
            if isinstance(element, Figure | Table)
        ]
        for i, table in enumerate(tables, 1):
            name = f"{place:02d}-{section.id}-{i}-{_slug(table.caption)}".rstrip("-")
            found[f"{name}.csv"] = table_csv(table)
    return found


def table_csv(table: Table) -> str:
    """One table."""
    columns = [
        part
        for i, head in enumerate(table.columns)
        for part in _spread(head, [row[i] for row in table.rows if i < len(row)])
    ]
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow([_safe(name) for name, _ in columns])
    writer.writerows(zip(*(values for _, values in columns), strict=True))
    return text.getvalue()


def _slug(caption: str) -> str:
    plain = unicodedata.normalize("NFKD", caption).encode("ascii", "ignore").decode()
    return re.sub(r"[^a-z0-9]+", "-", plain.lower()).strip("-")[:_LONGEST].rstrip("-")


def _spread(head: Cell, cells: list[Cell]) -> list[tuple[str, list[str]]]:
    """A column as one, or with its bounds or error beside it."""
    name = tidy(head.text)
    details = [tidy(cell.detail) for cell in cells]
    texts = [
        f"{tidy(cell.text)} {detail}" if detail and _BETWEEN.match(detail) else tidy(cell.text)
        for cell, detail in zip(cells, details, strict=True)
    ]
    stem = name.removesuffix(", 89% interval")
    if any(_BETWEEN.match(text) for text in texts):
        parts = [_bounds(text) for text in texts]
        named = [(stem, 0), (f"{stem}, lower", 1), (f"{stem}, upper", 2)]
        first = 0 if any(part[0] for part in parts) else 1
        return [(title, [part[i] for part in parts]) for title, i in named[first:]]
    if any(_ABOUT.match(text) for text in texts):
        pairs = [match.groups() if (match := _ABOUT.match(text)) else (text, "") for text in texts]
        return [
            (name, [_value(value) for value, _ in pairs]),
            (f"{name}, error", [_value(error) for _, error in pairs]),
        ]
    found = [(name, [_value(text) for text in texts])]
    if any(details):
        found.append((f"{name}, detail", [_value(detail) for detail in details]))
    return found


def _bounds(text: str) -> tuple[str, str, str]:
    match = _BETWEEN.match(text)
    if match is None:
        return _value(text), "", ""
    value, lower, upper = match.groups()
    return _value(value or ""), _value(lower), _value(upper)


def _value(text: str) -> str:
    """A number as Python reads it, "" where there is none, or the text."""
    if text == MISSING:
        return ""
    if not _PLAIN.match(text):
        return _safe(text)
    plain = text.replace(MINUS, "-").replace(",", "")
    mantissa, _, exponent = plain.rstrip("%").partition("×10")
    power = exponent.translate(_SUPERSCRIPTS)
    if plain.endswith("%"):
        # Two places more are what a percentage has as a share, digit for digit.
        decimals = len(mantissa.partition(".")[2]) + 2
        return f"{float(mantissa) / 100:.{decimals}f}"
    return f"{mantissa}e{power}" if power else mantissa


def _safe(text: str) -> str:
    """A text that a spreadsheet will not take for a formula."""
    return f"'{text}" if text.startswith(_FORMULA) else text
