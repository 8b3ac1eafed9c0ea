"""Missing entries that a calibration may ask for, so that they are calibrated too."""

import numpy as np

from jointmix.base.errors import SpecError
from jointmix.model.gaps import gap_issues
from jointmix.model.holes import shares_missing
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
    found = shares_missing(missing, spec)
    if found and spec.missing != "model":
        raise SpecError('Tables with missing entries are fitted by missing="model" alone.')
    raise_first(gap_issues(np.ones((1, len(found)), dtype=bool), [*found], spec, None))
    return found
