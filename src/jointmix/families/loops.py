"""Loops over the rows of a block, shared by the kernel and the families.

They run over contiguous memory, of rows few enough to stay in the processor's cache.
"""

import numpy as np

from jointmix.families.compiling import jit

#: Block lengths, and the number of values of one block that should stay in the cache.
_LEAST_BLOCK, _LARGEST_BLOCK, _CACHED_VALUES = 32, 256, 24576
#: Sums may be reordered (they differ by rounding only), products and sums fused.
SUMS = {"reassoc", "contract", "nsz"}

_LOG2_E = 1.4426950408889634
_LN2_HIGH, _LN2_LOW = 6.93147180369123816490e-01, 1.90821492927058770002e-10
#: Adding 1.5 · 2^52 rounds a number to a whole one, found in the last bits of the sum.
_ROUNDER = 6755399441055744.0
#: Below this exp is taken for zero. Results near 1e-308, or products of them, would be subnormal
#: numbers, on which processors are a hundred times slower.
_LEAST_EXPONENT = -600.0
#: A power of two between those of the exponents −600 and −599.
_SMALLEST = 2.0**-866
#: The bits of √½, and the series of 2 artanh s from its highest power.
_ROOT_HALF = 0x3FE6A09E667F3BCD
_ARTANH = tuple(2.0 / odd for odd in range(21, 0, -2))
#: Logs of means beyond which their cubes and roots would leave float64.
_FARTHEST_MEAN = 230.0


@jit()
def copy(values: np.ndarray, out: np.ndarray) -> None:
    """Fill out (number,): assigned as arrays, Numba would compile a message of their shapes."""
    for i in range(out.size):
        out[i] = values[i]


@jit(inner=False, fastmath={"contract"})
def exponential(values: np.ndarray, bits: np.ndarray, n: int) -> None:
    """Replace the first n values (≤ 0) by their exponentials, to 1 ulp or so.

    exp(x) = 2^m exp(r), |r| ≤ log(2)/2, with exp(r) by its Taylor series: unlike a call of the
    C library, a loop over this is vectorised.

    Parameters
    ----------
    values, bits
        Shapes (at least n,); `bits` views a work space of doubles as integers.
    """
    work = bits.view(np.float64)
    for i in range(n):
        x = max(values[i], _LEAST_EXPONENT)
        rounded = x * _LOG2_E + _ROUNDER
        work[i] = rounded
        m = rounded - _ROUNDER
        r = (x - m * _LN2_HIGH) - m * _LN2_LOW
        p = 1.6059043836821613e-10
        p = p * r + 2.08767569878681e-09
        p = p * r + 2.505210838544172e-08
        p = p * r + 2.755731922398589e-07
        p = p * r + 2.7557319223985893e-06
        p = p * r + 2.48015873015873e-05
        p = p * r + 1.984126984126984e-04
        p = p * r + 1.388888888888889e-03
        p = p * r + 8.333333333333333e-03
        p = p * r + 4.1666666666666664e-02
        p = p * r + 1.6666666666666666e-01
        p = p * r + 0.5
        p = p * r + 1.0
        values[i] = p * r + 1.0
    for i in range(n):
        bits[i] = (bits[i] + 1023) << 52
    for i in range(n):
        values[i] = values[i] * work[i] if work[i] > _SMALLEST else 0.0


@jit(inner=False, fastmath={"contract"})
def log_one_plus(values: np.ndarray, bits: np.ndarray, n: int) -> None:
    """Replace the first n values (≥ 0, finite) by log(1 + value), to 2 ulp or so.

    With 1 + v = 2^m f, √½ ≤ f < √2, log f = 2 artanh s of s = (f − 1)/(f + 1), by its series;
    what rounding 1 + v lost is added. As `exponential`, a loop over this is vectorised.

    Parameters
    ----------
    values, bits
        Shapes (at least n,); `bits` views a work space of doubles as integers.
    """
    work = bits.view(np.float64)
    for i in range(n):
        work[i] = 1.0 + values[i]
    for i in range(n):
        v, whole = values[i], work[i]
        lost = v - (whole - 1.0) if v < 1.0 else 1.0 - (whole - v)
        values[i] = lost / whole
    for i in range(n):
        m = (bits[i] - _ROOT_HALF) >> 52
        bits[i] -= m << 52
        f = work[i]
        s = (f - 1.0) / (f + 1.0)
        t = s * s
        p = 2.0 / 23
        for c in _ARTANH:
            p = p * t + c
        values[i] += m * _LN2_LOW + s * p + m * _LN2_HIGH


