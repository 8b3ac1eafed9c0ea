"""Do all chains sit in the same mode? Log likelihood of each chain."""

import arviz_stats
import numpy as np
import xarray as xr

from jointmix.base.numbers import percent
from jointmix.base.schema import CHAIN, DRAW, require_group
from jointmix.checks.finding import Finding, listed, skipped

CODE = "modes"
SUBJECT = "chains"
SOURCE = "Yao, Vehtari and Gelman (2022), JMLR 23(79): chains stuck in minor modes"
STANDARD_ERRORS = 4.0
LEAST_GAP = 2.0


def chain_log_likelihood(tree: xr.DataTree) -> xr.Dataset:
    """Mean log likelihood of each chain and its Monte Carlo standard error, [chain]."""
    draws = require_group(tree, "invariant")["log_likelihood"]
    errors = [
        float(arviz_stats.mcse(draws.isel({CHAIN: [i]}), method="mean"))
        for i in range(draws.sizes[CHAIN])
    ]
    return xr.Dataset({"mean": draws.mean(DRAW), "mcse": (CHAIN, errors)})


def is_apart(gap: np.ndarray, error: np.ndarray) -> np.ndarray:
    """Whether gaps in mean log likelihood, with these combined errors, tell modes apart."""
    return np.asarray((gap > LEAST_GAP) & (gap > STANDARD_ERRORS * error))


def check(tree: xr.DataTree) -> tuple[Finding, ...]:
    """Judge each chain's gap to the best one.

    A chain is in another mode where its gap exceeds 4 combined Monte Carlo standard errors
    and 2 units of log density; the value is the largest gap in standard errors among the
    chains that are more than 2 units away, or 0.
    """
    levels = chain_log_likelihood(tree)
    means, errors = levels["mean"].values, levels["mcse"].values
    if means.size < 2:
        return (skipped(CODE, SUBJECT, "there is one chain only", SOURCE),)
    best = int(means.argmax())
    gaps = means[best] - means
    combined = np.hypot(errors, errors[best])
    with np.errstate(invalid="ignore", divide="ignore"):
        ratio = np.where(gaps > LEAST_GAP, gaps / combined, 0.0)
    apart = [str(levels[CHAIN].values[i]) for i in np.flatnonzero(is_apart(gaps, combined))]
    return (
        Finding(
            code=CODE,
            subject=SUBJECT,
            status="fail" if apart else "ok",
            value=float(ratio.max()),
            threshold=STANDARD_ERRORS,
            message=_message(apart, float(gaps.max()), str(levels[CHAIN].values[best]))
            + _weights(tree),
            remedy="Raise the number of EM starts, or fit again without the chains in the lower "
            "mode; pooled estimates mix two different solutions."
            if apart
            else "",
            source=SOURCE,
        ),
    )


def _weights(tree: xr.DataTree) -> str:
    """A sentence on what stacking gives each group of chains, if they sit in several."""
    modes = require_group(tree, "modes")
    groups = modes["chain_group"].values if "chain_group" in modes else np.ones(1)
    if "stacking_weight" not in modes or np.unique(groups).size == 1:
        return ""
    parts = []
    for number, weight in zip(modes["group"].values, modes["stacking_weight"].values, strict=True):
        names = [str(name) for name in modes[CHAIN].values[groups == number]]
        if names:
            noun = "chain" if len(names) == 1 else "chains"
            parts.append(f"{percent(weight)} to {noun} {listed(names)}")
    return f" Stacking gives {listed(parts)}."


def _message(apart: list[str], gap: float, best: str) -> str:
    if not apart:
        return f"All chains sit in the same mode (largest gap in mean log likelihood {gap:.2f})."
    noun = "Chain" if len(apart) == 1 else "Chains"
    verb = "sits" if len(apart) == 1 else "sit"
    return (
        f"{noun} {listed(apart)} {verb} in another mode: mean log likelihood up to {gap:,.1f} "
        f"below that of chain {best}."
    )
