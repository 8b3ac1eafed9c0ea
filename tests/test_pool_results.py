"""A comparison's bytes do not depend on where its EM, fits and scores ran, nor on their order."""

import time
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from functools import partial
from multiprocessing import get_context
from typing import Any

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from joblib import delayed, parallel_config

import jointmix as jm
from jointmix.base import clusters
from jointmix.base.errors import SamplingError
from jointmix.base.machine import is_installed
from jointmix.base.pools import chosen_pool, other_pool, run_jobs, run_threads
from jointmix.base.steps import Step, run_steps
from jointmix.fitting import chain_jobs, scouts
from jointmix.fitting.candidates import make_grid
from jointmix.fitting.pooled import fit_part, follow_at_once
from jointmix.model.simulate import simulate
from jointmix.sampling import Remaining

TABLE = simulate(jm.four_clusters(), 120, seed=3)
SPEC = jm.ModelSpec(
    n_clusters=1,
    features=["x1", "x2"],
    predictors=["x1"],
    response="y",
    sampler=jm.SamplerSpec(sampler="laplace", draws=100, chains=1, starts=4),
)
#: What is compared: numbers of clusters alone, whose fits follow EM at once; and structures too.
ASKED: dict[str, dict[str, Any]] = {
    "numbers": {"n_clusters": [1, 2, 3]},
    "structures": {"n_clusters": [1, 2], "covariance": ["tied", "full"], "noise": ["shared"]},
}


def compared(asked: str, **where: Any) -> jm.Comparison:
    return jm.compare(TABLE, SPEC, seed=5, progress=False, **ASKED[asked], **where)


@pytest.fixture(scope="module")
def alone() -> dict[str, jm.Comparison]:
    """In this process, one job after another."""
    return {asked: compared(asked) for asked in ASKED}


def same_bytes(one: xr.DataTree, other: xr.DataTree) -> None:
    for group in ("posterior", "modes", "labels", "allocation"):
        assert set(one[group].data_vars) == set(other[group].data_vars)
        for name, values in one[group].data_vars.items():
            theirs = other[group][name].values
            # Objects, such as names, are compared by their values.
            kind = values.dtype.kind
            same = values.values.tobytes() == theirs.tobytes() if kind != "O" else None
            assert (values.values == theirs).all() if same is None else same, (group, name)
    assert one.attrs["verdict"] == other.attrs["verdict"]


def assert_same(found: jm.Comparison, alone: jm.Comparison) -> None:
    pd.testing.assert_frame_equal(found.table, alone.table, check_exact=True)
    assert (found.best, found.text) == (alone.best, alone.text)
    assert list(found.trees) == list(alone.trees)
    for key, tree in alone.trees.items():
        same_bytes(tree, found.trees[key])


@pytest.fixture(scope="module")
def processes() -> Iterator[Executor]:
    with ProcessPoolExecutor(2, mp_context=get_context("spawn")) as executor:
        yield executor


@pytest.fixture(scope="module")
def client() -> Iterator[Any]:
    distributed = pytest.importorskip("distributed", reason="needs the extra dask")
    with (
        distributed.LocalCluster(
            n_workers=2, threads_per_worker=1, dashboard_address=":0"
        ) as cluster,
        distributed.Client(cluster, set_as_default=False) as own,
    ):
        yield own


@pytest.mark.parametrize("asked", ASKED)
@pytest.mark.parametrize("pool", [2, "processes", "threads", "client"])
def test_every_pool_gives_the_same(
    pool: Any, asked: str, alone: dict[str, jm.Comparison], request: pytest.FixtureRequest
) -> None:
    if pool == "threads":
        pool = ThreadPoolExecutor(2)
    elif isinstance(pool, str):
        pool = request.getfixturevalue(pool)
    assert_same(compared(asked, pool=pool), alone[asked])


def test_threads_of_this_process_give_the_same(alone: dict[str, jm.Comparison]) -> None:
    assert_same(compared("numbers", jobs=3), alone["numbers"])


