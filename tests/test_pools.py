"""Independent jobs: the same results whatever runs them, and what becomes of killed workers."""

import gc
import json
import os
import pickle
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import Executor, ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import nullcontext
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from joblib import delayed, parallel_config
from synthetic import fitted_tree
from typer.testing import CliRunner

import jointmix as jm
from jointmix.base.errors import SamplingError, SpecError
from jointmix.base.machine import available_cores
from jointmix.base.pools import JOBLIB, chosen_pool, other_pool, run_jobs, run_threads
from jointmix.base.threads import heed, on_cores, worker_threads
from jointmix.cli.commands import app
from jointmix.fitting.pooled import pointwise
from jointmix.model.dataset import make_dataset
from jointmix.model.simulate import simulate
from jointmix.modes.mass import Landscape


def slow(number: int) -> int:
    time.sleep(number)
    return number


def squared(number: int) -> int:
    # The first ends last.
    time.sleep(0.02 * (5 - number))
    return number * number


SPEC = jm.ModelSpec(
    n_clusters=1,
    features=["x1"],
    response="y",
    sampler=jm.SamplerSpec(draws=60, tune=80, chains=2, starts=4),
)
JOBS = [delayed(squared)(number) for number in range(5)]


@pytest.fixture(scope="module")
def client() -> Iterator[Any]:
    distributed = pytest.importorskip("distributed", reason="needs the extra dask")
    with (
        distributed.LocalCluster(
            n_workers=1, threads_per_worker=2, processes=False, dashboard_address=":0"
        ) as cluster,
        distributed.Client(cluster, set_as_default=False) as own,
    ):
        yield own


@pytest.fixture(scope="module")
def processes() -> Iterator[Executor]:
    with ProcessPoolExecutor(2, mp_context=get_context("spawn")) as executor:
        yield executor


@pytest.mark.parametrize("pool", [2, "threading"])
def test_who_stops_listening_is_not_warned_that_he_did(
    pool: int | str, recwarn: pytest.WarningsRecorder
) -> None:
    """joblib's warning would come after the command's last word."""
    jobs = [delayed(slow)(seconds) for seconds in (0, 3, 3)]
    chosen = nullcontext() if pool == 2 else parallel_config("threading", n_jobs=2)
    with chosen:
        work = run_jobs(jobs, pool if pool == 2 else JOBLIB)
        assert next(work) == (0, 0)
        del work
    gc.collect()
    assert not [str(each.message) for each in recwarn]


@pytest.mark.parametrize("pool", [1, 2, "threads", "processes", "client", "address"])
def test_jobs_keep_their_places_in_every_pool(pool: Any, request: pytest.FixtureRequest) -> None:
    if pool == "threads":
        pool = ThreadPoolExecutor(2)
    elif pool == "processes":
        pool = request.getfixturevalue(pool)
    elif isinstance(pool, str):
        own = request.getfixturevalue("client")
        pool = own if pool == "client" else own.cluster.scheduler_address
        if isinstance(pool, str) and pool.startswith("inproc"):
            pool = own
    assert dict(run_jobs(JOBS, chosen_pool(pool))) == {n: n * n for n in range(5)}


@pytest.mark.parametrize("backend", [None, "threading", "loky", "dask"])
def test_joblibs_own_backend_is_taken(backend: str | None, request: pytest.FixtureRequest) -> None:
    if backend == "dask":
        client = request.getfixturevalue("client")
        chosen: Any = parallel_config("dask", client=client)
    else:
        chosen = nullcontext() if backend is None else parallel_config(backend, n_jobs=2)
    with chosen:
        pool = other_pool(None, 1)
        assert (pool is None) == (backend is None)
        assert dict(run_jobs(JOBS, pool)) == {n: n * n for n in range(5)}


def test_threads_give_the_same_and_end_as_they_end() -> None:
    found = list(run_threads(JOBS, 5))
    assert dict(found) == {n: n * n for n in range(5)}
    assert [place for place, _ in found] != list(range(5))
    assert list(run_threads(JOBS, 1)) == [(n, n * n) for n in range(5)]


