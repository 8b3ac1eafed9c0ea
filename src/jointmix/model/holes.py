"""Entries that are deleted from drawn tables at random."""

from collections.abc import Mapping

import numpy as np

from jointmix.base.arguments import shown
from jointmix.base.errors import SpecError
from jointmix.model.spec import ModelSpec


def shares_missing(missing: object, spec: ModelSpec) -> dict[str, float]:
    """Shares of the entries that are deleted, by column, without zeros; none for None.

    Raises
    ------
    SpecError
        If they are no shares below one of the model's features or response.
    """
    if missing is None:
        return {}
    if not isinstance(missing, Mapping):
        raise SpecError(f"missing must map columns to shares; got {shown(missing)}.")
    names = _may_miss(spec)
    for name, share in missing.items():
        if name not in names:
            raise SpecError(
                f"missing has {shown(name)}, which is no feature and no response; the model has "
                f"{', '.join(names)}."
            )
        number = isinstance(share, int | float) and not isinstance(share, bool)
        if not number or not 0 <= share < 1:
            raise SpecError(f"The share missing of {name!r} must lie in [0, 1); got {share!r}.")
    return {name: float(share) for name, share in missing.items() if share}


def with_holes(
    table: Mapping[str, np.ndarray],
    shares: Mapping[str, float],
    spec: ModelSpec,
    rng: np.random.Generator,
    n_whole: int = 0,
) -> dict[str, np.ndarray]:
    """The table without so many of its entries, each deleted or not whatever it and others are.

    A row of which nothing would be left stays whole, and so do the first ``n_whole`` rows.
    """
    found = dict(table)
    if not shares:
        return found
    names, n = _may_miss(spec), len(next(iter(table.values())))
    gone = np.column_stack([rng.random(n) < shares.get(name, 0.0) for name in names])
    gone[gone.all(axis=1)] = False
    gone[:n_whole] = False
    for name, holes in zip(names, gone.T, strict=True):
        column = found[name]
        if not holes.any():
            continue
        column = column.astype(float if column.dtype.kind in "fiu" else object)
        column[holes] = np.nan if column.dtype == float else None
        found[name] = column
    return found


def _may_miss(spec: ModelSpec) -> tuple[str, ...]:
    return (*spec.clustering, *([] if spec.response is None else [spec.response]))
