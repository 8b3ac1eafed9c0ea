"""nutpie's traces, one a chain: what of them is finished, as draws."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import xarray as xr

from jointmix.base.errors import SamplingError
from jointmix.base.schema import CHAIN, DRAW
from jointmix.kernel.problem import free_parameters
from jointmix.model.spec import ModelSpec
from jointmix.sampling.control import LEAST_DRAWS
from jointmix.sampling.result import KEPT, Draws, statistics_of
from jointmix.sampling.target import Target

TOO_EARLY = "Interrupted before the first draws were finished."

#: What nutpie returns of single chains, by their numbers.
type Traces = Mapping[int, xr.DataTree]


def as_tree(found: Any) -> xr.DataTree:
    """What a run of nutpie returned of one chain: draws after warm-up, and what is kept of them.

    nutpie's own tree, or its columns as they are in memory.
    """
    if isinstance(found, xr.DataTree):
        return found
    (draws,), (stats,) = found.get_arrow_trace()
    n_tune = int(stats.column("tuning").to_numpy().sum())
    known = [name for name in stats.column_names if name in KEPT]
    groups = {"posterior": (draws, draws.column_names), "sample_stats": (stats, known)}
    return xr.DataTree.from_dict(
        {
            group: xr.Dataset({name: _variable(batch, name, n_tune) for name in names})
            for group, (batch, names) in groups.items()
        }
    )


def _variable(batch: Any, name: str, n_tune: int) -> xr.Variable:
    """A column after warm-up, (chain, draw, ...)."""
    import pyarrow as pa

    column = batch.column(name)
    described = (column.field.metadata or {}).get(b"shape", b"").decode()
    shape = [int(size) for size in described.split(",") if size]
    values = pa.array(column)
    if shape:
        values = values.flatten()
    array = values.to_numpy(zero_copy_only=False).reshape(batch.num_rows, *shape)[n_tune:]
    dims = (CHAIN, DRAW, *(f"{name}_dim_{place}" for place in range(len(shape))))
    return xr.Variable(dims, array[None])


def finished(traces: Traces) -> dict[int, xr.DataTree]:
    """As many draws as possible of chains that were stopped, equally many of each that is kept.

    Chains run a few at a time: some may not have begun when others are done.

    Raises
    ------
    KeyboardInterrupt
        If there are fewer than four.
    """
    done = {chain: written(tree) for chain, tree in traces.items()}
    longest = np.sort([0, *done.values()])[::-1]
    n_draws = int(longest[(longest * np.arange(1, len(longest) + 1)).argmax()])
    if n_draws < LEAST_DRAWS:
        raise KeyboardInterrupt(TOO_EARLY)
    return {
        chain: traces[chain].isel({DRAW: slice(0, n_draws)})
        for chain in sorted(done)
        if done[chain] >= n_draws
    }


def written(tree: xr.DataTree) -> int:
    """How many draws of a chain are there, up to the first that lacks a number.

    A killed run has written some variables of its last draws to its stream, and others not yet.
    """
    there = np.isfinite(tree["sample_stats"].to_dataset()["logp"].values[0])
    # Of a stream, more than what has been drawn would take minutes to look through.
    begun = slice(0, int(there.sum()))
    stats = tree["sample_stats"].to_dataset().isel({DRAW: begun})
    numbers = [stats[name] for name in ("energy", "step_size_bar") if name in stats]
    for name in ("posterior", "unconstrained_posterior"):
        if name in tree.children:
            numbers += tree[name].to_dataset().isel({DRAW: begun}).data_vars.values()
    for values in numbers:
        there[begun] &= np.isfinite(values.values[0]).all(axis=tuple(range(1, values.ndim - 1)))
    if "n_steps" in stats:
        # Whole numbers that were not written are read as 0.
        there[begun] &= stats["n_steps"].values[0] > 0
    return int(np.cumprod(there).sum())


def draws_of(traces: Traces, target: Target) -> Draws:
    """Parameters and statistics of chains with as many draws each, as arrays in memory."""
    return together([_draws(chain, tree, target) for chain, tree in traces.items()])


def together(chains: Sequence[Draws]) -> Draws:
    """Chains with as many draws each as one."""
    first = chains[0]
    return Draws(
        {name: np.concatenate([own.parameters[name] for own in chains])
         for name in first.parameters},
        {name: np.concatenate([own.statistics[name] for own in chains])
         for name in first.statistics},
        np.concatenate([own.chains for own in chains]),
    )  # fmt: skip


def kept_draws(traces: Traces, target: Target) -> Draws:
    """Draws of streams that a run left behind, marked partial.

    Raises
    ------
    SamplingError
        If fewer than four draws of a chain were written.
    """
    try:
        whole = finished(traces)
    except KeyboardInterrupt as error:
        raise SamplingError("The stream holds fewer than four finished draws.") from error
    draws = draws_of(whole, target)
    draws.attrs["partial"] = 1
    return draws


def _draws(chain: int, tree: xr.DataTree, target: Target) -> Draws:
    stats = tree["sample_stats"].to_dataset()
    posterior = tree["posterior"].to_dataset()
    if set(target.spec.shapes) <= set(posterior.data_vars):
        parameters = {name: posterior[name].values for name in target.spec.shapes}
    else:
        parameters = target.parameters(_unconstrained(tree, target.spec))
    return Draws(parameters, statistics_of(stats), np.full(stats.sizes[CHAIN], chain))


def _unconstrained(tree: xr.DataTree, spec: ModelSpec) -> np.ndarray:
    """The sampler's values of the PyMC model's variables, (chain, draw, dim)."""
    names = ("posterior", "unconstrained_posterior")
    groups = [tree[name].to_dataset() for name in names if name in tree.children]
    found = {str(name): group[name].values for group in groups for name in group.data_vars}
    parts = []
    for parameter in free_parameters(spec):
        name = next(name for name in found if name.startswith(parameter.name))
        parts.append(found[name].reshape(*found[name].shape[:2], parameter.size))
    return np.concatenate(parts, axis=-1)
