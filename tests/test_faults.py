"""What breaks around the package: full disks, killed processes, interrupts, little memory.

In every case the file that was there stays whole, one sentence says what is wrong, and nothing is
left behind.
"""

import contextlib
import errno
import os
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import textwrap
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr
from test_cli import assert_refused, call, names
from test_cli_scores import RECIPE
from test_sampling import spec_of, two_lines
from test_storage import small_tree

from jointmix.base.errors import (
    SamplingError,
    StorageError,
    lacks_memory,
    sentence,
)
from jointmix.cli.building import build
from jointmix.fitting.workflow import fit, recover
from jointmix.model.simulate import four_clusters, simulate
from jointmix.storage import draft, files, folders
from jointmix.storage.files import FIT_SUFFIXES
from jointmix.storage.trees import load, save

COMMAND = Path(sys.executable).with_name("jointmix")
OTHER = xr.DataTree(xr.Dataset({"a": ("n", np.arange(50_000.0))}))
ERRNOS = ("ENOSPC", "EIO", "EACCES", "EROFS", "EDQUOT")


@pytest.fixture(params=FIT_SUFFIXES)
def stored(tmp_path: Path, request: pytest.FixtureRequest) -> Path:
    return save(small_tree(), tmp_path / f"fit{request.param}")


def contents(path: Path) -> dict[str, bytes]:
    """Every file at and below a path."""
    parts = [path, *path.rglob("*")]
    return {str(part.relative_to(path)): part.read_bytes() for part in parts if part.is_file()}


def assert_untouched(path: Path, before: dict[str, bytes]) -> None:
    """The old fit is there byte by byte, can be read, and is alone."""
    assert contents(path) == before
    xr.testing.assert_identical(load(path), small_tree())
    assert [each.name for each in path.parent.iterdir()] == [path.name]


def assert_save_fails(path: Path, words: str = "") -> None:
    with pytest.raises(StorageError) as caught:
        save(OTHER, path)
    assert str(path) in str(caught.value)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


def failing(function: Callable[..., Any], number: int, code: int) -> Callable[..., Any]:
    """The function, whose call of that number fails; -1 fails always."""
    calls = []

    def fails(*arguments: Any, **options: Any) -> Any:
        calls.append(arguments)
        if number in (-1, len(calls)):
            raise OSError(code, os.strerror(code), str(arguments[0]))
        return function(*arguments, **options)

    return fails


@pytest.mark.parametrize("number", [1, 2, 4])
@pytest.mark.parametrize("code", ERRNOS)
@pytest.mark.parametrize("step", ["fsync", "open"])
def test_a_step_of_saving_that_fails_keeps_the_old_fit(
    stored: Path, monkeypatch: pytest.MonkeyPatch, step: str, code: str, number: int
) -> None:
    """Of a file the first, of a folder any of its files or its lists of names."""
    if stored.suffix != ".zarr" and number > 1:
        number = 1
    before = contents(stored)
    where = os if step == "fsync" else Path
    with monkeypatch.context() as patch:
        patch.setattr(where, step, failing(getattr(where, step), number, getattr(errno, code)))
        assert_save_fails(stored, os.strerror(getattr(errno, code)))
    assert_untouched(stored, before)
    save(OTHER, stored)
    assert load(stored).sizes["n"] == 50_000


@pytest.mark.parametrize("number", [1, 2, -1])
@pytest.mark.parametrize("code", ERRNOS)
def test_a_rename_that_fails_keeps_the_old_fit(
    stored: Path, monkeypatch: pytest.MonkeyPatch, code: str, number: int
) -> None:
    step = "rename" if stored.suffix == ".zarr" else "replace"
    if step == "replace":
        number = 1
    before = contents(stored)
    with monkeypatch.context() as patch:
        patch.setattr(os, step, failing(getattr(os, step), number, getattr(errno, code)))
        assert_save_fails(stored)
    assert_untouched(stored, before)


