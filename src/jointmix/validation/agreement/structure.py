"""What the sites of a NumPyro model are: latent ones by what they hold, rows, allocations."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np

from jointmix.base.errors import SpecError
from jointmix.validation.agreement.chart import Array, Chart, Model, is_turned
from jointmix.validation.agreement.observed import ModelError, RowSites, Site, find_rows
from jointmix.validation.agreement.parts import TURNED, read_part
from jointmix.validation.agreement.problem import Problem


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

    with named_errors():
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
def named_errors() -> Iterator[None]:
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