@pytest.mark.parametrize("backend", ["threading", "loky", "dask", "ray"])
def test_joblibs_backends_give_the_same(
    backend: str,
    alone: dict[str, jm.Comparison],
    request: pytest.FixtureRequest,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    options: dict[str, Any] = {"n_jobs": 2}
    if backend == "dask":
        options = {"client": request.getfixturevalue("client")}
    if backend == "ray":
        if not is_installed("ray"):
            pytest.skip("ray is not installed: uv run --group ray pytest -k ray")
        # Its workers are this environment's Python, and not one that uv sets up for each.
        monkeypatch.setenv("RAY_ENABLE_UV_RUN_RUNTIME_ENV", "0")
        import ray
        from ray.util.joblib import register_ray

        register_ray()
        request.addfinalizer(ray.shutdown)
    chosen: AbstractContextManager[Any] = parallel_config(backend, **options)
    with chosen:
        assert_same(compared("numbers"), alone["numbers"])


@pytest.fixture(scope="module")
def mended() -> tuple[pd.DataFrame, jm.Comparison]:
    """A table of which one fit by NUTS is sampled again, and its comparison in this process.

    Which table that is, the rounding of the processor decides.
    """
    for seed in range(5, 60):
        rng = np.random.default_rng(seed)
        z = rng.integers(2, size=60)
        table = pd.DataFrame({"x": rng.normal(size=60) + (1.6, 2.0, 2.5)[seed % 3] * z})
        found = by_nuts(table)
        if any("retries" in tree.attrs for tree in found.trees.values()):
            return table, found
    raise AssertionError("no fit falls short")


def by_nuts(table: pd.DataFrame, **where: Any) -> jm.Comparison:
    spec = jm.ModelSpec(
        n_clusters=1, features=["x"], sampler=jm.SamplerSpec(sampler="nutpie", starts=4)
    )
    return jm.compare(table, spec, [1, 2], seed=2, progress=False, **where)


@pytest.mark.parametrize("pool", [2, "client"])
def test_chains_that_are_jobs_draw_the_same(
    pool: Any, mended: tuple[pd.DataFrame, jm.Comparison], request: pytest.FixtureRequest
) -> None:
    """Those of fits that are sampled again too."""
    table, alone = mended
    found = by_nuts(table, pool=request.getfixturevalue(pool) if pool == "client" else pool)
    assert_same(found, alone)
    for key, tree in alone.trees.items():
        assert tree.attrs.get("retries") == found.trees[key].attrs.get("retries")
        assert (
            tree["sample_stats"]
            .to_dataset()
            .identical(found.trees[key]["sample_stats"].to_dataset())
        )


def test_a_chain_that_cannot_start_ends_the_comparison(monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*_: object) -> Any:
        raise SamplingError("No chain could start.")

    monkeypatch.setattr(Remaining, "draw", fails)
    with ThreadPoolExecutor(1) as pool, pytest.raises(SamplingError, match="No chain could start"):
        by_nuts(pd.DataFrame({"x": np.random.default_rng(1).normal(size=40)}), pool=pool)


def test_what_a_store_keeps_is_scored_as_what_is_sampled(
    alone: dict[str, jm.Comparison], tmp_path: Any
) -> None:
    for pool in (2, None):
        assert_same(compared("numbers", pool=pool, store=tmp_path), alone["numbers"])
    assert len(list(tmp_path.iterdir())) == len(ASKED["numbers"]["n_clusters"])


def test_all_models_are_sampled_where_only_their_number_varies() -> None:
    assert follow_at_once(make_grid(SPEC, [1, 2], None, None))
    assert not follow_at_once(make_grid(SPEC, [1, 2], ["full"], None))


def test_fits_begin_while_em_runs_where_structures_vary_too() -> None:
    told: list[tuple[str, float]] = []
    jm.compare(
        TABLE, SPEC, seed=5, progress=lambda stage, done, *_: told.append((stage, done)),
        pool=ThreadPoolExecutor(1), **ASKED["structures"],
    )  # fmt: skip
    stages = [stage for stage, _ in told]
    first_fit, last_screened = stages.index("compare"), len(stages) - stages[::-1].index("screen")
    # One cluster has one structure here: it is sampled whatever the others are.
    assert first_fit < last_screened


@pytest.mark.parametrize(("part", "screened"), [((1, 3), 1), ((2, 3), 2), ((3, 3), 3)])
def test_a_part_screens_what_its_models_start_from(
    part: tuple[int, int], screened: int, tmp_path: Any
) -> None:
    told: list[tuple[str, float, float]] = []
    made = fit_part(
        TABLE, SPEC, [1, 2, 3], 5, tmp_path, part,
        progress=lambda stage, done, total, _: told.append((stage, done, total)),
    )  # fmt: skip
    assert made == 1
    assert max(done for stage, done, _ in told if stage == "screen") == screened
    assert {total for stage, _, total in told if stage == "screen"} == {screened}


# A fit's own chains and scouts

SCOUTED = jm.ModelSpec(
    n_clusters=3,
    features=["x1", "x2"],
    response="y",
    predictors=["x1"],
    sampler=jm.SamplerSpec(sampler="nutpie", draws=60, tune=100, scouts=2, starts=6),
)


@pytest.fixture(scope="module")
def fitted() -> xr.DataTree:
    return jm.fit(TABLE, SCOUTED, seed=2, progress=False)


@pytest.mark.parametrize("pool", [2, "processes", "threads", "client", "joblib"])
def test_a_fits_chains_and_scouts_are_the_same_in_every_pool(
    pool: Any, fitted: xr.DataTree, request: pytest.FixtureRequest
) -> None:
    told: list[tuple[str, float, float, str]] = []
    options: dict[str, Any] = {"progress": lambda *said: told.append(said)}
    where: AbstractContextManager[Any] = nullcontext()
    if pool == "threads":
        options["pool"] = ThreadPoolExecutor(2)
    elif pool == "joblib":
        where = parallel_config("dask", client=request.getfixturevalue("client"))
    else:
        options["pool"] = request.getfixturevalue(pool) if isinstance(pool, str) else pool
    with where:
        found = jm.fit(TABLE, SCOUTED, seed=2, **options)
    same_bytes(fitted, found)
    # Two from each of two modes.
    assert found["scouts"].to_dataset().sizes["scout"] == 4
    assert found["scouts"].to_dataset().identical(fitted["scouts"].to_dataset())
    assert found["sample_stats"].to_dataset().identical(fitted["sample_stats"].to_dataset())
    assert ("sample", 640, 640, "4 of 4 chains") in told


def test_the_rows_of_chains_are_sent_to_a_cluster_once(
    client: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    own, sent = client.submit, []

    def submit(function: Any, *given: Any, **options: Any) -> Any:
        sent.append(function)
        return own(function, *given, **options)

    monkeypatch.setattr(client, "submit", submit)
    monkeypatch.setattr(clusters, "_LARGE_BYTES", 1_000)
    spec = replace(SCOUTED, sampler=replace(SCOUTED.sampler, scouts=0))
    jm.fit(TABLE, spec, seed=2, progress=False, pool=client)
    assert (sent.count(clusters._same), len(sent)) == (1, 1 + spec.sampler.chains)


def test_a_fit_has_threads_where_joblib_names_this_machine(
    fitted: xr.DataTree, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its chains are threads of this process in any case; processes would have to begin."""

    def none(*_: object) -> Iterator[Any]:
        raise AssertionError("no pool is asked for")
        yield

    monkeypatch.setattr(chain_jobs, "run_jobs", none)
    for backend in ("loky", "threading"):
        with parallel_config(backend, n_jobs=2):
            same_bytes(jm.fit(TABLE, SCOUTED, seed=2, progress=False), fitted)


def stopped(after: int) -> Callable[..., Iterator[tuple[int, Any]]]:
    """A pool of which Ctrl-C is heard after so many jobs, the last ones first."""

    def run(jobs: Any, _: object) -> Iterator[tuple[int, Any]]:
        yield from list(run_threads(jobs, 1))[::-1][:after]
        raise KeyboardInterrupt

    return run


def test_chains_that_have_ended_are_kept(
    fitted: xr.DataTree, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(chain_jobs, "run_jobs", stopped(2))
    found = jm.fit(TABLE, SCOUTED, seed=2, progress=False, pool=2)
    assert found.attrs["partial"]
    assert found["posterior"].sizes["chain"] == 2
    np.testing.assert_array_equal(
        found["sample_stats"]["log_density"].values,
        fitted["sample_stats"]["log_density"].values[2:],
    )
    monkeypatch.setattr(chain_jobs, "run_jobs", stopped(0))
    with pytest.raises(KeyboardInterrupt):
        jm.fit(TABLE, SCOUTED, seed=2, progress=False, pool=2)


def test_a_control_stops_between_chains() -> None:
    control = jm.Control()

    def stop(stage: str, done: float, *_: object) -> None:
        if stage == "sample" and done:
            control.stop()

    found = jm.fit(TABLE, SCOUTED, 2, progress=stop, control=control, pool=ThreadPoolExecutor(1))
    assert found.attrs["partial"]
    assert found["posterior"].sizes["chain"] == 1


def test_a_pool_that_is_lost_costs_the_scouts_alone(
    fitted: xr.DataTree, monkeypatch: pytest.MonkeyPatch
) -> None:
    def lost(jobs: Any, _: object) -> Iterator[tuple[int, Any]]:
        yield next(run_threads(jobs, 1))
        raise SamplingError("The Dask scheduler was lost.")

    monkeypatch.setattr(scouts, "run_jobs", lost)
    found = jm.fit(TABLE, SCOUTED, seed=2, progress=False, pool=ThreadPoolExecutor(1))
    assert found["posterior"].to_dataset().identical(fitted["posterior"].to_dataset())
    sent = found["scouts"].to_dataset()
    assert (sent.sizes["scout"], sent.attrs["text"]) == (2, "The Dask scheduler was lost.")


def test_a_fit_whose_pool_is_lost_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    def lost(*_: object) -> Iterator[Any]:
        raise SamplingError("A worker process was killed.")
        yield

    monkeypatch.setattr(chain_jobs, "run_jobs", lost)
    with pytest.raises(SamplingError, match="A worker process was killed"):
        jm.fit(TABLE, SCOUTED, seed=2, progress=False, pool=2)


def one_more(number: int) -> int:
    time.sleep(0.02)
    return number + 1


RUNS: dict[str, Callable[[], tuple[Callable[..., Any], AbstractContextManager[Any]]]] = {
    "alone": lambda: (partial(run_threads, threads=1), nullcontext()),
    "threads": lambda: (partial(run_threads, threads=2), nullcontext()),
    "processes": lambda: (partial(run_jobs, pool=chosen_pool(2)), nullcontext()),
    "joblib": lambda: (
        lambda *given, **options: run_jobs(*given, pool=other_pool(None, 1), **options),
        parallel_config("threading", n_jobs=2),
    ),
}


@pytest.mark.parametrize("run", RUNS)
def test_jobs_lead_to_others_wherever_they_run(run: str) -> None:
    how, where = RUNS[run]()
    ended: list[tuple[str, int]] = []

    def chain(name: str, number: int) -> Step:
        def then(found: int) -> Iterator[Step]:
            assert found == number + 1
            if found < 3:
                yield chain(name, found)

        return Step(delayed(one_more)(number), then, name=name)

    with where:
        ended = list(run_steps([chain("a", 0), chain("b", 1)], how))
    assert sorted(ended) == [("a", 1), ("a", 2), ("a", 3), ("b", 2), ("b", 3)]
    # Each after what it follows from.
    assert [found for name, found in ended if name == "a"] == [1, 2, 3]


def test_ranks_settle_who_is_next() -> None:
    def then(place: int, _: int) -> Iterator[tuple[int, Any]]:
        if place == 0:
            yield 2, delayed(one_more)(10)
            yield -1, delayed(one_more)(20)

    jobs = [delayed(one_more)(number) for number in range(2)]
    found = list(run_threads(jobs, 1, then))
    assert found == [(0, 1), (3, 21), (1, 2), (2, 11)]


def test_scores_are_of_the_fits(alone: dict[str, jm.Comparison]) -> None:
    found = alone["numbers"]
    # As many draws as are scored: leave-one-out of the same fit gives the same sum.
    for key, tree in found.trees.items():
        assert found.table.loc[key, "elpd"] == pytest.approx(
            float(np.sum(jm.loo(tree).pointwise["joint"].values)), abs=1e-9
        )
