"""The second door to the kernel: its log likelihood of the rows inside a PyMC model.

Whoever changes a prior of the PyMC model then samples at the kernel's speed all the same.
"""

import ctypes
from collections.abc import Sequence
from dataclasses import replace
from functools import cache, partial
from typing import Any

import numpy as np
import pytensor.tensor as pt
from numba import carray, types
from pymc import Model
from pytensor.gradient import DisconnectedType, disconnected_type, grad_not_implemented
from pytensor.graph.basic import Apply
from pytensor.graph.op import Op
from pytensor.link.numba.dispatch.basic import numba_njit, register_funcify_and_cache_key
from pytensor.tensor.variable import TensorVariable

from jointmix.families import protocol
from jointmix.families.compiling import c_function, call
from jointmix.families.graph import Values, compiled_rows, graph_of
from jointmix.families.rows import Gaps, Rows
from jointmix.kernel.blocks import Block, add_blocks, compiled_blocks, n_values, places
from jointmix.kernel.problem import known_values
from jointmix.kernel.records import BLOCK, HEADER, HEADER_SIZE, Tape, blocks_of, header_of
from jointmix.kernel.sweep import sweep
from jointmix.model import graph
from jointmix.model.component import Product, joined_rows, rows_by_role
from jointmix.model.dataset import as_dataset
from jointmix.model.patterned import left_blocks, row_densities
from jointmix.model.spec import ModelSpec

_DOUBLES = types.CPointer(types.float64)
#: Roles of parameters in whose logarithms the kernel has gradients.
_POSITIVE = ("scale", "shape")
_POINTER = ctypes.POINTER(ctypes.c_double)
ROW_SUM = types.float64(_DOUBLES, _DOUBLES, types.int64, _DOUBLES, _DOUBLES)


def _row_sum(tables, data, size, values, gradient):  # type: ignore[no-untyped-def]
    """The log likelihood of the rows in data (size,), and its gradient (value,).

    Data are as long as the tables, with the same setups, and then the rows, block by block.
    """
    # Then the rows' weights, where the tables have a place for them.
    n_tables = int(carray(tables, (HEADER_SIZE,)).view(HEADER)[0].n_doubles)
    own = carray(tables, (n_tables,)).copy()
    header = header_of(own)
    blocks, place = blocks_of(own, header), n_tables
    rows = carray(data, (int(size),))
    start = np.int64(rows.ctypes.data)
    n_columns = 0 if header.weights == 0 else 1
    for i in range(blocks.size):
        n_columns += blocks[i].n_columns
    header.n_rows = (size - n_tables) // n_columns
    for i in range(blocks.size):
        blocks[i].rows = start + 8 * place
        place += header.n_rows * blocks[i].n_columns
    if header.weights != 0:
        header.weights = start + 8 * place
    out = carray(gradient, (int(header.n_values),))
    for i in range(out.size):
        out[i] = 0.0
    given = carray(values, (int(header.n_values),))
    return sweep(rows, header, blocks, given, out)


@cache
def compiled() -> Any:
    """The compiled C function; from Numba's cache on disk if it was compiled before."""
    return c_function(ROW_SUM, _row_sum)


@cache
def _tables(blocks: tuple[Block, ...], k: int, weighted: bool) -> np.ndarray:
    """A problem without rows. It holds addresses: each process makes its own."""
    tape, empty = Tape(), np.zeros(0)
    weight = empty if weighted else None
    header = add_blocks(tape, blocks, k, [lambda *_: empty] * len(blocks), 0, weight=weight)
    return tape.problem(**header, n_values=n_values(blocks, k))


