"""What the rows of a model must be: enough, varying, independent, and possible."""

from collections.abc import Mapping
from typing import Literal

import numpy as np

from jointmix.model.gaps import Available
from jointmix.model.spec import ModelSpec
from jointmix.tables.issues import Issue, error, raise_first
from jointmix.tables.screening import collinear_issue, spread_issues

#: What is asked of rows: that a model can be fitted to them, that they have a density, of which
#: columns have to vary; or, of a part of a table, of each of them by itself.
Demand = Literal["fit", "density", "part"]


def row_issues(
    used: np.ndarray, n: int, n_rows: int, names: tuple[str, ...], spec: ModelSpec, demand: Demand
) -> list[Issue]:
    """Errors of the rows (row, C) that can be used, which stand for n."""
    few = demand == "fit" or (demand == "density" and len(used) == 0)
    issues = count_issues(n, n_rows, spec) if few else []
    if len(used) == 0:
        return issues
    table = Available(used, names)
    checks = [
        block.checks
        for block in spec.blocks
        if {*block.columns, *(spec.given if block.of_response else ())} <= set(names)
    ]
    if demand == "part":
        return issues + [issue for each in checks for issue in each.new_issues(table, True)]
    domain = [issue for each in checks for issue in each.domain_issues(table)]
    issues += domain
    refused = {issue.column for issue in domain} | {*spec.given}
    flat = [issue for issue in spread_issues(used, names) if issue.column not in refused]
    issues += flat
    if demand == "density":
        return issues
    varying = {name for name in names if name not in {issue.column for issue in flat}}
    found: list[Issue | None] = []
    for group, limit in independent_groups(spec).items():
        if set(group) <= varying and table.enough(group):
            constant = has_constant(spec, group)
            found.append(collinear_issue(table.select(group), group, limit, constant))
    for block in spec.blocks:
        read = {*block.columns, *(spec.predictors if block.of_response else ())}
        if read <= varying and table.enough((*read,)):
            found.append(block.checks.exact_issue(table))
    return issues + [issue for issue in found if issue is not None and issue.severity == "error"]


def independent_groups(spec: ModelSpec) -> dict[tuple[str, ...], float]:
    """The columns that must be linearly independent, with the largest condition number allowed."""
    limits: dict[tuple[str, ...], float] = {}
    for block in spec.blocks:
        for names, limit in block.checks.independent.items():
            if len(names) > 1 and set(names) not in map(set, limits):
                limits[names] = limit
    return limits


def has_constant(spec: ModelSpec, group: tuple[str, ...]) -> bool:
    """Whether columns stand beside a constant: an intercept, or the means of features."""
    return spec.intercept or set(group) <= set(spec.features)


def require_possible(columns: Mapping[str, np.ndarray], spec: ModelSpec) -> None:
    """Refuse new rows, columns by name, whose response, offset or trials cannot be.

    Raises
    ------
    DataError
        If a row has such a value.
    """
    table = Available(np.column_stack(list(columns.values())), tuple(columns))
    for block in spec.blocks:
        raise_first(block.checks.new_issues(table, {*block.columns} <= {*columns}))


def minimum_rows(spec: ModelSpec) -> int:
    """The fewest rows with which each of K clusters could have its own parameters."""
    return spec.n_clusters * max(block.checks.minimum_rows for block in spec.blocks)


def count_issues(n: int, n_rows: int, spec: ModelSpec) -> list[Issue]:
    least = minimum_rows(spec)
    if n >= least:
        return []
    complete = "" if n >= n_rows else f" complete ones (of {n_rows})"
    statement = f"This model needs at least {least} rows (K = {spec.n_clusters}), got {n}{complete}"
    return [error("few_rows", statement, "use fewer clusters or columns", value=float(n))]
