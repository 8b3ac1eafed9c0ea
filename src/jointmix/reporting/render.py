"""A document into one HTML file: Jinja2 with autoescaping, and no script."""

from importlib.resources import files

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from jointmix.base.shown import SYMBOLS
from jointmix.reporting.elements import Document
from jointmix.reporting.figures import COLOURS, glyph
from jointmix.reporting.svg import address, smaller
from jointmix.reporting.text import tidy


def _visible(value: object) -> object:
    """Make control characters visible in every text a template puts out."""
    return tidy(value) if isinstance(value, str) and not isinstance(value, Markup) else value


def _data_uri(svg: bytes) -> Markup:
    # An image from a data address is inert, and its ids cannot meet those of another figure. It has
    # no character that HTML escapes in double quotes.
    return Markup(address(smaller(svg)))


def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader(__package__),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=_visible,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["data_uri"] = _data_uri
    environment.globals["glyph"] = glyph
    environment.globals["symbols"] = SYMBOLS
    environment.globals["n_colours"] = len(COLOURS)
    return environment


def render(document: Document) -> str:
    """The page as text.

    Every text is escaped; only the style sheet and this package's own MathML are not.
    """
    style = files(__package__).joinpath("templates", "style.css").read_text("utf-8")
    page = _environment().get_template("page.html.j2")
    return page.render(
        sections=document.sections,
        title=document.title,
        subtitle=document.subtitle,
        footer=document.footer,
        kicker=document.kicker,
        style=Markup(style),
    )
