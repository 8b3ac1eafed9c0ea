"""What breaks around a comparison or a calibration in many jobs: schedulers, workers, full disks.

One sentence says what was lost, another what is kept, and the same command goes on from there.
"""

import errno
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from joblib.externals.loky import get_reusable_executor
from test_pool_results import SPEC, TABLE, assert_same
from test_pools import recipe_in, run

import jointmix as jm
from jointmix.base.errors import SamplingError, StorageError
from jointmix.storage import files

COMMAND = Path(sys.executable).with_name("jointmix")
NUMBERS = [1, 2, 3]


def compared(**options: Any) -> jm.Comparison:
    return jm.compare(TABLE, SPEC, NUMBERS, seed=5, **({"progress": False} | options))


@pytest.fixture(scope="module")
def alone() -> jm.Comparison:
    return compared()


@contextmanager
def a_cluster(workers: int, processes: bool) -> Iterator[Any]:
    distributed = pytest.importorskip("distributed", reason="needs the extra dask")
    with distributed.LocalCluster(
        n_workers=workers,
        threads_per_worker=1,
        processes=processes,
        dashboard_address=":0",
        protocol="tcp",
    ) as at:
        yield at


def once(stage: str, act: Callable[[], object]) -> Callable[[str, float, float, str], None]:
    """Progress that acts when the first job of a stage has ended."""
    done: list[str] = []

    def tell(now: str, number: float, _total: float, _note: str) -> None:
        if now == stage and number == 1 and not done:
            done.append(now)
            act()

    return tell


def test_a_scheduler_that_goes_leaves_what_is_kept(
    alone: jm.Comparison, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("jointmix.base.clusters._CONNECT_SECONDS", 2)
    with a_cluster(1, processes=False) as at:
        message = (
            r"The Dask scheduler at tcp.* was lost\. 1 of 3 fits is kept in .*kept, from which the "
            "same command goes on\\.$"
        )
        with pytest.raises(SamplingError, match=message):
            compared(
                pool=at.scheduler_address,
                store=tmp_path / "kept",
                progress=once("compare", at.close),
            )
    kept = {path: path.stat().st_mtime_ns for path in (tmp_path / "kept").iterdir()}
    assert len(kept) == 1
    assert_same(compared(store=tmp_path / "kept"), alone)
    # What was there is read, not made again.
    assert all(path.stat().st_mtime_ns == time for path, time in kept.items())
    assert len(list((tmp_path / "kept").iterdir())) == len(NUMBERS)


@pytest.mark.parametrize("stage", ["screen", "compare"])
def test_a_killed_process_changes_nothing(stage: str, alone: jm.Comparison) -> None:
    killed: list[int] = []

    def kill() -> None:
        killed.extend([*get_reusable_executor(2, reuse=True)._processes][:1])
        os.kill(killed[0], signal.SIGKILL)

    assert_same(compared(pool=2, progress=once(stage, kill)), alone)
    assert len(killed) == 1


def test_a_killed_worker_of_a_cluster_changes_nothing(alone: jm.Comparison) -> None:
    with a_cluster(2, processes=True) as at:
        worker = next(iter(at.workers.values()))
        kill = once("screen", lambda: os.kill(worker.pid, signal.SIGKILL))
        assert_same(compared(pool=at.scheduler_address, progress=kill), alone)


def full_disk(number: int) -> Callable[..., None]:
    """Writing a file, but for the so-manieth time."""
    write, calls = files.write_synced, []

    def fails(path: Path, content: bytes) -> None:
        calls.append(path)
        if len(calls) == number:
            path.touch()
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))
        write(path, content)

    return fails


