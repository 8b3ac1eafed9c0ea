"""Any NumPyro model of the posterior: the package's twin, or one that a user hands in."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np

from jointmix.base.errors import SpecError
from jointmix.validation.agreement.chart import (
    TURNED,
    Array,
    Chart,
    Model,
    is_turned,
)
from jointmix.validation.agreement.problem import Problem
from jointmix.validation.agreement.terms import Side, Terms

#: Names by which the sites that hold rows are called in a map of names.
ROWS = ("x", "y", "rows", "z")

#: Points that are evaluated at a time.
_BLOCK = 16
#: exp(−700) is among the smallest numbers of full precision.
_LARGEST_GAP = 700.0


class ModelError(SpecError):
    """A NumPyro model that cannot be evaluated; the message says at which shapes."""


@dataclass(frozen=True, eq=False)
class Structure:
    """What the sites of a NumPyro model are.

    Attributes
    ----------
    chart
        From unconstrained values to the continuous latent sites.
    allocation
        The discrete latent site, or None.
    nesting
        Number of dims that plates take.
    rows
        `x`, `y` or `rows` → observed site; factors in the same plate under their own names.
    factors
        Factor sites that hold no rows: parts of the prior.
    """

    chart: Chart
    allocation: str | None
    nesting: int
    rows: dict[str, str]
    factors: tuple[str, ...]


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
        Quantity (a key of `Problem.quantities`, or x, y, rows, z) → site; a quantity that is left
        out is sought under its own name.

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


@dataclass(frozen=True)
class _Site:
    """What is asked of a sample site of a NumPyro model, whatever its values."""

    observed: bool
    discrete: bool
    plates: dict[str, int]


def inspect(problem: Problem, model: Model, names: Mapping[str, str] | None = None) -> Structure:
    """Trace the model once, and tell what its sites are."""
    import jax
    from numpyro import handlers

    names, turned = _plain(names or {})
    unknown = set(names) - set(problem.quantities) - set(ROWS)
    if unknown:
        raise SpecError(
            f"names has no quantity {', '.join(sorted(unknown))!r}; it may be "
            f"{', '.join([*problem.quantities, *ROWS])}."
        )
    quantity_of = {names.get(own, own): own for own in problem.quantities}
    shapes: dict[str, tuple[int, ...]] = {}
    samples: dict[str, _Site] = {}

    def run(point: Array) -> None:
        def fill(site: dict[str, Any]) -> Array | None:
            """A value for each latent site that is named: improper priors cannot be drawn."""
            if site["type"] != "sample" or site["is_observed"]:
                return None
            own = quantity_of.get(site["name"])
            if own is None or site["fn"].support.is_discrete:
                return None
            shape = tuple(site["kwargs"]["sample_shape"]) + tuple(site["fn"].shape())
            if is_turned(own, problem, shape, site["name"]):
                turned.add(own)
            shapes[site["name"]] = shape
            chart = Chart(problem, {own: (site["name"], shape)}, frozenset(turned))
            return chart.values(point)[site["name"]]

        with (
            handlers.trace() as trace,
            handlers.seed(rng_seed=0),
            handlers.substitute(substitute_fn=fill),
        ):
            model()
        for name, site in trace.items():
            if site["type"] == "sample":
                samples[name] = _Site(
                    observed=site["is_observed"],
                    discrete=not site["is_observed"] and site["fn"].support.is_discrete,
                    plates={frame.name: frame.dim for frame in site["cond_indep_stack"]},
                )

    with _named_errors():
        jax.eval_shape(run, np.zeros(problem.dim))
    latent = {n: s for n, s in samples.items() if not s.observed}
    discrete = [n for n, s in latent.items() if s.discrete]
    strangers = set(latent) - set(shapes) - set(discrete)
    if strangers:
        raise SpecError(f"names must say what the site {', '.join(sorted(strangers))!r} holds.")
    if len(discrete) > 1:
        raise SpecError(f"The model has the discrete sites {', '.join(discrete)}; one is allowed.")
    rows, factors = _observed(samples, names, problem)
    sites = {quantity_of[n]: (n, shape) for n, shape in shapes.items()}
    chart = Chart(problem, sites, frozenset(turned))
    chart.check()
    nesting = max((-dim for s in samples.values() for dim in s.plates.values()), default=0)
    return Structure(chart, discrete[0] if discrete else None, nesting, rows, factors)


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


def _observed(
    samples: dict[str, _Site], names: Mapping[str, str], problem: Problem
) -> tuple[dict[str, str], tuple[str, ...]]:
    """Observed sites that hold rows, by what they hold, and the factors that hold none."""
    wanted = {own: names.get(own, own) for own in ("x", "y", "rows")}
    observed = [n for n, s in samples.items() if s.observed]
    rows = {own: site for own, site in wanted.items() if site in observed}
    for own, site in wanted.items():
        if own in names and site not in observed:
            raise SpecError(f"The model observes no site {site!r}, which names has for {own}.")
    others = [n for n in observed if n not in rows.values()]
    spec = problem.spec
    needed = [n for n, has in (("x", spec.features), ("y", spec.response)) if has]
    if "rows" not in rows and (missing := [n for n in needed if n not in rows]):
        raise SpecError(
            f"names must say which observed site holds {' and '.join(missing)}, or rows for both; "
            f"the model observes {', '.join(observed) or 'nothing'}."
        )
    plates = {plate for site in rows.values() for plate in samples[site].plates}
    beside = [n for n in others if plates & samples[n].plates.keys()]
    return rows | {n: n for n in beside}, tuple(n for n in others if n not in beside)


def _pointwise(structure: Structure, model: Model) -> Callable[[Array], dict[str, Array]]:
    """From one point to all terms."""
    import jax
    import jax.numpy as jnp

    def total(q: Array) -> tuple[Array, dict[str, Array]]:
        jacobian = structure.chart.log_jacobian(q)
        sites = _sites(structure, model, q)
        density = _density(structure, model, q)
        prior = _priors(structure, sites, jacobian)
        own = sum(prior.values(), start=jnp.zeros(()))
        whole = density + sum(jacobian.values(), start=jnp.zeros(()))
        found = {"prior": prior, "likelihood": whole - own, "total": whole}
        return whole, found | _rows(structure, sites)

    def at(q: Array) -> dict[str, Array]:
        gradient, found = jax.grad(total, has_aux=True)(q)
        return found | {"gradient": gradient}

    return at


def _sites(structure: Structure, model: Model, q: Array) -> dict[str, dict[str, Any]]:
    """The sample sites at one point, allocations being all components along a new axis in front.

    This is what enumeration does; shapes are then what they are when NumPyro sums.
    """
    import jax.numpy as jnp
    from numpyro import handlers

    data = structure.chart.values(q)
    if structure.allocation is not None:
        k = structure.chart.problem.spec.n_clusters
        data[structure.allocation] = jnp.arange(k).reshape(k, *[1] * structure.nesting)
    with _named_errors(), handlers.trace() as trace, handlers.substitute(data=data):
        model()
    return {name: site for name, site in trace.items() if site["type"] == "sample"}


def log_prob(site: dict[str, Any]) -> Array:
    """A site's log density, weighted as NumPyro weights it."""
    value = site["fn"].log_prob(site["value"])
    return value if site["scale"] is None else site["scale"] * value


