"""From unconstrained values to the sites of a NumPyro model, with the Jacobian, in JAX.

The Jacobian is taken by automatic differentiation of the map from a block of q to the free
coordinates of the sites that carry it, so that nothing here is shared with the transforms of
PyMC or of the kernel but the definition of q itself.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np

from jointmix.base.errors import SpecError
from jointmix.families.priors.priors import InverseGamma
from jointmix.model.location import coordinates, householder
from jointmix.validation.agreement.problem import (
    CORRELATION,
    LOCATION,
    SD,
    SIGMA,
    WEIGHT,
    Problem,
)

Array = Any  # A JAX array: naming its type would import JAX.
Model = Callable[[], object]

#: What a site can hold, and the blocks of q that it is a function of.
BLOCKS_OF: dict[str, tuple[str, ...]] = {
    "weight": (WEIGHT,),
    **dict.fromkeys(
        ("mean", "intercept", "slope", "mean_xi", "intercept_xi", "slope_xi", "place", "across"),
        (LOCATION,),
    ),
    **dict.fromkeys(("sd", "variance", "log_sd"), (SD,)),
    **dict.fromkeys(("correlation", "correlation_cholesky"), (CORRELATION,)),
    **dict.fromkeys(("covariance", "covariance_cholesky", "precision"), (SD, CORRELATION)),
    **dict.fromkeys(("sigma", "noise_variance", "log_sigma"), (SIGMA,)),
}


@dataclass(frozen=True, eq=False)
class Chart:
    """Sites of a NumPyro model as functions of q.

    Attributes
    ----------
    problem
        The posterior.
    sites
        Quantity, of `BLOCKS_OF` → the site that holds it and the site's shape.
    """

    problem: Problem
    sites: dict[str, tuple[str, tuple[int, ...]]]

    def values(self, q: Array) -> dict[str, Array]:
        """Values of the sites at one point, (dim,), by site."""
        found = quantities(self.problem, q, self.sites)
        return {site: found[name].reshape(shape) for name, (site, shape) in self.sites.items()}

    def groups(self) -> dict[tuple[str, ...], list[str]]:
        """Blocks that sites carry together → those sites' quantities."""
        merged: list[tuple[set[str], list[str]]] = []
        for quantity in self.sites:
            blocks = {b for b in BLOCKS_OF[quantity] if b in self.problem.slices}
            touching = [item for item in merged if item[0] & blocks]
            merged = [item for item in merged if not item[0] & blocks]
            names = [name for item in touching for name in item[1]]
            merged.append((blocks.union(*(item[0] for item in touching)), [*names, quantity]))
        order = list(self.problem.slices)
        return {tuple(sorted(own, key=order.index)): names for own, names in merged}

    def log_jacobian(self, q: Array) -> dict[tuple[str, ...], Array]:
        """log |∂ free coordinates / ∂ q| of each group of blocks, at one point."""
        return {own: self._log_det(own, names, q) for own, names in self.groups().items()}

    def _log_det(self, blocks: tuple[str, ...], names: list[str], q: Array) -> Array:
        import jax
        import jax.numpy as jnp

        slices = [self.problem.slices[block] for block in blocks]
        index = np.concatenate([np.arange(where.start, where.stop) for where, _ in slices])
        if blocks == (CORRELATION,):
            return self._log_det_of_matrices(names[0], q)

        def flat(part: Array) -> Array:
            found = quantities(self.problem, q.at[index].set(part), names)
            return jnp.concatenate([free(name, found[name]) for name in names])

        return jnp.linalg.slogdet(jax.jacfwd(flat)(q[index]))[1]

    def _log_det_of_matrices(self, name: str, q: Array) -> Array:
        """The sum over correlation matrices, each a function of its own row of the block."""
        import jax
        import jax.numpy as jnp

        where, shape = self.problem.slices[CORRELATION]
        d = len(self.problem.spec.features)

        def flat(logit: Array) -> Array:
            factor = correlation_factor(logit, d)
            return free(name, _of_factor(factor)[name])

        jacobian = jax.vmap(jax.jacfwd(flat))(q[where].reshape(shape))
        return jnp.linalg.slogdet(jacobian)[1].sum()

    def check(self) -> None:
        """Refuse sites that do not carry the model's free parameters, each once.

        Raises
        ------
        SpecError
            If a block is carried by no site, or by sites of too many or too few free numbers.
        """
        import jax

        carried = self.groups()
        missing = set(self.problem.slices) - {block for own in carried for block in own}
        if missing:
            raise SpecError(
                f"No site of the NumPyro model is named for the free {', '.join(sorted(missing))}."
            )

        def coordinates(q: Array) -> dict[str, Array]:
            found = quantities(self.problem, q, self.sites)
            return {name: free(name, found[name]) for name in self.sites}

        sizes = jax.eval_shape(coordinates, np.zeros(self.problem.dim))
        for own, names in carried.items():
            n_site = sum(sizes[name].size for name in names)
            n_own = sum(
                self.problem.slices[b][0].stop - self.problem.slices[b][0].start for b in own
            )
            if n_site != n_own:
                raise SpecError(
                    f"The sites for {', '.join(names)} hold {n_site} free numbers; the "
                    f"specification has {n_own}."
                )