@pytest.mark.parametrize("pool", [None, 2])
def test_a_full_disk_leaves_the_fits_before_it(
    pool: int | None, alone: jm.Comparison, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    message = (
        r"No space left on device\)\. 1 of 3 fits is kept in .*, from which the same command goes "
        r"on\.$"
    )
    with monkeypatch.context() as patch:
        patch.setattr(files, "write_synced", full_disk(2))
        with pytest.raises(StorageError, match=message) as caught:
            compared(pool=pool, store=tmp_path)
    assert "\n" not in str(caught.value)
    assert [path.suffix for path in tmp_path.iterdir()] == [".nc"]
    assert_same(compared(pool=pool, store=tmp_path), alone)


RECIPE = """
[data]
path = "t.csv"
features = ["x1"]
[model]
clusters = 1
[sampler]
sampler = "laplace"
chains = 1
draws = 100
starts = 2
"""


@pytest.fixture
def recipe(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    return recipe_in(tmp_path, RECIPE, monkeypatch)


#: A command in parts, and what its merging writes beside what it prints.
MERGED = {
    "compare": (["compare", "s.toml", "--clusters", "1-2"], ["--report", "made.md"], ["made.md"]),
    "calibrate": (
        ["calibrate", "s.toml", "--rows", "30", "--replicates", "4"],
        ["--out", "made.json", "--report", "made.md"],
        ["made.json", "made.md"],
    ),
}


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def parts_made(asked: list[str]) -> list[str]:
    """The command that merges, its parts made."""
    for part in ("1/2", "2/2"):
        assert run(*asked, "--store", "kept", "--part", part).exit_code == 0
    return [*asked, "--store", "kept", "--merge"]


def without_times(name: str, content: bytes) -> object:
    """What a file says, but for how long things took."""
    if not name.endswith(".json"):
        return content
    return {key: value for key, value in json.loads(content).items() if key != "seconds"}


@pytest.mark.parametrize("command", MERGED)
def test_a_full_disk_at_merging_loses_nothing(
    command: str, recipe: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked, options, made = MERGED[command]
    merge = parts_made(asked)
    kept = contents(recipe / "kept")
    for name in made:
        (recipe / name).write_text("before")
    for number, name in enumerate(made, start=1):
        with monkeypatch.context() as patch:
            patch.setattr(files, "write_synced", full_disk(number))
            failed = run(*merge, *options)
        assert failed.exit_code == 2
        assert f"{name}: cannot be written (No space left on device)." in failed.stderr
        assert len(failed.stderr.strip().splitlines()) == 1
        assert (recipe / name).read_text() == "before"
        assert contents(recipe / "kept") == kept
        assert {path.name for path in recipe.iterdir()} == {"t.csv", "s.toml", "kept", *made}
    merged = run(*merge, *options)
    assert merged.exit_code in (0, 1), merged.output
    assert all((recipe / name).read_text() != "before" for name in made)
    assert contents(recipe / "kept") == kept


@pytest.mark.parametrize("command", MERGED)
def test_two_may_merge_at_once(command: str, recipe: Path) -> None:
    asked, options, made = MERGED[command]
    merge = parts_made(asked)
    kept = contents(recipe / "kept")
    both = [
        subprocess.Popen(
            [COMMAND, *merge, *options, "--quiet", "--json"],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        for _ in range(2)
    ]
    said = [(*each.communicate(timeout=200), each.returncode) for each in both]
    together = {name: without_times(name, (recipe / name).read_bytes()) for name in made}
    one = run(*merge, *options, "--json")
    assert {code for *_, code in said} == {one.exit_code}, said
    assert {out.decode() for out, *_ in said} == {one.stdout}
    assert together == {name: without_times(name, (recipe / name).read_bytes()) for name in made}
    assert contents(recipe / "kept") == kept


@pytest.mark.usefixtures("recipe")
def test_a_part_that_finds_the_disk_full_goes_on_when_there_is_room(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked, *_ = MERGED["calibrate"]
    part = [*asked, "--store", "kept", "--part", "1/2"]
    with monkeypatch.context() as patch:
        patch.setattr(files, "write_synced", full_disk(1))
        failed = run(*part)
    assert failed.exit_code == 2
    assert "No space left on device" in failed.stderr
    assert list(Path("kept").iterdir()) == []
    assert run(*part).stdout == "part 1 of 2: 2 tables in kept\n"
