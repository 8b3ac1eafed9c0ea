"""Did sampling run to its end, and was it repeated?"""

import json

import xarray as xr

from jointmix.checks.finding import Finding

CODE = "partial"
SOURCE = "Set when sampling is interrupted"


def check(tree: xr.DataTree) -> tuple[Finding, ...]:
    """Judge whether the draws are those asked for, or those finished at an interruption."""
    partial = bool(tree.attrs.get("partial", False))
    message = "Sampling ran to its end."
    if partial:
        message = "Sampling was interrupted; these are the draws finished until then."
    again = [str(each["text"]) for each in json.loads(tree.attrs.get("retries", "[]"))]
    return (
        Finding(
            code=CODE,
            subject="draws",
            status="caution" if partial else "ok",
            value=float(partial),
            threshold=0.0,
            message=" ".join([message, *again]),
            remedy="Fit again to the end for the precision asked for." if partial else "",
            source=SOURCE,
        ),
    )
