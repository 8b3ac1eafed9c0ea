"""How the numbers were computed: sampler, seeds, machine, versions and times."""

import json

from jointmix.reporting.elements import Cell, Facts, Section, Table, number_cells
from jointmix.reporting.fitted import FittedView
from jointmix.reporting.text import number

ID, TITLE = "computation", "Computation"


def section(view: FittedView) -> Section:
    """Sampler and settings, versions, and seconds of each stage."""
    return Section(id=ID, title=TITLE, elements=(_facts(view), _versions(view), _seconds(view)))


def _facts(view: FittedView) -> Facts:
    sampler, attrs = view.model.sampler, view.tree.attrs
    tuning = "none" if attrs.get("proposal") else str(sampler.tune)
    items = [
        ("Sampler", sampler.sampler),
        *(
            [("Which, and why", str(attrs["sampler_reason"]))]
            if attrs.get("sampler_reason")
            else []
        ),
        ("Run on", str(attrs["backend"])),
        ("Why there", str(attrs["backend_reason"])),
        ("Adaptation", str(attrs.get("adaptation") or "–")),
        ("Why so", str(attrs.get("adaptation_reason") or "–")),
        ("Chains, draws, tuning", f"{sampler.chains}, {sampler.draws}, {tuning}"),
        *(("Sampled again", str(each["text"])) for each in json.loads(attrs.get("retries", "[]"))),
        ("Seed", str(int(attrs["seed"]))),
        ("Machine", str(attrs["machine"])),
        ("SHA-256 of the values used", str(attrs["data_hash"])),
    ]
    if attrs.get("created"):
        items.append(("Fitted", str(attrs["created"])))
    return Facts(items=tuple(items))


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
