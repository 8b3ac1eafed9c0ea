"""Gaussian features, compiled: x ~ N(μ, LL') with L = diag(sd) F, F a factor of correlations.

With A = L⁻¹ the residuals z = A (x − μ) give log p(x) = log c − |z|²/2.

    setup   n = D, dense: whether Σ has entries beside its diagonal
    values  μ (D), sd (D), F (D, D)
    state   μ (D), A (D, D)
    told    D, n and the places of the features that are left (n)
    sums    Σ r z_i (D), then Σ r z_i z_j for j ≤ i, row by row (only i = j unless dense)
"""

import numpy as np
from numba import carray

from jointmix.families.compiling import Family
from jointmix.families.elliptical.rows import (
    add_sums,
    extend_gradient,
    gradients,
    invert,
    reduce_values,
    residuals,
)

_HALF_LOG_2PI = float(0.5 * np.log(2 * np.pi))


def _prepare(setup, values, state):  # type: ignore[no-untyped-def]
    dims = carray(setup, (2,))
    d = int(dims[0])
    given, out = carray(values, (2 * d + d * d,)), carray(state, (d + d * d,))
    for i in range(d):
        out[i] = given[i]
    factor, whiten = given[2 * d :].reshape((d, d)), out[d:].reshape((d, d))
    return invert(factor, given[d : 2 * d], dims[1] != 0, whiten) - d * _HALF_LOG_2PI


def _terms(setup, state, rows, m, kept, scratch, out):  # type: ignore[no-untyped-def]
    dims = carray(setup, (2,))
    d = int(dims[0])
    known = carray(state, (d + d * d,))
    x, z, centred = carray(rows, (d, m)), carray(kept, (d, m)), carray(scratch, (d, m))
    whiten = known[d:].reshape((d, d))
    residuals(x, known[:d], whiten, dims[1] != 0, centred, z, carray(out, (m,)))
    return 0.0


def _sums(setup, _state, _rows, m, share, kept, scratch, sums):  # type: ignore[no-untyped-def]
    dims = carray(setup, (2,))
    d = int(dims[0])
    out = carray(sums, (d + d * (d + 1) // 2,))
    add_sums(carray(share, (m,)), carray(kept, (d, m)), dims[1] != 0, carray(scratch, (m,)), out)
    return 0.0


def _pullback(setup, values, state, count, sums, gradient):  # type: ignore[no-untyped-def]
    d = int(carray(setup, (2,))[0])
    given, out = carray(values, (2 * d + d * d,)), carray(gradient, (2 * d + d * d,))
    whiten = carray(state, (d + d * d,))[d:].reshape((d, d))
    own = carray(sums, (d + d * (d + 1) // 2,))
    gradients(given[2 * d :].reshape((d, d)), given[d : 2 * d], whiten, count, own, out)
    return 0.0


def _reduce(told, _features, values, out):  # type: ignore[no-untyped-def]
    d, n = int(carray(told, (2,))[0]), int(carray(told, (2,))[1])
    given, found = carray(values, (2 * d + d * d,)), carray(out, (2 * n + n * n,))
    reduce_values(carray(told, (2 + n,)), given, found)
    return 0.0


def _extend(told, _features, values, _out, of_out, _of_features, of_values):  # type: ignore[no-untyped-def]
    d, n = int(carray(told, (2,))[0]), int(carray(told, (2,))[1])
    given, own = carray(values, (2 * d + d * d,)), carray(of_out, (2 * n + n * n,))
    extend_gradient(carray(told, (2 + n,)), given, own, carray(of_values, (2 * d + d * d,)))
    return 0.0


FAMILY = Family(
    values=lambda n: {"mean": n, "sd": n, "factor": n * n},
    n_state=lambda n: n + n * n,
    n_sums=lambda n: n + n * (n + 1) // 2,
    n_kept=lambda n: n,
    n_scratch=lambda n: n,
    prepare=_prepare,
    terms=_terms,
    sums=_sums,
    pullback=_pullback,
    reduce=_reduce,
    extend=_extend,
)