class RowSum(Op):
    """Σ_n w_n log Σ_k π_k p(row_n | k), and its gradient, in one pass over the rows.

    Inputs are the vector of values (value,), log weights first, and data (number,), as `_data`
    makes them; the gradient (value,) is in the logarithms of positive values.
    """

    __props__ = ("blocks", "n_clusters", "positive", "weighted")

    def __init__(
        self,
        blocks: tuple[Block, ...],
        n_clusters: int,
        positive: tuple[bool, ...],
        weighted: bool = False,
    ) -> None:
        self.blocks, self.n_clusters, self.positive = blocks, n_clusters, positive
        self.weighted = weighted

    @property
    def tables(self) -> np.ndarray:
        """The problem without rows."""
        return _tables(self.blocks, self.n_clusters, self.weighted)

    def make_node(self, values: TensorVariable, data: TensorVariable) -> Apply:
        """The log likelihood, and its gradient."""
        return Apply(self, [values, data], [pt.dscalar(), values.type()])

    def perform(self, _node: Apply, inputs: Sequence[np.ndarray], outputs: list[list[Any]]) -> None:
        """By a call of the C function."""
        values, data = (np.ascontiguousarray(each) for each in inputs)
        tables, gradient = self.tables, np.empty_like(values)
        at = [each.ctypes.data_as(_POINTER) for each in (tables, data, values, gradient)]
        total = compiled().ctypes(at[0], at[1], data.size, at[2], at[3])
        outputs[0][0], outputs[1][0] = np.asarray(total), gradient

    def connection_pattern(self, _node: Apply) -> list[list[bool]]:
        """Rows have no derivatives."""
        return [[True, True], [False, False]]

    def pullback(
        self,
        inputs: Sequence[TensorVariable],
        outputs: Sequence[TensorVariable],
        cotangents: Sequence[TensorVariable],
    ) -> list[TensorVariable]:
        """The gradient in the values, where they are positive by their logarithms'."""
        values, slope = inputs[0], outputs[1]
        if not isinstance(cotangents[1].type, DisconnectedType):
            return [grad_not_implemented(self, 0, values, "no second derivatives"),
                    disconnected_type()]  # fmt: skip
        by = pt.switch(np.array(self.positive), values, 1.0)
        return [cotangents[0] * slope / by, disconnected_type()]


@register_funcify_and_cache_key(RowSum)
def _funcify(op: RowSum, **_: Any) -> tuple[Any, None]:
    """The same for Numba: the C function by its address, hence never kept on disk."""
    address, tables = int(compiled().address), op.tables

    @numba_njit
    def row_sum(values, data):  # type: ignore[no-untyped-def]
        given, rows = np.ascontiguousarray(values), np.ascontiguousarray(data)
        gradient = np.empty(values.size)
        total = call(address, tables, rows, rows.size, given, gradient)
        return np.asarray(total), gradient

    return row_sum, None


