"""What a fit says of the entries that its rows miss."""

from collections.abc import Sequence

import numpy as np
import xarray as xr

from jointmix.base.arguments import probabilities, whole_number
from jointmix.base.errors import DataError
from jointmix.base.schema import CHAIN, DRAW, OBS
from jointmix.families.completing import known_columns, missing_given, with_features
from jointmix.families.parameters import Parameters
from jointmix.families.rows import Gaps, Rows
from jointmix.kernel.allocate import allocate
from jointmix.model.spec import ModelSpec
from jointmix.posterior.allocations import draw_clusters
from jointmix.posterior.draws import fitted_spec, observed_rows, posterior_parameters
from jointmix.posterior.replication import some_draws

#: Numbers (draws × rows × clusters × entries) worked on at a time; draws of cells that are held.
_BATCH_NUMBERS, _MOST_NUMBERS = 2_000_000, 250_000_000
CELL = "cell"


def impute(
    tree: xr.DataTree,
    draws: int = 1_000,
    quantiles: Sequence[float] = (0.05, 0.5, 0.95),
    seed: int = 1,
) -> xr.Dataset:
    """The missing entries of a fit's rows, given those that are there.

    In each draw of the parameters a row belongs to a cluster with the probability that its entries
    give it; there its missing features are Gaussian given the others, the response among them, and
    a missing response follows its line at the features, known or drawn. Student-t features are t
    given the others, with more degrees of freedom, wider where what is there lies far out.

    Parameters
    ----------
    tree
        A fitted tree, of a model with ``missing="model"``.
    draws
        At most that many of the posterior's are used, evenly spaced in each chain.
    quantiles
        Of each entry, between 0 and 1.
    seed
        Of the drawn entries.

    Returns
    -------
    xarray.Dataset
        A cell for each missing entry, row by row, with the coordinates ``obs``, the row's label,
        and ``column``: `mean` (cell), averaged over clusters and draws; `sd` (cell) and `quantiles`
        (cell, quantile), of the draws; and `draws` (chain, draw, cell), in which entries of a row
        go together: multiple imputations. All in the columns' units. Of a feature ``f`` of levels,
        in place of those, the probabilities of its levels where it is missing,
        ``probability_f`` (cell_f, level_f), with the coordinate ``obs_f``; of one of counts its
        expectation, ``rate_f`` (cell_f).

    Raises
    ------
    SpecError
        If ``draws`` is below 1 or a quantile lies outside (0, 1).
    DataError
        If no entry is missing, or the draws would not fit in 2 GB.

    Examples
    --------
    >>> import jointmix as jm
    >>> from jointmix.model.simulate import simulate
    >>> table = dict(simulate(jm.four_clusters(), 200, seed=1))
    >>> table["x1"] = table["x1"].copy()
    >>> table["x1"][:3] = float("nan")
    >>> quick = jm.SamplerSpec(sampler="laplace")
    >>> model = {"features": ["x1", "x2"], "n_clusters": 4, "missing": "model"}
    >>> tree = jm.fit(table, "y ~ x1 + x2", sampler=quick, **model)
    >>> jm.impute(tree)["column"].values.tolist()
    ['x1', 'x1', 'x1']
    """
    spec, used, seed = fitted_spec(tree), some_draws(tree, draws), whole_number("seed", seed, 0)
    probability = probabilities("quantiles", quantiles)
    rows, parameters = observed_rows(tree, spec), posterior_parameters(used)
    beside = _beside(rows, parameters, spec)
    if rows.complete and not beside:
        raise DataError("No entry of the fit's rows is missing: there is nothing to impute.")
    gone = np.isnan(_cells(rows, spec))
    place, column = np.nonzero(gone)
    n_draws = len(parameters.weight)
    if n_draws * len(place) > _MOST_NUMBERS:
        raise DataError(
            f"{n_draws} draws of {len(place)} missing entries would need "
            f"{n_draws * len(place) * 8 / 1e9:.0f} GB; take fewer draws."
        )
    number = np.cumsum(gone).reshape(gone.shape) - 1
    mean, drawn = np.empty(len(place)), np.empty((n_draws, len(place)))
    rng = np.random.default_rng(seed)
    for part in rows.patterns:
        missing = np.flatnonzero(gone[part.place[0]])
        for some in _parts(part, parameters, len(missing)):
            cells = number[np.ix_(some.place, missing)]
            mean[cells], drawn[:, cells] = _imputed(some, parameters, spec, rng)
    posterior = used["posterior"].to_dataset()
    shape = (posterior.sizes[CHAIN], posterior.sizes[DRAW], len(place))
    names = np.array([*spec.features, *([spec.response] if spec.response else [])])
    assert rows.label is not None
    return xr.Dataset(
        {
            "mean": (CELL, mean),
            "sd": (CELL, drawn.std(axis=0)),
            "quantiles": ((CELL, "quantile"), np.quantile(drawn, probability, axis=0).T),
            "draws": ((CHAIN, DRAW, CELL), drawn.reshape(shape)),
        },
        coords={
            CHAIN: posterior[CHAIN].values, DRAW: posterior[DRAW].values,
            OBS: (CELL, rows.label[place]), "column": (CELL, names[column]),
            "quantile": probability,
        },
    ).merge(beside)  # fmt: skip


