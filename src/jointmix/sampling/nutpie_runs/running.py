"""Runs of nutpie, one a chain, side by side: paused, resumed, stopped, and told of together."""

import threading
import warnings
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import Any

import xarray as xr

from jointmix.base.progress import Progress
from jointmix.sampling.control import POLL_SECONDS, Control
from jointmix.sampling.nutpie_runs.traces import as_tree

#: Starts the run of a chain, which calls what it is given as it goes on, with nutpie's progress.
type Begin = Callable[[int, Callable[[list[Any]], None]], Any]


class Told:
    """What the runs of all chains have done, passed on together; called from their threads."""

    def __init__(self, report: Progress, total: int) -> None:
        self._report, self._total = report, total
        self._done: dict[int, tuple[int, int, int]] = {}
        self._lock = threading.Lock()

    def __call__(self, chain: int, runs: list[Any]) -> None:
        (run,) = runs
        with self._lock:
            self._done[chain] = (run.finished_draws, run.total_num_steps, run.divergences)
            done, steps, divergences = map(sum, zip(*self._done.values(), strict=True))
            note = f"{divergences} divergences, {steps / max(done, 1):.1f} gradients a draw"
            self._report("sample", done, self._total, note)


def run_chains(
    begin: Begin, n: int, at_a_time: int, told: Told, control: Control
) -> tuple[dict[int, xr.DataTree], bool]:
    """Traces of chains by their numbers, and whether they were stopped, or ended by Ctrl-C."""
    running: dict[int, Any] = {}
    traces: dict[int, xr.DataTree] = {}
    left = list(range(n))
    try:
        while (left or running) and not control.stopped:
            while left and len(running) < at_a_time:
                chain = left.pop(0)
                running[chain] = begin(chain, partial(told, chain))
            if control.paused:
                _hold(running, control)
                continue
            for chain in list(running):
                with suppress(TimeoutError):
                    found = running[chain].wait(timeout=POLL_SECONDS / len(running))
                    traces[chain] = as_tree(found)
                    del running[chain]
    except KeyboardInterrupt:
        pass
    except BaseException:
        for run in running.values():
            run.cancel()
        raise
    stopped = bool(left or running)
    return traces | _aborted(running), stopped


def _hold(running: dict[int, Any], control: Control) -> None:
    for run in running.values():
        run.pause()
    control.hold()
    for run in running.values():
        run.resume()


def _aborted(running: dict[int, Any]) -> dict[int, xr.DataTree]:
    """End runs; the traces of those that have any."""
    found = {}
    for chain, run in running.items():
        # Before a chain has begun, nutpie has no trace to return.
        with warnings.catch_warnings(), suppress(ValueError):
            # Of fewer draws than chains.
            warnings.filterwarnings("ignore", "Found chain dimension to be longer", UserWarning)
            found[chain] = as_tree(run.abort())
    return found
