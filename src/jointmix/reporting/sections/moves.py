"""How rows move from the fit with K clusters to the one with K + 1."""

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import pandas as pd

from jointmix.base.numbers import percent
from jointmix.base.schema import require_group
from jointmix.fitting.candidates import N_CLUSTERS, Key, short_words
from jointmix.fitting.selection import Comparison
from jointmix.reporting.elements import Cell, Element, Figure, Panel, Prose, Section, Table
from jointmix.reporting.elements import number_cells as numbers
from jointmix.reporting.fitted import FittedView
from jointmix.reporting.flows import flows
from jointmix.reporting.text import rows_text

ID, TITLE = "moves", "How rows move from K to K + 1"


@dataclass(frozen=True)
class Partition:
    """Rows by their most probable cluster in one fit.

    Attributes
    ----------
    words
        Which model it is.
    view
        The fit.
    cluster
        Of each row, from 0, (obs,).
    """

    words: str
    view: FittedView
    cluster: np.ndarray


def moves(comparison: Comparison) -> tuple[Section, ...]:
    """The section, where there are fits of two numbers of clusters to the same rows."""
    found = [_partition(comparison, key) for key in _best_keys(comparison.table)]
    rows = [require_group(each.view.tree, "constant_data")["row"].values for each in found]
    if len(found) < 2 or any(not np.array_equal(rows[0], each) for each in rows[1:]):
        return ()
    pairs = list(pairwise(found))
    counts = [moved(one, other) for one, other in pairs]
    elements: list[Element] = [
        Prose(
            text="Each row is in its most probable cluster of the best fit with each number of "
            f"clusters. {' '.join(map(_sentence, pairs, counts))}"
        ),
        Figure(
            caption="Rows by cluster, from the fewest clusters to the most; ribbons have the "
            "colour of the cluster that rows leave.",
            panels=(
                Panel(
                    svg=flows(counts, [f"K = {each.words}" for each in found]),
                    alt=" ".join(map(_sentence, pairs, counts)),
                    wide=True,
                ),
            ),
            table=_table(*pairs[0], counts[0]),
        ),
        *(_table(*pair, table) for pair, table in list(zip(pairs, counts, strict=True))[1:]),
    ]
    return (Section(id=ID, title=TITLE, elements=tuple(elements)),)


def _best_keys(table: pd.DataFrame) -> list[Key]:
    """The sampled model with the largest elpd of each number of clusters, the fewest first."""
    sampled = table[table["elpd"].notna()]
    k = sampled.index.get_level_values(N_CLUSTERS)
    return [sampled["elpd"][k == each].idxmax() for each in sorted(set(k))]


def _partition(comparison: Comparison, key: Key) -> Partition:
    view = FittedView(comparison.trees[key])
    cluster = np.searchsorted(view.clusters, view.allocation["allocation"].values)
    return Partition(short_words(comparison.table, key), view, cluster)


def moved(one: Partition, other: Partition) -> np.ndarray:
    """Rows, or the sum of their weights, of each cluster of one by those of the other."""
    found = np.zeros((len(one.view.clusters), len(other.view.clusters)))
    np.add.at(found, (one.cluster, other.cluster), one.view.rows.weights)
    return found


def _sentence(pair: tuple[Partition, Partition], counts: np.ndarray) -> str:
    """Where the rows of the cluster with the most new company come from."""
    one, other = pair
    kept = counts.max(axis=1).sum() / counts.sum()
    # The new cluster is the one that is least the continuation of another.
    share = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1e-300)
    new = int(share.max(axis=0).argmin())
    origin = counts[:, new]
    parts = [
        f"{percent(origin[k] / origin.sum())} from {one.view.called[k]}"
        for k in np.argsort(-origin, kind="stable")[:2]
        if origin[k] > 0
    ]
    gained = f"; {other.view.called[new]} gathers rows {' and '.join(parts)}" if parts else ""
    return (
        f"From K = {one.words} to {other.words}, {percent(kept)} of the rows stay with most of "
        f"their cluster{gained}."
    )


def _table(one: Partition, other: Partition, counts: np.ndarray) -> Table:
    return Table(
        caption=f"Rows by cluster with K = {one.words} and with K = {other.words}",
        columns=(
            Cell(text=f"K = {one.words}"),
            *numbers(*(f"{mark.text}, K = {other.words}" for mark in other.view.marks)),
        ),
        rows=tuple(
            (mark, *numbers(*(rows_text(count) for count in line)))
            for mark, line in zip(one.view.marks, counts, strict=True)
        ),
    )
