"""Jobs that lead to one another, each with what becomes of its result."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from jointmix.base.pools import Job


@dataclass(frozen=True, eq=False)
class Step:
    """A job of many that lead to one another.

    Attributes
    ----------
    job
        As `run_jobs` takes it.
    ended
        Called with what the job returned: the steps that may be taken now.
    rank
        Steps of the least rank are taken first.
    name
        What `run_steps` yields the result under.
    """

    job: Job
    ended: Callable[[Any], Iterable["Step"]]
    rank: int = 0
    name: Any = None


def run_steps(
    steps: Iterable[Step], run: Callable[..., Iterator[tuple[int, Any]]]
) -> Iterator[tuple[Any, Any]]:
    """Name of each step and what its job returned, as they end.

    Parameters
    ----------
    steps
        Those to begin with.
    run
        `run_jobs` of a pool, or `run_threads` of a number of threads.

    Raises
    ------
    Exception
        As `run` does.
    """
    taken: list[Step] = []

    def jobs(more: Iterable[Step]) -> Iterator[tuple[int, Job]]:
        for step in more:
            taken.append(step)
            yield step.rank, step.job

    def then(place: int, found: Any) -> Iterator[tuple[int, Job]]:
        return jobs(taken[place].ended(found))

    first = [job for _, job in jobs(steps)]
    for place, found in run(first, then=then):
        yield taken[place].name, found
