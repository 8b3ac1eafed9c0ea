"""The observed sites of a NumPyro model: which of them hold rows, and the rows' log densities."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from jointmix.base.errors import SpecError
from jointmix.model.spec import ModelSpec
from jointmix.validation.agreement.chart import Array
from jointmix.validation.agreement.parts import ROWS, read_part
from jointmix.validation.agreement.problem import Problem

#: exp(−700) is among the smallest numbers of full precision.
_LARGEST_GAP = 700.0


class ModelError(SpecError):
    """A NumPyro model that cannot be evaluated; the message says at which shapes."""


@dataclass(frozen=True)
class Site:
    """What is asked of a sample site of a NumPyro model, whatever its values.

    Attributes
    ----------
    observed, discrete, factor
        Whether it is observed, a discrete latent, a factor.
    plates
        Name → dim, counted from the right.
    sizes
        The plates' sizes.
    shape
        Of the value.
    """

    observed: bool
    discrete: bool
    factor: bool
    plates: dict[str, int]
    sizes: dict[str, int]
    shape: tuple[int, ...]


@dataclass(frozen=True, eq=False)
class RowSites:
    """Where rows and their allocations are.

    Attributes
    ----------
    held
        Observed site → `x`, `y` or `rows`, or `x[NAME]` of a discrete feature alone; other sites
        of rows under their own names.
    dims
        Observed site → the dim of its plate of rows; None where no plate holds them.
    allocation
        The discrete latent site, or None.
    nesting
        Number of dims that plates take.
    factors
        Observed sites that hold no rows: parts of the prior.
    beside
        Sites of rows that names do not speak of.
    """

    held: dict[str, str]
    dims: dict[str, int | None]
    allocation: str | None
    nesting: int
    factors: tuple[str, ...]
    beside: tuple[str, ...]


def find_rows(samples: Mapping[str, Site], names: Mapping[str, str], problem: Problem) -> RowSites:
    """Tell the sites of rows from other observed ones.

    Raises
    ------
    SpecError
        If it is not clear which sites hold x and y.
    ModelError
        If a row has more than one allocation.
    """
    discrete = [name for name, site in samples.items() if site.discrete]
    if len(discrete) > 1:
        raise SpecError(
            f"The model has the discrete sites {', '.join(discrete)}; one is allowed, a row's "
            "allocation, which its x and y share."
        )
    allocation = discrete[0] if discrete else None
    observed = {name: site for name, site in samples.items() if site.observed}
    held = _named(observed, names, problem)
    n, beside = len(problem.rows.y), []
    plates = _row_plates(samples, [*held, *discrete], allocation, n)
    for name, site in observed.items():
        of_rows = n in site.shape and not site.factor
        if name not in held and (of_rows or plates & site.plates.keys()):
            held[name] = name
            beside.append(name)
    nesting = max((-dim for site in samples.values() for dim in site.plates.values()), default=0)
    dims = {name: _dim(samples[name], plates, n) for name in [*held, *discrete]}
    factors = tuple(name for name in observed if name not in held)
    return RowSites(held, dims, allocation, nesting, factors, tuple(beside))


def _named(
    observed: Mapping[str, Site], names: Mapping[str, str], problem: Problem
) -> dict[str, str]:
    """Observed site → x, y or rows, by the map of names or by the columns' own names."""
    spec = problem.spec
    held: dict[str, str] = {}
    spoken: dict[str, list[str]] = {"x": [], "y": [], "rows": []}
    parts = {name: read_part(name, problem) for name in names}
    columns: set[int] = set()
    for name, part in parts.items():
        if part.quantity in (*spoken,):
            if names[name] not in observed:
                raise SpecError(
                    f"The model observes no site {names[name]!r}, which names has for {name}."
                )
            chosen = set(part.columns or range(len(spec.features) or len(spec.clustering)))
            if part.quantity == "x":
                columns |= chosen
            if part.quantity == "x" and min(chosen) >= len(spec.features):
                held[names[name]] = _of_discrete(spec, chosen)
            else:
                spoken[part.quantity].append(names[name])
    taken = {*held}
    for own, column in (("x", "x"), ("y", "y"), ("rows", "rows"), ("y", spec.response)):
        has = own == "rows" or bool(spec.features if own == "x" else spec.response)
        if has and not spoken[own] and column in observed and column not in taken:
            spoken[own].append(str(column))
    if not spoken["x"] and spec.features and set(spec.features) <= observed.keys():
        spoken["x"] = list(spec.features)
    for own, sites in spoken.items():
        held |= dict.fromkeys(sites, own)
    if spoken["rows"]:
        return held
    unnamed = _by_their_names(spec, observed, columns, held)
    missing = [own for own, has in (("x", spec.features), ("y", spec.response)) if has]
    missing = [own for own in missing if not spoken[own]] + unnamed
    absent = set(range(len(spec.features))) - columns
    if columns & {*range(len(spec.features))} and absent:
        missing.insert(0, ", ".join(f"x[{list(spec.features)[i]}]" for i in sorted(absent)))
        raise SpecError(_which(missing, observed))
    # A model without another site that could hold them leaves them out: a mistake with a name.
    if missing and (not held or any(name not in held for name in observed)):
        raise SpecError(_which(missing, observed))
    return held


def _of_discrete(spec: ModelSpec, columns: set[int]) -> str:
    """What a site of discrete features holds, by their places among all features."""
    return "x" if len(columns) > 1 else f"x[{spec.clustering[min(columns)]}]"


