"""A table becomes a frozen Dataset: columns chosen, converted, checked, described."""

from collections.abc import Iterable
from dataclasses import dataclass, field, fields, replace
from functools import cached_property

import numpy as np

from jointmix.base.errors import DataError
from jointmix.families.protocol import Block
from jointmix.families.rows import Completions, Rows
from jointmix.model.completions import completions, on_scale
from jointmix.model.demands import Demand, count_issues, row_issues
from jointmix.model.designed import (
    encoded,
    may_be_levels,
    may_be_truths,
    sources,
    with_types,
)
from jointmix.model.digest import digest_of
from jointmix.model.elsewhere import Elsewhere
from jointmix.model.gaps import (
    Available,
    Regained,
    gap_issues,
    kept_issue,
    observed_anything,
    regained,
)
from jointmix.model.rows import by_role
from jointmix.model.scaling import Scaling, model_scaling
from jointmix.model.spec import ModelSpec, require_spec
from jointmix.tables.columns import Columns, convert
from jointmix.tables.design import Source
from jointmix.tables.issues import Issue, error, listed, raise_first
from jointmix.tables.labels import rows_named
from jointmix.tables.screening import (
    LARGEST,
    magnitude_issues,
    missing_issues,
)
from jointmix.tables.weights import is_frequency, n_copies, standing_places, weight_issues

#: Repeated rows of which knots, centres and scales are learned.
_MOST_COUNTED = 1_000_000
#: Fields of a model on which its rows depend, on the users' scale or on its own.
_OF_ROWS = {each.name for each in fields(ModelSpec)} - {
    "n_clusters",
    "ordering",
    "sampler",
    "priors",
}


@dataclass(frozen=True, eq=False)
class Dataset:
    """A model and the rows that it is fitted to: all that a fit is asked about.

    Parameters
    ----------
    spec
        The model, which says what the columns are for.
    values
        (N, C), float64, C-contiguous, read-only, on the users' scale; NaN where an entry is
        missing that the model integrates over.
    row
        (N,), row numbers, from 0, in the table given.
    n_rows
        Rows of the table given; N or more.
    missing
        Column -> number of missing entries in the rows left out; empty if none was.
    digest
        SHA-256, hexadecimal, over column names and values; equal numbers give equal digests,
        whatever table they came in.
    warnings
        What was seen in the table as it came, such as columns without a name.
    labels
        (N,), what the table calls these rows; None for their numbers.
    source
        The columns of which predictors are made; None where they are columns by themselves.
    weight
        (N,), > 0, how often each row counts; None where the model has no row weights.
    n_zeros
        Rows of the table that do not enter because their weight is 0.
    regained
        What ``missing="model"`` would keep of the rows left out.
    completions
        What rows are completed by that miss levels of which predictors are made.
    elsewhere
        All rows, where these are a sample of them: the posterior is that of all.
    """

    spec: ModelSpec
    values: np.ndarray
    row: np.ndarray
    n_rows: int
    missing: dict[str, int]
    digest: str
    warnings: tuple[Issue, ...] = ()
    labels: np.ndarray | None = None
    source: Source | None = None
    weight: np.ndarray | None = None
    n_zeros: int = 0
    regained: Regained = field(default_factory=Regained)
    completions: Completions | None = None
    elsewhere: Elsewhere | None = None

    @property
    def label(self) -> np.ndarray:
        """What the table calls its rows, (N,): its index, or their numbers in it."""
        return self.row if self.labels is None else self.labels

    def named(self, number: np.ndarray) -> str:
        """Rows as a sentence names them, by their labels where they have any.

        Parameters
        ----------
        number
            Of rows that are used, in the table.
        """
        return rows_named(np.searchsorted(self.row, number), self.labels, self.row)

    @property
    def columns(self) -> tuple[str, ...]:
        """Names, in the order of the spec: features, further predictors, response."""
        return self.spec.columns

    @property
    def blocks(self) -> tuple[Block, ...]:
        """The densities that a cluster is made of."""
        return self.spec.blocks

    @cached_property
    def scaling(self) -> Scaling:
        """Between the users' scale and that on which the model and its priors are stated."""
        return model_scaling(self.values, self.spec, self.users_rows.weight)

    def scaled_by(self, scaling: Scaling) -> "Dataset":
        """The same rows on a scale that is that of more rows."""
        found = replace(self)
        vars(found)["scaling"] = scaling
        return found

    def alone(self) -> "Dataset":
        """These rows by themselves, on the scale of all those of which they are a sample."""
        return replace(self, elsewhere=None).scaled_by(self.scaling)

    @cached_property
    def scaled(self) -> np.ndarray:
        """The columns on the model's scale, (N, C)."""
        return self.scaling.transform(self.values)

    def release(self) -> None:
        """Let go of the rows on the model's scale; where they are asked for they are made anew."""
        for name in ("scaled", "rows"):
            vars(self).pop(name, None)

    @property
    def completed(self) -> bool:
        """Whether rows miss levels on which their response depends, and are summed over them."""
        return self.completions is not None

    @cached_property
    def rows(self) -> Rows:
        """The rows on the model's scale."""
        found = by_role(self.scaled, self.spec, self.scaling, self.weight)
        if self.completions is None:
            return found
        return replace(found, completions=on_scale(self.completions, self.scaling))

    @cached_property
    def users_rows(self) -> Rows:
        """The rows on the users' scale."""
        found = by_role(self.values, self.spec, weight=self.weight)
        return replace(found, completions=self.completions)

    @property
    def available(self) -> Available:
        """The columns by name, of the rows that have the entries that are asked for."""
        return Available(self.values, self.columns)

    @property
    def gaps(self) -> dict[str, int]:
        """Column → number of its entries that the model integrates over; none that has none."""
        counts = np.isnan(self.values).sum(axis=0)
        return {name: int(n) for name, n in zip(self.columns, counts, strict=True) if n}

    def under(self, spec: ModelSpec) -> "Dataset":
        """The same rows under another model of the same columns.

        Raises
        ------
        DataError
            If the models' columns differ.
        """
        own = self.spec
        families = {(each.column, each.family) for each in own.discrete}
        same = spec.types is None or {(x.column, x.family) for x in spec.types} == families
        if own.discrete and same and {*spec.clustering} == {*own.clustering}:
            spec = replace(spec, features=own.features, types=own.types)
        unknown = spec.encoding is None and own.encoding is not None
        if unknown and spec.formula == own.formula:
            spec = replace(spec, predictors=own.predictors, encoding=own.encoding)
        if (spec.columns, spec.row_weights) != (self.columns, self.spec.row_weights):
            raise DataError(
                f"The dataset has the columns {self.columns}; the model needs {spec.columns}."
            )
        found, scale = replace(self, spec=spec), vars(self).get("scaling")
        if scale is not None and all(getattr(own, n) == getattr(spec, n) for n in _OF_ROWS):
            # The rows are the same objects, with all that was made of them.
            made = {name: vars(self).get(name) for name in ("scaled", "rows", "users_rows")}
            vars(found).update({n: own for n, own in made.items() if own is not None})
            vars(found)["scaling"] = replace(scale, spec=spec)
        return found

    def select(self, names: Iterable[str]) -> np.ndarray:
        """Columns by name, (N, len(names)), a copy.

        Raises
        ------
        DataError
            If a name is not among the columns.
        """
        chosen = list(names)
        absent = [name for name in chosen if name not in self.columns]
        if absent:
            raise DataError(f"The data have no column {listed(absent)}, only {self.columns}.")
        places = [self.columns.index(name) for name in chosen]
        return np.ascontiguousarray(self.values[:, places])


