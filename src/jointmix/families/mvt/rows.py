"""Student-t features, compiled: x ~ t(ν; μ, LL') with L = diag(sd) F, F a factor of correlations.

With A = L⁻¹ the residuals z = A (x − μ) give log p(x) = log c − ½ (ν + D) log(1 + |z|²/ν).

    setup   n = D, dense: whether Σ has entries beside its diagonal
    values  μ (D), sd (D), F (D, D), ν
    state   μ (D), A (D, D), ν
    told    D, n and the places of the features that are left (n)
    kept    z (D), then −|z|²/2, then l = log(1 + |z|²/ν)
    sums    Σ v z_i (D), then Σ v z_i z_j for j ≤ i, row by row (only i = j unless dense), then
            Σ r l, with v = r (ν + D)/(ν + |z|²)
"""

import numpy as np
from numba import carray

from jointmix.families.compiling import Family, jit
from jointmix.families.elliptical.rows import (
    add_sums,
    extend_gradient,
    gradients,
    invert,
    reduce_values,
    residuals,
)
from jointmix.families.loops import SUMS, log_one_plus
from jointmix.families.rising_rows import N_RISING, log_rising, prepare_rising, rising_slope

_HALF_LOG_2PI = float(0.5 * np.log(2 * np.pi))


def _prepare(setup, values, state):  # type: ignore[no-untyped-def]
    dims = carray(setup, (2,))
    d = int(dims[0])
    given, out = carray(values, (2 * d + d * d + 1,)), carray(state, (d + d * d + 1,))
    for i in range(d):
        out[i] = given[i]
    df = given[2 * d + d * d]
    out[d + d * d] = df
    factor, whiten = given[2 * d : 2 * d + d * d].reshape((d, d)), out[d : d + d * d]
    own = np.empty(N_RISING)
    prepare_rising(0.5 * df, own)
    found = invert(factor, given[d : 2 * d], dims[1] != 0, whiten.reshape((d, d)))
    return found + log_rising(0.5 * d, own) - d * _HALF_LOG_2PI


@jit(fastmath=SUMS)
def _subtract(
    near: np.ndarray, logs: np.ndarray, bits: np.ndarray, df: float, half: float, out: np.ndarray
) -> None:
    """Subtract ½ (ν + D) l, filled from −|z|²/2."""
    m = near.size
    for b in range(m):
        logs[b] = -2.0 * near[b] / df
    log_one_plus(logs, bits, m)
    for b in range(m):
        out[b] -= half * logs[b]


def _terms(setup, state, rows, m, kept, scratch, out):  # type: ignore[no-untyped-def]
    dims = carray(setup, (2,))
    d = int(dims[0])
    known = carray(state, (d + d * d + 1,))
    held, work = carray(kept, (d + 2, m)), carray(scratch, (d, m))
    whiten, near, df = known[d : d + d * d].reshape((d, d)), held[d], known[d + d * d]
    near[:] = 0.0
    residuals(carray(rows, (d, m)), known[:d], whiten, dims[1] != 0, work, held[:d], near)
    bits = work[0].view(np.int64)
    _subtract(near, held[d + 1], bits, df, 0.5 * (df + d), carray(out, (m,)))
    return 0.0


@jit(fastmath=SUMS)
def _weigh(
    share: np.ndarray, near: np.ndarray, logs: np.ndarray, df: float, size: int, weight: np.ndarray
) -> float:
    """Fill r (ν + D)/(ν + |z|²); returns Σ r l."""
    total = 0.0
    for b in range(share.size):
        weight[b] = share[b] * (df + size) / (df - 2.0 * near[b])
        total += share[b] * logs[b]
    return total


def _sums(setup, state, _rows, m, share, kept, scratch, sums):  # type: ignore[no-untyped-def]
    dims = carray(setup, (2,))
    d = int(dims[0])
    n_sums = d + d * (d + 1) // 2 + 1
    held, work, out = carray(kept, (d + 2, m)), carray(scratch, (2, m)), carray(sums, (n_sums,))
    df = carray(state, (d + d * d + 1,))[d + d * d]
    out[n_sums - 1] += _weigh(carray(share, (m,)), held[d], held[d + 1], df, d, work[0])
    add_sums(work[0], held[:d], dims[1] != 0, work[1], out)
    return 0.0


def _pullback(setup, values, state, count, sums, gradient):  # type: ignore[no-untyped-def]
    d = int(carray(setup, (2,))[0])
    last, n_sums = 2 * d + d * d, d + d * (d + 1) // 2 + 1
    given, out = carray(values, (last + 1,)), carray(gradient, (last + 1,))
    known, own = carray(state, (d + d * d + 1,)), carray(sums, (n_sums,))
    whiten, df = known[d : d + d * d].reshape((d, d)), known[d + d * d]
    factor = given[2 * d : last].reshape((d, d))
    gradients(factor, given[d : 2 * d], whiten, count, own, out)
    rising = np.empty(N_RISING)
    prepare_rising(0.5 * df, rising)
    above = np.log1p(0.5 * d / (0.5 * df + 10.0))
    of_constant = count * (df * rising_slope(0.5 * d, rising, above) - d)
    # Σ v |z|², of the diagonal.
    square, place = 0.0, d
    for i in range(d):
        square += own[place + i]
        place += i + 1
    out[last] += 0.5 * (of_constant - df * own[n_sums - 1] + square)
    return 0.0


def _reduce(told, _features, values, out):  # type: ignore[no-untyped-def]
    d, n = int(carray(told, (2,))[0]), int(carray(told, (2,))[1])
    given, found = carray(values, (2 * d + d * d + 1,)), carray(out, (2 * n + n * n + 1,))
    reduce_values(carray(told, (2 + n,)), given, found)
    found[2 * n + n * n] = given[2 * d + d * d]
    return 0.0


def _extend(told, _features, values, _out, of_out, _of_features, of_values):  # type: ignore[no-untyped-def]
    d, n = int(carray(told, (2,))[0]), int(carray(told, (2,))[1])
    given, own = carray(values, (2 * d + d * d + 1,)), carray(of_out, (2 * n + n * n + 1,))
    gradient = carray(of_values, (2 * d + d * d + 1,))
    extend_gradient(carray(told, (2 + n,)), given, own, gradient)
    gradient[2 * d + d * d] += own[2 * n + n * n]
    return 0.0


FAMILY = Family(
    values=lambda n: {"mean": n, "sd": n, "factor": n * n, "feature_df": 1},
    n_state=lambda n: n + n * n + 1,
    n_sums=lambda n: n + n * (n + 1) // 2 + 1,
    n_kept=lambda n: n + 2,
    n_scratch=lambda n: max(n, 2),
    prepare=_prepare,
    terms=_terms,
    sums=_sums,
    pullback=_pullback,
    reduce=_reduce,
    extend=_extend,
)
