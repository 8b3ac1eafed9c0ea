"""Independent jobs on a Dask cluster, whose workers and scheduler may be lost."""

import asyncio
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import CancelledError, ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager, nullcontext
from importlib.util import find_spec
from typing import Any

from jointmix.base.arguments import shown
from jointmix.base.errors import MissingExtraError, SamplingError, SpecError
from jointmix.base.heap import kept_heap
from jointmix.base.machine import limited_cores

_CONNECT_SECONDS = 10
#: How long a cluster may be without workers, of which killed ones are started anew.
_LONELY_SECONDS = 40
_POLL_SECONDS = 0.2
#: How long a job that has ended may go unnoticed.
_NOTICE_SECONDS = 0.01
#: Bytes from which a value is sent to workers once, not with each task.
_LARGE_BYTES = 100_000


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
    from distributed import as_completed

    failure: Exception | None = None
    with connected(cluster) as client:
        once = _Once(client)
        sent = _sent(tasks, client, once)
        ready = as_completed(sent, loop=client.loop)
        try:
            for future in _finished(ready, client):
                failure = future.exception() if future.status == "error" else None
                if failure is not None:
                    break
                try:
                    found = future.result(timeout=_CONNECT_SECONDS)
                except TimeoutError:
                    # Its worker died with what it had found: another finds it again.
                    ready.add(future)
                    continue
                more = _sent(then(found), client, once)
                sent += more
                for each in more:
                    ready.add(each)
                yield found
        finally:
            # What nobody waits for any longer is not run.
            for future in sent:
                future.release()
    if failure is not None:
        raise _named(failure, address_of(cluster))


def is_client(pool: object) -> bool:
    """Whether it is a Dask client, without importing Dask."""
    kinds = {f"{kind.__module__}.{kind.__qualname__}" for kind in type(pool).__mro__}
    return "distributed.client.Client" in kinds


def is_cluster(pool: object) -> bool:
    """Whether it is a Dask client, or text, such as the address of a scheduler."""
    return isinstance(pool, str) or is_client(pool)


def computing(pool: Any) -> AbstractContextManager[Any]:
    """Inside, partitions are computed where a pool is, if it is a client, that may hold them."""
    return pool.as_current() if is_client(pool) else nullcontext()


def address_of(cluster: Any) -> str:
    """Of a cluster's scheduler, by itself or its client."""
    return str(cluster if isinstance(cluster, str) else cluster.scheduler.address)


@contextmanager
def connected(cluster: Any) -> Iterator[Any]:
    """A client of a cluster with workers, which stays connected if it was given.

    Raises
    ------
    SamplingError
        If there are no workers, or the scheduler is lost.
    """
    from distributed import Client

    address = address_of(cluster)
    try:
        with (
            Client(address, timeout=_CONNECT_SECONDS, set_as_default=False)
            if isinstance(cluster, str)
            else nullcontext(cluster)
        ) as client:
            _require_workers(client, address)
            yield client
    except (CancelledError, OSError) as error:
        raise SamplingError(f"The Dask scheduler at {address} was lost.") from error


def memory_of(client: Any) -> list[int]:
    """Bytes that each worker of a cluster may take, those that have a limit."""
    workers = client.scheduler_info()["workers"].values()
    return [int(each["memory_limit"]) for each in workers if each["memory_limit"]]


def held(function: Callable[..., Any], parts: Iterable[Any], client: Any, *given: Any) -> list[Any]:
    """Futures of what a function makes of each part, which stays with the worker that made it."""
    return [client.submit(_alone, function, part, *given, pure=False) for part in parts]


