"""Priors, compiled: densities of unconstrained values q ∈ ℝ, up to constants, with Jacobians.

Constants and coefficients come from `jointmix.families.priors.coefficients`.
"""

import numpy as np

from jointmix.families.compiling import jit

# Plain loops throughout: whole-array expressions would take Numba several times as long to compile.


@jit()
def positive_density(prior, q):  # type: ignore[no-untyped-def]
    """The log density of q, where exp(power q) is a positive parameter.

    It is linear q + factor e^{exponent q} + curvature (q − middle)² + tail log(1 + inner e^{2q}),
    of which each family has some terms.
    """
    result = prior.linear * q + prior.curvature * (q - prior.middle) ** 2
    if prior.factor != 0:
        result += prior.factor * np.exp(prior.exponent * q)
    if prior.tail != 0:
        result += prior.tail * np.log1p(prior.inner * np.exp(2 * q))
    return result


@jit()
def positive_slope(prior, q):  # type: ignore[no-untyped-def]
    """The derivative of `positive_density`."""
    result = prior.linear + 2 * prior.curvature * (q - prior.middle)
    if prior.factor != 0:
        result += prior.factor * prior.exponent * np.exp(prior.exponent * q)
    if prior.tail != 0:
        # 2 t s e^{2q} / (1 + s e^{2q}), written so that it cannot overflow.
        result += 2 * prior.tail / (1 + np.exp(-2 * q) / prior.inner)
    return result


@jit()
def location_density(df: float, xi: float) -> float:
    """The log density of a location in units of its prior: t, or normal where df is 0."""
    if df > 0:
        return -0.5 * (df + 1) * np.log1p(xi * xi / df)
    return -0.5 * xi * xi


@jit()
def location_slope(df: float, xi: float) -> float:
    """The derivative of `location_density`."""
    if df > 0:
        return -(df + 1) * xi / (df + xi * xi)
    return -xi


@jit()
def vine_forward(eta: float, q: np.ndarray, factor: np.ndarray) -> float:
    """Cholesky factor (feature, feature) of a correlation matrix, by a C-vine, under LKJ(η).

    Partial correlations p = tanh(q/2); row i is p_ij ∏_{l<j} √(1 − p_il²), and (1 + p_ij)/2 has
    the distribution Beta(a, a), a = η + (D − 2 − j)/2 (Lewandowski, Kurowicka and Joe 2009).
    """
    d = factor.shape[0]
    result, place = 0.0, 0
    for i in range(d):
        rest = 1.0
        for j in range(i):
            x = q[place]
            # log u(1 − u) of u = 1/(1 + e^{−x}); √(1 − p²) = 2 √(u(1 − u)).
            log_product = -abs(x) - 2 * np.log1p(np.exp(-abs(x)))
            result += (eta + 0.5 * (d - 2 - j)) * log_product
            factor[i, j] = np.tanh(x / 2) * rest
            rest *= 2 * np.exp(0.5 * log_product)
            place += 1
        factor[i, i] = rest
    return result


@jit()
def vine_pullback(eta: float, q: np.ndarray, from_factor: np.ndarray, gradient: np.ndarray) -> None:
    """Add the gradient in q, given that of the rows in the factor, (feature, feature)."""
    d = from_factor.shape[0]
    rest = np.empty(d + 1)
    place = 0
    for i in range(d):
        rest[0] = 1.0
        for j in range(i):
            rest[j + 1] = rest[j] / np.cosh(q[place + j] / 2)
        above = from_factor[i, i]
        for j in range(i - 1, -1, -1):
            p = np.tanh(q[place + j] / 2)
            root = 1 / np.cosh(q[place + j] / 2)
            # dp/dq = (1 − p²)/2 and d√(1 − p²)/dq = −p √(1 − p²)/2.
            own = from_factor[i, j] * rest[j] * root * root - above * rest[j] * p * root
            gradient[place + j] += 0.5 * own - (eta + 0.5 * (d - 2 - j)) * p
            above = above * root + from_factor[i, j] * p
        place += i
