"""Rows to predict for, read as those of the fit were."""

from collections.abc import Mapping, Sequence

import numpy as np

from jointmix.base.errors import DataError
from jointmix.model.completions import filled, summed_over, without_unknown
from jointmix.model.designed import (
    encoded_columns,
    half_known_issues,
    may_be_levels,
    may_be_truths,
    sources,
)
from jointmix.model.discrete import new_codes
from jointmix.model.spec import ModelSpec
from jointmix.tables.columns import Columns, convert
from jointmix.tables.design import Source
from jointmix.tables.issues import raise_first
from jointmix.tables.screening import magnitude_issues, missing_issues


def new_rows(
    table: object,
    columns: Sequence[str],
    optional: Sequence[str] = (),
    may_miss: Sequence[str] = (),
) -> dict[str, np.ndarray]:
    """Rows to predict for: column -> (N,) float64, on the users' scale.

    Columns that are not asked for are ignored; optional ones are read where the table has them;
    entries may be missing, as NaN, in the columns ``may_miss`` alone.

    Raises
    ------
    DataError
        If a column is absent or repeated, there are no rows, or entries are missing, infinite
        or too large.
    ColumnTypeError
        If a column does not hold real numbers.
    """
    return _read(table, columns, optional, may_miss, {}).values


def model_rows(
    table: object, spec: ModelSpec, response: str | None = None, may_miss: Sequence[str] = ()
) -> tuple[dict[str, np.ndarray], Source | None]:
    """Rows to predict for, as `new_rows`, their predictors made as those of the fit, and of what.

    Parameters
    ----------
    spec
        The model of a fit.
    response
        Read where the table has it; None for not at all.

    Raises
    ------
    DataError, ColumnTypeError
        As `new_rows`; or if a row has a level that the fit has not, or lies where a term has no
        value, or a feature of numbers is missing of which a term is made.
    """
    needed = [name for name in sources(spec) if name != spec.response]
    optional = () if response is None else (response,)
    if spec.encoding is None and not spec.discrete:
        return new_rows(table, needed, optional, may_miss), None
    coded = {name: own for name, own in may_be_levels(spec).items() if name not in spec.features}
    truths = may_be_truths(spec)
    read = _read(table, needed, optional, may_miss, coded, truths)
    codes, issues = new_codes(spec.discrete, read.values, read.levels, read.labels)
    raise_first(issues)
    if spec.encoding is None:
        return {**read.values, **codes}, None
    levels = {own.column for own in summed_over(spec)}
    absent = {
        name: np.isnan(read.values[name])
        for name in may_miss
        if name in read.values and name not in levels
    }
    raise_first(half_known_issues(spec.encoding, absent, read.labels))
    source = Source(read.values, read.levels, read.labels)
    made, issues = encoded_columns(spec.encoding, filled(source, spec.encoding))
    raise_first(issues)
    made = without_unknown(made, source, spec.encoding)
    columns = {**read.values, **made, **codes}
    return {name: values for name, values in columns.items() if name in spec.columns}, source


def _read(
    table: object,
    columns: Sequence[str],
    optional: Sequence[str],
    may_miss: Sequence[str],
    coded: Mapping[str, bool],
    truths: Sequence[str] = (),
) -> Columns:
    read = convert(table, columns, optional, coded, truths)
    raise_first(read.issues)
    named, names = read.values, tuple(read.values)
    if any(len(column) == 0 for column in named.values()):
        raise DataError("The table has no rows.")
    values = np.column_stack(list(named.values())) if named else np.empty((0, 0))
    raise_first(magnitude_issues(values, names, read.labels))
    refused = np.isnan(values) & np.array([name not in may_miss for name in names], dtype=bool)
    raise_first(missing_issues(refused, names, False, read.labels))
    return read
