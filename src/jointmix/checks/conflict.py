"""Do priors and rows contradict each other? Posterior means in the tails of their priors.

A prior with heavy tails yields: the posterior may lie far out in it and be the rows' alone. So a
mean in a tail is a concern only where the prior pulls the result, or was stated for these columns
and is contradicted.
"""

import numpy as np
import xarray as xr
from scipy.stats import norm

from jointmix.base.errors import SpecError
from jointmix.base.numbers import fixed
from jointmix.checks.finding import Finding, Status, listed, skipped
from jointmix.checks.floor import at_floor
from jointmix.families.priors.words import MASS
from jointmix.model.spec import ModelSpec
from jointmix.posterior.draws import fitted_spec
from jointmix.posterior.stated import Stated, stated
from jointmix.tables.issues import quoted

CODE = "prior conflict"
PULLED, STATED = "pulled", "stated"
SOURCE = (
    "Evans and Moshonov (2006), doi:10.1214/06-BA129; Kallioinen et al. (2024), "
    "doi:10.1007/s11222-023-10366-5"
)
#: Posterior standard deviations by which a prior may move a mean, and the factor by which a scale;
#: a normal's standard deviations, beyond which a stated prior has 1% of its mass.
MOST_PULL, MOST_FACTOR, MOST_DEVIATES = 1.0, 1.5, float(norm.isf(0.005))
_MOST_NAMED = 3


def check(tree: xr.DataTree) -> tuple[Finding, ...]:
    """Judge posterior means outside the central 90% of their priors.

    By how far the prior moves them, a scale by half as much again at least; and, of priors that
    were stated for these columns, by how far out they lie. Scales that are their prior's doing
    alone are left to the check of prior scales.
    """
    try:
        spec = fitted_spec(tree)
    except SpecError as error:
        return (skipped(CODE, PULLED, str(error).rstrip("."), SOURCE),)
    known = at_floor(tree, spec)
    outside = [each for each in stated(tree) if each.tail < 1 - MASS and not _known(each, known)]
    pulled = [each for each in outside if _excess(each) > 1]
    rest = [each for each in outside if _excess(each) <= 1]
    contradicted = [each for each in rest if each.own and _deviates(each) > MOST_DEVIATES]
    quiet = [each for each in rest if each not in contradicted]
    return (_pulled(pulled, quiet, spec), _stated(contradicted, rest, spec))


def _known(each: Stated, known: set[tuple[str, str, int]]) -> bool:
    """Whether a scale's prior alone made it what it is, in its cluster or any that share it."""
    return any(
        (each.parameter.name, each.column) == (name, column) and each.cluster in (None, cluster)
        for name, column, cluster in known
    )


def _excess(each: Stated) -> float:
    """How far the prior moves a mean, in multiples of what it may."""
    excess = each.pull / MOST_PULL
    if each.parameter.role == "location":
        return excess
    return min(excess, each.shift / float(np.log(MOST_FACTOR)))


def _deviates(each: Stated) -> float:
    return float(norm.isf(max(each.tail, 1e-300) / 2))


def _pulled(pulled: list[Stated], quiet: list[Stated], spec: ModelSpec) -> Finding:
    value = max((_excess(each) for each in (*pulled, *quiet)), default=0.0)
    if pulled:
        most = max(each.pull for each in pulled)
        message = f"Prior and rows disagree: {_named(pulled)}. Without its prior it would move by "
        message += f"{fixed(most, 1, MOST_PULL)} posterior standard deviations or so."
    elif quiet:
        message = f"Outside the central 90% of a prior that hardly moves it: {_named(quiet)}."
    else:
        message = "All posterior means lie in the central 90% of their priors."
    return _finding(PULLED, pulled, value, 1.0, message, spec)


def _stated(contradicted: list[Stated], rest: list[Stated], spec: ModelSpec) -> Finding:
    value = max((_deviates(each) for each in rest if each.own), default=0.0)
    message = "No prior that was stated for these columns is contradicted by their rows."
    if contradicted:
        message = f"The rows contradict the prior that was stated: {_named(contradicted)}."
    return _finding(STATED, contradicted, value, MOST_DEVIATES, message, spec)


def _finding(
    subject: str,
    concerns: list[Stated],
    value: float,
    threshold: float,
    message: str,
    spec: ModelSpec,
) -> Finding:
    status: Status = "caution" if concerns else "ok"
    return Finding(
        code=CODE,
        subject=subject,
        status=status,
        value=value,
        threshold=threshold,
        message=message,
        remedy=_remedy(min(concerns, key=lambda each: each.tail), spec) if concerns else "",
        source=SOURCE,
    )


def _named(found: list[Stated]) -> str:
    """Parameters with their columns, the farthest out first: prior and posterior of each."""
    groups: dict[tuple[str, str], list[Stated]] = {}
    for each in sorted(found, key=lambda each: each.tail):
        groups.setdefault((each.parameter.name, each.column), []).append(each)
    said = [_sentence(group) for group in groups.values()]
    more = len(said) - _MOST_NAMED
    return "; ".join(said[:_MOST_NAMED]) + (f"; and {more} more" if more > 0 else "")


def _sentence(group: list[Stated]) -> str:
    first = group[0]
    clusters = sorted(each.cluster for each in group if each.cluster is not None)
    name = first.parameter.name + (f" of {quoted(first.column)}" if first.column else "")
    if clusters:
        noun = "cluster" if len(clusters) == 1 else "clusters"
        name += f" in {noun} {listed([str(label) for label in clusters])}"
    low, high = (f"{bound:.3g}" for bound in first.interval)
    least, most = (f"{pick(each.mean for each in group):.3g}" for pick in (min, max))
    mean = f"mean is {least}" if least == most else f"means are {least} to {most}"
    return f"{name}, 90% between {low} and {high} by its prior, whose posterior {mean}"


def _remedy(worst: Stated, spec: ModelSpec) -> str:
    name = worst.parameter.stated or worst.parameter.name
    scale = "the scale of standardised columns" if spec.standardize else "the columns' own scale"
    return (
        f"Priors are stated on {scale}: look whether this one is. Fit again with one that reaches "
        f"there, such as Priors({name}={_reaching(worst)}), and see what moves."
    )


def _reaching(worst: Stated) -> str:
    """A prior in which the posterior's mean is no surprise."""
    value, role = worst.model_mean, worst.parameter.role
    if role == "scale":
        return f"LogNormal(loc={np.log(value):.2g}, scale=1)"
    if role == "shape":
        return f"Gamma(shape=2, rate={2 / value:.2g})"
    loc = float(getattr(worst.prior, "loc", 0.0))
    return f"Normal(loc={loc:g}, scale={abs(value - loc):.2g})"
