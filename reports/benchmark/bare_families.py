"""The least that a gradient of other families takes: plain mixture densities, compiled by JAX.

Gaussian features are whitened, z = A_k x − c_k with A_k the inverse Cholesky factor, and the
response's log density is written out. Value and gradient are JAX's own, in all parameters; what
depends on the rows alone is left out.
"""

from collections.abc import Callable
from typing import Any

import numpy as np

from jointmix.families.parameters import Parameters
from jointmix.families.rows import Rows

#: From y (row, 1), the line (row, cluster), and further parameters and trials by name to log
#: densities (row, cluster).
Density = Callable[[Any, Any, dict[str, Any]], Any]


def _poisson(y: Any, line: Any, _own: dict[str, Any]) -> Any:
    import jax.numpy as jnp

    return y * line - jnp.exp(line)


def _negative_binomial(y: Any, line: Any, own: dict[str, Any]) -> Any:
    import jax.numpy as jnp
    from jax.scipy.special import gammaln

    size = own["size"]
    rest = gammaln(y + size) - gammaln(size) + size * jnp.log(size)
    return rest + y * line - (y + size) * jnp.log(size + jnp.exp(line))


def _binomial(y: Any, line: Any, own: dict[str, Any]) -> Any:
    import jax

    return y * line - own["trials"] * jax.nn.softplus(line)


def _gamma(y: Any, line: Any, own: dict[str, Any]) -> Any:
    import jax.numpy as jnp
    from jax.scipy.special import gammaln

    shape = own["shape"]
    each = shape * (jnp.log(shape) + jnp.log(y) - line - y * jnp.exp(-line))
    return each - gammaln(shape)


def _inverse_gaussian(y: Any, line: Any, own: dict[str, Any]) -> Any:
    import jax.numpy as jnp

    shape = own["shape"]
    return 0.5 * jnp.log(shape) - 0.5 * shape * (y * jnp.exp(-line) - 1) ** 2 / y


def _student_t(y: Any, line: Any, own: dict[str, Any]) -> Any:
    import jax.numpy as jnp
    from jax.scipy.special import gammaln

    df, sigma = own["df"], own["sigma"]
    constant = gammaln((df + 1) / 2) - gammaln(df / 2) - 0.5 * jnp.log(df) - jnp.log(sigma)
    return constant - (df + 1) / 2 * jnp.log1p(((y - line) / sigma) ** 2 / df)


RESPONSES: dict[str, Density] = {
    "poisson": _poisson,
    "negative_binomial": _negative_binomial,
    "bernoulli": _binomial,
    "binomial": _binomial,
    "gamma": _gamma,
    "inverse_gaussian": _inverse_gaussian,
    "student_t": _student_t,
}


def family_gradient(family: str, rows: Rows) -> Callable[[dict[str, Any]], tuple[Any, Any]]:
    """Log likelihood of rows and its gradient in the parameters of `bare_parameters`.

    Of a logit link; up to a constant that depends on the rows.
    """
    import jax
    import jax.numpy as jnp
    from jax.scipy.special import logsumexp

    jax.config.update("jax_enable_x64", True)
    n = len(rows.y)
    trials = np.ones(n) if rows.trials is None else rows.trials
    offset = np.zeros(n) if rows.offset is None else rows.offset
    x, u, y, tried, shift = map(
        jax.device_put, (rows.x, rows.u, rows.y[:, None], trials[:, None], offset[:, None])
    )

    def density(own: dict[str, Any], x: Any, u: Any, y: Any, tried: Any, shift: Any) -> Any:
        k, d = own["white_mean"].shape
        z = (x @ own["whiten"].reshape(k * d, d).T).reshape(-1, k, d) - own["white_mean"]
        inside = jnp.log(jnp.abs(jnp.diagonal(own["whiten"], axis1=1, axis2=2))).sum(-1)
        line = own["intercept"] + u @ own["slope"].T + shift
        joint = own["log_weight"] + inside - 0.5 * (z**2).sum(-1)
        response = RESPONSES[family](y, line, own | {"trials": tried})
        return logsumexp(joint + response, axis=1).sum()

    compiled = jax.jit(jax.value_and_grad(density))
    return lambda own: compiled(own, x, u, y, tried, shift)


def bare_parameters(parameters: Parameters) -> dict[str, np.ndarray]:
    """Parameters as `family_gradient` takes them: whitening factors, and logs of weights."""
    own = parameters.each()
    whiten = np.linalg.inv(own.pop("cholesky"))
    return {
        "log_weight": np.log(own.pop("weight")),
        "whiten": whiten,
        "white_mean": np.einsum("kij,kj->ki", whiten, own.pop("mean")),
        **own,
    }
