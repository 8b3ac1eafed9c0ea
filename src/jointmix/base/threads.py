"""Compiled work on all cores: functions that let go of Python's lock, run by threads."""

from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor

from jointmix.base.machine import available_cores


def on_cores[Item, Result](
    function: Callable[[Item], Result], items: Iterable[Item], cores: int | None = None
) -> list[Result]:
    """What the function returns for each item, in their order, some at a time.

    Parameters
    ----------
    cores
        Threads at a time; None takes what the machine has, 1 none.
    """
    threads = cores or available_cores()
    if threads == 1:
        return [function(item) for item in items]
    with ThreadPoolExecutor(threads) as pool:
        return list(pool.map(function, items))
