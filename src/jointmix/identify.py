"""From sampler draws (dim component, model's scale) to identified ones (cluster, users' scale).

One pass over the draws, a bounded number at a time, evaluates the two component log densities
once, and takes from them all that needs them: the permutations, the log likelihood of each draw
and the mean responsibilities.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import xarray as xr

from jointmix.data import Dataset
from jointmix.density import Parameters, feature_log_density, response_log_density
from jointmix.em import Census
from jointmix.kernel.allocate import allocate
from jointmix.labels import assign, ecr, order_by, permute, switch_rate
from jointmix.ordering import Ordering
from jointmix.scaling import Scaling, model_scaling
from jointmix.schema import CHAIN, CLUSTER, COMPONENT, DRAW, PARAMETERS
from jointmix.spec import ModelSpec

#: Numbers (draws × rows × components) worked on at a time: 16 MB an array.
_BATCH_NUMBERS = 2_000_000


@dataclass(frozen=True, eq=False)
class Rows:
    """The rows on the model's scale, by role: x (obs, feature), u (obs, predictor), y (obs)."""

    x: np.ndarray
    u: np.ndarray
    y: np.ndarray

    def log_density(self, parameters: Parameters) -> tuple[np.ndarray, np.ndarray]:
        """log π_k + log p(x | k) and log p(y | x, k), each (..., obs, component)."""
        weight = np.log(parameters.weight)[..., None, :]
        features = weight + feature_log_density(self.x, parameters)
        return features, response_log_density(self.y, self.u, parameters)

    @cached_property
    def columns(self) -> np.ndarray:
        """x, u and y one after another, (column, obs)."""
        return np.vstack([self.x.T, self.u.T, self.y])

    @property
    def places(self) -> np.ndarray:
        """Where the predictors stand in `columns`."""
        return self.x.shape[1] + np.arange(self.u.shape[1])


def make_rows(dataset: Dataset, spec: ModelSpec) -> Rows:
    """The dataset's rows on the model's scale."""
    values = model_scaling(dataset, spec).transform(dataset.values)
    predictors = [spec.columns.index(name) for name in spec.predictors]
    y = values[:, -1] if spec.response is not None else np.zeros(len(values))
    return Rows(values[:, : len(spec.features)], values[:, predictors], y)


@dataclass(frozen=True, eq=False)
class Identified:
    """Identified draws, and what the pass over them gathered.

    Attributes
    ----------
    posterior
        The parameters on the users' scale, dims chain, draw, cluster, ...
    permutation
        (chain, draw, cluster): the component, from 0, that became each cluster.
    log_likelihood
        (chain, draw), on the users' scale.
    share, share_features
        Mean over draws of p(k | x, y) and p(k | x), (obs, cluster).
    chain_share
        Mean of p(k | x, y) over each chain's draws, (chain, obs, cluster).
    method, text
        How labels were identified: a name, and a sentence for people.
    switch_rate
        Share of draws whose permutation is not the commonest.
    """

    posterior: xr.Dataset
    permutation: np.ndarray
    log_likelihood: np.ndarray
    share: np.ndarray
    share_features: np.ndarray
    chain_share: np.ndarray
    method: str
    switch_rate: float
    text: str


def draw_parameters(posterior: xr.Dataset, dim: str) -> Parameters:
    """All draws as `Parameters` with one leading dim, chains one after the other.

    Parameters
    ----------
    posterior
        Variables of `schema.PARAMETERS` with dims chain, draw and ``dim``.
    dim
        "component" or "cluster".
    """
    arrays = {}
    for name, rest in PARAMETERS.items():
        if name in posterior:
            values = posterior[name].transpose(CHAIN, DRAW, dim, *rest).values
            n_chains, n_draws, *shape = values.shape
            arrays[name] = values.reshape(n_chains * n_draws, *shape)
    if "sd" in arrays:
        factor = np.linalg.cholesky(arrays.pop("correlation"))
        arrays["cholesky"] = arrays.pop("sd")[..., None] * factor
    return Parameters(**arrays)