def _density(structure: Structure, model: Model, q: Array) -> Array:
    """The joint log density as NumPyro computes it, summed over allocations by funsor."""
    data = structure.chart.values(q)
    if structure.allocation is None:
        from numpyro.infer.util import log_density

        return log_density(model, (), {}, data)[0]
    from numpyro.contrib.funsor import config_enumerate, enum
    from numpyro.contrib.funsor import log_density as enumerated

    whole = enum(config_enumerate(model), first_available_dim=-structure.nesting - 1)
    return enumerated(whole, (), {}, data)[0]


def _priors(
    structure: Structure, sites: dict[str, dict[str, Any]], jacobian: dict[tuple[str, ...], Array]
) -> dict[tuple[str, ...], Array]:
    """Log prior densities of q by group of blocks; a factor counts for the only group, or first."""
    chart, found = structure.chart, {}
    for own, quantities in chart.groups().items():
        held = [chart.sites[name][0] for name in quantities]
        found[own] = jacobian[own] + sum(log_prob(sites[site]).sum() for site in held)
    for factor in structure.factors:
        own = _owner(structure, factor)
        found[own] = found.get(own, 0.0) + log_prob(sites[factor]).sum()
    return found


def _owner(structure: Structure, factor: str) -> tuple[str, ...]:
    """The blocks that a factor speaks of: those its name begins with, else all."""
    groups = list(structure.chart.groups())
    named = [own for own in groups if any(factor.startswith(block) for block in own)]
    return named[0] if named else ("factor",)


def _rows(structure: Structure, sites: dict[str, dict[str, Any]]) -> dict[str, Array]:
    """Log densities of the rows, by term and component where the model tells them apart."""
    import jax.numpy as jnp
    from jax.scipy.special import logsumexp

    problem = structure.chart.problem
    n, k = len(problem.rows.y), problem.spec.n_clusters
    values = {own: log_prob(sites[site]) for own, site in structure.rows.items()}
    if structure.allocation is None:
        if any(value.size == 1 for value in values.values()) and n > 1:
            # The sum over rows: there is no telling them apart.
            return {}
        total = sum(jnp.broadcast_to(_flat(value, own), (n,)) for own, value in values.items())
        return {"rows": total}
    none = jnp.zeros((k, n))
    parts = {own: _shaped(value, own, (k, n)) for own, value in values.items()}
    features, response = parts.get("x", none), parts.get("y", none)
    weight = _shaped(log_prob(sites[structure.allocation]), "z", (k, n))
    joint = weight + sum(parts.values())
    found = {"rows": logsumexp(joint, axis=0)}
    # NumPyro multiplies exp(term − its own largest) of the sites: the product underflows where
    # they are largest for different components.
    apart = sum(part.max(axis=0) for part in (weight, *parts.values())) - joint.max(axis=0)
    found["underflow"] = (apart > _LARGEST_GAP).any()
    if "rows" not in parts:
        found |= {"features": features.T, "response": response.T}
    return found


def _flat(value: Array, own: str) -> Array:
    return _shaped(value, own, (value.size,)) if value.ndim != 1 else value


def _shaped(value: Array, own: str, shape: tuple[int, ...]) -> Array:
    """A log density as (component, obs): dims of length one that plates put between are dropped."""
    import jax.numpy as jnp

    extra = value.ndim - len(shape)
    if extra > 0:
        value = value.reshape(value.shape[0], *value.shape[1 + extra :])
    try:
        return jnp.broadcast_to(value, shape)
    except ValueError as error:
        raise ModelError(
            f"The log density of {own} has the shape {value.shape}, not {shape}."
        ) from error


def _notes(structure: Structure, model: Model) -> tuple[str, ...]:
    """Signs of single precision, and sites that hold components last."""
    import jax

    def log_probs(q: Array) -> dict[str, Array]:
        return {name: log_prob(site) for name, site in _sites(structure, model, q).items()}

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
