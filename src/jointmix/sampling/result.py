"""What every sampler returns, and the one form in which it is passed on."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import xarray as xr

from jointmix.base.errors import SamplingError
from jointmix.base.schema import (
    CHAIN,
    COMPONENT,
    DRAW,
)
from jointmix.families.matrices import unit_diagonal
from jointmix.kernel.values import parameter_dims, within
from jointmix.model.spec import ModelSpec

#: Largest number in a draw, and inverse of the least scale. Of standardised columns fourth powers
#: of products of two, back in any usual unit, stay within float64; of columns in their own units,
#: in which an electron weighs 1e-30 kg, squares do.
_FARTHEST, _FARTHEST_IN_UNITS = 1e30, 1e60

#: Statistics of a draw under the package's names, and what the samplers call them. Units: log
#: density and energy in nats, n_steps in gradients, the others without.
STATISTICS = {
    "log_density": ("logp", "lp"),
    "log_likelihood": ("log_likelihood",),
    "diverging": ("diverging",),
    "tree_depth": ("depth", "tree_depth"),
    "n_steps": ("n_steps",),
    "step_size": ("step_size_bar", "step_size"),
    "energy": ("energy",),
    "acceptance_rate": ("mean_tree_accept", "acceptance_rate"),
}
#: What is kept of a sampler's statistics.
KEPT = {alias for aliases in STATISTICS.values() for alias in aliases}


@dataclass(frozen=True, eq=False)
class Draws:
    """Draws of the parameters, and what the sampler says of them.

    Attributes
    ----------
    parameters
        Name → (chain, draw, component, ...), on the model's scale.
    statistics
        Name, as the sampler calls it → (chain, draw).
    chains
        Numbers of the chains, (chain,).
    attrs
        What else is to be kept: seconds, whether it was interrupted, how far to trust it.
    """

    parameters: Mapping[str, np.ndarray]
    statistics: Mapping[str, np.ndarray]
    chains: np.ndarray
    attrs: dict[str, str | float] = field(default_factory=dict)


def statistics_of(stats: xr.Dataset) -> dict[str, np.ndarray]:
    """What `STATISTICS` knows of a sampler's `sample_stats`, in memory, each (chain, draw)."""
    # NumPyro's statistics are JAX arrays.
    return {name: np.asarray(stats[name].transpose(CHAIN, DRAW)) for name in KEPT if name in stats}


def normalised(draws: Draws, spec: ModelSpec) -> xr.DataTree:
    """The groups `posterior` and `sample_stats`, named alike whatever ran.

    Raises
    ------
    SamplingError
        If a chain went where parameters, or powers of their products, leave float64.
    """
    _refuse_lost(draws, spec)
    dims = parameter_dims(spec)
    values = {
        name: unit_diagonal(value) if spec.parameters[name].role == "correlation" else value
        for name, value in draws.parameters.items()
    }
    n_draws = next(iter(values.values())).shape[1]
    index = {CHAIN: np.asarray(draws.chains), DRAW: np.arange(n_draws)}
    posterior = xr.Dataset(
        {name: ((CHAIN, DRAW, *dims[name]), value) for name, value in values.items()},
        coords=index | parameter_coords(spec),
    )
    statistics = {}
    for name, aliases in STATISTICS.items():
        found = [alias for alias in aliases if alias in draws.statistics]
        if found:
            statistics[name] = ((CHAIN, DRAW), np.asarray(draws.statistics[found[0]]))
    stats = xr.Dataset(statistics, coords=index)
    tree = xr.DataTree.from_dict({"posterior": posterior, "sample_stats": stats})
    tree.attrs |= {"partial": 0} | draws.attrs
    return tree


def _refuse_lost(draws: Draws, spec: ModelSpec) -> None:
    lost: set[int] = set()
    names = []
    farthest = _FARTHEST if spec.standardize else _FARTHEST_IN_UNITS
    for name, values in draws.parameters.items():
        good = within(values, spec.parameters[name], farthest)
        kept = good.all(axis=tuple(range(1, values.ndim)))
        lost |= set(np.asarray(draws.chains)[~kept].tolist())
        names += [] if kept.all() else [name]
    if lost:
        noun = "Chain" if len(lost) == 1 else "Chains"
        remedy = (
            "give them priors with lighter tails"
            if spec.standardize
            else "state priors in the columns' units, or let columns be standardised"
        )
        raise SamplingError(
            f"{noun} {', '.join(map(str, sorted(lost)))} went to values of {', '.join(names)} "
            f"whose products leave float64; {remedy}."
        )


def parameter_coords(spec: ModelSpec) -> dict[str, np.ndarray]:
    """Coordinates of the dims that the parameters have, besides chain and draw."""
    coords = {dim: np.asarray(own, dtype=str) for dim, own in spec.entries.items()}
    coords[COMPONENT] = np.arange(spec.n_clusters)
    return {dim: coords[dim] for dims in parameter_dims(spec).values() for dim in dims}