def _beside(rows: Rows, parameters: Parameters, spec: ModelSpec) -> xr.Dataset:
    """What is expected of features beside the Gaussian ones where they are missing."""
    found = xr.Dataset()
    size = max(1, _BATCH_NUMBERS // parameters.weight.size)
    for i, own in enumerate(spec.discrete):
        assert rows.discrete is not None
        assert rows.label is not None
        place = np.flatnonzero(np.isnan(rows.discrete[:, i]))
        if not place.size:
            continue
        (block,) = (each for each in spec.blocks if each.columns == (own.column,))
        name = block.parameters[0].name
        of_cluster, n_draws = parameters[name], len(parameters.weight)
        parts = [
            allocate(rows.take(place[first : first + size]), parameters, spec.blocks)[0]
            for first in range(0, len(place), size)
        ]
        share = np.concatenate(parts, axis=-1) / n_draws
        cell = f"{CELL}_{own.stem}"
        if own.levels:
            found[name] = ((cell, own.dim), np.einsum("skn,skl->nl", share, of_cluster))
            found = found.assign_coords({own.dim: list(own.levels)})
        else:
            found[name] = (cell, np.einsum("skn,sk->n", share, of_cluster))
        found = found.assign_coords({f"{OBS}_{own.stem}": (cell, rows.label[place])})
    return found


def _cells(rows: Rows, spec: ModelSpec) -> np.ndarray:
    """Features and response, (obs, column)."""
    return rows.x if spec.response is None else np.column_stack([rows.x, rows.y])


def _parts(part: Gaps, parameters: Parameters, n_missing: int) -> list[Gaps]:
    """Rows that miss the same, some at a time; none where nothing is missing."""
    size = max(1, _BATCH_NUMBERS // (parameters.weight.size * max(n_missing, 1)))
    starts = range(0, len(part.place), size) if n_missing else ()
    chosen = [slice(first, first + size) for first in starts]
    return [
        Gaps(part.place[each], part.rows.take(each), part.present, part.answered, {})
        for each in chosen
    ]


def _imputed(
    part: Gaps, parameters: Parameters, spec: ModelSpec, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Means (row, entry) and draws (draw, row, entry) of missing features and response."""
    rows, n, gone = part.rows, len(part.place), np.flatnonzero(~part.present)
    share, _, _ = allocate(rows, parameters, spec.blocks)
    z = draw_clusters(share, rng)
    given = missing_given(spec.blocks, parameters, part.present, part.answered)
    known = known_columns(rows, spec)
    each = np.einsum("nj,skmj->snkm", known, given.coefficient)
    mean = np.einsum("skn,snkm->nm", share, each) / len(share)
    value, vector = np.linalg.eigh(given.covariance)
    factor = vector * np.sqrt(np.maximum(value, 0.0))[..., None, :]
    draw = np.arange(len(share))[:, None]
    noise = rng.standard_normal((*z.shape, len(gone)))
    for block in spec.blocks:
        if not block.of_response:
            noise *= np.asarray(block.stretch(parameters, rows, z, rng))[..., None]
    x = each[draw, np.arange(n), z] + np.einsum("snij,snj->sni", factor[draw, z], noise)
    if part.answered:
        return mean, x
    y, expected = np.empty((len(share), n)), np.zeros(n)
    whole = rows.x.copy()
    for s in range(len(share)):
        one = parameters.take(s)
        whole[:, gone] = x[s]
        y[s] = spec.blocks[-1].draw(one, with_features(rows, whole, spec), z[s], rng)
        for k in range(share.shape[1]):
            whole[:, gone] = each[s, :, k]
            line = spec.predicted.mean(one, with_features(rows, whole, spec))
            expected += share[s, k] * line[:, k]
    mean = np.column_stack([mean, expected / len(share)])
    return mean, np.concatenate([x, y[..., None]], axis=-1)
