"""Log posterior densities of many points, without gradients."""

from collections.abc import Iterable
from itertools import pairwise

import numpy as np
from threadpoolctl import threadpool_limits

from jointmix.base.machine import available_cores
from jointmix.base.threads import on_cores
from jointmix.families.compiling import jit
from jointmix.families.loops import SUMS, log_sums
from jointmix.families.protocol import Block
from jointmix.families.steps import Products
from jointmix.kernel.prior import forward
from jointmix.kernel.records import (
    blocks_of,
    header_of,
    parameters_of,
    pattern_of,
    weights_of,
)
from jointmix.kernel.sweep import prepare, reduce, rooms, shares, subtract_terms
from jointmix.kernel.values import parameters
from jointmix.model.dataset import Dataset
from jointmix.model.packing import packed

#: Rows, and components of points, of which products are made at a time.
_TILE, _COMPONENTS = 512, 256
#: Rows and columns from which products pay: 1.1 to 2.3 times as fast, below .7 to 1.1 times.
_LEAST_ROWS, _LEAST_COLUMNS = 4000, 6
#: Points at which products are held against the kernel, and by how much of N + |log density| they
#: may differ: where clusters are narrow and far from zero, what is rounded off is more.
_TRIED, _MOST_ERROR = 4, 1e-11


@jit(inner=False, fastmath=SUMS)
def _densities(problem: np.ndarray, points: np.ndarray, with_rows: bool, out: np.ndarray) -> None:
    """Log densities (point,) of unconstrained values (point, dim), or those of the prior alone."""
    header = header_of(problem)
    table, k = parameters_of(problem, header), header.n_clusters
    values = np.empty(header.n_values)
    for p in range(points.shape[0]):
        for i in range(values.size):
            values[i] = problem[header.known + i]
        out[p] = header.constant + forward(problem, table, k, points[p], values)
        if not with_rows:
            continue
        out[p] += _likelihood(problem, header, values)
        for i in range(header.n_patterns):
            own = pattern_of(problem, header, i)
            reduce(problem, own, k, values)
            out[p] += _likelihood(problem, own, values)


@jit(inner=False, fastmath=SUMS)
def _likelihood(problem, header, values):  # type: ignore[no-untyped-def]
    """The log likelihood of the rows that one header has."""
    blocks, k, n, length = (
        blocks_of(problem, header),
        header.n_clusters,
        header.n_rows,
        header.length,
    )
    n_state, _, n_kept, n_scratch = rooms(blocks, k)
    state, kept = np.empty(n_state), np.empty(n_kept * length)
    scratch, terms, constant = np.empty(n_scratch * length), np.empty((k, length)), np.empty(k)
    work, bits = np.empty(length), np.empty(length, dtype=np.int64)
    for c in range(k):
        constant[c] = values[c]
    for i in range(blocks.size):
        prepare(problem, blocks[i], k, values, state, constant)
    total = 0.0
    for start in range(0, n, length):
        m = min(length, n - start)
        for c in range(k):
            for b in range(m):
                terms[c, b] = constant[c]
        for i in range(blocks.size):
            subtract_terms(problem, blocks[i], start, m, length, state, kept, scratch, terms)
        weights = weights_of(problem, header, start, m)
        if header.alternatives > 1:
            total += shares(header, terms, work, bits, m, weights)
        else:
            total += log_sums(terms, work, bits, m, weights)
    return total


def densities(problem: np.ndarray, points: np.ndarray, cores: int | None = None) -> np.ndarray:
    """Log posterior densities of unconstrained values.

    Parameters
    ----------
    problem
        As `problem.make_problem` returns it.
    points
        Shape (point, dim).
    cores
        Threads at a time; None takes what the machine has.

    Returns
    -------
    numpy.ndarray
        Shape (point,), natural logs.
    """
    points = np.ascontiguousarray(points, dtype=float)
    found = np.empty(len(points))
    n_parts = min(cores or available_cores(), max(len(points), 1))
    edges = np.linspace(0, len(points), n_parts + 1).astype(int)
    parts = [slice(first, last) for first, last in pairwise(edges)]
    on_cores(lambda part: _densities(problem, points[part], True, found[part]), parts, n_parts)
    return found


def prior_densities(problem: np.ndarray, points: np.ndarray) -> np.ndarray:
    """Log densities (point,) of the prior alone, such that `densities` adds the likelihood."""
    points = np.ascontiguousarray(points, dtype=float)
    found = np.empty(len(points))
    _densities(problem, points, False, found)
    return found


