"""Tables in parts say what the same table in memory says, and faults are named with their part."""

import json
import os
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq
import pytest
import xarray as xr
from typer.testing import CliRunner

import jointmix as jm
from jointmix.base import clusters
from jointmix.base.errors import (
    ColumnTypeError,
    DataError,
    MemoryLimitError,
    MissingExtraError,
    PrecisionWarning,
    SpecError,
    StorageError,
)
from jointmix.cli.commands import app
from jointmix.model import drawn_parts
from jointmix.model.dataset import make_dataset
from jointmix.storage.part_folders import PartFolder, part_folder
from jointmix.tables import gathering, part_sources
from jointmix.tables.part_sources import open_parts

#: Where parts begin and end: one row, none, and two of ragged sizes.
BOUNDS = ((0, 1), (1, 1), (1, 131), (131, 300))
#: Batches of other shapes are summed in another order inside BLAS: some units in the last place.
CLOSE: dict[str, Any] = {"rtol": 1e-12, "atol": 1e-12}
LAPLACE = jm.SamplerSpec(sampler="laplace", draws=50, chains=2)


def table() -> pd.DataFrame:
    """300 rows of the four-cluster example with a factor of texts and one of categories."""
    rows = jm.simulate(jm.four_clusters(), 300, seed=1).drop(columns="cluster")
    place = np.arange(len(rows))
    return rows.assign(
        site=pd.Categorical(np.array(["b", "a", "c"])[place % 3], categories=["b", "a", "c"]),
        word=np.array(["up", "down"])[place % 2],
        unused=place,
    )


SPEC = jm.ModelSpec(
    n_clusters=4, formula="y ~ x1 + x2 + site + word", features=["x1", "x2"], sampler=LAPLACE
)


def written(folder: Path, rows: pd.DataFrame, bounds: Any = BOUNDS) -> Path:
    """The rows as files whose categories hold only the levels of their own rows."""
    folder.mkdir()
    for number, (first, last) in enumerate(bounds):
        part = rows[first:last].reset_index(drop=True)
        if "site" in part:
            part["site"] = part["site"].cat.remove_unused_categories()
        part.to_parquet(folder / f"{number}.parquet")
    return folder


@pytest.fixture(scope="module")
def whole() -> pd.DataFrame:
    return table()


