"""Does a scale rest on its prior alone? Posterior of each scale beside its rows' own spread."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import xarray as xr

from jointmix.base.errors import SpecError
from jointmix.base.schema import (
    CLUSTER,
    OBS,
    require_group,
)
from jointmix.checks.finding import Finding, Status, listed, skipped
from jointmix.families.checks import Checks, OwnScale
from jointmix.families.completing import places_known
from jointmix.families.priors.zero import prior_floor
from jointmix.families.rows import Rows
from jointmix.model.spec import ModelSpec
from jointmix.posterior.draws import fitted_scaling, fitted_spec, observed_rows

CODE = "prior scale"
SUBJECT = "clusters"
SOURCE = "Convention: a spread that explains less than 1% of the posterior's variance"
CAUTION = 0.1
#: Repeated rows of which a spread is computed.
_MOST_ROWS = 100_000
REMEDY = (
    "Read these scales, and intervals that rest on them, as the prior's: look whether the values "
    "were computed, rounded or typed as codes."
)
REMEDY_UNITS = (
    "Read these scales as the prior's: state the prior in the columns' units, or standardize them; "
    "and look whether the values were computed, rounded or typed as codes."
)


@dataclass(frozen=True)
class Scale:
    """A scale of one cluster: its rows' own spread, and the posterior's median of it.

    ``at_floor`` says whether the posterior is about as low as the prior lets so many rows bring it.
    """

    cluster: int
    n_rows: int
    own: OwnScale
    checks: Checks
    median: float
    at_floor: bool

    @property
    def ratio(self) -> float:
        return self.own.spread / self.median

    @property
    def by_prior_alone(self) -> bool:
        """Whether the prior made it what it is, and not the rows."""
        return self.at_floor and self.ratio < CAUTION


def check(tree: xr.DataTree) -> tuple[Finding, ...]:
    """Judge the smallest ratio of the rows' spread in a cluster to the posterior's median scale.

    A small ratio counts where the posterior lies about as low as the prior lets it; elsewhere the
    rows of other clusters, not the prior, made the scale large. Rows count for the cluster to which
    they were allocated. Clusters with fewer rows than three more than predictors are left to the
    check of empty clusters, and scales whose prior does not vanish at zero to that of collapse.
    """
    try:
        spec = fitted_spec(tree)
    except SpecError as error:
        return (skipped(CODE, SUBJECT, str(error).rstrip("."), SOURCE),)
    scales = list(own_scales(tree, spec))
    if not scales:
        return ()
    judged = [each for each in scales if each.at_floor or each.ratio >= CAUTION]
    low = [each for each in scales if each.by_prior_alone]
    said = _sentences(low, observed_rows(tree, spec))
    status: Status = "caution" if said else "ok"
    return (
        Finding(
            code=CODE,
            subject=SUBJECT,
            status=status,
            value=min((each.ratio for each in judged), default=float("nan")),
            threshold=CAUTION,
            message=" ".join(said) or "The rows, not their priors alone, set the scales.",
            remedy=(REMEDY if spec.standardize else REMEDY_UNITS) if said else "",
            source=SOURCE,
        ),
    )


def at_floor(tree: xr.DataTree, spec: ModelSpec) -> set[tuple[str, str, int]]:
    """Parameter, column and cluster of each scale that its prior alone made what it is."""
    return {
        (each.own.parameter, each.own.column, each.cluster)
        for each in own_scales(tree, spec)
        if each.by_prior_alone
    }


def own_scales(tree: xr.DataTree, spec: ModelSpec) -> Iterator[Scale]:
    """The scales that one cluster's rows determine, on the users' scale.

    Of each cluster and block, where their priors vanish at zero.
    """
    posterior = require_group(tree, "posterior")
    unit = dict(zip(spec.columns, fitted_scaling(tree, spec).scale.tolist(), strict=True))
    for label, part in _by_cluster(tree, spec):
        chosen = posterior.sel({CLUSTER: label})
        for block in spec.blocks:
            known = part if part.complete else part.take(places_known(part, block))
            n = round(known.copies.sum())
            if n < len(spec.predictors) + 3:
                continue
            for own in block.checks.own_scales(known.standing(_MOST_ROWS)):
                values = chosen[own.parameter]
                if own.entry is not None:
                    values = values.isel({spec.parameters[own.parameter].dims[0]: own.entry})
                scale, floor = values**own.power, prior_floor(own.prior, n)
                median, floor = float(scale.median()), floor * unit[own.column] ** own.power
                yield Scale(label, n, own, block.checks, median, median < floor)


def _by_cluster(tree: xr.DataTree, spec: ModelSpec) -> Iterator[tuple[int, Rows]]:
    """Labels, and the rows allocated to them where they are enough to have a spread."""
    rows = observed_rows(tree, spec)
    labels = require_group(tree, "posterior")[CLUSTER].values.tolist()
    allocation = np.full(len(rows.y), labels[0])
    if len(labels) > 1:
        allocation = require_group(tree, "allocation")["allocation"].transpose(OBS).values
    for label in labels:
        part = rows.take(allocation == label)
        if part.copies.sum() >= len(spec.predictors) + 3:
            yield label, part


def _sentences(scales: list[Scale], rows: Rows) -> list[str]:
    """One sentence a scale, on all clusters concerned."""
    found = []
    for parameter, column in dict.fromkeys(
        (each.own.parameter, each.own.column) for each in scales
    ):
        mine = [
            each for each in scales if (each.own.parameter, each.own.column) == (parameter, column)
        ]
        noun = "cluster" if len(mine) == 1 else "clusters"
        where = f"In {noun} {listed([str(each.cluster) for each in mine])}"
        where += f" ({sum(each.n_rows for each in mine)} rows)"
        put_at = [each.median ** (1 / each.own.power) for each in mine]
        least, most = (f"{pick(put_at):.2g}" for pick in (min, max))
        put = least if least == most else f"{least} to {most}"
        what, name = mine[0].checks.scale_words([each.own for each in mine], rows)
        found.append(f"{where} {what}: {name}, put at {put}, is the prior's doing.")
    return found
