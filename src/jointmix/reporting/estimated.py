"""Estimates of the parameters by cluster, as tables."""

from dataclasses import dataclass, replace

import xarray as xr

from jointmix.checks.finding import listed
from jointmix.families.protocol import Parameter
from jointmix.posterior.summaries import PAIR
from jointmix.reporting.elements import Cell, Element, Table, number_cells
from jointmix.reporting.fitted import Estimate, FittedView
from jointmix.reporting.text import number


def _labels(view: FittedView, values: xr.Dataset) -> list[tuple[str, dict[str, int]]]:
    """Label and position of each entry that a cluster has of a parameter."""
    for dim, entries in view.model.entries.items():
        if dim in values.dims:
            return [(view.names.get(name, name), {dim: j}) for j, name in enumerate(entries)]
    if PAIR in values.dims:
        pairs = zip(values["feature_bis"].values, values["feature"].values, strict=True)
        return [
            (f"{view.names[first]}, {view.names[second]}", {PAIR: j})
            for j, (first, second) in enumerate(pairs)
        ]
    return [("", {})]


@dataclass(frozen=True)
class Row:
    """One entry of a parameter, and its estimate in each cluster."""

    parameter: Parameter
    column: str
    estimates: tuple[Estimate, ...]

    @property
    def fixed(self) -> bool:
        """Whether no cluster's value was sampled."""
        return all(estimate.fixed for estimate in self.estimates)

    @property
    def shared(self) -> bool:
        """Whether the clusters have one value in common."""
        return len(self.estimates) > 1 and self.parameter.role != "weight" and self.parameter.shared


def estimates(view: FittedView) -> list[Row]:
    """Every entry of every parameter, and lines' levels at the averages of the predictors."""
    found = [
        Row(
            parameter,
            label,
            tuple(
                view.estimate(parameter.name, cluster=k, **at) for k in range(len(view.clusters))
            ),
        )
        for parameter in view.model.parameters.values()
        if parameter.name in view.statistics
        for label, at in _labels(view, view.statistics[parameter.name])
    ]
    if not view.levels:
        return found
    words = view.line_words
    level = Parameter(
        name=words.level, symbol="b", role="location", prior=None, free=(len(view.clusters),),
        meaning="response where every predictor has its average over all rows",
    )  # fmt: skip
    after = 1 + next(i for i, row in enumerate(found) if row.parameter.name == "intercept")
    found[after:after] = [Row(level, "", view.levels)]
    if words.block.ratio:
        slope = next(item for item in words.block.parameters if item.name == "slope")
        ratio, clusters = replace(slope, name=words.block.ratio), range(len(view.clusters))
        last = 1 + max(i for i, row in enumerate(found) if row.parameter.name == "slope")
        found[last:last] = [
            Row(ratio, view.names[name], tuple(view.effect(k, j) for k in clusters))
            for j, name in enumerate(view.predictors)
        ]
    return found


def overview(view: FittedView, rows: list[Row]) -> list[Element]:
    """Estimates of all parameters but correlations, a row an entry and a column a cluster.

    What the clusters share stands in a table of its own, once.
    """
    shown = [row for row in rows if row.parameter.role != "correlation"]
    own = [row for row in shown if not row.shared]
    shared = [row for row in shown if row.shared]
    head = tuple(Cell(text=text) for text in ("parameter", "column"))
    found: list[Element] = [
        Table(
            caption="Estimates by cluster: posterior mean and 89% interval",
            columns=(*head, *(replace(mark, numeric=True) for mark in view.marks)),
            rows=tuple((*_head(row), *map(_cell, row.estimates)) for row in own),
            notes=_averages(view),
        )
    ]
    if shared:
        found.append(
            Table(
                caption="Estimates that all clusters share",
                columns=(*head, *number_cells("all clusters")),
                rows=tuple((*_head(row), _cell(row.estimates[0])) for row in shared),
            )
        )
    return found


def _head(row: Row) -> tuple[Cell, Cell]:
    return Cell(text=row.parameter.name), Cell(text=row.column or "–")


def _cell(estimate: Estimate) -> Cell:
    return Cell(text=estimate.value, detail=estimate.bounds, numeric=True)


def _averages(view: FittedView) -> tuple[str, ...]:
    """Where the lines' levels are stated."""
    if not view.predictors:
        return ()
    at = listed(
        [f"{view.names[name]} {number(view.columns[name].mean())}" for name in view.predictors]
    )
    return (
        f"{view.line_words.intercept_note}; the {view.line_words.level}, where they have their "
        f"averages over all rows: {at}.",
    )


def _by_cluster(view: FittedView, row: Row) -> list[tuple[Cell, Estimate]]:
    """A mark and an estimate for each cluster; one of both where they share it."""
    if row.shared:
        return [(Cell(text="all"), row.estimates[0])]
    return list(zip(view.marks, row.estimates, strict=True))


def precision(view: FittedView, rows: list[Row]) -> Table:
    """Estimates with their Monte Carlo standard errors, a row an entry and cluster."""
    return Table(
        caption="Estimates with their Monte Carlo standard errors",
        columns=(
            *(Cell(text=text) for text in ("parameter", "column", "cluster")),
            *number_cells("mean", "89% interval", "sd", "MCSE"),
        ),
        rows=tuple(
            (
                *_head(row),
                mark,
                *number_cells(
                    estimate.value,
                    estimate.bounds,
                    number(estimate.sd, 2),
                    number(estimate.mcse_mean, 2),
                ),
            )
            for row in rows
            for mark, estimate in _by_cluster(view, row)
        ),
    )
