"""What the C library does with memory that is freed."""

import ctypes
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from threading import Lock
from typing import Any

#: How glibc calls what `mallopt` sets, and the name in the environment of the first.
_TRIM, _MMAP, _ASKED = -1, -3, "MALLOC_TRIM_THRESHOLD_"
#: Bytes from which an array is a mapping of its own: glibc's usual value, and the most it takes.
_USUAL_MMAP, _MOST_MMAP = 128 << 10, 32 << 20
#: Bytes at the end of the heap that stay while jobs run.
_STAYS = 256 << 20


class _Jobs:
    """Jobs that run in this process, and what counts them."""

    lock, running = Lock(), 0


@contextmanager
def kept_heap() -> Iterator[None]:
    """Let memory that is freed stay with the process while a job runs, and give it back then.

    Nannies of Dask have their workers' C library return what is freed at once, which an array that
    is made anew in each iteration is then asked for again: EM of 10,000 rows takes twice as long.
    Where the environment asks for nothing of the kind, this does nothing.
    """
    asked = os.environ.get(_ASKED, "")
    library = _glibc() if asked.isdecimal() else None
    if library is None:
        yield
        return
    with _Jobs.lock:
        _Jobs.running += 1
        library.mallopt(_TRIM, _STAYS)
        library.mallopt(_MMAP, _MOST_MMAP)
    try:
        yield
    finally:
        with _Jobs.lock:
            _Jobs.running -= 1
            if _Jobs.running == 0:
                library.mallopt(_TRIM, int(asked))
                library.mallopt(_MMAP, _USUAL_MMAP)
                library.malloc_trim(0)


@cache
def _glibc() -> Any:
    """The C library, if it is GNU's."""
    if not sys.platform.startswith("linux"):
        return None
    library = ctypes.CDLL(None)
    return library if hasattr(library, "gnu_get_libc_version") else None
