"""Where a fit is asked to start: labels of the rows, parameters, or another fit."""

import json
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

from jointmix.base.arguments import shown
from jointmix.base.errors import DataError, SpecError
from jointmix.base.schema import CLUSTER, OBS
from jointmix.families.parameters import Parameters
from jointmix.model.dataset import Dataset
from jointmix.model.serialised import spec_to_dict
from jointmix.modes.census import Mode
from jointmix.modes.climb import expect
from jointmix.modes.mstep import make_problem, maximise
from jointmix.posterior.allocations import responsibilities
from jointmix.posterior.draws import fitted_spec
from jointmix.tables.gathering import gathered
from jointmix.tables.groups import joined_groups
from jointmix.tables.issues import quoted
from jointmix.tables.part_sources import in_parts, open_parts


@dataclass(frozen=True, eq=False)
class Given:
    """Responsibilities (cluster, obs) to start from, and in words what they are."""

    share: np.ndarray
    words: str
    #: The column of the table that names groups, "" for none.
    column: str = ""


def read_start(
    start: object, table: object, dataset: Dataset, known: np.ndarray | None = None
) -> Given:
    """What a fit is asked to start from, as responsibilities of its rows.

    Parameters
    ----------
    start
        As `jointmix.fit` takes it, not None.
    table
        The table that is fitted.
    dataset
        Its rows under the model.
    known
        What a column that ``start`` names holds in them, (obs,), where that has been read.

    Raises
    ------
    DataError, SpecError
        If it is none of what it may be, or does not suit the rows or the model.
    """
    if isinstance(start, xr.DataTree):
        return Given(_of_fit(start, dataset), "another fit")
    if isinstance(start, Mode | Parameters):
        parameters = start.parameters if isinstance(start, Mode) else start
        return Given(_of_parameters(parameters, dataset), "given parameters")
    column: Any = start
    if isinstance(start, str):
        column = _column(table, start) if known is None else known
    codes, values, name, _ = joined_groups(column, dataset.row, dataset.label, dataset.n_rows)
    name = start if isinstance(start, str) else name
    k = dataset.spec.n_clusters
    if len(values) != k:
        raise SpecError(
            f"start must name as many groups as the model has clusters, {k}; {quoted(name)} names "
            f"{len(values)} in the rows of the fit."
        )
    # What is not known of a row is left to the rows that are known.
    share = np.where(codes >= 0, np.eye(k)[:, codes], 1 / k)
    words = f"the groups of {quoted(name)}"
    return Given(share, words, start if isinstance(start, str) else "")


def _column(table: Any, name: str) -> Any:
    if in_parts(table):
        return gathered(open_parts(table), [name])[name]
    try:
        return table[name]
    except (KeyError, IndexError, TypeError, ValueError, AttributeError) as error:
        raise DataError(f"The table has no column {quoted(name)} to start from.") from error


def _of_fit(tree: xr.DataTree, dataset: Dataset) -> np.ndarray:
    table = pd.DataFrame(dataset.values, columns=list(dataset.columns))
    # Of the columns that the model makes, under the fit's model of those.
    plain = tree.copy()
    plain.attrs["spec"] = json.dumps(spec_to_dict(fitted_spec(tree).plain))
    found = responsibilities(plain, table, quantiles=())
    k = dataset.spec.n_clusters
    if found.sizes[CLUSTER] != k:
        raise SpecError(
            f"start must be a fit with as many clusters as the model, {k}; it has "
            f"{found.sizes[CLUSTER]}."
        )
    known = "responsibility" if "responsibility" in found else "responsibility_features"
    return np.asarray(found[known].transpose(CLUSTER, OBS).values)


def _of_parameters(parameters: Parameters, dataset: Dataset) -> np.ndarray:
    problem = make_problem(dataset)
    k, n = dataset.spec.n_clusters, len(dataset.values)
    form = maximise(problem, np.full((1, k, n), 1 / k), None)
    for name, value in form.items():
        given = np.shape(parameters[name]) if name in parameters else None
        if given != value.shape[1:]:
            raise SpecError(
                f"start must hold {name} of shape {value.shape[1:]}; got "
                f"{'none' if given is None else shown(given)}."
            )
    share, _ = expect(problem, problem.scaling.to_model(parameters).batched())
    if not np.isfinite(share).all():
        raise SpecError("start holds parameters under which the rows have no density.")
    return share[0]
