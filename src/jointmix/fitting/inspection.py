"""All that can be said about a table and a model before anything is sampled."""

import json
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any, Unpack

import numpy as np

from jointmix.base.arguments import shown, whole_number
from jointmix.base.errors import MemoryLimitError, MissingExtraError, SpecError
from jointmix.base.opened_pools import cluster_of
from jointmix.base.pools import Pool
from jointmix.base.shown import Glance, Shown, marked
from jointmix.model.dataset import Dataset, inspect_table
from jointmix.model.degenerate import table_warnings
from jointmix.model.demands import minimum_rows
from jointmix.model.designed import sources
from jointmix.model.shorthand import ModelFields, as_spec
from jointmix.model.spec import ModelSpec
from jointmix.modes.em import fit_em
from jointmix.modes.warnings import mode_warnings
from jointmix.sampling import plan
from jointmix.tables.gathering import gathered, lack_of_room, missing_counts
from jointmix.tables.issues import Issue, error, quoted
from jointmix.tables.part_sources import in_parts, open_parts

_PLAN_CODES = {
    SpecError: "nothing_free",
    MissingExtraError: "missing_extra",
    MemoryLimitError: "memory",
}


@dataclass(frozen=True, repr=False)
class Inspection(Shown):
    """What a table and a model look like before the fit.

    Parameters
    ----------
    issues
        Errors first, in the order in which `fit` would meet them, then warnings.
    n_rows
        Rows that would be fitted; None where errors leave that open.
    factors
        A sentence for each factor: its levels, and what they are held against.

    Examples
    --------
    >>> jm.check({"x": [1.0, 2.0, None]}, jm.ModelSpec(n_clusters=1, features=["x"])).errors[0].code
    'missing'
    """

    issues: tuple[Issue, ...]
    n_rows: int | None
    factors: tuple[str, ...] = ()

    @property
    def errors(self) -> tuple[Issue, ...]:
        """Issues for which `fit` refuses the input."""
        return tuple(issue for issue in self.issues if issue.severity == "error")

    @property
    def warnings(self) -> tuple[Issue, ...]:
        """Issues that `fit` passes on to the report."""
        return tuple(issue for issue in self.issues if issue.severity == "warning")

    @property
    def text(self) -> str:
        """One line: how many issues there are, and what follows."""
        counts = [
            f"{len(found)} {word}{'' if len(found) == 1 else 's'}"
            for word, found in (("error", self.errors), ("warning", self.warnings))
            if found
        ]
        can = "cannot" if self.errors else "can"
        return f"{', '.join(counts) or 'No problems'}: the model {can} be fitted."

    def lines(self) -> list[str]:
        """A line for each issue, severity and code aligned, for each factor, and a summing one."""
        width = max((len(issue.code) for issue in self.issues), default=0)
        shown = [
            f"{issue.severity:<7}  {issue.code:<{width}}  {_told(issue)}" for issue in self.issues
        ]
        return [*shown, *self.factors, self.text]

    def _printed(self) -> list[str]:
        return self.lines()

    def _glance(self) -> Glance:
        status = {"error": "fail", "warning": "caution"}
        return Glance(
            head=marked("fail" if self.errors else "ok", self.text),
            columns=("issue", "column", "what"),
            rows=tuple(
                (marked(status[issue.severity], issue.code), issue.column, _told(issue))
                for issue in self.issues
            ),
            notes=self.factors,
        )

    def as_dict(self) -> dict[str, Any]:
        """Plain values, ready for JSON."""
        return {
            "errors": len(self.errors),
            "warnings": len(self.warnings),
            "n_rows": self.n_rows,
            "text": self.text,
            "factors": list(self.factors),
            "issues": [issue.as_dict() for issue in self.issues],
        }

    def to_json(self) -> str:
        """One JSON object; numbers that JSON lacks are null."""
        return json.dumps(self.as_dict(), allow_nan=False)


def _told(issue: Issue) -> str:
    # The message of an error ends with its remedy.
    return issue.message if issue.severity == "error" else f"{issue.message} {issue.remedy}".strip()


