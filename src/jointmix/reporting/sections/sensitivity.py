"""Which results rest on the prior."""

import pandas as pd

from jointmix.posterior.sensitivity import THRESHOLD, sensitivity
from jointmix.reporting import figures
from jointmix.reporting.elements import (
    Cell,
    Element,
    Figure,
    Group,
    Panel,
    Prose,
    Section,
    Table,
    number_cells,
)
from jointmix.reporting.fitted import FittedView
from jointmix.reporting.text import decimals

ID, TITLE = "sensitivity", "Sensitivity to prior and likelihood"

_MOST = 25


def section(view: FittedView) -> Section:
    """Power-scaling sensitivity of the identified parameters, the largest first."""
    found = sensitivity(view.tree)
    if found.empty:
        text = "Every parameter is fixed by the user; there is nothing to be sensitive."
        return Section(id=ID, title=TITLE, elements=(Prose(text=text),))
    high = found[found["prior"] > THRESHOLD]
    named = ", ".join(view.shortened(str(name)) for name in high.index[:5])
    said = (
        f"{len(high)} of {len(found)} depend on the prior noticeably: {named}"
        f"{', …' if len(high) > 5 else ''}."
        if len(high)
        else f"None of {len(found)} depends on the prior noticeably."
    )
    elements: list[Element] = [
        Prose(
            text="Power scaling asks how each identified parameter's posterior changes when the "
            "prior, or the likelihood, is made slightly stronger or weaker. Changes above "
            f"{THRESHOLD} count. {said}"
        ),
    ]
    picture = _picture(view, found.sort_values("prior", ascending=False, kind="stable"))
    title = Cell(text="Sensitivity of each parameter")
    fold = Group(form="fold", title=title, elements=(picture,))
    elements.append(picture if len(high) else fold)
    return Section(id=ID, title=TITLE, elements=tuple(elements))


def _picture(view: FittedView, found: pd.DataFrame) -> Figure:
    some = found.head(_MOST)
    left_out = len(found) - len(some)
    return Figure(
        caption="Sensitivity of each parameter to the likelihood and to the prior; those above the "
        "line are marked with a cross.",
        panels=(
            Panel(
                svg=figures.sensitivities(
                    found["prior"].to_numpy(), found["likelihood"].to_numpy(), THRESHOLD
                ),
                alt=f"To the prior at most {decimals(float(found['prior'].max()), 3)}; to the "
                f"likelihood from {decimals(float(found['likelihood'].min()), 3)} to "
                f"{decimals(float(found['likelihood'].max()), 3)}.",
                wide=True,
            ),
        ),
        table=Table(
            caption="Sensitivities, the largest to the prior first",
            columns=(
                Cell(text="parameter"),
                *number_cells("to the prior", "to the likelihood"),
                Cell(text="diagnosis"),
            ),
            rows=tuple(
                (
                    Cell(
                        text=view.shortened(str(label)),
                        status="caution" if line["diagnosis"] else "ok",
                    ),
                    *number_cells(decimals(line["prior"], 3), decimals(line["likelihood"], 3)),
                    Cell(text=str(line["diagnosis"]) or "–"),
                )
                for label, line in some.iterrows()
            ),
            notes=(f"{left_out} more are smaller.",) if left_out else (),
        ),
    )
