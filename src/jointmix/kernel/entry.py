"""The compiled entry points: the log density with its gradient, and the model's parameters.

Both have the C signatures that nutpie calls: (dim, q, gradient, value, problem) and
(dim, n, q, parameters, problem). Numba keeps them on disk, and since the problem says all about
the model, they are compiled once a machine.
"""

from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
from numba import carray, types

from jointmix.kernel import layout as at
from jointmix.kernel.jit import c_function, is_stored, jit, source_digest
from jointmix.kernel.parameters import (
    array,
    covariance_pullback,
    invert,
    location_forward,
    location_pullback,
    scale_forward,
    scale_pullback,
    vine_forward,
    vine_pullback,
    weight_forward,
    weight_pullback,
)
from jointmix.kernel.rows import SUMS, sweep

_LOG_2PI = float(np.log(2 * np.pi))
_DOUBLES = types.CPointer(types.float64)
LOG_DENSITY = types.int64(types.uint64, _DOUBLES, _DOUBLES, _DOUBLES, _DOUBLES)
PARAMETERS = types.int64(types.uint64, types.uint64, _DOUBLES, _DOUBLES, _DOUBLES)


@jit(fastmath=SUMS)
def _unconstrained(problem: np.ndarray, argument: np.ndarray) -> np.ndarray:
    """q = c + S z where the problem whitens, else the argument itself."""
    if problem[at.WHITENED] == 0:
        return argument
    n = argument.size
    shift, stretch = array(problem, at.SHIFT, n), array(problem, at.STRETCH, n * n)
    q = np.empty(n)
    for i in range(n):
        total = shift[i]
        for j in range(i + 1):
            total += stretch[i * n + j] * argument[j]
        q[i] = total
    return q


@jit()
def _whitened(problem: np.ndarray, gradient: np.ndarray, out: np.ndarray) -> None:
    """S' times the gradient, or the gradient itself."""
    n = gradient.size
    for i in range(n):
        out[i] = gradient[i]
    if problem[at.WHITENED] == 0:
        return
    stretch = array(problem, at.STRETCH, n * n)
    for i in range(n):
        out[i] = 0.0
        slope = gradient[i]
        for j in range(i + 1):
            out[j] += stretch[i * n + j] * slope