def test_what_threads_have_begun_ends_when_nobody_waits_for_it() -> None:
    """Ctrl-C is raised in the main thread alone, and Python waits for all others at its end."""
    begun, left = threading.Event(), threading.Event()
    table, tree = simulate(jm.four_clusters(2, 1), 80, 1), fitted_tree(n_obs=40)

    def ask() -> None:
        begun.set()
        try:
            while True:
                on_cores(lambda _: heed(), range(2), 2)
        except KeyboardInterrupt:
            left.set()

    working = run_threads([delayed(squared)(4), delayed(ask)()], 2)
    next(working)
    assert begun.wait(10)
    assert not left.is_set()
    working.close()
    assert left.wait(10)
    # So do EM, climbs of the posterior, and leave-one-out.
    posterior = Landscape(make_dataset(table, SPEC)).log_density
    jobs = [(jm.fit_em, table, SPEC), (posterior, np.zeros(5)), (pointwise, tree)]
    with worker_threads(1, left) as executor:
        for job in jobs:
            with pytest.raises(KeyboardInterrupt):
                executor.submit(*job).result()


@pytest.mark.parametrize("jobs", [1, 2, 100])
def test_jobs_share_the_cores(jobs: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "process_cpu_count", lambda: 6, raising=False)
    monkeypatch.setattr(os, "cpu_count", lambda: 6)
    asked = [delayed(available_cores)() for _ in range(2)]
    assert {cores for _, cores in run_threads(asked, jobs)} == {max(1, 6 // jobs)}
    with ThreadPoolExecutor(2) as threads:
        assert {cores for _, cores in run_jobs(asked, threads)} == {1}
    assert available_cores() == 6


def killed(folder: Path, times: int, number: int) -> int:
    """A job whose process is killed, the first so many times that it runs."""
    if number == 1:
        runs = len(list(folder.iterdir()))
        if runs < times:
            (folder / str(runs)).touch()
            os.kill(os.getpid(), signal.SIGKILL)
    return number


def test_a_killed_process_costs_its_job_only_and_that_is_done_again(tmp_path: Path) -> None:
    jobs = [delayed(killed)(tmp_path, 1, number) for number in range(4)]
    assert dict(run_jobs(jobs, 2)) == {n: n for n in range(4)}
    assert len(list(tmp_path.iterdir())) == 1


def test_a_job_that_always_kills_its_process_is_named(tmp_path: Path) -> None:
    jobs = [delayed(killed)(tmp_path, 100, number) for number in range(4)]
    with pytest.raises(SamplingError, match="A worker process was killed, perhaps for want of"):
        list(run_jobs(jobs, 2))


def test_a_broken_executor_is_named(tmp_path: Path) -> None:
    jobs = [delayed(killed)(tmp_path, 100, 1)]
    with (
        ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool,
        pytest.raises(SamplingError, match="A worker of the pool was killed"),
    ):
        list(run_jobs(jobs, pool))


def fails(_: int) -> None:
    raise ZeroDivisionError("of its own")


def test_what_a_job_raises_is_raised_and_the_rest_is_not_run() -> None:
    begun: list[int] = []
    jobs = [delayed(fails)(0), *(delayed(begun.append)(n) for n in range(50))]
    with ThreadPoolExecutor(1) as pool, pytest.raises(ZeroDivisionError, match="of its own"):
        list(run_jobs(jobs, pool))
    assert len(begun) < 50


@pytest.mark.parametrize("pool", [0, -2, 1.5, True, object(), b"tcp://a:1", [2]])
def test_what_is_no_pool_is_named(pool: Any) -> None:
    with pytest.raises(SpecError, match="pool must be "):
        chosen_pool(pool)


def test_pool_and_jobs_contradict_each_other() -> None:
    with pytest.raises(SpecError, match="leave out jobs=3"):
        jm.compare({}, SPEC, [1, 2], jobs=3, pool=2)


def test_comparisons_and_folds_are_the_same_in_other_processes(
    processes: Executor, client: Any
) -> None:
    table = simulate(jm.four_clusters(), 60, seed=3)
    here = jm.compare(table, SPEC, [1, 2], seed=5)
    told: list[tuple[object, ...]] = []
    there = jm.compare(
        table, SPEC, [1, 2], seed=5, pool=processes, progress=lambda *step: told.append(step)
    )
    assert here.table.equals(there.table)
    assert here.text == there.text
    for key, tree in here.trees.items():
        for name, draws in tree["posterior"].items():
            np.testing.assert_array_equal(draws, there.trees[key]["posterior"][name])
    assert [step[1] for step in told if step[0] == "compare"] == [0, 1, 2]
    first = jm.kfold(here.tree, folds=3).pointwise
    assert jm.kfold(here.tree, folds=3, pool=processes).pointwise.equals(first)
    assert jm.kfold(here.tree, folds=3, pool=client).pointwise.equals(first)


def test_rows_that_sway_are_left_out_in_a_pool() -> None:
    tree = fitted_tree(2, 1, 40)
    scores = jm.loo(tree)
    scores.pointwise["pareto_k"].values[:] = 0.1
    scores.pointwise["pareto_k"].values[[3, 8]] = 0.9
    with ThreadPoolExecutor(2) as threads:
        found = jm.reloo(tree, scores, pool=threads)
    assert found.pointwise.equals(jm.reloo(tree, scores).pointwise)


def test_rows_leave_behind_what_holds_addresses() -> None:
    dataset = make_dataset(simulate(jm.four_clusters(), 30, seed=1), SPEC)
    dataset.rows.made_of_them["here"] = np.ones(3)
    copy = pickle.loads(pickle.dumps(dataset))
    assert copy.rows.made_of_them == {}
    np.testing.assert_array_equal(copy.rows.x, dataset.rows.x)


RECIPE = """
[data]
path = "t.csv"
features = ["x1"]
response = "y"
[model]
clusters = 1
[sampler]
chains = 2
draws = 60
tune = 80
starts = 4
"""


def run(*arguments: str) -> Any:
    return CliRunner().invoke(app, [*arguments, "--quiet"])


def recipe_in(folder: Path, text: str, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder, now the working one, with a recipe, s.toml, and its table of 60 rows."""
    pd.DataFrame(simulate(jm.four_clusters(), 60, seed=3)).to_csv(folder / "t.csv", index=False)
    (folder / "s.toml").write_text(text)
    monkeypatch.chdir(folder)
    return folder


@pytest.fixture
def recipe(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    return recipe_in(tmp_path, RECIPE, monkeypatch)


@pytest.mark.usefixtures("recipe")
def test_parts_of_a_comparison_come_to_the_whole() -> None:
    asked = ["compare", "s.toml", "--clusters", "1-2"]
    early = run(*asked, "--store", "kept", "--merge")
    assert early.exit_code == 2
    assert "run the part that makes it" in early.stderr
    said = [run(*asked, "--store", "kept", "--part", f"{part}/2").stdout for part in (1, 2)]
    assert said == ["part 1 of 2: 1 fit in kept\n", "part 2 of 2: 1 fit in kept\n"]
    merged = run(*asked, "--store", "kept", "--merge", "--json", "--report", "merged.md")
    assert merged.exit_code == 0, merged.output
    assert merged.stdout == run(*asked, "--json", "--report", "whole.md").stdout
    assert Path("merged.md").read_bytes() == Path("whole.md").read_bytes()
    # Another seed is another comparison, and a fit that is cut short is no fit.
    assert run(*asked, "--store", "kept", "--merge", "--seed", "7").exit_code == 2
    fit = sorted(Path("kept").iterdir())[0]
    fit.write_bytes(fit.read_bytes()[:-100])
    torn = run(*asked, "--store", "kept")
    assert torn.exit_code == 2
    assert fit.name in torn.stderr


@pytest.mark.usefixtures("recipe")
def test_parts_of_a_calibration_come_to_the_whole() -> None:
    asked = ["calibrate", "s.toml", "--rows", "30", "--replicates", "3", "--store", "kept"]
    assert "holds no parts of s" in run(*asked, "--merge").stderr
    assert run(*asked, "--part", "2/2").stdout == "part 2 of 2: 1 table in kept\n"
    assert "part 1 of 2 of s is not there" in run(*asked, "--merge").stderr
    assert run(*asked, "--part", "1/2").stdout == "part 1 of 2: 2 tables in kept\n"
    assert run(*asked, "--merge", "--out", "merged.json").exit_code == 0
    assert run(*asked[:-2], "--out", "whole.json").exit_code == 0
    merged, whole = (
        {
            key: value
            for key, value in json.loads(Path(name).read_text()).items()
            if key != "seconds"
        }
        for name in ("merged.json", "whole.json")
    )
    assert merged == whole
    assert "holds the calibration of another model" in run(*asked, "--merge", "--seed", "9").stderr


def test_parts_of_a_folder_of_recipes_are_put_together_by_building_it(recipe: Path) -> None:
    for name in ("a", "b", "c"):
        (recipe / f"{name}.toml").write_text(RECIPE)
    (recipe / "s.toml").unlink()
    assert run("build", ".", "--part", "2/2").stdout.splitlines()[0].startswith("built")
    assert {path.name for path in recipe.glob("*.html")} == {"b.html"}
    assert run("build", ".", "--part", "1/2").exit_code == 0
    lines = run("build", ".").stdout.splitlines()
    assert [line.split()[0] for line in lines] == ["unchanged"] * 3 + ["index:"]


@pytest.mark.parametrize("part", ["0/2", "3/2", "1", "a/b", "-1/2", "1/2/3", ""])
def test_what_is_no_part_is_named(part: str, recipe: Path) -> None:
    done = run("compare", "s.toml", "--clusters", "1-2", "--store", "kept", "--part", part)
    assert done.exit_code == 2
    assert "--part takes a number of so many, such as 1/4" in done.stderr
    assert "kept" not in {path.name for path in recipe.iterdir()}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--part", "1/2"], "--part and --merge need --store"),
        (["--merge"], "--part and --merge need --store"),
        (["--part", "1/2", "--merge", "--store", "kept"], "give one of them"),
        (["--store", "t.csv"], "is no folder that can be written to"),
    ],
)
@pytest.mark.usefixtures("recipe")
def test_options_of_parts_that_do_not_go_together_are_named(
    options: list[str], message: str
) -> None:
    done = run("compare", "s.toml", "--clusters", "1-2", *options)
    assert done.exit_code == 2
    assert message in done.stderr


COUNTED = """
import resource
from contextlib import nullcontext
from threading import Thread
from jointmix.base.heap import kept_heap

def pages():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(100):
        bytearray(1 << 20)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

outside = pages()
with kept_heap(), kept_heap():
    pages()
    with kept_heap():
        pass
    inside = pages()
print(outside, inside, pages())
"""


@pytest.mark.skipif(sys.platform != "linux", reason="glibc is the C library of Linux")
@pytest.mark.parametrize("asked", ["65536", None])
def test_what_a_job_frees_stays_with_its_process_until_it_ends(asked: str | None) -> None:
    """Nannies of Dask have each array given back, whose pages are asked for again."""
    given = {name: value for name, value in os.environ.items() if "MALLOC" not in name}
    if asked is not None:
        given["MALLOC_TRIM_THRESHOLD_"] = asked
    done = subprocess.run(
        [sys.executable, "-c", COUNTED], env=given, capture_output=True, text=True, check=True
    )
    outside, inside, after = (int(number) for number in done.stdout.split())
    assert inside < 1_000
    # A hundred times 256 pages, where they were asked for again.
    assert (outside > 20_000) == (after > 20_000) == (asked == "65536")