def of_parts(
    function: Callable[..., Any], parts: Iterable[Any], client: Any, *given: Any
) -> list[Any]:
    """What a function returns for each of several parts that workers hold, in their order.

    Parameters
    ----------
    function
        Called with a part and what is given; it has one core.
    parts
        Futures; those that died with their workers are made again.

    Raises
    ------
    SamplingError
        If no workers are left, one part killed several of them, or the scheduler was lost.
    Exception
        What the function raised.
    """
    address = address_of(client)
    found = held(function, parts, client, *_Once(client).all(given))
    try:
        for future in found:
            failure = _failure(future, client)
            if failure is not None:
                raise _named(failure, address)
        return list(client.gather(found))
    except (CancelledError, OSError) as error:
        raise SamplingError(f"The Dask scheduler at {address} was lost.") from error
    finally:
        for future in found:
            future.release()


def _alone(function: Callable[..., Any], part: Any, *given: Any) -> Any:
    """Workers have as many threads as they were given: what they call counts on one core."""
    with limited_cores(1), kept_heap():
        return function(part, *given)


def _same(value: Any) -> Any:
    return value


def _is_large(value: Any) -> bool:
    return int(getattr(value, "nbytes", 0)) > _LARGE_BYTES


def _failure(future: Any, client: Any) -> Exception | None:
    """What a task raised, once it has ended; it is waited for as long as there are workers."""
    alive = time.monotonic()
    while True:
        try:
            failure: Exception | None = future.exception(timeout=_POLL_SECONDS)
        except TimeoutError:
            alive = _alive(alive, client)
        else:
            return failure


def _named(failure: Exception, address: str) -> Exception:
    """What a task raised; killed workers in a sentence."""
    from distributed import KilledWorker

    if not isinstance(failure, KilledWorker):
        return failure
    named = SamplingError(
        f"Workers of the Dask cluster at {address} were killed, perhaps for want of memory."
    )
    named.__cause__ = failure
    return named


def _sent(tasks: Iterable[tuple[int, Any]], client: Any, once: "_Once") -> list[Any]:
    """The futures of tasks that a client has been given."""
    return [
        client.submit(function, *once.all(given), pure=False, priority=-rank, **options)
        for rank, (function, given, options) in tasks
    ]


class _Once:
    """Sends what is large, and given to several tasks, to a cluster once."""

    def __init__(self, client: Any) -> None:
        self._client = client
        # The values are held, so that no other has the identity of one of them.
        self._found: dict[int, tuple[Any, Any]] = {}

    def all(self, given: tuple[Any, ...]) -> tuple[Any, ...]:
        """Arguments, and those in tuples of them, with futures in place of large ones."""
        return tuple(self.all(each) if type(each) is tuple else self._one(each) for each in given)

    def _one(self, value: Any) -> Any:
        if not _is_large(value):
            return value
        if id(value) not in self._found:
            self._found[id(value)] = value, self._client.submit(_same, value, pure=False)
        return self._found[id(value)][1]


def _finished(ready: Any, client: Any) -> Iterator[Any]:
    """Futures as they end. Dask alone would wait for workers to come, forever if need be.

    Raises
    ------
    SamplingError
        If the cluster has been without a worker for long.
    """
    alive = asked = time.monotonic()
    while not ready.is_empty():
        batch = ready.next_batch(block=False)
        yield from batch
        now = time.monotonic()
        if batch:
            alive = asked = now
        elif now - asked < _POLL_SECONDS:
            # Workers without work wait for what follows.
            time.sleep(_NOTICE_SECONDS)
        else:
            alive, asked = _alive(alive, client), now


def _alive(before: float, client: Any) -> float:
    """When the cluster last had a worker, by a clock that was ``before`` when last asked."""
    now = time.monotonic()
    if client.ncores():
        return now
    if now - before > _LONELY_SECONDS:
        raise SamplingError(
            f"The Dask cluster at {address_of(client)} has lost its workers, perhaps for want of "
            "memory."
        )
    return before


def _require_workers(client: Any, address: str) -> None:
    try:
        client.wait_for_workers(1, timeout=_CONNECT_SECONDS)
    except TimeoutError as error:
        raise SamplingError(f"The Dask cluster at {address} has no workers.") from error
