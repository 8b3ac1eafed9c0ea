"""Whether the model's fit finds what made the data, over tables drawn from its prior."""

import json
from typing import Any

import numpy as np

from jointmix.base.numbers import percent
from jointmix.reporting import calibrated
from jointmix.reporting.elements import (
    Callout,
    Cell,
    Code,
    Element,
    Facts,
    Figure,
    Panel,
    Prose,
    Section,
    Table,
    number_cells,
)
from jointmix.reporting.fitted import FittedView
from jointmix.reporting.text import decimals, with_minus

ID, TITLE = "calibration", "Simulation-based calibration"

_MISSING = (
    "This model was not calibrated on tables drawn from its prior; the command "
    "jointmix calibrate SPEC.toml --fit FIT.nc does it."
)
#: Below it an adjusted p-value is marked, as in the verdict.
_LEVEL = 0.01
_METHOD = (
    "Parameters are drawn from the prior, a table is drawn at them, and the model is fitted to "
    "it. Where prior, likelihood, sampler and what is computed from the draws are right, a true "
    "value's rank among its posterior draws is uniform. Clusters of the truth and of the draws are "
    "sorted by the same variable. p is that of the largest deviation of the ranks' distribution "
    "function, adjusted after Holm for the number of quantities."
)


def asked(view: FittedView) -> bool:
    """Whether the fit keeps any."""
    return ID in view.tree.attrs


def section(view: FittedView) -> Section:
    """The calibration that the fit keeps, or how to get one."""
    text = view.tree.attrs.get(ID)
    if text is None:
        return Section(id=ID, title=TITLE, elements=(Prose(text=_MISSING),))
    found = json.loads(text)
    return Section(id=ID, title=TITLE, elements=(*_verdict(found), _pictures(found)))


def calibration_sections(found: dict[str, Any]) -> tuple[Section, ...]:
    """A calibration on a page of its own."""
    return (
        Section(id=ID, title="Verdict", elements=tuple(_verdict(found))),
        Section(id="quantities", title="Ranks and coverage", elements=(_pictures(found),)),
        Section(id="fits", title="The fits", elements=(_facts(found),)),
        Section(id="reproduce", title="How to repeat this", elements=(_command(found),)),
    )


def _verdict(found: dict[str, Any]) -> list[Element]:
    title = "No miscalibration found" if found["passed"] else "Not calibrated"
    tone: Any = "ok" if found["passed"] else "fail"
    beyond, n = found["beyond_three_errors"], len(found["quantities"])
    elements: list[Element] = [
        Callout(tone=tone, title=title, text=with_minus(found["text"])),
        Prose(text=_METHOD),
    ]
    if found["quantities"]:
        elements.append(
            Prose(
                text=f"Of {n} shares of 90% intervals that hold the truth, {len(beyond) or 'none'} "
                f"{'lies' if len(beyond) < 2 else 'lie'} more than three binomial standard errors "
                f"off{': ' + ', '.join(beyond) if beyond else ''}; chance alone puts about "
                f"{decimals(0.0027 * n, 2)} there."
            )
        )
    return elements


def _pictures(found: dict[str, Any]) -> Figure | Prose:
    lines = found["quantities"]
    if not lines:
        return Prose(text="There are no ranks to show.")
    fitted = found["replicates"] - found["failed"]
    at, lower, upper = (np.array(found["band"][name]) for name in ("at", "lower", "upper"))
    curves = {name: np.array(values) for name, values in found["curves"].items()}
    worst = min(lines, key=lambda line: line["p"])
    share = [line["coverage90"] for line in lines]
    return Figure(
        caption="First: the distribution function of each quantity's ranks minus the uniform one, "
        "with the 95% simultaneous band of one quantity; the one with the least p is drawn thick. "
        "Second: share of 90% intervals that hold the truth, with three binomial standard errors "
        "around its expectation.",
        panels=(
            Panel(
                svg=calibrated.rank_functions(
                    at, curves, lower - at, upper - at, worst["quantity"]
                ),
                alt=f"The least p is that of {worst['quantity']}: {worst['p']:.2g}, adjusted "
                f"{worst['p_holm']:.2g}.",
            ),
            Panel(
                svg=calibrated.coverages(
                    [line["quantity"] for line in lines], np.array(share), fitted
                ),
                alt=f"Shares from {percent(min(share))} to {percent(max(share))}.",
                wide=True,
            ),
        ),
        table=_table(lines),
    )


def _table(lines: list[dict[str, Any]]) -> Table:
    return Table(
        caption="Ranks of the true values, and coverage of intervals",
        columns=(
            Cell(text="quantity"),
            *number_cells(
                "mean rank", "p", "p, Holm", "in 50% intervals", "in 90% intervals", "errors off"
            ),
        ),
        rows=tuple(
            (
                Cell(text=line["quantity"], status=_status(line)),
                *number_cells(
                    decimals(line["mean_rank"], 3),
                    f"{line['p']:.2g}",
                    f"{line['p_holm']:.2g}",
                    percent(line["coverage50"]),
                    percent(line["coverage90"]),
                    decimals(line["error90"], 1),
                ),
            )
            for line in lines
        ),
        notes=(
            "Mean ranks run from 0 to 1, one half being right; above it posteriors lie too low. "
            "Marked where an adjusted p-value is below 1%.",
        ),
    )


def _status(line: dict[str, Any]) -> str:
    return "fail" if min(line["p_holm"], line["p_coverage"]) < _LEVEL else "ok"


def _facts(found: dict[str, Any]) -> Facts:
    verdicts = ", ".join(f"{name} {count:,}" for name, count in found["verdicts"].items())
    packages = ", ".join(f"{name} {number}" for name, number in found["versions"].items())
    return Facts(
        items=(
            ("tables", f"{found['replicates']:,} of {found['rows']:,} rows each"),
            ("without a fit", f"{found['failed']:,}"),
            ("draws ranked among", f"{found['ranked_draws']:,}, thinned from each fit's"),
            ("fits with fewer effective draws", f"{found['short_of_draws']:,}"),
            ("fits with divergences", f"{found['divergent_fits']:,}"),
            ("verdicts of the fits", verdicts),
            ("last run", found["date"]),
            ("seed", str(found["seed"])),
            ("SHA-256 of the specification", found["spec_sha256"]),
            ("versions", packages),
        )
    )


def _command(found: dict[str, Any]) -> Code:
    return Code(
        caption="From the command line",
        text=f"jointmix calibrate SPEC.toml --rows {found['rows']} --replicates "
        f"{found['replicates']} --seed {found['seed']}",
    )
