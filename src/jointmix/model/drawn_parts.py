"""Drawn tables as folders of Parquet files, one file in memory at a time."""

import hashlib
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from jointmix.base.arguments import file_path, progress_option
from jointmix.base.progress import ProgressOption, show_progress
from jointmix.model.serialised import spec_to_dict
from jointmix.model.truth import Truth
from jointmix.storage.part_folders import part_folder
from jointmix.tables.part_sources import require_pyarrow

if TYPE_CHECKING:
    import pyarrow as pa

#: Rows of a file. Changing it changes what a seed draws.
ROWS_OF_A_FILE = 250_000


def write_drawn(
    truth: Truth,
    n: int,
    seed: int,
    given: Mapping[str, np.ndarray],
    shares: Mapping[str, float],
    out: str | Path,
    draw: Callable[[int, slice], pd.DataFrame],
    progress: ProgressOption,
) -> Path:
    """Write n drawn rows, and return their folder.

    Parameters
    ----------
    given
        Columns that are not drawn, (n,) each.
    shares
        Of entries that are deleted, by column.
    draw
        Gives the rows of a file from its number and its place in the table.
    """
    require_pyarrow()
    progress_option(progress)
    path = file_path(out)
    digest = hashlib.sha256()
    for arrays in (truth.parameters, given):
        for name, values in arrays.items():
            digest.update(json.dumps([name, *values.shape]).encode() + values.tobytes())
    job = {
        "function": "simulate",
        "arguments": {"n": n, "seed": seed, "missing": dict(shares), "rows": ROWS_OF_A_FILE},
        "truth": [spec_to_dict(truth.spec), digest.hexdigest()],
    }
    with show_progress(progress) as tell, part_folder(path, job) as folder:
        for place, first in enumerate(range(0, n, ROWS_OF_A_FILE)):
            part = slice(first, min(n, first + ROWS_OF_A_FILE))
            name = f"part-{place:05d}.parquet"
            if folder.written(name) is None:
                table = _as_arrow(draw(place, part), shares)
                folder.write(name, table.schema, iter([table]))
            tell("rows", part.stop, n, name)
    return path


def _as_arrow(frame: pd.DataFrame, shares: Mapping[str, float]) -> "pa.Table":
    import pyarrow as pa

    # A file without holes has the types of those with.
    counts = [name for name in shares if frame[name].dtype.kind in "iu"]
    frame = frame.astype(dict.fromkeys(counts, np.float64))
    return pa.Table.from_pandas(frame, preserve_index=False).replace_schema_metadata()
