"""Does a scale rest on its prior alone? Posterior of each scale beside its rows' own spread."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import xarray as xr

from jointmix.base.errors import SpecError
from jointmix.base.schema import (
    CLUSTER,
    FEATURE,
    OBS,
    require_group,
)
from jointmix.checks.collapse import ROUNDING, residual_spread
from jointmix.checks.finding import Finding, Status, listed, skipped
from jointmix.families.priors.priors import InverseGamma
from jointmix.families.rows import Rows
from jointmix.model.degenerate import order_at_zero
from jointmix.model.spec import ModelSpec
from jointmix.posterior.draws import fitted_scaling, fitted_spec, observed_rows
from jointmix.tables.issues import quoted

CODE = "prior scale"
SUBJECT = "clusters"
SOURCE = "Convention: a spread that explains less than 1% of the posterior's variance"
CAUTION = 0.1
REMEDY = (
    "Read these scales, and intervals that rest on them, as the prior's: look whether the values "
    "were computed, rounded or typed as codes."
)
REMEDY_UNITS = (
    "Read these scales as the prior's: state the prior in the columns' units, or standardize them; "
    "and look whether the values were computed, rounded or typed as codes."
)
CONSTANT = "is constant"
#: Medians this many times above the prior's peak are not the prior's doing.
_ABOVE_PEAK = 5.0


@dataclass(frozen=True)
class Scale:
    """A scale of one cluster: its rows' own spread, and the posterior's median of it.

    ``at_floor`` says whether the posterior is about as low as the prior lets so many rows bring it.
    """

    cluster: int
    n_rows: int
    name: str
    spread: float
    median: float
    constant: bool
    at_floor: bool

    @property
    def ratio(self) -> float:
        return self.spread / self.median


def check(tree: xr.DataTree) -> tuple[Finding, ...]:
    """Judge the smallest ratio of the rows' spread in a cluster to the posterior's median scale.

    Rows count for the cluster to which they were allocated. Clusters with fewer rows than three
    more than predictors are left to the check of empty clusters, and scales whose prior does not
    vanish at zero to that of collapse.
    """
    try:
        spec = fitted_spec(tree)
    except SpecError as error:
        return (skipped(CODE, SUBJECT, str(error).rstrip("."), SOURCE),)
    scales = list(own_scales(tree, spec))
    if not scales:
        return ()
    whole = float(observed_rows(tree, spec).y.std())
    said = _sentences(
        [each for each in scales if each.ratio < CAUTION and each.at_floor], spec, whole
    )
    status: Status = "caution" if said else "ok"
    return (
        Finding(
            code=CODE,
            subject=SUBJECT,
            status=status,
            value=min(each.ratio for each in scales),
            threshold=CAUTION,
            message=" ".join(said) or "The rows, not their priors alone, set the scales.",
            remedy=(REMEDY if spec.standardize else REMEDY_UNITS) if said else "",
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
    unit = dict(zip(spec.columns, fitted_scaling(tree, spec).scale.tolist(), strict=True))
    for label, part in _by_cluster(tree, spec):
        chosen, n = posterior.sel({CLUSTER: label}), len(part.y)
        for i, name in enumerate(features):
            median = float(chosen["sd"].isel({FEATURE: i}).median())
            spread = float(part.x[:, i].std())
            floor = prior_floor(spec.priors.sd, n) * unit[name]
            yield Scale(label, n, name, spread, median, spread == 0, median < floor)
        if noise:
            median, spread = float(chosen["sigma"].median()), residual_spread(part, spec)
            floor = prior_floor(spec.priors.sigma, n) * unit[str(spec.response)]
            constant = float(part.y.std()) == 0
            yield Scale(label, n, "sigma", spread, median, constant, median < floor)


def prior_floor(prior: object, n_rows: int) -> float:
    """Up to where a prior alone can keep a cluster's scale that its rows would draw to zero.

    With n rows the likelihood is s^−n: under an inverse-gamma (a, b) prior the variance peaks at
    b / (a + 1 + n / 2); five times that standard deviation is beyond its posterior. Infinite for
    other priors, for which nothing is ruled out.
    """
    if not isinstance(prior, InverseGamma):
        return np.inf
    return _ABOVE_PEAK * float(np.sqrt(prior.scale / (prior.shape + 1 + n_rows / 2)))


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


def _sentences(scales: list[Scale], spec: ModelSpec, response_sd: float) -> list[str]:
    """One sentence a column, on all clusters concerned."""
    found = []
    for name in dict.fromkeys(each.name for each in scales):
        mine = [each for each in scales if each.name == name]
        noun = "cluster" if len(mine) == 1 else "clusters"
        where = f"In {noun} {listed([str(each.cluster) for each in mine])}"
        where += f" ({sum(each.n_rows for each in mine)} rows)"
        least, most = (f"{pick(each.median for each in mine):.2g}" for pick in (min, max))
        put = least if least == most else f"{least} to {most}"
        largest = max(each.spread for each in mine)
        if name != "sigma":
            what = f"column {quoted(name)} " + (f"varies by {largest:.2g}" if largest else CONSTANT)
            found.append(f"{where} {what}: its sd, put at {put}, is the prior's doing.")
            continue
        what = f"{quoted(str(spec.response))} varies by {largest:.2g} about its line"
        if largest <= ROUNDING * response_sd:
            given = f"follows exactly from {listed([quoted(each) for each in spec.predictors])}"
            flat = all(each.constant for each in mine) or not spec.predictors
            what = f"{quoted(str(spec.response))} {CONSTANT if flat else given}"
        found.append(f"{where} {what}: sigma, put at {put}, is the prior's doing.")
    return found
