"""Simulation-based calibration: its statistics, quantities, files, report and command."""

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr
from conftest import STRUCTURES
from joblib import delayed
from scipy.stats import binom, kstest
from synthetic import fitted_tree
from typer.testing import CliRunner

from jointmix import Fixed, ModelSpec, Priors, SamplerSpec
from jointmix.base.clusters import on_cluster
from jointmix.base.errors import (
    DataError,
    MissingExtraError,
    SamplingError,
    SchemaError,
    SpecError,
    StorageError,
)
from jointmix.cli.commands import app
from jointmix.model.holes import with_holes
from jointmix.posterior.draws import fitted_spec
from jointmix.reporting import render_html, report
from jointmix.storage.trees import save
from jointmix.validation.calibration import (
    Calibration,
    Replicate,
    _own_scale,
    calibrate,
    fit_one,
    keep_calibration,
    read_calibration,
    write_calibration,
)
from jointmix.validation.calibration.holes import checked_shares
from jointmix.validation.calibration.quantities import (
    free_quantities,
    parameter_quantities,
    sorting_variable,
)
from jointmix.validation.calibration.replicates import true_arrays
from jointmix.validation.calibration.result import spec_digest
from jointmix.validation.calibration.uniformity import (
    coverage,
    deviation,
    distribution_function,
    holm,
    p_value,
    simultaneous_band,
)
from jointmix.validation.twin.priors import full_shape

SPEC = ModelSpec(
    n_clusters=2,
    features=("x",),
    predictors=("x",),
    response="y",
    sampler=SamplerSpec(draws=100, tune=100, chains=2, starts=3),
)
RECIPE = """
[data]
features = ["x"]
predictors = ["x"]
response = "y"
[model]
clusters = 2
[sampler]
draws = 100
tune = 100
chains = 2
starts = 3
"""


@pytest.fixture(scope="module")
def small() -> Calibration:
    return calibrate(SPEC, 30, 6, seed=3)


def made_up(n: int = 100, wrong: bool = False, seed: int = 1) -> Calibration:
    """Uniform ranks of three quantities; of one they pile up at the ends if that is wanted."""
    rng = np.random.default_rng(seed)
    ranks = rng.integers(0, 100, size=(n, 3))
    if wrong:
        ranks[:, 1] = np.where(rng.random(n) < 0.5, 0, 99)
    names = ("weight[1]", "mean[1, x]", "log_likelihood")
    found = tuple(
        Replicate(i, dict(zip(names, row.tolist(), strict=True)), 250.0, 400, 0, "OK", 0.2)
        for i, row in enumerate(ranks)
    )
    spec = replace(SPEC, standardize=False)
    return Calibration(spec, 30, 1, 99, found, "2026-01-31", {"jointmix": "0.1.0"})


def test_p_values_of_uniform_ranks_are_uniform() -> None:
    rng = np.random.default_rng(7)
    p = np.array([p_value(rng.integers(0, 100, 60), 100) for _ in range(1500)])
    # Ranks are whole numbers and so p has steps, all far below the test's resolution.
    assert kstest(p, "uniform").pvalue > 1e-3
    assert 0.03 < (p < 0.05).mean() < 0.07  # 5%, three binomial standard errors 1.7%


def test_the_statistic_is_the_least_binomial_tail() -> None:
    rng = np.random.default_rng(8)
    ranks = rng.integers(0, 20, 35)
    tails = []
    for i in range(1, 20):
        below = int((ranks < i).sum())
        own = binom(35, i / 20)
        tails.append(2 * min(own.cdf(below), 1 - own.cdf(below) + own.pmf(below)))
    assert deviation(ranks, 20) == pytest.approx(min(1.0, *tails), rel=1e-9)


