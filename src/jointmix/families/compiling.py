"""How compiled functions are made, kept on disk, and called by their address.

The kernel's core is compiled once and knows no family: a family's functions are C functions whose
addresses are data. All are called as

    prepare(setup, values, state)                       the log normalising constant
    terms(setup, state, rows, m, kept, scratch, out)    subtracts from m log densities
    sums(setup, state, rows, m, share, kept, scratch, sums)
    pullback(setup, values, state, count, sums, gradient)
    reduce(told, features, values, out)
    extend(told, features, values, out, of_out, of_features, of_values)

with pointers to doubles, whole numbers m and a double `count`; the shapes stand in `Family`.
Interpreted (NUMBA_DISABLE_JIT), an address is the place of a Python function in a list.
"""

import ctypes
import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path
from typing import Any

import numpy as np
from llvmlite import ir
from numba import carray, config, njit, types
from numba.core.caching import FunctionCache
from numba.core.ccallback import CFunc
from numba.core.registry import cpu_target
from numba.extending import intrinsic

#: Below families/: what compiled functions of other folders contain.
_SHARED = (
    *("compiling.py", "loops.py", "gamma_functions.py", "incomplete_gamma.py"),
    *("incomplete_beta.py", "orthogonal.py", "rising_rows.py"),
    *("membership/rows.py", "priors/rows.py"),
)
_DOUBLES, _WHOLE = types.CPointer(types.float64), types.int64
#: Signatures of a family's functions.
SIGNATURES = {
    "prepare": types.float64(_DOUBLES, _DOUBLES, _DOUBLES),
    "terms": types.float64(_DOUBLES, _DOUBLES, _DOUBLES, _WHOLE, _DOUBLES, _DOUBLES, _DOUBLES),
    "sums": types.float64(
        _DOUBLES, _DOUBLES, _DOUBLES, _WHOLE, _DOUBLES, _DOUBLES, _DOUBLES, _DOUBLES
    ),
    "pullback": types.float64(_DOUBLES, _DOUBLES, _DOUBLES, types.float64, _DOUBLES, _DOUBLES),
    "reduce": types.float64(_DOUBLES, _DOUBLES, _DOUBLES, _DOUBLES),
    "extend": types.float64(_DOUBLES, _DOUBLES, _DOUBLES, _DOUBLES, _DOUBLES, _DOUBLES, _DOUBLES),
    "parts": types.float64(_DOUBLES, _DOUBLES, _DOUBLES, _WHOLE, _DOUBLES),
    "moments": types.float64(_DOUBLES, _DOUBLES),
    "distribution": types.float64(types.float64, _WHOLE, _DOUBLES, _DOUBLES, _DOUBLES),
    "distance": types.float64(types.float64, types.float64),
}


@cache
def source_digest(folder: Path) -> str:
    """SHA-256 of the source files that a compiled function of this folder may contain.

    A compiled function contains those that it calls, from other files too; Numba looks for
    changes in its own file alone.
    """
    shared = [Path(__file__).parent / name for name in _SHARED]
    digest = hashlib.sha256()
    for path in (*sorted(folder.glob("*.py")), *shared):
        digest.update(path.read_bytes())
    return digest.hexdigest()


