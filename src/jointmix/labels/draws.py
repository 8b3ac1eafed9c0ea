"""From sampler draws (dim component, model's scale) to identified ones (cluster, users' scale)."""

from dataclasses import dataclass, replace

import numpy as np
import xarray as xr

from jointmix.base.schema import (
    CHAIN,
    CLUSTER,
    COMPONENT,
    DRAW,
)
from jointmix.families.parameters import Parameters
from jointmix.kernel.allocate import share_at
from jointmix.labels.assignment import order_by, permute, switch_rate
from jointmix.labels.confidence import Confidence, confidence
from jointmix.labels.gathering import Gathered, gather
from jointmix.labels.relabel import ecr
from jointmix.labels.sample import Sample
from jointmix.model.dataset import Dataset
from jointmix.model.packing import unpacked
from jointmix.model.scaling import Scaling
from jointmix.model.spec import ModelSpec
from jointmix.modes.census import Census
from jointmix.modes.ordering import Ordering
from jointmix.posterior.draws import draw_parameters


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
    raw: xr.Dataset,
    dataset: Dataset,
    census: Census,
    ordering: Ordering,
    likelihood: np.ndarray | None = None,
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
    likelihood
        Log likelihoods of the draws (chain, draw) on the model's scale, where they are known.
    """
    spec, scaling, rows = dataset.spec, dataset.scaling, dataset.rows
    parameters = draw_parameters(raw, COMPONENT, spec)
    pivot = share_at(dataset, census.start.parameters).argmax(-1)

    def choose(
        _: slice | np.ndarray, part: Parameters, joint: np.ndarray, sample: Sample | None
    ) -> tuple[np.ndarray, np.ndarray]:
        return _permutations(part, joint, pivot, spec, rows.weight, sample)

    found = gather(rows, parameters, raw.sizes[CHAIN], choose, spec, pivot, likelihood)
    on_users_scale = found.log_likelihood + scaling.total_jacobian(rows)
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
    sample: Sample | None,
) -> tuple[np.ndarray, np.ndarray]:
    """See `gathering.Chooser`."""
    sure = np.ones(len(parameters.weight), dtype=bool)
    if spec.n_clusters == 1 or not spec.exchangeable:
        return np.broadcast_to(np.arange(spec.n_clusters), parameters.weight.shape), sure
    if spec.ordering in ("auto", "none"):
        hard = joint.argmax(1)
        return sample.ecr(hard) if sample else (ecr(hard, pivot, spec.n_clusters, weight), sure)
    name, column = spec.ordering_variable()
    values = unpacked(parameters, spec)[name]
    if column is not None:
        (dim,) = spec.parameters[name].dims
        values = values[..., spec.entries[dim].index(column)]
    return order_by(values), sure


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
