"""Progress: shown where a person looks, silent elsewhere; one line a notebook, bars a terminal."""

import inspect
import multiprocessing
import os
import pty
import subprocess
import sys
import threading
import time
from types import ModuleType, SimpleNamespace

import pytest

import jointmix as jm
from jointmix.base import progress as module
from jointmix.base.arguments import progress_option
from jointmix.base.errors import SpecError
from jointmix.base.progress import show_progress

STEPS = [("sample", 10, 100, "0 divergences"), ("sample", 100, 100, "")]


def run(wanted: object = None) -> None:
    with show_progress(wanted) as tell:
        for step in STEPS:
            tell(*step)


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    del capsys  # It takes the place of standard error, which must be there first.
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    monkeypatch.setenv("TERM", "xterm")


@pytest.fixture
def notebook(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, str]]:
    """What a kernel's IPython is asked to show: how, and the text."""
    shown: list[tuple[str, str]] = []

    def update(data: dict[str, str], *, raw: bool) -> None:
        assert raw
        shown.append(("update", data["text/plain"]))

    def display(data: dict[str, str], *, raw: bool, display_id: bool) -> SimpleNamespace:
        assert (raw, display_id) == (True, True)
        shown.append(("display", data["text/plain"]))
        return SimpleNamespace(update=update)

    python, displays = ModuleType("IPython"), ModuleType("IPython.display")
    python.get_ipython = lambda: SimpleNamespace(kernel=object())
    displays.display = display
    monkeypatch.setitem(sys.modules, "IPython", python)
    monkeypatch.setitem(sys.modules, "IPython.display", displays)
    return shown


SCRIPT = """
from jointmix.base.progress import show_progress
with show_progress() as tell:
    tell("sample", 10, 100, "0 divergences")
    tell("sample", 100, 100, "")
"""


def test_a_terminal_shows_bars_and_clears_them() -> None:
    ours, theirs = pty.openpty()
    environment = os.environ | {"TERM": "xterm", "COLUMNS": "80"}
    run = {"stdout": subprocess.PIPE, "stderr": theirs, "env": environment, "timeout": 60}
    done = subprocess.run([sys.executable, "-c", SCRIPT], check=True, **run)
    shown = os.read(ours, 100_000).decode()
    for end in (ours, theirs):
        os.close(end)
    assert done.stdout == b""
    assert "sample" in shown
    assert "100/100" in shown
    # The cursor is back, and the line erased.
    assert shown.endswith("\x1b[2K")


@pytest.mark.usefixtures("terminal")
@pytest.mark.parametrize("wanted", [None, True])
def test_bars_take_hostile_notes(wanted: bool | None, capsys: pytest.CaptureFixture[str]) -> None:
    with show_progress(wanted) as tell:
        tell("data", 1, 1, "[/bold] column '[red]x'\x1b[31m")
    assert capsys.readouterr().out == ""


def test_pipelines_stay_silent(capsys: pytest.CaptureFixture[str]) -> None:
    run()
    run(False)
    assert capsys.readouterr() == ("", "")


@pytest.mark.usefixtures("terminal")
def test_false_is_silent_on_a_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    run(False)
    assert capsys.readouterr() == ("", "")


@pytest.mark.usefixtures("terminal")
def test_other_threads_and_processes_stay_silent(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    monkeypatch.setattr(multiprocessing, "parent_process", object)
    run()
    assert capsys.readouterr() == ("", "")


def test_true_writes_lines_two_seconds_apart(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    clock = iter([0.0, 1.9, 2.1, 3.0, 4.2])
    monkeypatch.setattr(time, "monotonic", lambda: next(clock))
    with show_progress(True) as tell:
        for done in range(4):
            tell("sample", done, 100, "2 divergences\n")
    assert capsys.readouterr() == ("", "sample 1/100 2 divergences\nsample 3/100 2 divergences\n")


def test_a_notebook_has_one_line_that_is_replaced(
    notebook: list[tuple[str, str]],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    clock = iter([0.0, 0.1, 0.3, 0.4, 0.6, 2.5])
    monkeypatch.setattr(time, "monotonic", lambda: next(clock))
    with show_progress() as tell:
        for done in range(4):
            tell("sample", done, 4, "")
    assert [how for how, _ in notebook] == ["display", "update", "update", "update"]
    assert [text for _, text in notebook] == ["…", "sample 1/4", "sample 3/4", "done in 2.5 s"]
    assert capsys.readouterr() == ("", "")


def test_an_interrupted_notebook_says_so(notebook: list[tuple[str, str]]) -> None:
    with pytest.raises(KeyboardInterrupt), show_progress():
        raise KeyboardInterrupt
    assert notebook[-1][1].startswith("stopped after")
    run(False)
    assert len(notebook) == 2


def test_ipython_on_a_terminal_is_no_notebook(monkeypatch: pytest.MonkeyPatch) -> None:
    python = ModuleType("IPython")
    python.get_ipython = lambda: SimpleNamespace()
    monkeypatch.setitem(sys.modules, "IPython", python)
    assert not module._in_notebook()
    python.get_ipython = lambda: None
    assert not module._in_notebook()


def test_a_function_is_called_itself() -> None:
    told: list[tuple[object, ...]] = []
    run(lambda *step: told.append(step))
    assert told == STEPS


def test_what_can_be_called_with_progress() -> None:
    with pytest.raises(SpecError, match="progress must be true, false, a function or None; got 1"):
        progress_option(1)
    for function in (jm.fit, jm.compare, jm.kfold, jm.reloo, jm.calibrate, jm.crosscheck):
        assert inspect.signature(function).parameters["progress"].default is None