def test_a_folder_that_cannot_even_be_put_back_is_read_where_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As if the process had been killed between the renames."""
    stored = save(small_tree(), tmp_path / "fit.zarr")
    rename, calls = os.rename, []

    def fails(*places: Path) -> None:
        calls.append(places)
        if len(calls) > 1:
            raise OSError(errno.EIO, "Input/output error")
        rename(*places)

    with monkeypatch.context() as patch:
        patch.setattr(os, "rename", fails)
        assert_save_fails(stored, "Input/output error")
    assert not stored.exists()
    xr.testing.assert_identical(load(stored), small_tree())
    save(OTHER, stored)
    assert load(stored).sizes["n"] == 50_000
    assert [each.name for each in tmp_path.iterdir()] == ["fit.zarr"]


def half_written(write: Callable[[bytes], int], code: int) -> Callable[[bytes], int]:
    def fails(content: bytes) -> int:
        write(content[: len(content) // 2])
        raise OSError(code, os.strerror(code))

    return fails


@pytest.mark.parametrize("code", ERRNOS)
def test_a_write_that_stops_half_way_keeps_the_old_fit(
    stored: Path, monkeypatch: pytest.MonkeyPatch, code: str
) -> None:
    before, number = contents(stored), getattr(errno, code)

    def write(path: Path, content: bytes | Iterable[bytes]) -> None:
        whole = content if isinstance(content, bytes) else b"".join(content)
        with path.open("xb") as stream:
            half_written(stream.write, number)(whole)

    with monkeypatch.context() as patch:
        patch.setattr(files, "write_synced", write)
        patch.setattr(folders, "write_synced", write)
        assert_save_fails(stored, os.strerror(number))
    assert_untouched(stored, before)


@pytest.mark.parametrize("error", [KeyboardInterrupt, MemoryError, SystemExit])
@pytest.mark.parametrize("step", ["fsync", "rename", "replace"])
def test_an_interrupt_while_saving_keeps_the_old_fit(
    stored: Path, monkeypatch: pytest.MonkeyPatch, step: str, error: type[BaseException]
) -> None:
    before = contents(stored)

    def interrupt(*_: object) -> None:
        raise error

    used = step == "fsync" or (step == "rename") == (stored.suffix == ".zarr")
    with monkeypatch.context() as patch:
        patch.setattr(os, step, interrupt)
        with pytest.raises(error) if used else contextlib.nullcontext():
            save(small_tree(), stored)
    assert_untouched(stored, before)


# Faults that the system makes, not the test.


@contextlib.contextmanager
def limited(kind: int, value: int) -> Iterator[None]:
    soft, hard = resource.getrlimit(kind)
    resource.setrlimit(kind, (value, hard))
    try:
        yield
    finally:
        resource.setrlimit(kind, (soft, hard))


@pytest.mark.parametrize("size", [0, 1, 1000, 100_000])
def test_a_limit_of_the_file_size_keeps_the_old_fit(stored: Path, size: int) -> None:
    """Python ignores SIGXFSZ, so that a write beyond the limit fails with EFBIG."""
    before = contents(stored)
    with limited(resource.RLIMIT_FSIZE, size):
        assert_save_fails(stored, "File too large")
    assert_untouched(stored, before)


@pytest.mark.parametrize("at_most", [0, 1000, 20_000])
def test_a_large_fit_is_put_together_on_the_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, at_most: int
) -> None:
    """The same bytes as in memory; what fails there is one sentence, and leaves nothing."""
    path = save(small_tree(), tmp_path / "fit.nc")
    expected = path.read_bytes()
    monkeypatch.setattr(draft, "_IN_MEMORY", at_most)
    assert save(small_tree(), path).read_bytes() == expected
    with limited(resource.RLIMIT_FSIZE, 1000):
        assert_save_fails(path, "File too large")
    assert path.read_bytes() == expected
    assert [each.name for each in tmp_path.iterdir()] == ["fit.nc"]


def test_too_many_open_files_keep_the_old_fit(stored: Path) -> None:
    before = contents(stored)
    with contextlib.ExitStack() as held, limited(resource.RLIMIT_NOFILE, 64):
        with contextlib.suppress(OSError):
            while True:
                held.enter_context(open(os.devnull, "rb"))
        with pytest.raises(StorageError, match=r"cannot be (written|stored)|Too many open files"):
            save(OTHER, stored)
        with pytest.raises(StorageError, match="Too many open files"):
            load(stored)
    # Without a handle, a folder cannot even be emptied.
    for each in stored.parent.glob(".*.tmp"):
        assert stored.suffix == ".zarr"
        shutil.rmtree(each)
    assert_untouched(stored, before)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 1 MB of its own."""
    place = tmp_path / "disk"
    place.mkdir()
    made = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=1m,nr_inodes=200", "tmpfs", place],
        capture_output=True,
        check=False,
    )
    if made.returncode:
        pytest.skip("file systems cannot be mounted here")
    yield place
    subprocess.run(["umount", "-l", place], check=True)


@pytest.mark.parametrize("suffix", FIT_SUFFIXES)
def test_a_full_disk_keeps_the_old_fit(small_disk: Path, suffix: str) -> None:
    stored = save(small_tree(), small_disk / f"fit{suffix}")
    before = contents(stored)
    large = xr.DataTree(xr.Dataset({"a": ("n", np.ones(200_000))}))
    with pytest.raises(StorageError, match="No space left on device"):
        save(large, stored)
    assert_untouched(stored, before)


