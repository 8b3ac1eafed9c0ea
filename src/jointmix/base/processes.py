"""Work side by side in processes of this machine."""

import signal
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from multiprocessing import resource_tracker
from typing import Any

from joblib import Parallel


def side_by_side(tasks: Iterable[Any], jobs: int) -> Iterator[Any]:
    """What joblib's delayed tasks return, each as it ends, with one task per process at a time.

    Ctrl-C reaches this process alone, which ends the others: one that is still importing would
    answer with a traceback of its own.

    Raises
    ------
    concurrent.futures.process.BrokenProcessPool
        While iterating, if one of the processes was killed.
    """
    work = Parallel(n_jobs=jobs, return_as="generator_unordered", batch_size=1)
    with _interrupts_held():
        found: Iterator[Any] = work(tasks)
    return found


@contextmanager
def _interrupts_held() -> Iterator[None]:
    """SIGINT waits, and processes and threads started meanwhile never see it."""
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    # Where workers start it first, it lets SIGINT through again (until Python 3.14).
    resource_tracker.ensure_running()
    before = signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
