"""Independent jobs: one door to processes, executors, Dask clusters and joblib's backends.

A job is a function of the package with its arguments, as joblib's `delayed` makes it. Each carries
its own seed, so that results are the same whatever runs them and however many at a time. The cores
of a machine are shared out among the jobs that run on it at a time.
"""

import heapq
import threading
import warnings
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, BrokenExecutor, Executor, Future, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import suppress
from typing import Any

from joblib import Parallel, delayed
from joblib.parallel import get_active_backend

from jointmix.base.arguments import shown, whole_number
from jointmix.base.clusters import check_scheduler, is_client, nothing, on_cluster
from jointmix.base.errors import SamplingError, SpecError
from jointmix.base.heap import kept_heap
from jointmix.base.machine import available_cores, limited_cores
from jointmix.base.processes import Processes
from jointmix.base.threads import worker_threads

#: What independent jobs may be given to: a Dask client, or the address of its scheduler; any
#: executor of concurrent.futures; so many processes of this machine; None for joblib's backend.
type Pool = Any

#: Times in succession that a process is killed without a job that ended between.
_LOST_AT_MOST = 2
#: joblib's active backend, where one is named.
JOBLIB: Any = object()

#: A function, its arguments, and those given by name.
type Job = tuple[Callable[..., Any], Sequence[Any], dict[str, Any]]
#: Called with a job's place and what it returned: the jobs that may run now, each with a rank.
#: Those of the least rank begin first; what was there from the beginning has rank 0.
type Then = Callable[[int, Any], Iterable[tuple[int, Job]]]


def chosen_pool(pool: Pool, jobs: int = 1) -> Pool:
    """The pool, if it is one that jobs can be given to, or ``jobs`` processes if more than one.

    Raises
    ------
    SpecError
        If it is something else, or both are given.
    SamplingError
        If it is the address of a Dask scheduler that does not answer.
    MissingExtraError
        If that needs Dask and it is not installed.
    """
    if pool is None:
        return None if jobs == 1 else jobs
    if jobs != 1:
        raise SpecError(f"pool says where jobs run, and how many: leave out jobs={jobs}.")
    if isinstance(pool, Executor) or is_client(pool):
        return pool
    if isinstance(pool, str):
        check_scheduler(pool)
        return pool
    if isinstance(pool, int) and not isinstance(pool, bool):
        return available_cores() if pool == -1 else whole_number("pool", pool, 1)
    raise SpecError(
        "pool must be a Dask client or its scheduler's address, an executor of concurrent.futures, "
        f"or a number of processes; got {shown(pool)}."
    )


def other_pool(pool: Pool, jobs: int) -> Pool:
    """As `chosen_pool`, where ``jobs`` are threads: None if jobs run in this process.

    Raises
    ------
    SpecError, SamplingError, MissingExtraError
        As `chosen_pool` does.
    """
    if pool is None and jobs == 1 and _joblib_jobs() > 1:
        return JOBLIB
    return None if pool is None else chosen_pool(pool, jobs)


class _Waiting:
    """Jobs that have not begun, in the order of their ranks and places."""

    def __init__(self, jobs: Iterable[Job], then: Then) -> None:
        self._then, self._count = then, 0
        self._heap: list[tuple[int, int, Job]] = []
        for job in jobs:
            self.add(0, job)

    def __len__(self) -> int:
        return len(self._heap)

    def add(self, rank: int, job: Job) -> None:
        """Add a job, at the next place."""
        heapq.heappush(self._heap, (rank, self._count, job))
        self._count += 1

    def take(self) -> tuple[int, int, Job]:
        """Rank, place and job of the next."""
        return heapq.heappop(self._heap)

    def back(self, ranked: tuple[int, int, Job]) -> None:
        """Let a job that did not end begin again."""
        heapq.heappush(self._heap, ranked)

    def follow(self, place: int, found: Any) -> None:
        """Add what a job leads to."""
        for rank, job in self._then(place, found):
            self.add(rank, job)


