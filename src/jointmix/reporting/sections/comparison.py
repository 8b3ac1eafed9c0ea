"""How many clusters, and of which structure? Models side by side."""

from dataclasses import replace

import numpy as np
import pandas as pd

from jointmix.base.numbers import percent, probability
from jointmix.checks.diagnosis import STATUS_OF
from jointmix.fitting.candidates import (
    N_CLUSTERS,
    Key,
    least,
    model_words,
    parts_of,
    short_words,
)
from jointmix.fitting.selection import Comparison
from jointmix.plots.compared import Curves, curves, numbers_of
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
from jointmix.reporting.sections.moves import moves
from jointmix.reporting.text import MISSING, decimals, number, with_minus

_HEADERS = {N_CLUSTERS: "clusters"}


def comparison_sections(comparison: Comparison) -> tuple[Section, ...]:
    """The choice, the criteria, how rows move, the clusters of each fit, and how to repeat it."""
    table = comparison.table
    features = bool(FittedView(comparison.tree).model.clustering)
    return (
        _choice(comparison),
        Section(
            id="criteria",
            title="Criteria",
            elements=(
                _curves(table, features),
                _criteria(table),
                *([_evidences(table)] if "log_evidence" in table else []),
            ),
        ),
        *moves(comparison),
        Section(id="fits", title="Clusters of each fit", elements=(_fits(comparison),)),
        Section(id="reproduce", title="How to repeat this", elements=(_command(comparison),)),
    )


def choice_sections(comparison: Comparison) -> tuple[Section, ...]:
    """The choice, with the table of criteria: what a short report says of it."""
    found = _choice(comparison)
    return (replace(found, elements=(*found.elements, _criteria(comparison.table))),)


def _choice(comparison: Comparison) -> Section:
    table, best = comparison.table, comparison.best
    criteria = (("bic", "by BIC"), ("icl", "by ICL"))
    choice = (
        Callout(
            tone="ok" if table.loc[best, "verdict"] == "OK" else "caution",
            title=model_words(table, best),
            text=with_minus(comparison.text),
        ),
        Tiles(
            items=(
                (short_words(table, best), "clusters by the joint predictive density"),
                *((short_words(table, least(table, name)), words) for name, words in criteria),
            )
        ),
    )
    title = "How many clusters" if table.index.nlevels == 1 else "How many clusters, of which kind"
    return Section(id="choice", title=title, elements=choice)


def _headers(table: pd.DataFrame) -> tuple[Cell, ...]:
    """Headers of the columns that say which model a row is of."""
    return tuple(Cell(text=_HEADERS.get(name, name)) for name in table.index.names)


def _names(table: pd.DataFrame, key: Key) -> tuple[Cell, ...]:
    return tuple(Cell(text=str(part)) for part in parts_of(table, key).values())


def _curves(table: pd.DataFrame, features: bool) -> Figure:
    fitted = table[table["elpd"].notna()]
    both = bool(fitted["conditional_diff"].notna().all() and features)
    if table.index.nlevels == 1:
        left, right, words = _of_numbers(table, both)
    else:
        left, right = curves(table, "elpd"), curves(table, "bic")
        words = "BIC of EM's best modes"
    elpd = "; ".join(
        f"K = {short_words(table, key)} {decimals(difference, 1)}"
        for key, difference in fitted["elpd_diff"].items()
    )
    bic, icl = (short_words(table, least(table, name)) for name in ("bic", "icl"))
    return Figure(
        caption="Differences to the best model in nats, higher is better. Left: leave-one-out log "
        f"predictive density with two standard errors on each side. Right: {words}, multiplied "
        "by −½.",
        panels=(
            Panel(
                svg=diagrams.by_number(left, "difference in elpd, nats"),
                alt=f"Joint elpd relative to the best: {elpd}.",
            ),
            Panel(
                svg=diagrams.by_number(right, "−½ difference, nats"),
                alt=f"BIC is best with {bic} clusters, ICL with {icl}.",
            ),
        ),
        table=_densities(fitted, both),
    )


def _of_numbers(table: pd.DataFrame, both: bool) -> tuple[Curves, Curves, str]:
    """Curves where only the number of clusters varies: one a density, one a criterion."""
    (joint,) = curves(table, "elpd").values()
    left: Curves = {"joint": joint}
    if both:
        (left["response given features"],) = curves(table, "conditional").values()
    right: Curves = {}
    for name in ("bic", "icl"):
        (right[name.upper()],) = curves(table, name).values()
    return left, right, "BIC and ICL"


def _densities(table: pd.DataFrame, both: bool) -> Table:
    columns = ["elpd", "se", "elpd_diff", "diff_se"]
    names = ["joint elpd", "se", "difference", "se of it"]
    if both:
        columns += ["elpd_conditional", "conditional_diff", "conditional_diff_se"]
        names += ["elpd of y given x", "difference of it", "se of that"]
    return Table(
        caption="Leave-one-out densities",
        columns=(*_headers(table), *number_cells(*names)),
        rows=tuple(
            (
                *_names(table, key),
                *number_cells(*(decimals(float(line[column]), 1) for column in columns)),
            )
            for key, line in table.iterrows()
        ),
    )


