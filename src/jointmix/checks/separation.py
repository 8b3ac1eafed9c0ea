"""Do the rows tell the clusters apart? What the mode of the likelihood says of neighbours."""

import json

import xarray as xr

from jointmix.checks.finding import Finding, Status, skipped

CODE = "separation"
SUBJECT = "clusters"
SOURCE = (
    "Neighbours 4 standard errors apart change places with probability 3e-5; Schwarz (1978) for "
    "the merged model"
)
LEAST = 4.0
REMEDY = (
    "Compare with one cluster less; read quantities that labels do not enter (densities, "
    "co-clustering) rather than single clusters."
)


def check(tree: xr.DataTree) -> tuple[Finding, ...]:
    """Judge the gap between neighbouring clusters, and what merging them would cost."""
    found = json.loads(tree.attrs.get("ordering", "{}"))
    gap, evidence = found.get("separation"), found.get("evidence")
    if gap is None:
        reason = "labels were left free, or there are none to order"
        return (skipped(CODE, SUBJECT, reason, SOURCE),)
    weak = gap < LEAST or (evidence is not None and evidence <= 0)
    status: Status = "caution" if weak else "ok"
    message = f"Neighbouring clusters lie at least {gap:.1f} standard errors apart"
    if evidence is not None:
        change = "raises" if evidence > 0 else "lowers"
        message += f"; merging two of them {change} BIC by {abs(evidence):.1f}"
    return (
        Finding(
            code=CODE,
            subject=SUBJECT,
            status=status,
            value=float(gap),
            threshold=LEAST,
            message=f"{message}.",
            remedy=REMEDY if weak else "",
            source=SOURCE,
        ),
    )
