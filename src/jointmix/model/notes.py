"""What a reader of a fit should know about its data."""

import numpy as np

from jointmix.model.dataset import Dataset
from jointmix.model.demands import has_constant, independent_groups
from jointmix.model.spec import ModelSpec
from jointmix.tables.issues import Issue, listed, quoted, warning
from jointmix.tables.kinds import derived_warnings, kind_warning
from jointmix.tables.screening import (
    collinear_issue,
    digits_warning,
    duplicate_warning,
    tie_warning,
    total_warning,
)
from jointmix.tables.weights import weight_notes


def notes(dataset: Dataset) -> tuple[Issue, ...]:
    """What a reader of the fit should know about its data, all warnings.

    Columns without a name, ties, two values or few whole numbers, lost digits, near-collinear
    columns, columns that are functions of features, a response without noise, duplicate rows, a row
    of totals, rows left out. Ties are counted in the columns that have a density, the features and
    the response.
    """
    found: list[Issue | None] = list(dataset.warnings)
    table = dataset.available
    for block in dataset.blocks:
        for name in block.checks.measured:
            values, counts = np.unique(table.select([name]), return_counts=True)
            kind = kind_warning(values, counts, name, block.of_response)
            harmless = block.checks.harmless_ties(name)
            found += [kind, tie_warning(counts, name, harmless, kind is not None)]
    own = [name for name in dataset.columns if name not in dataset.spec.made]
    found += [digits_warning(table.select([name])[:, 0], name) for name in own]
    spec = dataset.spec
    groups = independent_groups(spec).items()
    found += [
        collinear_issue(table.select(group), group, limit, has_constant(spec, group))
        for group, limit in groups
        if table.enough(group)
    ]
    found += [block.checks.exact_issue(table) for block in dataset.blocks]
    whole = table.select(own)
    if len(whole):
        found += derived_warnings(whole, own, list(spec.features), spec.response)
    found.append(duplicate_warning(dataset.values, dataset.labels, dataset.row))
    if not any(issue.code == "total_row" for issue in dataset.warnings):
        found.append(total_warning(whole, own))
    found += [_left_out_warning(dataset), _nothing_explains(spec)]
    if dataset.weight is not None:
        of_weights = (dataset.n_zeros, dataset.n_rows, str(spec.row_weights))
        found += weight_notes(dataset.weight, *of_weights)
    return tuple(issue for issue in found if issue is not None)


def _nothing_explains(spec: ModelSpec) -> Issue | None:
    if spec.response is None or spec.predictors or not spec.features:
        return None
    name = quoted(spec.response)
    message = (
        f"The model has no predictors: inside a cluster no column explains {name}, which has one "
        "mean there."
    )
    remedy = f"If features explain {name} inside clusters too, name them as predictors."
    return warning("no_predictors", message, remedy, str(spec.response))


def _left_out_warning(dataset: Dataset) -> Issue | None:
    own = dataset.elsewhere
    used = len(dataset.row) if own is None else own.n_rows
    left_out = dataset.n_rows - dataset.n_zeros - used
    if left_out == 0:
        return None
    parts = [f"{quoted(name)} {count}" for name, count in dataset.missing.items()]
    message = (
        f"{left_out} of {dataset.n_rows} rows are left out because entries are missing "
        f"({', '.join(parts)})."
    )
    names = ", ".join(dataset.missing)
    row = None
    if not dataset.n_zeros and own is None:
        row = int(np.setdiff1d(np.arange(dataset.n_rows), dataset.row)[0])
    kept, patterns = dataset.regained.rows, dataset.regained.patterns
    remedy = ""
    if kept and own is None:
        # The model refuses a table with rows that it cannot integrate over: they have to go first.
        closed = listed(dataset.regained.closed)
        first = f", once rows without {closed} are out," if closed else ""
        remedy = (
            f'With missing="model"{first} {kept} of them enter{"s" * (kept == 1)} too, by what '
            f"{'it has' if kept == 1 else 'they have'} "
            f"({patterns} {'pattern' if patterns == 1 else 'patterns'} of missing entries)."
        )
    return warning("rows_left_out", message, remedy, names, row, left_out / dataset.n_rows)
