"""Work side by side, in processes of its own or on a cluster."""

import asyncio
import signal
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager, nullcontext
from importlib.util import find_spec
from multiprocessing import resource_tracker
from typing import Any

from joblib import Parallel, parallel_config

from jointmix.errors import MissingExtraError, SamplingError

_CONNECT_SECONDS = 10


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


def on_cluster(address: str | None) -> AbstractContextManager[Any]:
    """Inside it, `side_by_side` works on the Dask cluster at a scheduler's address, if given one.

    Raises
    ------
    MissingExtraError
        If Dask is not installed.
    SamplingError
        If no scheduler answers.
    """
    if address is None:
        return nullcontext()
    if find_spec("distributed") is None:
        raise MissingExtraError(
            "A Dask cluster needs the package distributed: pip install 'jointmix[dask]'."
        )
    try:
        # In a thread of its own, since notebooks run a loop of theirs.
        with ThreadPoolExecutor(1) as pool:
            pool.submit(asyncio.run, _knock(address)).result()
        return parallel_config(backend="dask", scheduler_host=address)
    except (OSError, ValueError) as error:
        raise SamplingError(f"No Dask scheduler answers at {address!r}.") from error


async def _knock(address: str) -> None:
    """Dask's client would try for minutes, and complain of its own end afterwards."""
    from distributed import Security
    from distributed.comm import connect

    security = Security().get_connection_args("client")
    async with asyncio.timeout(_CONNECT_SECONDS):
        comm = await connect(address, timeout=_CONNECT_SECONDS, **security)
        await comm.close()
