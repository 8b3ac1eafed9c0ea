"""Are the labels certain? Two methods of relabelling, and the parameters themselves, agree."""

import json

import xarray as xr

from jointmix.base.numbers import percent
from jointmix.checks.finding import Finding, Status, above, skipped

CODE = "identification"
SOURCE = (
    "Stephens (2000), doi:10.1111/1467-9868.00265; Papastamoulis (2016), doi:10.18637/jss.v069.c01"
)
SOURCE_PERMUTATIONS = (
    "Malsiner-Walli, Frühwirth-Schnatter and Grün (2016), doi:10.1007/s11222-014-9500-2"
)
CAUTION, FAIL = 0.01, 0.10
CAUTION_PERMUTATIONS = 0.05
REMEDY = (
    "Results per cluster are unreliable: use fewer clusters, or report label-free quantities only "
    "(densities, co-clustering)."
)
REMEDY_SORTED = (
    "Match each draw to its rows' allocation instead of sorting it: "
    'jointmix.identify(tree, "ecr"), or ordering = "auto" when fitting.'
)
NAMES = {"stephens": "Stephens' method", "ecr": "ECR", "order_by": "the ordering by a variable"}


def check(tree: xr.DataTree) -> tuple[Finding, ...]:
    """Judge the share of draws whose labels depend on the method, or on nothing at all."""
    found = json.loads(tree.attrs.get("identification", "{}"))
    if "agreement" not in found:
        return (skipped(CODE, "methods", "no second method was tried", SOURCE),)
    if not found["n_compared"]:
        return (skipped(CODE, "methods", "there are no labels to identify", SOURCE),)
    return (_methods(found), _permutations(found))


def is_sure(found: dict[str, float | str], rate: float) -> bool:
    """Whether identification leaves no doubt: neither check is a caution.

    Parameters
    ----------
    found
        The fit's attribute ``identification``.
    rate
        Share of draws that carry another permutation than most. If the attribute knows of far
        fewer, it was not written of these draws, and says nothing of them.
    """
    return (
        float(found.get("switch_rate", 0.0)) >= rate / 2
        and 1 - float(found.get("agreement", 0.0)) <= CAUTION
        and 1 - float(found.get("true_permutations", 0.0)) <= CAUTION_PERMUTATIONS
    )


def _methods(found: dict[str, float | str]) -> Finding:
    rate = 1 - float(found["agreement"])
    status, by_value = above(rate, CAUTION, FAIL), found["method"] == "order_by"
    one, other = (NAMES.get(str(found[name]), str(found[name])) for name in ("method", "other"))
    return Finding(
        code=CODE,
        subject="methods",
        status=status,
        value=rate,
        threshold=CAUTION,
        message=f"{one[0].upper()}{one[1:]} and {other} disagree on the labels of "
        f"{percent(rate, 2, CAUTION, FAIL)} of the {int(found['n_compared']):,} draws compared.",
        remedy="" if status == "ok" else REMEDY_SORTED if by_value else REMEDY,
        source=SOURCE,
    )


def _permutations(found: dict[str, float | str]) -> Finding:
    rate = 1 - float(found["true_permutations"])
    status: Status = "caution" if rate > CAUTION_PERMUTATIONS else "ok"
    return Finding(
        code=CODE,
        subject="parameters",
        status=status,
        value=rate,
        threshold=CAUTION_PERMUTATIONS,
        message=f"In {percent(rate, 2, CAUTION_PERMUTATIONS)} of the draws the clusters' "
        "parameters do not fall one by one into the groups that all draws form.",
        remedy="" if status == "ok" else REMEDY,
        source=SOURCE_PERMUTATIONS,
    )