def make_dataset(table: object, spec: ModelSpec, demand: Demand = "fit") -> Dataset:
    """Convert and check the columns that ``spec`` names.

    Parameters
    ----------
    table
        A pandas, polars or pyarrow table, a mapping of names to columns, or a NumPy
        structured array; it is copied.
    spec
        The model, which says what the columns are for and what missing entries mean.
    demand
        For a fit, rows have to be enough and columns free of collinearity; for a density columns
        have to vary; of a part of a table each row stands by itself, and there may be none.

    Raises
    ------
    DataError
        If a column is absent, repeated, constant or collinear with others, entries are
        infinite, too large or (with ``missing="error"``) missing, or rows are too few.
    ColumnTypeError
        If a column does not hold real numbers.
    """
    dataset, issues = inspect_table(table, spec, demand)
    raise_first(issues)
    assert dataset is not None
    return dataset


def inspect_table(
    table: object, spec: ModelSpec, demand: Demand = "fit"
) -> tuple[Dataset | None, tuple[Issue, ...]]:
    """As `make_dataset`, with all that prevents a fit as issues: nothing is raised.

    Returns
    -------
    Dataset or None
        None where an issue is an error.
    tuple of Issue
        Errors, in the order in which `make_dataset` would meet them, and warnings about the table
        as it came; for those about its numbers see `notes`.
    """
    needed = sources(require_spec(spec))
    weighing = () if spec.row_weights is None else (spec.row_weights,)
    coded = may_be_levels(spec)
    read = convert(table, (*needed, *weighing), coded=coded, truths=may_be_truths(spec))
    issues = list(read.issues)
    names = tuple(name for name in needed if name in read.values)
    if not names or any(issue.code == "unequal_lengths" for issue in issues):
        return None, tuple(issues)
    values = np.column_stack([read.values[name] for name in names])
    n_rows = len(values)
    if n_rows == 0:
        issues.append(error("no_rows", "The table has no rows", "give at least one"))
        return None, tuple(issues)
    weight = read.values.get(*weighing) if weighing else None
    enters = np.ones(n_rows, dtype=bool)
    if weight is not None:
        issues += weight_issues(weight, str(spec.row_weights), read.labels, demand == "part")
        # What a row holds that does not enter is nobody's concern.
        enters = weight != 0
        values[~enters] = 0.0
    usable, missing, kept, found = _usable(values, names, enters, spec, read)
    issues += found
    if usable is None:
        return None, tuple(issues)
    source, more = None, None
    used, row = values if usable.all() else values[usable], np.flatnonzero(usable)
    # Beside what is used, the same numbers are not held any more.
    del values
    n = n_copies(weight, usable)
    if spec.formula is not None or spec.encoding is not None or spec.discrete or read.levels:
        if (len(row) == 0 and demand != "part") or len(names) < len(needed):
            return None, (*issues, *count_issues(n, n_rows, spec))
        source = Source.of(read, dict(zip(names, used.T.copy(), strict=True)), row)
        spec, codes, found = with_types(spec, source)
        issues += found
        if any(issue.severity == "error" for issue in found):
            return None, tuple(issues)
        spec, made, found = encoded(spec, source, _counted(source, weight, row), codes)
        issues += found
        if made is None:
            return None, tuple(issues)
        used, names = made, spec.columns
        more, issues[len(issues) :] = completions(spec, source, by_role(used, spec).discrete)
        source = source if spec.encoding is not None else None
    read.values.clear()
    issues += row_issues(used, n, n_rows, names, spec, demand)
    if any(issue.severity == "error" for issue in issues):
        return None, tuple(issues)
    used.flags.writeable = False
    row.flags.writeable = False
    warnings = tuple(issue for issue in issues if issue.severity == "warning")
    labels = None if read.labels is None else read.labels[row]
    weight = None if weight is None else weight[row]
    digest = digest_of(names, used, weight, spec)
    n_zeros = int((~enters).sum())
    dataset = Dataset(
        spec, used, row, n_rows, missing, digest, warnings, labels, source, weight, n_zeros, kept,
        more,
    )  # fmt: skip
    return dataset, warnings


