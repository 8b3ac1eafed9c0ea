"""Known groups against clusters: counts by hand, Rand index by scikit-learn, joins by label."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import polars as pl
import pytest
import xarray as xr
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import adjusted_rand_score
from test_cli import assert_refused, call

import jointmix as jm
from jointmix.base.errors import DataError, SchemaError, SpecError
from jointmix.fitting.recipe import parse_recipe
from jointmix.posterior.known_groups import adjusted_rand
from jointmix.reporting import render_html

N = 60
SPEC = jm.ModelSpec(
    n_clusters=2, features=("a",), predictors=("a",), response="y", missing="drop",
    sampler=jm.SamplerSpec(sampler="laplace", draws=60, chains=2, starts=6),
)  # fmt: skip


def species_table() -> pd.DataFrame:
    """Two groups far apart, two of whose rows bear the other's name; three rows are left out."""
    rng = np.random.default_rng(8)
    z = rng.permutation(N) % 2
    a = rng.normal(8.0 * z, 1.0)
    species = np.where(z, "oak", "ash").astype(object)
    species[[5, 11]] = np.where(species[[5, 11]] == "oak", "ash", "oak")
    table = pd.DataFrame({"a": a, "y": a * (2 - 3 * z) + rng.normal(0, 0.3, N), "species": species})
    table.loc[[3, 17, 40], "a"] = np.nan
    table.loc[[8, 17], "species"] = None
    return table.set_axis([f"tree {i:02d}" for i in range(N)])


@pytest.fixture(scope="module")
def tree() -> xr.DataTree:
    return jm.fit(species_table(), SPEC, seed=1)


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 2)), min_size=1, max_size=40))
def test_adjusted_rand_is_scikit_learns(rows: list[tuple[int, int]]) -> None:
    one, other = np.array(rows).T
    counts = np.zeros((4, 3))
    np.add.at(counts, (one, other), 1)
    # Both are sums of whole numbers and a quotient.
    assert adjusted_rand(counts) == pytest.approx(adjusted_rand_score(one, other), abs=1e-12)


def test_adjusted_rand_by_hand() -> None:
    # Σ C(n_ij, 2) = 2, the margins' pairs are 4 and 7 of 15: (2 - 28/15) / (11/2 - 28/15).
    assert adjusted_rand(np.array([[2, 1], [2, 0], [0, 1]])) == pytest.approx(4 / 109)
    assert adjusted_rand(np.array([[3, 0], [0, 2]])) == 1
    assert adjusted_rand(np.array([[5]])) == 1
    assert adjusted_rand(np.array([[3], [2]])) == 0


def test_the_cross_table_counts_rows(tree: xr.DataTree) -> None:
    table = species_table()
    found = jm.crosstab(tree, table["species"])
    used = table.dropna(subset=["a", "species"])
    allocation = tree["allocation"]["allocation"].to_series()[used.index]
    expected = pd.crosstab(used["species"], allocation)
    np.testing.assert_array_equal(found.counts, expected)
    assert (found.counts.index.name, found.counts.columns.name) == ("species", "cluster")
    share = jm.to_frame(tree["allocation"]["responsibility"]).loc[used.index]
    sums = share.groupby(used["species"]).sum()
    np.testing.assert_allclose(found.expected, sums, rtol=1e-12)
    assert (found.misclassified, found.n_rows, found.n_missing) == (2, 56, 1)
    # The row whose feature is missing has a species; of the other two left out, one has none.
    assert found.n_left_out == 2
    assert found.error_rate == 2 / 56
    assert {found.counts[k].idxmax(): k for k in (1, 2)} == {
        value: cluster for cluster, value in found.matching.items()
    }
    assert found.rand == pytest.approx(adjusted_rand_score(used["species"], allocation))
    draws = jm.allocation_draws(tree).sel(obs=used.index.to_numpy())
    rands = [adjusted_rand_score(used["species"], each) for each in draws.values[0]]
    assert found.rand_mean == pytest.approx(np.mean(rands), abs=0.01)
    low, high = found.rand_interval
    assert low <= found.rand_mean <= high <= 1
    assert "2 of 56 rows (3.6%) are misclassified" in found.text
    assert "The group of 1 row of the fit is not known. 2 entries are of rows" in found.text


