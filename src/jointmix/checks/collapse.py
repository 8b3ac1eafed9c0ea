"""Did a cluster close on rows without spread? Its smallest variance in each draw, and those rows.

Rows that lie exactly on a point, line or plane let the density of a cluster grow without bound,
where the prior does not forbid it (see `jointmix.model.degenerate`).
"""

from dataclasses import dataclass

import numpy as np
import xarray as xr

from jointmix.base.errors import SpecError
from jointmix.base.schema import CLUSTER, require_group
from jointmix.checks.finding import Finding, above, counted, listed, skipped
from jointmix.families.mixture import component_log_density
from jointmix.families.parameters import Parameters
from jointmix.families.rows import Rows
from jointmix.model.degenerate import order_at_zero
from jointmix.model.spec import ModelSpec
from jointmix.posterior.draws import (
    draw_parameters,
    fitted_spec,
    observed_rows,
    spread,
)
from jointmix.tables.issues import quoted

CODE = "collapse"
SUBJECT = "clusters"
SOURCE = "Day (1969), doi:10.1093/biomet/56.3.463: the likelihood is unbounded at such clusters"
FAIL_SHARE = 0.01
#: A standard deviation of the table's in its direction below which a cluster's rows are looked at.
SMALL = 1e-3
#: Residuals of this size, relative to the column, are rounding.
ROUNDING = 1e-9
_MOST_DRAWS = 2_000
REMEDY_FEATURES = (
    "Fit with fewer clusters, or with covariance='diagonal', which such rows cannot close on; "
    "with a full covariance even an inverse-gamma prior of sd leaves the correlations free to."
)
REMEDY = "Give {} the inverse-gamma prior, under which the posterior is proper, or fewer clusters."


@dataclass(frozen=True, eq=False)
class Closed:
    """A cluster that closed on rows: its place, the share of draws, and what the rows share."""

    cluster: int
    share: float
    n_rows: int
    what: str
    parameter: str


def check(tree: xr.DataTree) -> tuple[Finding, ...]:
    """Judge the share of draws in which a cluster has closed on rows that agree exactly.

    A prior that vanishes at zero faster than any power bounds what ties can do, and its clusters
    are no failure: `floor` tells of them.
    """
    try:
        spec = fitted_spec(tree)
    except SpecError as error:
        return (skipped(CODE, SUBJECT, str(error).rstrip("."), SOURCE),)
    if spec.n_clusters == 1:
        return (skipped(CODE, SUBJECT, "one cluster holds all rows", SOURCE),)
    posterior = require_group(tree, "posterior")
    closed = closed_clusters(posterior, observed_rows(tree, spec), spec)
    share = max((each.share for each in closed), default=0.0)
    message = "No cluster closed on rows without spread."
    if closed:
        labels = posterior[CLUSTER].values
        parts = [
            f"cluster {labels[each.cluster]} in {each.share:.1%} of the draws on "
            f"{counted(each.n_rows, 'row')} {each.what}"
            for each in closed
        ]
        message = (
            f"The density is unbounded where chains went: {listed(parts)}. "
            "Those draws belong to no proper posterior."
        )
    remedies = [
        REMEDY_FEATURES if each.parameter == "correlation" else REMEDY.format(each.parameter)
        for each in closed
    ]
    return (
        Finding(
            code=CODE,
            subject=SUBJECT,
            status=above(share, 0, FAIL_SHARE),
            value=share,
            threshold=0.0,
            message=message,
            remedy=" ".join(dict.fromkeys(remedies)),
            source=SOURCE,
        ),
    )


def closed_clusters(posterior: xr.Dataset, rows: Rows, spec: ModelSpec) -> list[Closed]:
    """The clusters that closed on rows in some draw, by at most 2,000 evenly spaced draws.

    Parameters
    ----------
    posterior, rows
        Identified draws, and the rows, on the users' scale.
    """
    parameters = draw_parameters(posterior, CLUSTER, spec)
    parameters = parameters.take(spread(len(parameters.weight), _MOST_DRAWS).tolist())
    found = []
    if spec.features and spec.covariance != "fixed":
        small = smallest_spread(rows.x, parameters, spec)
        found += [_closed_features(rows, parameters, small, k, spec) for k in range(small.shape[1])]
    free = spec.response is not None and spec.noise != "fixed"
    if free and np.isfinite(order_at_zero(spec.priors.sigma)):
        small = parameters.sigma / rows.y.std()
        found += [_closed_response(rows, parameters, small, k, spec) for k in range(small.shape[1])]
    return [each for each in found if each is not None]


