"""The guide's site: uv run --group guide sphinx-build -nW examples/guide build/guide.

Pages run in the order of the table of contents and in one folder, below the built site's doctrees,
so that later ones load the fit that the first one saves.
"""

import os
import sys
from pathlib import Path

from sphinx.application import Sphinx
from sphinx.environment import BuildEnvironment

sys.path.insert(0, str(Path(__file__).parent))

project = "jointmix"
author = "The jointmix developers"
extensions = [
    "myst_nb",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx_copybutton",
    "generated",
]
exclude_patterns = ["README.md"]

#: The page that others rest on.
FIRST = "first"
#: What every page's kernel does before its first cell.
STARTUP = """
import os, warnings
warnings.filterwarnings("ignore", message="IProgress not found")
os.chdir(os.environ["GUIDE_FILES"])
os.environ["COLUMNS"] = "100"
import matplotlib
matplotlib.rcParams.update({"figure.dpi": 144, "savefig.facecolor": "white"})
"""

myst_enable_extensions = ["colon_fence"]
myst_heading_anchors = 3
nb_execution_mode = "force"
nb_execution_raise_on_error = True
nb_execution_timeout = 600
nb_mime_priority_overrides = [("html", "text/html", 10)]

autodoc_typehints = "none"
autodoc_member_order = "bysource"
napoleon_google_docstring = False
napoleon_use_rtype = False
# Only public names stand in the reference; types of other packages have no inventory here.
nitpick_ignore_regex = [("py:.*", r"(?!jointmix\.\w+$).*")]
# Names in single backticks link to the reference where it has them.
default_role = "py:obj"

html_theme = "pydata_sphinx_theme"
html_title = "jointmix"
html_static_path = ["static"]
html_css_files = ["guide.css"]
templates_path = ["templates"]
html_sidebars = {"**": ["contents.html"]}
html_context = {"default_mode": "auto"}
html_show_sourcelink = False
html_copy_source = False
html_theme_options = {
    "show_prev_next": True,
    "secondary_sidebar_items": ["page-toc"],
    "navbar_end": ["theme-switcher"],
    "footer_start": ["copyright"],
    "footer_end": [],
    "navbar_center": [],
    # The button with a field reads "Search Ctrl+K" and is named "Search".
    "navbar_persistent": ["search-button"],
    "pygments_light_style": "a11y-high-contrast-light",
    "pygments_dark_style": "a11y-high-contrast-dark",
}
copybutton_exclude = ".linenos, .gp, .go"


def prepare(app: Sphinx) -> None:
    """A folder for what pages write, and a start for their kernels that is the same everywhere."""
    files = Path(app.doctreedir) / "files"
    startup = Path(app.doctreedir) / "ipython" / "profile_default" / "startup"
    for folder in (files, startup):
        folder.mkdir(parents=True, exist_ok=True)
    (startup / "guide.py").write_text(STARTUP, encoding="utf-8")
    os.environ |= {"GUIDE_FILES": str(files), "IPYTHONDIR": str(startup.parents[1])}


def first_page_first(_app: Sphinx, _env: BuildEnvironment, names: list[str]) -> None:
    """The page that saves a fit runs before those that load it."""
    names.sort(key=lambda name: (name != FIRST, name))


def corners_are_cells(
    _app: Sphinx, _name: str, _template: str, context: dict[str, object], _tree: object
) -> None:
    """The empty corner of a pandas table heads nothing: it is a cell."""
    context["body"] = str(context.get("body", "")).replace("<th></th>", "<td></td>")


def setup(app: Sphinx) -> dict[str, bool]:
    app.connect("builder-inited", prepare)
    app.connect("env-before-read-docs", first_page_first)
    app.connect("html-page-context", corners_are_cells)
    return {"parallel_read_safe": False}
