"""Fitted trees and draws as specification, rows and parameters, from which all else is derived."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import lru_cache

import numpy as np
import pandas as pd
import xarray as xr

from jointmix.base.errors import DataError, SchemaError, SpecError
from jointmix.base.schema import (
    CHAIN,
    CLUSTER,
    DRAW,
    OBS,
    WEIGHT,
    require_dims,
    require_group,
)
from jointmix.base.threads import heed
from jointmix.families.parameters import Parameters
from jointmix.families.rows import Rows, with_weight
from jointmix.model.completions import completions
from jointmix.model.demands import require_possible
from jointmix.model.designed import sources
from jointmix.model.discrete import labelled, labels_of
from jointmix.model.new_rows import model_rows
from jointmix.model.packing import packed
from jointmix.model.scaling import Scaling
from jointmix.model.serialised import spec_from_dict
from jointmix.model.spec import ModelSpec
from jointmix.posterior.support import require_support
from jointmix.tables.design import Source
from jointmix.tables.gathering import gathered
from jointmix.tables.issues import raise_first
from jointmix.tables.labels import row_labels
from jointmix.tables.part_sources import in_parts, open_parts

_NO_SPEC = (
    "The tree does not say which model it was fitted with (its attribute 'spec'); fit the model "
    "with jointmix.fit, or load a file that jointmix.save wrote."
)
#: Numbers (draws × rows × clusters) worked on at a time: 16 MB an array.
_BATCH_NUMBERS = 2_000_000


def fitted_spec(tree: xr.DataTree) -> ModelSpec:
    """The specification that a tree was fitted with.

    Raises
    ------
    SchemaError
        If the tree holds no draws, or does not say which model they are of.
    SpecError
        If what it says is no model.
    """
    posterior = require_group(tree, "posterior")
    if 0 in (posterior.sizes.get(CHAIN, 1), posterior.sizes.get(DRAW, 1)):
        raise SchemaError("The tree holds no draws; keep at least one of each chain.")
    try:
        found = _spec_of(tree.attrs["spec"])
        if found is not None:
            return found
    except SpecError:
        raise
    except (KeyError, TypeError, ValueError) as error:
        raise SchemaError(_NO_SPEC) from error
    raise SchemaError(_NO_SPEC)


@lru_cache(maxsize=32)
def _spec_of(text: str) -> ModelSpec | None:
    """The specification that JSON holds; None if it is not of tables."""
    tables = json.loads(text)
    return spec_from_dict(tables) if isinstance(tables, dict) else None


def observed_rows(tree: xr.DataTree, spec: ModelSpec) -> Rows:
    """The rows of a fitted tree on the users' scale."""
    observed = require_group(tree, "observed_data")
    constant = require_group(tree, "constant_data")
    n = observed.sizes[OBS]
    x = observed["x"].values if spec.features else np.zeros((n, 0))
    u = constant["u"].values if spec.predictors else np.zeros((n, 0))
    y = observed["y"].values if spec.response is not None else np.zeros(n)
    offset = None
    if spec.linked:
        offset = np.zeros(n) if spec.offset is None else constant["offset"].values
    trials = None if spec.trials is None else constant["trials"].values
    weight = constant[WEIGHT].values if spec.row_weights is not None else None
    found = Rows(x, u, y, observed_labels(tree), offset, trials)
    if spec.discrete:
        found = replace(found, discrete=observed["discrete"].values)
    return with_weight(_completed(found, observed_source(tree), spec), weight)


def observed_source(tree: xr.DataTree) -> Source | None:
    """The columns of which predictors were made, as the table had them; None where none were."""
    constant = require_group(tree, "constant_data")
    if "source" not in constant:
        return None
    stored = constant["source"]
    columns = zip(stored["source_column"].values.tolist(), stored.values.T, strict=True)
    levels = json.loads(stored.attrs["levels"])
    return Source(dict(columns), {name: tuple(found) for name, found in levels.items()})


def source_table(tree: xr.DataTree) -> dict[str, np.ndarray]:
    """The columns of which predictors were made, (obs,) each, as a table has them."""
    source = observed_source(tree)
    if source is None:
        return {}
    labels = {name: labels_of(source.values[name], own) for name, own in source.levels.items()}
    return {**source.values, **labels}


