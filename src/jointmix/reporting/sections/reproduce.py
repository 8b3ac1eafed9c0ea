"""What the results do not say, and how to compute them again."""

from typing import Any

import tomli_w

from jointmix.checks.finding import listed
from jointmix.model.serialised import spec_to_dict
from jointmix.posterior.draws import id_columns
from jointmix.posterior.known_groups import groups_name
from jointmix.posterior.naming import given_names
from jointmix.reporting.elements import (
    Bullets,
    Cell,
    Code,
    Element,
    Heading,
    Prose,
    Section,
)
from jointmix.reporting.fitted import FittedView
from jointmix.reporting.references import used
from jointmix.reporting.sections import agreement, calibration, groups

ID, TITLE = "reproduce", "Limits and how to repeat this"

_COMMAND = "jointmix run SPEC.toml --seed {seed}"
_PYTHON = """import jointmix

recipe = jointmix.read_recipe("SPEC.toml")
tree = jointmix.fit(recipe.table(), recipe.spec, seed={seed}{start})
jointmix.report(tree, "report.html")"""
_PLACE = (
    "Add to its table [data] the path of the data file. The data are the same where the SHA-256 "
    "of the values used is the one under Data."
)


def section(view: FittedView) -> Section:
    """Limits, the specification, commands and sources."""
    seed = int(view.tree.attrs["seed"])
    start = ", start=recipe.start" if view.tree.attrs.get("start") else ""
    elements: list[Element] = [
        Heading(text="Limits"),
        Bullets(items=tuple(Cell(text=limit) for limit in limits(view))),
        *_not_asked(view),
        Heading(text="Repeat this fit"),
        Code(caption="Specification (SPEC.toml)", text=tomli_w.dumps(_tables(view)), narrow=True),
        Prose(text=_PLACE),
        Code(caption="From the command line", text=_COMMAND.format(seed=seed)),
        Code(caption="From Python", text=_PYTHON.format(seed=seed, start=start)),
        Heading(text="Sources"),
        Bullets(items=tuple(Cell(text=source.text) for source in used(view).values()), narrow=True),
    ]
    return Section(id=ID, title=TITLE, elements=tuple(elements))


def _not_asked(view: FittedView) -> list[Element]:
    """A line on what a report may hold, and nobody asked this one for."""
    missing = [
        words
        for module, words in (
            (groups, "known groups to hold the clusters against (compare_with of [report])"),
            (agreement, "a cross-check of implementations (jointmix crosscheck --fit)"),
            (calibration, "a calibration on tables from the prior (jointmix calibrate --fit)"),
        )
        if not module.asked(view)
    ]
    return [Prose(text=f"Not asked for: {listed(missing)}.")] if missing else []


def _tables(view: FittedView) -> dict[str, Any]:
    """A recipe's tables, as far as the fit knows them."""
    tables: dict[str, Any] = spec_to_dict(view.model)
    tables["data"].pop("encoding", None)
    ids, name = id_columns(view.tree), groups_name(view.tree)
    if ids:
        tables["data"]["id"] = ids[0] if len(ids) == 1 else list(ids)
    if view.tree.attrs.get("start"):
        tables["data"]["start"] = str(view.tree.attrs["start"])
    shown: dict[str, Any] = {}
    if name is not None and name not in view.model.columns:
        shown["compare_with"] = name
    if view.diagnosis.ignored:
        shown["ignore"] = sorted(view.diagnosis.ignored)
    if given_names(view.tree):
        shown["names"] = {str(number): own for number, own in given_names(view.tree).items()}
    if shown:
        tables["report"] = shown
    return tables


def limits(view: FittedView) -> list[str]:
    """What the reader must keep in mind, as far as it applies to this model."""
    n = len(view.clusters)
    found = [
        "Intervals are conditional on the model and on its number of clusters; they do not "
        "include the doubt whether another model would do better.",
        f"{'Assignments' if view.response is None else 'Predictions'} hold for rows like those of "
        "the table; far from them the model extrapolates.",
        "Slopes describe how columns vary together in these rows, not what an intervention "
        "would change.",
    ]
    if view.response is None or not view.predictors:
        del found[2]
    if n > 1:
        form = view.words[0].form
        found.append(
            f"Clusters are {form} components. A group whose shape is not {form} may be described "
            "by several of them, and a cluster need not be a kind that exists by itself."
        )
    if view.tree.attrs.get("approximation"):
        found.append(f"The posterior is an approximation ({view.tree.attrs['approximation']}).")
    if view.tree.attrs.get("partial"):
        found.append("Sampling was stopped early; fewer draws were made than asked for.")
    return found
