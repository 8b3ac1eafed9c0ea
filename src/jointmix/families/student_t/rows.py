"""A Student-t response, compiled: (y − b − u'θ)/σ has a t distribution of ν degrees of freedom.

setup   n = R + 1, columns u then y
values  b, θ (R), σ, ν
state   −b, −θ (R), 1/σ, ν
kept    e = (y − b − u'θ)/σ, and l = log(1 + e²/ν)
sums    Σ v e, Σ v e u (R), Σ v e², Σ r l, with v = r (ν + 1)/(ν + e²)
part    b + u'θ, σ, 1/ν
"""

import math

import numpy as np
from numba import carray

from jointmix.families.compiling import Family, jit
from jointmix.families.gamma_functions import digamma_step, log_gamma_step
from jointmix.families.incomplete_beta import fraction
from jointmix.families.loops import SUMS, line, log_one_plus, residuals, weighted_sums

_LOG_PI, _ROOT_PI = float(np.log(np.pi)), float(np.sqrt(np.pi))
_SQRT_2, _SQRT_2PI = float(np.sqrt(2.0)), float(np.sqrt(2 * np.pi))
#: Beyond it z² / ν may leave float64, while its logarithm does not.
_LARGEST_RATIO = 1e300
#: From these degrees of freedom on, two terms in 1/ν are exact to 1e-14.
_NEARLY_NORMAL = 1e5


@jit()
def log_constant(df: float) -> float:
    """log Γ((ν + 1)/2) − log Γ(ν/2) − log(νπ)/2."""
    return log_gamma_step(0.5 * df) - 0.5 * (math.log(df) + _LOG_PI)


def _prepare(setup, values, state):  # type: ignore[no-untyped-def]
    n = int(carray(setup, (1,))[0])
    given, out = carray(values, (n + 2,)), carray(state, (n + 2,))
    for j in range(n):
        out[j] = -given[j]
    out[n], out[n + 1] = 1 / given[n], given[n + 1]
    return log_constant(given[n + 1]) - math.log(given[n])


@jit(fastmath=SUMS)
def _subtract(
    rows: np.ndarray, known: np.ndarray, df: float, kept: np.ndarray, bits: np.ndarray,
    out: np.ndarray,
) -> None:  # fmt: skip
    e, logs = kept[0], kept[1]
    residuals(rows, known, e)
    for b in range(e.size):
        logs[b] = e[b] * e[b] / df
    log_one_plus(logs, bits, e.size)
    half = 0.5 * (df + 1.0)
    for b in range(e.size):
        out[b] -= half * logs[b]


def _terms(setup, state, rows, m, kept, scratch, out):  # type: ignore[no-untyped-def]
    n = int(carray(setup, (1,))[0])
    known, bits = carray(state, (n + 2,)), carray(scratch, (m,)).view(np.int64)
    _subtract(
        carray(rows, (n, m)), known, known[n + 1], carray(kept, (2, m)), bits, carray(out, (m,))
    )
    return 0.0


@jit(fastmath=SUMS)
def _weigh(share: np.ndarray, kept: np.ndarray, df: float, weight: np.ndarray) -> float:
    """Fill r (ν + 1)/(ν + e²); returns Σ r l."""
    total = 0.0
    for b in range(share.size):
        weight[b] = share[b] * (df + 1.0) / (df + kept[0, b] * kept[0, b])
        total += share[b] * kept[1, b]
    return total


def _sums(setup, state, rows, m, share, kept, scratch, sums):  # type: ignore[no-untyped-def]
    n = int(carray(setup, (1,))[0])
    held, work, out = carray(kept, (2, m)), carray(scratch, (2, m)), carray(sums, (n + 2,))
    df = carray(state, (n + 2,))[n + 1]
    out[n + 1] += _weigh(carray(share, (m,)), held, df, work[0])
    weighted_sums(carray(rows, (n, m)), work[0], held[0], work[1], out)
    return 0.0


def _pullback(setup, _values, state, count, sums, gradient):  # type: ignore[no-untyped-def]
    n = int(carray(setup, (1,))[0])
    own, out, known = carray(sums, (n + 2,)), carray(gradient, (n + 2,)), carray(state, (n + 2,))
    for j in range(n):
        out[j] += own[j] * known[n]
    out[n] += own[n] - count
    df = known[n + 1]
    of_constant = count * (df * digamma_step(0.5 * df) - 1.0)
    out[n + 1] += 0.5 * (of_constant - df * own[n + 1] + own[n])
    return 0.0


def _parts(setup, state, rows, m, out):  # type: ignore[no-untyped-def]
    n = int(carray(setup, (1,))[0])
    known, found = carray(state, (n + 2,)), carray(out, (m, 3))
    line(carray(rows, (n, m)), known, found)
    for b in range(m):
        found[b, 1], found[b, 2] = 1 / known[n], 1 / known[n + 1]
    return 0.0


def _moments(part, out):  # type: ignore[no-untyped-def]
    """Mean and variance: the centre, also where ν ≤ 1 has no mean, and ∞ where ν ≤ 2."""
    given, found = carray(part, (3,)), carray(out, (2,))
    rest = 1.0 - 2.0 * given[2]
    found[0] = given[0]
    found[1] = given[1] * given[1] / rest if rest > 0.0 else np.inf
    return 0.0


@jit()
def lower(z: float, df: float) -> float:
    """P(T ≤ z) of a t distribution, to 1e-14 or so."""
    if df >= _NEARLY_NORMAL:
        s = z * z
        first = z * (s + 1) / (4 * df)
        second = z * (((3 * s - 7) * s - 5) * s - 3) / (96 * df * df)
        height = math.exp(-0.5 * s) / _SQRT_2PI
        return 0.5 * math.erfc(-z / _SQRT_2) - (height * (first + second) if height > 0 else 0.0)
    a, ratio = 0.5 * df, z * z / df
    # x^a (1 − x)^½ / B(a, ½) of x = ν/(ν + z²).
    x, rest, log_x = 1 / (1 + ratio), ratio / (1 + ratio), -math.log1p(ratio)
    if ratio > _LARGEST_RATIO:
        rest, log_x = 1.0, math.log(df) - 2 * math.log(abs(z))
    front = math.exp(log_gamma_step(a) + a * log_x) * math.sqrt(rest) / _ROOT_PI
    if x * (a + 2.5) < a + 1:
        tail = 0.5 * front * fraction(a, 0.5, x, rest)
    else:
        tail = 0.5 - 0.5 * front * fraction(0.5, a, rest, x)
    return tail if z < 0 else 1 - tail


def _distribution(y, n, weight, parts, out):  # type: ignore[no-untyped-def]
    share, of, found = carray(weight, (n,)), carray(parts, (n, 3)), carray(out, (2,))
    below, height = 0.0, 0.0
    for i in range(n):
        z, df = (y - of[i, 0]) / of[i, 1], 1 / of[i, 2]
        below += share[i] * lower(z, df)
        own = log_constant(df) - 0.5 * (df + 1) * math.log1p(z * z / df)
        height += share[i] / of[i, 1] * math.exp(own)
    found[0], found[1] = below, height
    return 0.0


FAMILY = Family(
    values=lambda n: {"intercept": 1, "slope": n - 1, "sigma": 1, "df": 1},
    n_state=lambda n: n + 2,
    n_sums=lambda n: n + 2,
    n_kept=lambda _: 2,
    n_scratch=lambda _: 2,
    prepare=_prepare,
    terms=_terms,
    sums=_sums,
    pullback=_pullback,
    parts=_parts,
    moments=_moments,
    distribution=_distribution,
    n_part=3,
)
