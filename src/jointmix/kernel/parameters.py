"""From unconstrained values to the model's parameters, with the priors, and gradients back.

Each `*_forward` fills arrays of parameters from a part of the vector q and returns the log prior
density of that part with the Jacobian of its transform; each `*_pullback` adds to the gradient in
q, given the gradient in the parameters. Transforms and order are those of the PyMC model.
"""

import numpy as np

from jointmix.kernel import layout as at
from jointmix.kernel.jit import jit

# Plain loops throughout: whole-array expressions would take Numba several times as long to compile.


@jit()
def array(problem: np.ndarray, name: int, n: int) -> np.ndarray:
    """The n values of an array that the problem holds."""
    start = int(problem[name])
    return problem[start : start + n]


@jit()
def weight_forward(problem: np.ndarray, q: np.ndarray, log_weight: np.ndarray) -> float:
    """log π (component,) by a softmax of values that sum to 0, under its Dirichlet prior."""
    k = log_weight.size
    if problem[at.FREE_WEIGHT] == 0:
        known = array(problem, at.LOG_WEIGHT, k)
        for c in range(k):
            log_weight[c] = known[c]
        return 0.0
    log_weight[k - 1] = 0.0
    for c in range(k - 1):
        log_weight[c] = q[c]
        log_weight[k - 1] -= q[c]
    largest = log_weight[0]
    for c in range(1, k):
        largest = max(largest, log_weight[c])
    total = 0.0
    for c in range(k):
        total += np.exp(log_weight[c] - largest)
    total = largest + np.log(total)
    result = 0.0
    for c in range(k):
        log_weight[c] -= total
        result += log_weight[c]
    # The Jacobian of the softmax is K ∏ π_k.
    return problem[at.CONCENTRATION] * result


@jit()
def weight_pullback(
    problem: np.ndarray, log_weight: np.ndarray, from_rows: np.ndarray, gradient: np.ndarray
) -> None:
    """Given the gradient in log π, (component,)."""
    k = log_weight.size
    a, total = problem[at.CONCENTRATION], 0.0
    for c in range(k):
        total += from_rows[c] + a
    last = from_rows[k - 1] + a - np.exp(log_weight[k - 1]) * total
    for c in range(k - 1):
        gradient[c] += from_rows[c] + a - np.exp(log_weight[c]) * total - last


@jit()
def location_forward(problem: np.ndarray, q: np.ndarray, xi: np.ndarray) -> float:
    """ξ (component, location) inside the cone, if ordered, under its prior."""
    k, n = xi.shape
    reflection, df = array(problem, at.REFLECTION, n * n), array(problem, at.DF, n)
    result, first = 0.0, 0.0
    for c in range(k):
        if n == 0:
            break
        if c > 0 and problem[at.ORDERED] != 0:
            result += q[c * n]
            first += np.exp(q[c * n])
        else:
            first = q[c * n]
        for j in range(n):
            value = first * reflection[j]
            for i in range(1, n):
                value += q[c * n + i] * reflection[i * n + j]
            xi[c, j] = value
            if df[j] > 0:
                result -= 0.5 * (df[j] + 1) * np.log1p(value * value / df[j])
            else:
                result -= 0.5 * value * value
    return result


@jit()
def location_pullback(
    problem: np.ndarray, q: np.ndarray, xi: np.ndarray, from_rows: np.ndarray, gradient: np.ndarray
) -> None:
    """Given the gradient of the rows in ξ, (component, location), which is overwritten."""
    k, n = xi.shape
    reflection, df = array(problem, at.REFLECTION, n * n), array(problem, at.DF, n)
    for c in range(k):
        for j in range(n):
            if df[j] > 0:
                from_rows[c, j] -= (df[j] + 1) * xi[c, j] / (df[j] + xi[c, j] ** 2)
            else:
                from_rows[c, j] -= xi[c, j]
    for c in range(k):
        for i in range(n):
            for j in range(n):
                gradient[c * n + i] += reflection[i * n + j] * from_rows[c, j]
    if problem[at.ORDERED] != 0:
        above = 0.0
        for c in range(k - 1, 0, -1):
            above += gradient[c * n]
            gradient[c * n] = 1.0 + above * np.exp(q[c * n])
        gradient[0] += above


@jit()
def scale_forward(prior: np.ndarray, q: np.ndarray, sd: np.ndarray) -> float:
    """Standard deviations exp(h q) of the same shape as q; see `layout` for the coefficients."""
    h, a, b, c, g, m, t, s = (
        prior[0], prior[1], prior[2], prior[3], prior[4], prior[5], prior[6], prior[7]
    )  # fmt: skip
    result = 0.0
    for i in range(q.size):
        sd[i] = np.exp(h * q[i])
        result += a * q[i] + g * (q[i] - m) ** 2
        if b != 0:
            result += b * np.exp(c * q[i])
        if t != 0:
            result += t * np.log1p(s * np.exp(2 * q[i]))
    return result


