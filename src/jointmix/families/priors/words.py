"""Priors in words, and the central part of each on its own scale."""

from collections.abc import Callable
from typing import Any

import numpy as np
from scipy import stats

from jointmix.families.priors.priors import (
    LKJ,
    AnyPrior,
    Dirichlet,
    Fixed,
    Gamma,
    HalfNormal,
    HalfStudentT,
    InverseGamma,
    LogNormal,
    Normal,
    StudentT,
)

MASS = 0.90
_TAILS = np.array([(1 - MASS) / 2, (1 + MASS) / 2])

_QUANTILES: dict[type, Callable[[Any], np.ndarray]] = {
    Normal: lambda p: stats.norm.ppf(_TAILS, p.loc, p.scale),
    StudentT: lambda p: stats.t.ppf(_TAILS, p.df, p.loc, p.scale),
    InverseGamma: lambda p: np.sqrt(stats.invgamma.ppf(_TAILS, p.shape, scale=p.scale)),
    HalfNormal: lambda p: stats.halfnorm.ppf(_TAILS, scale=p.scale),
    HalfStudentT: lambda p: p.scale * stats.t.ppf((1 + _TAILS) / 2, p.df),
    LogNormal: lambda p: np.exp(stats.norm.ppf(_TAILS, p.loc, p.scale)),
    Gamma: lambda p: stats.gamma.ppf(_TAILS, p.shape, scale=1 / p.rate),
}

#: Chances that a value is smaller, and that it is larger.
_CHANCES: dict[type, Callable[[Any, float], tuple[float, float]]] = {
    Normal: lambda p, x: _both(stats.norm(p.loc, p.scale), x),
    StudentT: lambda p, x: _both(stats.t(p.df, p.loc, p.scale), x),
    InverseGamma: lambda p, x: _both(stats.invgamma(p.shape, scale=p.scale), x**2),
    HalfNormal: lambda p, x: (1.0, _both(stats.halfnorm(scale=p.scale), x)[1]),
    HalfStudentT: lambda p, x: (1.0, 2 * _both(stats.t(p.df, scale=p.scale), x)[1]),
    LogNormal: lambda p, x: _both(stats.lognorm(p.scale, scale=np.exp(p.loc)), x),
    Gamma: lambda p, x: _both(stats.gamma(p.shape, scale=1 / p.rate), x),
}

_WORDS: dict[type, Callable[[Any], str]] = {
    Normal: lambda p: f"Normal({p.loc:g}, {p.scale:g})",
    StudentT: lambda p: f"Student t({p.df:g}, {p.loc:g}, {p.scale:g})",
    InverseGamma: lambda p: f"variance ~ InverseGamma({p.shape:g}, {p.scale:g})",
    HalfNormal: lambda p: f"HalfNormal({p.scale:g})",
    HalfStudentT: lambda p: f"HalfStudentT({p.df:g}, {p.scale:g})",
    LogNormal: lambda p: f"LogNormal({p.loc:g}, {p.scale:g})",
    Gamma: lambda p: f"Gamma({p.shape:g}, {p.rate:g})",
    LKJ: lambda p: f"LKJ({p.eta:g})",
    Dirichlet: lambda p: f"Dirichlet({p.concentration:g}, …)",
    Fixed: lambda _: "fixed by the user",
}


def in_words(prior: AnyPrior) -> str:
    """A prior's family and parameters, on the modelling scale."""
    return _WORDS[type(prior)](prior)


def standard_interval(prior: AnyPrior, n_clusters: int, n_features: int) -> np.ndarray | None:
    """The central 90% of one entry, on the modelling scale, (2,); None for a fixed value.

    A scale's is that of the standard deviation, whatever its prior is stated on.
    """
    if isinstance(prior, Dirichlet):
        a = prior.concentration
        return stats.beta.ppf(_TAILS, a, a * (n_clusters - 1)) if n_clusters > 1 else None
    if isinstance(prior, LKJ):
        # Each correlation of an LKJ matrix is 2B − 1 with B ~ Beta(a, a).
        a = prior.eta + (n_features - 2) / 2
        return 2 * stats.beta.ppf(_TAILS, a, a) - 1 if n_features > 1 else None
    return _QUANTILES[type(prior)](prior) if type(prior) in _QUANTILES else None


def chance_below(prior: object, value: float) -> tuple[float, float]:
    """Prior chances of values that are smaller, and larger, than one on the modelling scale.

    A scale's value is the standard deviation. Under a half-normal and a half-t no value is too
    small, as their densities are highest at zero: the first is 1.
    """
    return _CHANCES[type(prior)](prior, value)


def _both(distribution: Any, value: float) -> tuple[float, float]:
    return float(distribution.cdf(value)), float(distribution.sf(value))
