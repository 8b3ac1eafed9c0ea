"""Do the rows tell the clusters apart? What the mode of the likelihood says of neighbours.

A cluster too many is seldom the copy of another: it takes the outskirts of one, far away in
standard errors. What gives it away is that the model without it is no worse.
"""

import json

import xarray as xr

from jointmix.base.numbers import fixed
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
    """Judge the gap between neighbouring clusters, and what merging them would cost.

    The number is the gap in standard errors, or, where the model without a cluster is no worse, the
    change of BIC that says so.
    """
    found = json.loads(tree.attrs.get("ordering", "{}"))
    gap, evidence = found.get("separation"), found.get("evidence")
    if gap is None:
        reason = "labels were left free, or there are none to order"
        return (skipped(CODE, SUBJECT, reason, SOURCE),)
    superfluous = evidence is not None and evidence <= 0
    weak = gap < LEAST or superfluous
    status: Status = "caution" if weak else "ok"
    message = f"Neighbouring clusters lie at least {fixed(gap, 1, LEAST)} standard errors apart"
    if superfluous:
        message = (
            "A cluster is superfluous: merging it with its neighbour lowers BIC by "
            f"{fixed(-evidence, 1, 0.0)}, although neighbours lie at least {gap:.1f} standard "
            "errors apart"
        )
    elif evidence is not None:
        message += f"; merging two of them raises BIC by {fixed(evidence, 1, 0.0)}"
    return (
        Finding(
            code=CODE,
            subject=SUBJECT,
            status=status,
            value=float(evidence if superfluous else gap),
            threshold=0.0 if superfluous else LEAST,
            message=f"{message}.",
            remedy=REMEDY if weak else "",
            source=SOURCE,
        ),
    )
