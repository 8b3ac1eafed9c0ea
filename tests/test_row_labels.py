"""Rows keep the names that their table gives them: in results, in saved fits, and back again."""

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import xarray as xr

import jointmix as jm
from jointmix.base.errors import DataError, JointmixError
from jointmix.model.spec import SamplerSpec
from jointmix.reporting import render_html
from jointmix.reporting.fitted import FittedView
from jointmix.tables.labels import as_labels, row_labels, rows_named

N = 60
SPEC = jm.ModelSpec(
    n_clusters=2, features=("a",), predictors=("a",), response="y", missing="drop",
    sampler=SamplerSpec(sampler="laplace", draws=60, chains=2),
)  # fmt: skip


def plain_table() -> pd.DataFrame:
    rng = np.random.default_rng(8)
    z = rng.permutation(N) % 2
    a = rng.normal(6.0 * z, 1.0)
    table = pd.DataFrame({"a": a, "y": a * (2 - 3 * z) + rng.normal(0, 0.3, N), "truth": z})
    table.loc[[3, 17, 40], "a"] = np.nan
    table.loc[51, "y"] = np.nan
    return table


INDEXES = {
    "numbers": pd.RangeIndex(N),
    "shuffled": pd.Index(np.random.default_rng(1).permutation(N)),
    "names": pd.Index([f"p{i:02d}" for i in range(N)]),
    "times": pd.date_range("2026-01-01", periods=N, freq="D"),
    "zoned": pd.date_range("2026-01-01", periods=N, freq="D", tz="Europe/Paris"),
    "parts": pd.MultiIndex.from_product([["x", "y"], range(N // 2)]),
    "categories": pd.CategoricalIndex([f"c{i}" for i in range(N)]),
    "fractions": pd.Index(np.arange(N) / 4),
    "repeated": pd.Index(np.arange(N) // 2),
}


@pytest.fixture(scope="module")
def fits() -> dict[str, xr.DataTree]:
    table = plain_table()
    return {name: jm.fit(table.set_axis(index), SPEC, seed=1) for name, index in INDEXES.items()}


@pytest.mark.parametrize("name", INDEXES)
def test_all_results_carry_the_tables_labels(name: str, fits: dict[str, xr.DataTree]) -> None:
    tree, table = fits[name], plain_table().set_axis(INDEXES[name])
    expected = as_labels(table.dropna().index)
    for found in (
        jm.predict(tree),
        jm.predict(tree, table.dropna()),
        jm.responsibilities(tree),
        jm.partition(tree),
        jm.allocation_draws(tree),
        jm.log_density(tree),
        jm.loo(tree).pointwise,
        jm.predictive_density(tree, points=3),
        jm.predictive_draws(tree, draws=4),
        jm.replicate(tree, draws=4)["posterior_predictive"],
        jm.prior_predictive(table, SPEC, draws=4)["prior_predictive"],
        *(tree[group] for group in ("allocation", "observed_data", "constant_data")),
    ):
        np.testing.assert_array_equal(found["obs"].values, expected)
    near = jm.coclustering(tree, rows=[0, 5])
    np.testing.assert_array_equal(near["obs"].values, expected[[0, 5]])


@pytest.mark.parametrize("name", INDEXES)
def test_labels_are_saved(name: str, fits: dict[str, xr.DataTree], tmp_path: Path) -> None:
    jm.save(fits[name], tmp_path / "fit.nc")
    loaded = jm.load(tmp_path / "fit.nc")
    before, after = (jm.predict(tree)["mean"] for tree in (fits[name], loaded))
    np.testing.assert_array_equal(after["obs"].values, before["obs"].values)
    np.testing.assert_array_equal(after, before)


def test_a_series_of_labels_joins_the_right_rows(fits: dict[str, xr.DataTree]) -> None:
    for name in ("numbers", "shuffled", "names", "times", "fractions"):
        table = plain_table().set_axis(INDEXES[name]).sort_values("y")
        joined = table.assign(cluster=jm.partition(fits[name])["partition"].to_series())
        assert joined["cluster"].isna().sum() == 4
        known = joined.dropna()
        assert abs(((known["cluster"] == 1) == (known["truth"] == 1)).mean() - 0.5) == 0.5
        frame = table.join(jm.to_frame(jm.predict(fits[name])))
        away = (frame["mean"] - frame["y"]).dropna()
        assert len(away) == N - 4
        assert away.std() < 0.5


@pytest.mark.parametrize("name", INDEXES)
def test_a_table_gets_its_columns_back(name: str, fits: dict[str, xr.DataTree]) -> None:
    table = plain_table().set_axis(INDEXES[name]).iloc[::-1]
    found = jm.assign(table, fits[name], prefix="jm_")
    pd.testing.assert_frame_equal(found[list(table)], table)
    whole = table[["a", "y"]].notna().all(axis=1)
    new = [column for column in found if column.startswith("jm_")]
    assert new == ["jm_cluster", "jm_p(1)", "jm_p(2)", "jm_predicted", "jm_predicted_sd"]
    assert (found[new].notna().all(axis=1) == whole).all()
    assert found[new].isna().all(axis=1).sum() == 4
    stored = fits[name]["allocation"]["allocation"].values
    np.testing.assert_array_equal(found["jm_cluster"].dropna().to_numpy(int)[::-1], stored)


def test_other_tables_get_columns_too(fits: dict[str, xr.DataTree]) -> None:
    tree = fits["names"]
    rows = {"a": [0.0, np.nan, 6.0]}
    found = jm.assign(rows, tree)
    assert found["cluster"].isna().tolist() == [False, True, False]
    share = jm.responsibilities(tree, {"a": [0.0, 6.0]})["responsibility_features"]
    np.testing.assert_allclose(found[["p(1)", "p(2)"]].dropna(), share, rtol=1e-12)
    assert jm.assign({"a": [np.nan]}, tree)["cluster"].isna().all()
    with pytest.raises(DataError, match="column 'cluster' already; give a prefix"):
        jm.assign({"a": [1.0], "cluster": [3]}, tree)
    one = jm.assign({"a": 6.0}, tree)
    assert one["cluster"].tolist() == found["cluster"].tolist()[2:]
    with pytest.raises(DataError, match="The columns make no table"):
        jm.assign({"a": [1.0, 2.0], "b": [3]}, tree)
    with pytest.raises(DataError, match="A table is needed; got 'int'"):
        jm.assign(3, tree)


def test_one_row_is_a_table(fits: dict[str, xr.DataTree]) -> None:
    tree = fits["names"]
    expected = jm.predict(tree, {"a": [1.5]})["mean"].item()
    assert jm.predict(tree, {"a": 1.5})["mean"].item() == expected
    row = pd.DataFrame({"a": [1.5], "b": [0.0]}, index=["new"]).iloc[0]
    found = jm.predict(tree, row)
    assert found["mean"].item() == expected
    assert found["obs"].values.tolist() == ["new"]


@pytest.mark.parametrize(
    ("name", "label", "header"),
    [
        ("numbers", "12", "row of the table, from 0"),
        ("names", "p12", "row, by its label"),
        ("times", "2026-01-13", "row, by its label"),
        ("parts", "x, 12", "row, by its label"),
    ],
)
def test_reports_name_rows_as_the_table_does(
    name: str, label: str, header: str, fits: dict[str, xr.DataTree]
) -> None:
    view = FittedView(fits[name])
    # Row 3 is left out.
    assert view.row_name(11) == label
    assert view.row_header == header
    page = render_html(fits[name], sections=["assignment", "scores", "predictive"])
    assert page.count(f">{header}</th>") == 3
    worst = int(view.scores.pointwise["joint"].values.argmin())
    assert f">{view.row_name(worst)}</th>" in page
    high = view.scores
    shapes = high.pointwise["pareto_k"].values
    shapes[:], shapes[[11, 12]] = 0.1, 0.9
    assert f"in table 2 rows: {label}, {view.row_name(12)};" in high.text


def test_columns_with_other_labels_are_refused() -> None:
    table = plain_table().dropna()
    mixed = {"a": table["a"], "y": table["y"].sort_values()}
    for use in (lambda: jm.fit(mixed, SPEC), lambda: jm.fit_em(mixed, SPEC)):
        with pytest.raises(DataError, match="different row labels"):
            use()
    (issue,) = jm.check(mixed, SPEC).issues
    assert issue.code == "other_labels"
    same = {name: table[name] for name in ("a", "y")}
    np.testing.assert_array_equal(row_labels(same, ["a", "y"]), table.index)
    assert row_labels({"a": table["a"].to_numpy(), "y": [1, 2]}, ["a", "y"]) is None
    xarray = xr.Dataset({"a": ("t", [1.0, 2.0])}, coords={"t": ["u", "v"]})
    np.testing.assert_array_equal(row_labels(xarray, ["a"]), ["u", "v"])


@pytest.mark.parametrize(
    ("labels", "place", "words"),
    [
        (None, [5], "row 5 (from 0)"),
        (None, range(12), "rows 0, 1, 2, 3, 4, 5, 6, 7, 8, 9 and 2 more (from 0)"),
        (np.arange(20), [3, 2], "rows 3, 2 (from 0)"),
        (np.arange(20)[::-1], [3, 2], "rows 16, 17 (by their labels)"),
        (np.arange(20) / 4, [2], "row 0.5 (by its label)"),
        (np.array(["Peru", "17", "<b>\n"]), [0, 1, 2], "rows 'Peru', '17', '<b>\\n'"),
        (np.array(["Peru", "Peru", "Chile"]), [1], "row 1 (from 0)"),
        (np.arange("2026-01", "2026-04", dtype="M8[M]"), [1], "row 2026-02-01"),
        (np.array(["Peru"]), [1], "row 1 (from 0)"),
    ],
)
def test_rows_are_named_by_labels_that_tell_them_apart(
    labels: np.ndarray | None, place: list[int], words: str
) -> None:
    assert rows_named(place, labels) == words


def spoilt(where: str, **entries: object) -> pd.DataFrame:
    """The table under its names, with some entries of the row called ``where`` replaced."""
    table = plain_table().drop(columns="truth").set_axis(INDEXES["names"]).astype(object)
    for column, entry in entries.items():
        table.loc[where, column] = entry
    return (
        table if any(isinstance(entry, str) for entry in entries.values()) else table.astype(float)
    )


@pytest.mark.parametrize(
    ("entries", "words"),
    [
        ({"a": "1,5"}, "Column 'a' must hold numbers, but row 'p05' holds the text '1,5'"),
        ({"y": np.inf}, "Column 'y' has infinite entries: 1, the first in row 'p05';"),
        ({"y": 1e200}, "Column 'y' has entries beyond ±1e+150, the first in row 'p05';"),
        ({}, "Column 'a' has missing entries: 3, the first in row 'p03';"),
    ],
)
def test_errors_name_rows_as_the_table_does(entries: dict[str, object], words: str) -> None:
    spec = SPEC if entries else replace(SPEC, missing="error")
    with pytest.raises(JointmixError, match=re.escape(words)):
        jm.fit(spoilt("p05", **entries), spec)


def test_new_rows_are_named_too(fits: dict[str, xr.DataTree]) -> None:
    new = pd.DataFrame({"a": [1.0, np.inf]}, index=["Peru", "Chile"])
    with pytest.raises(DataError, match="the first in row 'Chile'"):
        jm.predict(fits["names"], new)
    with pytest.raises(DataError, match=r"the first in row 1 \(from 0\)"):
        jm.predict(fits["names"], new.reset_index(drop=True))


def test_warnings_and_reports_name_rows_as_the_table_does() -> None:
    table = spoilt("p45", y=400.0)
    table.iloc[20:30] = table.iloc[10]
    found = {issue.code: issue for issue in jm.check(table, SPEC).warnings}
    # Row 17 is among those left out, which are not counted.
    assert "the first row 'p20'." in found["duplicate_rows"].message
    assert found["duplicate_rows"].row == 20
    (code,) = {"outliers", "small_clusters"} & found.keys()
    assert "row 'p45'" in found[code].message
    assert found[code].row == 45
    tree = jm.fit(table, SPEC, seed=1)
    page = render_html(tree, sections=["data"])
    assert "row &#39;p45&#39;" in page
    assert "the first row &#39;p20&#39;." in page
    assert "(from 0)" not in page
