"""Work side by side, in processes of its own or on a cluster."""

import asyncio
import signal
from collections.abc import Iterable, Iterator
from concurrent.futures import CancelledError, ThreadPoolExecutor
from contextlib import contextmanager
from importlib.util import find_spec
from multiprocessing import resource_tracker
from typing import Any

from joblib import Parallel

from jointmix.arguments import shown
from jointmix.errors import MissingExtraError, SamplingError, SpecError

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


def check_scheduler(address: str) -> None:
    """Refuse the address of a Dask scheduler that cannot be reached.

    Raises
    ------
    SpecError
        If it is no text.
    MissingExtraError
        If Dask is not installed.
    SamplingError
        If no scheduler answers.
    """
    if not isinstance(address, str):
        raise SpecError(f"dask must be the address of a scheduler; got {shown(address)}.")
    if find_spec("distributed") is None:
        raise MissingExtraError(
            "A Dask cluster needs the package distributed: pip install 'jointmix[dask]'."
        )
    try:
        # In a thread of its own, since notebooks run a loop of theirs.
        with ThreadPoolExecutor(1) as pool:
            pool.submit(asyncio.run, _knock(address)).result()
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


def on_cluster(tasks: Iterable[Any], address: str) -> Iterator[Any]:
    """What joblib's delayed tasks return, each as it ends, from the workers of a Dask cluster.

    Not by joblib's backend for Dask, which waits forever for tasks whose workers died.

    Raises
    ------
    SamplingError
        If there are no workers, one task killed several of them, or the scheduler was lost.
    """
    from distributed import Client, KilledWorker, as_completed

    try:
        with Client(address, timeout=_CONNECT_SECONDS, set_as_default=False) as client:
            _require_workers(client, address)
            sent = [
                client.submit(function, *given, pure=False, **options)
                for function, given, options in tasks
            ]
            for future in as_completed(sent, loop=client.loop):
                yield future.result()
    except KilledWorker as error:
        raise SamplingError(
            f"Workers of the Dask cluster at {address} were killed, perhaps for want of memory."
        ) from error
    except (CancelledError, OSError) as error:
        raise SamplingError(f"The Dask scheduler at {address} was lost.") from error


def _require_workers(client: Any, address: str) -> None:
    try:
        client.wait_for_workers(1, timeout=_CONNECT_SECONDS)
    except TimeoutError as error:
        raise SamplingError(f"The Dask cluster at {address} has no workers.") from error
