"""Does a scale rest on its prior alone? Posterior of each scale beside its rows' own spread."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import xarray as xr

from jointmix.checks.collapse import residual_spread
from jointmix.checks.finding import Finding, Status, listed, skipped
from jointmix.degenerate import order_at_zero
from jointmix.issues import quoted
from jointmix.rows import Rows, fitted_spec, observed_rows
from jointmix.schema import CLUSTER, FEATURE, OBS, require_group
from jointmix.spec import ModelSpec

CODE = "prior scale"
SUBJECT = "clusters"
SOURCE = "Convention: a spread that explains less than 1% of the posterior's variance"
CAUTION = 0.1
REMEDY = (
    "Read these scales, and intervals that rest on them, as the prior's: look whether the values "
    "were computed, rounded or typed as codes."
)


@dataclass(frozen=True)
class Scale:
    """A scale of one cluster: its rows' own spread, and the posterior's median of it."""

    cluster: int
    n_rows: int
    name: str
    spread: float
    median: float

    @property
    def ratio(self) -> float:
        return self.spread / self.median


def check(tree: xr.DataTree) -> tuple[Finding, ...]:
    """Judge the smallest ratio of the rows' spread in a cluster to the posterior's median scale.

    Rows count for the cluster to which they were allocated. Clusters with fewer rows than three
    more than predictors are left to the check of empty clusters, and scales whose prior does not
    vanish at zero to that of collapse.
    """
    spec = fitted_spec(tree)
    scales = list(own_scales(tree, spec))
    if not scales:
        return (skipped(CODE, SUBJECT, "no cluster has a scale to judge, and rows for it", SOURCE),)
    said = _sentences([each for each in scales if each.ratio < CAUTION], spec)
    status: Status = "caution" if said else "ok"
    return (
        Finding(
            code=CODE,
            subject=SUBJECT,
            status=status,
            value=min(each.ratio for each in scales),
            threshold=CAUTION,
            message=" ".join(said) or "The rows, not their priors alone, set the scales.",
            remedy=REMEDY if said else "",
            source=SOURCE,
        ),
    )


def own_scales(tree: xr.DataTree, spec: ModelSpec) -> Iterator[Scale]:
    """The scales that one cluster's rows determine, on the users' scale.

    ``sd`` of each feature and cluster with full or diagonal covariances, ``sigma`` of each cluster
    with its own noise, where their priors vanish at zero.
    """
    posterior = require_group(tree, "posterior")
    features = spec.features if spec.covariance in ("full", "diagonal") else ()
    if np.isfinite(order_at_zero(spec.priors.sd)):
        features = ()
    noise = spec.response is not None and spec.noise == "cluster"
    noise = noise and not np.isfinite(order_at_zero(spec.priors.sigma))
    for label, part in _by_cluster(tree, spec):
        chosen, n = posterior.sel({CLUSTER: label}), len(part.y)
        for i, name in enumerate(features):
            median = float(chosen["sd"].isel({FEATURE: i}).median())
            yield Scale(label, n, name, float(part.x[:, i].std()), median)
        if noise:
            spread = residual_spread(part, spec)
            yield Scale(label, n, "sigma", spread, float(chosen["sigma"].median()))


def _by_cluster(tree: xr.DataTree, spec: ModelSpec) -> Iterator[tuple[int, Rows]]:
    """Labels, and the rows allocated to them where they are enough to have a spread."""
    rows = observed_rows(tree, spec)
    labels = require_group(tree, "posterior")[CLUSTER].values.tolist()
    allocation = np.full(len(rows.y), labels[0])
    if len(labels) > 1:
        allocation = require_group(tree, "allocation")["allocation"].transpose(OBS).values
    for label in labels:
        part = rows.take(allocation == label)
        if len(part.y) >= len(spec.predictors) + 3:
            yield label, part


def _sentences(scales: list[Scale], spec: ModelSpec) -> list[str]:
    """One sentence a column, on all clusters concerned."""
    found = []
    for name in dict.fromkeys(each.name for each in scales):
        mine = [each for each in scales if each.name == name]
        noun = "cluster" if len(mine) == 1 else "clusters"
        where = f"In {noun} {listed([str(each.cluster) for each in mine])}"
        where += f" ({sum(each.n_rows for each in mine)} rows)"
        least, most = (_digits(pick(each.median for each in mine)) for pick in (min, max))
        put = f"{least}" if least == most else f"{least} to {most}"
        largest = _digits(max(each.spread for each in mine))
        if name == "sigma":
            given = listed([quoted(each) for each in spec.predictors]) if spec.predictors else ""
            what = (
                f"{quoted(str(spec.response))} follows from {given}"
                if given
                else (f"{quoted(str(spec.response))} is constant")
            )
            found.append(
                f"{where} {what} to within {largest}: sigma, put at {put}, is the prior's doing."
            )
        else:
            found.append(
                f"{where} column {quoted(name)} varies by {largest}: its sd, put at {put}, is the "
                "prior's doing."
            )
    return found


def _digits(value: float) -> str:
    """Two significant digits."""
    return f"{value:.2g}"
