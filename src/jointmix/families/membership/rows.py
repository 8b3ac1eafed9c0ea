"""The weights of the clusters, compiled: a softmax of values that sum to 0."""

import numpy as np

from jointmix.families.compiling import jit


@jit()
def simplex_forward(concentration: float, q: np.ndarray, log_weight: np.ndarray) -> float:
    """log π (component,) from q (component − 1,); the log density of a symmetric Dirichlet."""
    k = log_weight.size
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
    return concentration * result


@jit()
def simplex_pullback(
    concentration: float, log_weight: np.ndarray, from_rows: np.ndarray, gradient: np.ndarray
) -> None:
    """Add the gradient in q, given that of the rows in log π, (component,)."""
    k, total = log_weight.size, 0.0
    for c in range(k):
        total += from_rows[c] + concentration
    last = from_rows[k - 1] + concentration - np.exp(log_weight[k - 1]) * total
    for c in range(k - 1):
        own = from_rows[c] + concentration - np.exp(log_weight[c]) * total
        gradient[c] += own - last