def expected_rows(tree: xr.DataTree) -> xr.DataArray:
    """Rows that each cluster is expected to hold, (cluster): weighted sums of responsibilities."""
    share = require_group(tree, "allocation")["responsibility"]
    constant = require_group(tree, "constant_data")
    if WEIGHT in constant:
        share = share * xr.DataArray(constant[WEIGHT].values, dims=OBS)
    # None is missing; looking for such would copy all of them.
    return share.sum(OBS, skipna=False)


def observed_labels(tree: xr.DataTree) -> np.ndarray:
    """What the table of a fit calls the rows that were used, (obs,)."""
    constant = require_group(tree, "constant_data")
    # Older fits know no labels but the rows' numbers in the table.
    label = constant[OBS] if "labels" in constant.attrs else constant["row"]
    return np.asarray(label.values)


def with_id_columns(tree: xr.DataTree, columns: Sequence[str]) -> xr.DataTree:
    """A copy of a fit that keeps which columns its row labels come from."""
    kept = tree.copy()
    kept["constant_data"].attrs["id"] = json.dumps(list(columns))
    return kept


def id_columns(tree: xr.DataTree) -> tuple[str, ...]:
    """The columns that the row labels of a fit come from; empty if none is known."""
    if "constant_data" not in tree.children:
        # What predicts needs the draws only.
        return ()
    return tuple(json.loads(tree["constant_data"].attrs.get("id", "[]")))


def observed_table(tree: xr.DataTree, spec: ModelSpec) -> dict[str, np.ndarray]:
    """The rows of a fitted tree as columns by name, each (obs,), on the users' scale."""
    found = observed_columns(tree, spec)
    return found | labelled({own.column: found[own.column] for own in spec.discrete}, spec.discrete)


def observed_columns(tree: xr.DataTree, spec: ModelSpec) -> dict[str, np.ndarray]:
    """As `observed_table`, with the codes of levels in place of their labels."""
    rows = observed_rows(tree, spec)
    found = dict(zip((*spec.predictors, *spec.features), (*rows.u.T, *rows.x.T), strict=True))
    if rows.discrete is not None:
        found |= dict(zip((own.column for own in spec.discrete), rows.discrete.T, strict=True))
    if spec.offset is not None and rows.offset is not None:
        found[spec.offset] = rows.offset
    if spec.trials is not None and rows.trials is not None:
        found[spec.trials] = rows.trials
    if spec.row_weights is not None:
        found[spec.row_weights] = rows.weights
    return found | ({spec.response: rows.y} if spec.response is not None else {})


def fitted_scaling(tree: xr.DataTree, spec: ModelSpec) -> Scaling:
    """The scale of the model, as a fitted tree holds it."""
    stored = require_group(tree, "scaling")
    return Scaling(spec, stored["center"].values, stored["scale"].values)


def draw_parameters(posterior: xr.Dataset, dim: str, spec: ModelSpec) -> Parameters:
    """All draws as `Parameters` with one leading dim, chains one after the other.

    Parameters
    ----------
    posterior
        Variables of the model's parameters with dims chain, draw and ``dim``.
    dim
        "component" or "cluster".
    spec
        The model.

    Raises
    ------
    SchemaError
        If a variable or a dim is missing, there are no draws, or correlations are singular.
    """
    require_draws(posterior, spec)
    variables = {}
    for parameter in spec.parameters.values():
        dims = (CHAIN, DRAW, dim, *parameter.dims)
        values = require_dims(posterior[parameter.name], dims).transpose(*dims).values
        n_chains, n_draws, *shape = values.shape
        variables[parameter.name] = values.reshape(n_chains * n_draws, *shape)
    return packed(variables, spec)


def require_draws(posterior: xr.Dataset, spec: ModelSpec) -> None:
    """Refuse a posterior in which something is missing.

    Raises
    ------
    SchemaError
        If a variable is missing, or there are no draws.
    """
    missing = [name for name in spec.parameters if name not in posterior]
    if missing:
        raise SchemaError(f"The posterior lacks {', '.join(missing)}; fit the model again.")
    if 0 in (posterior.sizes.get(CHAIN, 1), posterior.sizes.get(DRAW, 1)):
        raise SchemaError("The posterior holds no draws; keep at least one of each chain.")


