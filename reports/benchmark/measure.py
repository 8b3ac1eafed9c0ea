"""Seconds, and which of them went into compiling; peak memory; the cost of one call."""

import resource
import sys
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

_JAX_COMPILES = "/jax/core/compile/"
_LEAST_CALLS, _MOST_CALLS = 7, 5000


class CompileClock:
    """When JAX and Numba were compiling, as they report it; `time.time` is the clock."""

    def __init__(self) -> None:
        self.spans: list[tuple[float, float]] = []

    def listen(self) -> None:
        """Record from now on what JAX and Numba compile, of those that are imported."""
        if "jax" in sys.modules:
            from jax import monitoring

            monitoring.register_event_time_span_listener(self._jax)
        if "numba" in sys.modules:
            from numba.core import event

            event.register("numba:compile", _numba_listener(self.spans))

    def _jax(self, event: str, began: float, ended: float, **_: object) -> None:
        if event.startswith(_JAX_COMPILES):
            self.spans.append((began, ended))

    def within(self, began: float, ended: float) -> float:
        """Seconds between two times in which something was compiled."""
        return covered(self.spans, began, ended)


def _numba_listener(spans: list[tuple[float, float]]) -> Any:
    from numba.core import event

    class Spans(event.Listener):
        def __init__(self) -> None:
            self.open: list[float] = []

        def on_start(self, _: object) -> None:
            self.open.append(time.time())

        def on_end(self, _: object) -> None:
            spans.append((self.open.pop(), time.time()))

    return Spans()


def covered(spans: Iterable[tuple[float, float]], began: float, ended: float) -> float:
    """Length of the union of spans between two times: spans inside others count once."""
    total, until = 0.0, began
    for first, last in sorted(spans):
        first, last = max(first, until), min(last, ended)
        if last > first:
            total += last - first
            until = last
    return total


def peak_memory() -> float:
    """The largest resident set that this process has had, in MiB."""
    status = Path("/proc/self/status")
    if status.exists():
        # Linux's getrusage would begin with the peak of the process that started this one.
        for line in status.read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) / 1024
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (2**20 if sys.platform == "darwin" else 2**10)


@dataclass(frozen=True)
class Timing:
    """Microseconds a call: the median and the quartiles of ``calls`` calls.

    Attributes
    ----------
    threads
        Processor seconds over wall seconds: 1 if one thread did the work.
    """

    median: float
    lower: float
    upper: float
    calls: int
    threads: float


def timed(call: Callable[[int], object], seconds: float) -> Timing:
    """Time calls for so many seconds, at least seven of them, after two that do not count.

    Parameters
    ----------
    call
        Called with 0, 1, 2, …, to let it take another point each time.
    seconds
        Wall seconds to spend.
    """
    for index in range(2):
        call(index)
    taken: list[float] = []
    began, worked = time.perf_counter(), time.process_time()
    before = began
    while len(taken) < _LEAST_CALLS or (before - began < seconds and len(taken) < _MOST_CALLS):
        call(len(taken))
        now = time.perf_counter()
        taken.append(now - before)
        before = now
    threads = (time.process_time() - worked) / (before - began)
    lower, median, upper = np.quantile(taken, [0.25, 0.5, 0.75]) * 1e6
    return Timing(float(median), float(lower), float(upper), len(taken), threads)


@dataclass(frozen=True)
class Growth:
    """The exponent of a cost that grows as a power of a size, with its standard error."""

    exponent: float
    error: float


def growth(sizes: Iterable[float], costs: Iterable[float]) -> Growth:
    """Least squares of log cost on log size; the error is NaN for two points.

    Parameters
    ----------
    sizes, costs
        Equally many, at least two, all positive.
    """
    x, y = np.log(np.array(list(sizes), dtype=float)), np.log(np.array(list(costs), dtype=float))
    centred = x - x.mean()
    slope = centred @ y / (centred @ centred)
    left = y - y.mean() - slope * centred
    if len(x) < 3:
        return Growth(float(slope), float("nan"))
    error = np.sqrt(left @ left / (len(x) - 2) / (centred @ centred))
    return Growth(float(slope), float(error))
