"""What was seen in the table before the fit: ties, near collinearity, rows left out."""

import json
from typing import Any

import xarray as xr

from jointmix.checks.finding import Finding, Status

SOURCE = "Checked on the table before the fit"
REMEDIES = {
    "ties": "Use a prior on the scale that vanishes at zero faster than any power, such as the "
    "default inverse-gamma; a cluster can otherwise close on tied rows.",
    "near_collinear": "Leave out one of the columns, or read their slopes together.",
    "improper": "Give that scale an inverse-gamma or log-normal prior, which vanish at zero faster "
    "than any power.",
    "duplicate_rows": "Make sure that no row is counted twice.",
}
#: Notes that ask for nothing.
INFORMATIVE = frozenset({"rows_left_out", "identical_rows"})
#: Scale priors under which tied rows cannot pull a variance to zero.
ZERO_AVOIDING = frozenset({"inverse_gamma", "log_normal", "fixed"})


def check(tree: xr.DataTree) -> tuple[Finding, ...]:
    """Carry over the notes made before the fit.

    Rows left out are no concern, nor are identical rows as such, nor ties in a column whose scale
    has a prior that vanishes at zero faster than any power; other notes are cautions.
    """
    spec = json.loads(tree.attrs["spec"])
    return tuple(_finding(note, spec) for note in json.loads(tree.attrs.get("notes", "[]")))


def _harmless(note: dict[str, Any], spec: dict[str, Any]) -> bool:
    if note["code"] != "ties":
        return note["code"] in INFORMATIVE
    priors = spec.get("priors", {})
    name = "sigma" if note["subject"] == spec["data"].get("response") else "sd"
    if name == "sd" and spec["model"].get("covariance") == "fixed":
        return True
    return priors.get(name, {}).get("family", "inverse_gamma") in ZERO_AVOIDING


def _finding(note: dict[str, Any], spec: dict[str, Any]) -> Finding:
    status: Status = "ok" if _harmless(note, spec) else "caution"
    value = note.get("value")
    return Finding(
        code=str(note["code"]).replace("_", " "),
        subject=str(note.get("subject") or "table"),
        status=status,
        value=float("nan") if value is None else float(value),
        threshold=float("nan"),
        message=str(note["message"]),
        remedy="" if status == "ok" else REMEDIES.get(note["code"], "Look at what it names."),
        source=SOURCE,
    )
