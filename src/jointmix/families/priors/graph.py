"""Prior families as PyMC variables."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pymc as pm
import pytensor.tensor as pt
from pymc.distributions.transforms import log
from pytensor.tensor.variable import TensorVariable

from jointmix.families.priors.priors import (
    Gamma,
    HalfNormal,
    HalfStudentT,
    InverseGamma,
    LogNormal,
    Normal,
    ScalePrior,
    StudentT,
)
from jointmix.families.protocol import Parameter

Location = Normal | StudentT


def scale_of(parameter: Parameter) -> TensorVariable:
    """A scale with its prior, of the shape of its free values.

    The inverse-gamma family is one of the variance.
    """
    prior, site = parameter.prior, parameter.site
    if isinstance(prior, InverseGamma):
        return pt.sqrt(positive(f"{site}_variance", prior, shape=parameter.free))
    return positive(f"{site}_sd", prior, shape=parameter.free)


def positive(name: str, prior: Any, **dims: Any) -> TensorVariable:
    """A positive variable with a prior of its own; ``dims`` say its shape, or dims."""
    assert isinstance(prior, ScalePrior)
    # PyTensor takes a Python number like 3.0 for float32, and so would be its log gamma.
    given = {key: np.float64(value) for key, value in vars(prior).items()}
    match prior:
        case InverseGamma():
            return pm.InverseGamma(name, given["shape"], given["scale"], **dims)
        case HalfNormal():
            return pm.HalfNormal(name, given["scale"], **dims)
        case HalfStudentT():
            return _half_student(name, given["df"], given["scale"], **dims)
        case LogNormal():
            return pm.LogNormal(name, given["loc"], given["scale"], **dims)
        case Gamma():
            return pm.Gamma(name, given["shape"], given["rate"], **dims)


def _half_student(name: str, df: np.float64, scale: np.float64, **dims: Any) -> TensorVariable:
    """pm.HalfStudentT, whose own density rounds log 2 to single precision."""

    def logp(value: TensorVariable, df: TensorVariable, scale: TensorVariable) -> TensorVariable:
        return np.log(2.0) + pm.logp(pm.StudentT.dist(nu=df, mu=0.0, sigma=scale), value)

    def random(
        df: np.ndarray, scale: np.ndarray, rng: np.random.Generator, size: tuple[int, ...]
    ) -> np.ndarray:
        return np.abs(scale * rng.standard_t(df, size))

    return pm.CustomDist(name, df, scale, logp=logp, random=random, default_transform=log, **dims)


def standard_log_density(priors: Sequence[Location], value: TensorVariable) -> TensorVariable:
    """Log density of locations (..., location) in units of their priors, (...)."""
    columns = [
        pm.StudentT.dist(nu=np.float64(prior.df), mu=0.0, sigma=1.0)
        if isinstance(prior, StudentT)
        else pm.Normal.dist()
        for prior in priors
    ]
    if len({getattr(prior, "df", None) for prior in priors}) == 1:
        return pm.logp(columns[0], value).sum(-1)
    return sum(pm.logp(column, value[..., i]) for i, column in enumerate(columns))


def standard_draws(
    priors: Sequence[Location], rng: np.random.Generator, size: tuple[int, ...]
) -> np.ndarray:
    """Draws of locations in units of their priors, (*size, location)."""
    columns = [
        rng.standard_t(prior.df, size) if isinstance(prior, StudentT) else rng.normal(size=size)
        for prior in priors
    ]
    return np.stack(columns, axis=-1)
