"""Did labels switch? The permutations that identification applied."""

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

CODE = "labels"
SOURCE = "Papastamoulis (2016), J. Stat. Software 69, doi:10.18637/jss.v069.c01"
CAUTION, FAIL = 0.01, 0.10
REMEDY = (
    "Results per cluster blend neighbouring clusters: use fewer clusters, or order by a variable "
    "that separates them (model.ordering)."
)


def check(tree: xr.DataTree) -> tuple[Finding, ...]:
    """Judge the share of draws whose labels differ from those of most draws.

    A switch is counted within chains (against the chain's most frequent permutation) and
    between chains (chains whose most frequent permutation is not the common one). The latter
    is a caution at most: a whole chain in a permuted copy is put back exactly.
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
    found = json.loads(tree.attrs.get("identification", "{}"))
    known = 1 - float(found.get("agreement", 1.0)) <= FAIL
    mended = "identification put back" if known else "identification could not put back for sure"
    return (_within(within, mended), _between(apart, len(usual), mended))


def _within(rate: float, mended: str) -> Finding:
    status = above(rate, CAUTION, FAIL)
    return Finding(
        code=CODE,
        subject="within chains",
        status=status,
        value=rate,
        threshold=CAUTION,
        message=f"Labels switched in {percent(rate, 2)} of the draws within their chain, "
        f"which {mended}."
        if rate
        else "No labels switched within a chain.",
        remedy="" if status == "ok" else REMEDY,
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
