"""Work side by side in processes of this machine."""

import signal
import warnings
from collections.abc import Generator, Iterable, Iterator
from contextlib import contextmanager
from multiprocessing import resource_tracker
from typing import Any

from joblib import Parallel

#: What joblib says where its results are no longer waited for.
_CANCELLED = ".*(but not used|have been cancelled)"


def side_by_side(tasks: Iterable[Any], jobs: int) -> Iterator[Any]:
    """What joblib's delayed tasks return, each as it ends, with one task per process at a time.

    Ctrl-C reaches this process alone, which ends the others: one that is still importing would
    answer with a traceback of its own.

    Raises
    ------
    concurrent.futures.process.BrokenProcessPool
        While iterating, if one of the processes was killed.
    """
    yield from as_they_end(Parallel(jobs, return_as="generator_unordered", batch_size=1), tasks)


def as_they_end(work: Parallel, tasks: Iterable[Any]) -> Iterator[Any]:
    """What joblib's tasks return; who stops listening is not warned that he did.

    Parameters
    ----------
    work
        Returns a generator.
    """
    found: Generator[Any] | None = None
    try:
        with _interrupts_held():
            found = work(tasks)
        # Closed, "yield from" would first close what it reads from.
        for each in found:  # noqa: UP028
            yield each
    finally:
        if found is not None:
            with warnings.catch_warnings():
                warnings.filterwarnings("ignore", message=_CANCELLED, category=UserWarning)
                found.close()


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