def test_the_band_holds_uniform_ranks_as_often_as_it_says() -> None:
    rng = np.random.default_rng(9)
    at, lower, upper = simultaneous_band(80, 100)
    inside = []
    for _ in range(2000):
        found = distribution_function(rng.integers(0, 100, 80), 100)
        inside.append(bool(((found >= lower - 1e-12) & (found <= upper + 1e-12)).all()))
    # Counts are whole, so that the band holds a little more than 95%.
    assert 0.94 < np.mean(inside) < 0.975
    assert at.shape == lower.shape == upper.shape == (99,)


@pytest.mark.parametrize("shift", ["low", "narrow", "wide"])
def test_shapes_of_miscalibration_are_told_from_chance(shift: str) -> None:
    rng = np.random.default_rng(10)
    u = {"low": rng.beta(1, 2, 100), "narrow": rng.beta(0.5, 0.5, 100),
         "wide": rng.beta(3, 3, 100)}[shift]  # fmt: skip
    assert p_value((100 * u).astype(int), 100) < 1e-3


def test_coverage_counts_the_central_ranks() -> None:
    share, expected, p = coverage(np.array([0, 4, 5, 50, 94, 95, 99]), 100, 0.9)
    assert share == pytest.approx(3 / 7)
    assert expected == pytest.approx(0.9)
    tail = binom(7, 0.9).cdf(3)
    assert p == pytest.approx(tail, rel=1e-6)


def test_holm_is_stepwise() -> None:
    assert holm(np.array([0.01, 0.04, 0.03])).tolist() == pytest.approx([0.03, 0.06, 0.06])
    assert holm(np.array([0.5, 0.9])).tolist() == pytest.approx([1.0, 1.0])


@pytest.mark.parametrize(
    "name", ["four features", "tied", "spherical", "shared noise", "no response"]
)
def test_free_quantities_are_as_many_as_the_model_has(name: str) -> None:
    spec = replace(STRUCTURES[name], standardize=False)
    arrays = true_arrays(spec, 0, 5)
    names = free_quantities(arrays, spec)
    extra = 0
    if spec.n_clusters > 2:
        extra = 1  # Of K weights K − 1 are free, and all are ranked.
    assert len(names) == spec.n_parameters + extra
    assert len(set(names)) == len(names)


def test_truths_come_from_the_prior() -> None:
    spec = replace(SPEC, standardize=False)
    found = np.concatenate([true_arrays(spec, block, 4)["mean"].ravel() for block in range(5)])
    assert kstest(found / spec.priors.mean.scale, "norm").pvalue > 1e-3
    again = true_arrays(spec, 2, 4)["mean"]
    assert (again == true_arrays(spec, 2, 4)["mean"]).all()
    assert not (again == true_arrays(spec, 3, 4)["mean"]).any()


def test_sorting_is_by_the_named_variable_and_moves_whole_clusters() -> None:
    spec = replace(SPEC, ordering="slope[x]", standardize=False)
    assert sorting_variable(spec) == ("slope", 0)
    arrays = true_arrays(spec, 0, 6)
    found = parameter_quantities(arrays, spec)
    assert (found["slope[1, x]"] <= found["slope[2, x]"]).all()
    flipped = {key: values[:, ::-1] for key, values in arrays.items()}
    other = parameter_quantities(flipped, spec)
    assert all((found[key] == other[key]).all() for key in found)
    first = arrays["slope"][:, :, 0].argmin(axis=1)
    own = np.take_along_axis(arrays["sigma"], first[:, None], axis=1)[:, 0]
    assert (found["sigma[1]"] == own).all()


def test_clusters_with_known_weights_are_not_sorted() -> None:
    known = replace(SPEC, priors=Priors(weight=Fixed(value=(0.3, 0.7))))
    assert sorting_variable(known) is None


