"""Any NumPyro model of the posterior: the package's twin, or one that a user hands in."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np

from jointmix.base.errors import SpecError
from jointmix.validation.agreement.chart import Array, Chart, Model, is_turned
from jointmix.validation.agreement.observed import (
    ModelError,
    RowSites,
    Site,
    find_rows,
    log_prob,
    row_terms,
)
from jointmix.validation.agreement.parts import TURNED, read_part
from jointmix.validation.agreement.problem import Problem
from jointmix.validation.agreement.terms import Side, Terms

#: Points that are evaluated at a time.
_BLOCK = 16


@dataclass(frozen=True, eq=False)
class Structure:
    """What the sites of a NumPyro model are.

    Attributes
    ----------
    chart
        From unconstrained values to the continuous latent sites.
    rows
        Where rows and their allocations are.
    bases
        Deterministic site that names speak of → the latent site that it is a function of, as
        reparametrisation makes them.
    ordered
        Names of what is ordered by its site's support.
    transformed
        Names of what is an ordered transform of another distribution.
    """

    chart: Chart
    rows: RowSites
    bases: dict[str, str]
    ordered: tuple[str, ...]
    transformed: tuple[str, ...]


def numpyro_side(
    problem: Problem, name: str, model: Model, names: Mapping[str, str] | None = None
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
    at_point = jax.jit(_pointwise(structure, model))
    compiled = jax.jit(
        lambda points: jax.lax.map(at_point, points),
        # A thousand points take less time than XLA would take to make their evaluation faster.
        compiler_options={"xla_backend_optimization_level": 0},
    )
    with _named_errors():
        notes = _notes(structure, model)
        # Traced without being compiled, so that what cannot be evaluated shows at once.
        jax.eval_shape(at_point, np.zeros(problem.dim))

    def at(q: np.ndarray) -> Terms:
        # Blocks of one size, the last one filled up, are compiled once for any number of points.
        filled = np.concatenate([q, np.repeat(q[-1:], -len(q) % _BLOCK, axis=0)])
        with _named_errors():
            parts = [compiled(block) for block in np.split(filled, len(filled) // _BLOCK)]
        return Terms(**jax.tree.map(lambda *each: np.concatenate(each)[: len(q)], *parts))

    return Side(name, at, notes)


def inspect(problem: Problem, model: Model, names: Mapping[str, str] | None = None) -> Structure:
    """Trace the model once, and tell what its sites are."""
    import jax
    from numpyro import handlers

    names, turned = _plain(names or {})
    spoken = {read_part(name, problem).quantity for name in names}
    name_of = {own: own for own in problem.quantities if own not in spoken}
    name_of |= {site: name for name, site in names.items()}
    shapes: dict[str, tuple[int, ...]] = {}
    samples: dict[str, Site] = {}
    bases: dict[str, str] = {}
    ordered: list[str] = []
    transformed: list[str] = []

    def hold(site: str, shape: tuple[int, ...]) -> Chart:
        name = name_of[site]
        if is_turned(name, problem, shape, site):
            turned.add(name)
        shapes[site] = shape
        return Chart(problem, {name: (site, shape)}, frozenset(turned))

    def run(point: Array) -> None:
        def fill(site: dict[str, Any]) -> Array | None:
            """A value for each latent site that is named: improper priors cannot be drawn."""
            if site["type"] != "sample" or site["is_observed"]:
                return None
            if site["name"] not in name_of or site["fn"].support.is_discrete:
                return None
            shape = tuple(site["kwargs"]["sample_shape"]) + tuple(site["fn"].shape())
            return hold(site["name"], shape).values(point)[site["name"]]

        with (
            handlers.trace() as trace,
            handlers.seed(rng_seed=0),
            handlers.substitute(substitute_fn=fill),
        ):
            model()
        samples.update({n: _asked(site) for n, site in trace.items() if site["type"] == "sample"})
        latent = {name_of[n]: trace[n]["fn"] for n in shapes}
        ordered.extend(name for name, fn in latent.items() if _is_order(fn.support))
        transformed.extend(n for n, fn in latent.items() if "OrderedTransform" in _transforms(fn))
        for name, site in trace.items():
            base = next((s for s in samples if s.startswith(f"{name}_") and s not in name_of), None)
            if site["type"] == "deterministic" and name in name_of and base is not None:
                hold(name, tuple(site["value"].shape))
                bases[name] = base

    with _named_errors():
        jax.eval_shape(run, np.zeros(problem.dim))
    latent = [n for n, site in samples.items() if not site.observed and not site.discrete]
    strangers = set(latent) - set(shapes) - set(bases.values())
    if strangers:
        raise SpecError(f"names must say what the site {', '.join(sorted(strangers))!r} holds.")
    rows = find_rows(samples, names, problem)
    chart = Chart(problem, {name_of[n]: (n, s) for n, s in shapes.items()}, frozenset(turned))
    chart.check()
    return Structure(chart, rows, bases, tuple(ordered), tuple(transformed))


def _asked(site: dict[str, Any]) -> Site:
    frames, fn = site["cond_indep_stack"], site["fn"]
    while hasattr(fn, "base_dist"):
        fn = fn.base_dist
    return Site(
        observed=site["is_observed"],
        discrete=not site["is_observed"] and site["fn"].support.is_discrete,
        factor=type(fn).__name__ == "Unit",
        plates={frame.name: frame.dim for frame in frames},
        sizes={frame.name: frame.size for frame in frames},
        shape=tuple(np.shape(site["value"])),
    )


def _transforms(fn: Any) -> set[str]:
    """Names of the transforms by which a distribution is made from another."""
    found = {type(transform).__name__ for transform in getattr(fn, "transforms", ())}
    return found | _transforms(fn.base_dist) if hasattr(fn, "base_dist") else found


def _is_order(support: Any) -> bool:
    """Whether a constraint, or the one that it repeats, is an ordered vector."""
    while hasattr(support, "base_constraint"):
        support = support.base_constraint
    return "Ordered" in type(support).__name__


def _plain(names: Mapping[str, str]) -> tuple[dict[str, str], set[str]]:
    """Names without the mark of sites that hold components last, and what they hold."""
    turned = {own.removesuffix(TURNED) for own in names if own.endswith(TURNED)}
    return {own.removesuffix(TURNED): site for own, site in names.items()}, turned


@contextmanager
def _named_errors() -> Iterator[None]:
    """Whatever a model that was handed in raises, as one sentence."""
    try:
        yield
    except SpecError:
        raise
    except Exception as error:
        raise ModelError(_first_line(error)) from error


def _first_line(error: BaseException) -> str:
    text = str(error).strip().splitlines()
    return f"{type(error).__name__}: {text[0] if text else 'no message'}"


def _pointwise(structure: Structure, model: Model) -> Callable[[Array], dict[str, Array]]:
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
        gradient, found = jax.grad(total, has_aux=True)(q)
        return found | {"gradient": gradient}

    return at


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
    for name, (site, shape) in chart.sites.items():
        if site not in structure.bases:
            continue
        base, wanted = structure.bases[site], data.pop(site)
        at = [_sites(structure, model, data | {base: jnp.full(shape, value)})[site]["value"]
              for value in (0.0, 1.0)]  # fmt: skip
        quantity = chart.parts[name].quantity
        (block,) = chart.problem.quantities[quantity]
        own = next(group for group in jacobian if block in group)
        if chart.problem.role(block) != "location" and not quantity.startswith("log_"):
            jacobian[own] -= jnp.log(wanted).sum()
            wanted, at = jnp.log(wanted), [jnp.log(value) for value in at]
        slope = at[1] - at[0]
        jacobian[own] -= jnp.log(jnp.abs(slope)).sum()
        data[base] = (wanted - at[0]) / slope
    return data, jacobian


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
        _named_errors(),
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
