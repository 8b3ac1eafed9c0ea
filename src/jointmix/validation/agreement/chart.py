"""From unconstrained values to the sites of a NumPyro model, with the Jacobian, in JAX.

The Jacobian is taken by automatic differentiation of the map from a block of q to the free
coordinates of the sites that carry it, so that nothing here is shared with the transforms of
PyMC or of the kernel but the definition of q itself.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from jointmix.base.errors import SpecError
from jointmix.model.location import householder
from jointmix.validation.agreement.parts import Part, read_part
from jointmix.validation.agreement.problem import (
    LOCATION,
    WEIGHT,
    Problem,
    locations,
    of_square,
)

Array = Any  # A JAX array: naming its type would import JAX.
Model = Callable[[], object]


@dataclass(frozen=True, eq=False)
class Chart:
    """Sites of a NumPyro model as functions of q.

    Attributes
    ----------
    problem
        The posterior.
    sites
        Name of a quantity or of a part of one (see `parts`) → the site that holds it and the
        site's shape.
    turned
        Names of what is (component, column), and (column, component) in its site.
    """

    problem: Problem
    sites: dict[str, tuple[str, tuple[int, ...]]]
    turned: frozenset[str] = frozenset()

    @cached_property
    def parts(self) -> dict[str, Part]:
        """What the names speak of."""
        return {name: read_part(name, self.problem) for name in self.sites}

    def values(self, q: Array) -> dict[str, Array]:
        """Values of the sites at one point, (dim,), by site."""
        found = self._parts_at(q, self.sites)
        found |= {name: found[name].T for name in self.turned & self.sites.keys()}
        return {site: found[name].reshape(shape) for name, (site, shape) in self.sites.items()}

    def may_turn(self, name: str) -> bool:
        """Whether what a site holds is one number a component and column."""
        return len(own_shape(name, self.problem, self.sites[name][0])) == 2

    def _parts_at(self, q: Array, names: Iterable[str]) -> dict[str, Array]:
        """What is spoken of by names, at one point."""
        parts = {name: self.parts[name] for name in names}
        found = quantities(self.problem, q, [part.quantity for part in parts.values()])
        return {name: part.of(found[part.quantity]) for name, part in parts.items()}

    def _free_at(self, q: Array, names: Iterable[str]) -> dict[str, Array]:
        return {
            name: free(self.problem, self.parts[name].quantity, value)
            for name, value in self._parts_at(q, names).items()
        }

    def groups(self) -> dict[tuple[str, ...], list[str]]:
        """Blocks that sites carry together → the names of what those sites hold."""
        merged: list[tuple[set[str], list[str]]] = []
        for name, part in self.parts.items():
            blocks = set(self.problem.quantities[part.quantity]) & set(self.problem.slices)
            touching = [item for item in merged if item[0] & blocks]
            merged = [item for item in merged if not item[0] & blocks]
            names = [other for item in touching for other in item[1]]
            merged.append((blocks.union(*(item[0] for item in touching)), [*names, name]))
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
        held = {self.parts[name].quantity for name in names}
        own = [self.problem.role(block) for block in blocks]
        if own in (["correlation"], ["probability"]) and len(held) == 1:
            return self._log_det_of_rows(blocks[0], held.pop(), q)

        def flat(part: Array) -> Array:
            return jnp.concatenate([*self._free_at(q.at[index].set(part), names).values()])

        return jnp.linalg.slogdet(jax.jacfwd(flat)(q[index]))[1]

    def _log_det_of_rows(self, block: str, name: str, q: Array) -> Array:
        """The sum over matrices or simplices, each a function of its own row of the block."""
        import jax
        import jax.numpy as jnp

        where, shape = self.problem.slices[block]
        made = _of_logits if self.problem.role(block) == "correlation" else _simplices

        def flat(logit: Array) -> Array:
            return free(self.problem, name, made(block, logit[None])[name])

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

        self._check_locations()
        sizes = jax.eval_shape(lambda q: self._free_at(q, self.sites), np.zeros(self.problem.dim))
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

    def _check_locations(self) -> None:
        """Means, intercepts and slopes are one block, of which a site may be missing."""
        held = {part.quantity.removesuffix("_xi") for part in self.parts.values()}
        absent = [name for name, _, _ in locations(self.problem.spec) if name not in held]
        if "place" not in held and absent:
            raise SpecError(
                f"No site of the NumPyro model is named for the free {', '.join(absent)}; what is "
                f"known is so in the specification, as by Priors({absent[0]}=Fixed(value=0.0))."
            )


def quantities(problem: Problem, q: Array, names: Iterable[str]) -> dict[str, Array]:
    """What sites of these names hold, at one point (dim,), on the model's scale.

    Others that depend on the same blocks of q come with them.
    """
    found: dict[str, Array] = {}
    wanted = {block for name in names for block in problem.quantities[name]}
    for block, (where, shape) in problem.slices.items():
        if block not in wanted:
            continue
        value = q[where].reshape(shape)
        if block == WEIGHT:
            found |= _simplices(WEIGHT, value)
        elif block == LOCATION:
            found |= _locations(problem, value)
        elif problem.role(block) == "correlation":
            found |= _of_logits(block, value)
        elif problem.role(block) == "probability":
            found |= _simplices(block, value)
        else:
            found |= _positive(problem, block, value)
    for twin in problem.twins:
        for name in set(twin.further) & set(names):
            if set(twin.further[name]) & set(found):
                found[name] = twin.quantity(name, found)
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
    first = 0
    for name, prior, width in locations(problem.spec):
        own = found[f"{name}_xi"] = xi[:, first : first + width]
        first += width
        place = prior.loc + prior.scale * own
        found[name] = place if problem.spec.parameters[name].dims else place[:, 0]
    return found


def _positive(problem: Problem, block: str, value: Array) -> dict[str, Array]:
    """A scale with its square, or a shape, and its logarithm."""
    import jax.numpy as jnp

    item = problem.spec.parameters[block]
    log = value / 2 if of_square(item) else value
    found = {block: jnp.exp(log), f"log_{block}": log}
    if item.role == "scale":
        found |= {f"{item.site}_sd": jnp.exp(log), f"{item.site}_variance": jnp.exp(2 * log)}
    return found


def _of_logits(block: str, logit: Array) -> dict[str, Array]:
    """Correlation matrices and their Cholesky factors (matrix, d, d) from log odds (matrix, pair).

    Partial correlations are p = tanh(q/2) with √(1 − p²) = 1/cosh(q/2), so that nothing cancels.
    """
    import jax.numpy as jnp

    d = (1 + round((1 + 8 * logit.shape[-1]) ** 0.5)) // 2
    row, column = np.tril_indices(d, -1)
    zeros = jnp.zeros((len(logit), d, d))
    partial = zeros.at[:, row, column].set(_tanh(logit / 2)) + jnp.eye(d)
    log_rest = zeros.at[:, row, column].set(-jnp.log(jnp.cosh(logit / 2)))
    before = jnp.exp(jnp.cumsum(log_rest, axis=-1) - log_rest)
    factor = partial * before * np.tri(d)
    return {f"{block}_cholesky": factor, block: factor @ jnp.swapaxes(factor, -1, -2)}


def _simplices(block: str, logit: Array) -> dict[str, Array]:
    """Numbers (..., n + 1) that sum to one from all but the last of their log ratios (..., n)."""
    import jax
    import jax.numpy as jnp

    last = -logit.sum(-1, keepdims=True)
    return {block: jax.nn.softmax(jnp.concatenate([logit, last], axis=-1))}


def _tanh(value: Array) -> Array:
    """tanh, whose derivative 1/cosh² is precise where 1 − tanh² cancels."""
    import jax
    import jax.numpy as jnp

    tanh = jax.custom_jvp(jnp.tanh)
    tanh.defjvps(lambda change, _, at: change / jnp.cosh(at) ** 2)
    return tanh(value)


def free(problem: Problem, name: str, value: Array) -> Array:
    """The coordinates of a quantity that can be chosen freely, one after another."""
    blocks = problem.quantities[name]
    if blocks == (WEIGHT,) or _is_whole_simplex(problem, blocks, value):
        import jax.numpy as jnp

        # All but one: the determinant is the same for each, and precise without the largest.
        n = value.shape[-1]
        rest = (value.argmax(-1, keepdims=True) + 1 + np.arange(n - 1)) % n
        return jnp.take_along_axis(value, rest, axis=-1).ravel()
    if any(block != LOCATION and problem.role(block) == "correlation" for block in blocks):
        # The diagonal of a correlation matrix, and so that of its factor, is known.
        row, column = np.tril_indices(value.shape[-1], -1 if len(blocks) == 1 else 0)
        return value[..., row, column].ravel()
    return value.ravel()


def _is_whole_simplex(problem: Problem, blocks: tuple[str, ...], value: Array) -> bool:
    """Whether a value has the probabilities of all levels."""
    if [problem.role(block) for block in blocks] != ["probability"]:
        return False
    (dim,) = problem.spec.parameters[blocks[0]].dims
    return bool(value.shape[-1] == len(problem.spec.entries[dim]))


def own_shape(name: str, problem: Problem, site: str) -> tuple[int, ...]:
    """The shape of what a site is to hold.

    Raises
    ------
    SpecError
        If the quantity is fixed or absent in the specification.
    """
    import jax

    part = read_part(name, problem)
    own = part.quantity
    found = jax.eval_shape(lambda q: quantities(problem, q, [own]), np.zeros(problem.dim))
    if own not in found:
        raise SpecError(f"The specification has no free {own}, which the site {site!r} is to hold.")
    if part.components is not None and found[own].shape[0] != problem.spec.n_clusters:
        raise SpecError(f"All components share {own}, of which {name} is to be a part.")
    return tuple(jax.eval_shape(part.of, found[own]).shape)


def is_turned(name: str, problem: Problem, shape: tuple[int, ...], site: str) -> bool:
    """Whether the shape of a site is the one of what it holds turned around.

    It may differ by dims of length one besides.

    Raises
    ------
    SpecError
        If the quantity is fixed or absent in the specification, or has another shape.
    """
    own = own_shape(name, problem, site)
    sizes, wanted = [n for n in shape if n > 1], [n for n in own if n > 1]
    if sizes == wanted:
        return False
    if len(own) == 2 and sizes == wanted[::-1]:
        return True
    raise SpecError(f"The site {site!r} has the shape {shape}; {name} has the shape {own}.")