def test_columns_are_joined_by_their_labels(tree: xr.DataTree) -> None:
    column = species_table()["species"]
    expected = jm.crosstab(tree, column)
    more = pd.concat([column, pd.Series({"tree 99": "elm"})]).sample(frac=1, random_state=1)
    for same in (
        column.iloc[::-1],
        column.to_numpy(),
        list(column),
        pl.Series("species", [each if isinstance(each, str) else None for each in column]),
        column.astype("category"),
        column.astype("string"),
        xr.DataArray(column.to_numpy(), {"obs": column.index}, ("obs",)),
        column.drop(["tree 03", "tree 17", "tree 40"]).to_numpy(),
    ):
        np.testing.assert_array_equal(jm.crosstab(tree, same).counts, expected.counts)
    found = jm.crosstab(tree, more)
    # A group without a row in the fit has no row in the table.
    assert found.counts.index.tolist() == ["ash", "oak"]
    assert found.n_left_out == expected.n_left_out + 1
    half = jm.crosstab(tree, column.iloc[:30])
    assert half.n_rows + half.n_missing == expected.n_rows + expected.n_missing
    numbers = jm.crosstab(tree, column.map({"oak": 7, "ash": 3}))
    assert numbers.counts.index.tolist() == [3, 7]


def test_labels_that_repeat_are_joined_where_they_stand_in_order() -> None:
    table = species_table().set_axis(np.arange(N) // 2)
    tree = jm.fit(table, SPEC, seed=1)
    assert jm.crosstab(tree, table["species"]).misclassified == 2
    with pytest.raises(DataError, match="row label 0 stands for more than one row"):
        jm.crosstab(tree, table["species"].iloc[::-1])


@pytest.mark.parametrize(
    ("column", "words"),
    [
        ([1, 2, 3], "has 3 entries; the table had 60 rows, of which the fit used 57"),
        (pd.Series(["a"] * N), "No row label of the fit, such as 'tree 00'"),
        (pd.Series([None] * N, species_table().index), "no entry in any row"),
        (pd.Series(np.arange(101.0)), "holds 101 different entries"),
        (pd.Series([[1], [2]]), "of one kind"),
        ("species", "must be a column"),
        (3, "must be a column"),
        (np.zeros((N, 2)), "must be a column"),
    ],
)
def test_what_cannot_be_joined_is_refused(tree: xr.DataTree, column: object, words: str) -> None:
    with pytest.raises(DataError, match=words):
        jm.crosstab(tree, column)


def test_groups_are_kept_and_shown(tree: xr.DataTree, tmp_path: Path) -> None:
    column = species_table()["species"]
    with pytest.raises(SchemaError, match="keeps no known groups"):
        jm.crosstab(tree)
    assert "No known groups were given" in render_html(tree, sections=["groups"])
    kept = jm.with_groups(tree, column)
    assert "group" not in tree["constant_data"]
    found = jm.crosstab(kept)
    assert str(found) == str(jm.crosstab(tree, column))
    page = render_html(kept, sections=["groups"])
    assert "2 of 56 rows (3.6%) are misclassified" in page
    for name in ("fit.nc", "fit.zarr.zip"):
        jm.save(kept, tmp_path / name)
        loaded = jm.load(tmp_path / name)
        assert str(jm.crosstab(loaded)) == str(found)
        assert render_html(loaded, sections=["groups"]) == page
    named = jm.with_groups(tree, column.to_numpy() == "oak", name="is oak")
    assert jm.crosstab(named).counts.index.name == "is oak"
    assert jm.crosstab(named).counts.index.tolist() == [False, True]
    with pytest.raises(SpecError, match="name must be text"):
        jm.with_groups(tree, column, name=3)  # type: ignore[arg-type]
    empty = jm.with_groups(tree, column.where(column == "elm"))
    assert "has no entry in any row" in render_html(empty, sections=["groups"])


RECIPE = """
[data]
path = "t.csv"
features = ["a"]
predictors = ["a"]
response = "y"
missing = "drop"
id = "name"
[model]
clusters = 2
[sampler]
sampler = "laplace"
draws = 60
chains = 2
starts = 6
[report]
compare_with = "species"
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    species_table().rename_axis("name").to_csv(tmp_path / "t.csv")
    (tmp_path / "r.toml").write_text(RECIPE)
    return tmp_path


def test_a_recipe_names_rows_and_groups(folder: Path, tree: xr.DataTree) -> None:
    assert call("run", folder / "r.toml").exit_code == 0
    page = (folder / "r.html").read_text("utf-8")
    assert "2 of 56 rows (3.6%) are misclassified" in page
    uncertain = page[page.index("whose assignment is least certain") :]
    assert "tree " in uncertain[: uncertain.index("</table>")]
    assert "row of the table, from 0" not in page
    assert "compare_with = &#34;species&#34;" in page
    assert "id = &#34;name&#34;" in page
    fit = jm.load(folder / "r.nc")
    np.testing.assert_array_equal(fit["observed_data"]["obs"], tree["observed_data"]["obs"])
    assert call("report", folder / "r.nc", "--out", folder / "again.html").exit_code == 0
    assert (folder / "again.html").read_text("utf-8") == page
    # New rows are named by the same column, where they have it.
    (folder / "new.csv").write_text("name,a\nfir,1.0\nyew,2.0\n")
    lines = call("predict", folder / "r.nc", folder / "new.csv").stdout.splitlines()
    assert [line.split(",")[0] for line in lines] == ["row", "fir", "yew"]
    (folder / "new.csv").write_text("a\n1.0\n2.0\n")
    lines = call("predict", folder / "r.nc", folder / "new.csv").stdout.splitlines()
    assert [line.split(",")[0] for line in lines] == ["row", "0", "1"]


def test_a_comparison_says_which_number_agrees_with_the_groups(folder: Path) -> None:
    page = folder / "c.md"
    told = ["compare", folder / "r.toml", "--clusters", "1-2", "--report", page]
    found = json.loads(call(*told, "--json").stdout)
    one, two = (row["adjusted_rand"] for row in found["table"])
    assert one == 0
    assert two == pytest.approx(
        jm.crosstab(jm.fit(species_table(), SPEC), species_table()["species"]).rand
    )
    assert "adjusted Rand" in page.read_text("utf-8")
    assert f"{two:.3f}" in call(*told).stdout


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ('id = "name"', 'id = "nmae"', "no column 'nmae' of row labels"),
        ('id = "name"', 'id = "species"', "Row 8 (from 0) (and 1 more like it) has no label"),
        ('id = "name"', 'id = ["copse"]', "58 rows repeat another's label in 'copse', such as 'c'"),
        ('id = "name"', "id = []", "id of [data] must be a column's name, or several"),
        ('id = "name"', "id = [[3]]", "id of [data] must be a column's name, or several"),
        ('id = "name"', 'id = ["name", "name"]', "id of [data] must be a column's name"),
        ('"species"', '"genus"', "no column 'genus' to compare the clusters with"),
        ('"species"', '"a"', "must be a column that is not in the model"),
        ('"species"', "3", "compare_with of [report] must be text"),
    ],
)
def test_labels_and_groups_that_will_not_do(folder: Path, old: str, new: str, words: str) -> None:
    table = pd.read_csv(folder / "t.csv").assign(copse=lambda t: np.where(t.index % 2, "b", "c"))
    table.to_csv(folder / "t.csv", index=False)
    (folder / "r.toml").write_text(RECIPE.replace(old, new))
    for command in ("run", "check"):
        assert_refused(call(command, folder / "r.toml"), words)


def test_several_columns_name_rows_together(folder: Path) -> None:
    (folder / "t.csv").write_text("land,year,a\nFR,1,0.5\nFR,2,0.1\nDE,1,0.2\n")
    text = '[data]\npath = "t.csv"\nid = ["land", "year"]\nfeatures = ["a"]\n[model]\nclusters = 1'
    table = parse_recipe(text, folder).table()
    assert table.index.tolist() == [("FR", 1), ("FR", 2), ("DE", 1)]
    assert list(table) == ["land", "year", "a"]
