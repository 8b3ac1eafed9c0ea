"""Commands that score, compare and predict, on real fits."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest
import xarray as xr
from synthetic import fitted_tree
from test_cli import assert_refused, call

import jointmix as jm
from jointmix.cli.output import put_json
from jointmix.model.simulate import four_clusters, simulate
from jointmix.storage.trees import save

RECIPE = """
[data]
path = "t.csv"
features = ["x1"]
predictors = ["x1"]
response = "y"
[model]
clusters = 2
[sampler]
draws = 100
tune = 150
chains = 2
starts = 6
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "spec.toml").write_text(RECIPE)
    simulate(four_clusters(2, 1), 80, 1).to_csv(tmp_path / "t.csv", index=False)
    return tmp_path


def test_scores_of_a_saved_fit(four_cluster_fit: xr.DataTree, tmp_path: Path) -> None:
    save(four_cluster_fit, tmp_path / "fit.nc")
    scores = jm.loo(four_cluster_fit)
    text = call("score", tmp_path / "fit.nc")
    assert text.exit_code == 0
    assert text.stdout.rstrip().endswith(scores.text)
    found = json.loads(call("score", tmp_path / "fit.nc", "--json").stdout)
    assert found["densities"]["joint"]["elpd"] == scores.table.loc["joint", "elpd"]
    assert found["influential"] == []
    some = json.loads(call("score", tmp_path / "fit.nc", "--json", "--most-rows", 50).stdout)
    assert some["densities"]["joint"]["subsampling_se"] > 0
    assert_refused(call("score", tmp_path / "none.nc"), "cannot be read")


def test_numbers_that_json_lacks_are_null(capsys: pytest.CaptureFixture[str]) -> None:
    found = {"k": float("inf"), "rows": [{"n": np.int64(3), "x": np.float64("nan")}, (True, "a")]}
    put_json(found)
    written = capsys.readouterr().out
    assert json.loads(written) == {"k": None, "rows": [{"n": 3, "x": None}, [True, "a"]]}
    assert "NaN" not in written
    assert "Infinity" not in written


def test_a_row_without_a_finite_shape_has_null_for_it(
    four_cluster_fit: xr.DataTree, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scores = jm.loo(four_cluster_fit)
    scores.pointwise["pareto_k"].values[3] = np.inf
    monkeypatch.setattr("jointmix.posterior.scores.loo", lambda *_: scores)
    save(four_cluster_fit, tmp_path / "fit.nc")
    done = call("score", tmp_path / "fit.nc", "--json")
    assert [row["pareto_k"] for row in json.loads(done.stdout)["influential"]] == [None]
    assert "Infinity" not in done.stdout


def test_a_report_that_cannot_be_written_is_refused_before_the_work(folder: Path) -> None:
    for command in ("compare", "crosscheck"):
        place = folder / "none" / "r.html"
        assert_refused(call(command, folder / "spec.toml", "--report", place), "does not exist")


def test_a_report_in_other_forms(four_cluster_fit: xr.DataTree, tmp_path: Path) -> None:
    save(four_cluster_fit, tmp_path / "fit.nc")
    told = ["report", tmp_path / "fit.nc", "--section", "scores", "--section", "verdict"]
    assert call(*told, "--out", tmp_path / "r.md", "--title", "Mine").exit_code == 0
    lines = (tmp_path / "r.md").read_text("utf-8").splitlines()
    assert lines[0] == "# Mine"
    assert [line for line in lines if line.startswith("## ")] == [
        "## Predictive scores",
        "## Verdict and clusters",
    ]
    assert call(*told, "--out", tmp_path / "r.json").exit_code == 0
    assert len(json.loads((tmp_path / "r.json").read_text("utf-8"))["sections"]) == 2
    assert_refused(call("report", tmp_path / "fit.nc", "--section", "none"), "must be among")


def test_comparison_of_a_recipe(folder: Path) -> None:
    done = call("compare", folder / "spec.toml", "--clusters", "1-2", "--json")
    assert done.exit_code == 0
    found = json.loads(done.stdout)
    assert [row["n_clusters"] for row in found["table"]] == [1, 2]
    assert found["best"] == 2
    assert found["text"].startswith("The rows are predicted")
    page = folder / "compared.html"
    text = call("compare", folder / "spec.toml", "--clusters", "1-2", "--report", page).stdout
    assert "Comparison of numbers of clusters" in page.read_text("utf-8")
    assert found["text"] in text
    assert "conditional_diff" in text


def test_comparison_of_structures(folder: Path) -> None:
    page = folder / "compared.md"
    told = ["compare", folder / "spec.toml", "--clusters", "2", "--noise", "cluster,shared"]
    done = call(*told, "--covariance", "full", "--json", "--report", page)
    assert done.exit_code == 0
    found = json.loads(done.stdout)
    keys = [[row[name] for name in ("n_clusters", "covariance", "noise")] for row in found["table"]]
    assert keys == [[2, "full", "cluster"], [2, "full", "shared"]]
    assert found["best"] in keys
    assert "--clusters 2-2 --covariance full --noise cluster,shared" in page.read_text("utf-8")
    assert_refused(call(*told, "--covariance", "full,round"), "must be one of full, diagonal")


@pytest.mark.parametrize("text", ["3", "2-2", "0-3", "a-b", "1-6-8", "4-2"])
def test_a_range_that_is_none(folder: Path, text: str) -> None:
    assert_refused(call("compare", folder / "spec.toml", "--clusters", text), "such as 1-6")


def test_quantiles_as_asked_for(four_cluster_fit: xr.DataTree, tmp_path: Path) -> None:
    save(four_cluster_fit, tmp_path / "fit.nc")
    (tmp_path / "new.csv").write_text("x1,x2\n1,1\n-1,\n")
    arguments = ("predict", tmp_path / "fit.nc", tmp_path / "new.csv")
    header, *rows = csv.reader(call(*arguments, "--quantiles", "0.1,0.975").stdout.splitlines())
    assert header[:5] == ["row", "mean", "sd", "q10", "q97.5"]
    expected = jm.predict(four_cluster_fit, {"x1": [1, -1], "x2": [1, np.nan]}, (0.1, 0.975))
    got = np.array([row[3:5] for row in rows], dtype=float)
    np.testing.assert_array_equal(got, expected["quantiles"].values)
    for text in ("0.1;0.5", "0", "1.5", ""):
        assert_refused(call(*arguments, "--quantiles", text), "--quantiles")


def test_other_units_are_noticed(four_cluster_fit: xr.DataTree, tmp_path: Path) -> None:
    save(four_cluster_fit, tmp_path / "fit.nc")
    for unit, warned in ((1, False), (100, True)):
        (tmp_path / "new.csv").write_text(f"x1,x2\n{unit},{unit}\n{-unit},{unit}\n")
        done = call("predict", tmp_path / "fit.nc", tmp_path / "new.csv")
        assert done.exit_code == 0
        assert ("2 of 2 rows are unlike those of the fit" in done.stderr) == warned
        assert "warning" not in done.stdout


def test_without_a_response_the_clusters(tmp_path: Path) -> None:
    tree = fitted_tree(n_clusters=2, n_features=1, response=False, seed=2)
    save(tree, tmp_path / "fit.nc")
    (tmp_path / "new.csv").write_text("x1\n5\n6\n")
    done = call("predict", tmp_path / "fit.nc", tmp_path / "new.csv")
    header, *rows = csv.reader(done.stdout.splitlines())
    assert header == ["row", "p(1)", "p(2)"]
    assert [sum(map(float, row[1:])) for row in rows] == pytest.approx([1, 1])