@jit(fastmath=SUMS)
def combine(
    out: np.ndarray, base: float, coefs: np.ndarray, n_coefs: int, terms: np.ndarray, n: int
) -> None:
    """out = base + Σ_j coefs_j terms_j: what is left over by fours first, then four a sweep."""
    j = n_coefs % 4
    if j == 0:
        for b in range(n):
            out[b] = base
    elif j == 1:
        a0 = coefs[0]
        for b in range(n):
            out[b] = base + a0 * terms[0, b]
    elif j == 2:
        a0, a1 = coefs[0], coefs[1]
        for b in range(n):
            out[b] = base + (a0 * terms[0, b] + a1 * terms[1, b])
    else:
        a0, a1, a2 = coefs[0], coefs[1], coefs[2]
        for b in range(n):
            out[b] = base + (a0 * terms[0, b] + a1 * terms[1, b] + a2 * terms[2, b])
    while j < n_coefs:
        a0, a1, a2, a3 = coefs[j], coefs[j + 1], coefs[j + 2], coefs[j + 3]
        for b in range(n):
            out[b] += (a0 * terms[j, b] + a1 * terms[j + 1, b]) + (
                a2 * terms[j + 2, b] + a3 * terms[j + 3, b]
            )
        j += 4


@jit(fastmath=SUMS)
def project(sums: np.ndarray, weights: np.ndarray, terms: np.ndarray, n_terms: int, n: int) -> None:
    """Add Σ_b weights_b terms_jb to sums_j: what is left over by fours first, then four a sweep."""
    s0 = s1 = s2 = s3 = 0.0
    j = n_terms % 4
    if j == 1:
        for b in range(n):
            s0 += weights[b] * terms[0, b]
        sums[0] += s0
    elif j == 2:
        for b in range(n):
            s0 += weights[b] * terms[0, b]
            s1 += weights[b] * terms[1, b]
        sums[0] += s0
        sums[1] += s1
    elif j == 3:
        for b in range(n):
            s0 += weights[b] * terms[0, b]
            s1 += weights[b] * terms[1, b]
            s2 += weights[b] * terms[2, b]
        sums[0] += s0
        sums[1] += s1
        sums[2] += s2
    while j < n_terms:
        s0 = s1 = s2 = s3 = 0.0
        for b in range(n):
            s0 += weights[b] * terms[j, b]
            s1 += weights[b] * terms[j + 1, b]
            s2 += weights[b] * terms[j + 2, b]
            s3 += weights[b] * terms[j + 3, b]
        sums[j] += s0
        sums[j + 1] += s1
        sums[j + 2] += s2
        sums[j + 3] += s3
        j += 4


@jit(fastmath=SUMS)
def log_sums(
    terms: np.ndarray, total: np.ndarray, bits: np.ndarray, n: int, weights: np.ndarray
) -> float:
    """Σ_b w_b log Σ_k exp(terms) of log terms (component, block).

    Terms become their exponentials over the largest's, and ``total`` (block,) the sums of these.
    ``weights`` (block,) is empty where they are one.
    """
    k = terms.shape[0]
    largest = total
    for b in range(n):
        largest[b] = terms[0, b]
    for c in range(1, k):
        for b in range(n):
            largest[b] = max(largest[b], terms[c, b])
    result, weighted = 0.0, weights.size > 0
    if weighted:
        for b in range(n):
            result += weights[b] * largest[b]
    else:
        for b in range(n):
            result += largest[b]
    for c in range(k):
        for b in range(n):
            terms[c, b] -= largest[b]
        exponential(terms[c], bits, n)
    for b in range(n):
        total[b] = 0.0
    for c in range(k):
        for b in range(n):
            total[b] += terms[c, b]
    if weighted:
        for b in range(n):
            result += weights[b] * np.log(total[b])
    # One logarithm for many rows: each total lies in [1, K].
    start = n if weighted else 0
    while start < n:
        product = 1.0
        for b in range(start, min(start + 32, n)):
            product *= total[b]
        result += np.log(product)
        start += 32
    return result