def jit(inner: bool = True, **options: Any) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Numba's njit with a cache on disk that knows all files a function may contain.

    Parameters
    ----------
    inner
        Called by compiled functions only, never from Python: takes less time to compile.
    options
        Passed on to `numba.njit`.
    """
    if inner:
        # Inlined, as the linker would take a call to the first function of that name in the
        # process, optimised for another caller: results would depend on what was loaded before.
        options |= {"no_cpython_wrapper": True, "no_cfunc_wrapper": True, "forceinline": True}

    def decorate(function: Callable[..., Any]) -> Callable[..., Any]:
        # A division by an sd that underflowed gives inf. Python's error would leave a C function
        # with code 0, its outputs as they were before.
        dispatcher = njit(nogil=True, error_model="numpy", **options)(function)
        stored = _disk_cache(function)
        if stored is not None:
            dispatcher._cache = stored
        return dispatcher

    return decorate


def _disk_cache(function: Callable[..., Any]) -> FunctionCache | None:
    """None where no folder can be written to: then each process compiles anew."""
    try:
        stored = FunctionCache(function)
    except RuntimeError:
        return None
    file = stored._cache_file
    folder = Path(function.__code__.co_filename).parent
    file._source_stamp = (file._source_stamp, source_digest(folder))
    return stored


def c_function(signature: Any, function: Callable[..., Any], **options: Any) -> Any:
    """A compiled C function, from the cache on disk if it was compiled before."""
    options |= {"nopython": True, "error_model": "numpy"}
    found: Any = CFunc(
        function, (signature.args, signature.return_type), locals={}, options=options
    )
    stored = _disk_cache(function)
    if stored is not None:
        found._cache = stored
    found.compile()
    return found


def is_stored(signature: Any, function: Callable[..., Any]) -> bool:
    """Whether a C function of this source and for this processor is in the cache on disk."""
    stored = _disk_cache(function)
    if stored is None:
        return False
    codegen = cpu_target.target_context.codegen()
    return stored._index_key(signature, codegen) in stored._cache_file._load_index()


_configuration: Any = config
_interpreted: list[Callable[..., Any]] = []
#: Compiled functions live as long as the process: problems hold their addresses.
_compiled: list[Any] = []


def _address(name: str, function: Callable[..., Any]) -> int:
    if _configuration.DISABLE_JIT:
        _interpreted.append(function)
        return len(_interpreted) - 1
    _compiled.append(c_function(SIGNATURES[name], function))
    return int(_compiled[-1].address)


@intrinsic
def _call(_context, address, *args):  # type: ignore[no-untyped-def]
    """Calls the C function at an address; arrays of doubles are passed by their pointers."""
    # Numba hands them over one by one, and then as one tuple.
    given: Any = args[0] if isinstance(args[0], types.BaseTuple) else args
    signature = types.float64(address, types.StarArgTuple(tuple(given)))

    def build(context, builder, _signature, values):  # type: ignore[no-untyped-def]
        double, passed = ir.DoubleType(), []
        for i, kind in enumerate(given):
            value = builder.extract_value(values[1], i)
            if isinstance(kind, types.Array):
                value = context.make_array(kind)(context, builder, value).data
            passed.append(value)
        kinds = [value.type for value in passed]
        pointer = builder.inttoptr(values[0], ir.FunctionType(double, kinds).as_pointer())
        return builder.call(pointer, passed)

    return signature, build


def _call_interpreted(address: int, *args: Any) -> float:
    """The same in Python, for functions that are interpreted."""
    pointers = ctypes.POINTER(ctypes.c_double)
    given = [
        item.ctypes.data_as(pointers) if isinstance(item, np.ndarray) else item for item in args
    ]
    return float(_interpreted[address](*given))


@intrinsic
def _pointer(_context, address):  # type: ignore[no-untyped-def]
    """An address as a pointer to doubles."""

    def build(context, builder, signature, values):  # type: ignore[no-untyped-def]
        return builder.inttoptr(values[0], context.get_value_type(signature.return_type))

    return _DOUBLES(address), build


@jit()
def _doubles_at(address, n):  # type: ignore[no-untyped-def]
    """The n doubles at an address."""
    return carray(_pointer(address), (n,))


def doubles_in_memory(address: int, n: int) -> np.ndarray:
    """The same in Python."""
    return np.ctypeslib.as_array((ctypes.c_double * int(n)).from_address(int(address)))


call = _call_interpreted if _configuration.DISABLE_JIT else _call
doubles_at = doubles_in_memory if _configuration.DISABLE_JIT else _doubles_at


@dataclass(frozen=True)
class Family:
    """A family's compiled functions, and how much room they need.

    Of one block of columns and one cluster, with n columns of its own:

    Parameters
    ----------
    values
        Names of the values and how many there are, in their order: of a cluster, from n.
    n_state, n_sums
        Numbers that `prepare` fills, and that `sums` adds up, from n.
    n_kept, n_scratch
        Arrays of m numbers that go from `terms` to `sums`, and that either may overwrite, from n.
    prepare, terms, sums, pullback
        Functions of the signatures named above: setup begins with n; rows are (n, m),
        contiguous; share are the responsibilities of m rows. `pullback` adds to the gradient in
        the values (positive ones: in their logarithms), `count` being the sum of all shares.
    reduce, extend
        Of a family that does without some features: reduce(told, features, values, out) fills
        the values of the block that is left, told being what `Block.reduction` says and features
        the values of the Gaussian features of the same cluster; extend(told, features, values,
        out, of_out, of_features, of_values) adds to the gradients in the latter two what that in
        the former is. None where the block stays as it is.
    parts, moments, distribution
        Of a response: parts(setup, state, rows, m, out) fills (m, n_part), what a cluster
        predicts for each row, the first two its centre and scale; moments(part, out) gives mean
        and variance; distribution(y, n, weight, parts, out) adds up distribution function and
        density of n parts at y.
    distance
        E|Z| of the difference Z of two parts, from the gap between their centres and the sum of
        their squared scales; None where parts are not closed under differences.
    n_part
        Numbers of a part.
    whole
        Whether a response is a whole number, at least 0.
    """

    values: Callable[[int], dict[str, int]]
    n_state: Callable[[int], int]
    n_sums: Callable[[int], int]
    n_kept: Callable[[int], int]
    n_scratch: Callable[[int], int]
    prepare: Callable[..., float]
    terms: Callable[..., float]
    sums: Callable[..., float]
    pullback: Callable[..., float]
    reduce: Callable[..., float] | None = None
    extend: Callable[..., float] | None = None
    parts: Callable[..., float] | None = None
    moments: Callable[..., float] | None = None
    distribution: Callable[..., float] | None = None
    distance: Callable[..., float] | None = None
    n_part: int = 0
    whole: bool = False

    def address(self, name: str) -> int:
        """The address of one of the functions, compiled or loaded when first asked for."""
        if name not in self._addresses:
            self._addresses[name] = _address(name, getattr(self, name))
        return self._addresses[name]

    @cached_property
    def _addresses(self) -> dict[str, int]:
        return {}
