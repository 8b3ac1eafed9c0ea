"""How the kernel's functions are compiled: by Numba, kept on disk, without Python's lock."""

import hashlib
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

from numba import cfunc, njit
from numba.core.caching import FunctionCache
from numba.core.registry import cpu_target


@cache
def source_digest() -> str:
    """SHA-256 of the package's own source files.

    A compiled function contains those that it calls, from other files too; Numba looks for
    changes in its own file alone.
    """
    digest = hashlib.sha256()
    for path in sorted(Path(__file__).parent.glob("*.py")):
        digest.update(path.read_bytes())
    return digest.hexdigest()


def jit(inner: bool = True, **options: Any) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Numba's njit with a cache on disk that knows the whole package.

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
    file._source_stamp = (file._source_stamp, source_digest())
    return stored


def c_function(signature: Any, function: Callable[..., Any]) -> Any:
    """A compiled C function, from the cache on disk if it was compiled before."""
    try:
        FunctionCache(function)
    except RuntimeError:
        return cfunc(signature)(function)
    return cfunc(signature, cache=True)(function)


def is_stored(signature: Any, function: Callable[..., Any]) -> bool:
    """Whether a C function of this source and for this processor is in the cache on disk."""
    try:
        stored = FunctionCache(function)
    except RuntimeError:
        return False
    codegen = cpu_target.target_context.codegen()
    return stored._index_key(signature, codegen) in stored._cache_file._load_index()
