"""What the compiled priors are given: named coefficients, and normalising constants."""

import numpy as np
from scipy.special import betaln, gammaln

from jointmix.families.priors.priors import (
    LKJ,
    Dirichlet,
    Fixed,
    Gamma,
    HalfNormal,
    HalfStudentT,
    InverseGamma,
    LogNormal,
    Normal,
    ScalePrior,
    StudentT,
)

_LOG_2PI = float(np.log(2 * np.pi))


def of_variance(prior: object) -> bool:
    """Whether a scale's prior is stated of the variance, which is then the free variable."""
    return isinstance(prior, InverseGamma)


def positive(prior: ScalePrior) -> dict[str, float]:
    """The coefficients of `rows.positive_density` that are not 0, by name."""
    match prior:
        case InverseGamma(shape=shape, scale=scale):
            return {"power": 0.5, "linear": -shape, "factor": -scale, "exponent": -1.0}
        case HalfNormal(scale=scale):
            return {"power": 1.0, "linear": 1.0, "factor": -0.5 / scale**2, "exponent": 2.0}
        case HalfStudentT(df=df, scale=scale):
            inner = 1 / (df * scale**2)
            return {"power": 1.0, "linear": 1.0, "tail": -(df + 1) / 2, "inner": inner}
        case LogNormal(loc=loc, scale=scale):
            return {"power": 1.0, "curvature": -0.5 / scale**2, "middle": loc}
        case Gamma(shape=shape, rate=rate):
            return {"power": 1.0, "linear": shape, "factor": -rate, "exponent": 1.0}


def positive_constant(prior: ScalePrior) -> float:
    """The log normalising constant that `rows.positive_density` leaves out."""
    match prior:
        case InverseGamma(shape=shape, scale=scale):
            return float(shape * np.log(scale) - gammaln(shape))
        case HalfNormal(scale=scale):
            return float(0.5 * np.log(2 / np.pi) - np.log(scale))
        case HalfStudentT(df=df, scale=scale):
            return float(np.log(2) + _t_constant(df) - np.log(scale))
        case LogNormal(scale=scale):
            return float(-np.log(scale) - 0.5 * _LOG_2PI)
        case Gamma(shape=shape, rate=rate):
            return float(shape * np.log(rate) - gammaln(shape))


def location_constant(prior: Normal | StudentT | Fixed) -> float:
    """That of a location in units of its prior's scale."""
    return _t_constant(prior.df) if isinstance(prior, StudentT) else -0.5 * _LOG_2PI


def _t_constant(df: float) -> float:
    return float(gammaln((df + 1) / 2) - gammaln(df / 2) - 0.5 * np.log(df * np.pi))


def vine_constant(prior: LKJ, d: int) -> float:
    """That of the partial correlations of one matrix of d features."""
    shape = prior.eta + (d - 2 - np.tril_indices(d, -1)[1]) / 2
    return -float(betaln(shape, shape).sum())


def simplex_constant(prior: Dirichlet, k: int) -> float:
    """That of k weights, with the log K of the softmax' Jacobian."""
    a = prior.concentration
    return float(gammaln(k * a) - k * gammaln(a) + np.log(k))
