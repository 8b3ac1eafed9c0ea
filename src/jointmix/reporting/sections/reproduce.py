"""How the numbers were computed, and how to compute them again."""

from typing import Any

import tomli_w

from jointmix.reporting.elements import (
    Bullets,
    Cell,
    Code,
    Element,
    Facts,
    Heading,
    Prose,
    Section,
    Table,
    number_cells,
)
from jointmix.reporting.fitted import FittedView
from jointmix.reporting.text import number

ID, TITLE = "reproduce", "Computation and how to repeat it"

_COMMAND = "jointmix run SPEC.toml --seed {seed}"
_PYTHON = """import jointmix

recipe = jointmix.read_recipe("SPEC.toml")
tree = jointmix.fit(table, recipe.spec, seed={seed})
jointmix.report(tree, "report.html")"""
_PLACE = (
    "Add to its table [data] the path of the data file. The data are the same where the SHA-256 "
    "of the values used is the one above."
)
_SOURCES = (
    "Ingrassia, Minotti and Vittadini (2012). Local statistical modeling via a cluster-weighted "
    "approach with elliptical distributions. Journal of Classification 29, 363–401. "
    "doi:10.1007/s00357-012-9114-3",
    "Gershenfeld (1997). Nonlinear inference and cluster-weighted modeling. Annals of the New "
    "York Academy of Sciences 808, 18–24. doi:10.1111/j.1749-6632.1997.tb51651.x",
    "Vehtari, Gelman, Simpson, Carpenter and Bürkner (2021). Rank-normalization, folding, and "
    "localization: an improved R-hat. Bayesian Analysis 16, 667–718. doi:10.1214/20-BA1221",
    "Stephens (2000). Dealing with label switching in mixture models. Journal of the Royal "
    "Statistical Society B 62, 795–809. doi:10.1111/1467-9868.00265",
    "Papastamoulis (2016). label.switching: an R package for dealing with the label switching "
    "problem in MCMC outputs. Journal of Statistical Software 69. doi:10.18637/jss.v069.c01",
)


def section(view: FittedView) -> Section:
    """Sampler, versions, times, the specification, commands and sources."""
    seed = int(view.tree.attrs["seed"])
    elements: list[Element] = [
        _facts(view),
        _versions(view),
        _seconds(view),
        Heading(text="Repeat this fit"),
        Code(caption="Specification (SPEC.toml)", text=tomli_w.dumps(without_none(view.spec))),
        Prose(text=_PLACE),
        Code(caption="From the command line", text=_COMMAND.format(seed=seed)),
        Code(caption="From Python", text=_PYTHON.format(seed=seed)),
        Heading(text="Sources"),
        Bullets(items=tuple(Cell(text=source) for source in _SOURCES)),
    ]
    return Section(id=ID, title=TITLE, elements=tuple(elements))


def without_none(value: Any) -> Any:
    """Nested tables without their empty entries, which TOML cannot hold."""
    if isinstance(value, dict):
        return {key: without_none(item) for key, item in value.items() if item is not None}
    if isinstance(value, list):
        return [without_none(item) for item in value if item is not None]
    return value


def _facts(view: FittedView) -> Facts:
    sampler, attrs = view.spec.get("sampler", {}), view.tree.attrs
    items = [
        ("Sampler", str(sampler.get("sampler", "–"))),
        ("Run on", str(attrs["backend"])),
        ("Why there", str(attrs["backend_reason"])),
        ("Adaptation", str(attrs.get("adaptation") or "–")),
        ("Chains, draws, tuning", ", ".join(str(sampler.get(key, "–")) for key in _LENGTHS)),
        ("Seed", str(int(attrs["seed"]))),
        ("Machine", str(attrs["machine"])),
        ("SHA-256 of the values used", str(attrs["data_hash"])),
    ]
    if attrs.get("created"):
        items.append(("Fitted", str(attrs["created"])))
    return Facts(items=tuple(items))


_LENGTHS = ("chains", "draws", "tune")


def _versions(view: FittedView) -> Table:
    return Table(
        caption="Versions",
        columns=(Cell(text="package"), *number_cells("version")),
        rows=tuple(
            (Cell(text=str(name)), *number_cells(str(version)))
            for name, version in view.attribute("versions").items()
        ),
    )


def _seconds(view: FittedView) -> Table:
    seconds = {str(name): float(value) for name, value in view.attribute("seconds").items()}
    rows = [*seconds.items(), ("all", sum(seconds.values()))]
    return Table(
        caption="Seconds per stage",
        columns=(Cell(text="stage"), *number_cells("seconds")),
        rows=tuple((Cell(text=name), *number_cells(number(value, 3))) for name, value in rows),
    )
