"""What a statistician hands on: a fit, two side by side, a comparison, a certificate: one file."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import xarray as xr

from jointmix.base.arguments import shown
from jointmix.base.errors import SchemaError, SpecError
from jointmix.base.machine import hidden_until_loaded
from jointmix.base.schema import SECTION_IDS, require_group
from jointmix.fitting.selection import Comparison
from jointmix.fitting.side_by_side import Side
from jointmix.posterior.draws import fitted_spec, require_draws
from jointmix.reporting.columns import csv_files
from jointmix.reporting.documents import (
    PLAIN,
    comparison_document,
    fit_document,
    side_document,
)
from jointmix.reporting.elements import Document
from jointmix.reporting.pdf import require_pdf, to_pdf
from jointmix.reporting.plain import to_json, to_markdown
from jointmix.reporting.render import render
from jointmix.storage.files import check_writable, made_folder, write_file

__all__ = ["SECTION_IDS", "render_html", "report"]


class Plain(Protocol):
    """A result that describes itself: a certificate or a calibration."""

    @property
    def kind(self) -> str:
        """Which of `documents.PLAIN` it is."""
        ...

    def plain(self) -> dict[str, Any]:
        """Dicts, lists, texts and numbers, fit for JSON."""
        ...


Result = xr.DataTree | Sequence[xr.DataTree] | Mapping[str, xr.DataTree] | Comparison | Plain

_WRITERS = {".md": to_markdown, ".json": to_json}


def report(
    result: Result,
    path: str | os.PathLike[str],
    title: str | None = None,
    sections: Sequence[str] | None = None,
    short: bool = False,
    csv: str | os.PathLike[str] | None = None,
) -> Path:
    """Write the report of a fit, of two side by side, or of another result; return its place.

    The file is written beside ``path`` and moved there when it is whole, so that a failure
    leaves an older report as it was. The same result gives the same bytes.

    Parameters
    ----------
    result
        A fitted tree; two of them, such as last month's and this month's, whose report says what
        changed beyond its error, as `diff` does (a mapping gives them names:
        ``{"October": a, "November": b}``); or what `compare`, `crosscheck` or `calibrate` gave.
    path
        The file to write, in a folder that exists. The suffix ``.md`` gives Markdown and ``.json``
        JSON, both with texts and tables in the place of pictures; ``.pdf`` PDF, laid out for paper
        (extra ``pdf``); any other HTML.
    title
        Title of the page; by default it names the model.
    sections
        Of a fit: ids of the sections wanted, in order (see ``SECTION_IDS``). By default all but
        those on known groups, a cross-check or a calibration that the fit does not keep.
    short
        Of a fit or a comparison: two to four pages in place of all sections, with the verdict, the
        clusters, how well they predict, the choice among models, and the limits.
    csv
        A folder, made if it is not there, for the numbers of every table and picture: a CSV file
        each, in the report's order, with intervals in columns of their own.

    Raises
    ------
    SpecError
        If a section is unknown, ``sections`` or ``short`` is given for a result that has none, or
        there are more fits than two.
    SchemaError
        If ``result`` is none of these.
    StorageError
        If the folder does not exist or the file cannot be written.
    MissingExtraError
        If a PDF is asked for and WeasyPrint is not installed.

    Examples
    --------
    >>> jm.report(jm.load("penguins.nc"), "verdict.md", sections=["verdict"]).name
    'verdict.md'
    """
    place = check_writable(path)
    folder = None if csv is None else made_folder(csv)
    kind = place.suffix.lower()
    if kind == ".pdf":
        require_pdf()
    with hidden_until_loaded("jax"):
        document = _document(result, title, sections, short)
    if folder is not None:
        for name, table in csv_files(document).items():
            write_file(folder / name, table.encode("utf-8"))
    if kind == ".pdf":
        return write_file(place, to_pdf(document))
    text = _WRITERS.get(kind, render)(document)
    return write_file(place, text.encode("utf-8"))


def report_changes(
    found: Side, fits: Mapping[str, xr.DataTree], path: str | os.PathLike[str], title: str
) -> Path:
    """Write the report of two fits, by their names, of which `diff` has been asked already.

    Raises
    ------
    StorageError
        If the folder does not exist or the file cannot be written.
    """
    with hidden_until_loaded("jax"):
        document = side_document(fits, title, found)
    return write_file(check_writable(path), render(document).encode("utf-8"))


def render_html(
    result: Result,
    title: str | None = None,
    sections: Sequence[str] | None = None,
    short: bool = False,
) -> str:
    """The report as HTML text; see `report`.

    Raises
    ------
    SpecError
        If a section is unknown, or ``sections`` or ``short`` is given for a result that has none.
    SchemaError
        If ``result`` is none of these.
    """
    with hidden_until_loaded("jax"):
        return render(_document(result, title, sections, short))


def _document(
    result: object, title: str | None, sections: Sequence[str] | None, short: bool
) -> Document:
    if title is not None and not isinstance(title, str):
        raise SpecError(f"title must be text or None; got {shown(title)}.")
    if isinstance(result, xr.DataTree) and "spec" in result.attrs:
        if "posterior" in result.children:
            require_draws(require_group(result, "posterior"), fitted_spec(result))
        return fit_document(result, title, sections, short)
    trees = _two(result)
    kind = getattr(result, "kind", None)
    if not isinstance(result, Comparison) and not trees and kind not in PLAIN:
        raise SchemaError(
            "A report needs a fitted DataTree, as jointmix.fit returns it, two of them, a "
            "Comparison, a Certificate or a Calibration."
        )
    if sections is not None:
        raise SpecError("Sections are chosen for the report of a fit only.")
    if isinstance(result, Comparison):
        return comparison_document(result, title, short)
    if short:
        raise SpecError("Fits and comparisons have a short report; this result has one form only.")
    if trees:
        return side_document(trees, title)
    described: Plain = result  # type: ignore[assignment]
    return PLAIN[described.kind](described.plain(), title)


def _two(result: object) -> dict[str, xr.DataTree]:
    """Fits by their names, or empty where the result is no collection of fits."""
    if isinstance(result, Mapping) and not isinstance(result, xr.DataTree):
        named = dict(result)
    elif isinstance(result, list | tuple):
        words = ("the first fit", "the second fit")
        named = {(*words, *map(str, range(3, 1 + len(result))))[i]: tree
                 for i, tree in enumerate(result)}  # fmt: skip
    else:
        return {}
    return named if all(isinstance(tree, xr.DataTree) for tree in named.values()) else {}