@jit(inner=False, fastmath=SUMS)
def _add_up(terms: np.ndarray, k: int, weights: np.ndarray, out: np.ndarray) -> None:
    """Add Σ_n w_n log Σ_k exp(terms) of log terms (point · component, row) to out (point,)."""
    n = terms.shape[1]
    work, bits = np.empty(n), np.empty(n, dtype=np.int64)
    for p in range(out.size):
        out[p] += log_sums(terms[p * k : (p + 1) * k], work, bits, n, weights)


class SquaredDensity:
    """Log posterior densities where all blocks are sums of squares, by matrix products.

    A component's log density of a row w = (1, columns) is then linear in the products w w', which
    are made once for all points. Where rounding shows at the first points the kernel takes over.

    Parameters
    ----------
    dataset
        The model and its rows, none with missing entries.
    problem
        As `problem.make_problem` returns it for these.
    """

    def __init__(self, dataset: Dataset, problem: np.ndarray) -> None:
        self._dataset, self._problem = dataset, problem
        self._exact: bool | None = None

    @staticmethod
    def pays(dataset: Dataset) -> bool:
        """Whether it can be had of a model and its rows, and takes less time than the kernel."""
        spec = dataset.spec
        return (
            len(dataset.values) >= _LEAST_ROWS
            and len(spec.columns) >= _LEAST_COLUMNS
            and all(type(block).squares is not Block.squares for block in spec.blocks)
            and dataset.rows.complete
        )

    def __call__(self, points: np.ndarray, cores: int | None = None) -> np.ndarray:
        """As `densities`; NaN where a density cannot be computed so."""
        if self._exact is None and len(points):
            some = points[:_TRIED]
            found, expected = self._found(some, cores), densities(self._problem, some, cores)
            scale = len(self._dataset.values) + np.abs(expected)
            error = np.abs(found - expected) / scale
            self._exact = bool((error[np.isfinite(expected)] <= _MOST_ERROR).all())
        if not self._exact:
            return densities(self._problem, points, cores)
        return self._found(points, cores)

    def _found(self, points: np.ndarray, cores: int | None) -> np.ndarray:
        found = prior_densities(self._problem, points)
        try:
            with np.errstate(all="ignore"):
                coefficients = self._coefficients(points)
        except np.linalg.LinAlgError:
            # Far out a covariance can be singular, or no number.
            return densities(self._problem, points, cores)
        # As many at a time whatever the cores, so that sums are the same to the last bit.
        size = max(1, _COMPONENTS // self._dataset.spec.n_clusters)
        groups = [slice(first, first + size) for first in range(0, len(points), size)]
        n_parts = min(cores or available_cores(), len(groups))
        parts = [groups[part::n_parts] for part in range(n_parts)]
        with threadpool_limits(1):
            on_cores(lambda part: self._add(coefficients, part, found), parts, n_parts)
        return found

    def _coefficients(self, points: np.ndarray) -> np.ndarray:
        """Of products of rows, (point, component, pair)."""
        spec = self._dataset.spec
        at = packed(parameters(self._problem, spec, points), spec)
        squares = [block.squares(at) for block in spec.blocks]
        form = np.concatenate([own[0] for own in squares if own is not None], axis=-2)
        constant = sum((own[1] for own in squares if own is not None), np.log(at.weight))
        matrix = -np.swapaxes(form, -1, -2) @ form
        i, j = np.triu_indices(matrix.shape[-1])
        # What is beside the diagonal stands for two.
        found = matrix[..., i, j] * np.where(i == j, 0.5, 1.0)
        found[..., 0] += constant
        return np.asarray(found)

    def _add(self, coefficients: np.ndarray, groups: Iterable[slice], out: np.ndarray) -> None:
        k, pairs = coefficients.shape[1:]
        values, weight = self._dataset.scaled, self._dataset.rows.weight
        products = Products(values)
        for first in range(0, len(values), _TILE):
            some = slice(first, first + _TILE)
            tile = products.made(some)
            weights = np.empty(0) if weight is None else weight[some]
            for group in groups:
                with np.errstate(all="ignore"):
                    terms = coefficients[group].reshape(-1, pairs) @ tile
                _add_up(terms, k, weights, out[group])
