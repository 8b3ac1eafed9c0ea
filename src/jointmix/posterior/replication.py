"""Rows drawn from a fit or from the prior, and how the table's own compare with them."""

from collections.abc import Iterable
from dataclasses import replace
from functools import partial
from itertools import combinations
from typing import Any, get_args

import numpy as np
import pandas as pd
import xarray as xr

from jointmix.base.arguments import choice, whole_number
from jointmix.base.errors import DataError, SchemaError, SpecError
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
from jointmix.model.graph import prior_draws
from jointmix.model.packing import packed, unpacked
from jointmix.model.spec import ModelSpec
from jointmix.posterior.allocations import Batch, Weighting, draw_clusters, each_batch
from jointmix.posterior.draws import (
    fitted_spec,
    observed_rows,
    posterior_parameters,
    spread,
    table_rows,
)

_GROUPS = {"posterior": "posterior_predictive", "prior": "prior_predictive"}
_MOST_NUMBERS = 250_000_000
#: Tail probability beyond which a statistic of the table is called unusual.
_UNUSUAL = 0.01
_BOUNDS = (0.05, 0.5, 0.95)


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
    """
    spec, used, seed = fitted_spec(tree), _some_draws(tree, draws), whole_number("seed", seed, 0)
    choice("weighting", weighting, get_args(Weighting))
    if spec.response is None:
        raise SpecError("This model has no response to predict.")
    rows, _ = table_rows(tree, spec, table, None, spec.features)
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
        z = draw_clusters(np.take_along_axis(batch.features, used[:, None], axis=0), rng)
        for s in range(n_draws):
            value, row = np.nonzero(used == s)
            if row.size:
                y[value, batch.place[row]] = spec.blocks[-1].draw(
                    batch.parameters.take(s), batch.rows.take(row), z[value, row], rng
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


def _resampled(weight: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Places of draws in proportion to weights (draw, row), in random order, of the same shape.

    Systematic resampling: a draw comes as often as its weight says, rounded up or down.
    """
    n_draws, n = weight.shape
    at = (np.arange(n_draws)[:, None] + rng.random(n)) / n_draws
    found = [np.searchsorted(weight[:, i].cumsum(), at[:, i]) for i in range(n)]
    # Rounding may leave the last sum below one.
    return rng.permuted(np.minimum(np.stack(found, axis=1), n_draws - 1), axis=0)


def replicate(tree: xr.DataTree, draws: int = 500, seed: int = 1) -> xr.DataTree:
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

    Returns
    -------
    xarray.DataTree
        ``posterior_predictive``, a variable for each feature and the response, under its own name
        (chain, draw, obs), with "_column" added where that is a dim's and "_" for a slash;
        ``observed_data`` with the same names, fractional weights as the coordinate ``row_weight``;
        ``allocation``, the rows' clusters from 0; and ``posterior``, the draws used: as ArviZ's
        plots take it, `arviz.plot_ppc_dist` for one.

    Raises
    ------
    SpecError
        If ``draws`` is below 1.
    DataError
        If the tables would not fit in 2 GB.
    """
    spec, used, seed = fitted_spec(tree), _some_draws(tree, draws), whole_number("seed", seed, 0)
    posterior = used["posterior"].to_dataset()
    chains = {name: posterior[name].values for name in (CHAIN, DRAW)}
    parameters = posterior_parameters(used)
    rows = _repeated(observed_rows(tree, spec), len(parameters.weight), spec)
    drawn = drawn_tables(parameters, rows, spec, seed)
    return _as_tree("posterior", posterior, drawn, rows, spec, chains)


def prior_predictive(
    table: object, spec: ModelSpec, draws: int = 500, seed: int = 1
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

    Returns
    -------
    xarray.DataTree
        ``prior``, parameters on the users' scale (chain, draw, component, ...), their labels free;
        ``prior_predictive`` and ``observed_data`` as in `replicate`.

    Raises
    ------
    SpecError
        If ``draws`` is below 1.
    DataError
        If the table cannot be fitted, or the tables would not fit in 2 GB.
    """
    draws, seed = whole_number("draws", draws, 1), whole_number("seed", seed, 0)
    dataset = make_dataset(table, spec)
    rows = _repeated(replace(dataset.users_rows, label=dataset.label), draws, spec)
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
    drawn = drawn_tables(parameters, rows, spec, seed)
    return _as_tree("prior", prior, drawn, rows, spec, chains)