@pytest.mark.parametrize("suffix", FIT_SUFFIXES)
def test_a_disk_without_names_left_keeps_the_old_fit(small_disk: Path, suffix: str) -> None:
    stored = save(small_tree(), small_disk / f"fit{suffix}")
    before = contents(stored)
    with contextlib.suppress(OSError):
        for number in range(300):
            (small_disk / f"{number}").touch()
    with pytest.raises(StorageError, match="No space left on device"):
        save(OTHER, stored)
    for path in small_disk.iterdir():
        if path != stored:
            path.unlink()
    assert_untouched(stored, before)


@pytest.mark.parametrize("suffix", FIT_SUFFIXES)
def test_a_read_only_disk_keeps_the_old_fit(small_disk: Path, suffix: str) -> None:
    stored = save(small_tree(), small_disk / f"fit{suffix}")
    before = contents(stored)
    subprocess.run(["mount", "-o", "remount,ro", small_disk], check=True)
    assert_save_fails(stored, "cannot be written")
    assert_untouched(stored, before)


@pytest.fixture
def own_folder() -> Iterator[Path]:
    """A folder that its owner alone may look into, where all may look at what is above it."""
    with tempfile.TemporaryDirectory() as place:
        yield Path(place)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
@pytest.mark.parametrize("suffix", FIT_SUFFIXES)
def test_a_folder_of_another_user_is_named(own_folder: Path, suffix: str) -> None:
    stored = save(small_tree(), own_folder / f"fit{suffix}")
    before = contents(stored)
    load(stored)  # What Python loads late is loaded while it can be.
    # A folder open to its owner alone: the fit is not even seen.
    as_nobody(assert_save_fails, stored)
    with pytest.raises(StorageError):
        as_nobody(load, stored)
    own_folder.chmod(0o755)
    as_nobody(lambda path: assert_save_fails(path, "cannot be written"), stored)
    xr.testing.assert_identical(as_nobody(load, stored), small_tree())
    for part in (stored, *stored.rglob("*")):
        part.chmod(0o700 if part.is_dir() else 0o600)
    with pytest.raises(StorageError, match=r"cannot be read \(Permission denied\)"):
        as_nobody(load, stored)
    assert_untouched(stored, before)


def as_nobody(act: Callable[[Path], Any], path: Path) -> Any:
    os.seteuid(65534)
    try:
        return act(path)
    finally:
        os.seteuid(0)


# Processes that are killed, and processes that meet.

SAVING = """
    import sys
    from pathlib import Path
    from jointmix.storage.files import write_file
    from jointmix.storage.folders import write_folder
    path, sources = Path(sys.argv[1]), [Path(each) for each in sys.argv[2:]]
    def members(root):
        found = {each.relative_to(root).as_posix(): each.read_bytes()
                 for each in root.rglob("*") if each.is_file()}
        del found["jointmix.json"]
        return found
    read = members if path.suffix == ".zarr" else Path.read_bytes
    write = write_folder if path.suffix == ".zarr" else write_file
    versions = [read(each) for each in sources]
    print("ready", flush=True)
    while True:
        for version in versions:
            write(path, version)
"""


def saving(path: Path, versions: list[Path]) -> subprocess.Popen[str]:
    """A process that saves the versions in turn until it is killed."""
    process = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(SAVING), path, *versions],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    return process