def test_quantities_of_a_student_t_model_have_its_degrees_of_freedom() -> None:
    spec = replace(SPEC, family="student_t", standardize=False)
    rng = np.random.default_rng(11)
    arrays = {
        name: rng.gamma(2.0, size=(50, *full_shape(item, spec)))
        for name, item in spec.parameters.items()
    }
    found = parameter_quantities(arrays, spec)
    assert list(found)[-2:] == ["df[1]", "df[2]"]
    # Clusters are sorted by their means, and df moves with them.
    first = arrays["mean"][:, :, 0].argmin(axis=1)
    assert (found["df[1]"] == arrays["df"][np.arange(50), first]).all()
    assert {"df[1]", "df[2]"} <= set(free_quantities(arrays, spec))
    known = {name: Fixed(value=value) for name, value in (("mean", (1.0,)), ("slope", (2.0,)))}
    only = replace(
        spec, noise="shared", covariance="tied", priors=Priors(**known, intercept=Fixed(value=0.0))
    )
    assert sorting_variable(only) == ("df", None)


def test_degrees_of_freedom_may_be_known_on_any_scale() -> None:
    spec = replace(SPEC, family="student_t", priors=Priors(df=Fixed(value=4.0)))
    assert not _own_scale(spec).standardize


STORED = Path(__file__).parents[1] / "reports" / "calibration"


@pytest.mark.parametrize("path", sorted(STORED.glob("*.json")), ids=lambda path: path.stem)
def test_stored_calibrations_are_read_and_are_of_the_same_models(path: Path) -> None:
    found, stored = read_calibration(path), json.loads(path.read_text("utf-8"))
    assert spec_digest(found.spec) == stored["spec_sha256"]
    assert found.passed == stored["passed"]


def test_a_calibration_ranks_parameters_invariants_and_draws(small: Calibration) -> None:
    names = set(small.ranks)
    assert {"weight[1]", "mean[2, x]", "sd[1, x]", "slope[1, x]", "sigma[2]"} <= names
    assert {"log_likelihood", "overall_mean[y]", "complete_log_likelihood"} <= names
    assert {"rows[1]", "new_response", "log_density[sparsest row]"} <= names
    assert "weight[2]" not in names
    assert all(((ranks >= 0) & (ranks <= 99)).all() for ranks in small.ranks.values())
    assert len(small.replicates) == 6
    assert small.table.index.tolist() == list(small.ranks)


def test_replicates_do_not_depend_on_their_number_or_on_jobs(small: Calibration) -> None:
    more = calibrate(SPEC, 30, 8, seed=3, jobs=2)
    for name, ranks in small.ranks.items():
        assert (more.ranks[name][:6] == ranks).all(), name


def test_a_store_is_gone_on_from(small: Calibration, tmp_path: Path) -> None:
    place = tmp_path / "c.json"
    fitted: list[int] = []

    def counted(table: dict, spec: ModelSpec, seed: int) -> xr.DataTree:
        from jointmix.validation.calibration import fit_one

        fitted.append(seed)
        return fit_one(table, spec, seed)

    calibrate(SPEC, 30, 4, seed=3, store=place, analyse=counted)
    first = set(fitted)
    fitted.clear()
    again = calibrate(SPEC, 30, 6, seed=3, store=place, analyse=counted)
    # A table is fitted again, with the same seed, where too few draws are effective.
    assert (len(first), len(set(fitted))) == (4, 2)
    assert not first & set(fitted)
    assert {n: r.tolist() for n, r in again.ranks.items()} == {
        n: r.tolist() for n, r in small.ranks.items()
    }
    assert list(again.ranks) == list(small.ranks)
    assert [path.name for path in tmp_path.iterdir()] == ["c.json"]


def test_what_is_written_is_read(tmp_path: Path) -> None:
    own = made_up()
    failed = replace(own, replicates=(*own.replicates, Replicate(100, failure="DataError: no.")))
    place = write_calibration(failed, tmp_path / "c.json")
    back = read_calibration(place)
    assert back.replicates == failed.replicates
    assert back.as_dict() == failed.as_dict()
    assert not back.passed
    assert "1 table could not be fitted, because: DataError: no." in back.text


def test_a_store_of_something_else_is_refused(tmp_path: Path) -> None:
    place = tmp_path / "c.json"
    write_calibration(made_up(), place)
    before = place.read_bytes()
    for rows, seed, spec in ((31, 1, SPEC), (30, 2, SPEC), (30, 1, replace(SPEC, noise="shared"))):
        with pytest.raises(StorageError, match="number of rows, seed or missing entries"):
            calibrate(spec, rows, 4, seed=seed, store=place)
    assert place.read_bytes() == before


