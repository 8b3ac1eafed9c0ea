"""Progress: shown where a person looks, silent elsewhere; one line a notebook, bars a terminal."""

import inspect
import multiprocessing
import os
import pty
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from itertools import count
from types import ModuleType, SimpleNamespace

import pytest
import xarray as xr
from synthetic import fitted_tree

import jointmix as jm
from jointmix.base import progress as module
from jointmix.base.arguments import progress_option
from jointmix.base.errors import SpecError
from jointmix.base.progress import show_progress
from jointmix.fitting import crossvalidation

STEPS = [("sample", 10, 100, "0 divergences"), ("sample", 100, 100, "")]


def run(wanted: object = None) -> None:
    with show_progress(wanted) as tell:
        for step in STEPS:
            tell(*step)


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    del capsys  # It takes the place of standard error, by another object in the test than here.
    monkeypatch.setattr(type(sys.stderr), "isatty", lambda _: True)
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
    shown = capsys.readouterr()
    assert shown.out == ""
    assert "[/bold] column '[red]x' [31m" in shown.err


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


@pytest.fixture(scope="module")
def tree() -> xr.DataTree:
    return fitted_tree(2, 1, 40)


def refitting(tree: xr.DataTree, name: str, **options: object) -> jm.Scores:
    """``kfold`` with four folds, or ``reloo`` of four rows."""
    if name == "kfold":
        return jm.kfold(tree, folds=4, **options)  # type: ignore[arg-type]
    scores = jm.loo(tree)
    scores.pointwise["pareto_k"].values[:] = 0.1
    scores.pointwise["pareto_k"].values[[3, 8, 20, 31]] = 0.9
    return jm.reloo(tree, scores, **options)  # type: ignore[arg-type]


REFITTING = pytest.mark.parametrize(
    ("name", "jobs"), [(name, jobs) for name in ("kfold", "reloo") for jobs in (1, 2)]
)


@REFITTING
def test_each_refit_is_told(
    name: str, jobs: int, tree: xr.DataTree, monkeypatch: pytest.MonkeyPatch
) -> None:
    quiet: list[object] = []

    def fit(*_: object, progress: object) -> xr.DataTree:
        quiet.append(progress)
        return tree

    monkeypatch.setattr(crossvalidation, "fit", fit)
    told: list[tuple[object, ...]] = []
    refitting(tree, name, jobs=jobs, progress=lambda *step: told.append(step))
    assert sorted(told) == [(name, done, 4, "") for done in range(5)]
    assert told[0] == (name, 0, 4, "")
    # The bars of a fit inside would cross these.
    assert quiet == [False] * 4


def interrupting(tree: xr.DataTree) -> Callable[..., xr.DataTree]:
    """A fit that takes a moment, at whose second call Ctrl-C is pressed."""
    calls = count(1)

    def fit(*_: object, **__: object) -> xr.DataTree:
        if next(calls) == 2:
            os.kill(os.getpid(), signal.SIGINT)
        time.sleep(0.05)
        return tree

    return fit


@pytest.mark.usefixtures("terminal")
@REFITTING
def test_ctrl_c_leaves_no_bar_and_no_thread(
    name: str,
    jobs: int,
    tree: xr.DataTree,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(crossvalidation, "fit", interrupting(tree))
    before = set(threading.enumerate())
    with pytest.raises(KeyboardInterrupt):
        refitting(tree, name, jobs=jobs)
    shown = capsys.readouterr()
    assert shown.out == ""
    assert f"{name} " in shown.err
    # The cursor is back, and the line erased.
    assert "\x1b[?25h" in shown.err
    assert shown.err.endswith("\x1b[2K")
    for thread in set(threading.enumerate()) - before:
        thread.join(5)
        assert not thread.is_alive(), thread
    # What comes next is shown anew.
    monkeypatch.setattr(crossvalidation, "fit", lambda *_, **__: tree)
    refitting(tree, name)
    assert f"{name} " in capsys.readouterr().err


@pytest.mark.parametrize("name", ["kfold", "reloo"])
def test_ctrl_c_is_said_in_a_notebook(
    name: str,
    tree: xr.DataTree,
    notebook: list[tuple[str, str]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(crossvalidation, "fit", interrupting(tree))
    with pytest.raises(KeyboardInterrupt):
        refitting(tree, name)
    assert notebook[-1][1].startswith("stopped after")
