"""Documents of a fit, a comparison over K, a cross-check and a calibration."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from importlib.metadata import version
from types import ModuleType
from typing import Any

import xarray as xr

from jointmix.base.arguments import several, shown
from jointmix.base.errors import JointmixError, SpecError
from jointmix.base.schema import SECTION_IDS
from jointmix.checks.finding import counted
from jointmix.fitting.candidates import N_CLUSTERS
from jointmix.fitting.selection import Comparison
from jointmix.fitting.side_by_side import Side, diff
from jointmix.reporting.elements import Callout, Document, Prose, Section
from jointmix.reporting.fitted import FittedView
from jointmix.reporting.sections import (
    SECTIONS,
    agreement,
    calibration,
    changes,
    clusters,
    groups,
    same_rows,
    verdict,
)  # fmt: skip
from jointmix.reporting.sections import short as short_form
from jointmix.reporting.sections.calibration import calibration_sections
from jointmix.reporting.sections.comparison import choice_sections, comparison_sections
from jointmix.reporting.text import clean, rows_text, shorten

_TITLE_WIDTH = 120
#: Sections of what was estimated, which a failed check withholds.
_RESULTS = ("clusters", "assignment", "groups", "predictive", "scores", "estimates", "limits")


def fit_document(
    tree: xr.DataTree,
    title: str | None = None,
    sections: Sequence[str] | None = None,
    short: bool = False,
) -> Document:
    """The report of a fit, or its short form.

    Raises
    ------
    SpecError
        If a section is unknown, or sections are chosen for the short form.
    """
    if short and sections is not None:
        raise SpecError("A short report has its own sections; leave out sections or short.")
    view = FittedView(tree)
    wanted = _known(sections) if sections is not None else _asked(view)
    made_by = view.attribute("versions").get("jointmix", "")
    return Document(
        sections=_short(view) if short else tuple(_section(module, view) for module in wanted),
        title=_heading(title, _default_title(view)),
        subtitle=_subtitle(view),
        footer=f"Made by jointmix {made_by} from a fit with schema "
        f"{int(tree.attrs['schema_version'])}.",
    )


def comparison_document(
    comparison: Comparison, title: str | None = None, short: bool = False
) -> Document:
    """The report of fits with several numbers of clusters, and structures.

    Its short form has the choice, and the short form of the fit that was chosen.
    """
    view, table = FittedView(comparison.tree), comparison.table
    numbers = table.index.get_level_values(N_CLUSTERS)
    what = f"of {view.names[view.response]} " if view.response is not None else ""
    structures = len(table.index.droplevel(N_CLUSTERS).unique()) if table.index.nlevels > 1 else 1
    many = f" and {structures} structures" if structures > 1 else ""
    clusters = (
        f"{numbers.min()} clusters"
        if numbers.min() == numbers.max()
        else f"{numbers.min()} to {numbers.max()} clusters"
    )
    return Document(
        sections=(*choice_sections(comparison), *_short(view))
        if short
        else comparison_sections(comparison),
        title=_heading(title, f"Joint mixture {what}with {clusters}{many}"),
        subtitle=_subtitle(view),
        footer=f"Made by jointmix {version('jointmix')}.",
        kicker="Comparison of models" if many else "Comparison of numbers of clusters",
    )


def side_document(
    trees: Mapping[str, xr.DataTree], title: str | None = None, found: Side | None = None
) -> Document:
    """The report of two fits, by their names: what changed from the first to the second.

    Parameters
    ----------
    found
        What `diff` says of them, where it has been asked already.

    Raises
    ------
    SpecError
        If there are not two.
    """
    if len(trees) != 2:
        raise SpecError(f"Two fits stand side by side; got {counted(len(trees), 'fit')}.")
    one, other = trees.values()
    first, second = (clean(str(name)) for name in trees)
    side = diff(one, other) if found is None else found
    fits = changes.Fits(side, (FittedView(one), FittedView(other)), (first, second))
    sections = (
        changes.opening(fits),
        changes.quantities(fits),
        same_rows.moved_rows(fits),
        changes.checks(fits),
        same_rows.method(fits),
    )
    results = ("quantities", "rows")
    return Document(
        sections=tuple(
            replace(each, withheld=bool(fits.unusable) and each.id in results) for each in sections
        ),
        title=_heading(title, f"From {shorten(first, 50)} to {shorten(second, 50)}"),
        subtitle=f"{_default_title(fits.views[1])} · {fits.views[0].n_obs:,} rows, then "
        f"{fits.views[1].n_obs:,}",
        footer=f"Made by jointmix {version('jointmix')}.",
        kicker="Two fits side by side",
    )


def certificate_document(found: dict[str, Any], title: str | None = None) -> Document:
    """The report of a comparison of implementations."""
    return Document(
        sections=agreement.certificate_sections(found),
        title=_heading(title, f"Cross-check of {len(found['implementations'])} implementations"),
        subtitle=", ".join(found["implementations"]),
        footer=f"Made by jointmix {version('jointmix')}.",
        kicker="Joint mixture certificate",
    )


def calibration_document(found: dict[str, Any], title: str | None = None) -> Document:
    """The report of ranks over tables drawn from the prior."""
    k = found["clusters"]
    n = "1 cluster" if k == 1 else f"{k} clusters"
    return Document(
        sections=calibration_sections(found),
        title=_heading(title, f"Calibration of a joint mixture with {n}"),
        subtitle=f"{found['replicates']:,} tables of {found['rows']:,} rows · "
        f"{len(found['quantities'])} quantities",
        footer=f"Made by jointmix {version('jointmix')}.",
        kicker="Simulation-based calibration",
    )


#: Documents of results that describe themselves, by their kind.
PLAIN = {"certificate": certificate_document, "calibration": calibration_document}


def _heading(title: str | None, default: str) -> str:
    return shorten(clean(title if title is not None else default), _TITLE_WIDTH)


def _asked(view: FittedView) -> tuple[ModuleType, ...]:
    """All sections but those of what the fit was not asked to keep."""
    optional = (groups, agreement, calibration)
    return tuple(each for each in SECTIONS if each not in optional or each.asked(view))


def _known(sections: Sequence[str]) -> tuple[ModuleType, ...]:
    """The modules of the sections wanted, in the order asked for."""
    sections = several("sections", sections, "sections' names")
    unknown = [name for name in sections if not isinstance(name, str) or name not in SECTION_IDS]
    if unknown:
        raise SpecError(
            f"Sections must be among {', '.join(SECTION_IDS)}; got {shown(unknown[0])}."
        )
    modules = dict(zip(SECTION_IDS, SECTIONS, strict=True))
    return tuple(modules[name] for name in dict.fromkeys(sections))


def _section(module: ModuleType, view: FittedView) -> Section:
    return _made(module.ID, module.TITLE, module.section, view)


def _short(view: FittedView) -> tuple[Section, ...]:
    parts = (
        (verdict, verdict.section),
        (clusters, clusters.brief),
        (short_form, short_form.section),
    )
    return tuple(_made(module.ID, module.TITLE, make, view) for module, make in parts)


def _made(
    name: str, title: str, make: Callable[[FittedView], Section], view: FittedView
) -> Section:
    """One section, or in its place the reason why it cannot be computed."""
    try:
        found = make(view)
        if name not in _RESULTS or not verdict.withheld(view):
            return found
        warned = Prose(text="The checks failed: nothing in this section may be used.")
        return replace(found, withheld=True, elements=(warned, *found.elements))
    except JointmixError as error:
        callout = Callout(tone="note", title="Not computed", text=f"Not computed, because {error}")
        return Section(id=name, title=title, elements=(callout,))


def _default_title(view: FittedView) -> str:
    """A title that names the model: what is explained, and in how many clusters."""
    n = view.model.n_clusters
    count = "1 cluster" if n == 1 else f"{n} clusters"
    if view.response is None:
        form = view.words[0].kind("mixture") if view.features else "Mixture"
        return f"{form} of {len(view.model.clustering)} features in {count}"
    response, words = view.names[view.response], view.words[-1]
    if n == 1:
        kind = words.kind("regression")
        return f"{kind[0].upper()}{kind[1:]} of {response}"
    kind = (
        f"Cluster-weighted {words.kind('regression')}"
        if view.model.clustering
        else f"Mixture of {words.kind('regressions')}"
    )
    return f"{kind} of {response} in {count}"


def _subtitle(view: FittedView) -> str:
    weighed = "" if view.rows.weight is None else f" of weight {rows_text(view.total)}"
    parts, encoding = [f"{view.n_fitted:,} rows{weighed}"], view.model.encoding
    predictors = [view.names[name] for name in view.predictors]
    if encoding is not None:
        predictors = [shorten(term.label, 40) for term in encoding.terms]
    features = [view.names[name] for name in view.model.clustering]
    for what, names in (("features", features), ("predictors", predictors)):
        if names:
            parts.append(f"{what}: {', '.join(names)}")
    return " · ".join(parts)
