"""Did a cluster close on rows without spread? Its smallest variance in each draw, and those rows.

Rows that lie exactly on a point, line or plane let the density of a cluster grow without bound,
where the prior does not forbid it (see `jointmix.families.priors.zero`).
"""

import numpy as np
import xarray as xr

from jointmix.base.errors import SpecError
from jointmix.base.numbers import percent
from jointmix.base.schema import CLUSTER, require_group
from jointmix.checks.finding import Finding, above, counted, listed, skipped
from jointmix.families.checks import SMALL, Closed
from jointmix.families.mixture import component_log_density
from jointmix.families.parameters import Parameters
from jointmix.families.rows import Rows
from jointmix.model.spec import ModelSpec
from jointmix.posterior.draws import (
    draw_parameters,
    fitted_spec,
    observed_rows,
    spread,
)

CODE = "collapse"
SUBJECT = "clusters"
SOURCE = "Day (1969), doi:10.1093/biomet/56.3.463: the likelihood is unbounded at such clusters"
FAIL_SHARE = 0.01
_MOST_DRAWS = 2_000
#: Repeated rows that are looked at.
_MOST_ROWS = 100_000


def check(tree: xr.DataTree) -> tuple[Finding, ...]:
    """Judge the share of draws in which a cluster has closed on rows that agree exactly.

    A prior that vanishes at zero faster than any power bounds what ties can do, and its clusters
    are no failure: `floor` tells of them.
    """
    try:
        spec = fitted_spec(tree)
    except SpecError as error:
        return (skipped(CODE, SUBJECT, str(error).rstrip("."), SOURCE),)
    if all(block.checks.holds_all for block in spec.blocks):
        return (skipped(CODE, SUBJECT, "one cluster holds all rows", SOURCE),)
    posterior = require_group(tree, "posterior")
    rows = observed_rows(tree, spec).standing(_MOST_ROWS)
    closed = closed_clusters(posterior, rows, spec)
    share = max((each.share for each in closed), default=0.0)
    message = "No cluster closed on rows without spread."
    if closed:
        labels = posterior[CLUSTER].values
        parts = [
            f"cluster {labels[each.cluster]} in {percent(each.share, 1, FAIL_SHARE)} of the draws "
            f"on {counted(each.n_rows, 'row')} {each.what}"
            for each in closed
        ]
        message = (
            f"The density is unbounded where chains went: {listed(parts)}. "
            "Those draws belong to no proper posterior."
        )
    return (
        Finding(
            code=CODE,
            subject=SUBJECT,
            status=above(share, 0, FAIL_SHARE),
            value=share,
            threshold=0.0,
            message=message,
            remedy=" ".join(dict.fromkeys(each.remedy for each in closed)),
            source=SOURCE,
        ),
    )


def closed_clusters(posterior: xr.Dataset, rows: Rows, spec: ModelSpec) -> list[Closed]:
    """The clusters that closed on rows in some draw, by at most 2,000 evenly spaced draws.

    Parameters
    ----------
    posterior, rows
        Identified draws, and the rows, on the users' scale; those with missing entries are
        passed over.
    """
    if not rows.complete:
        rows = rows.take(~np.isnan(np.column_stack([rows.x, rows.u, rows.y])).any(axis=1))
    parameters = draw_parameters(posterior, CLUSTER, spec)
    parameters = parameters.take(spread(len(parameters.weight), _MOST_DRAWS).tolist())
    found = []
    for block in spec.blocks:
        if block.checks.holds_all:
            continue
        small = block.checks.smallest_spread(parameters, rows)
        for cluster in range(spec.n_clusters if small is not None else 0):
            assert small is not None
            share = float((small[:, cluster] < SMALL).mean())
            if share == 0:
                continue
            held = _held(rows, parameters, int(small[:, cluster].argmin()), cluster, spec)
            if len(held) >= 2:
                found.append(block.checks.closed(parameters, rows, held, cluster, share))
    return [each for each in found if each is not None]


def _held(
    rows: Rows, parameters: Parameters, draw: int, cluster: int, spec: ModelSpec
) -> np.ndarray:
    """Places of the rows that a cluster most probably holds in a draw."""
    component = component_log_density(spec.blocks, rows, parameters.take(draw))
    return np.flatnonzero(component.argmax(axis=-1) == cluster)
