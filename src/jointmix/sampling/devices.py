"""The log posterior density on JAX's devices, the rows spread over all of them.

Each device holds its own part of the rows and of nothing else: the density is the sum of the
devices' sums, which is all that they tell each other (data parallelism; `jax.shard_map`).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial
from typing import Any

import numpy as np
import pytensor.tensor as pt
from pytensor.graph.replace import clone_replace

from jointmix.families.rows import Gaps
from jointmix.model.dataset import Dataset
from jointmix.model.graph import COUNTS, Likelihood, data_arrays, mixture_model
from jointmix.model.patterned import row_densities
from jointmix.sampling.backends import n_devices, pymc_jax
from jointmix.sampling.jaxified import LogDensity, splitter

#: The one axis of the devices.
AXIS = "rows"
#: Points whose densities are computed by one call, and numbers of a device at the same time.
_AT_ONCE, _NUMBERS = 64, 2**22


@dataclass(frozen=True, eq=False)
class Spread:
    """Where rows lie: those of one device side by side, by what they miss.

    Attributes
    ----------
    taken
        Places in the table of the rows as they lie, (device · row,); of what fills up, any.
    real
        Which are rows, and do not fill up, (device · row,).
    patterns
        Rows of one device by what they miss, the same for all devices.
    """

    taken: np.ndarray
    real: np.ndarray
    patterns: tuple[Gaps, ...]


def spread(patterns: Sequence[Gaps], n: int) -> Spread:
    """Equally many rows of each pattern on each of n devices, filled up with rows of no weight."""
    taken, real, own, first = [], [], [], 0
    for part in patterns:
        size = -(-len(part.place) // n)
        number = np.arange(n * size).reshape(n, size)
        real.append(number < len(part.place))
        taken.append(part.place[np.where(real[-1], number, 0)])
        own.append(replace(part, place=np.arange(first, first + size)))
        first += size
    return Spread(np.hstack(taken).ravel(), np.hstack(real).ravel(), tuple(own))


@dataclass(frozen=True, eq=False)
class DeviceDensity:
    """A model's log posterior density given rows that lie on JAX's devices, with 64 bits.

    Parameters
    ----------
    dataset, direction
        The model and its rows, and along what its components are ordered, if they are.
    devices
        Over how many of JAX's devices the rows are spread; see `backends.n_devices`.

    Examples
    --------
    >>> density = DeviceDensity(dataset, None, n_devices(completed=False))
    >>> log_p = density.log_densities(points)
    """

    dataset: Dataset
    direction: np.ndarray | None
    devices: int

    @cached_property
    def spread(self) -> Spread:
        """Where the rows lie."""
        return spread(self.dataset.rows.patterns, self.devices)

    @cached_property
    def mesh(self) -> Any:
        """The devices in a row, a `jax.sharding.Mesh`."""
        import jax

        return jax.sharding.Mesh(np.array(jax.devices()[: self.devices]), (AXIS,))

    @cached_property
    def data(self) -> tuple[Any, ...]:
        """The model's data as arrays on the devices, the rows' weights last.

        Each host puts on its own devices the rows that are theirs.
        """
        import jax

        lying = jax.sharding.NamedSharding(self.mesh, jax.sharding.PartitionSpec(AXIS))
        arrays = data_arrays(self.dataset)
        weight = arrays.pop(COUNTS, np.ones(len(self.dataset.values)))
        found = [np.ascontiguousarray(array[self.spread.taken]) for array in arrays.values()]
        found.append(np.where(self.spread.real, weight[self.spread.taken], 0.0))
        with jax.enable_x64(True):
            return tuple(
                jax.make_array_from_callback(array.shape, lying, array.__getitem__)
                for array in found
            )

    @cached_property
    def log_density(self) -> LogDensity:
        """JAX function of unconstrained values (dim,) and `data`: the log density, a scalar.

        It is to be made, by asking for it, before a function that calls it is traced.
        """
        import jax
        import jax.numpy as jnp

        prior, terms = _jaxified(self.dataset, self.direction, self.spread)
        every = jax.sharding.PartitionSpec()

        @partial(
            jax.shard_map,
            mesh=self.mesh,
            in_specs=(every, jax.sharding.PartitionSpec(AXIS)),
            out_specs=every,
            # Followed through the graph, what varies by device would make of its sizes variables.
            check_vma=False,
        )
        def likelihood(position: Any, data: Sequence[Any]) -> Any:
            # A row that fills up may have no density: nothing times 0 would be NaN.
            own = jnp.where(data[-1] > 0, terms(position, data), 0.0)
            return jax.lax.psum(own.sum(), AXIS)

        return lambda position, *data: prior(position) + likelihood(position, data)

    def log_densities(self, points: np.ndarray) -> np.ndarray:
        """Log densities (point,) of unconstrained values (point, dim)."""
        import jax

        points, found = np.asarray(points, dtype=float), np.empty(len(points))
        with jax.enable_x64(True):
            for first in range(0, len(points), _AT_ONCE):
                part = points[first : first + _AT_ONCE]
                # Of one size, so that one program serves all.
                filled = np.resize(part, (_AT_ONCE, points.shape[1]))
                found[first : first + _AT_ONCE] = self._of_many(filled, self.data)[: len(part)]
        return found

    @cached_property
    def _of_many(self) -> Callable[..., Any]:
        import jax

        terms = len(self.dataset.columns) * self.dataset.spec.n_clusters
        rows = len(self.spread.taken) // self.devices
        size = int(np.clip(_NUMBERS // (terms * rows), 1, _AT_ONCE))
        # Before anything is traced: constants made meanwhile would be the trace's.
        log_density = self.log_density

        @jax.jit
        def of_many(points: Any, data: Sequence[Any]) -> Any:
            return jax.lax.map(lambda q: log_density(q, *data), points, batch_size=size)

        return of_many


def density_of(dataset: Dataset, direction: np.ndarray | None) -> DeviceDensity:
    """A model's density with its rows on as many devices as there are for them."""
    return DeviceDensity(dataset, direction, n_devices(dataset.completed))


def _jaxified(
    dataset: Dataset, direction: np.ndarray | None, lying: Spread
) -> tuple[LogDensity, Callable[[Any, Sequence[Any]], Any]]:
    """JAX functions of the prior's log density, a scalar, and of each row's, as often as it counts.

    The second is given unconstrained values (dim,) and data as `DeviceDensity.data` has them.
    """
    import jax

    get_jaxified_graph = pymc_jax().get_jaxified_graph
    likelihood: Likelihood | None = None
    if not dataset.rows.complete:
        likelihood = partial(row_densities, lying.patterns)
    model = mixture_model(dataset, direction, "dot", likelihood)
    own_rows = sum(len(part.place) for part in lying.patterns)
    arrays = data_arrays(dataset)
    # With sizes that are known: sizes read from data cannot be those of JAX's arrays.
    given = {
        model[name]: pt.tensor(dtype="float64", shape=(own_rows, *array.shape[1:]))
        for name, array in arrays.items()
    }
    with jax.enable_x64(True):
        prior = get_jaxified_graph(model.value_vars, [model.logp(vars=model.free_RVs)])
        (own,) = model.logp(vars=model.observed_RVs, sum=False)
        rows = clone_replace([own], given, rebuild_strict=False)
        each = get_jaxified_graph([*model.value_vars, *given.values()], rows)
    split, n = splitter(model), len(given)
    return (
        lambda position: prior(*split(position))[0],
        lambda position, data: each(*split(position), *data[:n])[0],
    )
