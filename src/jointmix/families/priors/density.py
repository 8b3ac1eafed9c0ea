"""Log densities of all prior families, in NumPy."""

import numpy as np

from jointmix.families.priors.priors import (
    LKJ,
    Dirichlet,
    Gamma,
    HalfNormal,
    HalfStudentT,
    InverseGamma,
    LogNormal,
    Normal,
    StudentT,
)


def log_density(prior: object, values: np.ndarray) -> np.ndarray:
    """Log density of a parameter as its prior is stated, natural log.

    Parameters
    ----------
    prior
        Of any family but `Fixed`.
    values
        Any dims: locations, standard deviations (variances under an inverse gamma), degrees of
        freedom; correlation matrices (..., D, D); single weights, each of which contributes its
        own term.

    Returns
    -------
    numpy.ndarray
        Of the dims of ``values``, without the matrices' own two; of weights and matrices up to a
        constant.

    Raises
    ------
    TypeError
        If it is no prior that has a density.
    """
    from scipy.stats import gamma, halfnorm, invgamma, lognorm, norm, t

    match prior:
        case Dirichlet():
            found = (prior.concentration - 1) * np.log(values)
        case LKJ():
            found = (prior.eta - 1) * np.linalg.slogdet(values)[1]
        case Normal():
            found = norm.logpdf(values, prior.loc, prior.scale)
        case StudentT():
            found = t.logpdf(values, prior.df, prior.loc, prior.scale)
        case InverseGamma():
            found = invgamma.logpdf(values, prior.shape, scale=prior.scale)
        case HalfNormal():
            found = halfnorm.logpdf(values, scale=prior.scale)
        case HalfStudentT():
            found = np.log(2) + t.logpdf(values, prior.df, scale=prior.scale)
        case LogNormal():
            found = lognorm.logpdf(values, prior.scale, scale=np.exp(prior.loc))
        case Gamma():
            found = gamma.logpdf(values, prior.shape, scale=1 / prior.rate)
        case _:
            raise TypeError(f"{prior!r} is no prior with a density")
    return np.asarray(found)
