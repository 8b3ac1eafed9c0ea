"""Whether independent implementations of the model are the same posterior, if that was asked."""

import json
from typing import Any

from jointmix.reporting.elements import (
    Bullets,
    Callout,
    Cell,
    Element,
    Heading,
    Prose,
    Section,
    Table,
    number_cells,
    text_cells,
)
from jointmix.reporting.fitted import FittedView
from jointmix.reporting.text import decimals

ID, TITLE = "agreement", "Cross-check of implementations"

_WORDS = {
    "prior": "prior density, Jacobian included",
    "likelihood": "log likelihood",
    "total": "log posterior density",
    "rows": "log density of a row",
    "features": "log density of x in a cluster",
    "response": "log density of y in a cluster",
    "gradient": "gradient",
}
_MISSING = (
    "Independent implementations of this model were not compared; the command "
    "jointmix crosscheck SPEC.toml --fit FIT.nc does it."
)


def asked(view: FittedView) -> bool:
    """Whether the fit keeps any."""
    return "certificate" in view.tree.attrs


def section(view: FittedView) -> Section:
    """The certificate's verdict, its largest differences, and the two posteriors."""
    text = view.tree.attrs.get("certificate")
    if text is None:
        return Section(id=ID, title=TITLE, elements=(Prose(text=_MISSING),))
    return Section(id=ID, title=TITLE, elements=tuple(_elements(json.loads(text))))


def certificate_sections(found: dict[str, Any]) -> tuple[Section, ...]:
    """A certificate on a page of its own: the verdict, and every pair of implementations."""
    return (
        Section(id=ID, title="Verdict", elements=tuple(_elements(found))),
        Section(id="pairs", title="Every pair of implementations", elements=(_pairs(found),)),
    )


def _elements(found: dict[str, Any]) -> list[Element]:
    elements: list[Element] = [_verdict(found), _differences(found)]
    if found["posterior"] is not None:
        elements += [Heading(text="Both posteriors sampled"), *_posterior(found["posterior"])]
    notes = [*found["findings"], *found["notes"]]
    if notes:
        elements.append(Bullets(items=text_cells(*notes)))
    return elements


def _pairs(found: dict[str, Any]) -> Table:
    return Table(
        caption="Largest relative difference of each pair, by term",
        columns=(
            *text_cells("term", "implementations"),
            *number_cells("largest", "allowed"),
            *text_cells("at"),
        ),
        rows=tuple(
            (
                Cell(text=_word(item["term"]), status="ok" if item["agrees"] else "fail"),
                *text_cells(f"{item['left']} and {item['right']}"),
                *number_cells(f"{float(item['size']):.1e}", f"{item['bound']:.0e}"),
                *text_cells(item["place"]),
            )
            for item in found["differences"]
        ),
    )


def _word(term: str) -> str:
    """What a term is; those without a name are of one feature, x[NAME]."""
    return _WORDS.get(term, f"log density of {term} in a cluster")


def _verdict(found: dict[str, Any]) -> Callout:
    names = found["implementations"]
    where = f"{found['n_points']:,} random and {found['n_extreme']} extreme points"
    if found["passed"]:
        return Callout(
            tone="ok",
            title="All implementations agree",
            text=f"{', '.join(names)}: the same densities and gradients at {where}.",
        )
    return Callout(
        tone="fail",
        title="Implementations differ",
        text=" ".join(found["findings"]) or f"Compared at {where}: {', '.join(names)}.",
    )


def _differences(found: dict[str, Any]) -> Table:
    worst: dict[str, dict[str, Any]] = {}
    for item in found["differences"]:
        term = item["term"]
        if term not in worst or float(item["size"]) > float(worst[term]["size"]):
            worst[term] = item
    rows = [
        (
            Cell(text=_word(term), status="ok" if item["agrees"] else "fail"),
            *number_cells(f"{float(item['size']):.1e}", f"{item['bound']:.0e}"),
            *text_cells(f"{item['left']} and {item['right']}", item["place"]),
        )
        for term, item in worst.items()
    ]
    return Table(
        caption="Largest relative difference of any two implementations, by term",
        columns=(
            Cell(text="term"),
            *number_cells("largest", "allowed"),
            *text_cells("between", "at"),
        ),
        rows=tuple(rows),
        notes=(
            "Relative to the magnitudes that enter the term: what an order of summation can "
            "change by rounding. Components and rows are numbered from 0.",
        ),
    )


def _posterior(found: dict[str, Any]) -> list[Element]:
    verdict = "agree" if found["agrees"] else "differ by more than chance explains"
    prose = Prose(
        text=f"The two posteriors {verdict}: of {found['n']} means, standard deviations and 5% and "
        f"95% quantiles of {found['n_parameters']} parameters the largest difference is "
        f"{decimals(found['largest'], 2)} combined Monte Carlo standard errors "
        f"({found['where']}; {decimals(found['bound'], 2)} is exceeded by chance in 1% of such "
        f"checks), and the root mean square is {decimals(found['rms'], 2)}."
    )
    rows = [
        (
            Cell(text=run["name"]),
            *number_cells(
                f"{run['draws']:,}",
                decimals(float(run["compile_seconds"]), 1),
                decimals(float(run["seconds"]), 1),
                f"{run['ess']:,.0f}",
                f"{run['ess'] / float(run['seconds']):,.0f}",
            ),
        )
        for run in found["runs"]
    ]
    table = Table(
        caption="Time and effective sample size of both",
        columns=(
            Cell(text="sampler"),
            *number_cells(
                "draws", "compiling, s", "sampling, s", "least bulk ESS", "ESS per second sampled"
            ),
        ),
        rows=tuple(rows),
    )
    return [prose, table]