@jit()
def scale_pullback(
    prior: np.ndarray, q: np.ndarray, from_rows: np.ndarray, gradient: np.ndarray
) -> None:
    """Given the gradient of the rows in log sd, of the same shape as q."""
    h, a, b, c, g, m, t, s = (
        prior[0], prior[1], prior[2], prior[3], prior[4], prior[5], prior[6], prior[7]
    )  # fmt: skip
    for i in range(q.size):
        value = h * from_rows[i] + a + 2 * g * (q[i] - m)
        if b != 0:
            value += b * c * np.exp(c * q[i])
        if t != 0:
            # 2 t s e^{2q} / (1 + s e^{2q}), written so that it cannot overflow.
            value += 2 * t / (1 + np.exp(-2 * q[i]) / s)
        gradient[i] += value


@jit()
def vine_forward(problem: np.ndarray, q: np.ndarray, factor: np.ndarray) -> float:
    """Cholesky factor (feature, feature) of a correlation matrix, by a C-vine, under LKJ.

    Partial correlations p = tanh(q/2); row i is p_ij ∏_{l<j} √(1 − p_il²) (Lewandowski, Kurowicka
    and Joe 2009).
    """
    d = factor.shape[0]
    shape = array(problem, at.VINE, q.size)
    result, place = 0.0, 0
    for i in range(d):
        rest = 1.0
        for j in range(i):
            x = q[place]
            # log u(1 − u) of u = 1/(1 + e^{−x}); √(1 − p²) = 2 √(u(1 − u)).
            log_product = -abs(x) - 2 * np.log1p(np.exp(-abs(x)))
            result += shape[place] * log_product
            factor[i, j] = np.tanh(x / 2) * rest
            rest *= 2 * np.exp(0.5 * log_product)
            place += 1
        factor[i, i] = rest
    return result


@jit()
def vine_pullback(
    problem: np.ndarray, q: np.ndarray, from_factor: np.ndarray, gradient: np.ndarray
) -> None:
    """Given the gradient in the factor, (feature, feature)."""
    d = from_factor.shape[0]
    shape = array(problem, at.VINE, q.size)
    rest = np.empty(d + 1)
    place = 0
    for i in range(d):
        rest[0] = 1.0
        for j in range(i):
            rest[j + 1] = rest[j] / np.cosh(q[place + j] / 2)
        above = from_factor[i, i]
        for j in range(i - 1, -1, -1):
            p = np.tanh(q[place + j] / 2)
            root = 1 / np.cosh(q[place + j] / 2)
            # dp/dq = (1 − p²)/2 and d√(1 − p²)/dq = −p √(1 − p²)/2.
            own = from_factor[i, j] * rest[j] * root * root - above * rest[j] * p * root
            gradient[place + j] += 0.5 * own - shape[place + j] * p
            above = above * root + from_factor[i, j] * p
        place += i


@jit()
def invert(factor: np.ndarray, sd: np.ndarray, dense: bool, whiten: np.ndarray) -> float:
    """A = (diag(sd) F)⁻¹ of a lower triangular F; returns log det A."""
    d = sd.size
    result = 0.0
    for i in range(d):
        own = 1 / (factor[i, i] * sd[i])
        result += np.log(own)
        for j in range(d):
            whiten[i, j] = 0.0
        whiten[i, i] = own
        if dense:
            for j in range(i):
                value = 0.0
                for m in range(j, i):
                    value += factor[i, m] * whiten[m, j]
                whiten[i, j] = -value / factor[i, i]
    return result


@jit()
def covariance_pullback(
    factor: np.ndarray, sd: np.ndarray, whiten: np.ndarray, n: float, moments: np.ndarray,
    from_factor: np.ndarray, from_log_sd: np.ndarray,
) -> None:  # fmt: skip
    """Gradients in F and log sd, with L = diag(sd) F.

    That of −n log det L − Σ r |z|²/2 in L is A'(Σ r z z' − n I), lower triangle.

    Parameters
    ----------
    moments
        Σ r z z' of the lower triangle, row by row.
    """
    d = sd.size
    square = np.empty((d, d))
    place = 0
    for i in range(d):
        for j in range(i + 1):
            square[i, j] = square[j, i] = moments[place]
            place += 1
        square[i, i] -= n
    for i in range(d):
        total = 0.0
        for j in range(i + 1):
            value = 0.0
            for m in range(i, d):
                value += whiten[m, i] * square[m, j]
            from_factor[i, j] = value * sd[i]
            total += from_factor[i, j] * factor[i, j]
        from_log_sd[i] = total