@pytest.mark.parametrize(
    "content",
    [b"", b"{}", b"[]", b"null", b'{"schema": 1}', b"\xff\xfe", b'{"schema": 1, "number": 3}'],
)
def test_damaged_stores_are_named(content: bytes, tmp_path: Path) -> None:
    place = tmp_path / "c.json"
    place.write_bytes(content)
    with pytest.raises(StorageError, match="is no calibration that jointmix wrote"):
        calibrate(SPEC, 30, 4, store=place)
    assert place.read_bytes() == content


def test_newer_stores_are_named(tmp_path: Path) -> None:
    place = tmp_path / "c.json"
    place.write_text('{"schema": 2}')
    with pytest.raises(StorageError, match="has schema 2, this version of jointmix reads 1"):
        read_calibration(place)


@pytest.mark.parametrize(
    ("changes", "error", "match"),
    [
        ({"replicates": 1}, SpecError, "replicates must be a whole number, at least 2; got 1"),
        ({"replicates": True}, SpecError, "replicates must be"),
        ({"jobs": 0}, SpecError, "jobs must be"),
        ({"n_rows": 5}, DataError, "tables of at least 6 rows; got 5"),
        ({"n_rows": "60"}, SpecError, "n_rows must be a whole number, at least 1; got '60'"),
        ({"analyse": 3}, SpecError, "analyse"),
        ({"seed": -1}, SpecError, "seed must be a whole number"),
        ({"spec": {}}, SpecError, "ModelSpec"),
        ({"store": "c.txt"}, StorageError, "must end in .json"),
        ({"store": "nowhere/c.json"}, StorageError, "does not exist"),
        (
            {"spec": replace(SPEC, noise="fixed", priors=Priors(sigma=Fixed(value=1.0)))},
            SpecError,
            "fixed sigma is on the columns' scale",
        ),
    ],
)
def test_what_cannot_be_calibrated_is_named(
    changes: dict, error: type[Exception], match: str, tmp_path: Path, monkeypatch
) -> None:
    monkeypatch.chdir(tmp_path)
    settings = {"spec": SPEC, "n_rows": 30, "replicates": 4} | changes
    with pytest.raises(error, match=match):
        calibrate(**settings)


def test_failed_fits_are_kept_and_do_not_pass() -> None:
    def failing(*_: object) -> xr.DataTree:
        raise DataError("Column 'x' is constant.")

    found = calibrate(SPEC, 30, 3, analyse=failing)
    assert not found.passed
    assert found.text == "None of 3 tables could be fitted: DataError: Column 'x' is constant."
    assert "No miscalibration" not in render_html(found)


def test_wrong_ranks_are_named() -> None:
    found = made_up(wrong=True)
    assert not found.passed
    assert found.miscalibrated == ("mean[1, x]",)
    assert found.poorly_covered == ("mean[1, x]",)
    assert "are not uniform: mean[1, x]" in found.text
    assert made_up().passed


def test_the_page_has_each_quantity(tmp_path: Path) -> None:
    for wrong, words in ((False, "No miscalibration found"), (True, "Not calibrated")):
        found = made_up(wrong=wrong)
        page = report(found, tmp_path / "c.html").read_text("utf-8")
        assert words in page
        for name in found.ranks:
            assert name in page
        line = found.table.loc["weight[1]"]
        assert f"{100 * line['coverage90']:.1f}%" in page
    content = json.loads(report(found, tmp_path / "c2.json").read_text("utf-8"))
    assert [section["id"] for section in content["sections"]] == [
        *("calibration", "quantities", "fits", "reproduce")
    ]


