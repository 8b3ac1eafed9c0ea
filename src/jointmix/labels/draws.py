"""From sampler draws (dim component, model's scale) to identified ones (cluster, users' scale).

One pass over the draws, a bounded number at a time, evaluates the two component log densities
once, and takes from them all that needs them: the permutations, the log likelihood of each draw,
the mean responsibilities and the chance that a cluster holds no row.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import xarray as xr

from jointmix.base.machine import available_cores
from jointmix.base.schema import (
    CHAIN,
    CLUSTER,
    COMPONENT,
    DRAW,
)
from jointmix.base.threads import on_cores
from jointmix.families.parameters import Parameters
from jointmix.families.rows import Rows
from jointmix.kernel.allocate import allocate, share_at
from jointmix.labels.assignment import order_by, permute, switch_rate
from jointmix.labels.confidence import Confidence, confidence
from jointmix.labels.relabel import ecr
from jointmix.model.dataset import Dataset
from jointmix.model.packing import unpacked
from jointmix.model.scaling import Scaling
from jointmix.model.spec import ModelSpec
from jointmix.modes.census import Census
from jointmix.modes.ordering import Ordering
from jointmix.posterior.draws import draw_parameters

#: Numbers (draws × rows × components) worked on at a time: 16 MB an array.
_BATCH_NUMBERS = 2_000_000
#: Expected rows from which a cluster is occupied in double precision.
_SURELY_OCCUPIED = 40.0

#: Gives the permutations (draw, cluster) of a block of draws from the block, its parameters and
#: its responsibilities (draw, component, obs).
Chooser = Callable[[slice, Parameters, np.ndarray], np.ndarray]


@dataclass(frozen=True, eq=False)
class Gathered:
    """What a pass over the draws gathers, chains one after the other.

    Attributes
    ----------
    permutation
        (draw, cluster): the component, from 0, that became each cluster.
    log_likelihood
        (draw,), on the scale of the rows.
    share_features
        Mean over draws of p(k | x), (obs, cluster).
    chain_share
        Mean of p(k | x, y) over each chain's draws, (chain, obs, cluster).
    occupied
        Probability that the cluster holds at least one row, 1 − Π_n (1 − p(k | x_n, y_n)), over
        all observations that rows stand for, (draw, cluster).
    """

    permutation: np.ndarray
    log_likelihood: np.ndarray
    share_features: np.ndarray
    chain_share: np.ndarray
    occupied: np.ndarray

    @property
    def share(self) -> np.ndarray:
        """Mean over draws of p(k | x, y), (obs, cluster)."""
        return np.asarray(self.chain_share.mean(axis=0))


def gather(
    rows: Rows, parameters: Parameters, n_chains: int, choose: Chooser, spec: ModelSpec
) -> Gathered:
    """Pass over the draws once.

    Parameters
    ----------
    rows, parameters
        On the same scale; parameters have one leading dim, chains one after the other.
    n_chains
        Number of chains, all of the same length.
    choose
        Gives the permutations of a block of draws.
    spec
        The model.
    """
    total, k = parameters.weight.shape
    n_rows, n_draws = len(rows.y), total // n_chains
    permutation = np.empty((total, k), dtype=np.int64)
    likelihood, occupied = np.empty(total), np.empty((total, k))
    chain_share, share_features = np.zeros((2, n_chains, k, n_rows))
    copies = None if rows.weight is None else rows.copies
    cores = min(n_chains, available_cores()) if total * n_rows * k > _BATCH_NUMBERS else 1
    size = max(1, _BATCH_NUMBERS // (n_rows * k * cores))

    def walk(chain: int) -> None:
        for first in range(chain * n_draws, (chain + 1) * n_draws, size):
            batch = slice(first, min(first + size, (chain + 1) * n_draws))
            part = parameters.take(batch)
            joint, features, likelihood[batch] = allocate(rows, part, spec.blocks, True)
            labels = choose(batch, part, joint)
            permutation[batch] = labels
            occupied[batch] = permute(_occupied(joint, copies), labels)
            _add_permuted(chain_share[chain], joint, labels)
            _add_permuted(share_features[chain], features, labels)

    on_cores(walk, range(n_chains), cores)
    return Gathered(
        permutation=permutation,
        log_likelihood=likelihood,
        share_features=share_features.sum(axis=0).T / total,
        chain_share=np.swapaxes(chain_share, 1, 2) / n_draws,
        occupied=occupied,
    )


def _occupied(joint: np.ndarray, copies: np.ndarray | None) -> np.ndarray:
    """Probability that a component holds a row, (draw, component); rows are as many copies."""
    found = np.ones(joint.shape[:2])
    # ∏ (1 − r) ≤ exp(−Σ r): with so many expected rows the probability rounds to 1.
    few = (joint.sum(axis=-1) if copies is None else joint @ copies) < _SURELY_OCCUPIED
    # A responsibility of one makes the logarithm -inf, and the cluster occupied for certain.
    with np.errstate(divide="ignore"):
        empty = np.log1p(-np.minimum(joint[few], 1.0))
        found[few] = -np.expm1((empty if copies is None else empty * copies).sum(axis=-1))
    return found


def _add_permuted(total: np.ndarray, share: np.ndarray, permutation: np.ndarray) -> None:
    """Add to (cluster, obs) the responsibilities (draw, component, obs) of all draws."""
    for labels, own in zip(*_runs(permutation, share), strict=True):
        total += own.sum(axis=0)[labels]


def _runs(permutation: np.ndarray, share: np.ndarray) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Draws of the same permutation one after the other, together."""
    starts = np.flatnonzero((np.diff(permutation, axis=0) != 0).any(axis=1)) + 1
    return [permutation[first] for first in (0, *starts)], np.split(share, starts)