@pytest.fixture(scope="module")
def folder(whole: pd.DataFrame, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return written(tmp_path_factory.mktemp("parts") / "table", whole)


@pytest.fixture(scope="module")
def tree(whole: pd.DataFrame) -> xr.DataTree:
    return jm.fit(whole, SPEC, progress=False)


def containers(folder: Path) -> Iterator[tuple[str, Callable[[], Any]]]:
    yield "text", lambda: str(folder)
    yield "path", lambda: folder
    yield "address", lambda: folder.as_uri()
    yield "dataset", lambda: ds.dataset(folder)
    yield "lazy frame", lambda: pytest.importorskip("polars").scan_parquet(folder / "*.parquet")
    yield "Dask", lambda: pytest.importorskip("dask.dataframe").read_parquet(folder)


@pytest.mark.parametrize("kind", ["text", "path", "address", "dataset", "lazy frame", "Dask"])
def test_a_dataset_is_the_same_from_any_container(
    kind: str, folder: Path, whole: pd.DataFrame
) -> None:
    expected = make_dataset(whole, SPEC)
    found = make_dataset(dict(containers(folder))[kind](), SPEC)
    assert found.digest == expected.digest
    np.testing.assert_array_equal(found.values, expected.values)
    np.testing.assert_array_equal(found.label, expected.label)
    assert found.spec == expected.spec
    assert found.source is not None
    assert expected.source is not None
    assert found.source.levels == expected.source.levels


@pytest.mark.parametrize("kind", ["text", "dataset", "lazy frame", "Dask"])
def test_parts_come_in_order_with_running_numbers(
    kind: str, folder: Path, whole: pd.DataFrame
) -> None:
    frames = list(open_parts(dict(containers(folder))[kind]()))
    found = pd.concat([frame.assign(site=frame["site"].astype(str)) for frame in frames])
    assert found.index.tolist() == list(range(300))
    for name in whole:
        assert found[name].tolist() == whole[name].astype(found[name].dtype).tolist(), name


def test_parts_have_bounded_rows_and_only_the_columns_asked_for(folder: Path) -> None:
    parts = open_parts(folder)
    sizes = [
        table.num_rows for place in range(4) for table in parts.tables(place, ["y", "x1"], most=50)
    ]
    assert sizes == [1, 50, 50, 30, 50, 50, 50, 19]
    assert next(parts.tables(0, ["y", "x1"])).column_names == ["y", "x1"]
    assert parts.n_rows == 300


def test_labels_that_pandas_stored_stay(whole: pd.DataFrame, tmp_path: Path) -> None:
    named = whole.set_index(pd.Index([f"r{i}" for i in range(300)], name="id"))
    for number, (first, last) in enumerate([(0, 100), (100, 300)]):
        named[first:last].to_parquet(tmp_path / f"{number}.parquet")
    assert make_dataset(tmp_path, SPEC).label.tolist() == named.index.tolist()
    assert "id" not in open_parts(tmp_path).columns


def test_folders_can_be_a_column(whole: pd.DataFrame, tmp_path: Path) -> None:
    for year, part in ((2020, whole[:100]), (2021, whole[100:])):
        (tmp_path / f"year={year}").mkdir()
        part.to_parquet(tmp_path / f"year={year}" / "rows.parquet")
    spec = jm.ModelSpec(n_clusters=1, features=["x1"], predictors=["year"], response="y")
    expected = whole.assign(year=np.where(np.arange(300) < 100, 2020, 2021))
    assert make_dataset(tmp_path, spec).digest == make_dataset(expected, spec).digest


@pytest.mark.parametrize(
    "parts",
    [
        [[1, 2], [3.5, None]],
        [[None, None], [1.0, 2.0]],
        [["a", "b"], ["c", None]],
        [[None, None], ["b", "a"]],
        [[True, False], [None, True]],
        [[None], [True, False]],
        [[2**53 + 1, 5], [None, 7]],
    ],
    ids=str,
)
def test_columns_are_put_together_as_pandas_does(parts: list[Any], tmp_path: Path) -> None:
    for number, part in enumerate(parts):
        pq.write_table(pa.table({"a": part}), tmp_path / f"{number}.parquet")
    found = gathering.gathered(open_parts(tmp_path), ["a"])["a"]
    together = [item for part in parts for item in part]
    for item, expected in zip(found.tolist(), together, strict=True):
        if expected is None:
            assert pd.isna(item)
        else:
            assert item == (float(expected) if type(expected) is int else expected)


def test_float32_stays_as_it_is_until_it_is_converted(tmp_path: Path) -> None:
    values = np.float32([0.1, 0.2, 0.3])
    pd.DataFrame({"a": values}).to_parquet(tmp_path / "0.parquet")
    found = gathering.gathered(open_parts(tmp_path), ["a"])["a"].to_numpy()
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found, values)


def test_ordered_categories_must_agree(tmp_path: Path) -> None:
    for number, order in enumerate((["lo", "hi"], ["hi", "lo"])):
        part = pd.DataFrame({"a": pd.Categorical(["lo", "hi"], order, ordered=True)})
        part.to_parquet(tmp_path / f"{number}.parquet")
    with pytest.raises(DataError, match=r"1\.parquet: the ordered categories of column 'a' stand"):
        gathering.gathered(open_parts(tmp_path), ["a"])


# Results, part by part


def read(out: Path) -> pd.DataFrame:
    assert not list(out.parent.glob("*.unfinished"))
    return pd.read_parquet(out)


def test_predictions_are_those_in_memory(
    tree: xr.DataTree, folder: Path, whole: pd.DataFrame, tmp_path: Path
) -> None:
    told: list[tuple[str, float, float, str]] = []
    out = jm.predict(
        tree, folder, (0.1, 0.5), out=tmp_path / "out", progress=lambda *each: told.append(each)
    )
    expected = jm.to_frame(jm.predict(tree, whole, (0.1, 0.5)))
    found = read(out).set_index("row")
    pd.testing.assert_frame_equal(found, expected, check_exact=False, check_names=False, **CLOSE)
    sizes = [pq.read_metadata(out / f"{i}.parquet").num_rows for i in range(4)]
    assert sizes == [last - first for first, last in BOUNDS]
    assert sorted(os.listdir(out)) == [f"{i}.parquet" for i in range(4)]
    assert told[-1][:3] == ("rows", 300, 300)


def test_predictions_of_parts_without_out_are_those_in_memory(
    tree: xr.DataTree, folder: Path, whole: pd.DataFrame
) -> None:
    xr.testing.assert_equal(jm.predict(tree, folder), jm.predict(tree, whole))


