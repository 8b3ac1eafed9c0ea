"""The log likelihood of the rows and the sums its gradient needs, in one pass over the rows.

With A_k the inverse Cholesky factor of Σ_k, the residuals

    z_k = A_k (x − μ_k)    and    e_k = (y − b_k − u'θ_k) / σ_k

give log p_k(x, y) = log c_k − (|z_k|² + e_k²) / 2. They are differences taken before squaring, so
nothing cancels, however far the mean or small the scale. Rows are taken in blocks that stay in
the processor's cache; loops over a block run over contiguous memory.
"""

import numpy as np

from jointmix.kernel.jit import jit

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


@jit(fastmath=SUMS)
def _combine(
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
def _project(
    sums: np.ndarray, weights: np.ndarray, terms: np.ndarray, n_terms: int, n: int
) -> None:
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
def softmax(terms: np.ndarray, total: np.ndarray, bits: np.ndarray, n: int) -> float:
    """Turn log terms (component, block) into responsibilities; returns Σ_b log Σ_k exp(terms)."""
    k = terms.shape[0]
    largest = total
    for b in range(n):
        largest[b] = terms[0, b]
    for c in range(1, k):
        for b in range(n):
            largest[b] = max(largest[b], terms[c, b])
    result = 0.0
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
    # One logarithm for many rows: each total lies in [1, K].
    start = 0
    while start < n:
        product = 1.0
        for b in range(start, min(start + 32, n)):
            product *= total[b]
        result += np.log(product)
        start += 32
    for b in range(n):
        total[b] = 1.0 / total[b]
    for c in range(k):
        for b in range(n):
            terms[c, b] *= total[b]
    return result


@jit()
def block_length(n_components: int, n_features: int) -> int:
    """How many rows are taken at a time."""
    length = _CACHED_VALUES // (n_components * (n_features + 2)) // 8 * 8
    return max(_LEAST_BLOCK, min(_LARGEST_BLOCK, length))


@jit(fastmath=SUMS)
def take_predictors(
    columns: np.ndarray, places: np.ndarray, start: int, m: int, u: np.ndarray
) -> None:
    """Copy the predictors of m rows into u (predictor, block)."""
    for j in range(places.size):
        column = int(places[j])
        for b in range(m):
            u[j, b] = columns[column, start + b]


@jit(fastmath=SUMS)
def feature_residuals(
    columns: np.ndarray, start: int, m: int, mean: np.ndarray, whiten: np.ndarray, dense: bool,
    centred: np.ndarray, z: np.ndarray, squares: np.ndarray,
) -> None:  # fmt: skip
    """Fill z = A (x − μ) (feature, block) of m rows for one component, and |z|² (block,)."""
    d = mean.size
    for b in range(m):
        squares[b] = 0.0
    for i in range(d):
        at = mean[i]
        for b in range(m):
            centred[i, b] = columns[i, start + b] - at
    for i in range(d):
        if dense:
            _combine(z[i], 0.0, whiten[i], i + 1, centred, m)
        else:
            scale = whiten[i, i]
            for b in range(m):
                z[i, b] = scale * centred[i, b]
        for b in range(m):
            squares[b] += z[i, b] * z[i, b]


@jit(fastmath=SUMS)
def response_residuals(
    columns: np.ndarray, start: int, m: int, line: np.ndarray, sigma: float, u: np.ndarray,
    coefs: np.ndarray, e: np.ndarray, squares: np.ndarray,
) -> None:  # fmt: skip
    """Fill e = (y − b − u'θ)/σ (block,) of m rows for one component, and add e² to the squares."""
    r, last, scale = coefs.size, columns.shape[0] - 1, 1 / sigma
    for j in range(r):
        coefs[j] = -line[1 + j]
    _combine(e, -line[0], coefs, r, u, m)
    for b in range(m):
        e[b] = scale * (columns[last, start + b] + e[b])
        squares[b] += e[b] * e[b]


@jit(fastmath=SUMS)
def _add_sums(
    share: np.ndarray, z: np.ndarray, e: np.ndarray, u: np.ndarray, dense: bool,
    has_response: bool, m: int, work: np.ndarray, sums: np.ndarray,
) -> None:  # fmt: skip
    """Add one component's weighted sums over m rows; see `sweep`."""
    d, r = z.shape[0], u.shape[0]
    place = 3 + d
    s0 = 0.0
    for b in range(m):
        s0 += share[b]
    sums[0] += s0
    for i in range(d):
        s0 = s1 = 0.0
        for b in range(m):
            work[b] = share[b] * z[i, b]
            s0 += work[b]
            s1 += work[b] * z[i, b]
        sums[3 + i] += s0
        if dense:
            _project(sums[place : place + i], work, z, i, m)
        sums[place + i] += s1
        place += i + 1
    if has_response:
        s0 = s1 = 0.0
        for b in range(m):
            work[b] = share[b] * e[b]
            s0 += work[b]
            s1 += work[b] * e[b]
        sums[1] += s0
        sums[2] += s1
        _project(sums[place : place + r], work, u, r, m)


@jit(inner=False, fastmath=SUMS)
def sweep(
    columns: np.ndarray,
    places: np.ndarray,
    log_constant: np.ndarray,
    mean: np.ndarray,
    whiten: np.ndarray,
    line: np.ndarray,
    sigma: np.ndarray,
    dense: bool,
    has_response: bool,
    sums: np.ndarray,
) -> float:
    """The log likelihood of all rows, and sums over rows weighted by the responsibilities.

    Parameters
    ----------
    columns
        Shape (column, obs): features, further predictors, response.
    places
        Columns of the predictors, (predictor,).
    log_constant
        log π_k plus the component's log normalising constant, (component,).
    mean, whiten
        μ (component, feature) and A (component, feature, feature), lower triangular; only its
        diagonal is read unless `dense`.
    line, sigma
        (b, θ) as (component, 1 + predictor), and σ (component,).
    sums
        Filled, (component, 3 + D + D(D + 1)/2 + R): Σr, Σr e, Σr e², Σr z_i, Σr z_i z_j for j ≤ i
        (for i = j alone unless `dense`: the others stay 0), Σr e u.
    """
    k, d, r, n = mean.shape[0], mean.shape[1], places.shape[0], columns.shape[1]
    length = block_length(k, d)
    z, e, terms = np.empty((k, d, length)), np.empty((k, length)), np.empty((k, length))
    centred, u, coefs = np.empty((d, length)), np.empty((r, length)), np.empty(r)
    work, bits = np.empty(length), np.empty(length, dtype=np.int64)
    total = 0.0
    for c in range(k):
        for j in range(sums.shape[1]):
            sums[c, j] = 0.0
    for start in range(0, n, length):
        m = min(length, n - start)
        take_predictors(columns, places, start, m, u)
        for c in range(k):
            own = terms[c]
            feature_residuals(columns, start, m, mean[c], whiten[c], dense, centred, z[c], own)
            if has_response:
                response_residuals(columns, start, m, line[c], sigma[c], u, coefs, e[c], own)
            at = log_constant[c]
            for b in range(m):
                own[b] = at - 0.5 * own[b]
        total += softmax(terms, work, bits, m)
        for c in range(k):
            _add_sums(terms[c], z[c], e[c], u, dense, has_response, m, work, sums[c])
    return total
