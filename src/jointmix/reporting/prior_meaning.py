"""What the priors say on the users' own scale: 90% of their mass, column by column."""

from collections.abc import Callable
from typing import Any

import numpy as np
from scipy import stats

from jointmix.reporting.fitted import FittedView

MASS = 0.90
_TAILS = np.array([(1 - MASS) / 2, (1 + MASS) / 2])


def _inverse_gamma_sd(p: dict[str, Any]) -> np.ndarray:
    return np.sqrt(stats.invgamma.ppf(_TAILS, p["shape"], scale=p["scale"]))


_QUANTILES: dict[str, Callable[[dict[str, Any]], np.ndarray]] = {
    "normal": lambda p: stats.norm.ppf(_TAILS, p["loc"], p["scale"]),
    "student_t": lambda p: stats.t.ppf(_TAILS, p["df"], p["loc"], p["scale"]),
    "inverse_gamma": _inverse_gamma_sd,
    "half_normal": lambda p: stats.halfnorm.ppf(_TAILS, scale=p["scale"]),
    "half_student_t": lambda p: p["scale"] * stats.t.ppf((1 + _TAILS) / 2, p["df"]),
    "log_normal": lambda p: np.exp(stats.norm.ppf(_TAILS, p["loc"], p["scale"])),
    "gamma": lambda p: stats.gamma.ppf(_TAILS, p["shape"], scale=1 / p["rate"]),
}

_WORDS: dict[str, Callable[[dict[str, Any]], str]] = {
    "normal": lambda p: f"Normal({p['loc']:g}, {p['scale']:g})",
    "student_t": lambda p: f"Student t({p['df']:g}, {p['loc']:g}, {p['scale']:g})",
    "inverse_gamma": lambda p: f"variance ~ InverseGamma({p['shape']:g}, {p['scale']:g})",
    "half_normal": lambda p: f"HalfNormal({p['scale']:g})",
    "half_student_t": lambda p: f"HalfStudentT({p['df']:g}, {p['scale']:g})",
    "log_normal": lambda p: f"LogNormal({p['loc']:g}, {p['scale']:g})",
    "gamma": lambda p: f"Gamma({p['shape']:g}, {p['rate']:g})",
    "lkj": lambda p: f"LKJ({p['eta']:g})",
    "dirichlet": lambda p: f"Dirichlet({p['concentration']:g}, …)",
    "fixed": lambda _: "fixed by the user",
}


def in_words(prior: dict[str, Any] | None) -> str:
    """A prior's family and parameters, on the modelling scale."""
    if prior is None:
        return "default"
    return _WORDS[prior["family"]](prior)


def standard_interval(prior: dict[str, Any], n_clusters: int, n_features: int) -> np.ndarray | None:
    """The central 90% of one entry, on the modelling scale; None for a fixed value."""
    family = prior["family"]
    if family == "dirichlet":
        a = prior["concentration"]
        return stats.beta.ppf(_TAILS, a, a * (n_clusters - 1)) if n_clusters > 1 else None
    if family == "lkj":
        # Each correlation of an LKJ matrix is 2B − 1 with B ~ Beta(a, a).
        a = prior["eta"] + (n_features - 2) / 2
        return 2 * stats.beta.ppf(_TAILS, a, a) - 1 if n_features > 1 else None
    return _QUANTILES[family](prior) if family in _QUANTILES else None


def _maps(view: FittedView) -> list[tuple[str, str, float, float]]:
    """Parameter, column ("" for none), and the shift and factor onto the users' scale."""
    scaling = view.scaling if view.spec["model"].get("standardize", True) else {}
    maps = [("weight", "", 0.0, 1.0)] if len(view.clusters) > 1 else []
    for name in view.features:
        center, scale = scaling.get(name, (0.0, 1.0))
        maps += [("mean", name, center, scale), ("sd", name, 0.0, scale)]
    if len(view.features) > 1 and view.spec["model"].get("covariance") in ("full", "tied"):
        maps.append(("correlation", "", 0.0, 1.0))
    if view.response is None:
        return maps
    center, scale = scaling.get(view.response, (0.0, 1.0))
    if view.spec["model"].get("intercept", True):
        maps.append(("intercept", "", center, scale))
    maps += [
        ("slope", name, 0.0, scale / scaling.get(name, (0.0, 1.0))[1]) for name in view.predictors
    ]
    return [*maps, ("sigma", "", 0.0, scale)]


def meanings(view: FittedView) -> list[tuple[str, str, str, np.ndarray | None]]:
    """Parameter, column, prior in words, and its central 90% on the users' scale.

    The intercept's is that of the response at the average of every predictor.
    """
    priors = view.spec.get("priors", {})
    rows = []
    for parameter, column, shift, factor in _maps(view):
        prior = priors.get(parameter)
        if prior is None:
            continue
        standard = standard_interval(prior, len(view.clusters), len(view.features))
        scaled = None if standard is None else shift + factor * standard
        rows.append((parameter, column, in_words(prior), scaled))
    return rows