def test_a_fit_keeps_its_calibration() -> None:
    tree = fitted_tree()
    own = replace(made_up(), spec=replace(fitted_spec(tree), standardize=False))
    keep_calibration(tree, own)
    page = render_html(tree, sections=["calibration"])
    assert "No miscalibration found" in page
    assert "Over 100 tables of 30 rows" in page
    with pytest.raises(SchemaError, match="of another model than the fit"):
        keep_calibration(tree, made_up())


def test_without_one_the_report_says_how_to_get_it() -> None:
    page = render_html(fitted_tree(), sections=["calibration"])
    assert "jointmix calibrate SPEC.toml --fit FIT.nc" in page


def test_the_command_writes_results_and_report(tmp_path: Path) -> None:
    (tmp_path / "s.toml").write_text(RECIPE)
    arguments = ["calibrate", str(tmp_path / "s.toml"), "--rows", "30", "--replicates", "3"]
    done = CliRunner().invoke(app, [*arguments, "--json", "--quiet", "--seed", "3"])
    assert done.exit_code == 0, done.output
    found = json.loads(done.stdout)
    assert found["passed"] is True
    assert Path(found["results"]).name == "s.calibration.json"
    assert Path(found["report"]).name == "s.calibration.html"
    assert read_calibration(found["results"]).as_dict()["quantities"] == found["quantities"]
    again = CliRunner().invoke(app, [*arguments, "--quiet", "--seed", "3"])
    assert again.exit_code == 0
    assert again.stdout.startswith("NO MISCALIBRATION FOUND: Over 3 tables of 30 rows")
    other = CliRunner().invoke(app, [*arguments, "--quiet", "--seed", "4"])
    assert other.exit_code == 2
    assert "name another file" in other.stderr


def test_the_command_fails_where_ranks_are_wrong(tmp_path: Path) -> None:
    (tmp_path / "s.toml").write_text(RECIPE)
    place = write_calibration(made_up(wrong=True), tmp_path / "s.calibration.json")
    done = CliRunner().invoke(
        app, ["calibrate", str(tmp_path / "s.toml"), "--rows", "30", "--seed", "1", "--quiet"]
    )
    assert done.exit_code == 1
    assert done.stdout.startswith("NOT CALIBRATED")
    assert "wrong: mean[1, x]: mean rank" in done.stdout
    assert place.is_file()


def test_a_fit_of_another_model_is_refused_before_anything_is_fitted(tmp_path: Path) -> None:
    (tmp_path / "s.toml").write_text(RECIPE)
    fit = save(fitted_tree(), tmp_path / "other.nc")
    arguments = ["calibrate", str(tmp_path / "s.toml"), "--rows", "30", "--fit", str(fit)]
    done = CliRunner().invoke(app, [*arguments, "--quiet"])
    assert done.exit_code == 2
    assert "of another model than the fit ([data])" in done.stderr
    assert {path.name for path in tmp_path.iterdir()} == {"s.toml", "other.nc"}


def test_without_rows_or_data_the_command_says_so(tmp_path: Path) -> None:
    (tmp_path / "s.toml").write_text(RECIPE)
    done = CliRunner().invoke(app, ["calibrate", str(tmp_path / "s.toml"), "--quiet"])
    assert done.exit_code == 2
    assert len(done.stderr.strip().splitlines()) == 1


def test_interrupted_it_keeps_what_is_finished(tmp_path: Path) -> None:
    (tmp_path / "s.toml").write_text(RECIPE)
    command = [sys.executable, "-c", "from jointmix.cli import main; main()", "calibrate", "s.toml"]
    run = subprocess.Popen(
        [*command, "--rows", "30", "--replicates", "5000"],
        cwd=tmp_path,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONUNBUFFERED": "1"},
    )
    assert run.stderr is not None
    while not (line := run.stderr.readline()).startswith("calibrate"):
        assert line, "ended before the first table was fitted"
    run.send_signal(signal.SIGINT)
    _, errors = run.communicate(timeout=60)
    assert run.returncode == 130, errors
    assert "Traceback" not in errors
    kept = read_calibration(tmp_path / "s.calibration.json")
    assert 0 < len(kept.replicates) < 5000