def run_jobs(
    jobs: Iterable[Job], pool: Pool, then: Then = nothing
) -> Generator[tuple[int, Any], None, None]:
    """Place of each job among all and what it returned, as they end.

    Parameters
    ----------
    jobs
        Made by joblib's `delayed`; with a pool of processes their functions and arguments are
        pickled.
    pool
        As `chosen_pool` returns it.
    then
        Called in this process as each job ends, before that is yielded: further jobs, whose places
        are those after all others. Ranks are kept to where the number of workers is known, and by
        Dask.

    Raises
    ------
    SamplingError
        If workers die time and again, or a cluster or its scheduler is lost.
    Exception
        What a job raised.
    """
    if pool is None or pool is JOBLIB:
        yield from _by_joblib(jobs, then)
    elif isinstance(pool, int):
        yield from _by_processes(_Waiting(jobs, then), pool)
    elif isinstance(pool, Executor):
        # An executor of another library does not say how many workers it has.
        yield from _by_executor(_Waiting(jobs, then), pool, 1, getattr(pool, "_max_workers", None))
    else:
        yield from _by_cluster(_Waiting(jobs, then), pool)


def run_threads(
    jobs: Iterable[Job], threads: int, then: Then = nothing
) -> Generator[tuple[int, Any], None, None]:
    """As `run_jobs`, by threads of this process, or in this one; -1 takes all cores.

    What has begun when the caller stops listening ends where it asks for that (`heed`).
    """
    waiting = _Waiting(jobs, then)
    threads = available_cores() if threads == -1 else threads
    if threads == 1:
        yield from _one_by_one(waiting)
        return
    left = threading.Event()
    executor = worker_threads(threads, left)
    try:
        yield from _by_executor(waiting, executor, _share(threads), threads)
    finally:
        left.set()
        executor.shutdown(wait=False, cancel_futures=True)


def _placed(place: int, job: Job, cores: int) -> Job:
    """The job with its place and the cores that it may use."""
    placed: Job = delayed(_run)(place, job, cores)
    return placed


def _run(place: int, job: Job, cores: int) -> tuple[int, Any]:
    function, given, options = job
    with limited_cores(cores), kept_heap():
        return place, function(*given, **options)


