"""Rows with missing entries: terms of the entries that are there, one pattern after the other."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from jointmix.families.rows import Rows
from jointmix.validation.twin.family import Array, Arrays, Twin

#: A twin's term of rows at parameters, (..., obs, component).
Term = Callable[[Twin, Mapping[str, Array], Rows], Array]


def terms_of(twins: Sequence[Twin], own: Mapping[str, Array], rows: Rows, term: Term) -> Arrays:
    """Terms (..., obs, component) by what twins call their columns.

    Those of rows with missing entries are of what is there: Gaussian features that are not there
    are integrated out, of the response too where they are its predictors; where nothing of a twin
    is there, its term is zero. Levels of which predictors are made are summed over.

    Parameters
    ----------
    own
        Parameters (..., component, *core), of NumPy.
    """
    if rows.complete:
        return {twin.column: term(twin, own, rows) for twin in twins}
    if rows.completions is not None:
        return _over_levels(np, lambda some: terms_of(twins, own, some, term), rows)
    gone = np.isnan(np.column_stack([rows.x, rows.y]))
    kinds, group = np.unique(gone, axis=0, return_inverse=True)
    places = [np.flatnonzero(group.ravel() == kind) for kind in range(len(kinds))]
    back = np.argsort(np.concatenate(places))
    found = {}
    for twin in twins:
        parts = [
            _term(twin, own, rows.take(place), ~kind, term)
            for place, kind in zip(places, kinds, strict=True)
        ]
        found[twin.column] = np.concatenate(parts, axis=-2)[..., back, :]
    return found


def stacked_terms(
    twins: Sequence[Twin], own: Mapping[str, Array], rows: Rows, term: Term
) -> Arrays:
    """As `terms_of` in JAX at one value of the parameters, compiled once for all patterns.

    Rows that lack what a twin reads stand in blocks of one length, (block, row), each of rows of
    one pattern, the last of which are filled up; patterns differ in their parameters alone.
    """
    import jax.numpy as jnp

    if rows.completions is not None:
        return _over_levels(jnp, lambda some: stacked_terms(twins, own, some, term), rows)
    there, answered = ~np.isnan(rows.x), ~np.isnan(rows.y)
    found = {}
    for twin in twins:
        asked = answered if twin.of_response else np.ones(len(there), dtype=bool)
        lacking = asked & twin.lacks(there)
        kinds = [np.flatnonzero(kind) for kind in (asked & ~lacking, lacking, ~asked)]
        parts = [term(twin, own, rows.take(kinds[0]))]
        if len(kinds[1]):
            parts.append(_stacked(twin, own, rows.take(kinds[1]), there[kinds[1]]))
        parts.append(jnp.zeros((len(kinds[2]), len(own["weight"]))))
        back = np.argsort(np.concatenate(kinds))
        found[twin.column] = jnp.concatenate(parts)[back]
    return found


def _over_levels(numbers: Any, terms: Callable[[Rows], Arrays], rows: Rows) -> Arrays:
    """Terms of rows that miss levels of which predictors are made, with those of their features.

    A row's density is the sum of those with its levels filled in, and the response's term is what
    the features', which know no missing levels, leave of it.

    Parameters
    ----------
    numbers
        NumPy, or JAX's.
    """
    assert rows.completions is not None
    found = terms(replace(rows, u=np.nan_to_num(rows.u), completions=None))
    filled = terms(rows.expanded)
    del found["y"]
    joint: Array = sum(filled.values())
    alone: Array = sum(found.values())
    count = rows.completions.count
    first, places = np.cumsum(count) - count, [np.flatnonzero(count == 1)]
    response = [filled["y"][..., first[places[0]], :]]
    for n in np.unique(count[count > 1]).tolist():
        own = np.flatnonzero(count == n)
        each = joint[..., first[own][:, None] + np.arange(n), :]
        top = each.max(axis=-2)
        whole = top + numbers.log(numbers.exp(each - top[..., None, :]).sum(axis=-2))
        response.append(whole - alone[..., own, :])
        places.append(own)
    back = np.argsort(np.concatenate(places))
    return {**found, "y": numbers.concatenate(response, axis=-2)[..., back, :]}


def _stacked(twin: Twin, own: Mapping[str, Array], rows: Rows, there: np.ndarray) -> Array:
    """Terms (obs, component) of rows which lack something that the twin reads."""
    kinds, group = np.unique(there, axis=0, return_inverse=True)
    left, rows = twin.masked(own, replace(rows, x=np.where(there, rows.x, 0.0)), kinds)
    length = -(-len(there) // len(kinds))
    blocks, pattern = [], []
    for kind in range(len(kinds)):
        place = np.flatnonzero(group.ravel() == kind)
        filled = np.concatenate([place, np.repeat(place[-1:], -len(place) % length)])
        blocks.append(filled.reshape(-1, length))
        pattern += [kind] * len(blocks[-1])
    at = np.concatenate(blocks)
    # What no pattern changes has no axis of patterns.
    of_blocks = {
        name: value if value is own.get(name) else value[np.array(pattern)][:, None]
        for name, value in left.items()
    }
    across = Rows(rows.x[at][..., None, :], rows.u[at][..., None, :], rows.y[at][..., None])
    found = twin.distribution(of_blocks, across).log_prob(twin.observed(across))
    _, first = np.unique(at, return_index=True)
    return found.reshape(-1, found.shape[-1])[first]


def _term(twin: Twin, own: Mapping[str, Array], rows: Rows, there: np.ndarray, term: Term) -> Array:
    """Of rows that have the same entries, (feature and response,)."""
    present, answered = there[:-1], there[-1]
    nothing = not answered if twin.of_response else twin.column == "x" and not present.any()
    if nothing:
        weight = own["weight"].shape
        return np.zeros((*weight[:-1], len(rows.y), weight[-1]))
    if not present.all():
        own, rows = twin.without(own, rows, present)
    return term(twin, own, rows)


def masked_covariance(cholesky: Array, there: np.ndarray) -> Array:
    """Σ of features of which some are not ``there`` (pattern, feature), from its factor.

    (pattern, component, feature, feature): those not there are independent of the others, with
    the variance 1/2π, at which the density of a zero is one.
    """
    import jax.numpy as jnp

    kept = there[:, None, :, None] & there[:, None, None, :]
    alone = np.eye(there.shape[1]) * (~there[:, None, :] / (2 * np.pi))[..., None]
    return (cholesky @ jnp.swapaxes(cholesky, -1, -2)) * kept + alone
