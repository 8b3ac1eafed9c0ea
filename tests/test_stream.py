"""Draws on disk as they come, and what is recovered of a run that died."""

import dataclasses
import json
import os
import shutil
import subprocess
import sys
import textwrap
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import xarray as xr
from conftest import PARAMETERS
from test_sampling import same, spec_of, two_lines

from jointmix import Control, fit, recover
from jointmix.base.errors import SamplingError, SpecError, StorageError

SPEC = spec_of()


@pytest.fixture(scope="module")
def streamed(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, xr.DataTree]:
    folder = tmp_path_factory.mktemp("stream") / "new" / "folder"
    return folder, fit(two_lines(), SPEC, seed=1, stream=folder)


@pytest.fixture
def folder(streamed: tuple[Path, xr.DataTree], tmp_path: Path) -> Path:
    """A copy of a finished run's stream, to be damaged."""
    return shutil.copytree(streamed[0], tmp_path / "copy")


def test_streaming_changes_no_draw(streamed: tuple[Path, xr.DataTree]) -> None:
    tree = fit(two_lines(), SPEC, seed=1)
    assert same(tree, streamed[1])
    assert streamed[1].attrs["partial"] == 0
    assert tree.attrs["verdict"] == streamed[1].attrs["verdict"]


def test_a_stream_gives_the_same_fit(streamed: tuple[Path, xr.DataTree]) -> None:
    tree = recover(two_lines(), SPEC, 1, str(streamed[0]))
    assert same(tree, streamed[1])
    assert tree.attrs["partial"] == 1
    assert tree.attrs["backend"] == "nutpie, from a stream"
    assert set(tree.children) == set(streamed[1].children)
    # The memory is not the stream's: it may be deleted.
    assert all(isinstance(v.variable._data, np.ndarray) for v in tree["posterior"].values())


def test_other_backends_stream_too(tmp_path: Path) -> None:
    """They write unconstrained values, which recovery turns into parameters."""
    spec = spec_of(1, backend="jax", draws=30, tune=60)
    tree = fit(two_lines(), spec, seed=1, stream=tmp_path / "jax")
    assert same(tree, recover(two_lines(), spec, 1, tmp_path / "jax"))


def test_draws_are_on_disk_while_the_run_goes_on(tmp_path: Path) -> None:
    spec, control, paused = spec_of(draws=8_000), Control(), threading.Event()

    def progress(stage: str, done: float, *_: object) -> None:
        if stage == "sample" and done > 1000 and not paused.is_set():
            control.pause()
            paused.set()

    with ThreadPoolExecutor(1) as pool:
        run = pool.submit(fit, two_lines(), spec, 1, progress, control, tmp_path)
        try:
            assert paused.wait(60)
            found = recover(two_lines(), spec, 1, tmp_path)
            assert not run.done()
        finally:
            control.stop()
        tree = run.result(timeout=120)
    n = found["posterior"].sizes["draw"]
    assert 4 <= n <= tree["posterior"].sizes["draw"] < 8_000
    assert found.attrs["partial"] == tree.attrs["partial"] == 1
    # Of chains that went on for unequally long, those with the most draws are kept.
    chains = np.intersect1d(found["posterior"]["chain"], tree["posterior"]["chain"])
    for name in PARAMETERS:
        ours = found["posterior"][name].sel(chain=chains)
        theirs = tree["posterior"][name].sel(chain=chains).isel(draw=slice(0, n))
        np.testing.assert_allclose(ours, theirs, rtol=1e-12)


def test_draws_that_were_written_in_part_are_left_out(
    folder: Path, streamed: tuple[Path, xr.DataTree]
) -> None:
    """As in a run that was killed between writing one variable and the next."""
    chunks = sorted((folder / "draws" / "0.zarr" / "posterior" / "slope" / "c" / "0").iterdir())
    last = max(int(chunk.name) for chunk in chunks)
    shutil.rmtree(folder / "draws" / "0.zarr" / "posterior" / "slope" / "c" / "0" / str(last))
    tree = recover(two_lines(), SPEC, 1, folder)
    n = tree["posterior"].sizes["draw"]
    assert tree["posterior"].sizes["chain"] == 2
    assert 0 < SPEC.sampler.draws - n < SPEC.sampler.draws / 2
    for name, draws in tree["posterior"].data_vars.items():
        # Labels are the same, found from fewer draws.
        expected = streamed[1]["posterior"][name].isel(draw=slice(0, n))
        np.testing.assert_allclose(draws, expected, rtol=1e-12)


def test_too_few_draws_are_named(folder: Path) -> None:
    for chain in ("0.zarr", "1.zarr"):
        shutil.rmtree(folder / "draws" / chain / "posterior" / "slope" / "c")
    with pytest.raises(SamplingError, match="holds fewer than four finished draws"):
        recover(two_lines(), SPEC, 1, folder)


def test_chains_that_had_not_begun_are_no_harm(folder: Path) -> None:
    shutil.rmtree(folder / "draws" / "0.zarr")
    tree = recover(two_lines(), SPEC, 1, folder)
    assert tree["posterior"]["chain"].values.tolist() == [1]
    assert tree["posterior"].sizes["draw"] == SPEC.sampler.draws


# What is refused.