@pytest.mark.parametrize("suffix", FIT_SUFFIXES)
def test_a_process_killed_while_saving_leaves_a_whole_fit(suffix: str, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    versions = [
        save(tree, tmp_path / f"{n}{suffix}") for n, tree in enumerate((small_tree(), OTHER))
    ]
    known = [load(version) for version in versions]
    path, rng = tmp_path / "out" / f"fit{suffix}", np.random.default_rng(5)
    save(small_tree(), path)
    for _ in range(12):
        process = saving(path, versions)
        time.sleep(rng.uniform(0, 0.05))
        process.kill()
        _, said = ended(process, 20)
        assert (process.returncode, said) == (-signal.SIGKILL, "")
        found = load(path)
        assert any(found.identical(tree) for tree in known)
    # What killed processes have put aside is cleared by the next that saves.
    save(OTHER, path)
    assert load(path).identical(known[1])
    left = {name for name in names(tmp_path / "out") if not name.endswith(".tmp")}
    assert left == {path.name}


@pytest.mark.parametrize("suffix", FIT_SUFFIXES)
def test_processes_that_save_to_one_place_leave_a_whole_fit(suffix: str, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    versions = [
        save(tree, tmp_path / f"{n}{suffix}") for n, tree in enumerate((small_tree(), OTHER))
    ]
    known = [load(version) for version in versions]
    path = save(small_tree(), tmp_path / "out" / f"fit{suffix}")
    processes = [saving(path, versions), saving(path, versions[::-1])]
    end = time.monotonic() + 2
    while time.monotonic() < end:
        found = load(path)
        assert any(found.identical(tree) for tree in known)
    for process in processes:
        assert process.poll() is None, process.communicate()
        process.kill()
        ended(process, 20)
    assert any(load(path).identical(tree) for tree in known)


def test_a_stale_temporary_file_is_in_nobodys_way(stored: Path) -> None:
    (stored.parent / ".0123456789abcdef.tmp").write_bytes(b"half")
    (stored.parent / f".{stored.name}.x.old").mkdir()
    save(OTHER, stored)
    assert load(stored).sizes["n"] == 50_000
    assert (stored.parent / ".0123456789abcdef.tmp").exists()


def test_a_clock_that_jumps_changes_nothing(stored: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither back to 1970 nor far ahead."""
    before = contents(stored)
    for now in (0.0, 4e9):
        monkeypatch.setattr(time, "time", lambda now=now: now)
        monkeypatch.setattr(time, "time_ns", lambda now=now: int(now * 1e9))
        save(small_tree(), stored)
        assert contents(stored) == before
    for part in (stored, stored.parent):
        os.utime(part, (0, 0))
    xr.testing.assert_identical(load(stored), small_tree())


# The command line.


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    (tmp_path / "spec.toml").write_text(RECIPE)
    simulate(four_clusters(2, 1), 80, 1).to_csv(tmp_path / "t.csv", index=False)
    return tmp_path / "spec.toml"


STAGES = (
    "fitting.stages.make_dataset",
    "fitting.stages.fit_em",
    "fitting.stages.choose_ordering",
    "modes.density.densities",
    "fitting.stages.identify_draws",
    "fitting.stages.judge",
    "cli.building.save",
    "cli.building.report",
)


@pytest.mark.parametrize("stage", STAGES)
@pytest.mark.parametrize("command", ["run", "build"])
def test_ctrl_c_at_any_stage_ends_with_130(
    recipe: Path, monkeypatch: pytest.MonkeyPatch, stage: str, command: str
) -> None:
    before = names(recipe.parent)

    def interrupt(*_: object, **__: object) -> None:
        signal.raise_signal(signal.SIGINT)
        raise AssertionError("went on after Ctrl-C")

    monkeypatch.setattr(f"jointmix.{stage}", interrupt)
    result = call(command, recipe if command == "run" else recipe.parent, "--quiet")
    assert (result.exit_code, result.stdout.strip(), result.stderr) == (130, "", "interrupted\n")
    # A fit that is whole may stay when its report was not finished.
    assert names(recipe.parent) - {"spec.nc"} == before


BELOW = (
    (MemoryError("Unable to allocate"), "The memory does not suffice"),
    (OSError(errno.ENOSPC, "No space left on device", "/x"), "/x: No space left on device."),
    (OSError("no number"), "no number."),
)


@pytest.mark.parametrize(
    ("stage", "error", "words"),
    [*((stage, *BELOW[0]) for stage in STAGES), *((STAGES[1], *each) for each in BELOW[1:])],
)
def test_what_fails_below_the_package_is_one_sentence(
    recipe: Path, monkeypatch: pytest.MonkeyPatch, stage: str, error: Exception, words: str
) -> None:
    def fails(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr(f"jointmix.{stage}", fails)
    assert_refused(call("run", recipe, "--quiet"), words)
    (built,) = build(recipe.parent)
    assert built.status == "failed"
    assert words in built.message


def test_numpy_out_of_memory_is_one_sentence(recipe: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("jointmix.fitting.stages.fit_em", lambda *_: np.ones(10**15))
    assert_refused(call("run", recipe), "The memory does not suffice; free some")


def test_data_that_vanish_are_named(recipe: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Between the fingerprint of the data and their being read, or before."""
    import jointmix.cli.building as building

    mark = building.fingerprint

    def vanish(path: Path, recipe: object) -> str:
        found = mark(path, recipe)
        (path.parent / "t.csv").unlink()
        return found

    monkeypatch.setattr(building, "fingerprint", vanish)
    (built,) = build(recipe.parent)
    assert built.status == "failed"
    assert "t.csv: cannot be read (No such file or directory)" in built.message
    assert_refused(call("run", recipe), "t.csv: cannot be read")


def test_a_report_on_a_full_disk_keeps_the_fit_and_the_old_report(
    recipe: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe.write_text(f"{RECIPE}[report]\nsections = ['verdict']\n")
    assert call("run", recipe, "--quiet").exit_code == 0
    page, fit = (recipe.with_suffix(suffix) for suffix in (".html", ".nc"))
    before = page.read_bytes()
    monkeypatch.setattr(os, "fsync", failing(os.fsync, 2, errno.ENOSPC))
    assert_refused(call("run", recipe, "--quiet"), "spec.html: cannot be written (No space left")
    assert page.read_bytes() == before
    assert load(fit).attrs["verdict"] in ("OK", "CAUTION", "DO NOT USE")
    assert names(recipe.parent) == {"spec.toml", "t.csv", "spec.html", "spec.nc"}


# Draws that are written as they come.


def test_a_stream_on_a_full_disk_can_be_recovered(small_disk: Path) -> None:
    # Room for the first hundreds of 20,000 draws.
    room = "remount,size=4m,nr_inodes=4000"
    subprocess.run(["mount", "-o", room, small_disk], check=True)
    spec = spec_of(draws=20_000)
    with pytest.raises(SamplingError, match=r"is there room in .*/disk/s\? `recover` takes"):
        fit(two_lines(), spec, 1, stream=small_disk / "s")
    found = recover(two_lines(), spec, 1, small_disk / "s")
    assert found.attrs["partial"] == 1
    # They are the draws of a run that had room: nothing stands for what was not written.
    alone, n = fit(two_lines(), spec, 1), found["posterior"].sizes["draw"]
    for name, draws in found["posterior"].data_vars.items():
        expected = alone["posterior"][name].sel(chain=draws["chain"]).isel(draw=slice(0, n))
        # Back to the users' scale, batches of other sizes may round differently.
        np.testing.assert_allclose(draws, expected, rtol=1e-12)


@pytest.mark.parametrize("lost", ["all", "one variable's draws", "what describes them"])
def test_a_stream_that_vanishes_while_it_is_written_is_named(tmp_path: Path, lost: str) -> None:
    folder = tmp_path / "stream"
    gone = {
        "all": folder,
        "one variable's draws": folder / "draws" / "0.zarr" / "posterior" / "slope" / "c",
        "what describes them": folder / "draws" / "0.zarr" / "zarr.json",
    }[lost]
    done: list[float] = []

    def progress(stage: str, drawn: float, *_: object) -> None:
        if stage == "sample" and drawn > 1_500 and gone.exists() and not done:
            done.append(drawn)
            if gone.is_dir():
                # More is written while it is removed.
                shutil.rmtree(gone, ignore_errors=True)
            else:
                gone.unlink()

    with pytest.raises((StorageError, SamplingError)) as caught:
        fit(two_lines(), spec_of(draws=8_000), 1, progress, stream=folder)
    assert done
    assert str(folder) in str(caught.value)
    assert "\n" not in str(caught.value)


# Whole processes, as a shell starts them.


def run_shell(script: str, folder: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["bash", "-c", script],
        cwd=folder,
        env={**os.environ, "PATH": f"{COMMAND.parent}:{os.environ['PATH']}", **environment},
        capture_output=True,
        text=True,
        timeout=120,
        stdin=subprocess.DEVNULL,
        check=False,
    )


def session(leader: int) -> list[int]:
    """Processes of a session that are not dead, from /proc."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal():
            with contextlib.suppress(OSError):
                state, _, _, own = (entry / "stat").read_text().rpartition(")")[2].split()[:4]
                if int(own) == leader and state not in "ZX":
                    found.append(int(entry.name))
    return found


def arguments_of(pid: int) -> str:
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/cmdline").read_text().replace("\0", " ")
    return ""


def wait_for(condition: Callable[[], Any], seconds: float = 60) -> Any:
    end = time.monotonic() + seconds
    while not (found := condition()) and time.monotonic() < end:
        time.sleep(0.05)
    assert found, "waited in vain"
    return found


def ended(process: subprocess.Popen[str], seconds: float) -> tuple[str, str]:
    """What a command wrote; one that does not end in time says where it stands."""
    try:
        return process.communicate(timeout=seconds)
    except subprocess.TimeoutExpired:
        process.send_signal(signal.SIGABRT)
        stands = process.communicate(timeout=10)[1]
    raise AssertionError(f"not ended after {seconds} s:\n{stands}")


LONG = RECIPE.replace("draws = 100", "draws = 2000000")


@pytest.mark.parametrize(
    "fault", ["SIGINT to all", "SIGINT to all at once", "SIGTERM", "a worker killed"]
)
def test_a_build_that_is_cut_off_leaves_no_process_and_no_half_file(
    recipe: Path, fault: str
) -> None:
    recipe.write_text(LONG)
    recipe.with_name("other.toml").write_text(LONG)
    before = names(recipe.parent)
    process = subprocess.Popen(
        [COMMAND, "build", recipe.parent, "--jobs", "2", "--quiet"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        env=os.environ | {"PYTHONFAULTHANDLER": "1"},
    )

    def workers() -> list[int]:
        own = [pid for pid in session(process.pid) if "LokyProcess" in arguments_of(pid)]
        return own if len(own) == 2 else []

    try:
        own = wait_for(workers)
        if not fault.endswith("at once"):
            time.sleep(1)
        if fault.startswith("SIGINT"):
            os.killpg(process.pid, signal.SIGINT)
        else:
            os.kill(*((process.pid, signal.SIGTERM) if fault == "SIGTERM" else (own[0], 9)))
        if fault == "a worker killed":
            # What it was doing is begun again, once.
            again = wait_for(lambda: [pid for pid in workers() if pid not in own])
            os.kill(again[0], 9)
        out, said = ended(process, 30)
        wait_for(lambda: not session(process.pid), 15)
    finally:
        for pid in session(process.pid):
            os.kill(pid, signal.SIGKILL)
    assert "Traceback" not in said
    if fault == "a worker killed":
        assert process.returncode == 2
        assert out.count("failed") == 2
        assert "was killed, perhaps for want of memory; use fewer jobs" in out
        assert names(recipe.parent) == before | {"index.html"}
    else:
        assert (process.returncode, said) == (130, "interrupted\n")
        assert names(recipe.parent) == before


@pytest.mark.parametrize("sent", [signal.SIGINT, signal.SIGTERM])
def test_a_long_run_that_is_asked_to_end_keeps_its_draws(recipe: Path, sent: int) -> None:
    """A scheduler sends SIGTERM some seconds before it kills."""
    recipe.write_text(LONG)
    process = subprocess.Popen(
        [COMMAND, "fit", recipe],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        env=os.environ | {"PYTHONFAULTHANDLER": "1"},
    )
    assert process.stderr is not None
    lines = []
    while not (lines and lines[-1].startswith("sample")):
        lines.append(process.stderr.readline())
        assert lines[-1], "ended before it sampled"
    time.sleep(0.2)
    process.send_signal(sent)
    out, said = ended(process, 100)
    assert process.returncode == 0
    assert "Traceback" not in said
    assert "partial" in out
    assert not session(process.pid)
    assert load(recipe.with_suffix(".nc")).attrs["partial"] == 1
    assert names(recipe.parent) == {"spec.toml", "t.csv", "spec.nc"}


INTERRUPTED = {
    # Python drops what callbacks of its garbage collector raise.
    "in a callback": """
    def callback(*_):
        gc.callbacks.clear()
        signal.raise_signal(signal.SIGINT)

    gc.callbacks.append(callback)
    gc.collect()
    while True:
        pass
""",
    # As Numba does where a callback of LLVM's was cut short.
    "and another error comes of it": """
    try:
        signal.raise_signal(signal.SIGINT)
    except KeyboardInterrupt:
        raise RuntimeError("no compiled object yet") from None
""",
    "and what it left half made complains": """
    class Half:
        def __del__(self):
            del self.never_set

    left = Half()
    signal.raise_signal(signal.SIGINT)
""",
}
# A shell may ask the process and its group.
INTERRUPTED["and comes twice"] = """
    import typer
    echo = typer.echo

    def and_again(*given, **named):
        echo(*given, **named)
        signal.raise_signal(signal.SIGINT)

    typer.echo = and_again
    signal.raise_signal(signal.SIGINT)
"""
# Python waits for threads before it ends.
INTERRUPTED["and once more, as it still waits"] = """
    import os, threading, time
    threading.Thread(target=time.sleep, args=(30,)).start()
    threading.Timer(1.5, os.kill, (os.getpid(), signal.SIGINT)).start()
    signal.raise_signal(signal.SIGINT)
"""


def waiting(body: str) -> subprocess.CompletedProcess[str]:
    """A command that runs some code."""
    code = f"""
import gc, signal
from jointmix.cli import commands as cli

@cli.app.command("wait")
def wait():
{body}

cli.main()
"""
    return subprocess.run(
        [sys.executable, "-c", code, "wait"], capture_output=True, text=True, timeout=60
    )


@pytest.mark.parametrize("body", INTERRUPTED.values(), ids=INTERRUPTED)
def test_ctrl_c_in_a_library_is_not_lost(body: str) -> None:
    done = waiting(body)
    assert (done.returncode, done.stderr) == (130, "interrupted\n")


def test_what_is_tidied_up_is_not_cut_off_by_the_same_request() -> None:
    done = waiting("""
    try:
        signal.raise_signal(signal.SIGINT)
    finally:
        signal.raise_signal(signal.SIGINT)
        print("tidy")
""")
    assert (done.returncode, done.stdout, done.stderr) == (130, "tidy\n", "interrupted\n")


def test_ctrl_c_while_the_program_is_loaded() -> None:
    code = """
import signal, sys

class Asks:
    def find_spec(self, name, *_):
        if name == "typer":
            signal.raise_signal(signal.SIGINT)

sys.meta_path.insert(0, Asks())
from jointmix.cli import main
main()
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (130, "interrupted\n")


def test_comparing_in_threads_ends_at_ctrl_c(recipe: Path) -> None:
    recipe.write_text(LONG)
    process = subprocess.Popen(
        [COMMAND, "compare", recipe, "--clusters", "1-3", "--jobs", "2"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        env=os.environ | {"PYTHONFAULTHANDLER": "1"},
    )
    assert process.stderr is not None
    told = [""]
    while not told[-1].startswith("screen"):
        told.append(process.stderr.readline())
        assert process.poll() is None, ("ended before it compared", told, process.stderr.read())
    time.sleep(3)
    process.send_signal(signal.SIGINT)
    out, said = ended(process, 60)
    assert (process.returncode, out.strip()) == (130, ""), said
    assert said.splitlines()[-1] == "interrupted"
    assert "Traceback" not in said
    assert not session(process.pid)


@pytest.mark.parametrize(
    ("script", "code"),
    [
        # What fits into the pipe may be written before the reader has gone.
        ("jointmix simulate --rows 20000 | head -1; exit ${PIPESTATUS[0]}", (0, 1)),
        ("jointmix simulate --rows 200000 | true; exit ${PIPESTATUS[0]}", (1,)),
        ("jointmix simulate --rows 5 >&-", (0, 1, 2)),
        ("jointmix simulate --rows 5 > /dev/full", (1, 2)),
        ("jointmix simulate --rows 5 2>&-", (0,)),
        ("jointmix simulate --rows 5 --out /dev/full", (2,)),
        ("jointmix simulate --rows 5 --out no/folder.csv 2>&-", (2,)),
    ],
)
def test_closed_and_full_outputs_end_quietly(
    script: str, code: tuple[int, ...], tmp_path: Path
) -> None:
    done = run_shell(script, tmp_path)
    assert done.returncode in code, done
    assert "Traceback" not in done.stderr, done.stderr
    assert len(done.stderr.splitlines()) <= 1


@pytest.mark.parametrize("kilobytes", [400_000, 440_000, 480_000, 700_000, 1_500_000, 3_000_000])
def test_little_memory_is_named_or_refused(recipe: Path, kilobytes: int) -> None:
    """From less than Python's libraries take to nearly enough."""
    done = run_shell(f"ulimit -v {kilobytes}; jointmix fit spec.toml --quiet", recipe.parent)
    assert done.returncode >= 0, done
    assert done.returncode < 128, done
    if done.returncode == 0:
        load(recipe.with_suffix(".nc"))
    else:
        assert done.returncode == 2, done.stderr[-2000:]
        assert done.stderr.startswith("error: ")
        assert names(recipe.parent) == {"spec.toml", "t.csv"}


@pytest.mark.parametrize(
    ("error", "short"),
    [
        (MemoryError(), True),
        (ImportError("h5g.so: failed to map segment from shared object"), True),
        (ImportError("x.so: Cannot allocate memory in static TLS block"), True),
        (OSError("Could not find/load libllvmlite.so: failed to map segment"), True),
        (ModuleNotFoundError("No module named 'x'"), False),
        (FileNotFoundError(errno.ENOENT, "No such file or directory", "a"), False),
        (StorageError("cannot allocate memory.csv: cannot be read."), False),
    ],
)
def test_libraries_without_room_are_want_of_memory(error: Exception, short: bool) -> None:
    assert lacks_memory(error) is short
    if short:
        assert sentence(error).startswith("The memory does not suffice")


@pytest.mark.parametrize("link", ["__cause__", "__context__"])
@pytest.mark.parametrize(
    ("behind", "short"),
    [
        (OSError("libllvmlite.so: failed to map segment from shared object"), True),
        (MemoryError(), True),
        (OSError("libllvmlite.so: wrong ELF class"), False),
        (StorageError("cannot allocate memory.csv: cannot be read."), False),
    ],
)
def test_want_of_memory_is_found_behind_another_error(
    behind: Exception, short: bool, link: str
) -> None:
    error = OSError("Could not find/load shared object file 'libllvmlite.so'")
    setattr(error, link, behind)
    assert lacks_memory(error) is short


@pytest.mark.parametrize("kilobytes", [200_000, 3_000_000])
def test_want_of_memory_is_found_where_an_import_forgets_it(kilobytes: int) -> None:
    code = "from jointmix.base.errors import lacks_memory as f; print(f(ImportError('no array')))"
    done = run_shell(f'ulimit -v {kilobytes}; {sys.executable} -c "{code}"', Path.cwd())
    assert (done.returncode, done.stdout.strip()) == (0, str(kilobytes == 200_000)), done.stderr


def test_an_import_that_fails_for_other_reasons_is_no_sentence(
    recipe: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(_: object) -> None:
        raise ImportError("cannot import name 'x'")

    monkeypatch.setattr("jointmix.fitting.recipe.read_recipe", broken)
    assert isinstance(call("check", recipe).exception, ImportError)
    monkeypatch.setattr("jointmix.fitting.recipe.read_recipe", failing(broken, -1, errno.ENOMEM))
    assert_refused(call("check", recipe), "memory")


def test_a_bare_environment_is_enough(recipe: Path) -> None:
    """Without a terminal, a home, a locale or a folder for caches that can be written to."""
    text = recipe.read_text().replace('"x1"', '"größe ξ"')
    recipe.write_text(
        text + '[report]\ntitle = "Ξ – größe"\nsections = ["verdict", "clusters"]\n',
        encoding="utf-8",
    )
    table = simulate(four_clusters(2, 1), 80, 1).rename(columns={"x1": "größe ξ"})
    table.to_csv(recipe.with_name("t.csv"), index=False)
    nowhere = dict.fromkeys(("HOME", "MPLCONFIGDIR", "XDG_CACHE_HOME", "TMPDIR"), "/proc/none")
    plain = {"LC_ALL": "C", "LANG": "C", "PYTHONUTF8": "0", "PYTHONIOENCODING": "ascii:strict"}
    done = run_shell("jointmix run spec.toml", recipe.parent, **nowhere, **plain, TERM="dumb")
    assert done.returncode == 0, done.stderr[-3000:]
    assert "Traceback" not in done.stderr
    assert "größe ξ" in recipe.with_suffix(".html").read_text("utf-8")
    missing = run_shell("jointmix fit spec.toml --out größe.zzz", recipe.parent, **plain)
    assert missing.returncode == 2
    assert missing.stderr.startswith("error: ")
    assert missing.stderr.count("\n") == 1


# A fit elsewhere, when its data are gone.


def test_a_fit_needs_neither_its_data_nor_its_place(recipe: Path, tmp_path: Path) -> None:
    moved = tmp_path / "elsewhere"
    moved.mkdir()
    told: dict[str, list[str]] = {}
    assert call("fit", recipe, "--out", recipe.with_name("fit.zarr"), "--quiet").exit_code == 0
    tree = load(recipe.with_name("fit.zarr"))
    for suffix in FIT_SUFFIXES:
        save(tree, recipe.with_name(f"fit{suffix}")).rename(moved / f"fit{suffix}")
    new = simulate(four_clusters(2, 1), 7, 2).drop(columns="y")
    new.to_csv(moved / "new.csv", index=False)
    recipe.with_name("t.csv").unlink()
    recipe.unlink()
    code = """
        import io, sys
        import pandas as pd
        from contextlib import redirect_stdout
        from jointmix.cli.commands import app
        for suffix in (".nc", ".zarr", ".zarr.zip"):
            for command in (["predict", f"fit{suffix}", "new.csv"], ["score", f"fit{suffix}"],
                            ["diagnose", f"fit{suffix}"],
                            ["report", f"fit{suffix}", "--out", f"r{suffix}.json",
                             "--section", "verdict", "--section", "clusters"]):
                print(f"### {command[0]}", flush=True)
                app(command, standalone_mode=False)
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)],
        cwd=moved,
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    for part in done.stdout.split("### ")[1:]:
        command, _, text = part.partition("\n")
        told.setdefault(command, []).append(text)
    assert set(told) == {"predict", "score", "diagnose", "report"}
    assert len(told["predict"][0].splitlines()) == 8
    for command in ("predict", "score"):
        assert told[command][0] == told[command][1] == told[command][2]
    reports = [(moved / f"r{suffix}.json").read_bytes() for suffix in FIT_SUFFIXES]
    assert reports[0] == reports[1] == reports[2]
