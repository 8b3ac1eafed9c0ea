"""Progress on standard error: bars on a terminal, lines elsewhere."""

import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import typer

from jointmix.cli.output import one_line

QUIET_SECONDS = 2.0  # Work shorter than this shows no progress.

Progress = Callable[[str, float, float, str], None]


@contextmanager
def show_progress(quiet: bool) -> Iterator[Progress | None]:
    """A callable to show progress with on standard error, or None."""
    if quiet:
        yield None
    elif sys.stderr.isatty():
        with _bars() as update:
            yield update
    else:
        yield _Lines()


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

        def update(event: str, done: float, total: float, note: str) -> None:
            with lock:
                if event not in tasks:
                    tasks[event] = bars.add_task(event, total=total, note="")
            bars.update(tasks[event], completed=done, total=total, note=one_line(note))

        yield update


class _Lines:
    """Progress as plain lines, at most one every two seconds."""

    def __init__(self) -> None:
        self.last = time.monotonic()
        self.lock = threading.Lock()

    def __call__(self, event: str, done: float, total: float, note: str) -> None:
        with self.lock:
            now = time.monotonic()
            if now - self.last < QUIET_SECONDS:
                return
            self.last = now
        typer.echo(f"{event} {done:g}/{total:g} {one_line(note)}".rstrip(), err=True)
