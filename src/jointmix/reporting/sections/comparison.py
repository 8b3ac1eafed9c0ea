"""How many clusters? Fits with several numbers side by side."""

import numpy as np
import pandas as pd

from jointmix.base.numbers import percent
from jointmix.checks.diagnosis import STATUS_OF
from jointmix.fitting.selection import Comparison
from jointmix.reporting import diagrams
from jointmix.reporting.elements import (
    Callout,
    Cell,
    Code,
    Figure,
    Panel,
    Section,
    Table,
    Tiles,
    number_cells,
)
from jointmix.reporting.fitted import FittedView
from jointmix.reporting.text import decimals, with_minus


def comparison_sections(comparison: Comparison) -> tuple[Section, ...]:
    """The choice, the criteria, the clusters of each fit, and how to repeat it."""
    table = comparison.table
    choice = (
        Callout(
            tone="ok" if table.loc[comparison.best, "verdict"] == "OK" else "caution",
            title=f"{comparison.best} {'cluster' if comparison.best == 1 else 'clusters'}",
            text=with_minus(comparison.text),
        ),
        Tiles(
            items=(
                (str(comparison.best), "clusters by the joint predictive density"),
                (str(int(table["bic"].idxmin())), "by BIC"),
                (str(int(table["icl"].idxmin())), "by ICL"),
            )
        ),
    )
    features = bool(FittedView(comparison.trees[comparison.best]).features)
    criteria = (_density_figure(table, features), _criteria(table))
    return (
        Section(id="choice", title="How many clusters", elements=choice),
        Section(id="criteria", title="Criteria", elements=criteria),
        Section(id="fits", title="Clusters of each fit", elements=(_fits(comparison),)),
        Section(id="reproduce", title="How to repeat this", elements=(_command(comparison),)),
    )


def _density_figure(table: pd.DataFrame, features: bool) -> Figure:
    numbers = table.index.to_numpy()
    both = bool(table["conditional_diff"].notna().all() and features)
    series = {"joint": (table["elpd_diff"].to_numpy(), table["diff_se"].to_numpy())}
    if both:
        series["response given features"] = (
            table["conditional_diff"].to_numpy(),
            table["conditional_diff_se"].to_numpy(),
        )
    criteria = {
        name: (-(table[column] - table[column].min()).to_numpy() / 2, None)
        for name, column in (("BIC", "bic"), ("ICL", "icl"))
    }
    words = "; ".join(f"K = {n} {decimals(d, 1)}" for n, d in table["elpd_diff"].items())
    best = {name: int(numbers[int(np.argmax(values))]) for name, (values, _) in criteria.items()}
    return Figure(
        caption="Differences to the best number of clusters in nats, higher is better. Left: "
        "leave-one-out log predictive density with two standard errors on each side. Right: BIC "
        "and ICL, multiplied by −½.",
        panels=(
            Panel(
                svg=diagrams.by_number(numbers, series, "difference in elpd, nats"),
                alt=f"Joint elpd relative to the best: {words}.",
            ),
            Panel(
                svg=diagrams.by_number(numbers, criteria, "−½ difference, nats"),
                alt=f"BIC is best with {best['BIC']} clusters, ICL with {best['ICL']}.",
            ),
        ),
        table=_numbers(table, both),
    )


def _numbers(table: pd.DataFrame, both: bool) -> Table:
    columns = ["elpd", "se", "elpd_diff", "diff_se"]
    names = ["joint elpd", "se", "difference", "se of it"]
    if both:
        columns += ["elpd_conditional", "conditional_diff", "conditional_diff_se"]
        names += ["elpd of y given x", "difference of it", "se of that"]
    return Table(
        caption="Leave-one-out densities",
        columns=(Cell(text="clusters"), *number_cells(*names)),
        rows=tuple(
            (
                Cell(text=str(number)),
                *number_cells(*(decimals(float(line[column]), 1) for column in columns)),
            )
            for number, line in table.iterrows()
        ),
    )


def _criteria(table: pd.DataFrame) -> Table:
    headers = ("log likelihood", "BIC", "ICL", "occupied", "smallest, rows", "rows with k̂ > 0.7")
    return Table(
        caption="Fits side by side",
        columns=(Cell(text="clusters"), Cell(text="verdict"), *number_cells(*headers)),
        rows=tuple(
            (
                Cell(text=str(number)),
                Cell(text=str(line["verdict"]), status=STATUS_OF[str(line["verdict"])]),
                *number_cells(
                    *(decimals(float(line[name]), 1) for name in ("log_likelihood", "bic", "icl")),
                    decimals(float(line["occupied"]), 2),
                    decimals(float(line["smallest"]), 1),
                    str(int(line["high_k"])),
                ),
            )
            for number, line in table.iterrows()
        ),
        notes=(
            "Log likelihood, BIC and ICL are those of EM's best mode; smaller BIC and ICL are "
            "better. Occupied is the posterior mean number of clusters that hold a row.",
        ),
    )


def _fits(comparison: Comparison) -> Table:
    """Weight of each cluster and the response's scale there, one fit after the other."""
    words = FittedView(comparison.trees[comparison.best]).words[-1]
    rows, what = [], [words.scale] if words.block.of_response else []
    for number, tree in comparison.trees.items():
        view = FittedView(tree)
        for k, mark in enumerate(view.marks):
            weight = percent(view.estimate("weight", cluster=k).mean)
            scales = [estimate.text for estimate in view.own(view.model.blocks[-1], k).values()]
            cells = number_cells(weight, *scales[: len(what)])
            rows.append((Cell(text=str(number)), mark, *cells))
    return Table(
        caption=" and ".join(["Share of the rows", *what]) + " of each cluster",
        columns=(
            *(Cell(text="clusters"), Cell(text="cluster")),
            *number_cells("weight", *(f"{name}, 89% interval" for name in what)),
        ),
        rows=tuple(rows),
    )


def _command(comparison: Comparison) -> Code:
    numbers = sorted(comparison.trees)
    seed = int(comparison.trees[numbers[0]].attrs["seed"])
    return Code(
        caption="From the command line",
        text=f"jointmix compare SPEC.toml --clusters {numbers[0]}-{numbers[-1]} --seed {seed} "
        "--report REPORT.html",
    )
