"""What a fit says its rows are, so that others are told from them."""

import hashlib
import json
from collections.abc import Sequence

import numpy as np

from jointmix.model.spec import ModelSpec

#: Rows that are hashed at a time.
_HASHED = 65_536


def digest_of(
    names: Sequence[str], used: np.ndarray, weight: np.ndarray | None, spec: ModelSpec
) -> str:
    """SHA-256, hexadecimal, of columns, their values (N, C), weights (N,) or None, and levels."""
    weighing = [] if weight is None else [spec.row_weights]
    of_levels = [[own.column, *own.levels] for own in spec.discrete if own.levels]
    columns = [*names, *weighing, *of_levels]
    values = used if weight is None else np.c_[used, weight]
    digest = hashlib.sha256(json.dumps(columns).encode())
    # Adding zero turns −0.0, which equals 0.0 but has other bytes, into 0.0; NaN have many.
    for first in range(0, len(values), _HASHED):
        part = values[first : first + _HASHED]
        plain = np.where(np.isnan(part), np.nan, part + 0.0)
        digest.update(plain.astype("<f8").tobytes())
    return digest.hexdigest()