def _by_their_names(
    spec: ModelSpec, observed: Mapping[str, Site], columns: set[int], held: dict[str, str]
) -> list[str]:
    """Sites of discrete features that are called as these are, put with those held; the rest."""
    unnamed = []
    for place, own in enumerate(spec.discrete, len(spec.features)):
        if place in columns:
            continue
        label = f"x[{own.column}]"
        site = next((s for s in (label, own.column) if s in observed and s not in held), None)
        if site is None:
            unnamed.append(label)
        else:
            held[site] = label
    return unnamed


def _which(missing: list[str], observed: Mapping[str, Site]) -> str:
    several = "; of sites that hold a feature each, name each one, as x[feature]"
    return (
        f"names must say which observed site holds {' and '.join(missing)}, or rows for both; "
        f"the model observes {', '.join(observed) or 'nothing'}"
        f"{several if 'x' in missing else ''}."
    )


def _row_plates(
    samples: Mapping[str, Site], names: list[str], allocation: str | None, n: int
) -> set[str]:
    """Names of the plates of rows: the allocation's, or those of the rows' number."""
    if allocation is not None:
        site = samples[allocation]
        if sum(size > 1 for size in site.sizes.values()) > 1:
            raise ModelError(
                f"The allocation {allocation} is drawn in the plates {', '.join(site.plates)}: a "
                f"row has one, drawn in the plate of the {n} rows alone."
            )
        return set(site.plates)
    fitting = [{p for p, size in samples[name].sizes.items() if size == n} for name in names]
    common = set.intersection(*fitting) if fitting else set()
    return common or set().union(*fitting)


def _dim(site: Site, plates: set[str], n: int) -> int | None:
    own = {plate: dim for plate, dim in site.plates.items() if plate in plates}
    own = own or {plate: d for plate, d in site.plates.items() if site.sizes[plate] == n}
    return next(iter(own.values()), None)


def log_prob(site: dict[str, Any]) -> Array:
    """A site's log density, weighted as NumPyro weights it."""
    value = site["fn"].log_prob(site["value"])
    return value if site["scale"] is None else site["scale"] * value


def row_terms(rows: RowSites, sites: dict[str, dict[str, Any]], problem: Problem) -> dict[str, Any]:
    """Log densities of the rows, by term and component where the model tells them apart."""
    import jax.numpy as jnp
    from jax.scipy.special import logsumexp

    n, k = len(problem.rows.y), problem.spec.n_clusters
    values = {site: log_prob(sites[site]) for site in rows.held}
    if rows.allocation is None:
        if any(value.size == 1 for value in values.values()) and n > 1:
            # The sum over rows: there is no telling them apart.
            return {}
        return {"rows": sum(_by_row(rows, site, value, n) for site, value in values.items())}
    parts: dict[str, Array] = {}
    for site, own in rows.held.items():
        found = _by_component(rows, site, values[site], (k, n))
        parts[own] = parts[own] + found if own in parts else found
    none = jnp.zeros((k, n))
    known = {twin.column for twin in problem.twins}
    discrete = {own: part for own, part in parts.items() if own in known and own not in ROWS}
    features = sum(discrete.values(), parts.get("x", none))
    response = parts.get("y", none)
    weight = _by_component(rows, rows.allocation, log_prob(sites[rows.allocation]), (k, n))
    joint = weight + sum(parts.values())
    terms = {"rows": logsumexp(joint, axis=0)}
    # NumPyro multiplies exp(term − its own largest) of the sites: the product underflows where
    # they are largest for different components.
    apart = sum(part.max(axis=0) for part in (weight, *parts.values())) - joint.max(axis=0)
    terms["underflow"] = (apart > _LARGEST_GAP).any()
    if "rows" not in parts:
        terms |= {"features": features.T, "response": response.T}
        terms["discrete"] = {own: part.T for own, part in discrete.items()}
    return terms


def _by_row(rows: RowSites, site: str, value: Array, n: int) -> Array:
    """A log density by row, summed over whatever else the site has plates for, as of features."""
    dim = rows.dims[site]
    if dim is None:
        axes = [axis for axis, size in enumerate(value.shape) if size == n]
        dim = axes[0] - value.ndim if axes else -1
    return _fitted(_summed(value, [dim]), rows.held[site], (n,))


def _by_component(rows: RowSites, site: str, value: Array, shape: tuple[int, int]) -> Array:
    """A log density as (component, obs): enumeration puts the components left of all plates."""
    own = "z" if site == rows.allocation else rows.held[site]
    return _fitted(_summed(value, [-rows.nesting - 1, rows.dims[site] or -1]), own, shape)


def _summed(value: Array, kept: list[int]) -> Array:
    """Sums over all dims but some, counted from the right, in the order of these."""
    import jax.numpy as jnp

    value = value.reshape((1,) * (max(-dim for dim in kept) - value.ndim) + value.shape)
    value = jnp.moveaxis(value, kept, range(-len(kept), 0))
    return value.sum(axis=tuple(range(value.ndim - len(kept))))


def _fitted(value: Array, own: str, shape: tuple[int, ...]) -> Array:
    import jax.numpy as jnp

    try:
        return jnp.broadcast_to(value, shape)
    except ValueError as error:
        raise ModelError(
            f"The log density of {own} has the shape {value.shape}, not {shape}."
        ) from error
