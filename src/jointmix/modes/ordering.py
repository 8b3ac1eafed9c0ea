"""The direction along which the clusters' locations are best told apart.

Standardised by their prior scales, the free location parameters ξ_k = (μ_k, b_k, θ_k) are
independent and identically distributed over k. Requiring c'ξ_1 < … < c'ξ_K therefore picks one of
the K! equal copies of the posterior, without distorting it, whatever the direction c. The sampler
profits from a c along which neighbours are far apart compared with their standard errors.
"""

from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from jointmix.families.completing import completed, over_levels
from jointmix.families.parameters import Parameters
from jointmix.families.priors.priors import Fixed
from jointmix.families.rows import Rows
from jointmix.model.dataset import Dataset
from jointmix.model.location import coordinates
from jointmix.model.spec import ModelSpec
from jointmix.modes.census import Mode
from jointmix.modes.climb import merged_bic
from jointmix.modes.free import standard_locations
from jointmix.modes.information import location_errors

#: Gap between neighbours, in standard errors, below which labels are not constrained: at 4 a
#: neighbouring pair of normal estimates changes places with probability 3e-5.
LEAST_SEPARATION = 4.0
_RANDOM_DIRECTIONS = 500
_REFINEMENTS = 8


@dataclass(frozen=True, eq=False)
class Ordering:
    """How the labels are constrained while sampling.

    Attributes
    ----------
    kind
        "direction", "variable" (one location parameter, named by the user) or "none".
    direction
        Unit vector c, shape (location,), or None.
    separation
        Smallest gap between neighbouring clusters at the EM mode along c, in standard errors;
        NaN where there is no gap to measure.
    text
        One sentence for people.
    evidence
        By how much BIC rises at least when two neighbours are merged; NaN where that was not
        computed.
    """

    kind: str
    direction: np.ndarray | None
    separation: float
    text: str
    evidence: float = float("nan")


def location_covariance(
    parameters: Parameters, spec: ModelSpec, share: np.ndarray, rows: Rows
) -> np.ndarray:
    """Sampling covariance of ξ for given shares, (cluster, location, location).

    Parameters
    ----------
    parameters, rows
        On the model's scale, without batch dims.
    share
        Responsibilities, (obs, cluster).
    """
    share = rows.weighted(share)
    scale = np.array([item.prior.scale for item in coordinates(spec)])
    result, first = np.zeros((spec.n_clusters, len(scale), len(scale))), 0
    whole, part = over_levels(rows, share, parameters, spec.blocks)
    whole, answered = completed(whole, parameters, part, spec.blocks), ~np.isnan(whole.y)
    for block in spec.blocks:
        if block.of_response and not rows.complete:
            own = block.errors(parameters, whole.take(answered), part[answered])
        else:
            own = block.errors(parameters, rows, share)
        last = first + own.shape[-1]
        result[:, first:last, first:last] = own
        first = last
    return result / np.outer(scale, scale)


def separation(direction: np.ndarray, xi: np.ndarray, covariance: np.ndarray) -> np.ndarray:
    """Smallest gap between neighbours along each direction, in standard errors.

    Parameters
    ----------
    direction
        Shape (..., location).
    xi, covariance
        Shapes (cluster, location) and (cluster, location, cluster, location).

    Returns
    -------
    numpy.ndarray
        Shape (...).
    """
    place = direction @ xi.T
    # Covariances of the clusters' places along each direction, (..., cluster, cluster).
    half = np.tensordot(direction, covariance, axes=(-1, 1))
    joint = np.einsum("...klj,...j->...kl", half, direction)
    order = np.argsort(place, axis=-1)
    place = np.take_along_axis(place, order, axis=-1)
    low, high = order[..., :-1], order[..., 1:]
    variance = np.diagonal(joint, axis1=-2, axis2=-1)
    each = [np.take_along_axis(variance, side, axis=-1) for side in (low, high)]
    flat = joint.reshape(*joint.shape[:-2], -1)
    cross = np.take_along_axis(flat, low * joint.shape[-1] + high, axis=-1)
    # Rounding may leave the variance of a difference below zero.
    gap_variance = np.maximum(each[0] + each[1] - 2 * cross, 1e-300)
    return np.asarray((np.diff(place, axis=-1) / np.sqrt(gap_variance)).min(axis=-1))


