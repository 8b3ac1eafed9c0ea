"""Names of clusters: kept with a fit, with its rows, and printed wherever numbers were."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import xarray as xr

import jointmix as jm
from jointmix.base.errors import SchemaError, SpecError
from jointmix.checks import judge
from jointmix.fitting.recipe import parse_recipe, recipe_text
from jointmix.posterior.naming import cluster_names, cluster_titles, explained
from jointmix.reporting import render_html

QUICK = jm.SamplerSpec(sampler="laplace", draws=60, chains=2)


@pytest.fixture(scope="module")
def table() -> pd.DataFrame:
    rng = np.random.default_rng(7)
    z = np.repeat([0, 1, 2], [80, 50, 30])
    frame = pd.DataFrame({"a": 6.0 * z + rng.normal(size=160), "u": rng.normal(size=160)})
    frame["y"] = (z - 1) * frame["u"] + 0.3 * rng.normal(size=160)
    return frame.assign(kind=np.array(["x", "y", "z"])[z])


@pytest.fixture(scope="module")
def tree(table: pd.DataFrame) -> xr.DataTree:
    spec = jm.ModelSpec(n_clusters=3, features=["a"], predictors=["u"], response="y", sampler=QUICK)
    return jm.fit(table, spec, seed=1, progress=False)


@pytest.fixture(scope="module")
def named(tree: xr.DataTree) -> xr.DataTree:
    return jm.with_names(tree, {1: "low <b>", 3: "high"})


def test_names_are_where_numbers_were(named: xr.DataTree, table: pd.DataFrame) -> None:
    assert list(cluster_names(named).values()) == ["low <b>", "cluster 2", "high"]
    assert list(cluster_titles(named).values()) == ["low <b>", "Cluster 2", "high"]
    index = jm.summary(named).index
    assert list(index[:3]) == ["weight[low <b>]", "weight[cluster 2]", "weight[high]"]
    assert "slope[high, u]" in index
    assert "mean[low <b> − cluster 2, a]" in jm.contrasts(named).index
    assert "u[low <b> − high, " in jm.term_contrasts(named).index[-2]
    assert "sigma[high]" in jm.sensitivity(named).index
    printed = str(jm.crosstab(named, table["kind"]))
    assert printed.splitlines()[0].split() == ["cluster", "low", "<b>", "2", "high"]
    assert "low &lt;b&gt;" in jm.crosstab(named, table["kind"])._repr_html_()


def test_numbers_themselves_stay(named: xr.DataTree, tree: xr.DataTree) -> None:
    assert named["posterior"]["cluster"].values.tolist() == [1, 2, 3]
    pd.testing.assert_frame_equal(jm.summary(named).reset_index(drop=True),
                                  jm.summary(tree).reset_index(drop=True))  # fmt: skip
    assert "cluster_names" not in tree.attrs


def test_reports_call_clusters_by_name(named: xr.DataTree) -> None:
    page = render_html(named, sections=("clusters", "assignment"))
    assert "low &lt;b&gt;" in page
    assert "<b>" not in page.replace("<b>Note</b>", "")
    assert "Cluster 2" in page


def test_they_are_saved_and_taken_away(named: xr.DataTree, tmp_path: Path) -> None:
    for name in ("fit.nc", "fit.zarr"):
        jm.save(named, tmp_path / name)
        assert cluster_names(jm.load(tmp_path / name)) == cluster_names(named)
    assert "cluster_names" not in jm.with_names(named, {}).attrs
    assert cluster_names(jm.with_names(named, {2: "middle"}))[1] == "cluster 1"


def test_identification_leaves_names_with_the_rows(named: xr.DataTree) -> None:
    again = jm.identify(named, "order_by", by="mean[a]")
    before = named["posterior"]["mean"].mean(("chain", "draw")).values[:, 0]
    after = again["posterior"]["mean"].mean(("chain", "draw")).values[:, 0]
    assert (np.diff(after) > 0).all()
    was, now = cluster_names(named), cluster_names(again)
    for number, name in was.items():
        if name.startswith("cluster"):
            continue
        (found,) = [each for each, own in now.items() if own == name]
        assert after[found - 1] == pytest.approx(before[number - 1])


@pytest.mark.parametrize(
    ("names", "said"),
    [
        ({4: "far"}, "There is no cluster 4 to name; clusters are 1 to 3"),
        ({True: "far"}, "There is no cluster True"),
        ({"1": "far"}, "There is no cluster '1'"),
        ({1: ""}, "name of cluster 1 must be a text that is not empty"),
        ({1: "  "}, "not empty"),
        ({2: 7}, "must be a text that is not empty; got 7"),
        ({1: "same", 2: "same "}, "Clusters 1 and 2 would both be called 'same'"),
        ({1: "cluster 2"}, "Clusters 1 and 2 would both be called 'cluster 2'"),
        ({1: "x" * 201}, "has 201 signs; 200 are allowed"),
        (["low", "high"], "must be a mapping of their numbers to texts"),
    ],
)
def test_bad_names_are_refused(names: Any, said: str, tree: xr.DataTree) -> None:
    with pytest.raises(SpecError, match=said):
        jm.with_names(tree, names)


def test_swapped_numbers_are_names_like_others(tree: xr.DataTree) -> None:
    swapped = jm.with_names(tree, {1: "cluster 2", 2: "cluster 1"})
    assert list(cluster_names(swapped).values()) == ["cluster 2", "cluster 1", "cluster 3"]


def test_damaged_names(tree: xr.DataTree) -> None:
    broken = tree.copy()
    broken.attrs["cluster_names"] = "{"
    with pytest.raises(SchemaError, match="damaged; name the clusters again"):
        jm.summary(broken)
    with pytest.raises(SchemaError, match="no group 'posterior'"):
        jm.with_names(xr.DataTree(), {1: "a"})


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("cluster 1 in 3 draws", "cluster 1 (low) in 3 draws"),
        ("Clusters 1, 2 and 3 have", "Clusters 1 (low), 2 and 3 (high) have"),
        ("The closest clusters, 1 and 3, are", "The closest clusters, 1 (low) and 3 (high), are"),
        ("with 3 clusters, 1 start of 3", "with 3 clusters, 1 start of 3"),
        ("mean[cluster 3, x 1]", "mean[cluster 3 (high), x 1]"),
        ("cluster 13", "cluster 13"),
    ],
)  # fmt: skip
def test_sentences_have_names_behind_numbers(text: str, expected: str) -> None:
    assert explained(text, {1: "low", 3: "high"}) == expected


def test_findings_have_names(named: xr.DataTree) -> None:
    found = jm.diagnose(named)
    stored = jm.diagnose(jm.with_names(judge(named.copy()), {1: "low", 3: "high"}))
    assert {each.code for each in found.findings} == {each.code for each in stored.findings}
    said = next(each.message for each in stored.findings if each.code == "duplicate clusters")
    assert any(f"{number} ({name})" in said for number, name in ((1, "low"), (3, "high")))


def test_recipes_name_clusters(tree: xr.DataTree, table: pd.DataFrame) -> None:
    text = """
    [data]
    features = ["a"]
    [model]
    clusters = 3
    [report]
    names = { 1 = "low", 3 = "high" }
    """
    recipe = parse_recipe(text)
    assert recipe.report.names == {1: "low", 3: "high"}
    assert parse_recipe(recipe_text(recipe)) == recipe
    assert cluster_names(recipe.completed(tree, table))[3] == "high"
    for bad, said in (
        ('{ 4 = "far" }', "no cluster 4"),
        ('{ a = "far" }', "no cluster 'a'"),
        ('["low"]', "must be a table such as"),
        ('{ 1 = "x", 2 = "x" }', "both be called 'x'"),
    ):
        with pytest.raises(SpecError, match=said):
            parse_recipe(text.replace('{ 1 = "low", 3 = "high" }', bad))
    assert json.loads(recipe.completed(tree, table).attrs["cluster_names"]) == {
        "1": "low",
        "3": "high",
    }
