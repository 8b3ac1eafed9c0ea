"""Rows with missing entries: terms of the entries that are there, one pattern after the other."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from jointmix.families.rows import Rows
from jointmix.validation.twin.family import Array, Arrays, Twin

#: A twin's term of rows at parameters, (..., obs, component).
Term = Callable[[Twin, Mapping[str, Array], Rows], Array]


def terms_of(
    twins: Sequence[Twin], own: Mapping[str, Array], rows: Rows, numbers: Any, term: Term
) -> Arrays:
    """Terms (..., obs, component) by what twins call their columns.

    Those of rows with missing entries are of what is there: Gaussian features that are not there
    are integrated out, of the response too where they are its predictors; where nothing of a twin
    is there, its term is zero.

    Parameters
    ----------
    own
        Parameters (..., component, *core).
    numbers
        NumPy, or jax.numpy where the parameters are JAX's.
    """
    if rows.complete:
        return {twin.column: term(twin, own, rows) for twin in twins}
    gone = np.isnan(np.column_stack([rows.x, rows.y]))
    kinds, group = np.unique(gone, axis=0, return_inverse=True)
    places = [np.flatnonzero(group.ravel() == kind) for kind in range(len(kinds))]
    back = np.argsort(np.concatenate(places))
    found = {}
    for twin in twins:
        parts = [
            _term(twin, own, rows.take(place), ~kind, numbers, term)
            for place, kind in zip(places, kinds, strict=True)
        ]
        found[twin.column] = numbers.concatenate(parts, axis=-2)[..., back, :]
    return found


def _term(
    twin: Twin, own: Mapping[str, Array], rows: Rows, there: np.ndarray, numbers: Any, term: Term
) -> Array:
    """Of rows that have the same entries, (feature and response,)."""
    present, answered = there[:-1], there[-1]
    nothing = not answered if twin.of_response else twin.column == "x" and not present.any()
    if nothing:
        weight = own["weight"].shape
        return numbers.zeros((*weight[:-1], len(rows.y), weight[-1]))
    if not present.all():
        own, rows = twin.without(own, rows, present, numbers)
    return term(twin, own, rows)
