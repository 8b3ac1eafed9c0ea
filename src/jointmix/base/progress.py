"""How far a run has come: bars on a terminal, one line in a notebook, lines elsewhere."""

import multiprocessing
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from jointmix.base.text import one_line

#: Called as ``progress(stage, done, total, note)``; may be called from other threads.
Progress = Callable[[str, float, float, str], None]
#: What functions take: None shows progress where a person looks.
ProgressOption = Progress | bool | None

QUIET_SECONDS = 2.0  # Lines are this far apart, so that shorter work shows no progress.
_NOTEBOOK_SECONDS = 0.2


@contextmanager
def show_progress(wanted: ProgressOption = None) -> Iterator[Progress]:
    """A function to call with the progress of what runs inside.

    Parameters
    ----------
    wanted
        A function is called itself; False shows nothing; None shows progress in a notebook, and on
        standard error where that is a terminal, but nothing from other threads and processes,
        whose bars would cross; True shows it everywhere, as plain lines where there is no terminal.
    """
    if callable(wanted):
        yield wanted
        return
    if wanted is None:
        wanted = threading.current_thread() is threading.main_thread()
        wanted = wanted and multiprocessing.parent_process() is None
        wanted = wanted and (_in_notebook() or sys.stderr.isatty())
    if not wanted:
        yield lambda *_: None
    elif _in_notebook():
        with _notebook_line() as update:
            yield update
    elif sys.stderr.isatty():
        with _bars() as update:
            yield update
    else:
        yield _Lines()


def _in_notebook() -> bool:
    """Whether a Jupyter kernel runs this, which has imported IPython then."""
    module = sys.modules.get("IPython")
    shell = None if module is None else module.get_ipython()
    return getattr(shell, "kernel", None) is not None


def _told(stage: str, done: float, total: float, note: str) -> str:
    return f"{stage} {done:g}/{total:g} {one_line(note)}".rstrip()


@contextmanager
def _notebook_line() -> Iterator[Progress]:
    """One line below the cell, replaced as things go on, and at the end by the time taken."""
    from IPython.display import display

    began = last = time.monotonic()
    lock, handle = threading.Lock(), display(_text("…"), raw=True, display_id=True)

    def update(stage: str, done: float, total: float, note: str) -> None:
        nonlocal last
        with lock:
            now = time.monotonic()
            if now - last >= _NOTEBOOK_SECONDS:
                last = now
                handle.update(_text(_told(stage, done, total, note)), raw=True)

    ended = "stopped after"
    try:
        yield update
        ended = "done in"
    finally:
        handle.update(_text(f"{ended} {time.monotonic() - began:.1f} s"), raw=True)


def _text(line: str) -> dict[str, Any]:
    return {"text/plain": line}


@contextmanager
def _bars() -> Iterator[Progress]:
    from rich.console import Console
    from rich.progress import BarColumn, TaskID, TextColumn, TimeElapsedColumn
    from rich.progress import Progress as Bars

    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        TextColumn("{task.completed:.0f}/{task.total:.0f} {task.fields[note]}", markup=False),
        TimeElapsedColumn(),
    )
    tasks: dict[str, TaskID] = {}
    lock = threading.Lock()
    with Bars(*columns, console=Console(stderr=True), transient=True) as bars:

        def update(stage: str, done: float, total: float, note: str) -> None:
            with lock:
                if stage not in tasks:
                    tasks[stage] = bars.add_task(stage, total=total, note="")
            bars.update(tasks[stage], completed=done, total=total, note=one_line(note))

        yield update


class _Lines:
    """Progress as plain lines on standard error, at most one every two seconds."""

    def __init__(self) -> None:
        self.last = time.monotonic()
        self.lock = threading.Lock()

    def __call__(self, stage: str, done: float, total: float, note: str) -> None:
        with self.lock:
            now = time.monotonic()
            if now - self.last < QUIET_SECONDS:
                return
            self.last = now
        sys.stderr.write(f"{_told(stage, done, total, note)}\n")
        sys.stderr.flush()