def check(
    table: object,
    spec: ModelSpec | str,
    em: bool = True,
    seed: int = 1,
    pool: Pool = None,
    **model: Unpack[ModelFields],
) -> Inspection:
    """Everything that is wrong with, or worth knowing about, a table for a model.

    Nothing is compiled or sampled. What prevents a fit is found in full, not only the first of it:
    `fit` refuses the input with the sentence of the first error.

    Parameters
    ----------
    table
        As `fit` takes it. Of a table in parts whose columns do not fit into memory, which `fit`
        refuses, missing entries are counted in all rows, and the rest is found in a random sample
        as large as fits; the issue "memory" says of how many rows one is in it.
    spec
        The model; or a formula, beside which ``model`` says the rest.
    em
        Whether EM runs, for what only clusters show: clusters smaller than their parameters,
        responses without noise inside a cluster, outliers. It does where there is no error.
    seed
        Of EM's starts, as given to `fit`.
    pool
        A Dask client, or its scheduler's address, as `fit` takes it: the rows are looked for
        errors where they lie, and the rest is found in the sample that the fit would hold.
    **model
        Beside a formula, as `fit` takes it.

    Returns
    -------
    Inspection
        The issues, each with its code, severity, sentence, column, row, value and remedy.

    Raises
    ------
    SpecError
        If ``spec`` is no specification, ``seed`` no whole number, ``em`` not true or false, or the
        pool, the table or the sampler none that goes with rows that lie with workers.
    SamplingError
        If the pool's cluster is lost.

    Examples
    --------
    >>> spec = jm.ModelSpec(n_clusters=1, features=["x"])
    >>> print(jm.check({"x": [1.0, 2.5, 4.0, 1.5]}, spec))
    No problems: the model can be fitted.
    """
    spec, seed = as_spec(spec, **model), whole_number("seed", seed, 0)
    if not isinstance(em, bool):
        raise SpecError(f"em must be true or false; got {shown(em)}.")
    with cluster_of(pool) as client:
        if client is None:
            dataset, beyond, n_rows, numbers = _here(table, spec)
        else:
            from jointmix.fitting.spread import inspect_spread, lies_with_workers

            if not lies_with_workers(table):
                raise SpecError(
                    "With pool, a check takes a table whose parts workers can hold: a Parquet file "
                    "or folder, a pyarrow Dataset or a Dask DataFrame."
                )
            numbers = None
            dataset, beyond, n_rows = inspect_spread(table, spec, client)
    spec = spec if dataset is None else dataset.spec
    n_here = minimum_rows(spec) if n_rows is None or dataset is None else len(dataset.values)
    issues = [*beyond, *_plan_issues(spec, n_here)]
    if dataset is not None:
        issues = [issue for issue in issues if issue.severity == "error"]
        issues += table_warnings(dataset)
        issues += _of_mode(dataset, seed, issues) if em else ()
    codings = {} if spec.encoding is None else spec.encoding.codings
    factors = tuple(f"{quoted(name)} has the {words}." for name, words in codings.items())
    if numbers is not None:
        places = [None if each.row is None else int(numbers[each.row]) for each in issues]
        issues = [replace(each, row=row) for each, row in zip(issues, places, strict=True)]
    return Inspection(_errors_first(issues), n_rows, factors)


def _here(
    table: object, spec: ModelSpec
) -> tuple[Dataset | None, list[Issue], int | None, np.ndarray | None]:
    """The table or a sample of it, its issues, the rows of a fit, and the numbers of a sample's."""
    table, beyond, numbers = _what_fits(table, spec)
    dataset, found = inspect_table(table, spec)
    n_rows = None if dataset is None or beyond else len(dataset.values)
    return dataset, [*beyond, *found], n_rows, numbers


def _what_fits(table: object, spec: ModelSpec) -> tuple[object, list[Issue], np.ndarray | None]:
    """A table, or a sample of its rows where it is in parts and too large, and what is said.

    Returns
    -------
    table
    issues
        Of a table that does not fit into memory, as `fit` would say it.
    numbers
        In the table, of the rows of a sample.
    """
    if not in_parts(table):
        return table, [], None
    parts, weights = open_parts(table), spec.row_weights
    needed = [*sources(spec), *([] if weights is None else [weights])]
    needed = [name for name in dict.fromkeys(needed) if name in parts.columns]
    lack = lack_of_room(parts, needed)
    if lack is None:
        return parts, [], None
    clause, step = lack
    counts = missing_counts(parts, needed)
    gaps = ", ".join(f"{quoted(name)} {n:,}" for name, n in counts.items() if n) or "none"
    statement = (
        f"{clause}, so that a random one of {step} was looked at here (missing in all rows: {gaps})"
    )
    remedy = "take fewer parts, or a sample of the rows"
    issue = error("memory", statement, remedy, value=float(parts.n_rows or 0))
    sample = gathered(parts, needed, step)
    return sample, [issue], sample.index.to_numpy()


def _plan_issues(spec: ModelSpec, n_rows: int) -> list[Issue]:
    """Why the model would not be sampled, whatever the rows hold."""
    try:
        plan(spec, n_rows)
    except (SpecError, MissingExtraError, MemoryLimitError) as error:
        message = str(error)
        remedy = message.rpartition("; ")[2]
        return [
            Issue(
                code=_PLAN_CODES[type(error)],
                severity="error",
                message=message,
                remedy=f"{remedy[:1].upper()}{remedy[1:]}",
            )
        ]
    return []


def _of_mode(dataset: Dataset, seed: int, issues: Iterable[Issue]) -> tuple[Issue, ...]:
    if any(issue.severity == "error" for issue in issues):
        return ()
    held = dataset if dataset.elsewhere is None else dataset.alone()
    return mode_warnings(held, fit_em(held, held.spec, seed))


def _errors_first(issues: Iterable[Issue]) -> tuple[Issue, ...]:
    return tuple(sorted(issues, key=lambda issue: issue.severity))
