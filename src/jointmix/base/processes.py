"""Processes of this machine that jobs are given to."""

import os
import signal
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, Future
from contextlib import contextmanager
from multiprocessing import resource_tracker
from types import TracebackType
from typing import Any

from joblib.externals.loky import get_reusable_executor

#: Seconds that a process without a job is kept for the next ones.
_KEPT_SECONDS = 300
#: What says how many threads a numerical library may start.
_THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS")


class Processes(Executor):
    """Processes for one job each at a time, kept for whoever asks for as many next.

    Ctrl-C reaches this process alone, which ends the others: one that is still importing would
    answer with a traceback of its own. They are killed where what runs inside is left by an
    exception.

    Parameters
    ----------
    processes
        Their number.
    cores
        Threads that numerical libraries may start in each, where the environment does not say.
    """

    def __init__(self, processes: int, cores: int) -> None:
        threads = {name: os.environ.get(name, str(cores)) for name in _THREADS}
        with _interrupts_held():
            self._own = get_reusable_executor(processes, timeout=_KEPT_SECONDS, env=threads)

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> "Future[Any]":
        """Give them a job.

        Raises
        ------
        concurrent.futures.process.BrokenProcessPool
            If one of them was killed.
        """
        with _interrupts_held():
            sent: Future[Any] = self._own.submit(fn, *args, **kwargs)
        return sent

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Kill them if they may still be at work."""
        if kind is not None:
            self._own.shutdown(wait=True, kill_workers=True)


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