def test_another_run_is_not_recovered(folder: Path) -> None:
    other = dataclasses.replace(SPEC, noise="shared")
    given = {
        "table": (two_lines(seed=7), SPEC, 1),
        "spec": (two_lines(), other, 1),
        "seed": (two_lines(), SPEC, 2),
    }
    for name, (table, spec, seed) in given.items():
        with pytest.raises(StorageError) as caught:
            recover(table, spec, seed, folder)
        assert str(caught.value) == (
            f"The stream in {folder} was written by a run with another {name}; give `recover` "
            "what `fit` was given."
        )


def lose(*parts: str) -> Callable[[Path], None]:
    """Removes a file or a folder."""

    def damage(folder: Path) -> None:
        path = folder.joinpath(*parts)
        shutil.rmtree(path) if path.is_dir() else path.unlink()

    return damage


def overwrite(content: bytes, *parts: str) -> Callable[[Path], None]:
    return lambda folder: folder.joinpath(*parts).write_bytes(content) and None


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lose(), "holds no stream"),
        (lose("jointmix.json"), "holds no stream"),
        (lose("draws"), "holds no stream"),
        (overwrite(b'{"table": "ab', "jointmix.json"), "holds no stream"),
        (overwrite(b"\xff\xfe", "jointmix.json"), "holds no stream"),
        (overwrite(b"3", "jointmix.json"), "holds no stream"),
        (overwrite(b"[]", "jointmix.json"), "with another table"),
        (overwrite(b"", "draws", "0.zarr", "zarr.json"), "holds no stream"),
        (lose("draws", "0.zarr", "posterior"), "is damaged"),
        (lose("draws", "0.zarr", "sample_stats"), "is damaged"),
        (lose("draws", "0.zarr", "posterior", "slope"), "is damaged"),
        (overwrite(b"abc", "draws", "0.zarr", "sample_stats", "logp", "c", "0", "3"), "is damaged"),
    ],
)
def test_a_damaged_stream_is_named(
    damage: Callable[[Path], None], message: str, folder: Path
) -> None:
    damage(folder)
    with pytest.raises(StorageError, match=message) as caught:
        recover(two_lines(), SPEC, 1, folder)
    assert "\n" not in str(caught.value)


def test_a_folder_in_use_is_left_alone(tmp_path: Path, folder: Path) -> None:
    before = sorted(folder.rglob("*"))
    with pytest.raises(StorageError, match="is not empty; name a new one"):
        fit(two_lines(), SPEC, seed=1, stream=folder)
    assert sorted(folder.rglob("*")) == before
    (tmp_path / "file").write_text("mine")
    for path in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(StorageError, match=r"cannot be used: (File exists|Not a directory)"):
            fit(two_lines(), SPEC, seed=1, stream=path)
    assert (tmp_path / "file").read_text() == "mine"


@pytest.mark.parametrize("sampler", ["numpyro", "blackjax", "pymc", "laplace", "pathfinder"])
def test_only_nutpie_streams(sampler: str, tmp_path: Path) -> None:
    with pytest.raises(SpecError, match=f"Only the sampler 'nutpie' streams .* got '{sampler}'"):
        fit(two_lines(), spec_of(sampler=sampler), seed=1, stream=tmp_path / "new")
    assert not (tmp_path / "new").exists()


# A process that dies.


@pytest.mark.slow
def test_a_killed_run_is_recovered(tmp_path: Path) -> None:
    script = """
        import sys
        import jointmix as jm
        sys.path.insert(0, sys.argv[2])
        from test_sampling import spec_of, two_lines
        def main():
            def progress(stage, done, total, note):
                if stage == "sample" and done > 3000:
                    print("sampling", flush=True)
            spec = spec_of(draws=50_000, chains=4)
            jm.fit(two_lines(), spec, seed=1, progress=progress, stream=sys.argv[1])
        main()
    """
    here = str(Path(__file__).parent)
    process = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(script), str(tmp_path / "stream"), here],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
    )
    try:
        assert process.stdout is not None
        assert process.stdout.readline().startswith("sampling")
    finally:
        process.kill()
        process.communicate()
    assert process.returncode < 0
    spec = spec_of(draws=50_000, chains=4)
    tree = recover(two_lines(), spec, 1, tmp_path / "stream")
    posterior = tree["posterior"].to_dataset()
    assert tree.attrs["partial"] == 1
    assert 100 < posterior.sizes["draw"] < 50_000
    assert all(np.isfinite(draws).all() for draws in posterior.data_vars.values())
    assert json.loads((tmp_path / "stream" / "jointmix.json").read_text())["seed"] == 1
    # The same draws as those of a run that was left to itself.
    n = posterior.sizes["draw"]
    control = Control()

    def enough(stage: str, done: float, *_: object) -> None:
        if stage == "sample" and done > 4 * (n + 400):
            control.stop()

    alone = fit(two_lines(), spec, seed=1, progress=enough, control=control)
    chains = np.intersect1d(alone["posterior"]["chain"], posterior["chain"])
    both = min(n, alone["posterior"].sizes["draw"])
    for name in PARAMETERS:
        ours, theirs = (
            draws[name].sel(chain=chains).isel(draw=slice(0, both))
            for draws in (posterior, alone["posterior"])
        )
        np.testing.assert_allclose(ours, theirs, rtol=1e-12)
