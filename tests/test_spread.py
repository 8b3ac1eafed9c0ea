"""Fits of tables whose parts lie with the workers of a Dask cluster: sums over parts."""

import json
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from test_cli import call

import jointmix as jm
from jointmix.base import clusters
from jointmix.base.errors import (
    ColumnTypeError,
    DataError,
    MemoryLimitError,
    SamplingError,
    SpecError,
)
from jointmix.fitting import spread
from jointmix.fitting.spread import spread_dataset
from jointmix.kernel.densities import densities, prior_densities
from jointmix.kernel.problem import n_free
from jointmix.model.dataset import Dataset, inspect_table, make_dataset
from jointmix.modes.density import RowsDensity
from jointmix.modes.reweighing import reweighed
from jointmix.sampling.target import Target
from jointmix.tables import gathering

dd = pytest.importorskip("dask.dataframe", reason="needs the extra dask")
distributed = pytest.importorskip("distributed", reason="needs the extra dask")

QUICK = jm.SamplerSpec(draws=250)
SPEC = jm.ModelSpec(n_clusters=4, features=["x1", "x2"], sampler=QUICK)


@pytest.fixture(scope="module")
def client() -> Iterator[Any]:
    with (
        distributed.LocalCluster(
            n_workers=1, threads_per_worker=2, processes=False, dashboard_address=":0"
        ) as cluster,
        distributed.Client(cluster, set_as_default=False) as own,
    ):
        yield own


def rows(n: int = 1_500) -> pd.DataFrame:
    return jm.simulate(jm.four_clusters(), n, seed=3).drop(columns="cluster")


def mixed(n: int = 600) -> pd.DataFrame:
    """Two clusters in numbers, counts and levels, with holes, weights and an exposure."""
    rng = np.random.default_rng(5)
    own = rng.integers(2, size=n)
    found = pd.DataFrame(
        {
            "a": rng.normal(3 * own),
            "b": rng.normal(-2 * own, 2),
            "site": pd.Categorical(np.array(["up", "down", "side"])[rng.integers(3, size=n)]),
            "visits": rng.poisson(2 + 4 * own),
            "years": rng.uniform(1, 3, n),
            "times": rng.integers(1, 4, n),
            "cost": rng.normal(own),
        }
    )
    for name in ("a", "site"):
        found.loc[rng.choice(n, 40, replace=False), name] = None
    return found


MODELS: dict[str, jm.ModelSpec] = {
    "numbers": jm.ModelSpec(n_clusters=2, features=["a", "b"], response="cost", missing="drop"),
    "holes": jm.ModelSpec(n_clusters=2, features=["a", "b"], response="cost", missing="model"),
    "levels": jm.ModelSpec(
        n_clusters=2,
        features=["b", "site"],
        response="cost",
        formula="cost ~ b + site",
        row_weights="times",
        missing="drop",
    ),
    "levels that are missing": jm.ModelSpec(
        n_clusters=2,
        features=["b", "site"],
        response="cost",
        formula="cost ~ b + site",
        missing="model",
    ),
    "counts": jm.ModelSpec(
        n_clusters=2,
        features=["b"],
        response="visits",
        predictors=["b"],
        family="poisson",
        offset="years",
    ),
    "own units": jm.ModelSpec(
        n_clusters=2,
        features=["b"],
        response="cost",
        family="student_t",
        standardize=False,
        covariance="tied",
    ),
}


def parts_of(table: pd.DataFrame, n: int = 3) -> Any:
    return dd.from_pandas(table, npartitions=n)


def some_points(dataset: Dataset, n: int = 5) -> np.ndarray:
    quick = replace(dataset.spec, sampler=jm.SamplerSpec(starts=2))
    census = jm.fit_em(dataset.alone().under(quick), quick, 1)
    from jointmix.modes.initial import make_start
    from jointmix.modes.ordering import choose_ordering

    ordering = choose_ordering(census.start, dataset, 1)
    start = make_start(census.start, dataset, ordering)
    target = Target(dataset, replace(start, direction=None))
    return target.points(1, n)