def _data(op: RowSum, columns: TensorVariable, counts: TensorVariable | None) -> TensorVariable:
    """Setups in their places, rows (obs, column) in tiles, block by block, and their weights."""
    tables, blocks = op.tables, op.blocks
    header = tables[:HEADER_SIZE].view(HEADER)[0]
    front = np.zeros_like(tables)
    rows = tables[header.blocks :][: len(blocks) * BLOCK.itemsize // 8].view(BLOCK)
    for row, block in zip(rows, blocks, strict=True):
        front[row.setup : row.setup + block.setup.size] = block.setup
    length, parts = int(header.length), [pt.as_tensor(front)]
    n_tiles = columns.shape[0] // length
    for block in blocks:
        own = columns[:, list(block.columns)]
        tiles = own[: n_tiles * length].reshape((n_tiles, length, len(block.columns)))
        parts += [tiles.transpose(0, 2, 1).ravel(), own[n_tiles * length :].T.ravel()]
    return pt.concatenate(parts if counts is None else [*parts, counts.ravel()])


def _likelihood(
    blocks: tuple[Block, ...],
    parts: Sequence[Gaps],
    spec: ModelSpec,
    weight: TensorVariable,
    values: Values,
    own: TensorVariable,
    extra: Sequence[TensorVariable],
    counts: TensorVariable | None,
) -> TensorVariable:
    """The rows' log likelihood, a scalar, one pattern of missing entries after the other.

    See `model.graph.Likelihood`; of complete rows there are no ``parts``.
    """
    if not parts:
        rows = rows_by_role(spec, joined_rows(spec, own, extra))
        left = [(block, values, rows) for block in spec.blocks]
        return _pattern_sum(blocks, spec, weight, left, counts)
    names, sums = dict(zip(spec.blocks, blocks, strict=True)), []
    for part in parts:
        if part.alternatives > 1:
            # The kernel's sum knows no completed rows.
            some = None if counts is None else counts[part.place]
            sums.append(row_densities((part,), spec, weight, values, own, extra, some).sum())
            continue
        left = list(left_blocks(part, spec, values, own, extra))
        known = tuple(names[block] for block, *_ in left)
        some = None if counts is None else counts[part.place]
        sums.append(_pattern_sum(known, spec, weight, left, some))
    return sum(sums[1:], sums[0])


def _pattern_sum(
    blocks: tuple[Block, ...],
    spec: ModelSpec,
    weight: TensorVariable,
    left: Sequence[tuple[protocol.Block, Values, Rows]],
    counts: TensorVariable | None,
) -> TensorVariable:
    """The log likelihood of rows that have the same entries, ``left`` of the model's blocks."""
    k, given, columns, placed, first = spec.n_clusters, {"weight": pt.log(weight)}, [], [], 0
    for known, (block, values, rows) in zip(blocks, left, strict=True):
        columns.append(compiled_rows(block, rows))
        last = first + columns[-1].type.shape[1]
        placed.append(replace(known, columns=tuple(range(first, last))))
        first = last
        named = getattr(graph_of(block), "compiled", None)
        if named:
            given |= named(block, values)
        else:
            given |= {p.name: values[p.name] for p in block.parameters}
    flat, found, positive = [], [], []
    for name, place in places(tuple(placed), k).items():
        parameter = spec.parameters.get(name)
        flat.append(given[name].ravel())
        found.append((place.first + place.step * np.arange(k)[:, None]) + np.arange(place.width))
        is_positive = parameter is not None and parameter.role in _POSITIVE
        positive.append(np.full(found[-1].size, is_positive))
    order = np.argsort(np.concatenate([each.ravel() for each in found]))
    vector = pt.concatenate(flat)[order]
    signs = tuple(np.concatenate(positive)[order].tolist())
    row_sum = RowSum(tuple(placed), k, signs, counts is not None)
    return row_sum(vector, _data(row_sum, pt.concatenate(columns, axis=1), counts))[0]


def build_model(
    table: object,
    spec: ModelSpec,
    direction: np.ndarray | None = None,
    product: Product = "sum",
    fused: bool = False,
) -> Model:
    """The model of a table as a `pymc.Model`, to look at, to change or to sample with PyMC.

    Parameters
    ----------
    table
        A pandas, polars or pyarrow table, a mapping of names to columns, a NumPy structured
        array, or a `Dataset` of them; the rows enter as data, so that one compiled model serves
        other rows, of missing entries those that miss the same in the same places.
    spec
        The model.
    direction
        Unit vector along which the components are ordered, shape (location,); None leaves
        labels free.
    product
        How ⟨W, Φ⟩ is computed where all densities are Gaussian: "sum" suits Numba, "dot" JAX.
    fused
        Whether the kernel computes the rows' log likelihood, with its gradient in one pass. It
        then is one sum, so that `pm.compute_log_likelihood` has nothing to say of single rows,
        and JAX cannot run it.

    Returns
    -------
    pymc.Model
        With a variable of each name in ``spec.parameters``, with the dim ``component`` and on the
        model's scale: that of standardised columns, unless ``standardize=False``.

    Raises
    ------
    DataError, ColumnTypeError, SpecError
        If the table does not suit the model, as `fit` says it, or the model is no specification.

    Examples
    --------
    A prior that `Priors` does not have: clusters with much the same noise.

    >>> import jointmix as jm
    >>> import pymc as pm
    >>> from jointmix.model.simulate import simulate
    >>> truth = jm.four_clusters()
    >>> table = simulate(truth, 200, seed=1)
    >>> spec = jm.ModelSpec(
    ...     n_clusters=4, features=truth.features, predictors=truth.predictors, response="y"
    ... )
    >>> with jm.build_model(table, spec, fused=True) as model:
    ...     ratio = pm.math.log(model["sigma"] / model["sigma"].mean())
    ...     similar = pm.Potential("similar", -50 * (ratio**2).sum())
    ...     trace = pm.sample(draws=20, tune=20, chains=1, random_seed=1, progressbar=False)
    >>> trace.posterior["sigma"].dims
    ('chain', 'draw', 'component')
    """
    dataset = as_dataset(table, spec)
    spec = dataset.spec
    if not fused:
        return graph.mixture_model(dataset, direction, product)
    known = known_values(spec, dataset.scaling)
    rows = dataset.rows
    blocks = compiled_blocks(spec.blocks, rows, known)
    likelihood = partial(_likelihood, blocks, () if rows.complete else rows.patterns)
    return graph.mixture_model(dataset, direction, product, likelihood)