@jit()
def _forward(problem, q, log_weight, xi, mean, sd, factor, line, sigma):  # type: ignore[no-untyped-def]
    """Fill the parameters' arrays; returns the log prior density with all Jacobians."""
    k, d = mean.shape
    place = int(problem[at.FREE_WEIGHT]) * (k - 1)
    total = problem[at.CONSTANT] + weight_forward(problem, q[:place], log_weight)
    n = xi.size
    total += location_forward(problem, q[place : place + n], xi)
    place += n
    total += _covariances(problem, q[place:], sd, factor)
    place += int(problem[at.SD_ROWS] * problem[at.SD_COLUMNS])
    place += int(problem[at.N_MATRICES]) * (d * (d - 1) // 2)
    n = int(problem[at.N_SIGMA])
    if n == 0:
        _copy(problem, at.SIGMA, sigma)
    else:
        total += scale_forward(array(problem, at.NOISE_PRIOR, 8), q[place : place + n], sigma)
        for c in range(n, k):
            sigma[c] = sigma[0]
    _locations(problem, xi, mean, line)
    return total


@jit()
def _copy(problem, name, out):  # type: ignore[no-untyped-def]
    """Fill the vector `out` with an array that the problem holds."""
    start = int(problem[name])
    for i in range(out.size):
        out[i] = problem[start + i]


@jit()
def _locations(problem, xi, mean, line):  # type: ignore[no-untyped-def]
    """μ and (b, θ) from ξ, and from what is fixed of them."""
    k, d = mean.shape
    r, n = line.shape[1] - 1, xi.shape[1]
    location, scale = array(problem, at.LOCATION, n), array(problem, at.SCALE, n)
    known_mean, known_slope = array(problem, at.MEAN, k * d), array(problem, at.SLOPE, k * r)
    known_intercept, centre = array(problem, at.INTERCEPT, k), array(problem, at.CENTRE, r)
    n_mean, n_intercept = int(problem[at.N_MEAN]), int(problem[at.N_INTERCEPT])
    n_slope = int(problem[at.N_SLOPE])
    for c in range(k):
        for j in range(d):
            mean[c, j] = location[j] + scale[j] * xi[c, j] if n_mean else known_mean[c * d + j]
        for j in range(r):
            i = n_mean + n_intercept + j
            free = n_slope > 0
            line[c, 1 + j] = location[i] + scale[i] * xi[c, i] if free else known_slope[c * r + j]
        if n_intercept:
            line[c, 0] = location[n_mean] + scale[n_mean] * xi[c, n_mean]
        else:
            line[c, 0] = known_intercept[c]
            for j in range(r):
                line[c, 0] += line[c, 1 + j] * centre[j]


@jit()
def _covariances(problem, q, sd, factor):  # type: ignore[no-untyped-def]
    """Standard deviations (component, feature) and factors of the correlations."""
    k, d = sd.shape
    rows, columns = int(problem[at.SD_ROWS]), int(problem[at.SD_COLUMNS])
    known_factor, known_sd = array(problem, at.FACTOR, k * d * d), array(problem, at.SD, k * d)
    own = np.empty(rows * columns)
    total = scale_forward(array(problem, at.SD_PRIOR, 8), q[: rows * columns], own)
    for c in range(k):
        for i in range(d):
            if rows == 0:
                sd[c, i] = known_sd[c * d + i]
            else:
                sd[c, i] = own[(c if rows > 1 else 0) * columns + (i if columns > 1 else 0)]
            for j in range(d):
                factor[c, i, j] = known_factor[(c * d + i) * d + j]
    n_matrices, pairs = int(problem[at.N_MATRICES]), d * (d - 1) // 2
    for c in range(n_matrices):
        start = rows * columns + c * pairs
        total += vine_forward(problem, q[start : start + pairs], factor[c])
    for c in range(1, k if n_matrices == 1 else 1):
        for i in range(d):
            for j in range(i):
                factor[c, i, j] = factor[0, i, j]
            factor[c, i, i] = factor[0, i, i]
    return total


@jit()
def _pullback_locations(problem, sums, whiten, line, sigma, from_xi):  # type: ignore[no-untyped-def]
    """Gradient of the rows in ξ, (component, location)."""
    k, d = whiten.shape[0], whiten.shape[1]
    r = line.shape[1] - 1
    scale, centre = array(problem, at.SCALE, from_xi.shape[1]), array(problem, at.CENTRE, r)
    n_mean, n_intercept = int(problem[at.N_MEAN]), int(problem[at.N_INTERCEPT])
    slopes = 3 + d + d * (d + 1) // 2
    for c in range(k):
        for j in range(n_mean):
            total = 0.0
            for i in range(j, d):
                total += whiten[c, i, j] * sums[c, 3 + i]
            from_xi[c, j] = total * scale[j]
        first = n_mean + n_intercept
        if n_intercept:
            from_xi[c, n_mean] = sums[c, 1] / sigma[c] * scale[n_mean]
        for j in range(int(problem[at.N_SLOPE])):
            # A fixed b contains θ: its share of the gradient comes through `centre`.
            own = sums[c, slopes + j] + (0.0 if n_intercept else sums[c, 1] * centre[j])
            from_xi[c, first + j] = own / sigma[c] * scale[first + j]


@jit()
def _pullback_covariances(problem, q, sums, sd, factor, whiten, gradient):  # type: ignore[no-untyped-def]
    """Add the gradient in the scales and partial correlations."""
    k, d = sd.shape
    rows, columns = int(problem[at.SD_ROWS]), int(problem[at.SD_COLUMNS])
    if rows == 0:
        return
    n_matrices, pairs = int(problem[at.N_MATRICES]), d * (d - 1) // 2
    from_factor, from_log_sd = np.zeros((d, d)), np.empty(d)
    tied, own = np.zeros((d, d)), np.zeros(rows * columns)
    for c in range(k):
        moments = sums[c, 3 + d : 3 + d + d * (d + 1) // 2]
        covariance_pullback(
            factor[c], sd[c], whiten[c], sums[c, 0], moments, from_factor, from_log_sd
        )
        for j in range(d):
            own[(c if rows > 1 else 0) * columns + (j if columns > 1 else 0)] += from_log_sd[j]
        for i in range(d):
            for j in range(i + 1):
                tied[i, j] += from_factor[i, j]
        if n_matrices > 1 or (n_matrices == 1 and c == k - 1):
            start = rows * columns + (c if n_matrices > 1 else 0) * pairs
            vine_pullback(
                problem,
                q[start : start + pairs],
                from_factor if n_matrices > 1 else tied,
                gradient[start : start + pairs],
            )
    n = rows * columns
    scale_pullback(array(problem, at.SD_PRIOR, 8), q[:n], own, gradient[:n])


@jit(inner=False)
def evaluate(problem: np.ndarray, argument: np.ndarray, out: np.ndarray) -> float:
    """The log posterior density of the unconstrained values, and its gradient.

    Parameters
    ----------
    problem
        As `layout.make_problem` returns it.
    argument
        Shape (dim,).
    out
        Filled with the gradient in the argument, (dim,).
    """
    k, d, r, n_xi = int(problem[at.K]), int(problem[at.D]), int(problem[at.R]), int(problem[at.L])
    q = _unconstrained(problem, argument)
    log_weight, xi, mean = np.empty(k), np.empty((k, n_xi)), np.empty((k, d))
    sd, factor, whiten = np.empty((k, d)), np.empty((k, d, d)), np.empty((k, d, d))
    line, sigma, constant = np.empty((k, 1 + r)), np.empty(k), np.empty(k)
    total = _forward(problem, q, log_weight, xi, mean, sd, factor, line, sigma)
    dense, response = problem[at.DENSE] != 0, problem[at.RESPONSE] != 0
    for c in range(k):
        constant[c] = log_weight[c] + invert(factor[c], sd[c], dense, whiten[c])
        constant[c] -= 0.5 * d * _LOG_2PI
        if response:
            constant[c] -= np.log(sigma[c]) + 0.5 * _LOG_2PI
    n_columns, n_rows = int(problem[at.N_COLUMNS]), int(problem[at.N_ROWS])
    columns = array(problem, at.COLUMNS, n_columns * n_rows).reshape((n_columns, n_rows))
    places = array(problem, at.PLACES, r)
    sums = np.empty((k, 3 + d + d * (d + 1) // 2 + r))
    total += sweep(columns, places, constant, mean, whiten, line, sigma, dense, response, sums)
    gradient, place = np.zeros(q.size), int(problem[at.FREE_WEIGHT]) * (k - 1)
    if place:
        weight_pullback(problem, log_weight, sums[:, 0], gradient[:place])
    from_xi = np.zeros((k, n_xi))
    _pullback_locations(problem, sums, whiten, line, sigma, from_xi)
    end = place + k * n_xi
    location_pullback(problem, q[place:end], xi, from_xi, gradient[place:end])
    _pullback_covariances(problem, q[end:], sums, sd, factor, whiten, gradient[end:])
    n = int(problem[at.N_SIGMA])
    if n:
        own, prior = np.zeros(n), array(problem, at.NOISE_PRIOR, 8)
        for c in range(k):
            own[c if n > 1 else 0] += sums[c, 2] - sums[c, 0]
        scale_pullback(prior, q[q.size - n :], own, gradient[q.size - n :])
    _whitened(problem, gradient, out)
    return total


@jit(inner=False)
def expand(problem: np.ndarray, argument: np.ndarray, out: np.ndarray) -> None:
    """The parameters on the model's scale, one after another.

    Parameters
    ----------
    out
        Filled with weight (K), then mean (K, D), sd (K, D) and correlation (K, D, D) if D > 0,
        then intercept (K), slope (K, R) and sigma (K) if there is a response.
    """
    k, d, r, n_xi = int(problem[at.K]), int(problem[at.D]), int(problem[at.R]), int(problem[at.L])
    q = _unconstrained(problem, argument)
    log_weight, xi, mean = np.empty(k), np.empty((k, n_xi)), np.empty((k, d))
    sd, factor = np.empty((k, d)), np.empty((k, d, d))
    line, sigma = np.empty((k, 1 + r)), np.empty(k)
    _forward(problem, q, log_weight, xi, mean, sd, factor, line, sigma)
    for c in range(k):
        out[c] = np.exp(log_weight[c])
        for j in range(d):
            out[k + c * d + j] = mean[c, j]
            out[k + (k + c) * d + j] = sd[c, j]
    place = k + 2 * k * d
    for c in range(k):
        for i in range(d):
            for j in range(d):
                out[place] = 0.0
                for m in range(min(i, j) + 1):
                    out[place] += factor[c, i, m] * factor[c, j, m]
                place += 1
    if problem[at.RESPONSE] != 0:
        for c in range(k):
            out[place + c] = line[c, 0]
            for j in range(r):
                out[place + k + c * r + j] = line[c, 1 + j]
            out[place + k + k * r + c] = sigma[c]


# The source's digest, held by the functions, is part of the key under which Numba stores them.


def _log_density_of(source: str) -> Callable[..., int]:
    def log_density(dim, q, gradient, value, problem):  # type: ignore[no-untyped-def]
        if source == "":
            return -1
        given = carray(problem, (int(problem[at.SIZE]),))
        if dim != int(given[at.DIM]):
            return -1
        out = carray(gradient, (int(dim),))
        result = evaluate(given, carray(q, (int(dim),)), out)
        value[0] = result
        # nutpie takes 3 and 4 for a point to be rejected, as it does from PyMC's functions.
        for i in range(int(dim)):
            if not np.isfinite(out[i]):
                return 3
        return 0 if np.isfinite(result) else 4

    return log_density


def _parameters_of(source: str) -> Callable[..., int]:
    def parameters(dim, n, q, out, problem):  # type: ignore[no-untyped-def]
        if source == "":
            return -1
        given = carray(problem, (int(problem[at.SIZE]),))
        if dim != int(given[at.DIM]):
            return -1
        expand(given, carray(q, (int(dim),)), carray(out, (int(n),)))
        return 0

    return parameters


@cache
def compiled() -> tuple[Any, Any]:
    """The two compiled C functions; from Numba's cache on disk if they were compiled before."""
    source = source_digest()
    density = c_function(LOG_DENSITY, _log_density_of(source))
    return density, c_function(PARAMETERS, _parameters_of(source))


def is_compiled() -> bool:
    """Whether the compiled functions are in the cache on disk."""
    return is_stored(LOG_DENSITY, _log_density_of(source_digest()))
