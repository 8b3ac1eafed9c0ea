"""Is the proposal of independence chains near enough to the posterior?"""

import json

import numpy as np
import xarray as xr

from jointmix.base.numbers import fixed, percent
from jointmix.checks.finding import Finding, above
from jointmix.model.settings import LARGEST_PARETO_SHAPE

CODE = "proposal"
SHAPE = "Vehtari et al. (2024), Journal of Machine Learning Research 25(72)"
STAYS = "Mengersen and Tweedie (1996), Annals of Statistics 24(1), doi:10.1214/aos/1033066201"
REMEDY = "Fit with sampler='nutpie', which follows the posterior's gradient."
#: k̂ from which weights have no mean that candidates could find.
NO_MEAN = 1.0
LARGEST_WEIGHT, TOO_LARGE = 0.02, 0.1
STAYED, STAYED_TOO_OFTEN = 0.8, 0.95


def check(tree: xr.DataTree) -> tuple[Finding, ...]:
    """Judge the candidates' weights: their tail, the largest, and how often chains stay."""
    if not tree.attrs.get("proposal"):
        return ()
    found = json.loads(tree.attrs["proposal"])
    shape = np.inf if found["shape"] is None else float(found["shape"])
    largest, stayed = float(found["largest"]), 1 - float(found["acceptance"])
    return (
        _finding(
            "tail", shape, (LARGEST_PARETO_SHAPE, NO_MEAN), SHAPE,
            "The largest weights of the candidates have the Pareto shape "
            f"{fixed(shape, 2, LARGEST_PARETO_SHAPE, NO_MEAN)}.",
        ),
        _finding(
            "largest weight", largest, (LARGEST_WEIGHT, TOO_LARGE), STAYS,
            f"One of {found['candidates']:,} candidates carries "
            f"{percent(largest, 2, LARGEST_WEIGHT, TOO_LARGE)} of all weight.",
        ),
        _finding(
            "moves", stayed, (STAYED, STAYED_TOO_OFTEN), STAYS,
            f"Chains stay where they are at {percent(stayed, 0, STAYED, STAYED_TOO_OFTEN)} of the "
            "candidates.",
        ),
    )  # fmt: skip


def _finding(
    subject: str, value: float, limits: tuple[float, float], source: str, message: str
) -> Finding:
    status = above(value, *limits)
    return Finding(
        code=CODE,
        subject=subject,
        status=status,
        value=value,
        threshold=limits[0],
        message=message,
        remedy="" if status == "ok" else REMEDY,
        source=source,
    )
