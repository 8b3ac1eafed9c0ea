"""What was seen in the table before the fit: ties, near collinearity, outliers, rows left out."""

import json
from typing import Any

import xarray as xr

from jointmix.base.errors import SpecError
from jointmix.checks.finding import Finding, Status
from jointmix.model.spec import ModelSpec
from jointmix.posterior.draws import fitted_spec

CODE = "notes"
SOURCE = "Checked on the table before the fit"
#: Notes that tell what was done, and ask for nothing.
INFORMATIVE = frozenset(
    {"rows_left_out", "unnamed_columns", "identical_rows", "row_weights", "zero_weights"}
)


def check(tree: xr.DataTree) -> tuple[Finding, ...]:
    """Carry over the notes made before the fit.

    Rows left out are no concern, nor are identical rows as such, nor ties in a column whose scale
    has a prior that vanishes at zero faster than any power; other notes are cautions, ties too
    where the specification, and so the prior, cannot be read.
    """
    found = json.loads(tree.attrs.get("notes", "[]"))
    if not found:
        return ()
    try:
        spec = fitted_spec(tree)
    except SpecError:
        spec = None
    return tuple(_finding(note, spec) for note in found)


def _harmless(note: dict[str, Any], spec: ModelSpec | None) -> bool:
    if note["code"] == "ties":
        column = note["subject"]
        blocks = [block for block in spec.blocks if column in block.columns] if spec else []
        return any(block.checks.harmless_ties(column) for block in blocks)
    return note["code"] in INFORMATIVE


def _finding(note: dict[str, Any], spec: ModelSpec | None) -> Finding:
    status: Status = "ok" if _harmless(note, spec) else "caution"
    value = note.get("value")
    return Finding(
        code=str(note["code"]).replace("_", " "),
        subject=str(note.get("subject") or "table"),
        status=status,
        value=float("nan") if value is None else float(value),
        threshold=float("nan"),
        message=str(note["message"]),
        remedy="" if status == "ok" else str(note.get("remedy") or "Look at what it names."),
        source=SOURCE,
    )