def separating_direction(
    xi: np.ndarray, covariance: np.ndarray, rng: np.random.Generator
) -> tuple[np.ndarray, float]:
    """The unit direction with the largest `separation`, and that separation.

    Candidates are the coordinates, each pair's discriminant V⁻¹(ξ_k − ξ_l), with V the
    covariance of the difference, random mixtures of the discriminants and random directions; the
    best are then perturbed, ever less.
    """
    k, p = xi.shape
    upper, lower = np.triu_indices(k, 1)
    own = np.einsum("kikj->kij", covariance)
    cross = covariance[upper, :, lower, :]
    pooled = own[upper] + own[lower] - cross - np.swapaxes(cross, -1, -2)
    pairs = (np.linalg.pinv(pooled, hermitian=True) @ (xi[upper] - xi[lower])[..., None])[..., 0]
    pairs = pairs / np.maximum(np.linalg.norm(pairs, axis=1, keepdims=True), 1e-300)
    mixed = rng.normal(size=(_RANDOM_DIRECTIONS, len(pairs))) @ pairs
    scale = 1 / np.sqrt(np.maximum(np.diagonal(own, axis1=1, axis2=2).mean(0), 1e-300))
    random = rng.normal(size=(_RANDOM_DIRECTIONS, p)) * scale
    candidates = np.concatenate([np.eye(p), pairs, mixed, random])
    step = 0.5
    for _ in range(_REFINEMENTS + 1):
        norm = np.linalg.norm(candidates, axis=1, keepdims=True)
        candidates = candidates / np.maximum(norm, 1e-300)
        best = candidates[np.argsort(-separation(candidates, xi, covariance))[:20]]
        noise = rng.normal(size=(20, *best.shape)) * scale / np.linalg.norm(scale)
        candidates = np.concatenate([best, (best + step * noise).reshape(-1, p)])
        step /= 2
    return best[0], float(separation(best[0], xi, covariance))


def choose_ordering(mode: Mode, dataset: Dataset, seed: int | np.random.Generator) -> Ordering:
    """Decide from the best EM mode how to constrain the labels while sampling.

    Parameters
    ----------
    mode
        The best mode.
    dataset
        The model and its rows.
    seed
        Seed or generator of the random candidate directions.
    """
    spec, scaling, nan = dataset.spec, dataset.scaling, float("nan")
    if spec.n_clusters == 1:
        return Ordering("none", None, nan, "One cluster has no labels to identify.")
    if not spec.exchangeable:
        text = "The clusters differ in their fixed values, so labels cannot switch."
        return Ordering("none", None, nan, text)
    if spec.ordering == "none" or not coordinates(spec):
        text = "Labels were left free while sampling and identified afterwards."
        return Ordering("none", None, nan, text)
    parameters = scaling.to_model(mode.parameters)
    xi = standard_locations(parameters, spec)
    covariance = location_errors(dataset.rows, parameters, spec)
    if spec.ordering != "auto":
        return _named(spec, xi, covariance)
    direction, gap = separating_direction(xi, covariance, np.random.default_rng(seed))
    if gap < LEAST_SEPARATION:
        text = (
            f"No direction separates the clusters by {LEAST_SEPARATION:g} standard errors (the "
            f"best one by {gap:.1f}), so labels were left free while sampling and identified "
            "afterwards: labels are weak."
        )
        return Ordering("none", None, gap, text)
    evidence = _evidence(mode, dataset, np.argsort(xi @ direction))
    if evidence <= 0:
        text = (
            "Merging two neighbouring clusters does not make the model worse (it lowers BIC by "
            f"{-evidence:.1f}), so labels were left free while sampling and identified "
            "afterwards: labels are weak."
        )
        return Ordering("none", None, gap, text, evidence)
    text = (
        "While sampling, clusters were ordered along the direction of the location parameters "
        f"that separates them best: neighbours lie at least {gap:.1f} standard errors apart."
    )
    return Ordering("direction", direction, gap, text, evidence)


def _evidence(mode: Mode, dataset: Dataset, order: np.ndarray) -> float:
    """The smallest rise of BIC when neighbours in this order are merged.

    Standard errors at a mode of the likelihood know nothing of other modes, and a superfluous
    cluster finds something to fit: whether the rows tell two clusters apart is asked of the model
    without the second.
    """
    spec = dataset.spec
    if any(
        isinstance(prior, Fixed) and prior.array.ndim and len(prior.array) == spec.n_clusters
        for prior in vars(spec.priors).values()
    ):
        # Values fixed cluster by cluster do not fit a model with one cluster less.
        return float("nan")
    pairs = [(int(one), int(other)) for one, other in pairwise(order)]
    return float((merged_bic(dataset, mode, pairs) - mode.bic).min())


def _named(spec: ModelSpec, xi: np.ndarray, covariance: np.ndarray) -> Ordering:
    name, column = spec.ordering_variable()
    items = [(item.parameter, item.column) for item in coordinates(spec)]
    if (name, column) not in items:
        text = f"Labels were left free while sampling and afterwards ordered by {spec.ordering}."
        return Ordering("none", None, float("nan"), text)
    direction = np.eye(len(items))[items.index((name, column))]
    gap = float(separation(direction, xi, covariance))
    text = (
        f"While sampling, clusters were ordered by {spec.ordering}, as asked: neighbours lie at "
        f"least {gap:.1f} standard errors apart."
    )
    return Ordering("variable", direction, gap, text)