def test_interrupted_before_the_first_table_is_no_other_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("jointmix.validation.calibration.run_jobs", interrupt)
    with pytest.raises(KeyboardInterrupt):
        calibrate(SPEC, 30, 4, store=tmp_path / "c.json")
    assert list(tmp_path.iterdir()) == []


def test_dask_must_be_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("jointmix.base.clusters.find_spec", lambda _: None)
    with pytest.raises(MissingExtraError, match=r"jointmix\[dask\]"):
        calibrate(SPEC, 30, 4, pool="tcp://127.0.0.1:1")


@pytest.mark.parametrize("address", ["nonsense", "", "tcp://127.0.0.1:1", "localhost:x", "deaf"])
def test_a_dask_scheduler_that_does_not_answer_is_named(
    address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("distributed", reason="needs the extra dask")
    monkeypatch.setattr("jointmix.base.clusters._CONNECT_SECONDS", 0.5)
    with socket.create_server(("127.0.0.1", 0)) as deaf:
        if address == "deaf":
            address = f"tcp://127.0.0.1:{deaf.getsockname()[1]}"
        with pytest.raises(SamplingError, match=f"No Dask scheduler answers at '{address}'"):
            calibrate(SPEC, 30, 4, pool=address)


def die_at_the_third(
    folder: Path, table: dict[str, np.ndarray], spec: ModelSpec, seed: int
) -> xr.DataTree:
    """As a process is killed that takes too much memory."""
    (folder / str(seed)).touch()
    if len(list(folder.iterdir())) >= 3:
        os.kill(os.getpid(), signal.SIGKILL)
    return fit_one(table, spec, seed)


def test_a_killed_worker_is_named_and_its_tables_are_kept(tmp_path: Path) -> None:
    begun, store = tmp_path / "begun", tmp_path / "c.json"
    begun.mkdir()
    message = (
        r"A worker process was killed.* use fewer jobs\. (\d+) tables? (is|are) kept in .*c\.json"
    )
    analyse = partial(die_at_the_third, begun)
    with pytest.raises(SamplingError, match=message) as caught:
        calibrate(SPEC, 30, 20, seed=3, jobs=2, store=store, analyse=analyse)
    kept = read_calibration(store)
    assert f" {len(kept.replicates)} table" in str(caught.value)
    assert len(kept.replicates) < 3


@contextmanager
def a_dask_cluster() -> Iterator[Any]:
    distributed = pytest.importorskip("distributed", reason="needs the extra dask")
    with distributed.LocalCluster(n_workers=1, threads_per_worker=1, dashboard_address=":0") as at:
        yield at


@pytest.fixture(scope="module")
def dask_cluster() -> Iterator[Any]:
    with a_dask_cluster() as at:
        yield at


def fit_and_sign(
    folder: Path, table: dict[str, np.ndarray], spec: ModelSpec, seed: int
) -> xr.DataTree:
    (folder / str(os.getpid())).touch()
    return fit_one(table, spec, seed)


def test_a_dask_cluster_gives_the_same(
    small: Calibration, dask_cluster: Any, tmp_path: Path
) -> None:
    analyse = partial(fit_and_sign, tmp_path)
    found = calibrate(SPEC, 30, 6, seed=3, pool=dask_cluster.scheduler_address, analyse=analyse)
    assert {n: r.tolist() for n, r in found.ranks.items()} == {
        n: r.tolist() for n, r in small.ranks.items()
    }
    workers = {str(worker.pid) for worker in dask_cluster.workers.values()}
    assert {path.name for path in tmp_path.iterdir()} == workers


@pytest.mark.slow
def test_killed_workers_of_a_dask_cluster_are_named(tmp_path: Path) -> None:
    begun, store = tmp_path / "begun", tmp_path / "c.json"
    begun.mkdir()
    analyse = partial(die_at_the_third, begun)
    # On a busy machine Dask may give up before it has started four workers anew.
    message = "Workers of the Dask cluster at {0} were killed|The Dask cluster at {0} has lost its"
    # Dask's own bound of three takes a minute of starting workers.
    dask = pytest.importorskip("dask", reason="needs the extra dask")
    few = dask.config.set({"distributed.scheduler.allowed-failures": 1})
    with few, a_dask_cluster() as at:
        address = at.scheduler_address
        with pytest.raises(SamplingError, match=message.format(address)):
            calibrate(SPEC, 30, 4, seed=3, pool=address, store=store, analyse=analyse)
    # A table that its worker has not yet handed over when it dies is lost with it.
    kept = read_calibration(store).replicates if store.exists() else ()
    assert len(kept) <= 2
    for each in kept:
        assert not each.failure


def ends_with(error: Exception, *_: object) -> None:
    raise error


@pytest.mark.parametrize("error", [ZeroDivisionError("by chance"), OSError("a task's own")])
def test_what_a_task_on_a_dask_cluster_raises_is_raised(
    error: Exception, dask_cluster: Any
) -> None:
    analyse = partial(ends_with, error)
    with pytest.raises(type(error), match=str(error)):
        calibrate(SPEC, 30, 3, seed=3, pool=dask_cluster.scheduler_address, analyse=analyse)


class Fleeting:
    """A future whose result was lost with its worker, and comes when it is asked for again."""

    status = "finished"

    def __init__(self) -> None:
        self.asked = 0

    def result(self, timeout: float) -> int:
        self.asked += 1
        assert timeout > 0
        if self.asked == 1:
            raise TimeoutError
        return 7


def test_a_result_that_died_with_its_worker_is_awaited_again(
    dask_cluster: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    import distributed

    waiting = [Fleeting()]

    class Ready:
        def __init__(self, *_: object, **options: object) -> None: ...

        def is_empty(self) -> bool:
            return not waiting

        def next_batch(self, block: bool) -> list[Fleeting]:
            assert not block
            return [waiting.pop()]

        def add(self, future: Fleeting) -> None:
            waiting.append(future)

    monkeypatch.setattr(distributed, "as_completed", Ready)
    found = on_cluster([(0, delayed(abs)(-7))], dask_cluster.scheduler_address)
    assert list(found) == [7]


FAILING = {"no workers": "has no workers", "scheduler": "was lost", "workers": "lost its workers"}


@pytest.mark.parametrize("ends", FAILING)
def test_a_dask_cluster_that_does_not_work_is_named(
    ends: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    distributed = pytest.importorskip("distributed", reason="needs the extra dask")
    monkeypatch.setattr("jointmix.base.clusters._CONNECT_SECONDS", 2)
    monkeypatch.setattr("jointmix.base.clusters._LONELY_SECONDS", 2)
    with distributed.LocalCluster(
        n_workers=0 if ends == "no workers" else 1,
        threads_per_worker=1,
        processes=False,
        dashboard_address=":0",
        protocol="tcp",
    ) as at:

        def end_it(*_: object) -> None:
            if ends == "scheduler":
                at.close()
            else:
                at.scale(0)

        message = f"The Dask .* at .*:.* {FAILING[ends]}"
        with pytest.raises(SamplingError, match=message):
            calibrate(SPEC, 30, 100, seed=3, pool=at.scheduler_address, progress=end_it)


def test_weighted_rows_are_refused_with_the_reason() -> None:
    with pytest.raises(SpecError, match=r"drawn rows are not: .* leave out row_weights"):
        calibrate(replace(SPEC, row_weights="w"), 30)


@pytest.mark.parametrize("spec", [
    ModelSpec(n_clusters=1, formula="y ~ ward * x + bs(x, df=4)"),
    ModelSpec(n_clusters=1, predictors=["ward", "x"], response="y"),
], ids=["formula", "listed"])  # fmt: skip
def test_a_table_says_which_columns_a_formula_makes(spec: ModelSpec) -> None:
    rng = np.random.default_rng(1)
    table = {"ward": ["a", "b", "c"] * 20, "x": rng.normal(size=60), "y": rng.normal(size=60)}
    quick = replace(spec, sampler=SamplerSpec(sampler="laplace", draws=50))
    found = calibrate(quick, 40, 2, table=table)
    made = found.spec.predictors
    assert made[:2] == ("ward[b]", "ward[c]")
    assert len(made) == (9 if spec.formula else 3)
    assert {f"slope[1, {name}]" for name in made} <= {*found.table.index}
    if spec.formula:
        with pytest.raises(SpecError, match="table=table"):
            calibrate(quick, 40, 2)


MIXED = ModelSpec(
    n_clusters=2, features={"x": "normal", "n": "poisson"}, predictors=["x"], response="y",
    missing="model",
)  # fmt: skip


def test_holes_are_as_many_as_asked_for_and_the_first_row_has_none() -> None:
    rng = np.random.default_rng(1)
    table = {name: rng.normal(size=4000) for name in ("x", "y")} | {"n": rng.poisson(2, 4000)}
    found = with_holes(table, {"x": 0.2, "n": 0.9, "y": 0.5}, MIXED, rng, n_whole=1)
    gone = {name: np.isnan(own.astype(float)) for name, own in found.items()}
    assert not any(own[0] for own in gone.values())
    # Rows without anything stay whole: 9% of them. Three standard errors.
    for name, share in {"x": 0.2, "n": 0.9, "y": 0.5}.items():
        assert abs(gone[name].mean() - (share - 0.09)) < 0.024
        np.testing.assert_array_equal(found[name][~gone[name]], table[name][~gone[name]])
    assert not (gone["x"] & gone["n"] & gone["y"]).any()
    words = with_holes({**table, "x": np.full(4000, "a")}, {"x": 0.5}, MIXED, rng)["x"]
    assert 0.4 < np.mean([word is None for word in words]) < 0.6


@pytest.mark.parametrize(
    ("missing", "error", "words"),
    [
        ({"z": 0.2}, SpecError, "no feature and no response"),
        ({"x": 1.0}, SpecError, "share missing of 'x'"),
        ([0.2], SpecError, "must map columns to shares"),
        ({"u": 0.2}, SpecError, "no feature and no response"),
    ],
)
def test_shares_that_do_not_suit_the_model_are_named(
    missing: Any, error: type[Exception], words: str
) -> None:
    with pytest.raises(error, match=words):
        checked_shares(missing, replace(MIXED, predictors=["x", "u"]))


def test_holes_that_no_model_integrates_over_are_refused() -> None:
    with pytest.raises(SpecError, match='missing="model" alone'):
        checked_shares({"x": 0.2}, replace(MIXED, missing="error"))
    counted = replace(MIXED, family="poisson")
    with pytest.raises(DataError, match="no exact integral"):
        checked_shares({"x": 0.2}, counted)
    assert checked_shares({"x": 0.0, "y": 0.1}, counted) == {"y": 0.1}


def test_tables_with_holes_are_fitted_and_kept_apart(tmp_path: Path) -> None:
    sampler = SamplerSpec(sampler="laplace", draws=200, chains=2, starts=2)
    spec, path = replace(MIXED, sampler=sampler), tmp_path / "c.json"
    asked: list[int] = []

    def analyse(table: dict[str, np.ndarray], own: ModelSpec, seed: int) -> xr.DataTree:
        asked.append(int(np.isnan(table["x"]).sum() + np.isnan(table["y"]).sum()))
        return fit_one(table, own, seed)

    shares = {"x": 0.2, "y": 0.1}
    found = calibrate(spec, 30, 2, analyse=analyse, store=path, missing=shares)
    assert all(2 <= count <= 18 for count in asked)
    assert not [each.failure for each in found.replicates if each.failure]
    assert {"rate_n[1]", "new_response"} <= found.ranks.keys()
    assert read_calibration(path).missing == shares
    assert "without 20% of x and 10% of y, at random" in found.text
    with pytest.raises(StorageError, match="missing entries"):
        calibrate(spec, 30, 2, analyse=analyse, store=path)
