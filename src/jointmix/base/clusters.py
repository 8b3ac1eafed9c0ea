"""Independent jobs on a Dask cluster, whose workers and scheduler may be lost."""

import asyncio
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import CancelledError, ThreadPoolExecutor
from contextlib import nullcontext
from importlib.util import find_spec
from typing import Any

from jointmix.base.arguments import shown
from jointmix.base.errors import MissingExtraError, SamplingError, SpecError

_CONNECT_SECONDS = 10
#: How long a cluster may be without workers, of which killed ones are started anew.
_LONELY_SECONDS = 40
_POLL_SECONDS = 0.2


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
        raise SpecError(f"The address of a Dask scheduler must be text; got {shown(address)}.")
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


def nothing(*_: Any) -> Iterable[tuple[int, Any]]:
    """What follows a job that leads to no others."""
    return ()


def on_cluster(
    tasks: Iterable[tuple[int, Any]],
    cluster: Any,
    then: Callable[[Any], Iterable[tuple[int, Any]]] = nothing,
) -> Iterator[Any]:
    """What joblib's delayed tasks return, each as it ends, from the workers of a Dask cluster.

    Not by joblib's backend for Dask, which waits forever for tasks whose workers died.

    Parameters
    ----------
    tasks
        Each with its rank; the least begins first.
    cluster
        The address of a scheduler, or a client, which stays connected.
    then
        Called with what a task returned: further ones.

    Raises
    ------
    SamplingError
        If there are no workers or none is left, one task killed several of them, or the scheduler
        was lost.
    Exception
        What a task raised.
    """
    from distributed import Client, KilledWorker, as_completed

    failure: Exception | None = None
    address = cluster if isinstance(cluster, str) else cluster.scheduler.address
    try:
        with (
            Client(address, timeout=_CONNECT_SECONDS, set_as_default=False)
            if isinstance(cluster, str)
            else nullcontext(cluster)
        ) as client:
            _require_workers(client, address)
            sent = _sent(tasks, client)
            ready = as_completed(sent, loop=client.loop)
            try:
                for future in _finished(ready, client, address):
                    failure = future.exception() if future.status == "error" else None
                    if failure is not None:
                        break
                    try:
                        found = future.result(timeout=_CONNECT_SECONDS)
                    except TimeoutError:
                        # Its worker died with what it had found: another finds it again.
                        ready.add(future)
                        continue
                    more = _sent(then(found), client)
                    sent += more
                    for each in more:
                        ready.add(each)
                    yield found
            finally:
                # What nobody waits for any longer is not run.
                for future in sent:
                    future.release()
    except (CancelledError, OSError) as error:
        raise SamplingError(f"The Dask scheduler at {address} was lost.") from error
    if isinstance(failure, KilledWorker):
        raise SamplingError(
            f"Workers of the Dask cluster at {address} were killed, perhaps for want of memory."
        ) from failure
    if failure is not None:
        raise failure


def _sent(tasks: Iterable[tuple[int, Any]], client: Any) -> list[Any]:
    """The futures of tasks that a client has been given."""
    return [
        client.submit(function, *given, pure=False, priority=-rank, **options)
        for rank, (function, given, options) in tasks
    ]


def _finished(ready: Any, client: Any, address: str) -> Iterator[Any]:
    """Futures as they end. Dask alone would wait for workers to come, forever if need be.

    Raises
    ------
    SamplingError
        If the cluster has been without a worker for long.
    """
    alive = time.monotonic()
    while not ready.is_empty():
        batch = ready.next_batch(block=False)
        yield from batch
        if batch or client.ncores():
            alive = time.monotonic()
        elif time.monotonic() - alive > _LONELY_SECONDS:
            raise SamplingError(
                f"The Dask cluster at {address} has lost its workers, perhaps for want of memory."
            )
        if not batch:
            time.sleep(_POLL_SECONDS)


def _require_workers(client: Any, address: str) -> None:
    try:
        client.wait_for_workers(1, timeout=_CONNECT_SECONDS)
    except TimeoutError as error:
        raise SamplingError(f"The Dask cluster at {address} has no workers.") from error
