"""A document as PDF, laid out for paper by WeasyPrint (extra ``pdf``)."""

from hashlib import sha256
from importlib.resources import files

from jointmix.base.errors import MissingExtraError
from jointmix.reporting.elements import Document
from jointmix.reporting.render import render


def to_pdf(document: Document) -> bytes:
    """The page as PDF; the same document gives the same bytes.

    Raises
    ------
    MissingExtraError
        If WeasyPrint, or the libraries of the system that it needs, are not installed.
    """
    require_pdf()
    import weasyprint
    from weasyprint.urls import URLFetcher

    page = render(document)
    paper = files(__package__).joinpath("templates", "paper.css").read_text("utf-8")
    identifier = sha256(page.encode()).hexdigest()[:32].encode()
    found = weasyprint.HTML(
        string=page, url_fetcher=URLFetcher(allowed_protocols=["data"])
    ).write_pdf(
        stylesheets=[weasyprint.CSS(string=paper)],
        pdf_identifier=identifier,
        # Headings, tables and pictures with their texts, for whoever has the page read aloud.
        pdf_tags=True,
    )
    return bytes(found)


def require_pdf() -> None:
    """Refuse where PDF cannot be written.

    Raises
    ------
    MissingExtraError
        If WeasyPrint, or the libraries of the system that it needs, are not installed.
    """
    try:
        import weasyprint  # noqa: F401
    except ImportError as error:
        raise MissingExtraError(
            "A report as PDF needs the package weasyprint: pip install 'jointmix[pdf]'."
        ) from error
    except OSError as error:
        raise MissingExtraError(
            "A report as PDF needs Pango, which WeasyPrint looks for in the system "
            "(apt-get install libpango-1.0-0 libpangoft2-1.0-0)."
        ) from error