def identify_draws(
    raw: xr.Dataset, dataset: Dataset, spec: ModelSpec, census: Census, ordering: Ordering
) -> Identified:
    """Identify the labels of sampler draws.

    Exchangeable clusters are matched draw by draw to the allocation at the best EM mode (ECR), or
    sorted by the variable that the specification names.

    Parameters
    ----------
    raw
        Draws with dims chain, draw, component on the model's scale.
    dataset, spec, census, ordering
        The rows, the model, EM's optima, and the constraint under which the draws were made.
    """
    scaling = model_scaling(dataset, spec)
    parameters = draw_parameters(raw, COMPONENT)
    n_chains, n_draws = raw.sizes[CHAIN], raw.sizes[DRAW]
    rows, k = make_rows(dataset, spec), spec.n_clusters
    pivot = mode_share(rows, scaling.to_model(census.best.parameters)).argmax(-1)
    n_rows, total = len(pivot), n_chains * n_draws
    permutation = np.empty((total, k), dtype=np.int64)
    likelihood = np.empty(total)
    chain_share, share_features = np.zeros((n_chains, n_rows, k)), np.zeros((n_rows, k))
    size = max(1, _BATCH_NUMBERS // (n_rows * k))
    for chain in range(n_chains):
        for first in range(chain * n_draws, (chain + 1) * n_draws, size):
            batch = slice(first, min(first + size, (chain + 1) * n_draws))
            part = parameters.take(batch)
            joint, features, likelihood[batch] = allocate(rows.columns, rows.places, part, True)
            labels = _permutations(part, joint, pivot, spec)
            permutation[batch] = labels
            _add_permuted(chain_share[chain], joint, labels)
            _add_permuted(share_features, features, labels)
    rate = switch_rate(permutation)
    method, text = _describe(spec, ordering, rate)
    return Identified(
        posterior=_identified(raw, parameters, permutation, scaling),
        permutation=permutation.reshape(n_chains, n_draws, k),
        log_likelihood=likelihood.reshape(n_chains, n_draws) + n_rows * scaling.log_jacobian,
        share=chain_share.sum(0) / total,
        share_features=share_features / total,
        chain_share=chain_share / n_draws,
        method=method,
        switch_rate=rate,
        text=text,
    )


def mode_share(rows: Rows, parameters: Parameters) -> np.ndarray:
    """p(k | x, y) at given parameters, (obs, cluster)."""
    share, _, _ = allocate(rows.columns, rows.places, parameters.batched())
    return np.ascontiguousarray(share[0].T)


def _add_permuted(total: np.ndarray, share: np.ndarray, permutation: np.ndarray) -> None:
    """Add to (obs, cluster) the responsibilities (draw, component, obs) of all draws."""
    for own, labels in zip(share, permutation, strict=True):
        total += own[labels].T


def _permutations(
    parameters: Parameters, joint: np.ndarray, pivot: np.ndarray, spec: ModelSpec
) -> np.ndarray:
    if spec.n_clusters == 1 or not spec.exchangeable:
        return np.broadcast_to(np.arange(spec.n_clusters), parameters.weight.shape)
    if spec.ordering in ("auto", "none"):
        return ecr(joint.argmax(1), pivot, spec.n_clusters)
    name, column = spec.ordering_variable()
    if name == "sd":
        assert parameters.cholesky is not None
        values = np.sqrt((parameters.cholesky**2).sum(-1))
    else:
        values = parameters.each()[name]
    if column is not None:
        names = spec.predictors if name == "slope" else spec.features
        values = values[..., names.index(column)]
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
    users = scaling.to_users(parameters).each()
    spec = scaling.spec
    if not spec.intercept and "intercept" in users:
        users["intercept"] = np.zeros_like(users["intercept"])
    if "mean" in users:
        users["sd"] = np.sqrt((users.pop("cholesky") ** 2).sum(-1))
        users["correlation"] = raw["correlation"].values.reshape(
            len(permutation), *raw["correlation"].shape[2:]
        )
    shape = (raw.sizes[CHAIN], raw.sizes[DRAW])
    variables = {}
    for name, rest in PARAMETERS.items():
        if name in users:
            values = permute(users[name], permutation)
            values = values.reshape(*shape, *values.shape[1:])
            variables[name] = ((CHAIN, DRAW, CLUSTER, *rest), values)
    coords = {name: raw.coords[name].values for name in raw.coords if name != COMPONENT}
    coords[CLUSTER] = np.arange(1, spec.n_clusters + 1)
    return xr.Dataset(variables, coords=coords)


def chain_modes(identified: Identified, rows: Rows, census: Census, scaling: Scaling) -> np.ndarray:
    """The census mode whose allocation each chain's is nearest to, (chain,)."""
    agreement = np.zeros((len(identified.chain_share), len(census.modes)))
    for index, mode in enumerate(census.modes):
        share = mode_share(rows, scaling.to_model(mode.parameters))
        together = np.einsum("cnk,nj->cjk", identified.chain_share, share)
        best = assign(together)
        agreement[:, index] = np.take_along_axis(together, best[..., None], axis=-1)[..., 0].sum(1)
    return agreement.argmax(1)
