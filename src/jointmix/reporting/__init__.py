"""A fitted tree as one self-contained HTML file."""

import os
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType

import xarray as xr

from jointmix.errors import JointmixError, SchemaError, SpecError
from jointmix.files import check_writable, write_file
from jointmix.reporting.elements import Callout, Section
from jointmix.reporting.fitted import FittedView
from jointmix.reporting.render import render
from jointmix.reporting.sections import SECTIONS
from jointmix.reporting.text import clean, shorten
from jointmix.schema import SECTION_IDS

__all__ = ["SECTION_IDS", "render_html", "report"]

_TITLE_WIDTH = 120


def report(
    tree: xr.DataTree,
    path: str | os.PathLike[str],
    title: str | None = None,
    sections: Sequence[str] | None = None,
) -> Path:
    """Write the report of a fitted tree, and return where it is.

    The file is written beside ``path`` and moved there when it is whole, so that a failure
    leaves an older report as it was. The same tree gives the same bytes.

    Parameters
    ----------
    tree
        A fitted tree.
    path
        The HTML file to write, in a folder that exists.
    title
        Title of the page; by default it names the model.
    sections
        Ids of the sections wanted, in order (see ``SECTION_IDS``); all by default.

    Raises
    ------
    SpecError
        If a section is unknown.
    SchemaError
        If ``tree`` is not a fitted tree.
    StorageError
        If the folder does not exist or the file cannot be written.
    """
    check_writable(Path(path))
    text = render_html(tree, title=title, sections=sections)
    return write_file(Path(path), text.encode("utf-8"))


def render_html(
    tree: xr.DataTree, title: str | None = None, sections: Sequence[str] | None = None
) -> str:
    """The report of a fitted tree as text; see `report`.

    Raises
    ------
    SpecError
        If a section is unknown.
    SchemaError
        If ``tree`` is not a fitted tree.
    """
    wanted = _known(sections)
    if not isinstance(tree, xr.DataTree) or "spec" not in tree.attrs:
        raise SchemaError("A report needs a fitted DataTree, as jointmix.fit returns it.")
    view = FittedView(tree)
    built = [_section(module, view) for module in wanted]
    heading = shorten(clean(title if title is not None else default_title(view)), _TITLE_WIDTH)
    version = view.attribute("versions").get("jointmix", "")
    return render(
        built,
        title=heading,
        subtitle=_subtitle(view),
        footer=f"Made by jointmix {version} from a fit with schema "
        f"{int(tree.attrs['schema_version'])}.",
    )


def _known(sections: Sequence[str] | None) -> tuple[ModuleType, ...]:
    """The modules of the sections wanted, in the order asked for."""
    if sections is None:
        return SECTIONS
    unknown = [name for name in sections if name not in SECTION_IDS]
    if unknown:
        raise SpecError(
            f"Sections must be among {', '.join(SECTION_IDS)}; got {', '.join(unknown)!r}."
        )
    modules = dict(zip(SECTION_IDS, SECTIONS, strict=True))
    return tuple(modules[name] for name in dict.fromkeys(sections))


def _section(module: ModuleType, view: FittedView) -> Section:
    """One section, or in its place the reason why it cannot be computed."""
    try:
        return module.section(view)
    except JointmixError as error:
        callout = Callout(tone="note", title="Not computed", text=f"Not computed, because {error}")
        return Section(id=module.ID, title=module.TITLE, elements=(callout,))


def default_title(view: FittedView) -> str:
    """A title that names the model: what is explained, and in how many clusters."""
    n = int(view.spec["model"]["clusters"])
    count = "1 cluster" if n == 1 else f"{n} clusters"
    if view.response is None:
        return f"Gaussian mixture of {len(view.features)} features in {count}"
    response = view.names[view.response]
    if n == 1:
        return f"Regression of {response}"
    kind = "Cluster-weighted regression" if view.features else "Mixture of regressions"
    return f"{kind} of {response} in {count}"


def _subtitle(view: FittedView) -> str:
    parts = [f"{view.n_obs:,} rows"]
    for what, names in (("features", view.features), ("predictors", view.predictors)):
        if names:
            parts.append(f"{what}: {', '.join(view.names[name] for name in names)}")
    return " · ".join(parts)
