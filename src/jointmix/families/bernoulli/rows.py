"""A yes or no, compiled: log p(y) = log g⁻¹(t), t = ±η, η = b + u'θ + offset.

setup   n = R + 2, whether the link is the probit; columns u, the offset, and ±1
values  b, θ (R)
state   b, θ (R)
kept    the derivative in η: ±1/(1 + exp(t)), or ±φ(t)/Φ(t)
sums    Σ r e, Σ r e u (R)
part    the probability of 1, and the standard deviation
"""

import math

import numpy as np
from numba import carray

from jointmix.families.compiling import Family, jit
from jointmix.families.loops import SUMS, combine, exponential, line_sums, log_one_plus

_LOG_ROOT_2PI, _ROOT_2 = float(0.5 * np.log(2 * np.pi)), float(np.sqrt(2.0))
#: Below this Mills' ratio is by its continued fraction, of so many terms.
_FAR, _TERMS = -8.0, 40
_LEAST = 1e-150


def _prepare(setup, values, state):  # type: ignore[no-untyped-def]
    n = int(carray(setup, (1,))[0])
    given, out = carray(values, (n - 1,)), carray(state, (n - 1,))
    for j in range(n - 1):
        out[j] = given[j]
    return 0.0


@jit()
def _log_normal_below(t: float) -> float:
    """log Φ(t)."""
    if t > _FAR:
        return math.log(0.5 * math.erfc(-t / _ROOT_2))
    fraction = -t
    for term in range(_TERMS, 0, -1):
        fraction = -t + term / fraction
    return -0.5 * t * t - _LOG_ROOT_2PI - math.log(fraction)


@jit(fastmath=SUMS)
def _logistic(rows: np.ndarray, e: np.ndarray, work: np.ndarray, bits: np.ndarray,
              out: np.ndarray) -> None:  # fmt: skip
    """Of η in `e`: log 1/(1 + exp(−t)), and the derivative, from exp(−|t|)."""
    r, m = rows.shape[0] - 2, e.size
    for b in range(m):
        e[b] *= rows[r + 1, b]
        work[b] = -abs(e[b])
    exponential(work, bits, m)
    for b in range(m):
        out[b] += min(e[b], 0.0)
        # 1/(1 + exp(t)), of exp(−|t|).
        tail = (work[b] if e[b] > 0.0 else 1.0) / (1.0 + work[b])
        e[b] = rows[r + 1, b] * tail
    log_one_plus(work, bits, m)
    for b in range(m):
        out[b] -= work[b]


@jit()
def _probit(rows: np.ndarray, e: np.ndarray, out: np.ndarray) -> None:
    r = rows.shape[0] - 2
    for b in range(e.size):
        side = rows[r + 1, b]
        t = side * e[b]
        below = _log_normal_below(t)
        out[b] += below
        e[b] = side * math.exp(-0.5 * t * t - _LOG_ROOT_2PI - below)


@jit(fastmath=SUMS)
def _line(rows: np.ndarray, known: np.ndarray, e: np.ndarray) -> None:
    r = rows.shape[0] - 2
    combine(e, known[0], known[1:], r, rows, e.size)
    for b in range(e.size):
        e[b] += rows[r, b]


def _terms(setup, state, rows, m, kept, scratch, out):  # type: ignore[no-untyped-def]
    given = carray(setup, (2,))
    n = int(given[0])
    own, e, found = carray(rows, (n, m)), carray(kept, (m,)), carray(out, (m,))
    work = carray(scratch, (2, m))
    _line(own, carray(state, (n - 1,)), e)
    if given[1] > 0.0:
        _probit(own, e, found)
    else:
        _logistic(own, e, work[0], work[1].view(np.int64), found)
    return 0.0


def _sums(setup, _state, rows, m, share, kept, scratch, sums):  # type: ignore[no-untyped-def]
    n = int(carray(setup, (1,))[0])
    e, work, out = carray(kept, (m,)), carray(scratch, (m,)), carray(sums, (n - 1,))
    line_sums(carray(rows, (n, m)), carray(share, (m,)), e, work, out)
    return 0.0


def _pullback(setup, _values, _state, _count, sums, gradient):  # type: ignore[no-untyped-def]
    n = int(carray(setup, (1,))[0])
    own, out = carray(sums, (n - 1,)), carray(gradient, (n - 1,))
    for j in range(n - 1):
        out[j] += own[j]
    return 0.0


def _parts(setup, state, rows, m, out):  # type: ignore[no-untyped-def]
    given = carray(setup, (2,))
    n = int(given[0])
    known, own, found = carray(state, (n - 1,)), carray(rows, (n, m)), carray(out, (m, 2))
    for b in range(m):
        eta = known[0] + own[n - 2, b]
        for j in range(n - 2):
            eta += known[1 + j] * own[j, b]
        if given[1] > 0.0:
            one, none = 0.5 * math.erfc(-eta / _ROOT_2), 0.5 * math.erfc(eta / _ROOT_2)
        else:
            small = math.exp(-abs(eta)) / (1.0 + math.exp(-abs(eta)))
            one, none = (1.0 - small, small) if eta > 0.0 else (small, 1.0 - small)
        found[b, 0], found[b, 1] = one, max(math.sqrt(one * none), _LEAST)
    return 0.0


def _moments(part, out):  # type: ignore[no-untyped-def]
    given, found = carray(part, (2,)), carray(out, (2,))
    found[0], found[1] = given[0], given[0] * (1.0 - given[0])
    return 0.0


def _distribution(y, n, weight, parts, out):  # type: ignore[no-untyped-def]
    share, of, found = carray(weight, (n,)), carray(parts, (n, 2)), carray(out, (2,))
    one, total = 0.0, 0.0
    for i in range(n):
        one += share[i] * of[i, 0]
        total += share[i]
    found[0] = total if y >= 1.0 else (total - one if y >= 0.0 else 0.0)
    found[1] = one if y == 1.0 else (total - one if y == 0.0 else 0.0)
    return 0.0


FAMILY = Family(
    values=lambda n: {"intercept": 1, "slope": n - 2},
    n_state=lambda n: n - 1,
    n_sums=lambda n: n - 1,
    n_kept=lambda _: 1,
    n_scratch=lambda _: 2,
    prepare=_prepare,
    terms=_terms,
    sums=_sums,
    pullback=_pullback,
    parts=_parts,
    moments=_moments,
    distribution=_distribution,
    n_part=2,
    whole=True,
)
