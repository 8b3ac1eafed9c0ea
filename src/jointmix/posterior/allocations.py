"""Which cluster a row belongs to: probabilities, draws, co-clustering."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, overload

import numpy as np
import xarray as xr
from joblib import Parallel, delayed
from scipy.special import rel_entr, xlogy

from jointmix.base.arguments import (
    number_list,
    probabilities,
    shown,
    whole_number,
)
from jointmix.base.errors import DataError, SpecError
from jointmix.base.machine import available_cores
from jointmix.base.pools import Pool
from jointmix.base.progress import ProgressOption
from jointmix.base.schema import CHAIN, CLUSTER, DRAW, OBS, OBS_BIS, require_group
from jointmix.families.mixture import (
    component_log_density,
    level_terms,
    log_likelihood,
    log_terms,
    responsibility,
    summed,
)
from jointmix.families.parameters import Parameters
from jointmix.families.patterns import Pattern, by_pattern
from jointmix.families.protocol import Block
from jointmix.families.rows import Rows
from jointmix.kernel.allocate import allocate
from jointmix.model.spec import ModelSpec
from jointmix.posterior.draws import (
    fitted_spec,
    posterior_parameters,
    spread,
    table_rows,
    with_holes,
)
from jointmix.posterior.in_parts import Writing, require_out, write_parts

#: How much each draw counts where the response is predicted: see `jointmix.predict`.
Weighting = Literal["equal", "joint"]

#: Numbers (draws × rows × clusters) that one thread works on at a time: 16 MB an array.
_BATCH_NUMBERS = 2_000_000
#: Those that NumPy is quick enough for.
_FEW_NUMBERS = 5_000_000
_MOST_NUMBERS = 2_000_000_000
#: Rows of a co-clustering matrix.
_MOST_PAIRED = 5_000


@overload
def responsibilities(
    tree: xr.DataTree,
    table: object = None,
    quantiles: Sequence[float] = ...,
    out: None = None,
    progress: ProgressOption = None,
    pool: None = None,
) -> xr.Dataset: ...


@overload
def responsibilities(
    tree: xr.DataTree,
    table: object,
    quantiles: Sequence[float] = ...,
    *,
    out: str | Path,
    progress: ProgressOption = None,
    pool: Pool = None,
) -> Path: ...


def responsibilities(
    tree: xr.DataTree,
    table: object = None,
    quantiles: Sequence[float] = (0.05, 0.95),
    out: str | Path | None = None,
    progress: ProgressOption = None,
    pool: Pool = None,
) -> xr.Dataset | Path:
    """Probabilities of the clusters, without and with the response, and what it told.

    All draws count alike, as for `predict` with its ``weighting="equal"``.

    Parameters
    ----------
    tree
        A fitted tree.
    table
        New rows with the features, and the response and predictors if p(k | x, y) is wanted;
        None takes the rows of the fit. Missing features are integrated out.
    quantiles
        Of the posterior of each probability, in (0, 1); none for an empty sequence.
    out, progress, pool
        A folder of Parquet files, part by part of a table in parts, as `predict` takes it. Where
        a part lacks the response and others hold it, the part is refused.

    Returns
    -------
    xarray.Dataset or Path
        ``out``, where it is given; else `responsibility_features`, the posterior mean of p(k | x),
        (obs, cluster), its `responsibility_features_quantiles` (obs, cluster, quantile) over draws,
        and `entropy_features` (obs), −Σ_k p log₂ p, in bits. Where the response is known (or the
        model has none) likewise `responsibility`, of p(k | x, y), `responsibility_quantiles` and
        `entropy`, and, with a response, `information` (obs): the Kullback-Leibler divergence of p(k
        | x, y) from p(k | x) in bits, what y told of the row's cluster. `allocation` (obs) is the
        most probable cluster.

    Raises
    ------
    DataError
        If a column is absent, or one that is no feature holds missing entries; with
        ``missing="model"`` the response may.
    SpecError
        If a quantile lies outside (0, 1).

    Examples
    --------
    >>> jm.responsibilities(jm.load("penguins.nc"))["allocation"].values[:3]
    array([1, 1, 1])
    """
    probability = probabilities("quantiles", quantiles)
    spec, parameters = fitted_spec(tree), posterior_parameters(tree)
    require_out(out, pool)
    if out is not None:
        writing = Writing(
            what="responsibilities",
            arguments={"quantiles": probability.tolist()},
            work=_of_part,
            optional=() if spec.response is None else (spec.response,),
        )
        return write_parts(tree, table, out, writing, progress, pool)
    rows, has_response = table_rows(
        tree, spec, table, spec.response, (*spec.clustering, *with_holes(spec))
    )
    clusters = tree["posterior"].to_dataset()[CLUSTER].values
    known = {"responsibility_features": 0}
    if has_response or spec.response is None:
        known["responsibility"] = 1
    result = xr.Dataset(coords={OBS: rows.label, CLUSTER: clusters})
    if probability.size:
        result = result.assign_coords(quantile=probability)
    means = np.empty((2, len(rows.y), len(clusters)))
    bounds = np.empty((2, len(rows.y), len(clusters), probability.size))

    def summarise(batch: Batch) -> None:
        for index in known.values():
            share = batch.joint if index else batch.features
            means[index, batch.place] = share.mean(axis=0).T
            if probability.size:
                found = np.quantile(share, probability, axis=0)
                bounds[index, batch.place] = found.transpose(2, 1, 0)

    each_batch(summarise, rows, parameters, spec)
    for name, index in known.items():
        result[name] = ((OBS, CLUSTER), means[index])
        if probability.size:
            result[f"{name}_quantiles"] = ((OBS, CLUSTER, "quantile"), bounds[index])
        bits = -xlogy(means[index], means[index]).sum(axis=-1) / np.log(2)
        # Rounding may put a certain row's entropy below zero.
        result[name.replace("responsibility", "entropy")] = (OBS, np.maximum(bits, 0.0))
    if has_response:
        told = rel_entr(means[1], np.maximum(means[0], 1e-300)).sum(axis=-1) / np.log(2)
        result["information"] = (OBS, np.maximum(told, 0.0))
    return result.assign(allocation=(OBS, clusters[means[max(known.values())].argmax(axis=-1)]))


def _of_part(tree: xr.DataTree, rows: object, _: object, quantiles: Sequence[float]) -> xr.Dataset:
    return responsibilities(tree, rows, quantiles)


def allocation_draws(tree: xr.DataTree, table: object = None, seed: int = 1) -> xr.DataArray:
    """Draws of each row's cluster, one to each draw of the parameters.

    Parameters
    ----------
    tree
        A fitted tree.
    table
        As for `responsibilities`; without the response, clusters are drawn from p(k | x).
    seed
        Of the draws.

    Returns
    -------
    xarray.DataArray
        Numbers of clusters, (chain, draw, obs), one byte each.

    Raises
    ------
    DataError
        If a column is absent, or the draws would need more than 2 GB.

    Examples
    --------
    >>> dict(jm.allocation_draws(jm.load("penguins.nc")).sizes)
    {'chain': 4, 'draw': 500, 'obs': 342}
    """
    spec, parameters = fitted_spec(tree), posterior_parameters(tree)
    seed = whole_number("seed", seed, 0)
    posterior = require_group(tree, "posterior")
    rows, has_response = table_rows(
        tree, spec, table, spec.response, (*spec.clustering, *with_holes(spec))
    )
    n_draws = len(parameters.weight)
    if n_draws * len(rows.y) > _MOST_NUMBERS:
        raise DataError(
            f"Allocations of {len(rows.y)} rows in {n_draws} draws would need "
            f"{n_draws * len(rows.y) / 1e9:.0f} GB; pass fewer rows at a time."
        )
    drawn = drawn_allocations(rows, parameters, spec, has_response, seed)
    shape = (posterior.sizes[CHAIN], posterior.sizes[DRAW], len(rows.y))
    return xr.DataArray(
        posterior[CLUSTER].values.astype(drawn.dtype)[drawn].reshape(shape),
        coords={
            CHAIN: posterior[CHAIN].values,
            DRAW: posterior[DRAW].values,
            OBS: rows.label,
        },
        dims=(CHAIN, DRAW, OBS),
        name="allocation",
    )


def coclustering(
    tree: xr.DataTree, rows: Sequence[int] | None = None, most: int = 1_000
) -> xr.DataArray:
    """Probability that two rows of the fit belong to the same cluster.

    The posterior similarity matrix, mean over draws of Σ_k p(k | x_i, y_i) p(k | x_j, y_j): labels
    do not enter.

    Parameters
    ----------
    tree
        A fitted tree.
    rows
        Numbers of rows, from 0; None takes ``most`` evenly spaced ones.
    most
        Of rows, at most 5,000.

    Returns
    -------
    xarray.DataArray
        (obs, obs_bis), symmetric, with ones on its diagonal.

    Raises
    ------
    DataError
        If a row is not there, or more than 5,000 are asked for.

    Examples
    --------
    >>> jm.coclustering(jm.load("penguins.nc"), rows=[0, 1]).shape
    (2, 2)
    """
    spec, parameters = fitted_spec(tree), posterior_parameters(tree)
    most = whole_number("most", most, 1)
    fitted, _ = table_rows(tree, spec, None, spec.response)
    n_rows = len(fitted.y)
    place = spread(n_rows, most) if rows is None else _places(rows)
    if place.size > _MOST_PAIRED:
        raise DataError(
            f"A co-clustering matrix takes at most {_MOST_PAIRED} rows; got {place.size}."
        )
    if place.size == 0 or place.min() < 0 or place.max() >= n_rows:
        raise DataError(f"rows must name rows of the fit, from 0 to {n_rows - 1}.")
    chosen = fitted.take(place)
    n_draws, k = parameters.weight.shape
    # Loading the compiled functions takes longer than so few numbers by NumPy.
    quick = chosen.complete and n_draws * k * place.size <= _FEW_NUMBERS
    together = np.zeros((place.size, place.size))
    step = max(1, _BATCH_NUMBERS // (k * place.size))
    for first in range(0, n_draws, step):
        draws = parameters.take(slice(first, first + step))
        if quick:
            share = responsibility(component_log_density(spec.blocks, chosen, draws))
            share = share.transpose(0, 2, 1)
        else:
            share, _, _ = allocate(chosen, draws, spec.blocks)
        flat = share.reshape(-1, place.size)
        together += flat.T @ flat
    together /= n_draws
    np.fill_diagonal(together, 1.0)
    coords = {OBS: chosen.label, OBS_BIS: chosen.label}
    return xr.DataArray(together, coords=coords, dims=(OBS, OBS_BIS), name="coclustering")


def _places(rows: object) -> np.ndarray:
    """Row numbers, each once, in order."""
    places = number_list("rows", rows)
    if not (np.isfinite(places) & (places == np.floor(places)) & (abs(places) < 2**53)).all():
        raise SpecError(f"rows must be whole numbers; got {shown(rows)}.")
    return np.unique(places.astype(int))


@dataclass(frozen=True, eq=False)
class Batch:
    """A few rows that miss the same features, and what each draw makes of them.

    Attributes
    ----------
    place
        Places of the rows, (row,).
    rows, parameters, blocks
        The rows, and the model of the features that they have.
    features, joint
        p(k | x) and p(k | x, y), (draw, cluster, row).
    alternatives
        So many of ``rows`` stand side by side for each row, completed by levels that it misses.
    """

    place: np.ndarray
    rows: Rows
    parameters: Parameters
    blocks: tuple[Block, ...]
    features: np.ndarray
    joint: np.ndarray
    alternatives: int = 1

    @property
    def parts(self) -> np.ndarray:
        """p(k, levels | x), (draw, cluster, alternative × row), of ``rows``; p(k | x) of one."""
        if self.alternatives == 1:
            return self.features
        levels = level_terms(self.blocks, self.rows, self.parameters, self.alternatives)
        share = np.repeat(self.features, self.alternatives, axis=-1)
        return np.asarray(share * np.exp(np.swapaxes(levels, -1, -2)))

    def draw_weights(self, weighting: Weighting) -> np.ndarray:
        """What each draw counts for each row, (draw, row), summing to one over draws."""
        n_draws = len(self.parameters.weight)
        if weighting == "equal":
            return np.full((n_draws, len(self.place)), 1 / n_draws)
        terms = log_terms(self.blocks, self.rows, self.parameters)[0]
        density = log_likelihood(summed(terms, self.alternatives))
        weight = np.exp(density - density.max(axis=0))
        return np.asarray(weight / weight.sum(axis=0))


def each_batch(
    work: Callable[[Batch], None], rows: Rows, parameters: Parameters, spec: ModelSpec
) -> None:
    """Call ``work`` with a few rows at a time, in threads."""
    size = max(1, _BATCH_NUMBERS // max(1, parameters.weight.size))

    def one(pattern: Pattern, chosen: slice) -> None:
        n, place, model = pattern.alternatives, pattern.place[chosen], pattern.parameters
        part = pattern.rows.take(slice(n * chosen.start, n * chosen.stop))
        if n == 1:
            joint, features, _ = allocate(part, model, pattern.blocks, with_features=True)
        else:
            whole = rows.take(place)
            joint, features, _ = allocate(whole, parameters, spec.blocks, with_features=True)
        work(Batch(place, part, model, pattern.blocks, features, joint, n))

    Parallel(n_jobs=available_cores(), prefer="threads", require="sharedmem")(
        delayed(one)(pattern, slice(first, first + step))
        for pattern in by_pattern(rows, parameters, spec.blocks)
        for step in [max(1, size // pattern.alternatives)]
        for first in range(0, len(pattern.place), step)
    )


def draw_clusters(share: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Clusters from 0, (draw, row), drawn with probabilities (draw, cluster, row)."""
    below = share.cumsum(axis=1)
    at = rng.random((len(share), 1, share.shape[2])) * below[:, -1:]
    return np.asarray((at >= below[:, :-1]).sum(axis=1))


def drawn_allocations(
    rows: Rows, parameters: Parameters, spec: ModelSpec, with_response: bool, seed: int
) -> np.ndarray:
    """Drawn allocations of rows, from 0, (draw, obs)."""
    n_draws, k = parameters.weight.shape
    drawn = np.empty((n_draws, len(rows.y)), dtype=np.int8 if k <= 127 else np.int16)

    def draw(batch: Batch) -> None:
        # A generator for each batch: threads finish in any order.
        rng = np.random.default_rng([seed, int(batch.place[0])])
        drawn[:, batch.place] = draw_clusters(batch.joint if with_response else batch.features, rng)

    each_batch(draw, rows, parameters, spec)
    return drawn
