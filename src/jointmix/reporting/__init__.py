"""What a statistician hands on: a fit, a comparison, a certificate, a calibration: one file."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

import xarray as xr

from jointmix.base.arguments import shown
from jointmix.base.errors import SchemaError, SpecError
from jointmix.base.machine import hidden_until_loaded
from jointmix.base.schema import SECTION_IDS, require_group
from jointmix.fitting.selection import Comparison
from jointmix.posterior.draws import fitted_spec, require_draws
from jointmix.reporting.documents import (
    PLAIN,
    comparison_document,
    fit_document,
)
from jointmix.reporting.elements import Document
from jointmix.reporting.pdf import require_pdf, to_pdf
from jointmix.reporting.plain import to_json, to_markdown
from jointmix.reporting.render import render
from jointmix.storage.files import check_writable, write_file

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


Result = xr.DataTree | Comparison | Plain

_WRITERS = {".md": to_markdown, ".json": to_json}


def report(
    result: Result,
    path: str | os.PathLike[str],
    title: str | None = None,
    sections: Sequence[str] | None = None,
    short: bool = False,
) -> Path:
    """Write the report of a fit, comparison, certificate or calibration, and return its place.

    The file is written beside ``path`` and moved there when it is whole, so that a failure
    leaves an older report as it was. The same result gives the same bytes.

    Parameters
    ----------
    result
        A fitted tree, or what `compare`, `crosscheck` or `calibrate` gave.
    path
        The file to write, in a folder that exists. The suffix ``.md`` gives Markdown and ``.json``
        JSON, both with texts and tables in the place of pictures; ``.pdf`` PDF, laid out for paper
        (extra ``pdf``); any other HTML.
    title
        Title of the page; by default it names the model.
    sections
        Of a fit: ids of the sections wanted, in order (see ``SECTION_IDS``); all by default.
    short
        Of a fit or a comparison: two to four pages in place of all sections, with the verdict, the
        clusters, how well they predict, the choice among models, and the limits.

    Raises
    ------
    SpecError
        If a section is unknown, or ``sections`` or ``short`` is given for a result that has none.
    SchemaError
        If ``result`` is none of the four.
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
    kind = place.suffix.lower()
    if kind == ".pdf":
        require_pdf()
    with hidden_until_loaded("jax"):
        document = _document(result, title, sections, short)
    if kind == ".pdf":
        return write_file(place, to_pdf(document))
    text = _WRITERS.get(kind, render)(document)
    return write_file(place, text.encode("utf-8"))


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
        If ``result`` is none of the four.
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
    kind = getattr(result, "kind", None)
    if not isinstance(result, Comparison) and kind not in PLAIN:
        raise SchemaError(
            "A report needs a fitted DataTree, as jointmix.fit returns it, a Comparison, a "
            "Certificate or a Calibration."
        )
    if sections is not None:
        raise SpecError("Sections are chosen for the report of a fit only.")
    if isinstance(result, Comparison):
        return comparison_document(result, title, short)
    if short:
        raise SpecError("Fits and comparisons have a short report; this result has one form only.")
    described: Plain = result  # type: ignore[assignment]
    return PLAIN[described.kind](described.plain(), title)