@dataclass(frozen=True, eq=False)
class Identified:
    """Identified draws, and what the pass over them gathered.

    Attributes
    ----------
    posterior
        The parameters on the users' scale, dims chain, draw, cluster, ...
    gathered
        Of the pass over the draws; the log likelihood on the users' scale.
    method, text
        How labels were identified: a name, and a sentence for people.
    confidence
        How sure the labels are.
    """

    posterior: xr.Dataset
    gathered: Gathered
    method: str
    text: str
    confidence: Confidence


def identify_draws(
    raw: xr.Dataset, dataset: Dataset, census: Census, ordering: Ordering
) -> Identified:
    """Identify the labels of sampler draws.

    Exchangeable clusters are matched draw by draw to the allocation at the best EM mode (ECR), or
    sorted by the variable that the specification names.

    Parameters
    ----------
    raw
        Draws with dims chain, draw, component on the model's scale.
    dataset, census, ordering
        The model and its rows, EM's optima, and the constraint under which the draws were made.
    """
    spec, scaling, rows = dataset.spec, dataset.scaling, dataset.rows
    parameters = draw_parameters(raw, COMPONENT, spec)
    pivot = share_at(dataset, census.start.parameters).argmax(-1)

    def choose(_: slice, part: Parameters, joint: np.ndarray) -> np.ndarray:
        return _permutations(part, joint, pivot, spec, rows.weight)

    found = gather(rows, parameters, raw.sizes[CHAIN], choose, spec)
    on_users_scale = found.log_likelihood + rows.total * scaling.log_jacobian
    method, text = _describe(spec, ordering, switch_rate(found.permutation))
    return Identified(
        posterior=_identified(raw, parameters, found.permutation, scaling),
        gathered=replace(found, log_likelihood=on_users_scale),
        method=method,
        text=text,
        confidence=confidence(rows, parameters, found.permutation, spec, method, pivot),
    )


def _permutations(
    parameters: Parameters,
    joint: np.ndarray,
    pivot: np.ndarray,
    spec: ModelSpec,
    weight: np.ndarray | None,
) -> np.ndarray:
    if spec.n_clusters == 1 or not spec.exchangeable:
        return np.broadcast_to(np.arange(spec.n_clusters), parameters.weight.shape)
    if spec.ordering in ("auto", "none"):
        return ecr(joint.argmax(1), pivot, spec.n_clusters, weight)
    name, column = spec.ordering_variable()
    values = unpacked(parameters, spec)[name]
    if column is not None:
        (dim,) = spec.parameters[name].dims
        values = values[..., spec.entries[dim].index(column)]
    return order_by(values)


def _describe(spec: ModelSpec, ordering: Ordering, rate: float) -> tuple[str, str]:
    if spec.n_clusters == 1:
        return "none", "One cluster has no labels to identify."
    if not spec.exchangeable:
        return "none", "The clusters differ in their fixed values, so labels cannot switch."
    if spec.ordering not in ("auto", "none"):
        return "order_by", f"Each draw's clusters are sorted by {spec.ordering}."
    constrained = "" if ordering.direction is None else " beyond the constraint"
    return "ecr", (
        "Each draw's labels were matched to the allocation at the best mode of the likelihood "
        f"(ECR); {100 * rate:.2g}% of the draws needed another permutation than the rest"
        f"{constrained}."
    )


def _identified(
    raw: xr.Dataset, parameters: Parameters, permutation: np.ndarray, scaling: Scaling
) -> xr.Dataset:
    """The draws with the dim cluster, numbered from 1, on the users' scale."""
    spec = scaling.spec
    users = unpacked(scaling.to_users(parameters), spec)
    if not spec.intercept and "intercept" in users:
        users["intercept"] = np.zeros_like(users["intercept"])
    if "correlation" in users:
        # As drawn: the way through a factor would cost its last digits.
        users["correlation"] = raw["correlation"].values.reshape(
            len(permutation), *raw["correlation"].shape[2:]
        )
    shape = (raw.sizes[CHAIN], raw.sizes[DRAW])
    variables = {}
    for name, parameter in spec.parameters.items():
        values = permute(users[name], permutation)
        values = values.reshape(*shape, *values.shape[1:])
        variables[name] = ((CHAIN, DRAW, CLUSTER, *parameter.dims), values)
    coords = {name: raw.coords[name].values for name in raw.coords if name != COMPONENT}
    coords[CLUSTER] = np.arange(1, spec.n_clusters + 1)
    return xr.Dataset(variables, coords=coords)