def test_joint_weighting_warns_once_of_all_rows(
    tree: xr.DataTree, folder: Path, whole: pd.DataFrame, tmp_path: Path
) -> None:
    with pytest.warns(PrecisionWarning) as one:
        expected = jm.predict(tree, whole, weighting="joint")
    with pytest.warns(PrecisionWarning) as other:
        out = jm.predict(tree, folder, weighting="joint", out=tmp_path / "out")
    assert [str(each.message) for each in one] == [str(each.message) for each in other]
    found = read(out)["effective_draws"]
    np.testing.assert_allclose(found, expected["effective_draws"], **CLOSE)


def test_responsibilities_are_those_in_memory(
    tree: xr.DataTree, folder: Path, whole: pd.DataFrame, tmp_path: Path
) -> None:
    expected = jm.responsibilities(tree, whole, (0.25,))
    found = read(jm.responsibilities(tree, folder, (0.25,), out=tmp_path / "out"))
    frame = jm.to_frame(expected)
    pd.testing.assert_frame_equal(found[[*frame]], frame, check_names=False, **CLOSE)
    for k in range(4):
        level = expected["responsibility_quantiles"].values[:, k, 0]
        np.testing.assert_allclose(found[f"p({k + 1}) q25"], level, **CLOSE)


def test_without_the_response_the_features_speak(
    tree: xr.DataTree, whole: pd.DataFrame, tmp_path: Path
) -> None:
    rows = written(tmp_path / "rows", whole.drop(columns="y"))
    found = read(jm.responsibilities(tree, rows, (), out=tmp_path / "out"))
    expected = jm.to_frame(jm.responsibilities(tree, whole.drop(columns="y"), ()))
    pd.testing.assert_frame_equal(found[[*expected]], expected, check_names=False, **CLOSE)
    assert "information" not in found


def test_log_densities_are_lists_of_draws(
    tree: xr.DataTree, folder: Path, whole: pd.DataFrame, tmp_path: Path
) -> None:
    expected = jm.log_density(tree, whole)
    found = read(jm.log_density(tree, folder, out=tmp_path / "out"))
    for name in ("joint", "feature", "conditional"):
        values = expected[name].stack(sample=("chain", "draw")).transpose("obs", "sample")
        np.testing.assert_allclose(np.stack(found[name]), values, **CLOSE)


def test_assigned_tables_keep_their_columns(
    tree: xr.DataTree, folder: Path, whole: pd.DataFrame, tmp_path: Path
) -> None:
    expected = jm.assign(whole, tree, prefix="f_")
    found = read(jm.assign(folder, tree, prefix="f_", out=tmp_path / "out"))
    assert found["site"].cat.categories.tolist() == ["b", "a", "c"]
    pd.testing.assert_frame_equal(found, expected, check_dtype=False, check_exact=False, **CLOSE)
    pd.testing.assert_frame_equal(jm.assign(folder, tree, "f_"), expected, check_dtype=False)


def test_a_table_in_memory_is_one_part(
    tree: xr.DataTree, whole: pd.DataFrame, tmp_path: Path
) -> None:
    out = jm.predict(tree, whole.set_axis([f"r{i}" for i in range(300)]), out=tmp_path / "out")
    assert os.listdir(out) == ["part-00000.parquet"]
    assert read(out)["row"].tolist() == [f"r{i}" for i in range(300)]
    as_dict = {name: whole[name].tolist() for name in whole}
    again = jm.predict(tree, as_dict, out=tmp_path / "again")
    np.testing.assert_array_equal(read(again)["mean"], read(out)["mean"])


# Whoever writes the parts


def files(out: Path) -> dict[str, bytes]:
    return {each.name: each.read_bytes() for each in sorted(out.iterdir())}


@contextmanager
def cluster() -> Iterator[Any]:
    distributed = pytest.importorskip("distributed")
    with (
        distributed.LocalCluster(
            n_workers=1, threads_per_worker=2, processes=False, dashboard_address=None
        ) as own,
        distributed.Client(own) as client,
    ):
        yield client


POOLS: dict[str, Callable[[], Any]] = {
    "processes": lambda: nullcontext(2),
    "threads": lambda: ThreadPoolExecutor(2),
    "an executor's processes": lambda: ProcessPoolExecutor(1, get_context("spawn")),
    "a cluster": cluster,
    "joblib's threads": lambda: joblib.parallel_config("threading", n_jobs=2),
}


@pytest.mark.parametrize("made", POOLS)
def test_files_are_the_same_whoever_writes_them(
    made: str, tree: xr.DataTree, folder: Path, tmp_path: Path
) -> None:
    expected = files(jm.predict(tree, folder, out=tmp_path / "expected"))
    told: list[tuple[str, float, float, str]] = []
    with POOLS[made]() as pool:
        ways = {} if made.startswith("joblib") else {"pool": pool}
        out = jm.predict(
            tree, folder, out=tmp_path / "out", progress=lambda *each: told.append(each), **ways
        )
    assert files(out) == expected
    assert told[-1][:3] == ("rows", 300, 300)