@pytest.mark.parametrize("name", MODELS)
def test_sums_over_parts_are_those_of_the_whole_table(name: str, client: Any) -> None:
    table, spec = mixed(), MODELS[name]
    whole, own = make_dataset(table, spec), spread_dataset(parts_of(table), spec, client)
    assert own.elsewhere is not None
    assert (own.elsewhere.n_rows, own.n_rows) == (len(whole.values), whole.n_rows)
    assert own.missing == whole.missing
    assert own.spec == whole.spec
    np.testing.assert_allclose(own.scaling.center, whole.scaling.center, rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(own.scaling.scale, whole.scaling.scale, rtol=1e-12)
    points = some_points(own)
    here, there = RowsDensity(whole), RowsDensity(own)
    np.testing.assert_allclose(there.many(points, 1), here.many(points, 1), rtol=1e-12)
    assert there.total == here.total
    assert there.log_jacobian == pytest.approx(here.log_jacobian, rel=1e-12)
    for point in points[:2]:
        value, slope = here(point)
        found, own_slope = there(point)
        assert found == pytest.approx(value, rel=1e-12)
        np.testing.assert_allclose(own_slope, slope, rtol=1e-10, atol=1e-10 * abs(slope).max())
        # Both are differences of gradients over steps of 1e-5.
        bend = here.curvature(point)
        np.testing.assert_allclose(there.curvature(point), bend, atol=1e-4 * abs(bend).max())


def test_the_scale_is_that_of_all_rows_whatever_the_sample(
    client: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(spread, "SAMPLE_ROWS", 200)
    table = rows()
    whole, own = make_dataset(table, SPEC), spread_dataset(parts_of(table), SPEC, client)
    assert len(own.values) == 200
    np.testing.assert_array_equal(own.values, whole.values[own.row])
    np.testing.assert_allclose(own.scaling.center, whole.scaling.center, rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(own.scaling.scale, whole.scaling.scale, rtol=1e-12)
    point = some_points(own)[0]
    np.testing.assert_allclose(RowsDensity(own)(point)[0], RowsDensity(whole)(point)[0], rtol=1e-12)


@pytest.mark.parametrize(
    ("response", "family", "given"),
    [
        ("visits", "poisson", {"offset": "years"}),
        ("some", "binomial", {"trials": "times"}),
        ("years", "inverse_gaussian", {"row_weights": "share"}),
    ],
)
def test_a_line_lies_where_all_rows_have_it(
    response: str,
    family: str,
    given: dict[str, str],
    client: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(spread, "SAMPLE_ROWS", 60)
    table = mixed().assign(some=lambda each: each["times"] // 2, share=np.linspace(0.2, 2, 600))
    spec = jm.ModelSpec(
        n_clusters=2, features=["a"], response=response, predictors=["b"], family=family,
        missing="drop", **given,
    )  # fmt: skip
    whole, own = make_dataset(table, spec), spread_dataset(parts_of(table), spec, client)
    np.testing.assert_allclose(own.scaling.center, whole.scaling.center, rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(own.scaling.scale, whole.scaling.scale, rtol=1e-12)


def test_splines_end_where_all_rows_do(client: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spread, "SAMPLE_ROWS", 60)
    table = mixed()
    # The largest of all is in a row that is left out: the knots end at the largest that is used.
    table.loc[17, "b"], table.loc[17, "cost"] = 99.0, np.nan
    spec = jm.ModelSpec(n_clusters=2, formula="cost ~ bs(b, df=4)", features=["a"], missing="drop")
    whole, own = make_dataset(table, spec), spread_dataset(parts_of(table, 4), spec, client)
    assert own.elsewhere is not None
    assert own.elsewhere.n_rows == len(whole.values)
    assert own.missing == whole.missing
    ends = [
        [
            (knots["lower_bound"], knots["upper_bound"])
            for knots in each.spec.encoding.states.values()
        ]
        for each in (own, whole)
        if each.spec.encoding is not None
    ]
    assert ends[0] == ends[1]


@pytest.fixture(scope="module")
def of_sample(client: Any) -> Iterator[xr.DataTree]:
    """A fit of 3,000 rows that holds 1,000 of them."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(spread, "SAMPLE_ROWS", 1_000)
        yield jm.fit(parts_of(rows(3_000)), SPEC, seed=1, pool=client, progress=False)


@pytest.fixture(scope="module")
def in_memory() -> xr.DataTree:
    return jm.fit(rows(3_000), SPEC, seed=1, progress=False)


def assert_same_posterior(one: xr.DataTree, other: xr.DataTree) -> None:
    """Means within 3.5 Monte Carlo errors of both."""
    import arviz_stats

    for name in one["posterior"].data_vars:
        pair = [tree["posterior"][name] for tree in (one, other)]
        means = [each.mean(["chain", "draw"]) for each in pair]
        errors = [arviz_stats.mcse(each.to_dataset(name=name))[name] for each in pair]
        gap = np.abs(means[0].values - means[1].values)
        error = np.hypot(errors[0].values, errors[1].values)
        free = error > 0
        assert (gap[free] < 3.5 * error[free]).all(), name


def test_the_posterior_is_that_of_all_rows(of_sample: xr.DataTree, in_memory: xr.DataTree) -> None:
    assert_same_posterior(of_sample, in_memory)
    evidence = [
        json.loads(tree.attrs["proposal"])["log_evidence"] for tree in (of_sample, in_memory)
    ]
    assert evidence[0] == pytest.approx(evidence[1], abs=0.05)
    level = [tree["invariant"]["log_likelihood"].mean() for tree in (of_sample, in_memory)]
    # Half a χ² of 47 degrees of freedom in 1,000 draws: their means differ by an error of 0.3.
    assert float(level[0]) == pytest.approx(float(level[1]), abs=1.5)
    assert of_sample.attrs["verdict"] == "OK"
    assert (of_sample.attrs["n_rows"], of_sample.attrs["n_fitted"]) == (3_000, 3_000)
    assert (of_sample.attrs["n_obs"], of_sample.attrs["n_parts"]) == (1_000, 3)
    row, table = of_sample["constant_data"]["row"].values, rows(3_000)
    np.testing.assert_array_equal(
        of_sample["observed_data"]["x"].values, table[["x1", "x2"]].to_numpy()[row]
    )


def test_scores_of_a_sample_are_of_all_rows(of_sample: xr.DataTree, in_memory: xr.DataTree) -> None:
    own, whole = jm.loo(of_sample), jm.loo(in_memory, most_rows=3_000)
    gap = (own.table["elpd"] - whole.table["elpd"]).abs()
    assert (gap < 3.5 * own.table["subsampling_se"]).all()
    np.testing.assert_allclose(own.table["se"], whole.table["se"], rtol=0.1)
    assert "1000 of 3000 rows were left out" in own.text
    with pytest.raises(SpecError, match="or fit without pool"):
        own.elpd_data()
    with pytest.raises(SpecError, match="holds a sample of the rows"):
        jm.kfold(of_sample, 3)


def test_a_fit_of_a_sample_is_kept_and_says_what_it_is(
    of_sample: xr.DataTree, tmp_path: Path
) -> None:
    jm.save(of_sample, tmp_path / "fit.nc")
    tree = jm.load(tmp_path / "fit.nc")
    jm.report(tree, tmp_path / "fit.html")
    page = (tmp_path / "fit.html").read_text(encoding="utf-8")
    assert "The table has 3,000 rows; 3,000 were used. They were read in 3 parts." in page
    assert "all pictures are of 1,000 rows at random" in page
    assert "was fitted to 3,000 rows" in page


def assert_equal(one: xr.DataTree, other: xr.DataTree) -> None:
    for group in ("posterior", "observed_data", "modes", "sample_stats"):
        xr.testing.assert_identical(one[group].to_dataset(), other[group].to_dataset())


def test_who_holds_the_parts_does_not_matter(client: Any, tmp_path: Path) -> None:
    """A folder of files, a Dask DataFrame of as many partitions, one worker or two."""
    table = rows(900)
    for number in range(3):
        (tmp_path / "rows").mkdir(exist_ok=True)
        table[300 * number : 300 * (number + 1)].reset_index(drop=True).to_parquet(
            tmp_path / "rows" / f"{number}.parquet", index=False
        )
    one = jm.fit(tmp_path / "rows", SPEC, seed=1, pool=client, progress=False)
    divided = dd.from_map(lambda n: table[300 * n : 300 * (n + 1)], range(3))
    two = jm.fit(divided, SPEC, seed=1, pool=client, progress=False)
    assert_equal(one, two)


@pytest.fixture(scope="module")
def processes() -> Iterator[Any]:
    with (
        distributed.LocalCluster(
            n_workers=2, threads_per_worker=1, dashboard_address=":0"
        ) as cluster,
        distributed.Client(cluster, set_as_default=False) as own,
    ):
        yield own


def test_a_killed_worker_changes_nothing(processes: Any) -> None:
    """Its parts are read again by the other."""
    alone = jm.fit(parts_of(rows()), SPEC, seed=1, pool=processes, progress=False)
    workers = [each["pid"] for each in workers_of(processes).values()]
    killed: list[int] = []

    def tell(stage: str, *_: object) -> None:
        if stage == "sample" and not killed:
            killed.append(workers[0])
            os.kill(workers[0], signal.SIGKILL)

    again = jm.fit(parts_of(rows()), SPEC, seed=1, pool=processes, progress=tell)
    assert killed
    assert_equal(alone, again)


def test_a_recipe_is_run_on_a_cluster(processes: Any, tmp_path: Path) -> None:
    table, address = rows(900), processes.cluster.scheduler_address
    (tmp_path / "rows").mkdir()
    for number in range(3):
        table[300 * number : 300 * (number + 1)].to_parquet(
            tmp_path / "rows" / f"{number}.parquet", index=False
        )
    recipe = jm.Recipe(spec=SPEC, path="rows", base=tmp_path)
    jm.write_recipe(recipe, tmp_path / "model.toml")
    looked = call("check", str(tmp_path / "model.toml"), "--dask", address, "--json")
    assert json.loads(looked.stdout)["n_rows"] == 900
    done = call("fit", str(tmp_path / "model.toml"), "--dask", address, "--quiet")
    assert done.exit_code == 0, done.output
    tree = jm.load(tmp_path / "model.nc")
    assert tree.attrs["n_parts"] == 3
    assert len(tree["observed_data"]["x"]) == tree.attrs["n_fitted"] == 900
    jm.write_recipe(replace(recipe, id="x1"), tmp_path / "named.toml")
    refused = call("fit", str(tmp_path / "named.toml"), "--dask", address)
    assert refused.exit_code == 2
    assert "id of [data] is of rows in one process" in refused.stderr


def workers_of(client: Any) -> dict[str, dict[str, int]]:
    found = client.run(os.getpid)
    return {address: {"pid": pid} for address, pid in found.items()}


def test_a_scheduler_that_goes_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clusters, "_CONNECT_SECONDS", 2)
    with distributed.LocalCluster(
        n_workers=1, threads_per_worker=1, processes=False, dashboard_address=":0", protocol="tcp"
    ) as at:

        def tell(stage: str, *_: object) -> None:
            if stage == "sample" and at.status.name == "running":
                threading.Thread(target=at.close).start()
                time.sleep(1)

        with pytest.raises(SamplingError, match=r"^The Dask scheduler at tcp.* was lost\.$"):
            jm.fit(parts_of(rows()), SPEC, pool=at.scheduler_address, progress=tell)


def damaged(folder: Path, how: Callable[[Path], object]) -> Path:
    folder.mkdir()
    table = rows(300)
    for number in range(3):
        table[100 * number : 100 * (number + 1)].to_parquet(folder / f"{number}.parquet")
    how(folder / "1.parquet")
    return folder


@pytest.mark.parametrize(
    ("how", "message"),
    [
        (
            lambda path: path.write_bytes(path.read_bytes()[:-50]),
            r"1\.parquet: is not a readable \.parquet file",
        ),
        (
            lambda path: rows(100).drop(columns="x2").to_parquet(path),
            r"1\.parquet: lacks the column 'x2'",
        ),
        (
            lambda path: rows(100).assign(x2="a").to_parquet(path),
            r"1\.parquet: column 'x2' holds texts, but numbers in",
        ),
        (
            lambda path: rows(100).assign(x2=np.inf).to_parquet(path),
            r"infinite",
        ),
    ],
)
def test_a_part_that_is_wrong_is_named(
    how: Callable[[Path], object], message: str, client: Any, tmp_path: Path
) -> None:
    folder = damaged(tmp_path / "rows", how)
    with pytest.raises(DataError, match=message):
        jm.fit(folder, SPEC, pool=client, progress=False)


def test_what_one_part_alone_holds_is_named_by_it(
    client: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A number too large that no row of the sample has."""
    monkeypatch.setattr(spread, "SAMPLE_ROWS", 100)
    table = rows()
    place = np.sort(np.random.default_rng(0).choice(len(table), 100, replace=False))
    other = np.setdiff1d(np.arange(len(table)), place)[-1]
    table.loc[other, "x1"] = np.inf
    with pytest.raises(DataError, match=r"^Partition 2 of the Dask DataFrame: .*'x1'"):
        jm.fit(parts_of(table), SPEC, pool=client, progress=False)


ONE_SIDED: dict[str, Callable[[pd.DataFrame], pd.DataFrame]] = {
    "sorted by a level": lambda each: each.sort_values("site").reset_index(drop=True),
    "a column that is constant": lambda each: each.assign(b=np.repeat([1.0, 2.0, 4.0], 200)),
    "a column without entries": lambda each: each.assign(b=each["b"].where(each.index >= 200)),
    "no row that is used": lambda each: each.assign(cost=each["cost"].where(each.index < 400)),
    "no row that counts": lambda each: each.assign(times=each["times"].where(each.index < 200, 0)),
    "counts that are all zero": lambda each: each.assign(
        visits=each["visits"].where(each.index >= 200, 0)
    ),
}


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("how", ONE_SIDED)
def test_a_part_need_not_be_a_table_of_its_own(how: str, name: str, client: Any) -> None:
    """What columns have to be together, such as not constant, they need not be in a part."""
    table, spec = ONE_SIDED[how](mixed()), MODELS[name]
    whole, issues = inspect_table(table, spec)
    if whole is None:
        found = jm.check(parts_of(table), spec, em=False, pool=client)
        errors = [each.code for each in issues if each.severity == "error"]
        assert [each.code for each in found.errors] == errors
        return
    found = spread_dataset(parts_of(table), spec, client)
    assert found.elsewhere is not None
    assert found.elsewhere.n_rows == len(whole.values)
    assert found.missing == whole.missing
    points = np.random.default_rng(1).normal(scale=0.3, size=(3, n_free(found.spec)))
    np.testing.assert_allclose(
        RowsDensity(found).many(points, 1), RowsDensity(whole).many(points, 1), rtol=1e-12
    )


def test_a_file_without_entries_in_a_column_has_no_type_for_it(client: Any, tmp_path: Path) -> None:
    table = mixed().drop(columns="site")
    (tmp_path / "rows").mkdir()
    for number in range(3):
        part = table[200 * number : 200 * (number + 1)]
        part = part.assign(a=None) if number == 1 else part
        part.to_parquet(tmp_path / "rows" / f"{number}.parquet", index=False)
    whole = table.assign(a=table["a"].where((table.index < 200) | (table.index >= 400)))
    for missing in ("model", "drop"):
        spec = replace(MODELS["holes"], missing=missing)
        found = spread_dataset(tmp_path / "rows", spec, client)
        assert found.elsewhere is not None
        assert found.elsewhere.n_rows == len(make_dataset(whole, spec).values)
        assert found.missing == make_dataset(whole, spec).missing


def test_levels_are_those_of_all_rows(client: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever rows are drawn; and a level of one row is told from one of two."""
    monkeypatch.setattr(spread, "SAMPLE_ROWS", 100)
    table = mixed(900).assign(site="up", word=np.resize(["yes", "no"], 900), ward=3)
    place = np.random.default_rng(0).choice(900, 100, replace=False)
    other = np.setdiff1d(np.arange(900), place)
    table.loc[other[[5, -9]], "site"] = "twice"
    table.loc[other[[7, -7, -2]], "ward"] = [5, 4, 4]
    table.loc[other[-1], "site"] = "once"
    # The first two rows with this level are left out: a response is missing, a weight is zero.
    table.loc[other[[3, 4, 40, 41]], "word"] = "perhaps"
    table.loc[other[3], "cost"] = np.nan
    table.loc[other[4], "times"] = 0
    spec = jm.ModelSpec(
        n_clusters=2, features=["b", "word"], formula="cost ~ b + site + C(ward)", missing="drop",
        row_weights="times",
    )  # fmt: skip
    whole, found = make_dataset(table, spec), spread_dataset(parts_of(table), spec, client)
    assert found.columns == whole.columns
    assert found.spec.encoding == whole.spec.encoding
    assert found.spec.types == whole.spec.types
    assert found.elsewhere is not None
    assert found.elsewhere.n_rows == 898 == len(whole.values)
    issues = jm.check(parts_of(table), spec, em=False, pool=client).warnings
    rare = [(each.column, each.message) for each in issues if each.code == "rare_level"]
    assert [name for name, _ in rare] == ["site", "ward"]
    assert "'once'" in rare[0][1]
    assert "'5'" in rare[1][1]


def test_lists_in_a_column_are_refused_in_a_sentence(
    client: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(spread, "SAMPLE_ROWS", 50)
    (tmp_path / "rows").mkdir()
    for number in range(2):
        mixed(100).assign(site=[["a"], ["b"]] * 50).to_parquet(
            tmp_path / "rows" / f"{number}.parquet", index=False
        )
    spec = replace(MODELS["levels"], missing="drop")
    with pytest.raises(ColumnTypeError, match="site"):
        jm.fit(tmp_path / "rows", spec, pool=client, progress=False)


def test_a_stream_is_of_this_process(client: Any) -> None:
    with pytest.raises(SpecError, match="leave out stream, or pool"):
        jm.fit(parts_of(rows(60), 1), SPEC, pool=client, progress=False, stream="draws")


@pytest.mark.parametrize("pool", ["tcp://127.0.0.1:9", object()], ids=["no scheduler", "no pool"])
def test_what_is_no_pool_is_refused(pool: Any) -> None:
    with pytest.raises((SamplingError, SpecError), match=r"No Dask scheduler|pool must be"):
        jm.fit(rows(60), SPEC, pool=pool, progress=False)


def test_a_check_of_rows_here_takes_no_pool(client: Any) -> None:
    with pytest.raises(SpecError, match="a table whose parts workers can hold"):
        jm.check(rows(60), SPEC, pool=client)
    with pytest.raises(SpecError, match="check's pool must be a Dask client"):
        jm.check(rows(60), SPEC, pool=2)


#: Far from normal: of these independence chains do not draw well.
FEW, CROWDED = rows(40), replace(SPEC, n_clusters=5)
#: What NUTS is to draw, for one reason or another.
BY_NUTS: dict[str, jm.ModelSpec] = {
    "asked for": replace(
        SPEC, n_clusters=2, sampler=jm.SamplerSpec(sampler="nutpie", draws=60, tune=100)
    ),
    "sums do not serve": replace(CROWDED, sampler=jm.SamplerSpec(draws=60, tune=100)),
}


@pytest.mark.parametrize("name", BY_NUTS)
def test_nuts_draws_where_the_parts_fit_here(name: str, client: Any) -> None:
    spec = BY_NUTS[name]
    found = jm.fit(parts_of(FEW, 2), spec, seed=1, pool=client, progress=False)
    assert found.attrs["backend"] == "nutpie on kernel"
    assert_equal(found, jm.fit(FEW, spec, seed=1, progress=False))


def test_rows_that_only_workers_have_come_here_for_nuts(client: Any) -> None:
    held = client.persist(parts_of(FEW, 2))
    found = jm.fit(held, BY_NUTS["asked for"], seed=1, pool=client, progress=False)
    assert_equal(found, jm.fit(FEW, BY_NUTS["asked for"], seed=1, progress=False))


def test_nuts_of_more_rows_than_fit_here_is_refused(
    client: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    FEW.to_parquet(tmp_path / "rows.parquet")
    monkeypatch.setattr(gathering, "available", lambda: 100.0)
    with pytest.raises(
        MemoryLimitError,
        match=r"do not serve here \(.*NUTS takes all rows in one process, but .*rows",
    ):
        jm.fit(tmp_path / "rows.parquet", CROWDED, seed=1, pool=client, progress=False)


def test_rows_that_workers_have_no_room_for_are_refused(
    client: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for number, n in enumerate((40, 10)):
        rows(n).to_parquet(tmp_path / f"{number}.parquet")
    found: list[int] = []
    monkeypatch.setattr(spread, "memory_of", lambda _: found)
    # 50 rows of two columns; of one worker, and where two share them.
    needed = gathering.bytes_while_read(50, 2)
    for limits, message in (
        ([needed - 1], "50 rows of 2 columns take .* add workers"),
        ([needed // 2, needed // 2 + 1], r"0\.parquet: 40 rows take .* write smaller parts"),
    ):
        found[:] = limits
        with pytest.raises(MemoryLimitError, match=message):
            spread_dataset(tmp_path, SPEC, client)
    for limits in ([needed], []):
        found[:] = limits
        assert spread_dataset(tmp_path, SPEC, client).n_rows == 50


def test_what_workers_may_take_is_known() -> None:
    with (
        distributed.LocalCluster(
            n_workers=2, threads_per_worker=1, processes=False, memory_limit="1GB",
            dashboard_address=":0",
        ) as cluster,
        distributed.Client(cluster, set_as_default=False) as own,
    ):  # fmt: skip
        assert clusters.memory_of(own) == [10**9, 10**9]


# Where chains start


STARTS: dict[str, Callable[[pd.DataFrame], Any]] = {
    "column": lambda _: "group",
    "groups": lambda table: table["group"].to_numpy(),
    "parameters": lambda table: jm.fit_em(table, SPEC, 1).best,
    "fit": lambda table: jm.fit(table, SPEC, 1, progress=False),
}


@pytest.mark.parametrize("name", STARTS)
def test_a_fit_on_a_cluster_starts_where_it_is_told(
    name: str, client: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = jm.simulate(jm.four_clusters(), 900, seed=3).rename(columns={"cluster": "group"})
    start = STARTS[name](whole)
    here = jm.fit(whole, SPEC, 1, start=start, progress=False)
    monkeypatch.setattr(spread, "SAMPLE_ROWS", 300)
    found = jm.fit(parts_of(whole), SPEC, 1, pool=client, start=start, progress=False)
    assert found.attrs["n_fitted"] == 900 > len(found["observed_data"]["x"])
    assert found.attrs["started"] == here.attrs["started"]
    assert found["modes"].attrs["start_mode"] == 1
    for parameter in ("weight", "mean"):
        one, other = (tree["posterior"][parameter] for tree in (found, here))
        # Four standard errors of means of 250 draws at least, of 20 entries.
        variance = one.var(("chain", "draw")) / 250 + other.var(("chain", "draw")) / 250
        apart = one.mean(("chain", "draw")) - other.mean(("chain", "draw"))
        assert (np.abs(apart) < 4 * np.sqrt(variance)).all()


def test_the_mode_that_chains_start_from_keeps_its_place_when_all_are_weighed() -> None:
    dataset = make_dataset(rows(300), replace(SPEC, n_clusters=3))
    census = jm.fit_em(dataset, dataset.spec, 1)
    assert len([mode for mode in census.modes if not mode.collapsed]) > 1
    found = reweighed(replace(census, home=1, reached=(1,)), dataset)
    assert found.start.log_likelihood == census.modes[1].log_likelihood
    assert found.home == found.reached[0] == 1
    assert found.modes[0].log_mass > found.start.log_mass


def test_a_minor_mode_stays_the_one_that_chains_start_from(client: Any) -> None:
    """A start of three clusters in one and one that is cut: an optimum far below the best."""
    whole = rows(600)
    far = whole["x1"] > whole["x1"].median()
    spec = replace(SPEC, n_clusters=2)
    for groups in (far, whole["x2"] > whole["x2"].median()):
        here = jm.fit(whole, spec, 1, start=groups.to_numpy(), progress=False)
        found = jm.fit(
            parts_of(whole), spec, 1, pool=client, start=groups.to_numpy(), progress=False
        )
        own = [tree["modes"]["log_likelihood"].values[tree["modes"].attrs["start_mode"] - 1]
               for tree in (here, found)]  # fmt: skip
        # Both at the same optimum, which EM leaves when it gains less than 1e-4 or so.
        assert own[0] == pytest.approx(own[1], abs=1e-2)


def test_partitions_without_rows_add_nothing(client: Any) -> None:
    table = rows(400)
    divided = dd.from_map(lambda n: table[: 400 * n], range(2))
    assert_equal(
        jm.fit(divided, SPEC, seed=1, pool=client, progress=False),
        jm.fit(parts_of(table, 1), SPEC, seed=1, pool=client, progress=False),
    )


def test_densities_of_parts_leave_the_prior_out(client: Any) -> None:
    table = rows(300)
    own = spread_dataset(parts_of(table), SPEC, client)
    points, density = some_points(own), RowsDensity(make_dataset(table, SPEC))
    expected = densities(density.problem, points, 1) - prior_densities(density.problem, points)
    assert own.elsewhere is not None
    np.testing.assert_allclose(own.elsewhere.log_likelihoods(points), expected, rtol=1e-12)


# What a table looks like before the fit


def test_a_check_is_that_of_all_rows_in_memory(client: Any) -> None:
    table = mixed()
    for spec in (MODELS["holes"], MODELS["levels that are missing"]):
        expected = jm.check(table, spec, seed=2)
        found = jm.check(parts_of(table), spec, seed=2, pool=client)
        assert found == expected


def test_errors_are_looked_for_in_all_rows(client: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spread, "SAMPLE_ROWS", 200)
    table = mixed().drop(columns="site").astype({"visits": float})
    place = np.sort(np.random.default_rng(0).choice(600, 200, replace=False))
    outside = sorted({*range(600)} - {*place.tolist()})
    early, late = outside[3], outside[-3]
    table.loc[early, "b"], table.loc[late, "cost"] = np.inf, np.inf
    found = jm.check(parts_of(table), MODELS["holes"], pool=client)
    assert [(each.code, each.column, each.row) for each in found.errors] == [
        ("infinite", "b", early),
        ("infinite", "cost", late),
    ]
    assert found.errors[0].message.startswith("Partition 0 of the Dask DataFrame: ")
    assert found.n_rows is None
    with pytest.raises(DataError, match="Partition 0 of the Dask DataFrame: "):
        jm.fit(parts_of(table), MODELS["holes"], pool=client, progress=False)


def test_a_check_counts_what_is_missing_in_all_rows(
    client: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = jm.check(mixed(), MODELS["numbers"], em=False)
    monkeypatch.setattr(spread, "SAMPLE_ROWS", 200)
    found = jm.check(parts_of(mixed()), MODELS["numbers"], em=False, pool=client)
    assert found.n_rows == whole.n_rows == mixed()["a"].notna().sum()
    assert found.factors == whole.factors
    said, wanted = (
        [(each.message, each.value) for each in one.warnings if each.code == "rows_left_out"]
        for one in (found, whole)
    )
    assert said == wanted
    assert len(said) == 1


def test_what_the_sample_refuses_is_said_by_its_rows(client: Any) -> None:
    table = mixed().assign(b=lambda each: each["b"].where(each.index != 417, np.inf))
    (issue,) = jm.check(parts_of(table), MODELS["numbers"], pool=client).errors
    assert (issue.code, issue.row) == ("infinite", 417)
