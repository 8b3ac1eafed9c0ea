"""What the rows of a model must be: enough, varying, independent, and possible."""

from collections.abc import Mapping

import numpy as np

from jointmix.model.gaps import Available
from jointmix.model.spec import ModelSpec
from jointmix.tables.issues import Issue, error, raise_first
from jointmix.tables.screening import collinear_issue, spread_issues


def row_issues(
    used: np.ndarray, n: int, n_rows: int, names: tuple[str, ...], spec: ModelSpec, for_fit: bool
) -> list[Issue]:
    """Errors of the rows (row, C) that can be used, which stand for n."""
    issues = count_issues(n, n_rows, spec) if for_fit or len(used) == 0 else []
    if len(used) == 0:
        return issues
    domain = [
        issue
        for block in spec.blocks
        if {*block.columns, *(spec.given if block.of_response else ())} <= set(names)
        for issue in block.checks.domain_issues(Available(used, names))
    ]
    issues += domain
    refused = {issue.column for issue in domain} | {*spec.given}
    flat = [issue for issue in spread_issues(used, names) if issue.column not in refused]
    issues += flat
    if not for_fit:
        return issues
    varying = {name for name in names if name not in {issue.column for issue in flat}}
    table = Available(used, names)
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
