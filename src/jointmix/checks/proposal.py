"""Is the proposal of independence chains near enough to the posterior?"""

import json
from typing import Any

import numpy as np
import xarray as xr

from jointmix.base.numbers import fixed, percent
from jointmix.checks.finding import Finding, above
from jointmix.model.settings import LARGEST_PARETO_SHAPE, MOST_SHAPE, NEARLY_ALL

CODE = "proposal"
SHAPE = "Vehtari et al. (2024), Journal of Machine Learning Research 25(72)"
STAYS = "Mengersen and Tweedie (1996), Annals of Statistics 24(1), doi:10.1214/aos/1033066201"
REMEDY = "Fit with sampler='nutpie', which follows the posterior's gradient."
LARGEST_WEIGHT, TOO_LARGE = 0.02, 0.1
STAYED, STAYED_TOO_OFTEN = 0.8, 0.95


def check(tree: xr.DataTree) -> tuple[Finding, ...]:
    """Judge the candidates' weights: their tail, the largest, and how often chains stay."""
    if not tree.attrs.get("proposal"):
        return ()
    found = json.loads(tree.attrs["proposal"])
    largest, stayed = float(found["largest"]), 1 - float(found["acceptance"])
    return (
        _tail(found),
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


def _tail(found: dict[str, Any]) -> Finding:
    share = float(found["share"])
    if share >= NEARLY_ALL:
        return _finding(
            "tail", 1 - share, (1 - NEARLY_ALL, 1.0), SHAPE,
            f"{percent(share, 0, NEARLY_ALL)} of the candidates are effective, so that the tail of "
            "their weights does not matter.",
        )  # fmt: skip
    shape = np.inf if found["shape"] is None else float(found["shape"])
    return _finding(
        "tail", shape, (MOST_SHAPE, LARGEST_PARETO_SHAPE), SHAPE,
        "The largest weights of the candidates have the Pareto shape "
        f"{fixed(shape, 2, MOST_SHAPE, LARGEST_PARETO_SHAPE)}.",
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
