"""Any NumPyro model of the posterior: the package's twin, or one that a user hands in."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from jointmix.validation.agreement.chart import Array, Model
from jointmix.validation.agreement.observed import log_prob, row_terms
from jointmix.validation.agreement.problem import Problem
from jointmix.validation.agreement.structure import Structure, inspect, named_errors
from jointmix.validation.agreement.terms import LITTLE_OPTIMISED, Side, Terms

#: Points that are evaluated at a time.
_BLOCK = 16


def numpyro_side(
    problem: Problem,
    name: str,
    model: Model,
    names: Mapping[str, str] | None = None,
    *,
    gradient: bool = True,
) -> Side:
    """A NumPyro model as an implementation.

    Parameters
    ----------
    problem
        The posterior.
    name
        What the implementation is called.
    model
        A model without arguments, whose sites are on the model's scale.
    names
        Quantity or part of one (see `parts`) → site; a quantity that is left out is sought under
        its own name.
    gradient
        Whether the gradient is among the terms, which takes half the time of compiling.

    Raises
    ------
    SpecError
        If sites and the specification's free parameters do not match.
    ModelError
        If the model cannot be evaluated.
    """
    import jax
    import numpyro

    numpyro.enable_x64()
    structure = inspect(problem, model, names)
    at_point = jax.jit(_pointwise(structure, model, gradient))
    compiled = jax.jit(
        lambda points: jax.lax.map(at_point, points), compiler_options=LITTLE_OPTIMISED
    )
    with named_errors():
        notes = _notes(structure, model)
        # Traced without being compiled, so that what cannot be evaluated shows at once.
        jax.eval_shape(at_point, np.zeros(problem.dim))

    def at(q: np.ndarray) -> Terms:
        # Blocks of one size, the last one filled up, are compiled once for any number of points.
        filled = np.concatenate([q, np.repeat(q[-1:], -len(q) % _BLOCK, axis=0)])
        with named_errors():
            parts = [compiled(block) for block in np.split(filled, len(filled) // _BLOCK)]
        return Terms(**jax.tree.map(lambda *each: np.concatenate(each)[: len(q)], *parts))

    return Side(name, at, notes)


def _pointwise(
    structure: Structure, model: Model, gradient: bool
) -> Callable[[Array], dict[str, Array]]:
    """From one point to all terms."""
    import jax
    import jax.numpy as jnp

    def total(q: Array) -> tuple[Array, dict[str, Array]]:
        data, jacobian = site_values(structure, model, q)
        sites = _sites(structure, model, data)
        prior = _priors(structure, sites, jacobian)
        whole = _density(structure, model, data) + sum(jacobian.values(), start=jnp.zeros(()))
        found = {"prior": prior, "likelihood": whole - sum(prior.values(), start=jnp.zeros(()))}
        for own, allowed in _allowed(structure, sites).items():
            prior[own] = jnp.where(allowed, prior[own], -jnp.inf)
            whole = jnp.where(allowed, whole, -jnp.inf)
        return whole, found | {"total": whole} | row_terms(
            structure.rows, sites, structure.chart.problem
        )

    def at(q: Array) -> dict[str, Array]:
        slope, found = jax.grad(total, has_aux=True)(q)
        return found | {"gradient": slope}

    return at if gradient else lambda q: total(q)[1]


def site_values(
    structure: Structure, model: Model, q: Array
) -> tuple[dict[str, Array], dict[tuple[str, ...], Array]]:
    """Values of the latent sites at one point, (dim,), and the log Jacobian by group of blocks.

    A site that is deterministic is a line in its base, or if positive its logarithm is, element
    by element; two values of the base tell which.
    """
    import jax.numpy as jnp

    chart = structure.chart
    data, jacobian = chart.values(q), chart.log_jacobian(q)
    for name, (site, _) in chart.sites.items():
        if site not in structure.bases:
            continue
        base, wanted = structure.bases[site], data.pop(site)
        positive, start, slope = _line(structure, model, name, data)
        (block,) = chart.problem.quantities[chart.parts[name].quantity]
        own = next(group for group in jacobian if block in group)
        if positive:
            jacobian[own] -= jnp.log(wanted).sum()
            wanted = jnp.log(wanted)
        jacobian[own] -= jnp.log(jnp.abs(slope)).sum()
        data[base] = (wanted - start) / slope
    return data, jacobian


def _line(
    structure: Structure, model: Model, name: str, data: dict[str, Array]
) -> tuple[bool, Array, Array]:
    """Whether it is the logarithm of a deterministic site that is a line in its base; the line."""
    import jax.numpy as jnp

    chart = structure.chart
    site, shape = chart.sites[name]
    base, quantity = structure.bases[site], chart.parts[name].quantity
    at = [_sites(structure, model, data | {base: jnp.full(shape, value)})[site]["value"]
          for value in (0.0, 1.0)]  # fmt: skip
    (block,) = chart.problem.quantities[quantity]
    positive = chart.problem.role(block) != "location" and not quantity.startswith("log_")
    at = [jnp.log(value) for value in at] if positive else at
    return positive, at[0], at[1] - at[0]


def unsorted(
    structure: Structure, model: Model, samples: dict[str, np.ndarray]
) -> dict[str, np.ndarray]:
    """Draws of the sites, site → (draw, ...), deterministic ones as the line in their base.

    That is what they are before a model sorts them.
    """
    import jax
    import jax.numpy as jnp

    held = [(name, site) for name, (site, _) in structure.chart.sites.items()]
    latent = {structure.bases.get(site, site) for _, site in held}

    def at(data: dict[str, Array]) -> dict[str, Array]:
        found = {}
        for name, site in held:
            if site in structure.bases:
                positive, start, slope = _line(structure, model, name, data)
                value = start + slope * data[structure.bases[site]]
                found[site] = jnp.exp(value) if positive else value
        return found

    values = jax.jit(jax.vmap(at))({site: samples[site] for site in latent})
    return samples | {site: np.asarray(value) for site, value in values.items()}


def _sites(structure: Structure, model: Model, data: dict[str, Array]) -> dict[str, dict[str, Any]]:
    """All sites at one point, allocations being all components along a new axis in front.

    This is what enumeration does; shapes are then what they are when NumPyro sums.
    """
    import jax.numpy as jnp
    from numpyro import handlers

    rows, data = structure.rows, dict(data)
    if rows.allocation is not None:
        k = structure.chart.problem.spec.n_clusters
        data[rows.allocation] = jnp.arange(k).reshape(k, *[1] * rows.nesting)
    with (
        named_errors(),
        handlers.trace() as trace,
        handlers.seed(rng_seed=0),
        handlers.substitute(data=data),
    ):
        model()
    return dict(trace)


def _density(structure: Structure, model: Model, data: dict[str, Array]) -> Array:
    """The joint log density as NumPyro computes it, summed over allocations by funsor."""
    if structure.rows.allocation is None:
        from numpyro.infer.util import log_density

        return log_density(model, (), {}, data)[0]
    from numpyro.contrib.funsor import config_enumerate, enum
    from numpyro.contrib.funsor import log_density as enumerated

    whole = enum(config_enumerate(model), first_available_dim=-structure.rows.nesting - 1)
    return enumerated(whole, (), {}, data)[0]


def _priors(
    structure: Structure, sites: dict[str, dict[str, Any]], jacobian: dict[tuple[str, ...], Array]
) -> dict[tuple[str, ...], Array]:
    """Log prior densities of q by group of blocks; a factor counts for the only group, or first."""
    chart, found = structure.chart, {}
    for own, names in chart.groups().items():
        held = [chart.sites[name][0] for name in names]
        held = [structure.bases.get(site, site) for site in held]
        found[own] = jacobian[own] + sum(log_prob(sites[site]).sum() for site in held)
    for factor in structure.rows.factors:
        own = _owner(structure, factor)
        found[own] = found.get(own, 0.0) + log_prob(sites[factor]).sum()
    return found


def _allowed(
    structure: Structure, sites: dict[str, dict[str, Any]]
) -> dict[tuple[str, ...], Array]:
    """Whether the values of sites lie in their supports, by group of blocks.

    Densities are not asked outside their supports by NumPyro. Weights and matrices, whose
    constraints hold up to rounding, are always inside.
    """
    chart, found = structure.chart, {}
    for own, names in chart.groups().items():
        if {chart.problem.role(block) for block in own} <= {"location", "scale", "shape"}:
            held = [sites[chart.sites[name][0]] for name in names]
            held = [site for site in held if site["type"] == "sample"]
            inside = [site["fn"].support(site["value"]).all() for site in held]
            found[own] = sum(inside) == len(inside)
    return found


def _owner(structure: Structure, factor: str) -> tuple[str, ...]:
    """The blocks that a factor speaks of: those whose names or sites its own begins with."""
    chart = structure.chart
    for own, names in chart.groups().items():
        words = [*own, *(part for name in names for part in (name, chart.sites[name][0]))]
        if any(factor.startswith(word) for word in words):
            return own
    return ("factor",)


def _notes(structure: Structure, model: Model) -> tuple[str, ...]:
    """Signs of single precision, and sites that hold components last."""
    import jax

    def log_probs(q: Array) -> dict[str, Array]:
        sites = _sites(structure, model, site_values(structure, model, q)[0])
        held = {name: site for name, site in sites.items() if site["type"] == "sample"}
        return {name: log_prob(site) for name, site in held.items()}

    found = jax.eval_shape(log_probs, np.zeros(structure.chart.problem.dim))
    single = [name for name, value in found.items() if str(value.dtype) == "float32"]
    notes: tuple[str, ...] = ()
    if single:
        notes += (f"The log density of {', '.join(single)} is in single precision (float32).",)
    if turned := [structure.chart.sites[name][0] for name in sorted(structure.chart.turned)]:
        notes += (
            f"Components are last in {', '.join(turned)}, (column, component), and were taken so.",
        )
    return notes
