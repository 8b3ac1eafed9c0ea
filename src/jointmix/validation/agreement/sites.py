"""Draws of a NumPyro model's sites as unconstrained values, the inverse of the chart, in NumPy."""

import numpy as np

from jointmix.model.location import householder
from jointmix.validation.agreement.chart import Chart, own_shape
from jointmix.validation.agreement.parts import Part
from jointmix.validation.agreement.problem import (
    LOCATION,
    WEIGHT,
    Problem,
    locations,
    of_square,
)


def unconstrained(chart: Chart, samples: dict[str, np.ndarray]) -> np.ndarray:
    """Unconstrained values (draw, dim) of draws of the sites, site → (draw, ...).

    The draws of an ordered model must lie inside the cone.
    """
    problem, n = chart.problem, len(next(iter(samples.values())))
    given: dict[str, np.ndarray] = {}
    for name, (site, _) in chart.sites.items():
        part, value = chart.parts[name], samples[site]
        own = own_shape(name, problem, site)
        if name in chart.turned:
            value = np.swapaxes(value.reshape(n, *own[::-1]), 1, 2)
        if part == Part(part.quantity):
            given[part.quantity] = value
        else:
            whole = own_shape(part.quantity, problem, site)
            part.put(given.setdefault(part.quantity, np.full((n, *whole), np.nan)), value)
    for twin in problem.twins:
        given = twin.separated(given) | given
    q = np.empty((n, problem.dim))
    for name, (where, _) in problem.slices.items():
        q[:, where] = _block(problem, name, given, n).reshape(n, -1)
    return q


def _block(problem: Problem, name: str, given: dict[str, np.ndarray], n: int) -> np.ndarray:
    if name == WEIGHT:
        log_weight = np.log(given[WEIGHT].reshape(n, -1))
        return np.asarray(log_weight[:, :-1] - log_weight.mean(1, keepdims=True))
    if name == LOCATION:
        return _location(problem, given, n)
    item = problem.spec.parameters[name]
    if item.role == "probability":
        # Of the levels that sites hold, one may be left out: all sum to one.
        share = given[name].reshape(n, problem.spec.n_clusters, -1)
        rest = 1 - np.nansum(share, axis=-1, keepdims=True)
        log_share = np.log(np.where(np.isnan(share), rest, share))
        return np.asarray(log_share[..., :-1] - log_share.mean(-1, keepdims=True))
    if item.role == "correlation":
        factor = given.get(f"{name}_cholesky")
        return _log_odds(np.linalg.cholesky(given[name]) if factor is None else factor)
    log = given.get(f"log_{name}")
    if log is None and f"{item.site}_variance" in given:
        log = np.log(given[f"{item.site}_variance"]) / 2
    if log is None:
        log = np.log(given[name] if name in given else given[f"{item.site}_sd"])
    return np.asarray(2 * log if of_square(item) else log)


def _log_odds(factor: np.ndarray) -> np.ndarray:
    """Log odds (1 + p) / (1 − p) of the partial correlations, (draw, matrix, pair)."""
    d, found = factor.shape[-1], []
    for i, j in zip(*np.tril_indices(d, -1), strict=True):
        rest = np.sqrt(1 - (factor[..., i, :j] ** 2).sum(-1))
        found.append(2 * np.arctanh(factor[..., i, j] / rest))
    return np.stack(found, axis=-1)


def _location(problem: Problem, given: dict[str, np.ndarray], n: int) -> np.ndarray:
    """ξ, or inside the cone its first place and the logs of its gaps, (draw, component, column)."""
    k = problem.spec.n_clusters
    if "place" in given:
        across = given.get("across", np.zeros((n, k, 0)))
        eta = np.concatenate([given["place"].reshape(n, k, 1), across.reshape(n, k, -1)], axis=2)
    else:
        parts = []
        for name, prior, _ in locations(problem.spec):
            if f"{name}_xi" in given:
                parts.append(given[f"{name}_xi"].reshape(n, k, -1))
            else:
                parts.append((given[name].reshape(n, k, -1) - prior.loc) / prior.scale)
        xi = np.concatenate(parts, axis=2)
        if problem.direction is None:
            return xi
        eta = xi @ householder(problem.direction)
    first = eta[:, :, 0]
    gaps = np.concatenate([first[:, :1], np.log(np.diff(first, axis=1))], axis=1)
    return np.concatenate([gaps[:, :, None], eta[:, :, 1:]], axis=2)
