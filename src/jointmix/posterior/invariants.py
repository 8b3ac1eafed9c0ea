"""Quantities that do not depend on labels: what convergence is first judged by.

Permuting a draw's components leaves its log likelihood, its densities and predictions at fixed
rows, and the mean and covariance of the whole mixture as they are.
"""

from dataclasses import dataclass

import numpy as np
import xarray as xr

from jointmix.base.schema import (
    CHAIN,
    DRAW,
    POINT,
    VARIABLE,
    VARIABLE_BIS,
)
from jointmix.families.completing import completed
from jointmix.families.mixture import (
    cluster_moments,
    component_log_density,
    log_likelihood,
    log_terms,
    responsibility,
)
from jointmix.families.moments import Outside
from jointmix.families.parameters import Parameters
from jointmix.families.rows import Rows
from jointmix.model.spec import ModelSpec

N_POINTS = 10
#: Numbers (draws × points × components) worked on at a time: 2 MB an array.
_BATCH_NUMBERS = 250_000


@dataclass(frozen=True, eq=False)
class Points:
    """Fixed rows at which densities and predictions are followed.

    Attributes
    ----------
    place
        Their places among the rows of the fit, from 0, (point,).
    rows
        The rows themselves, on the users' scale.
    outside
        The predictors that are no features, over all rows.
    """

    place: np.ndarray
    rows: Rows
    outside: Outside


def choose_points(rows: Rows, mode: Parameters, spec: ModelSpec) -> Points:
    """Ten rows from the densest to the sparsest, by the density at the best mode.

    Parameters
    ----------
    rows, mode
        All rows, and EM's best mode, both on the users' scale. What is missing is filled in
        with its expectation there.
    """
    if not rows.complete:
        share = responsibility(component_log_density(spec.blocks, rows, mode))
        rows = completed(rows, mode, share, spec.blocks)
    size = max(1, _BATCH_NUMBERS // (spec.n_clusters * (1 + len(spec.columns))))
    level = np.concatenate(
        [
            log_likelihood(component_log_density(spec.blocks, part, mode))
            for part in rows.parts(size)
        ]
    )
    order = np.argsort(-level, kind="stable")
    count = min(N_POINTS, len(order))
    place = order[np.linspace(0, len(order) - 1, count).astype(int)]
    return Points(place, rows.take(place), outside_moments(rows, spec))


def outside_moments(rows: Rows, spec: ModelSpec) -> Outside:
    """Mean and covariance of the predictors that are no features, over rows that have them."""
    r = len(spec.predictors)
    if rows.completions is not None:
        known = rows.completions.count == 1
        rows = rows.take(known) if known.any() else rows.expanded
    free = [i for i, name in enumerate(spec.predictors) if name not in spec.features]
    center, covariance = np.zeros(r), np.zeros((r, r))
    if free:
        center[free] = np.average(rows.u[:, free], axis=0, weights=rows.weight)
        spread = np.cov(rows.u[:, free].T, bias=True, aweights=rows.weight)
        covariance[np.ix_(free, free)] = spread
    return Outside(center[None], covariance)


def invariants(
    parameters: Parameters, likelihood: np.ndarray, points: Points, spec: ModelSpec
) -> xr.Dataset:
    """The group ``invariant`` of a fit.

    Parameters
    ----------
    parameters
        All draws (draw,), chains one after the other, on the users' scale.
    likelihood
        Log likelihoods (chain, draw), on the users' scale.
    points
        See `choose_points`.

    Returns
    -------
    xarray.Dataset
        ``log_likelihood`` [chain draw]; ``density`` [chain draw point], log p(x, y) at the
        points; ``prediction`` [chain draw point], E[y | x] there, in the response's units;
        ``overall_mean`` [chain draw variable] and ``overall_covariance`` [chain draw variable
        variable_bis] of the features and the response under the whole mixture, averaged over the
        rows' predictors that are no features; for the squared scale in it see `Moments`. Columns
        whose moments have no closed form, such as a linked response, are left out. Of a feature
        of levels ``overall_probability_…`` [chain draw level], Σ_k π_k p_kl.
    """
    n_chains, n_draws = likelihood.shape
    density, prediction = _at_points(parameters, points.rows, spec)
    mean, covariance = overall_moments(parameters, points.outside, spec)
    names = list(cluster_moments(spec.blocks, parameters.take(slice(1)), points.outside).columns)
    arrays: dict[str, tuple[tuple[str, ...], np.ndarray]] = {"density": ((POINT,), density)}
    coords: dict[str, np.ndarray | list[str]] = {POINT: points.place}
    if names:
        arrays["overall_mean"] = ((VARIABLE,), mean)
        arrays["overall_covariance"] = ((VARIABLE, VARIABLE_BIS), covariance)
        coords |= {VARIABLE: names, VARIABLE_BIS: names}
    for parameter in spec.parameters.values():
        if parameter.role == "probability":
            name, (dim,) = f"overall_{parameter.name}", parameter.dims
            each = parameters[parameter.name]
            arrays[name] = ((dim,), np.einsum("mk,mkl->ml", parameters.weight, each))
            coords[dim] = list(spec.entries[dim])
    if prediction is not None:
        arrays["prediction"] = ((POINT,), prediction)
    variables = {
        name: ((CHAIN, DRAW, *dims), value.reshape(n_chains, n_draws, *value.shape[1:]))
        for name, (dims, value) in arrays.items()
    }
    return xr.Dataset(
        {"log_likelihood": ((CHAIN, DRAW), likelihood), **variables},
        coords=coords,
    )


def _at_points(
    parameters: Parameters, rows: Rows, spec: ModelSpec
) -> tuple[np.ndarray, np.ndarray | None]:
    """log p(x, y) and E[y | x], each (draw, point)."""
    total, k = parameters.weight.shape
    size = max(1, _BATCH_NUMBERS // (len(rows.y) * k))
    density, prediction = [], []
    for first in range(0, total, size):
        part = parameters.take(slice(first, first + size))
        component, given = log_terms(spec.blocks, rows, part)
        density.append(log_likelihood(component + given))
        if spec.response is not None:
            mean = spec.predicted.mean(part, rows)
            prediction.append((responsibility(component) * mean).sum(axis=-1))
    return np.concatenate(density), np.concatenate(prediction) if prediction else None


def overall_moments(
    parameters: Parameters, outside: Outside, spec: ModelSpec
) -> tuple[np.ndarray, np.ndarray]:
    """Mean (draw, variable) and covariance (draw, variable, variable) of the whole mixture.

    With w_k and S_k the mean and covariance of cluster k's (x, y), the mixture has the mean
    m = Σ_k π_k w_k and the covariance Σ_k π_k (S_k + (w_k − m)(w_k − m)').
    """
    means, covariances = [], []
    k, width = parameters.weight.shape[1], len(spec.features) + 1
    size = max(1, _BATCH_NUMBERS // (k * width**2))
    for first in range(0, len(parameters.weight), size):
        part = parameters.take(slice(first, first + size))
        own = cluster_moments(spec.blocks, part, outside)
        center, covariance = own.mean[:, 0], own.covariance
        mean = np.einsum("mk,mki->mi", part.weight, center)
        deviation = center - mean[:, None, :]
        within = np.einsum("mk,mkij->mij", part.weight, covariance)
        between = np.einsum("mk,mki,mkj->mij", part.weight, deviation, deviation)
        means.append(mean)
        covariances.append(within + between)
    return np.concatenate(means), np.concatenate(covariances)