def test_any_container_goes_to_processes(tree: xr.DataTree, folder: Path, tmp_path: Path) -> None:
    for name, made in containers(folder):
        out = jm.predict(tree, made(), out=tmp_path / name, pool=2)
        alone = jm.predict(tree, made(), out=tmp_path / f"{name} alone")
        assert files(out) == files(alone)


def test_what_else_is_written_goes_to_processes(
    tree: xr.DataTree, folder: Path, tmp_path: Path
) -> None:
    calls: dict[str, Callable[..., Path]] = {
        "responsibilities": partial(jm.responsibilities, tree, folder, (0.25,)),
        "log_density": partial(jm.log_density, tree, folder),
        "assign": partial(jm.assign, folder, tree, prefix="f_"),
    }
    for name, call in calls.items():
        one, other = call(out=tmp_path / name), call(out=tmp_path / f"{name} by two", pool=2)
        assert files(one) == files(other)


def test_partitions_stay_with_the_workers_of_a_cluster(
    tree: xr.DataTree, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    parts = pytest.importorskip("dask.dataframe").read_parquet(folder)
    expected = read(jm.predict(tree, parts, out=tmp_path / "expected"))

    def pulled(*_: object) -> None:
        raise AssertionError("a partition was computed for this process")

    monkeypatch.setattr(part_sources._Partition, "__call__", pulled)
    with cluster() as client:
        out = jm.predict(tree, parts, out=tmp_path / "out", pool=client)
    pd.testing.assert_frame_equal(read(out), expected)


def test_a_fit_is_sent_to_a_cluster_once(
    tree: xr.DataTree, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert tree.nbytes > clusters._LARGE_BYTES
    with cluster() as client:
        real, sent = client.submit, []

        def submit(function: Any, *given: Any, **options: Any) -> Any:
            sent.append(function)
            return real(function, *given, **options)

        monkeypatch.setattr(client, "submit", submit)
        jm.predict(tree, folder, out=tmp_path / "out", pool=client)
    # Once for the first part, whose types are those of all, and once for the others.
    assert sent.count(clusters._same) == 2
    assert len(sent) - 2 == len(BOUNDS)


def test_a_pool_goes_on_from_what_one_process_has_left(
    tree: xr.DataTree, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    interrupt_second_part(tree, folder, tmp_path / "out", monkeypatch)
    beside = tmp_path / "out.unfinished"
    before = (beside / "0.parquet").stat().st_mtime_ns
    (beside / ".1.parquet.tmp").touch()
    with ThreadPoolExecutor(2) as pool:
        out = jm.predict(tree, folder, out=tmp_path / "out", pool=pool)
    assert (out / "0.parquet").stat().st_mtime_ns == before
    assert files(out) == files(jm.predict(tree, folder, out=tmp_path / "again"))


def test_what_a_killed_worker_had_begun_is_no_part_of_the_result(tmp_path: Path) -> None:
    with part_folder(tmp_path / "out", {}) as folder:
        (folder.unfinished / ".0.parquet.tmp").touch()
        (folder.unfinished / "0.parquet").touch()
    assert os.listdir(tmp_path / "out") == ["0.parquet"]


def test_a_part_that_a_worker_cannot_read_is_named(
    tree: xr.DataTree, whole: pd.DataFrame, tmp_path: Path
) -> None:
    rows = written(tmp_path / "rows", whole.assign(word=whole["word"].replace("up", "aside")))
    with (
        pytest.raises(DataError, match=r"0\.parquet: .*word.*aside"),
        ThreadPoolExecutor(2) as pool,
    ):
        jm.predict(tree, rows, out=tmp_path / "out", pool=pool)
    assert sorted(os.listdir(tmp_path)) == ["out.unfinished", "rows"]


def test_a_folder_that_workers_see_elsewhere_is_named(
    tree: xr.DataTree, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def lost(_: object, *given: Any) -> int:
        return sum(each.num_rows for each in given[-1])

    monkeypatch.setattr(PartFolder, "write", lost)
    words = r"out: a worker has written 0\.parquet where this process does not find it; give a"
    with pytest.raises(StorageError, match=words), ThreadPoolExecutor(2) as pool:
        jm.predict(tree, folder, out=tmp_path / "out", pool=pool)


def test_a_pool_goes_with_out(tree: xr.DataTree, folder: Path, tmp_path: Path) -> None:
    for call in (jm.predict, jm.responsibilities, jm.log_density, partial(jm.assign, folder)):
        given = (tree,) if isinstance(call, partial) else (tree, folder)
        with pytest.raises(SpecError, match="give out, or leave out pool"):
            call(*given, pool=2)  # type: ignore[operator]
    with pytest.raises(SpecError, match="pool must be a Dask client"):
        jm.predict(tree, folder, out=tmp_path / "out", pool=1.5)
    assert not list(tmp_path.iterdir())


# What stands where results are written


def counting(monkeypatch: pytest.MonkeyPatch, fail_at: int, error: BaseException) -> list[str]:
    """Files that are begun; the one at ``fail_at`` fails as it is written."""
    begun: list[str] = []
    real = pq.ParquetWriter.write_table

    def write(self: Any, each: pa.Table, *others: Any, **more: Any) -> None:
        begun.append(str(each.num_rows))
        if len(begun) == fail_at:
            raise error
        real(self, each, *others, **more)

    monkeypatch.setattr(pq.ParquetWriter, "write_table", write)
    return begun


def interrupt_second_part(
    tree: xr.DataTree, folder: Path, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        counting(patch, 2, KeyboardInterrupt())
        with pytest.raises(KeyboardInterrupt):
            jm.predict(tree, folder, out=out)


@pytest.mark.parametrize(
    ("error", "raised", "words"),
    [
        (OSError(28, "No space left on device"), StorageError, "No space left on device"),
        (KeyboardInterrupt("stop"), KeyboardInterrupt, "^stop$"),
    ],
    ids=["disk full", "Ctrl-C"],
)
def test_an_interrupted_job_goes_on(
    error: BaseException,
    raised: type[BaseException],
    words: str,
    tree: xr.DataTree,
    folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    out, beside = tmp_path / "out", tmp_path / "out.unfinished"
    with monkeypatch.context() as patch:
        counting(patch, 2, error)
        with pytest.raises(raised, match=words):
            jm.predict(tree, folder, out=out)
    assert not out.exists()
    assert sorted(each.name for each in beside.glob("*.parquet")) == ["0.parquet"]
    assert not list(beside.glob(".*.tmp"))
    before = (beside / "0.parquet").stat().st_mtime_ns
    begun = counting(monkeypatch, 99, error)
    jm.predict(tree, folder, out=out)
    assert begun == ["130", "169"]
    assert (out / "0.parquet").stat().st_mtime_ns == before
    whole_again = jm.predict(tree, folder, out=tmp_path / "again")
    pd.testing.assert_frame_equal(read(out), read(whole_again))


def test_another_job_does_not_go_on_from_it(
    tree: xr.DataTree, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    interrupt_second_part(tree, folder, tmp_path / "out", monkeypatch)
    with pytest.raises(StorageError, match=r"another job.*has left its start in out\.unfinished"):
        jm.predict(tree, folder, (0.2,), out=tmp_path / "out")


def test_results_are_not_written_over(tree: xr.DataTree, folder: Path, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    jm.predict(tree, folder, out=tmp_path / "out")
    for place in (tmp_path / "out", folder):
        with pytest.raises(StorageError, match="is there already, and results are not written"):
            jm.predict(tree, folder, out=place)
    (tmp_path / "mine.unfinished").mkdir()
    (tmp_path / "mine.unfinished" / "letter.txt").write_text("dear")
    with pytest.raises(StorageError, match="holds what this job has not written"):
        jm.predict(tree, folder, out=tmp_path / "mine")
    with pytest.raises(StorageError, match="does not exist; create it first"):
        jm.predict(tree, folder, out=tmp_path / "no" / "out")


def test_two_writers_at_once(tree: xr.DataTree, folder: Path, tmp_path: Path) -> None:
    with (
        part_folder(tmp_path / "out", {"function": "other"}),
        pytest.raises(StorageError, match="another process is writing it"),
    ):
        jm.predict(tree, folder, out=tmp_path / "out")


# Faults of parts


def test_a_truncated_file_is_named(whole: pd.DataFrame, tmp_path: Path) -> None:
    rows = written(tmp_path / "rows", whole)
    raw = (rows / "2.parquet").read_bytes()
    (rows / "2.parquet").write_bytes(raw[: len(raw) // 2])
    with pytest.raises(DataError, match=r"2\.parquet: is not a readable \.parquet file"):
        make_dataset(rows, SPEC)
    (rows / "2.parquet").write_bytes(raw)
    raw = (rows / "0.parquet").read_bytes()
    (rows / "0.parquet").write_bytes(raw[: len(raw) // 2])
    with pytest.raises(DataError, match=r"0\.parquet: is not a readable \.parquet file"):
        make_dataset(rows, SPEC)


def test_a_file_damaged_inside_is_named(whole: pd.DataFrame, tmp_path: Path) -> None:
    rows = written(tmp_path / "rows", whole)
    raw = bytearray((rows / "3.parquet").read_bytes())
    raw[4:2000] = bytes(1996)
    (rows / "3.parquet").write_bytes(bytes(raw))
    with pytest.raises(DataError, match=r"3\.parquet: cannot be read to its end"):
        make_dataset(rows, SPEC)


def test_a_part_that_goes_missing_is_named(
    tree: xr.DataTree, whole: pd.DataFrame, tmp_path: Path
) -> None:
    rows = written(tmp_path / "rows", whole)
    parts = open_parts(rows)
    (rows / "2.parquet").unlink()
    with pytest.raises(DataError, match=r"2\.parquet: cannot be read to its end"):
        jm.predict(tree, parts, out=tmp_path / "out")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda part: part.drop(columns="x2"), r"1\.parquet: lacks the column 'x2'"),
        (
            lambda part: part.assign(x2="wide"),
            r"1\.parquet: column 'x2' holds texts, but numbers in .*0\.parquet",
        ),
    ],
    ids=["lacking", "other type"],
)
def test_a_part_of_another_schema_is_named(
    change: Any, words: str, tree: xr.DataTree, whole: pd.DataFrame, tmp_path: Path
) -> None:
    rows = written(tmp_path / "rows", whole, [(0, 100)])
    change(whole[100:]).to_parquet(rows / "1.parquet")
    for call in (
        lambda: make_dataset(rows, SPEC),
        lambda: jm.predict(tree, rows, out=tmp_path / "out"),
    ):
        with pytest.raises(DataError, match=words):
            call()
    assert not (tmp_path / "out").exists()
    assert not (tmp_path / "out.unfinished").exists()


def test_partitions_of_other_types_are_named(whole: pd.DataFrame) -> None:
    dd = pytest.importorskip("dask.dataframe")
    frame = dd.from_pandas(whole[["x1", "x2", "y"]], npartitions=2, sort=False)
    meta = whole[["x1", "x2", "y"]][:0]
    bad = frame.map_partitions(
        lambda part: part.assign(x1="one") if part.index[0] else part, meta=meta
    )
    spec = jm.ModelSpec(n_clusters=1, features=["x1", "x2"])
    with pytest.raises(DataError, match="Partition 1 of the Dask DataFrame: column 'x1' holds"):
        make_dataset(bad, spec)


@pytest.mark.parametrize(
    ("made", "kind", "words"),
    [
        (lambda place: place, DataError, "holds no .parquet file"),
        (lambda place: place / "no", DataError, "there is no such file or folder"),
        (lambda place: place / "t.csv", DataError, "read others first, as by pandas.read_csv"),
        (lambda _: "", DataError, "A path must be text"),
        (lambda place: f"file://{place}", DataError, "holds no .parquet file"),
        (lambda place: f"file://{place}/no", DataError, "no: there is no such file or folder"),
        (lambda _: "gopher://host/rows", DataError, r"gopher://host/rows: is no table in parts \("),
    ],
    ids=[
        "empty folder",
        "absent",
        "text table",
        "no name",
        "empty address",
        "absent address",
        "unknown address",
    ],
)
def test_what_is_no_table_in_parts(made: Any, kind: Any, words: str, tmp_path: Path) -> None:
    place = made(tmp_path)
    if str(place).endswith(".csv"):
        place.write_text("x1\n1\n")
    with pytest.raises(kind, match=words):
        make_dataset(place, SPEC)


def test_parts_without_rows_are_refused(
    tree: xr.DataTree, whole: pd.DataFrame, tmp_path: Path
) -> None:
    rows = written(tmp_path / "rows", whole, [(0, 0), (0, 0)])
    with pytest.raises(DataError, match="rows: has no rows; give at least one"):
        make_dataset(rows, SPEC)
    with pytest.raises(DataError, match="rows: has no rows; give at least one"):
        jm.predict(tree, rows, out=tmp_path / "out")


def test_what_a_part_holds_is_said_with_its_name_and_row(
    tree: xr.DataTree, whole: pd.DataFrame, tmp_path: Path
) -> None:
    bad = whole.copy()
    bad.loc[200, "x1"] = np.inf
    rows = written(tmp_path / "rows", bad)
    with pytest.raises(DataError, match=r"3\.parquet: .*'x1'.*row 200"):
        jm.predict(tree, rows, out=tmp_path / "out")
    texts = whole.astype({"x1": object})
    texts["x1"] = "tall"
    with pytest.raises(ColumnTypeError, match=r"0\.parquet: Column 'x1' must hold numbers"):
        jm.predict(tree, written(tmp_path / "texts", texts), out=tmp_path / "other")


def test_absent_columns_are_those_of_the_whole_table(folder: Path) -> None:
    spec = jm.ModelSpec(n_clusters=1, features=["x1", "x_2"])
    (issue,) = jm.check(folder, spec, em=False).errors
    assert issue.code == "absent_column"
    assert "'x_2' (did you mean 'x2'?)" in issue.message
    assert "'unused'" in issue.message


def test_without_pyarrow_the_extra_is_named(
    folder: Path, tree: xr.DataTree, whole: pd.DataFrame, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow.dataset", None)
    for call in (
        lambda: make_dataset(folder, SPEC),
        lambda: jm.predict(tree, whole, out=folder.parent / "out"),
        lambda: jm.simulate(jm.four_clusters(), 10, 1, out=folder.parent / "out"),
    ):
        with pytest.raises(MissingExtraError, match=r"pip install 'jointmix\[parquet\]'"):
            call()


def test_what_would_not_fit_into_memory_is_refused_before_it_is_read(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gathering, "available", lambda: 1000.0)
    with pytest.raises(MemoryLimitError, match=r"300 rows of 5 columns take .* are free; take"):
        make_dataset(folder, SPEC)


def test_out_goes_with_a_table(tree: xr.DataTree, tmp_path: Path) -> None:
    with pytest.raises(SpecError, match="out goes with a table"):
        jm.predict(tree, None, out=tmp_path / "out")


# Fits and checks


def test_a_fit_has_the_same_bits(folder: Path, tree: xr.DataTree) -> None:
    found = jm.fit(folder, SPEC, progress=False)
    for name, values in tree["posterior"].data_vars.items():
        np.testing.assert_array_equal(found["posterior"][name], values)
    assert found.attrs["verdict"] == tree.attrs["verdict"]


def test_a_column_to_start_from_is_read_too(whole: pd.DataFrame, tmp_path: Path) -> None:
    rows = whole.assign(group=np.where(whole["x1"] > 0, "east", "west"))
    spec = jm.ModelSpec(n_clusters=2, features=["x1", "x2"], sampler=LAPLACE)
    found = jm.fit(written(tmp_path / "rows", rows), spec, start="group", progress=False)
    expected = jm.fit(rows, spec, start="group", progress=False)
    np.testing.assert_array_equal(found["posterior"]["mean"], expected["posterior"]["mean"])


def test_findings_are_those_in_memory(whole: pd.DataFrame, tmp_path: Path) -> None:
    bad = pd.concat([whole[:200], whole[:100]], ignore_index=True)
    bad.loc[[3, 250], "x2"] = np.nan
    bad.loc[140, "x1"] = 1e200
    bad["word"] = bad["word"].where(bad.index != 7)
    rows = written(tmp_path / "rows", bad)
    assert jm.check(rows, SPEC).issues == jm.check(bad, SPEC).issues
    bad.loc[140, "x1"] = 1.0
    spec = replace(SPEC, missing="drop")
    other = written(tmp_path / "other", bad)
    found, expected = jm.check(other, spec), jm.check(bad, spec)
    assert found.issues == expected.issues
    assert found.n_rows == expected.n_rows
    assert found.issues


def test_what_does_not_fit_is_looked_at_in_part(
    whole: pd.DataFrame, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bad = whole.copy()
    bad.loc[::20, "x1"] = np.nan
    bad.loc[1::20, "x2"] = np.inf
    rows = written(tmp_path / "rows", bad)
    # 300 rows × 5 columns × 56 bytes = 84,000.
    monkeypatch.setattr(gathering, "available", lambda: 43_000.0)
    memory, *others = jm.check(rows, SPEC).errors
    assert memory.code == "memory"
    assert "one of 2 was looked at here (missing in all rows: 'x1' 15)" in memory.message
    sample = gathering.gathered(open_parts(rows), ["x1", "x2"], step=2)
    pd.testing.assert_frame_equal(sample, bad.loc[sample.index, ["x1", "x2"]])
    assert 110 < len(sample) < 190
    first = {name: next(row for row in sample.index if row % 20 == at)
             for name, at in (("missing", 0), ("infinite", 1))}  # fmt: skip
    assert {each.code: each.row for each in others} == first


# Drawn tables


def test_drawn_files_depend_on_the_seed_and_their_number(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(drawn_parts, "ROWS_OF_A_FILE", 40)
    truth = jm.four_clusters(discrete={"n": "poisson", "word": "categorical"})
    shares = {"n": 0.2, "word": 0.2}
    one = jm.simulate(truth, 100, 5, missing=shares, out=tmp_path / "one")
    two = jm.simulate(truth, 130, 5, missing=shares, out=tmp_path / "two")
    sizes = [pq.read_metadata(path).num_rows for path in sorted(one.iterdir())]
    assert sizes == [40, 40, 20]
    pd.testing.assert_frame_equal(pd.read_parquet(one)[:80], pd.read_parquet(two)[:80])
    expected = jm.simulate(truth, 40, np.random.default_rng([5, 1]), missing=shares)
    found = pd.read_parquet(one / "part-00001.parquet")
    pd.testing.assert_frame_equal(found, expected.fillna({"word": np.nan}), check_dtype=False)
    other = jm.simulate(truth, 100, 6, missing=shares, out=tmp_path / "other")
    assert not pd.read_parquet(other)["y"].equals(pd.read_parquet(one)["y"])
    with pytest.raises(SpecError, match="seed of a table in parts"):
        jm.simulate(truth, 10, np.random.default_rng(1), out=tmp_path / "no")  # type: ignore[call-overload]


def test_given_columns_go_to_their_rows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(drawn_parts, "ROWS_OF_A_FILE", 40)
    truth = jm.four_clusters(family="poisson", offset="time")
    given = {"time": np.linspace(0, 1, 90)}
    out = jm.simulate(truth, 90, 1, given=given, out=tmp_path / "out")
    np.testing.assert_array_equal(pd.read_parquet(out)["time"], given["time"])


# Commands


def call(*arguments: object) -> Any:
    return CliRunner().invoke(app, [str(each) for each in arguments])


def test_commands_read_and_write_folders(
    tree: xr.DataTree, whole: pd.DataFrame, folder: Path, tmp_path: Path
) -> None:
    fit, out = tmp_path / "fit.nc", tmp_path / "out"
    jm.save(tree, fit)
    done = call("predict", fit, folder, "--out", out, "--quantiles", "0.1,0.9")
    assert done.exit_code == 0, done.output
    expected = jm.predict(tree, whole, (0.1, 0.9))
    np.testing.assert_allclose(read(out)["q90"], expected["quantiles"].values[:, 1], **CLOSE)
    again = call("predict", fit, folder, "--out", out)
    assert again.exit_code == 2
    assert "is there already" in again.stderr
    two = call("predict", fit, folder, "--out", tmp_path / "two", "--jobs", 2)
    assert two.exit_code == 0, two.output
    default = jm.predict(tree, folder, out=tmp_path / "default")
    assert files(tmp_path / "two") == files(default)
    refused = call("predict", fit, folder, "--jobs", 2)
    assert refused.exit_code == 2
    assert "give --out FOLDER/" in refused.stderr
    one = call("predict", fit, folder / "3.parquet", "--out", f"{tmp_path / 'one'}/")
    assert one.exit_code == 0
    assert os.listdir(tmp_path / "one") == ["3.parquet"]
    text = call("predict", fit, folder)
    assert len(text.stdout.splitlines()) == 301
    drawn = call("simulate", "--rows", 20, "--out", f"{tmp_path / 'drawn'}/")
    assert drawn.exit_code == 0
    assert len(pd.read_parquet(tmp_path / "drawn")) == 20


def test_a_recipe_names_a_folder(folder: Path, tree: xr.DataTree, tmp_path: Path) -> None:
    recipe = jm.Recipe(spec=SPEC, path=str(folder))
    jm.write_recipe(recipe, tmp_path / "spec.toml")
    assert [*jm.read_recipe(tmp_path / "spec.toml").table()] == ["x1", "x2", "site", "word", "y"]
    done = call("fit", tmp_path / "spec.toml", "--json")
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout)["verdict"] == tree.attrs["verdict"]
    found = jm.load(tmp_path / "spec.nc")
    np.testing.assert_array_equal(found["posterior"]["slope"], tree["posterior"]["slope"])
    missing = jm.Recipe(spec=SPEC, path=str(folder), id="name")
    with pytest.raises(DataError, match="has no column 'name'"):
        missing.table()