def _evidences(table: pd.DataFrame) -> Table:
    """log p(data) of the fits that know it, with posterior probabilities where all do."""
    known = table[table["log_evidence"].notna()]
    whole = "probability" in table
    return Table(
        caption="Evidence: the density of the data under each model, its parameters integrated out",
        columns=(
            *_headers(table),
            *number_cells("log p(data)", "Monte Carlo error", *(["probability"] if whole else [])),
        ),
        rows=tuple(
            (
                *_names(table, key),
                *number_cells(
                    decimals(line["log_evidence"], 2),
                    number(line["evidence_error"], 2),
                    *([probability(line["probability"], 1e-3)] if whole else []),
                ),
            )
            for key, line in known.iterrows()
        ),
        notes=(
            "From the weights of independence chains. Probabilities are those of the models "
            "sampled, all equally probable before. They rest on the priors' widths: where one "
            "parameter of each cluster has a prior ten times as wide, each cluster costs log 10 "
            "more.",
        ),
    )


def _criteria(table: pd.DataFrame) -> Table:
    rand = ("adjusted Rand",) if "adjusted_rand" in table else ()
    headers = ("free parameters", "log likelihood", "BIC", "ICL", "occupied", "smallest, rows")
    notes = [
        "Log likelihood, BIC and ICL are those of EM's best mode; smaller BIC and ICL are better. "
        "ICL is BIC plus twice the entropy of the responsibilities (not of hard allocations). "
        "Occupied is the posterior mean number of clusters that hold a row.",
    ]
    if table["elpd"].isna().any():
        notes.append(
            "Screened: EM alone was run. Sampled were the structure with the least BIC of each "
            "number of clusters, and the number with the least BIC of each structure."
        )
    if rand:
        notes.append(
            "Adjusted Rand is the index of agreement of the most probable allocation with the "
            "known groups, which no model has seen: 1 for the same partition, 0 for chance."
        )
    if table["collapsed"].any():
        notes.append(
            "Collapsed: a cluster of EM's best mode shrank to a few rows, where the likelihood has "
            "no bound; its BIC and ICL are not compared."
        )
    return Table(
        caption="Models side by side",
        columns=(
            *_headers(table),
            Cell(text="verdict"),
            *number_cells(*headers, "rows with k̂ > 0.7", *rand),
        ),
        rows=tuple(_criteria_row(table, key, line) for key, line in table.iterrows()),
        notes=tuple(notes),
    )


def _criteria_row(table: pd.DataFrame, key: Key, line: pd.Series) -> tuple[Cell, ...]:
    verdict = str(line["verdict"])
    what = "screened, collapsed" if line["collapsed"] else "screened"
    high = line["high_k"]
    return (
        *_names(table, key),
        Cell(text=verdict or what, status=STATUS_OF.get(verdict)),
        *number_cells(
            str(int(line["n_parameters"])),
            *(decimals(float(line[name]), 1) for name in ("log_likelihood", "bic", "icl")),
            decimals(float(line["occupied"]), 2),
            decimals(float(line["smallest"]), 1),
            MISSING if np.isnan(high) else str(int(high)),
            *([decimals(float(line["adjusted_rand"]), 3)] if "adjusted_rand" in line else []),
        ),
    )


def _fits(comparison: Comparison) -> Table:
    """Weight of each cluster and the response's scale there, one fit after the other."""
    words = FittedView(comparison.tree).words[-1]
    rows, what = [], [words.scale] if words.block.of_response else []
    table = comparison.table
    for key, tree in comparison.trees.items():
        view = FittedView(tree)
        for k, mark in enumerate(view.marks):
            weight = percent(view.estimate("weight", cluster=k).mean)
            scales = [estimate.text for estimate in view.own(view.model.blocks[-1], k).values()]
            cells = number_cells(weight, *scales[: len(what)])
            rows.append((*_names(table, key), mark, *cells))
    return Table(
        caption=" and ".join(["Share of the rows", *what]) + " of each cluster",
        columns=(
            *_headers(table),
            Cell(text="cluster"),
            *number_cells("weight", *(f"{name}, 89% interval" for name in what)),
        ),
        rows=tuple(rows),
    )


def _command(comparison: Comparison) -> Code:
    table = comparison.table
    numbers = numbers_of(table)
    options = [f"--clusters {numbers.min()}-{numbers.max()}"]
    for name in table.index.names[1:]:
        values = dict.fromkeys(table.index.get_level_values(name))
        options.append(f"--{name} {','.join(values)}")
    seed = int(comparison.tree.attrs["seed"])
    return Code(
        caption="From the command line",
        text=f"jointmix compare SPEC.toml {' '.join(options)} --seed {seed} --report REPORT.html",
    )
