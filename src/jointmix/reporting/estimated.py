"""Estimates of the parameters by cluster, as tables."""

from dataclasses import dataclass, replace

import xarray as xr

from jointmix.checks.finding import listed
from jointmix.families.protocol import Parameter
from jointmix.posterior.summaries import PAIR
from jointmix.reporting.elements import Cell, Table, number_cells
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


def overview(view: FittedView, rows: list[Row]) -> Table:
    """Estimates of all parameters but correlations, a row an entry and a column a cluster."""
    return Table(
        caption="Estimates by cluster: posterior mean and 89% interval",
        columns=(
            *(Cell(text=text) for text in ("parameter", "column")),
            *(replace(mark, numeric=True) for mark in view.marks),
        ),
        rows=tuple(
            (
                Cell(text=row.parameter.name),
                Cell(text=row.column or "–"),
                *(
                    Cell(text=estimate.value, detail=estimate.bounds, numeric=True)
                    for estimate in row.estimates
                ),
            )
            for row in rows
            if row.parameter.role != "correlation"
        ),
        notes=_averages(view),
    )


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
                Cell(text=row.parameter.name),
                Cell(text=row.column or "–"),
                mark,
                *number_cells(
                    estimate.value,
                    estimate.bounds,
                    number(estimate.sd, 2),
                    number(estimate.mcse_mean, 2),
                ),
            )
            for row in rows
            for mark, estimate in zip(view.marks, row.estimates, strict=True)
        ),
    )
