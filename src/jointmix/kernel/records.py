"""The named records of a problem, and where one stands in its array of doubles."""

import weakref
from typing import Any

import numpy as np

from jointmix.families.compiling import doubles_at, jit

#: Kinds of transforms from the unconstrained q to values.
SIMPLEX, CONE, POSITIVE, VINE, LINE = range(5)
#: Kinds of outputs: values as they are, their exponentials, or FF' of factors F.
COPY, EXPONENTIAL, PRODUCT = range(3)


def _record(whole: str, real: str = "") -> np.dtype:
    fields = [(name, np.int64) for name in whole.split()]
    return np.dtype((np.record, fields + [(name, np.float64) for name in real.split()]))


# Places are indices of the problem's array; those of values, of the vector of values. Rows and
# their weights lie elsewhere, by their address: many problems have the same.

#: Sizes, places of the tables and arrays, the address of the rows' weights (0 where there are
#: none), and the sum of all constants. Rows with missing entries follow pattern by
#: pattern, each with a header of its own that has rows, blocks, and the `reductions` behind them;
#: of `alternatives` rows side by side the densities are added.
HEADER = _record(
    "n_doubles dim n_values n_clusters n_rows length parameters n_parameters blocks n_blocks "
    "outputs n_outputs known whitened shift stretch predicted weights patterns n_patterns "
    "reductions n_reductions alternatives",
    "constant",
)
#: A block without some features: its family's functions and what they are told; where component 0's
#: values, and those of the features, are, and where those of what is left go, with their numbers.
REDUCTION = _record("reduce extend told value n_values features n_features left n_left")
#: One free parameter: its transform, the place of its n_rows × n_columns values in q, and where
#: they go: component c's `width` values begin at value + c step. One row or column serves all.
#: Then what some transforms need: `side` of matrices; `reflection` and `columns` of locations and
#: whether they are `ordered`; `source` (every `source_step`) and `centre` of a line. Then the
#: coefficients of its prior, as `families.priors.rows` names them.
PARAMETER = _record(
    "transform q n_rows n_columns value step width side reflection columns ordered source "
    "source_step centre",
    "concentration power linear factor exponent curvature middle tail inner",
)
#: One location in units ξ of its prior: component c's is loc + scale ξ, at value + c step.
COLUMN = _record("value step", "loc scale df")
#: One block: addresses of its family's functions, place of its setup, address of its rows; places
#: of component 0's values, state, sums and kept rows, and the numbers of each that a component has.
BLOCK = _record(
    "prepare terms sums pullback setup rows n_columns value n_values state n_state summed n_sums "
    "kept n_kept n_scratch"
)
#: One parameter as it is given out: component c's `width` values begin at value + c step.
OUTPUT = _record("kind value step width side")
#: What a response's family says of predictions: addresses, and the numbers of a part.
PREDICTED = _record("parts moments distribution distance n_part whole")

HEADER_SIZE = HEADER.itemsize // 8
_PARAMETER, _COLUMN, _BLOCK, _OUTPUT, _PREDICTED, _REDUCTION = (
    kind.itemsize // 8 for kind in (PARAMETER, COLUMN, BLOCK, OUTPUT, PREDICTED, REDUCTION)
)


@jit()
def header_of(problem):  # type: ignore[no-untyped-def]
    """The problem's header."""
    return problem[:HEADER_SIZE].view(HEADER)[0]


@jit()
def pattern_of(problem, header, i):  # type: ignore[no-untyped-def]
    """The header of a pattern of missing entries."""
    first = header.patterns + i * HEADER_SIZE
    return problem[first : first + HEADER_SIZE].view(HEADER)[0]


@jit()
def reductions_of(problem, header):  # type: ignore[no-untyped-def]
    """The table of blocks without some features."""
    n = header.n_reductions * _REDUCTION
    return problem[header.reductions : header.reductions + n].view(REDUCTION)


@jit()
def weights_of(problem, header, start, m):  # type: ignore[no-untyped-def]
    """The weights of m rows, empty where there are none."""
    if header.weights == 0:
        return problem[:0]
    return doubles_at(header.weights + 8 * start, m)


@jit()
def rows_of(block, start, m):  # type: ignore[no-untyped-def]
    """A block's columns of m rows from a tile's first on, one column after another."""
    return doubles_at(block.rows + 8 * start * block.n_columns, m * block.n_columns)


@jit()
def parameters_of(problem, header):  # type: ignore[no-untyped-def]
    """The table of free parameters."""
    n = header.n_parameters * _PARAMETER
    return problem[header.parameters : header.parameters + n].view(PARAMETER)


@jit()
def columns_of(problem, row):  # type: ignore[no-untyped-def]
    """The columns of a row of locations."""
    return problem[row.columns : row.columns + row.n_columns * _COLUMN].view(COLUMN)


@jit()
def blocks_of(problem, header):  # type: ignore[no-untyped-def]
    """The table of blocks."""
    return problem[header.blocks : header.blocks + header.n_blocks * _BLOCK].view(BLOCK)


@jit()
def outputs_of(problem, header):  # type: ignore[no-untyped-def]
    """The table of outputs."""
    return problem[header.outputs : header.outputs + header.n_outputs * _OUTPUT].view(OUTPUT)


@jit()
def predicted_of(problem, header):  # type: ignore[no-untyped-def]
    """What the response's family says of predictions."""
    return problem[header.predicted : header.predicted + _PREDICTED].view(PREDICTED)[0]


class Tape:
    """A problem as it grows: parts one after another behind the header."""

    def __init__(self) -> None:
        self._parts: list[np.ndarray] = []
        self._size = HEADER_SIZE
        self._beside: list[np.ndarray] = []

    def add(self, part: np.ndarray) -> int:
        """Append numbers or records; returns the place where they begin."""
        flat = np.ascontiguousarray(part).reshape(-1).view(np.float64)
        self._parts.append(flat)
        self._size += flat.size
        return self._size - flat.size

    def beside(self, part: np.ndarray) -> int:
        """Keep numbers that are not copied as long as the problem lives; returns their address."""
        self._beside.append(np.ascontiguousarray(part, dtype=np.float64))
        return int(self._beside[-1].ctypes.data)

    def table(self, kind: np.dtype, rows: list[dict[str, Any]]) -> int:
        """Append a table of records; what a row does not name is 0."""
        table = np.zeros(len(rows), dtype=kind)
        for i, row in enumerate(rows):
            for name, value in row.items():
                table[name][i] = value
        return self.add(table)

    def problem(self, **header: float) -> np.ndarray:
        """The whole array, of doubles, with its header."""
        head = np.zeros(1, dtype=HEADER)
        for name, value in {**header, "n_doubles": self._size}.items():
            head[name] = value
        whole = np.concatenate([head.view(np.float64), *self._parts])
        weakref.finalize(whole, self._beside.clear).atexit = False
        return whole
