"""Did labels switch? The permutations that identification applied, and how sure they are."""

import json
from collections import Counter

import xarray as xr

from jointmix.base.numbers import percent
from jointmix.base.schema import (
    CHAIN,
    CLUSTER,
    DRAW,
    require_group,
)
from jointmix.checks.finding import Finding, Status, above, listed, skipped
from jointmix.checks.identification import CAUTION_PERMUTATIONS, NAMES, is_sure

CODE = "labels"
SOURCE = "Papastamoulis (2016), J. Stat. Software 69, doi:10.18637/jss.v069.c01"
CAUTION, FAIL = 0.01, 0.10
REMEDY = (
    "Results per cluster blend neighbouring clusters: use fewer clusters, or order by a variable "
    "that separates them (model.ordering)."
)


REMEDY_SURE = (
    "Another method gives the same labels, so that results per cluster stand; order by a variable "
    "that separates the clusters (model.ordering) for a chain without switches."
)
#: What to do where clusters were sorted by a variable by which they cross.
REMEDY_SORTED = (
    'jointmix.identify(tree, "ecr") matches each draw to its rows\' allocation instead of sorting '
    'it, as ordering = "auto" does when fitting; or sort by a variable that separates the clusters.'
)


def check(tree: xr.DataTree) -> tuple[Finding, ...]:
    """Judge the share of draws whose labels differ from those of most draws.

    A switch is counted within chains (against the chain's most frequent permutation) and
    between chains (chains whose most frequent permutation is not the common one). Both are a
    caution at most where another method surely gives the same labels; a whole chain in a
    permuted copy always is, as it is put back exactly. Sorted clusters are judged by the share of
    draws in which they are other clusters than their rows say.
    """
    if "labels" not in tree.children:
        return (skipped(CODE, "within chains", "no permutations are stored", SOURCE),)
    permutation = require_group(tree, "labels")["permutation"].transpose(CHAIN, DRAW, CLUSTER)
    if permutation.sizes[CLUSTER] == 1:
        return (skipped(CODE, "within chains", "one cluster has no labels to switch", SOURCE),)
    counts = [Counter(map(tuple, chain.tolist())) for chain in permutation.values]
    usual = [count.most_common(1)[0] for count in counts]
    common = Counter(label for label, _ in usual).most_common(1)[0][0]
    n_draws = permutation.sizes[DRAW]
    within = sum(n_draws - times for _, times in usual) / (n_draws * len(usual))
    names = permutation[CHAIN].values
    apart = [str(name) for name, (label, _) in zip(names, usual, strict=True) if label != common]
    whole = sum(counts, Counter())
    moved = 1 - whole.most_common(1)[0][1] / whole.total()
    found = json.loads(tree.attrs.get("identification", "{}"))
    unsure = 1 - float(found.get("agreement", 1.0))
    mended = _mended(unsure, 1 - float(found.get("true_permutations", 1.0)))
    if found.get("method") == "order_by":
        mended = "sorting put back" if unsure <= CAUTION else "sorting may not have put back"
        other = str(found.get("other", "ecr"))
        return (_sorted(within, unsure, other), _between(apart, len(usual), mended))
    return (
        _within(within, mended, is_sure(found, moved)),
        _between(apart, len(usual), mended),
    )


def _mended(unsure: float, mixed: float) -> str:
    """What identification made of the switches, no surer than the status that goes with it."""
    if unsure > FAIL:
        return "identification could not put back for sure"
    if unsure > CAUTION:
        share = percent(unsure, 2, CAUTION, FAIL)
        return f"identification put back but for {share} of the draws, where methods disagree"
    if mixed > CAUTION_PERMUTATIONS:
        return "identification put back, though the clusters' parameters blend"
    return "identification put back"


def _within(rate: float, mended: str, sure: bool) -> Finding:
    status = above(rate, CAUTION, 1.0 if sure else FAIL)
    remedy = REMEDY_SURE if sure else REMEDY
    return Finding(
        code=CODE,
        subject="within chains",
        status=status,
        value=rate,
        threshold=CAUTION,
        message=f"Labels switched in {percent(rate, 2, CAUTION, FAIL)} of the draws within "
        f"their chain, which {mended}."
        if rate
        else "No labels switched within a chain.",
        remedy="" if status == "ok" else remedy,
        source=SOURCE,
    )


def _sorted(rate: float, exchanged: float, other: str) -> Finding:
    """Of clusters that were sorted by a variable: do its values name the same clusters?"""
    status = above(exchanged, CAUTION, FAIL)
    message = "Sorting gives the clusters of a chain the same labels in all draws."
    if rate:
        message = (
            f"Sorting gives the clusters of {percent(rate, 2)} of the draws other labels than in "
            "most of their chain."
        )
    name = "Matching each draw to its rows' allocation (ECR)" if other == "ecr" else NAMES[other]
    known = f" {name} contradicts it in {percent(exchanged, 2, CAUTION, FAIL)} of the draws"
    known += "." if status == "ok" else ": clusters are exchanged there, and their results blend."
    return Finding(
        code=CODE,
        subject="within chains",
        status=status,
        value=exchanged,
        threshold=CAUTION,
        message=message + known,
        remedy="" if status == "ok" else REMEDY_SORTED,
        source=SOURCE,
    )


def _between(apart: list[str], n_chains: int, mended: str) -> Finding:
    rate = len(apart) / n_chains
    status: Status = "caution" if rate > CAUTION else "ok"
    message = "All chains used the same labels."
    if apart:
        noun, verb = ("Chain", "has") if len(apart) == 1 else ("Chains", "have")
        message = (
            f"{noun} {listed(apart)} {verb} other labels than the other chains "
            f"({percent(rate, 0)} of the draws), which {mended}."
        )
    return Finding(
        code=CODE,
        subject="between chains",
        status=status,
        value=rate,
        threshold=CAUTION,
        message=message,
        remedy="" if status == "ok" else REMEDY,
        source=SOURCE,
    )