def _usable(
    values: np.ndarray, names: tuple[str, ...], enters: np.ndarray, spec: ModelSpec, read: Columns
) -> tuple[np.ndarray | None, dict[str, int], Regained, list[Issue]]:
    """Which rows (obs,) can be used, None where that is refused; what the others miss.

    Parameters
    ----------
    values
        The columns ``names`` as they were ``read``, (obs, column).
    enters
        Rows that count, (obs,).

    Returns
    -------
    usable
        (obs,).
    missing
        Column -> number of missing entries in rows that are left out.
    kept
        What ``missing="model"`` would use of those rows.
    issues
    """
    issues, absent = magnitude_issues(values, names, read.labels), np.isnan(values)
    if spec.missing == "error":
        issues += missing_issues(absent, names, True, read.labels)
        if absent.shape[1] == len(sources(spec)):
            said = kept_issue(absent[enters], names, spec, frozenset(read.levels))
            issues += [] if said is None else [said]
    usable = (np.isfinite(values) & (np.abs(values) <= LARGEST)).all(axis=1) & enters
    words = frozenset(read.levels)
    kept = Regained()
    if spec.missing == "model":
        refused = gap_issues(absent, names, spec, read.labels, words)
        issues += refused
        possible = absent | (np.abs(values) <= LARGEST)
        usable = possible.all(axis=1) & enters & observed_anything(absent, names, spec)
        if refused:
            return None, {}, kept, issues
    elif absent.shape[1] == len(sources(spec)):
        kept = regained(absent & enters[:, None], names, spec, words)
    counts = absent[~usable].sum(axis=0)
    missing = {name: int(n) for name, n in zip(names, counts, strict=True) if n}
    return usable, missing, kept, issues


def _counted(source: Source, weight: np.ndarray | None, row: np.ndarray) -> Source:
    """The rows ``row`` of a table as often as they count, up to so many that they can be held."""
    if weight is None or not row.size or not is_frequency(weight[row]):
        return source
    return source.take(standing_places(weight[row], _MOST_COUNTED))


def as_dataset(table: object, spec: ModelSpec) -> Dataset:
    """A table as a dataset of this model; the rows of a dataset are taken as they are.

    Raises
    ------
    DataError, ColumnTypeError
        As `make_dataset`; or if a dataset has other columns than the model.
    """
    if not isinstance(table, Dataset):
        return make_dataset(table, spec)
    return table if table.spec is spec else table.under(require_spec(spec))