def quantities(problem: Problem, q: Array, names: Iterable[str]) -> dict[str, Array]:
    """What sites of these names hold, at one point (dim,), on the model's scale.

    Others that depend on the same blocks of q come with them.
    """
    import jax

    found: dict[str, Array] = {}
    wanted = {block for name in names for block in BLOCKS_OF[name]}
    block = {
        name: q[where].reshape(shape)
        for name, (where, shape) in problem.slices.items()
        if name in wanted
    }
    if WEIGHT in block:
        import jax.numpy as jnp

        logit = jnp.append(block[WEIGHT], -block[WEIGHT].sum())
        found["weight"] = jax.nn.softmax(logit)
    if LOCATION in block:
        found |= _locations(problem, block[LOCATION])
    priors = problem.spec.priors
    if SD in block:
        found |= _scales(block[SD], isinstance(priors.sd, InverseGamma), ("sd", "variance"))
    if CORRELATION in block:
        d = len(problem.spec.features)
        factor = jax.vmap(lambda logit: correlation_factor(logit, d))(block[CORRELATION])
        found |= _of_factor(factor)
    if SIGMA in block:
        pair = ("sigma", "noise_variance")
        found |= _scales(block[SIGMA], isinstance(priors.sigma, InverseGamma), pair)
    if SD in block and CORRELATION in wanted:
        found |= _covariances(problem, found)
    return found


def _locations(problem: Problem, value: Array) -> dict[str, Array]:
    import jax.numpy as jnp

    xi, found = value, {}
    if problem.direction is not None:
        gaps = jnp.exp(value[1:, 0])
        place = jnp.cumsum(jnp.concatenate([value[:1, 0], gaps]))
        found = {"place": place, "across": value[:, 1:]}
        reflection = householder(problem.direction)
        xi = jnp.concatenate([place[:, None], value[:, 1:]], axis=1) @ reflection
    items = coordinates(problem.spec)
    for name in dict.fromkeys(item.parameter for item in items):
        index = [i for i, item in enumerate(items) if item.parameter == name]
        prior, own = items[index[0]].prior, xi[:, index[0] : index[-1] + 1]
        found[f"{name}_xi"] = own
        place = prior.loc + prior.scale * own
        found[name] = place[:, 0] if name == "intercept" else place
    return found


def _scales(value: Array, variance: bool, names: tuple[str, str]) -> dict[str, Array]:
    import jax.numpy as jnp

    sd, square = names
    log_sd = value / 2 if variance else value
    return {sd: jnp.exp(log_sd), square: jnp.exp(2 * log_sd), f"log_{sd}": log_sd}


def correlation_factor(logit: Array, d: int) -> Array:
    """The Cholesky factor (d, d) of a correlation matrix from its partial correlations' log odds.

    p = tanh(q/2) and √(1 − p²) = 1/cosh(q/2), so that nothing cancels.
    """
    import jax.numpy as jnp

    row, column = np.tril_indices(d, -1)
    zeros = jnp.zeros((d, d))
    partial = zeros.at[row, column].set(jnp.tanh(logit / 2)) + jnp.eye(d)
    log_rest = zeros.at[row, column].set(-jnp.log(jnp.cosh(logit / 2)))
    before = jnp.exp(jnp.cumsum(log_rest, axis=1) - log_rest)
    return partial * before * np.tri(d)


def _of_factor(factor: Array) -> dict[str, Array]:
    import jax.numpy as jnp

    return {
        "correlation_cholesky": factor,
        "correlation": factor @ jnp.swapaxes(factor, -1, -2),
    }


def _covariances(problem: Problem, found: dict[str, Array]) -> dict[str, Array]:
    import jax.numpy as jnp

    k, d = problem.spec.n_clusters, len(problem.spec.features)
    n = 1 if problem.spec.covariance == "tied" else k
    factor = found.get("correlation_cholesky", jnp.broadcast_to(jnp.eye(d), (n, d, d)))
    cholesky = jnp.broadcast_to(found["sd"], (n, d))[:, :, None] * factor
    covariance = cholesky @ jnp.swapaxes(cholesky, -1, -2)
    return {
        "covariance_cholesky": cholesky,
        "covariance": covariance,
        "precision": jnp.linalg.inv(covariance),
    }


def free(name: str, value: Array) -> Array:
    """The coordinates of a quantity that can be chosen freely, one after another."""
    if name == "weight":
        # All but one: the determinant is the same for each, and precise without the largest.
        rest = (value.argmax() + 1 + np.arange(value.size - 1)) % value.size
        return value[rest]
    if name in ("correlation", "correlation_cholesky"):
        row, column = np.tril_indices(value.shape[-1], -1)
        return value[..., row, column].ravel()
    if name in ("covariance", "covariance_cholesky", "precision"):
        row, column = np.tril_indices(value.shape[-1])
        return value[..., row, column].ravel()
    return value.ravel()


def site_shape(name: str, problem: Problem, shape: tuple[int, ...], site: str) -> tuple[int, ...]:
    """The shape of a site that holds a quantity, which may differ by dims of length one.

    Raises
    ------
    SpecError
        If the quantity is fixed or absent in the specification, or has another shape.
    """
    import jax

    found = jax.eval_shape(lambda q: quantities(problem, q, [name]), np.zeros(problem.dim))
    if name not in found:
        raise SpecError(
            f"The specification has no free {name}, which the site {site!r} is to hold."
        )
    own = found[name].shape
    if [n for n in own if n > 1] != [n for n in shape if n > 1]:
        raise SpecError(f"The site {site!r} has the shape {shape}; {name} has the shape {own}.")
    return shape
