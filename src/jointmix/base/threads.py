"""Compiled work on all cores: functions that let go of Python's lock, run by threads."""

import threading
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from contextvars import ContextVar

from jointmix.base.machine import available_cores

#: Parts that many rows are divided into, at most.
_PARTS = 16
#: Set when nobody waits any longer for what this thread does.
_left: ContextVar[threading.Event | None] = ContextVar("_left", default=None)


def worker_threads(threads: int, left: threading.Event | None) -> ThreadPoolExecutor:
    """Threads whose long work ends, where it asks (`heed`), once ``left`` is set."""
    return ThreadPoolExecutor(threads, initializer=_left.set, initargs=(left,))


def heed() -> None:
    """End work that nobody waits for any longer; called now and then by what takes long.

    Raises
    ------
    KeyboardInterrupt
        If its caller has gone, as at Ctrl-C, which Python raises in the main thread alone.
    """
    left = _left.get()
    if left is not None and left.is_set():
        raise KeyboardInterrupt


def row_parts(n: int, step: int) -> list[slice]:
    """Many rows in parts for threads, each of a multiple of ``step`` rows but for the last.

    As many parts whatever the number of cores, so that sums are the same to the last bit.
    """
    size = step * max(1, -(-n // (_PARTS * step)))
    return [slice(first, min(first + size, n)) for first in range(0, n, size)]


def on_cores[Item, Result](
    function: Callable[[Item], Result], items: Iterable[Item], cores: int | None = None
) -> list[Result]:
    """What the function returns for each item, in their order, some at a time.

    Parameters
    ----------
    cores
        Threads at a time; None takes what the machine has, 1 none.
    """
    threads = cores or available_cores()
    if threads == 1:
        return [function(item) for item in items]
    with worker_threads(threads, _left.get()) as pool:
        return list(pool.map(function, items))