def predictive_checks(predictive: xr.DataTree) -> pd.DataFrame:
    """Where statistics of the observed table fall among those of the drawn ones.

    Gelman, Meng and Stern (1996, Statistica Sinica 6). From the posterior, p-values of statistics
    that the model fits directly, such as means, lie near one half by themselves.

    Parameters
    ----------
    predictive
        What `replicate` or `prior_predictive` gave.

    Returns
    -------
    pandas.DataFrame
        One row a statistic, such as "kurtosis[width]" or "correlation[width, length]":
        ``observed``; ``q05``, ``q50`` and ``q95`` of the drawn tables; ``p``, the share of drawn
        tables with a larger value, half of the equal ones added; ``unusual``, whether p is below
        0.01 or above 0.99.

    Raises
    ------
    SchemaError
        If the tree has no such group, or nothing observed.
    """
    groups = predictive.children if isinstance(predictive, xr.DataTree) else {}
    found = [name for name in _GROUPS.values() if name in groups]
    if not found or "observed_data" not in groups:
        raise SchemaError("predictive_checks takes what replicate or prior_predictive gave.")
    drawn, observed = predictive[found[0]].to_dataset(), predictive["observed_data"].to_dataset()
    names = [str(name) for name in observed.data_vars]
    table = np.stack([observed[name].values for name in names])
    n_draws, dims = drawn.sizes[CHAIN] * drawn.sizes[DRAW], (CHAIN, DRAW, OBS)
    flat = [drawn[name].transpose(*dims).values.reshape(n_draws, -1) for name in names]
    weight = observed[WEIGHT].values if WEIGHT in observed.coords else None
    own = _statistics(table, names, weight)
    values = pd.DataFrame(
        [_statistics(np.stack([one[s] for one in flat]), names, weight) for s in range(n_draws)]
    )
    # Rounding must not tell equal values apart.
    close = np.isclose(values, pd.Series(own), rtol=1e-12, atol=0)
    share = ((values > pd.Series(own)) & ~close).mean() + close.mean(axis=0) / 2
    bounds = values.quantile(_BOUNDS)
    return pd.DataFrame(
        {
            "observed": pd.Series(own),
            **{f"q{100 * q:02.0f}": bounds.loc[q] for q in _BOUNDS},
            "p": share,
            "unusual": (share < _UNUSUAL) | (share > 1 - _UNUSUAL),
        }
    ).rename_axis("statistic")


def _repeated(rows: Rows, draws: int, spec: ModelSpec) -> Rows:
    """Rows as often as they stand for, if so many tables of them can be held."""
    n = round(rows.copies.sum())
    _check_size(draws, n, len(spec.columns))
    return rows.standing(n) if rows.unit is None else rows


def _statistics(
    columns: np.ndarray, names: list[str], weight: np.ndarray | None
) -> dict[str, float]:
    """Of one table, (column, obs), its rows' weights (obs,) or None."""
    average = partial(np.average, axis=1, weights=weight)
    center = average(columns)
    spread_ = np.sqrt(average((columns - center[:, None]) ** 2))
    white = (columns - center[:, None]) / spread_[:, None]
    each = {
        "mean": center,
        "sd": spread_,
        "skewness": average(white**3),
        "kurtosis": average(white**4),
        "minimum": columns.min(axis=1),
        "maximum": columns.max(axis=1),
    }
    found = {
        f"{label}[{name}]": float(value)
        for i, name in enumerate(names)
        for label, value in ((label, values[i]) for label, values in each.items())
    }
    correlation = np.cov(white, bias=True, aweights=weight)
    for i, j in combinations(range(len(names)), 2):
        found[f"correlation[{names[i]}, {names[j]}]"] = float(correlation[i, j])
    return found


def _check_size(n_draws: int, n_rows: int, n_columns: int) -> None:
    if n_draws * n_rows * n_columns > _MOST_NUMBERS:
        raise DataError(
            f"{n_draws} draws of {n_rows} rows would need "
            f"{n_draws * n_rows * n_columns * 8 / 1e9:.0f} GB; take fewer draws or rows."
        )


def _some_draws(tree: xr.DataTree, draws: int) -> xr.DataTree:
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
    parameters: Parameters, rows: Rows, spec: ModelSpec, seed: int
) -> dict[str, np.ndarray]:
    """Drawn tables, a variable a column and ``cluster``, each (draw, obs)."""
    n_draws, n = len(parameters.weight), len(rows.y)
    _check_size(n_draws, n, len(spec.columns))
    rng = np.random.default_rng(seed)
    below = parameters.weight.cumsum(axis=1)
    drawn = {"cluster": np.empty((n_draws, n), dtype=int)}
    names = [*spec.features, *((spec.response,) if spec.response is not None else ())]
    columns = {name: np.empty((n_draws, n)) for name in names}
    u = rows.u.copy()
    for s in range(n_draws):
        z = (rng.random((n, 1)) * below[s, -1] >= below[s, :-1]).sum(axis=1)
        drawn["cluster"][s] = z
        one = parameters.take(s)
        for block in spec.blocks:
            given = replace(rows, u=u)
            if block.of_response:
                columns[str(spec.response)][s] = block.draw(one, given, z, rng)
                continue
            x = block.draw(one, given, z, rng)
            for i, name in enumerate(spec.features):
                columns[name][s] = x[:, i]
            for i, name in enumerate(spec.predictors):
                if name in spec.features:
                    u[:, i] = x[:, spec.features.index(name)]
    return drawn | {f"column {name}": value for name, value in columns.items()}


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
    observed = dict(zip(spec.features, rows.x.T, strict=True))
    if spec.response is not None:
        observed[spec.response] = rows.y
    variables = _variables(observed)
    tables = xr.Dataset(
        {variables[n]: (dims, drawn[f"column {n}"].reshape(shape)) for n in observed},
        coords={**chains, **obs},
    )
    allocated = (dims, drawn["cluster"].reshape(shape))
    return xr.DataTree.from_dict(
        {
            group: parameters,
            _GROUPS[group]: tables,
            "observed_data": xr.Dataset(
                {variables[name]: (OBS, value) for name, value in observed.items()}, coords=obs
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
