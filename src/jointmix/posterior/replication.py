"""Rows drawn from a fit or from the prior."""

import json
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any, get_args

import numpy as np
import xarray as xr

from jointmix.base.arguments import choice, whole_number
from jointmix.base.errors import DataError, SpecError
from jointmix.base.schema import (
    CHAIN,
    COMPONENT,
    DRAW,
    OBS,
    WEIGHT,
)
from jointmix.families.parameters import Parameters
from jointmix.families.rows import Rows
from jointmix.model.dataset import make_dataset
from jointmix.model.designed import made_anew
from jointmix.model.packing import packed, unpacked
from jointmix.model.prior_draws import prior_draws
from jointmix.model.spec import ModelSpec
from jointmix.posterior.allocations import Batch, Weighting, draw_clusters, each_batch
from jointmix.posterior.draws import (
    fitted_spec,
    observed_rows,
    observed_source,
    posterior_parameters,
    spread,
    table_rows,
)
from jointmix.tables.design import Source
from jointmix.tables.weights import places_in_steps

#: What is drawn, by the group of the parameters.
PREDICTIVE_GROUPS = {"posterior": "posterior_predictive", "prior": "prior_predictive"}
_MOST_NUMBERS = 250_000_000
#: Attribute of an observed column of codes: the labels of its levels, as JSON.
LEVELS = "levels"


def predictive_draws(
    tree: xr.DataTree,
    table: object = None,
    draws: int = 1_000,
    seed: int = 1,
    weighting: Weighting = "equal",
) -> xr.DataArray:
    """Draws of the response given the features and predictors.

    Parameters
    ----------
    tree
        A fitted tree.
    table
        As for `predict`: new rows, in which features may be missing; None takes the fit's.
    draws
        At most that many of the posterior's are used, evenly spaced in each chain.
    seed
        Of the clusters and the noise.
    weighting
        As for `predict`. With "equal" each value is drawn with the parameters of its chain and
        draw; with "joint" with those of a draw chosen for its row in proportion to p(x).

    Returns
    -------
    xarray.DataArray
        (chain, draw, obs), in the response's units, named after it.

    Raises
    ------
    SpecError
        If the model has no response, ``draws`` is below 1 or the weighting unknown.
    DataError
        If a column is absent, or the draws would not fit in 2 GB.

    Examples
    --------
    >>> jm.predictive_draws(jm.load("penguins.nc"), load_penguins()[:2]).sizes["obs"]
    2
    """
    spec, used, seed = fitted_spec(tree), some_draws(tree, draws), whole_number("seed", seed, 0)
    choice("weighting", weighting, get_args(Weighting))
    if spec.response is None:
        raise SpecError("This model has no response to predict.")
    rows, _ = table_rows(tree, spec, table, None, spec.clustering)
    parameters = posterior_parameters(used)
    n_draws = len(parameters.weight)
    _check_size(n_draws, len(rows.y), 1)
    y = np.empty((n_draws, len(rows.y)))

    def draw(batch: Batch) -> None:
        # A generator for each batch: threads finish in any order.
        rng = np.random.default_rng([seed, int(batch.place[0])])
        # The draw of the parameters behind each value, (draw, row).
        used = np.tile(np.arange(n_draws)[:, None], len(batch.place))
        if weighting == "joint":
            used = _resampled(batch.draw_weights(weighting), rng)
        z, place = _drawn_parts(batch, used, rng)
        for s in range(n_draws):
            value, row = np.nonzero(used == s)
            if row.size:
                y[value, batch.place[row]] = spec.blocks[-1].draw(
                    batch.parameters.take(s), batch.rows.take(place[value, row]), z[value, row], rng
                )

    each_batch(draw, rows, parameters, spec)
    posterior = used["posterior"].to_dataset()
    coords = {name: posterior[name].values for name in (CHAIN, DRAW)}
    shape = (posterior.sizes[CHAIN], posterior.sizes[DRAW], len(rows.y))
    return xr.DataArray(
        y.reshape(shape),
        coords={**coords, OBS: rows.label},
        dims=(CHAIN, DRAW, OBS),
        name=spec.response,
    )