def smallest_spread(x: np.ndarray, parameters: Parameters, spec: ModelSpec) -> np.ndarray:
    """Smallest standard deviation of a cluster in any direction, over the table's there.

    Full and tied covariances have spread in all directions, others in the columns' own.

    Parameters
    ----------
    x
        Features, (obs, feature).
    parameters
        Of draws, one leading dim.
    spec
        The model.

    Returns
    -------
    numpy.ndarray
        (draw, cluster), between 0 and about 1.
    """
    sd = x.std(axis=0)
    factor = parameters.cholesky / sd[:, None]
    if spec.covariance not in ("full", "tied"):
        return np.asarray(np.diagonal(factor, axis1=-2, axis2=-1).min(axis=-1))
    _, singular, turn = np.linalg.svd((x - x.mean(axis=0)) / sd, full_matrices=False)
    white = (turn @ factor) * (np.sqrt(len(x)) / singular[:, None])
    return np.asarray(np.linalg.svd(white, compute_uv=False)[..., -1])


def _held(
    rows: Rows, parameters: Parameters, draw: int, cluster: int, spec: ModelSpec
) -> np.ndarray:
    """Places of the rows that a cluster most probably holds in a draw."""
    component = component_log_density(spec.blocks, rows, parameters.take(draw))
    return np.flatnonzero(component.argmax(axis=-1) == cluster)


def _closed_features(
    rows: Rows, parameters: Parameters, small: np.ndarray, cluster: int, spec: ModelSpec
) -> Closed | None:
    draw, share = int(small[:, cluster].argmin()), float((small[:, cluster] < SMALL).mean())
    held = _held(rows, parameters, draw, cluster, spec) if share else np.zeros(0, dtype=int)
    if len(held) < 2:
        return None
    scaled = (rows.x[held] - rows.x[held].mean(axis=0)) / rows.x.std(axis=0)
    tied = np.abs(scaled).max(axis=0) < ROUNDING
    if tied.any() and np.isfinite(order_at_zero(spec.priors.sd)):
        name, value = spec.features[int(tied.argmax())], rows.x[held[0], int(tied.argmax())]
        return Closed(cluster, share, len(held), f"with {quoted(name)} = {value:g}", "sd")
    return _closed_correlation(parameters, held, scaled, cluster, spec)


def _closed_correlation(
    parameters: Parameters, held: np.ndarray, scaled: np.ndarray, cluster: int, spec: ModelSpec
) -> Closed | None:
    """Rows in a flat that no column is constant on, where the prior of the sds has no say."""
    size = scaled.shape[1]
    rank = int((np.linalg.svd(scaled, compute_uv=False) > ROUNDING * np.sqrt(len(held))).sum())
    factor = parameters.cholesky[:, cluster]
    unit = factor / np.sqrt((factor**2).sum(axis=-1, keepdims=True))
    share = float((np.linalg.svd(unit, compute_uv=False)[:, -1] < SMALL).mean())
    if spec.covariance != "full" or rank == size or share == 0:
        return None
    flat = {0: "in one point", 1: "on one line"}.get(rank, f"in {rank} dimensions")
    names = listed([quoted(name) for name in spec.features])
    return Closed(cluster, share, len(held), f"{flat} of {names}", "correlation")


def _closed_response(
    rows: Rows, parameters: Parameters, small: np.ndarray, cluster: int, spec: ModelSpec
) -> Closed | None:
    draw, share = int(small[:, cluster].argmin()), float((small[:, cluster] < SMALL).mean())
    held = _held(rows, parameters, draw, cluster, spec) if share else np.zeros(0, dtype=int)
    if len(held) < 2 or residual_spread(rows.take(held), spec) > ROUNDING * rows.y.std():
        return None
    what = f"whose {quoted(str(spec.response))} their line gives exactly"
    return Closed(cluster, share, len(held), what, "sigma")


def residual_spread(rows: Rows, spec: ModelSpec) -> float:
    """Standard deviation of the response of some rows around their own line."""
    scale = np.abs(rows.u).max(axis=0, initial=0.0)
    design = rows.u / np.where(scale > 0, scale, 1)
    if spec.intercept:
        design = np.column_stack([np.ones(len(rows.y)), design])
    coefficient = np.linalg.lstsq(design, rows.y)[0]
    return float(np.sqrt(((rows.y - design @ coefficient) ** 2).mean()))
