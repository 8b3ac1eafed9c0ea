"""The compiled entry points: the log density with its gradient, and the model's parameters.

Both have the C signatures that nutpie calls: (dim, q, gradient, value, problem) and
(dim, n, q, parameters, problem). Numba keeps them on disk, and since the problem says all about
the model, they are compiled once a machine.
"""

from functools import cache
from typing import Any

import numpy as np
from numba import carray, types

from jointmix.base.threads import heed
from jointmix.families.compiling import c_function, is_stored, jit
from jointmix.families.loops import SUMS
from jointmix.kernel.prior import forward, pullback
from jointmix.kernel.records import (
    EXPONENTIAL,
    HEADER,
    HEADER_SIZE,
    PRODUCT,
    blocks_of,
    header_of,
    outputs_of,
    parameters_of,
)
from jointmix.kernel.sweep import sweep

_DOUBLES = types.CPointer(types.float64)
LOG_DENSITY = types.int64(types.uint64, _DOUBLES, _DOUBLES, _DOUBLES, _DOUBLES)
PARAMETERS = types.int64(types.uint64, types.uint64, _DOUBLES, _DOUBLES, _DOUBLES)


@jit(fastmath=SUMS)
def _unconstrained(problem, header, argument):  # type: ignore[no-untyped-def]
    """q = c + S z where the problem whitens, else the argument itself."""
    if header.whitened == 0:
        return argument
    n = argument.size
    shift = problem[header.shift : header.shift + n]
    stretch = problem[header.stretch : header.stretch + n * n]
    q = np.empty(n)
    for i in range(n):
        total = shift[i]
        for j in range(i + 1):
            total += stretch[i * n + j] * argument[j]
        q[i] = total
    return q


@jit()
def _whitened(problem, header, gradient, out):  # type: ignore[no-untyped-def]
    """S' times the gradient, or the gradient itself."""
    n = gradient.size
    for i in range(n):
        out[i] = gradient[i]
    if header.whitened == 0:
        return
    stretch = problem[header.stretch : header.stretch + n * n]
    for i in range(n):
        out[i] = 0.0
        slope = gradient[i]
        for j in range(i + 1):
            out[j] += stretch[i * n + j] * slope


@jit()
def _known(problem, header):  # type: ignore[no-untyped-def]
    """The vector of values with what is fixed of them."""
    values = np.empty(header.n_values)
    for i in range(values.size):
        values[i] = problem[header.known + i]
    return values


@jit(inner=False)
def evaluate(problem: np.ndarray, argument: np.ndarray, out: np.ndarray) -> float:
    """The log posterior density of the unconstrained values, and its gradient.

    Parameters
    ----------
    problem
        As `problem.make_problem` returns it.
    argument
        Shape (dim,).
    out
        Filled with the gradient in the argument, (dim,).
    """
    header = header_of(problem)
    table, blocks, k = parameters_of(problem, header), blocks_of(problem, header), header.n_clusters
    q, values = _unconstrained(problem, header, argument), _known(problem, header)
    from_values, gradient = np.zeros(values.size), np.zeros(q.size)
    total = header.constant + forward(problem, table, k, q, values)
    total += sweep(problem, header, blocks, values, from_values)
    pullback(problem, table, k, q, values, from_values, gradient)
    _whitened(problem, header, gradient, out)
    return total


@jit(inner=False)
def linearised(problem, argument, values, slopes):  # type: ignore[no-untyped-def]
    """Fill the values at unconstrained values, and their derivatives, (value, dim).

    Those of weights and of positive values are of their logarithms.
    """
    header = header_of(problem)
    table, k = parameters_of(problem, header), header.n_clusters
    known, dim = _known(problem, header), argument.size
    for i in range(known.size):
        values[i] = known[i]
    forward(problem, table, k, argument, values)
    none = np.zeros(dim)
    pullback(problem, table, k, argument, values, np.zeros(values.size), none)
    for i in range(values.size):
        of_one, own = np.zeros(values.size), np.zeros(dim)
        of_one[i] = 1.0
        pullback(problem, table, k, argument, values, of_one, own)
        for j in range(dim):
            slopes[i, j] = own[j] - none[j]


@jit(inner=False)
def tilted_gradient(problem, argument, slopes):  # type: ignore[no-untyped-def]
    """The gradient of the log prior density plus a sum of the values, each times its slope."""
    header = header_of(problem)
    table, k = parameters_of(problem, header), header.n_clusters
    values, gradient = _known(problem, header), np.zeros(argument.size)
    forward(problem, table, k, argument, values)
    pullback(problem, table, k, argument, values, slopes.copy(), gradient)
    return gradient


def value_and_gradient(problem: np.ndarray, point: np.ndarray) -> tuple[float, np.ndarray]:
    """What `evaluate` returns and fills at an argument (dim,): the log density, its gradient."""
    heed()
    gradient = np.empty(len(point))
    return float(evaluate(problem, np.ascontiguousarray(point), gradient)), gradient


@jit(inner=False)
def expand(problem: np.ndarray, argument: np.ndarray, out: np.ndarray) -> None:
    """The parameters on the model's scale, one after another.

    Parameters
    ----------
    out
        Filled with the parameters of `values.parameter_shapes`, in that order.
    """
    header = header_of(problem)
    k, outputs = header.n_clusters, outputs_of(problem, header)
    q, values = _unconstrained(problem, header, argument), _known(problem, header)
    forward(problem, parameters_of(problem, header), k, q, values)
    place = 0
    for i in range(outputs.size):
        row = outputs[i]
        for c in range(k):
            own = values[row.value + c * row.step : row.value + c * row.step + row.width]
            for j in range(row.width):
                out[place] = own[j]
                if row.kind == EXPONENTIAL:
                    out[place] = np.exp(own[j])
                elif row.kind == PRODUCT:
                    first, second = j // row.side * row.side, j % row.side * row.side
                    out[place] = 0.0
                    for m in range(min(first, second) // row.side + 1):
                        out[place] += own[first + m] * own[second + m]
                place += 1


def _log_density(dim, q, gradient, value, problem):  # type: ignore[no-untyped-def]
    header = carray(problem, (HEADER_SIZE,)).view(HEADER)[0]
    if dim != header.dim:
        return -1
    given = carray(problem, (int(header.n_doubles),))
    out = carray(gradient, (int(dim),))
    result = evaluate(given, carray(q, (int(dim),)), out)
    value[0] = result
    # nutpie takes 3 and 4 for a point to be rejected, as it does from PyMC's functions.
    for i in range(int(dim)):
        if not np.isfinite(out[i]):
            return 3
    return 0 if np.isfinite(result) else 4


def _parameters(dim, n, q, out, problem):  # type: ignore[no-untyped-def]
    header = carray(problem, (HEADER_SIZE,)).view(HEADER)[0]
    if dim != header.dim:
        return -1
    given = carray(problem, (int(header.n_doubles),))
    expand(given, carray(q, (int(dim),)), carray(out, (int(n),)))
    return 0


@cache
def compiled() -> tuple[Any, Any]:
    """The two compiled C functions; from Numba's cache on disk if they were compiled before."""
    return c_function(LOG_DENSITY, _log_density), c_function(PARAMETERS, _parameters)


def is_compiled() -> bool:
    """Whether the compiled functions are in the cache on disk."""
    return is_stored(LOG_DENSITY, _log_density)