def _share(jobs: int) -> int:
    """Cores for each of so many jobs at a time."""
    return max(1, available_cores() // jobs)


def _one_by_one(waiting: _Waiting) -> Iterator[tuple[int, Any]]:
    """In this process."""
    while waiting:
        _, place, job = waiting.take()
        place, found = _run(place, job, available_cores())
        waiting.follow(place, found)
        yield place, found


def _by_processes(waiting: _Waiting, processes: int) -> Iterator[tuple[int, Any]]:
    """By processes of this machine; where one is killed, what had not ended begins again.

    Raises
    ------
    SamplingError
        If one is killed twice in succession before any job has ended.
    """
    if processes == 1:
        yield from _one_by_one(waiting)
        return
    lost = 0
    while waiting:
        ended = 0
        try:
            with Processes(processes, _share(processes)) as own:
                for each in _ended(waiting, own, _share(processes), processes):
                    ended += 1
                    yield each
        except BrokenProcessPool as error:
            lost = 0 if ended else lost + 1
            if lost == _LOST_AT_MOST:
                raise SamplingError(
                    "A worker process was killed, perhaps for want of memory; use fewer jobs."
                ) from error


def _by_executor(
    waiting: _Waiting, executor: Executor, cores: int, workers: int | None
) -> Iterator[tuple[int, Any]]:
    """By an executor, with so many cores a job.

    Raises
    ------
    SamplingError
        If its workers were killed.
    """
    try:
        yield from _ended(waiting, executor, cores, workers)
    except BrokenExecutor as error:
        raise SamplingError(
            "A worker of the pool was killed, perhaps for want of memory; give a new pool, with "
            "fewer workers."
        ) from error


def _ended(
    waiting: _Waiting, executor: Executor, cores: int, workers: int | None
) -> Iterator[tuple[int, Any]]:
    """What jobs return as they end; no more are sent than there are workers, if that is known.

    Raises
    ------
    BrokenExecutor
        If a worker was killed; jobs that had not ended wait again.
    """
    sent: dict[Future[tuple[int, Any]], tuple[int, int, Job]] = {}

    def send() -> None:
        while waiting and (workers is None or len(sent) < workers):
            ranked = waiting.take()
            try:
                sent[executor.submit(_run, *ranked[1:], cores)] = ranked
            except BrokenExecutor:
                waiting.back(ranked)
                raise

    try:
        while waiting or sent:
            send()
            ready = wait(sent, return_when=FIRST_COMPLETED).done
            # What ended well counts, whatever became of the others.
            for future in sorted(ready, key=lambda each: each.exception() is not None):
                place, found = future.result()
                del sent[future]
                waiting.follow(place, found)
                # Workers go on while the caller is at work; that they are lost is seen above.
                with suppress(BrokenExecutor):
                    send()
                yield place, found
    finally:
        for future, ranked in sent.items():
            future.cancel()
            waiting.back(ranked)


def _by_cluster(waiting: _Waiting, cluster: Any) -> Iterator[tuple[int, Any]]:
    """By a Dask cluster, which has a queue of its own."""

    def tasks() -> Iterator[tuple[int, Job]]:
        while waiting:
            rank, place, job = waiting.take()
            yield rank, _placed(place, job, 1)

    def then(ended: tuple[int, Any]) -> Iterator[tuple[int, Job]]:
        waiting.follow(*ended)
        return tasks()

    yield from on_cluster(tasks(), cluster, then)


def _joblib_jobs() -> int:
    """Jobs at a time that joblib's active backend runs: 1 where nobody has chosen one."""
    backend, n_jobs = get_active_backend()
    return int(backend.effective_n_jobs(1 if n_jobs is None else n_jobs))


def _by_joblib(jobs: Iterable[Job], then: Then) -> Iterator[tuple[int, Any]]:
    """By the backend that the caller's `joblib.parallel_config` names; else one after another."""
    backend, _ = get_active_backend()
    at_a_time = _joblib_jobs()
    name, waiting = type(backend).__name__, _Waiting(jobs, then)
    if at_a_time == 1 or name == "LokyBackend":
        yield from _by_processes(waiting, at_a_time)
        return
    if is_dask(backend):
        # joblib waits for ever for jobs whose workers died.
        yield from _by_cluster(waiting, backend.client)
        return
    as_they_end = backend.supports_return_generator
    while waiting:
        # joblib takes no jobs while others run: what follows them is the next round.
        tasks = [_placed(*waiting.take()[1:], _share(at_a_time)) for _ in range(len(waiting))]
        work = Parallel(return_as="generator_unordered" if as_they_end else "list")
        ended = work(tasks)
        try:
            for place, found in ended:
                waiting.follow(place, found)
                yield place, found
        finally:
            if as_they_end:
                _end_quietly(ended)


def is_dask(backend: Any) -> bool:
    """Whether a backend of joblib's is Dask's, without importing Dask."""
    return type(backend).__name__ == "DaskDistributedBackend"


def _end_quietly(ended: Any) -> None:
    """Close what joblib returns: who stops listening need not be told that he did."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", ".*(not used|been cancelled)", UserWarning)
        ended.close()


def own_share[Item](items: Sequence[Item], part: tuple[int, int]) -> Sequence[Item]:
    """Those of many that are one part's: part i of n has every n-th, from the i-th.

    Raises
    ------
    SpecError
        If it is no part: two whole numbers, the first from 1 to the second.
    """
    try:
        number, parts = part
    except (TypeError, ValueError):
        raise SpecError(
            f"A part is its number and how many there are; got {shown(part)}."
        ) from None
    parts = whole_number("the number of parts", parts, 1)
    if whole_number("part", number, 1) > parts:
        raise SpecError(f"A part is one of {parts}, counted from 1; got {number}.")
    return items[number - 1 :: parts]
