"""Independent jobs: one door to processes, executors, Dask clusters and joblib's backends.

A job is a function of the package with its arguments, as joblib's `delayed` makes it. Each carries
its own seed, so that results are the same whatever runs them and however many at a time. The cores
of a machine are shared out among the jobs that run on it at a time.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import BrokenExecutor, Executor, ThreadPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from typing import Any

from joblib import Parallel, delayed
from joblib.parallel import get_active_backend

from jointmix.base.arguments import shown, whole_number
from jointmix.base.clusters import check_scheduler, on_cluster
from jointmix.base.errors import SamplingError, SpecError
from jointmix.base.machine import available_cores, limited_cores
from jointmix.base.processes import as_they_end, side_by_side

#: What independent jobs may be given to: a Dask client, or the address of its scheduler; any
#: executor of concurrent.futures; so many processes of this machine; None for joblib's backend.
type Pool = Any

#: Times in succession that a process is killed without a job that ended between.
_LOST_AT_MOST = 2
#: joblib's active backend, where one is named.
JOBLIB: Any = object()

#: A function, its arguments, and those given by name.
type Job = tuple[Callable[..., Any], Sequence[Any], dict[str, Any]]


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
    if isinstance(pool, Executor) or _is_client(pool):
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


def _is_client(pool: object) -> bool:
    """Whether it is a Dask client, without importing Dask."""
    kinds = {f"{kind.__module__}.{kind.__qualname__}" for kind in type(pool).__mro__}
    return "distributed.client.Client" in kinds


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


def run_jobs(jobs: Iterable[Job], pool: Pool) -> Iterator[tuple[int, Any]]:
    """Place of each job among all and what it returned, as they end.

    Parameters
    ----------
    jobs
        Made by joblib's `delayed`; with a pool of processes their functions and arguments are
        pickled.
    pool
        As `chosen_pool` returns it.

    Raises
    ------
    SamplingError
        If workers die time and again, or a cluster or its scheduler is lost.
    Exception
        What a job raised.
    """
    numbered = list(enumerate(jobs))
    if pool is None or pool is JOBLIB:
        yield from _by_joblib(numbered)
    elif isinstance(pool, int):
        yield from _by_processes(numbered, pool)
    elif isinstance(pool, Executor):
        yield from _by_executor(numbered, pool, 1)
    else:
        yield from on_cluster((_placed(*each, 1) for each in numbered), pool)


def run_threads(jobs: Iterable[Job], threads: int) -> Iterator[tuple[int, Any]]:
    """As `run_jobs`, by threads of this process, or in this one; -1 takes all cores.

    What has begun when the caller stops listening goes on: a job that takes long is to be told.
    """
    numbered = list(enumerate(jobs))
    threads = available_cores() if threads == -1 else threads
    if threads == 1:
        yield from (_run(*each, available_cores()) for each in numbered)
        return
    executor = ThreadPoolExecutor(threads)
    try:
        yield from _by_executor(numbered, executor, _share(threads))
    finally:
        executor.shutdown(wait=False, cancel_futures=True)


def _placed(place: int, job: Job, cores: int) -> Job:
    """The job with its place and the cores that it may use."""
    placed: Job = delayed(_run)(place, job, cores)
    return placed


def _run(place: int, job: Job, cores: int) -> tuple[int, Any]:
    function, given, options = job
    with limited_cores(cores):
        return place, function(*given, **options)


def _share(jobs: int) -> int:
    """Cores for each of so many jobs at a time."""
    return max(1, available_cores() // jobs)


def _by_processes(numbered: Sequence[tuple[int, Job]], processes: int) -> Iterator[tuple[int, Any]]:
    """By processes of this machine; where one is killed, what had not ended begins again.

    Raises
    ------
    SamplingError
        If one is killed twice in succession before any job has ended.
    """
    if processes == 1:
        yield from (_run(*each, available_cores()) for each in numbered)
        return
    left, lost = dict(numbered), 0
    while left:
        before = len(left)
        tasks = [_placed(*each, _share(processes)) for each in left.items()]
        try:
            for place, found in side_by_side(tasks, processes):
                del left[place]
                yield place, found
        except BrokenProcessPool as error:
            lost = lost + 1 if len(left) == before else 0
            if lost == _LOST_AT_MOST:
                raise SamplingError(
                    "A worker process was killed, perhaps for want of memory; use fewer jobs."
                ) from error


def _by_executor(
    numbered: Sequence[tuple[int, Job]], executor: Executor, cores: int
) -> Iterator[tuple[int, Any]]:
    """By an executor, with so many cores a job.

    Raises
    ------
    SamplingError
        If its workers were killed.
    """
    sent = [executor.submit(_run, *each, cores) for each in numbered]
    try:
        for future in as_completed(sent):
            yield future.result()
    except BrokenExecutor as error:
        raise SamplingError(
            "A worker of the pool was killed, perhaps for want of memory; give a new pool, with "
            "fewer workers."
        ) from error
    finally:
        for future in sent:
            future.cancel()


def _joblib_jobs() -> int:
    """Jobs at a time that joblib's active backend runs: 1 where nobody has chosen one."""
    backend, n_jobs = get_active_backend()
    return int(backend.effective_n_jobs(1 if n_jobs is None else n_jobs))


def _by_joblib(numbered: Sequence[tuple[int, Job]]) -> Iterator[tuple[int, Any]]:
    """By the backend that the caller's `joblib.parallel_config` names; else one after another."""
    backend, _ = get_active_backend()
    at_a_time = _joblib_jobs()
    name = type(backend).__name__
    if at_a_time == 1 or name == "LokyBackend":
        yield from _by_processes(numbered, at_a_time)
        return
    if name == "DaskDistributedBackend":
        # joblib waits for ever for jobs whose workers died.
        yield from on_cluster((_placed(*each, 1) for each in numbered), backend.client)
        return
    tasks = (_placed(*each, _share(at_a_time)) for each in numbered)
    if backend.supports_return_generator:
        yield from as_they_end(Parallel(return_as="generator_unordered"), tasks)
    else:
        yield from Parallel()(tasks)


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