@jit(fastmath=SUMS)
def softmax(
    terms: np.ndarray, total: np.ndarray, bits: np.ndarray, n: int, weights: np.ndarray
) -> float:
    """As `log_sums`, but terms become responsibilities."""
    result = log_sums(terms, total, bits, n, weights)
    k = terms.shape[0]
    for b in range(n):
        total[b] = 1.0 / total[b]
    for c in range(k):
        for b in range(n):
            terms[c, b] *= total[b]
    return result


def block_length(per_row: int) -> int:
    """How many rows are taken at a time, from the numbers that are kept for each."""
    return max(_LEAST_BLOCK, min(_LARGEST_BLOCK, _CACHED_VALUES // per_row // 8 * 8))


@jit(fastmath=SUMS)
def residuals(rows: np.ndarray, known: np.ndarray, e: np.ndarray) -> None:
    """Fill e = (y − b − u'θ)/σ (block,).

    Parameters
    ----------
    rows
        u and then y, (R + 1, block).
    known
        −b, −θ and 1/σ, (R + 2,).
    """
    r, m = rows.shape[0] - 1, e.size
    combine(e, known[0], known[1:], r, rows, m)
    scale = known[r + 1]
    for b in range(m):
        e[b] = scale * (rows[r, b] + e[b])


@jit(fastmath=SUMS)
def line(rows: np.ndarray, known: np.ndarray, out: np.ndarray) -> None:
    """Fill the first column of `out` (block, ...) with b + u'θ; see `residuals`."""
    for b in range(rows.shape[1]):
        total = known[0]
        for j in range(rows.shape[0] - 1):
            total += known[1 + j] * rows[j, b]
        out[b, 0] = -total


@jit(fastmath=SUMS)
def line_sums(
    rows: np.ndarray, weight: np.ndarray, e: np.ndarray, work: np.ndarray, sums: np.ndarray
) -> None:
    """Add Σ w e and Σ w e u (R) to the sums (R + 1,); rows are u, then anything."""
    total = 0.0
    for b in range(e.size):
        work[b] = weight[b] * e[b]
        total += work[b]
    sums[0] += total
    project(sums[1:], work, rows, sums.size - 1, e.size)


@jit(fastmath=SUMS)
def weighted_sums(
    rows: np.ndarray, weight: np.ndarray, e: np.ndarray, work: np.ndarray, sums: np.ndarray
) -> None:
    """Add Σ w e, Σ w e u (R) and Σ w e² to the sums (R + 2,); rows are u, then anything."""
    r, m = rows.shape[0] - 1, e.size
    s0 = s1 = 0.0
    for b in range(m):
        work[b] = weight[b] * e[b]
        s0 += work[b]
        s1 += work[b] * e[b]
    sums[0] += s0
    sums[r + 1] += s1
    project(sums[1 : r + 1], work, rows, r, m)


@jit(fastmath=SUMS)
def dot(weight: np.ndarray, values: np.ndarray) -> float:
    """Σ w v."""
    total = 0.0
    for b in range(weight.size):
        total += weight[b] * values[b]
    return total


@jit(fastmath=SUMS)
def line_parts(rows: np.ndarray, known: np.ndarray, r: int, out: np.ndarray) -> None:
    """Fill the first column of `out` (block, ...) with η = b + u'θ + offset.

    Parameters
    ----------
    rows
        u and then the offset, (R + 1 or more, block).
    known
        b and θ, (R + 1 or more,).
    """
    for b in range(rows.shape[1]):
        total = known[0] + rows[r, b]
        for j in range(r):
            total += known[1 + j] * rows[j, b]
        out[b, 0] = total


@jit(fastmath=SUMS)
def mean_parts(rows: np.ndarray, known: np.ndarray, r: int, out: np.ndarray) -> None:
    """Fill the first column of `out` (block, ...) with exp(η), as `line_parts` has η."""
    line_parts(rows, known, r, out)
    for b in range(rows.shape[1]):
        out[b, 0] = np.exp(min(max(out[b, 0], -_FARTHEST_MEAN), _FARTHEST_MEAN))