def _drawn_parts(
    batch: Batch, used: np.ndarray, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Clusters drawn from p(k | x), and places of the rows with their levels, (draw, row)."""
    n, k = batch.alternatives, batch.features.shape[1]
    parts = batch.parts.reshape(len(batch.features), k, -1, n).swapaxes(-1, -2)
    share = parts.reshape(len(parts), k * n, -1)
    z, level = np.divmod(draw_clusters(np.take_along_axis(share, used[:, None], axis=0), rng), n)
    return z, level + n * np.arange(len(batch.place))


def _resampled(weight: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Places of draws in proportion to weights (draw, row), in random order, of the same shape.

    Systematic resampling: a draw comes as often as its weight says, rounded up or down.
    """
    n_draws, n = weight.shape
    at = (np.arange(n_draws)[:, None] + rng.random(n)) / n_draws
    found = [np.searchsorted(weight[:, i].cumsum(), at[:, i]) for i in range(n)]
    # Rounding may leave the last sum below one.
    return rng.permuted(np.minimum(np.stack(found, axis=1), n_draws - 1), axis=0)


def replicate(
    tree: xr.DataTree, draws: int = 500, seed: int = 1, rows: int | None = None
) -> xr.DataTree:
    """Tables like the fit's own, drawn from its posterior predictive distribution.

    Each draw of the parameters gives as many rows as the fit has: clusters, features and the
    response; predictors that are no features are the fit's. A row is drawn as often as its weight
    says, with a fractional one once, keeping it.

    Parameters
    ----------
    tree
        A fitted tree.
    draws
        Tables, at most; evenly spaced in each chain.
    seed
        Of the rows.
    rows
        Rows of a table, at most: so many of the fit's, in equal steps; all if it is None.

    Returns
    -------
    xarray.DataTree
        ``posterior_predictive``, a variable for each feature and the response, under its own name
        (chain, draw, obs), with "_column" added where that is a dim's and "_" for a slash;
        ``observed_data`` with the same names, columns of levels as codes with the attribute
        ``levels``, fractional weights as the coordinate ``row_weight``;
        ``allocation``, the rows' clusters from 0; and ``posterior``, the draws used: as ArviZ's
        plots take it, `arviz.plot_ppc_dist` for one. Entries that the fit's rows miss are NaN.

    Raises
    ------
    SpecError
        If ``draws`` or ``rows`` is below 1.
    DataError
        If the tables would not fit in 2 GB.

    Examples
    --------
    >>> tree = jm.replicate(jm.load("penguins.nc"), draws=20)
    >>> tree["posterior_predictive"]["body_mass_g"].sizes["obs"]
    342
    """
    spec, used, seed = fitted_spec(tree), some_draws(tree, draws), whole_number("seed", seed, 0)
    posterior = used["posterior"].to_dataset()
    chains = {name: posterior[name].values for name in (CHAIN, DRAW)}
    parameters, source = posterior_parameters(used), observed_source(tree)
    every = observed_rows(tree, spec)
    kept, source = _standing(every, source, len(parameters.weight), spec, rows)
    drawn = drawn_tables(parameters, kept, spec, seed, source)
    return _as_tree("posterior", posterior, drawn, kept, spec, chains)


def prior_predictive(
    table: object, spec: ModelSpec, draws: int = 500, seed: int = 1, rows: int | None = None
) -> xr.DataTree:
    """Tables drawn from the prior, before any fit.

    Parameters
    ----------
    table
        As `fit` takes it. Its columns' centres and scales are those on which the priors are
        stated, and its predictors that are no features are kept.
    spec
        The model.
    draws
        Tables.
    seed
        Of parameters and rows.
    rows
        As for `replicate`.

    Returns
    -------
    xarray.DataTree
        ``prior``, parameters on the users' scale (chain, draw, component, ...), their labels free;
        ``prior_predictive`` and ``observed_data`` as in `replicate`.

    Raises
    ------
    SpecError
        If ``draws`` or ``rows`` is below 1.
    DataError
        If the table cannot be fitted, or the tables would not fit in 2 GB.

    Examples
    --------
    >>> spec = jm.ModelSpec(n_clusters=2, features=["body_mass_g"], missing="drop")
    >>> drawn = jm.prior_predictive(load_penguins(), spec, draws=20)["prior_predictive"]
    >>> drawn["body_mass_g"].shape
    (1, 20, 342)
    """
    draws, seed = whole_number("draws", draws, 1), whole_number("seed", seed, 0)
    dataset = make_dataset(table, spec)
    spec = dataset.spec
    every = replace(dataset.users_rows, label=dataset.label)
    kept, source = _standing(every, dataset.source, draws, spec, rows)
    arrays = prior_draws(dataset, draws, seed)
    parameters = dataset.scaling.to_users(packed(arrays, spec))
    users = unpacked(parameters, spec)
    # As drawn, as they have no units: the way through a factor would cost their last digits.
    users |= {name: arrays[name] for name in users if spec.parameters[name].role == "correlation"}
    chains = {CHAIN: np.array([0]), DRAW: np.arange(draws)}
    prior = xr.Dataset(
        {
            name: ((CHAIN, DRAW, COMPONENT, *spec.parameters[name].dims), value[None])
            for name, value in users.items()
        },
        coords={**chains, COMPONENT: np.arange(spec.n_clusters)},
    )
    drawn = drawn_tables(parameters, kept, spec, seed, source)
    return _as_tree("prior", prior, drawn, kept, spec, chains)


def _standing(
    rows: Rows, source: Source | None, draws: int, spec: ModelSpec, most: int | None
) -> tuple[Rows, Source | None]:
    """Rows as often as they stand for, at most so many, if such tables of them can be held."""
    n = round(rows.copies.sum())
    if most is not None:
        n = min(n, whole_number("rows", most, 1))
    _check_size(draws, n, len(spec.columns))
    repeated = rows.weight is not None and rows.unit is None
    if n == len(rows.y) and not repeated:
        return rows, source
    places = places_in_steps(rows.copies, n)
    if repeated:
        rows = replace(rows, weight=None)
    return rows.take(places), None if source is None else source.take(places)


def _check_size(n_draws: int, n_rows: int, n_columns: int) -> None:
    if n_draws * n_rows * n_columns > _MOST_NUMBERS:
        raise DataError(
            f"{n_draws} draws of {n_rows} rows would need "
            f"{n_draws * n_rows * n_columns * 8 / 1e9:.0f} GB; take fewer draws or rows."
        )


def some_draws(tree: xr.DataTree, draws: int) -> xr.DataTree:
    """The posterior, and its model, with at most as many draws, evenly spaced in each chain."""
    draws = whole_number("draws", draws, 1)
    posterior_parameters(tree)
    posterior = tree["posterior"].to_dataset()
    most = max(1, draws // posterior.sizes[CHAIN])
    chosen = posterior.isel({DRAW: spread(posterior.sizes[DRAW], most)})
    if posterior.sizes[CHAIN] > draws:
        chosen = chosen.isel({CHAIN: slice(draws)})
    used = xr.DataTree.from_dict({"posterior": chosen})
    used.attrs["spec"] = tree.attrs["spec"]
    return used


def drawn_tables(
    parameters: Parameters, rows: Rows, spec: ModelSpec, seed: int, source: Source | None = None
) -> dict[str, np.ndarray]:
    """Drawn tables, a variable a column and ``cluster``, each (draw, obs).

    Parameters
    ----------
    source
        The columns of which predictors are made, of these rows; None where none are.
    """
    n_draws, n = len(parameters.weight), len(rows.y)
    _check_size(n_draws, n, len(spec.columns))
    rng = np.random.default_rng(seed)
    below = parameters.weight.cumsum(axis=1)
    drawn = {"cluster": np.empty((n_draws, n), dtype=int)}
    names = [*spec.clustering, *((spec.response,) if spec.response is not None else ())]
    columns = {name: np.empty((n_draws, n)) for name in names}
    for s in range(n_draws):
        z = (rng.random((n, 1)) * below[s, -1] >= below[s, :-1]).sum(axis=1)
        drawn["cluster"][s] = z
        one, x = parameters.take(s), dict[str, np.ndarray]()
        for block in spec.blocks:
            given = replace(rows, u=_predictors(spec, rows, x, source))
            part = block.draw(one, given, z, rng).reshape(n, -1)
            if not block.of_response:
                x |= dict(zip(block.columns, part.T, strict=True))
            for name, column in zip(block.columns, part.T, strict=True):
                columns[name][s] = column
    return drawn | {f"column {name}": value for name, value in columns.items()}


def _predictors(
    spec: ModelSpec, rows: Rows, x: Mapping[str, np.ndarray], source: Source | None
) -> np.ndarray:
    """Predictors (obs, predictor) of rows with new features ``x`` by name, (obs,) each."""
    u = rows.u.copy()
    for i, name in enumerate(spec.predictors):
        if name in x:
            u[:, i] = x[name]
    if source is not None and spec.derived and len(x) == len(spec.clustering):
        return made_anew(spec, source, x, u)
    return u


def _as_tree(
    group: str,
    parameters: xr.Dataset,
    drawn: dict[str, np.ndarray],
    rows: Rows,
    spec: ModelSpec,
    chains: dict[str, np.ndarray],
) -> xr.DataTree:
    """Groups with a variable for each column, as ArviZ's plots take them."""
    shape = (len(chains[CHAIN]), len(chains[DRAW]), len(rows.y))
    weight = {} if rows.weight is None else {WEIGHT: (OBS, rows.weight)}
    obs: dict[str, Any] = {OBS: rows.label, **weight}
    dims = (CHAIN, DRAW, OBS)
    x = rows.x if rows.discrete is None else np.hstack([rows.x, rows.discrete])
    observed = dict(zip(spec.clustering, x.T, strict=True))
    if spec.response is not None:
        observed[spec.response] = rows.y
    variables = _variables(observed)
    labels = {own.column: {LEVELS: json.dumps(own.levels)} for own in spec.discrete if own.levels}
    tables = xr.Dataset(
        {
            # Drawn tables miss what the rows do.
            variables[n]: (
                dims,
                np.where(np.isnan(value), np.nan, drawn[f"column {n}"]).reshape(shape),
            )
            for n, value in observed.items()
        },
        coords={**chains, **obs},
    )
    allocated = (dims, drawn["cluster"].reshape(shape))
    return xr.DataTree.from_dict(
        {
            group: parameters,
            PREDICTIVE_GROUPS[group]: tables,
            "observed_data": xr.Dataset(
                {
                    variables[name]: (OBS, value, labels.get(name, {}))
                    for name, value in observed.items()
                },
                coords=obs,
            ),
            "allocation": xr.Dataset({"allocation": allocated}, coords={**chains, **obs}),
        }
    )


def _variables(columns: Iterable[str]) -> dict[str, str]:
    """A variable's name for each column: its own, unless that is a dim's or holds a slash."""
    found: dict[str, str] = {}
    for name in columns:
        # A slash would be a path inside the tree.
        plain = name.replace("/", "_")
        while plain in (CHAIN, DRAW, OBS, *found.values()):
            plain = f"{plain}_column"
        found[name] = plain
    return found
