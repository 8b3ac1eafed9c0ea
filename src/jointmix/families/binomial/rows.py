"""Successes of trials, compiled: log p(y) = log C(n, y) + y log g⁻¹(η) + (n − y) log g⁻¹(−η).

setup   n = R + 4, whether the link is the probit; columns u, the offset, log C, y, and n − y
values  b, θ (R) of η = b + u'θ + offset
state   b, θ (R)
kept    the derivative in η: y (1 − p) − (n − y) p, or y φ/Φ(η) − (n − y) φ/Φ(−η)
sums    Σ r e, Σ r e u (R)
part    the mean, the standard deviation, and the number of trials
"""

import math

import numpy as np
from numba import carray

from jointmix.families.compiling import Family, jit
from jointmix.families.incomplete_beta import beta_height, lower_beta, lower_beta_of
from jointmix.families.loops import (
    SUMS,
    combine,
    exponential,
    line_parts,
    line_sums,
    log_one_plus,
)

_LOG_ROOT_2PI, _ROOT_2 = float(0.5 * np.log(2 * np.pi)), float(np.sqrt(2.0))
#: Below this Mills' ratio is by its continued fraction, of so many terms.
_FAR, _TERMS = -8.0, 40
_LEAST = 1e-150


def _prepare(setup, values, state):  # type: ignore[no-untyped-def]
    n = int(carray(setup, (1,))[0])
    given, out = carray(values, (n - 3,)), carray(state, (n - 3,))
    for j in range(n - 3):
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
    """Of η in `e`: the log density, and its derivative, from exp(−|η|)."""
    r, m = rows.shape[0] - 4, e.size
    for b in range(m):
        work[b] = -abs(e[b])
    exponential(work, bits, m)
    for b in range(m):
        y, rest = rows[r + 2, b], rows[r + 3, b]
        out[b] += rows[r + 1, b] + y * min(e[b], 0.0) - rest * max(e[b], 0.0)
        large = 1.0 / (1.0 + work[b])
        small = work[b] * large
        e[b] = y * (small if e[b] > 0.0 else large) - rest * (large if e[b] > 0.0 else small)
    log_one_plus(work, bits, m)
    for b in range(m):
        out[b] -= (rows[r + 2, b] + rows[r + 3, b]) * work[b]


@jit()
def _probit(rows: np.ndarray, e: np.ndarray, out: np.ndarray) -> None:
    r = rows.shape[0] - 4
    for b in range(e.size):
        eta, pull = e[b], 0.0
        out[b] += rows[r + 1, b]
        log_height = -0.5 * eta * eta - _LOG_ROOT_2PI
        if rows[r + 2, b] > 0.0:
            below = _log_normal_below(eta)
            out[b] += rows[r + 2, b] * below
            pull += rows[r + 2, b] * math.exp(log_height - below)
        if rows[r + 3, b] > 0.0:
            above = _log_normal_below(-eta)
            out[b] += rows[r + 3, b] * above
            pull -= rows[r + 3, b] * math.exp(log_height - above)
        e[b] = pull


@jit(fastmath=SUMS)
def _line(rows: np.ndarray, known: np.ndarray, e: np.ndarray) -> None:
    r = rows.shape[0] - 4
    combine(e, known[0], known[1:], r, rows, e.size)
    for b in range(e.size):
        e[b] += rows[r, b]


def _terms(setup, state, rows, m, kept, scratch, out):  # type: ignore[no-untyped-def]
    given = carray(setup, (2,))
    n = int(given[0])
    own, e, found = carray(rows, (n, m)), carray(kept, (m,)), carray(out, (m,))
    work = carray(scratch, (2, m))
    _line(own, carray(state, (n - 3,)), e)
    if given[1] > 0.0:
        _probit(own, e, found)
    else:
        _logistic(own, e, work[0], work[1].view(np.int64), found)
    return 0.0


def _sums(setup, _state, rows, m, share, kept, scratch, sums):  # type: ignore[no-untyped-def]
    n = int(carray(setup, (1,))[0])
    e, work, out = carray(kept, (m,)), carray(scratch, (m,)), carray(sums, (n - 3,))
    line_sums(carray(rows, (n, m)), carray(share, (m,)), e, work, out)
    return 0.0


def _pullback(setup, _values, _state, _count, sums, gradient):  # type: ignore[no-untyped-def]
    n = int(carray(setup, (1,))[0])
    own, out = carray(sums, (n - 3,)), carray(gradient, (n - 3,))
    for j in range(n - 3):
        out[j] += own[j]
    return 0.0


def _parts(setup, state, rows, m, out):  # type: ignore[no-untyped-def]
    given = carray(setup, (2,))
    n = int(given[0])
    known, own, found = carray(state, (n - 3,)), carray(rows, (n, m)), carray(out, (m, 3))
    line_parts(own, known, n - 4, found)
    for b in range(m):
        eta = found[b, 0]
        if given[1] > 0.0:
            one, none = 0.5 * math.erfc(-eta / _ROOT_2), 0.5 * math.erfc(eta / _ROOT_2)
        else:
            small = math.exp(-abs(eta)) / (1.0 + math.exp(-abs(eta)))
            one, none = (1.0 - small, small) if eta > 0.0 else (small, 1.0 - small)
        trials = own[n - 2, b] + own[n - 1, b]
        found[b, 0], found[b, 1] = trials * one, max(math.sqrt(trials * one * none), _LEAST)
        found[b, 2] = trials
    return 0.0


def _moments(part, out):  # type: ignore[no-untyped-def]
    given, found = carray(part, (3,)), carray(out, (2,))
    found[0], found[1] = given[0], given[1] * given[1]
    return 0.0


@jit()
def _below(y: float, trials: float, p: float) -> float:
    """P(Y ≤ y), and what is smooth between whole numbers y."""
    if y >= trials:
        return 1.0
    if trials == 1.0:
        return 1.0 - p
    return lower_beta(trials - y, y + 1.0, 1.0 - p, p)


@jit()
def _chance(y: float, trials: float, p: float) -> float:
    """P(Y = y)."""
    if y <= 0.0:
        return (1.0 - p) ** trials if y == 0.0 else 0.0
    if y >= trials:
        return p**trials if y == trials else 0.0
    return beta_height(y, trials - y, p, 1.0 - p)


def _distribution(y, n, weight, parts, out):  # type: ignore[no-untyped-def]
    share, of, found = carray(weight, (n,)), carray(parts, (n, 3)), carray(out, (2,))
    below, height = 0.0, 0.0
    if y > -1.0:
        for i in range(n):
            # A mean over parts of the same number of trials.
            trials = float(round(of[i, 2]))
            p = min(of[i, 0] / trials, 1.0)
            if 0.0 < y < trials and 0.0 < p < 1.0:
                a, b = trials - y, y + 1.0
                ways = beta_height(a, b, 1.0 - p, p)
                below += share[i] * lower_beta_of(ways, a, b, 1.0 - p, p)
                height += share[i] * (ways * b / ((a + b) * p))
            else:
                below += share[i] * _below(y, trials, p)
                height += share[i] * _chance(y, trials, p)
    found[0], found[1] = below, height
    return 0.0


FAMILY = Family(
    values=lambda n: {"intercept": 1, "slope": n - 4},
    n_state=lambda n: n - 3,
    n_sums=lambda n: n - 3,
    n_kept=lambda _: 1,
    n_scratch=lambda _: 2,
    prepare=_prepare,
    terms=_terms,
    sums=_sums,
    pullback=_pullback,
    parts=_parts,
    moments=_moments,
    distribution=_distribution,
    n_part=3,
    whole=True,
)
