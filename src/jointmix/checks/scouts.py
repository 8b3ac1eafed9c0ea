"""Is there another mode that matters? Where the chains sent from other modes ended."""

import numpy as np
import xarray as xr

from jointmix.base.numbers import percent
from jointmix.base.schema import SCOUT, require_group
from jointmix.checks.finding import Finding, Status, listed, skipped

CODE = "scouts"
SUBJECT = "other modes"
SOURCE = "Yao, Vehtari and Gelman (2022), JMLR 23(79): stacking of chains from several modes"
#: Weight of another mode from which it changes predictions noticeably.
CAUTION = 0.05


def check(tree: xr.DataTree) -> tuple[Finding, ...]:
    """Judge scouts: a better mode is a failure, another one that predicts well a caution."""
    if "scouts" not in tree.children:
        return ()
    sent, modes = require_group(tree, "scouts"), require_group(tree, "modes")
    why = str(sent.attrs.get("text", ""))
    if sent.sizes[SCOUT] == 0:
        return (skipped(CODE, SUBJECT, why or "no scout was sent", SOURCE),)
    group = sent["scout_group"].values
    home = int(modes["chain_group"].values.min())
    away = group != home
    weight = 0.0
    if "stacking_weight" in modes:
        weights = modes["stacking_weight"].values
        weight = float(sum(weights[number - 1] for number in np.unique(group[away])))
    better = group < home
    status: Status = "fail" if better.any() else "caution" if weight > CAUTION else "ok"
    message = _message(sent, away, better, weight)
    if "rhat_nested" in sent.attrs:
        message += (
            f"; over the starts the log likelihood has a nested R-hat of "
            f"{float(sent.attrs['rhat_nested']):.3f}"
        )
    return (
        Finding(
            code=CODE,
            subject=SUBJECT,
            status=status,
            value=weight,
            threshold=CAUTION,
            message=f"{message} ({why})." if why else f"{message}.",
            remedy=_remedy(bool(better.any()), weight),
            source=SOURCE,
        ),
    )


def _message(sent: xr.Dataset, away: np.ndarray, better: np.ndarray, weight: float) -> str:
    def named(chosen: np.ndarray) -> str:
        return listed([str(name) for name in np.unique(sent["start_mode"].values[chosen])])

    if better.any():
        return f"Scouts from mode {named(better)} found a better mode than the chains of the fit"
    if not away.any():
        return f"All {len(away)} scouts joined the chains of the fit"
    return (
        f"Scouts from mode {named(away)} stayed in other modes, whose stacking weight is "
        f"{percent(weight, 1, CAUTION)}"
    )


def _remedy(better: bool, weight: float) -> str:
    if better:
        return "Raise the number of EM starts and fit again: the chains missed the best mode."
    if weight > CAUTION:
        return "Two solutions predict about as well: report both, or use fewer clusters."
    return ""
