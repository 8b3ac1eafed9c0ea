"""A negative binomial response, compiled: with η = b + u'θ + offset, m = exp(η) and size s

    log p(y) = y η + log Γ(s + y)/(Γ(s) s^y) − (s + y) log(1 + m/s) − log y!

setup   n = R + 3, columns u, the offset, −log y!, and y
values  b, θ (R), s
state   b, θ (R), and what s needs, see `rising_rows`
kept    the derivative in η, s (y − m)/(s + m); log(1 + m/s); log(1 + y/(s + 10))
sums    Σ r e, Σ r e u (R), Σ r (ψ(s + y) − ψ(s) − log(1 + m/s))
part    m, the standard deviation, and 1/s
"""

import math

import numpy as np
from numba import carray

from jointmix.families.compiling import Family, jit
from jointmix.families.incomplete_beta import beta_height, lower_beta
from jointmix.families.limits import MOST_EXPONENT
from jointmix.families.loops import (
    SUMS,
    combine,
    dot,
    exponential,
    line_parts,
    line_sums,
    log_one_plus,
)
from jointmix.families.rising_rows import N_RISING, prepare_rising, rising_sum, rising_terms

#: The least mean.
_LEAST = 1e-300


def _prepare(setup, values, state):  # type: ignore[no-untyped-def]
    n = int(carray(setup, (1,))[0])
    given, out = carray(values, (n - 1,)), carray(state, (n - 2 + N_RISING,))
    for j in range(n - 2):
        out[j] = given[j]
    prepare_rising(given[n - 2], out[n - 2 :])
    return 0.0


@jit(fastmath=SUMS)
def _mean_terms(rows: np.ndarray, known: np.ndarray, own: np.ndarray, kept: np.ndarray,
                t: np.ndarray, bits: np.ndarray, out: np.ndarray) -> None:  # fmt: skip
    """What m enters, from exp(−|t|) of t = log m/s; `own` begins with s and log s."""
    r, m, size = rows.shape[0] - 3, t.size, own[0]
    pull, spread = kept[0], kept[1]
    combine(t, known[0], known[1:], r, rows, m)
    for b in range(m):
        eta = t[b] + rows[r, b]
        out[b] += rows[r + 2, b] * eta + rows[r + 1, b]
        t[b] = eta - own[1]
        spread[b] = -abs(t[b])
    exponential(spread, bits, m)
    for b in range(m):
        large = 1.0 / (1.0 + spread[b])
        small = spread[b] * large
        share = large if t[b] > 0.0 else small
        pull[b] = rows[r + 2, b] * (small if t[b] > 0.0 else large) - size * share
    log_one_plus(spread, bits, m)
    for b in range(m):
        spread[b] += max(t[b], 0.0)
        out[b] -= (size + rows[r + 2, b]) * spread[b]


def _terms(setup, state, rows, m, kept, scratch, out):  # type: ignore[no-untyped-def]
    n = int(carray(setup, (1,))[0])
    known, columns = carray(state, (n - 2 + N_RISING,)), carray(rows, (n, m))
    held, work, found = carray(kept, (3, m)), carray(scratch, (2, m)), carray(out, (m,))
    own, bits = known[n - 2 :], work[1].view(np.int64)
    _mean_terms(columns, known[: n - 2], own, held, work[0], bits, found)
    rising_terms(columns[n - 1], own, held[2], work[0], bits, found)
    return 0.0


def _sums(setup, state, rows, m, share, kept, scratch, sums):  # type: ignore[no-untyped-def]
    n = int(carray(setup, (1,))[0])
    known, columns = carray(state, (n - 2 + N_RISING,)), carray(rows, (n, m))
    held, weight = carray(kept, (3, m)), carray(share, (m,))
    work, out = carray(scratch, (m,)), carray(sums, (n - 1,))
    line_sums(columns, weight, held[0], work, out[: n - 2])
    out[n - 2] += rising_sum(columns[n - 1], known[n - 2 :], weight, held[2])
    out[n - 2] -= dot(weight, held[1])
    return 0.0


def _pullback(setup, _values, state, _count, sums, gradient):  # type: ignore[no-untyped-def]
    n = int(carray(setup, (1,))[0])
    own, out = carray(sums, (n - 1,)), carray(gradient, (n - 1,))
    for j in range(n - 2):
        out[j] += own[j]
    out[n - 2] += carray(state, (n - 1,))[n - 2] * own[n - 2] - own[0]
    return 0.0


def _parts(setup, state, rows, m, out):  # type: ignore[no-untyped-def]
    n = int(carray(setup, (1,))[0])
    known, found = carray(state, (n - 1,)), carray(out, (m, 3))
    line_parts(carray(rows, (n, m)), known, n - 3, found)
    for b in range(m):
        mean = max(math.exp(min(found[b, 0], MOST_EXPONENT)), _LEAST)
        found[b, 0], found[b, 2] = mean, 1.0 / known[n - 2]
        found[b, 1] = math.sqrt(mean) * math.sqrt(1.0 + mean * found[b, 2])
    return 0.0


def _moments(part, out):  # type: ignore[no-untyped-def]
    given, found = carray(part, (3,)), carray(out, (2,))
    found[0], found[1] = given[0], given[0] + given[0] * (given[0] * given[2])
    return 0.0


@jit()
def _chance(y: float, size: float, below: float, above: float) -> float:
    """P(Y = y), of s/(s + m) and m/(s + m)."""
    if y > 0.0:
        return beta_height(size, y, below, above) * (size / (size + y))
    return math.exp(size * math.log1p(-above)) if y == 0.0 else 0.0


def _distribution(y, n, weight, parts, out):  # type: ignore[no-untyped-def]
    share, of, found = carray(weight, (n,)), carray(parts, (n, 3)), carray(out, (2,))
    lower, height = 0.0, 0.0
    if y > -1.0:
        for i in range(n):
            ratio, size = of[i, 0] * of[i, 2], 1.0 / of[i, 2]
            below = 1.0 / (1.0 + ratio)
            above = ratio * below
            lower += share[i] * lower_beta(size, y + 1.0, below, above)
            height += share[i] * _chance(y, size, below, above)
    found[0], found[1] = lower, height
    return 0.0


FAMILY = Family(
    values=lambda n: {"intercept": 1, "slope": n - 3, "size": 1},
    n_state=lambda n: n - 2 + N_RISING,
    n_sums=lambda n: n - 1,
    n_kept=lambda _: 3,
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
