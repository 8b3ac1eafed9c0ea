"""What a fit says of the entries that its rows miss."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import xarray as xr

from jointmix.base.arguments import probabilities, whole_number
from jointmix.base.errors import DataError
from jointmix.base.schema import CHAIN, DRAW, OBS
from jointmix.families.completing import known_columns, missing_given, with_features
from jointmix.families.mixture import component_log_density, responsibility
from jointmix.families.parameters import Parameters
from jointmix.families.protocol import Block
from jointmix.families.rows import Gaps, Rows
from jointmix.families.specified import Discrete
from jointmix.kernel.allocate import allocate
from jointmix.model.completions import summed_over
from jointmix.model.spec import ModelSpec
from jointmix.posterior.allocations import draw_clusters
from jointmix.posterior.draws import fitted_spec, observed_rows, posterior_parameters
from jointmix.posterior.replication import some_draws

#: Numbers (draws × rows × clusters × entries) worked on at a time; draws of cells that are held.
_BATCH_NUMBERS, _MOST_NUMBERS = 2_000_000, 250_000_000
CELL = "cell"

#: What is expected of missing entries, and draws of them.
_Imputations = tuple[np.ndarray, np.ndarray]


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
        ``probability_f`` (cell_f, level_f), with the coordinate ``obs_f``, and ``draws_f`` (chain,
        draw, cell_f), places among ``level_f`` from 0, that go together with the row's other
        draws; of one of counts its expectation, ``rate_f`` (cell_f), and draws.

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
    gone, codes_gone = np.isnan(_cells(rows, spec)), np.isnan(_codes(rows))
    n_draws, n_cells = len(parameters.weight), int(gone.sum() + codes_gone.sum())
    if n_cells == 0:
        raise DataError("No entry of the fit's rows is missing: there is nothing to impute.")
    if n_draws * n_cells > _MOST_NUMBERS:
        raise DataError(
            f"{n_draws} draws of {n_cells} missing entries would need "
            f"{n_draws * n_cells * 8 / 1e9:.0f} GB; take fewer draws."
        )
    (mean, drawn), beside = _drawn(rows, parameters, spec, seed)
    posterior, (place, column) = used["posterior"].to_dataset(), np.nonzero(gone)
    sizes = (posterior.sizes[CHAIN], posterior.sizes[DRAW])
    names = np.array([*spec.features, *([spec.response] if spec.response else [])])
    assert rows.label is not None
    found = xr.Dataset(
        {
            "mean": (CELL, mean),
            "sd": (CELL, drawn.std(axis=0)),
            "quantiles": ((CELL, "quantile"), np.quantile(drawn, probability, axis=0).T),
            "draws": ((CHAIN, DRAW, CELL), drawn.reshape(*sizes, -1)),
        },
        coords={
            CHAIN: posterior[CHAIN].values, DRAW: posterior[DRAW].values,
            OBS: (CELL, rows.label[place]), "column": (CELL, names[column]),
            "quantile": probability,
        },
    )  # fmt: skip
    for own, missing, (expected, codes) in zip(spec.discrete, codes_gone.T, beside, strict=True):
        if missing.any():
            dim = f"{CELL}_{own.stem}"
            dims = (dim, own.dim) if own.levels else (dim,)
            found[_block(own, spec).parameters[0].name] = (dims, expected)
            codes = codes.astype(np.int32) if own.levels else codes
            found[f"draws_{own.stem}"] = ((CHAIN, DRAW, dim), codes.reshape(*sizes, -1))
            levels = {own.dim: list(own.levels)} if own.levels else {}
            label = (dim, rows.label[missing])
            found = found.assign_coords({**levels, f"{OBS}_{own.stem}": label})
    return found


def _drawn(
    rows: Rows, parameters: Parameters, spec: ModelSpec, seed: int
) -> tuple[_Imputations, list[_Imputations]]:
    """Of numbers, cell by cell, and of each feature beside the Gaussian ones."""
    gone, codes_gone = np.isnan(_cells(rows, spec)), np.isnan(_codes(rows))
    number, code_number = np.cumsum(gone).reshape(gone.shape) - 1, codes_gone.cumsum(axis=0) - 1
    n_draws, n_cells = len(parameters.weight), int(gone.sum())
    mean, drawn = np.empty(n_cells), np.empty((n_draws, n_cells))
    beside = [
        (np.empty((n, len(own.levels)) if own.levels else n), np.empty((n_draws, n)))
        for own, n in zip(spec.discrete, codes_gone.sum(axis=0).tolist(), strict=True)
    ]
    rng, apart = np.random.default_rng(seed), np.random.default_rng([seed, 1])
    for part in rows.patterns:
        missing = np.flatnonzero(gone[part.place[0]])
        for some in _parts(part, rows, parameters, len(missing)):
            chosen = _chosen(some, parameters, spec, rng if missing.size else apart)
            if missing.size:
                cells = number[np.ix_(some.place, missing)]
                mean[cells], drawn[:, cells] = _imputed(some, chosen, parameters, spec, rng)
            for i in np.flatnonzero(codes_gone[some.place].any(axis=0)).tolist():
                inside = np.flatnonzero(codes_gone[some.place, i])
                cells = code_number[some.place[inside], i]
                expected, codes = beside[i]
                expected[cells], codes[:, cells] = _imputed_codes(
                    some, chosen, inside, i, parameters, spec, apart
                )
    return (mean, drawn), beside


def _block(own: Discrete, spec: ModelSpec) -> Block:
    """The block of a feature beside the Gaussian ones."""
    (found,) = (each for each in spec.blocks if each.columns == (own.column,))
    return found


def _cells(rows: Rows, spec: ModelSpec) -> np.ndarray:
    """Features and response, (obs, column)."""
    return rows.x if spec.response is None else np.column_stack([rows.x, rows.y])


def _codes(rows: Rows) -> np.ndarray:
    """Features beside the Gaussian ones, (obs, discrete)."""
    return np.zeros((len(rows.y), 0)) if rows.discrete is None else rows.discrete


def _parts(part: Gaps, rows: Rows, parameters: Parameters, n_missing: int) -> Iterator[Gaps]:
    """Of ``rows`` those that miss the same, some at a time; none where nothing is missing.

    Levels of which predictors are made are completed, also where the response is missing.
    """
    incomplete = np.isnan(_codes(rows)[part.place]).any(axis=1) | (n_missing > 0)
    whole_places, more = part.place[incomplete], rows.completions
    count = np.ones(len(whole_places)) if more is None else more.count[whole_places]
    for n in np.unique(count).astype(int).tolist():
        size = max(1, _BATCH_NUMBERS // (parameters.weight.size * max(1, n_missing) * n))
        places = whole_places[count == n]
        for first in range(0, len(places), size):
            place = places[first : first + size]
            whole = rows.take(place).expanded
            yield replace(part, place=place, rows=whole, made={}, alternatives=n)


def _shares(part: Gaps, parameters: Parameters, spec: ModelSpec) -> np.ndarray:
    """p(k, levels | row), (draw, cluster, row, completion)."""
    n = part.alternatives
    if n == 1:
        return allocate(part.rows, parameters, spec.blocks)[0][..., None]
    terms = component_log_density(spec.blocks, part.rows, parameters)
    n_draws, _, k = terms.shape
    share = responsibility(terms.reshape(n_draws, len(part.place), n * k))
    return np.moveaxis(share.reshape(n_draws, len(part.place), n, k), -1, 1)


@dataclass(frozen=True, eq=False)
class _Chosen:
    """Clusters and completions of some rows.

    Attributes
    ----------
    share
        p(k, levels | row), (draw, cluster, row, completion).
    z, level
        Drawn clusters, and completions of their own, from 0, (draw, row).
    """

    share: np.ndarray
    z: np.ndarray
    level: np.ndarray


def _chosen(
    part: Gaps, parameters: Parameters, spec: ModelSpec, rng: np.random.Generator
) -> _Chosen:
    share, n = _shares(part, parameters, spec), part.alternatives
    n_draws, k, size, _ = share.shape
    flat = np.moveaxis(share, -1, 2).reshape(n_draws, k * n, size)
    return _Chosen(share, *np.divmod(draw_clusters(flat, rng), n))


def _imputed_codes(
    part: Gaps,
    chosen: _Chosen,
    inside: np.ndarray,
    column: int,
    parameters: Parameters,
    spec: ModelSpec,
    rng: np.random.Generator,
) -> _Imputations:
    """Probabilities (row, level) or expectations (row), and draws (draw, row), of codes.

    Parameters
    ----------
    inside
        Places of the rows of ``part`` that miss the feature.
    """
    own, share = spec.discrete[column], chosen.share[:, :, inside]
    if own in summed_over(spec):
        codes = _codes(part.rows)[:, column].reshape(-1, part.alternatives)[inside].astype(int)
        place, chance = np.arange(len(inside)), np.zeros((len(inside), len(own.levels)))
        np.add.at(chance, (place[:, None], codes), share.sum(axis=1).mean(axis=0))
        return chance, codes[place, chosen.level[:, inside]]
    block, z = _block(own, spec), chosen.z[:, inside]
    of_cluster = parameters[block.parameters[0].name]
    expected = np.einsum("skn,sk...->n...", share.sum(axis=-1) / len(z), of_cluster)
    once = part.rows.take(slice(None, None, part.alternatives)).take(inside)
    draws = [block.draw(parameters.take(s), once, z[s], rng)[:, 0] for s in range(len(z))]
    return expected, np.array(draws)


def _imputed(
    part: Gaps, chosen: _Chosen, parameters: Parameters, spec: ModelSpec, rng: np.random.Generator
) -> _Imputations:
    """Means (row, entry) and draws (draw, row, entry) of missing features and response."""
    rows, n, gone = part.rows, part.alternatives, np.flatnonzero(~part.present)
    share, z, level = chosen.share, chosen.z, chosen.level
    n_draws, k, size, _ = share.shape
    share, place = share.reshape(n_draws, k, size * n), level + n * np.arange(size)
    given = missing_given(spec.blocks, parameters, part.present, part.answered)
    known = known_columns(rows, spec)
    each = np.einsum("nj,skmj->snkm", known, given.coefficient)
    mean = np.einsum("skn,snkm->nm", share, each) / n_draws
    value, vector = np.linalg.eigh(given.covariance)
    factor = vector * np.sqrt(np.maximum(value, 0.0))[..., None, :]
    draw = np.arange(n_draws)[:, None]
    noise = rng.standard_normal((*z.shape, len(gone)))
    # All completions of a row have the same numbers.
    once = rows.take(slice(None, None, n))
    for block in spec.blocks:
        if not block.of_response:
            noise *= np.asarray(block.stretch(parameters, once, z, rng))[..., None]
    x = each[draw, place, z] + np.einsum("snij,snj->sni", factor[draw, z], noise)
    if not part.answered:
        y, expected = np.empty((n_draws, size)), np.zeros(size * n)
        whole = rows.x.copy()
        for s in range(n_draws):
            one, some = parameters.take(s), rows.take(place[s])
            drawn = some.x.copy()
            drawn[:, gone] = x[s]
            y[s] = spec.blocks[-1].draw(one, with_features(some, drawn, spec), z[s], rng)
            for cluster in range(k):
                whole[:, gone] = each[s, :, cluster]
                line = spec.predicted.mean(one, with_features(rows, whole, spec))
                expected += share[s, cluster] * line[:, cluster]
        mean = np.column_stack([mean, expected / n_draws])
        x = np.concatenate([x, y[..., None]], axis=-1)
    return mean.reshape(size, n, -1).sum(axis=1), x
