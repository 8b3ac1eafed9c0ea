"""Entries that are deleted from drawn tables at random, so that missing ones are calibrated too."""

from collections.abc import Mapping

import numpy as np

from jointmix.base.arguments import shown
from jointmix.base.errors import SpecError
from jointmix.model.gaps import gap_issues
from jointmix.model.spec import ModelSpec
from jointmix.tables.issues import raise_first


def checked_shares(missing: object, spec: ModelSpec) -> dict[str, float]:
    """Shares of the entries that are deleted, by column; none for None.

    Raises
    ------
    SpecError
        If they are no shares below one of the model's columns, or the model does not keep rows
        with missing entries.
    DataError
        If the model cannot integrate over a column.
    """
    if missing is None:
        return {}
    if not isinstance(missing, Mapping):
        raise SpecError(f"missing must map columns to shares; got {shown(missing)}.")
    names = (*spec.clustering, *([] if spec.response is None else [spec.response]))
    for name, share in missing.items():
        if name not in names:
            raise SpecError(
                f"missing has {shown(name)}, which is no feature and no response; the model has "
                f"{', '.join(names)}."
            )
        number = isinstance(share, int | float) and not isinstance(share, bool)
        if not number or not 0 <= share < 1:
            raise SpecError(f"The share missing of {name!r} must lie in [0, 1); got {share!r}.")
    found = {name: float(share) for name, share in missing.items() if share}
    if found and spec.missing != "model":
        raise SpecError('Tables with missing entries are fitted by missing="model" alone.')
    raise_first(gap_issues(np.ones((1, len(found)), dtype=bool), [*found], spec, None))
    return found


def with_holes(
    table: Mapping[str, np.ndarray],
    shares: Mapping[str, float],
    spec: ModelSpec,
    rng: np.random.Generator,
) -> dict[str, np.ndarray]:
    """The table without so many of its entries, each deleted or not whatever it and others are.

    The first row stays whole, as a new response is drawn at it, and so does a row of which nothing
    would be left.
    """
    found = dict(table)
    if not shares:
        return found
    names = (*spec.clustering, *([] if spec.response is None else [spec.response]))
    n = len(next(iter(table.values())))
    gone = np.column_stack([rng.random(n) < shares.get(name, 0.0) for name in names])
    gone[gone.all(axis=1)] = False
    gone[0] = False
    for name, holes in zip(names, gone.T, strict=True):
        column = found[name]
        if not holes.any():
            continue
        column = column.astype(float if column.dtype.kind in "fiu" else object)
        column[holes] = np.nan if column.dtype == float else None
        found[name] = column
    return found