def spread(n: int, most: int) -> np.ndarray:
    """Places of at most ``most`` of ``n`` items, evenly spaced."""
    return np.unique(np.linspace(0, n - 1, min(n, most)).astype(int))


def posterior_parameters(tree: xr.DataTree) -> Parameters:
    """The identified draws of a fitted tree, with one leading dim (draw,).

    Raises
    ------
    SchemaError
        If the tree holds no draws, their labels were never identified, or some left what
        densities take.
    """
    spec = fitted_spec(tree)
    posterior = require_group(tree, "posterior")
    require_draws(posterior, spec)
    require_support(posterior, spec)
    return draw_parameters(posterior, CLUSTER, spec)


def table_rows(
    tree: xr.DataTree,
    spec: ModelSpec,
    table: object,
    response: str | None,
    may_miss: Sequence[str] = (),
) -> tuple[Rows, bool]:
    """Rows on the users' scale, and whether they hold the response.

    Parameters
    ----------
    table
        New rows, or None for those of the fit.
    response
        The response's name if a table's is to be read; zeros stand for one that is not there.
    may_miss
        Columns in which entries may be missing.

    Raises
    ------
    DataError
        If a column is absent, or entries are missing elsewhere.
    """
    if table is None:
        rows = observed_rows(tree, spec)
        if response is None:
            # One that is missing is as good as any other that is not read.
            rows = replace(rows, y=np.zeros(len(rows.y)))
        return rows, spec.response is not None
    table = one_row(table)
    if in_parts(table):
        table = _needed(table, spec, response)
    columns, source = model_rows(table, spec, response, may_miss)
    if not columns:
        raise DataError("The table holds none of the model's columns that are read here.")
    require_possible(columns, spec)
    n = len(next(iter(columns.values())))
    has_response = response in columns

    def stack(names: Sequence[str]) -> np.ndarray:
        return np.stack([columns[name] for name in names], axis=1) if names else np.zeros((n, 0))

    y = columns[response] if response in columns else np.zeros(n)
    labels = row_labels(table, columns)
    label = labels if isinstance(labels, np.ndarray) else np.arange(n)
    offset = None
    if spec.linked:
        offset = np.zeros(n) if spec.offset is None else columns[spec.offset]
    trials = None if spec.trials is None else columns[spec.trials]
    u = stack(spec.predictors)
    found = Rows(stack(list(spec.features)), u, y, label, offset, trials)
    if spec.discrete:
        found = replace(found, discrete=stack([own.column for own in spec.discrete]))
    return _completed(found, source, spec), has_response


def _completed(rows: Rows, source: Source | None, spec: ModelSpec) -> Rows:
    """Rows that know what they may be where levels are missing of which predictors are made."""
    if source is None:
        return rows
    more, issues = completions(spec, source, rows.discrete)
    raise_first(issues)
    return replace(rows, completions=more)


def _needed(table: object, spec: ModelSpec, response: str | None) -> pd.DataFrame:
    """The columns of a table in parts that `table_rows` reads."""
    parts = open_parts(table)
    needed = [name for name in sources(spec) if name != spec.response]
    return gathered(parts, [*needed, *(name for name in (response,) if name in parts.columns)])


def with_holes(spec: ModelSpec) -> tuple[str, ...]:
    """Columns in which new rows may miss entries as the fit's may: those that have a density."""
    if spec.missing != "model":
        return ()
    return (*spec.clustering, *(() if spec.response is None else (spec.response,)))


def one_row(table: object) -> object:
    """A single row, given as numbers by name, as a table."""
    if isinstance(table, pd.Series):
        return table.to_frame().T
    if isinstance(table, Mapping) and table and all(np.ndim(item) == 0 for item in table.values()):
        return {name: [item] for name, item in table.items()}
    return table


def row_batches(rows: Rows, parameters: Parameters) -> Iterator[tuple[slice, Rows]]:
    """Rows a few at a time, so that an array of draws × rows × clusters stays small.

    Yields
    ------
    place, rows
        Where the batch stands, and its rows.
    """
    size = max(1, _BATCH_NUMBERS // max(1, parameters.weight.size))
    for first in range(0, max(1, len(rows.y)), size):
        heed()
        part = slice(first, first + size)
        yield part, rows.take(part)
