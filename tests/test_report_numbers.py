"""Numbers of the report's sections against the tree's draws and the functions behind them."""

import json
from pathlib import Path

import numpy as np
import pytest
import xarray as xr
from synthetic import fitted_tree

import jointmix as jm
from jointmix.reporting import report
from jointmix.reporting.fitted import FittedView
from jointmix.reporting.tables_drawn import drawn_columns


@pytest.fixture(scope="module")
def tree() -> xr.DataTree:
    return fitted_tree(n_clusters=3, n_features=4, n_obs=150, seed=4)


@pytest.fixture(scope="module")
def tables(tree: xr.DataTree, tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[dict]]:
    return tables_of(tree, tmp_path_factory.mktemp("report"))


def tables_of(tree: xr.DataTree, folder: Path) -> dict[str, list[dict]]:
    """Tables of the report by section, those behind figures among them."""
    path = report(tree, folder / "r.json")
    found = {}
    for section in json.loads(path.read_text("utf-8"))["sections"]:
        elements = section["elements"]
        found[section["id"]] = [
            element.get("table", element)
            for element in flattened(elements)
            if element["kind"] in ("table", "figure")
        ]
    return found


def flattened(elements: list[dict]) -> list[dict]:
    """Elements and those of groups, the groups left out."""
    nested = [flattened(each["elements"]) if each["kind"] == "group" else [each]
              for each in elements]  # fmt: skip
    return [each for members in nested for each in members]


def cells(tables: list[dict], caption: str) -> dict[str, list[str]]:
    """Texts of a table's rows by their first cell."""
    table = next(each for each in tables if each["caption"].startswith(caption))
    return {row[0]["text"]: [cell["text"] for cell in row[1:]] for row in table["rows"]}


def value(text: str) -> float:
    if text[0] in "<>":
        # A probability that would be rounded to 0 or 1.
        return float(text[0] == ">")
    return float(text.replace(",", "").replace("−", "-").rstrip("%"))


def test_contrasts_are_differences_of_draws(tree: xr.DataTree, tables: dict) -> None:
    rows = cells(tables["estimates"], "Differences between pairs")
    posterior = tree["posterior"]
    checked = 0
    for parameter, dim, column in (("mean", "feature", "x2"), ("slope", "predictor", "x3")):
        draws = posterior[parameter].sel({dim: column})
        for one, other in ((1, 2), (1, 3), (2, 3)):
            shown = rows.get(f"{parameter}[cluster {one} − cluster {other}, {column}]")
            if shown is None:
                continue
            gap = (draws.sel(cluster=one) - draws.sel(cluster=other)).values.ravel()
            # Two digits of the sd are shown.
            assert abs(value(shown[0]) - gap.mean()) <= 0.06 * gap.std()
            assert value(shown[2]) == pytest.approx((gap > 0).mean(), abs=6e-4)
            checked += 1
    assert checked > 2


def test_profiles_are_means_in_standard_units(tree: xr.DataTree, tables: dict) -> None:
    rows = cells(tables["estimates"], "Means in standard units")
    scaling = tree["scaling"].to_dataset()
    at = {name: i for i, name in enumerate(scaling["column"].values.tolist())}
    for name in ("x1", "x4"):
        mean = tree["posterior"]["mean"].sel(feature=name).mean(("chain", "draw")).values
        expected = (mean - scaling["center"].values[at[name]]) / scaling["scale"].values[at[name]]
        assert [value(text) for text in rows[name]] == pytest.approx(expected, abs=0.006)


def test_coclustering_by_cluster(tree: xr.DataTree, tables: dict) -> None:
    rows = cells(tables["assignment"], "Mean probability to be together")
    together = jm.coclustering(tree).values
    allocated = tree["allocation"]["allocation"].values
    for k, name in enumerate(("Cluster 1", "Cluster 2", "Cluster 3")):
        expected = [together[np.ix_(allocated == k + 1, allocated == j)].mean() for j in (1, 2, 3)]
        assert [value(text) for text in rows[name]] == pytest.approx(expected, abs=6e-4)


def test_drawn_tables_are_the_replicates(tree: xr.DataTree) -> None:
    view = FittedView(tree)
    drawn = jm.replicate(tree, view.n_tables)["posterior_predictive"]
    names = ["x1", "x2", "x3", "x4", "y"]
    found = drawn_columns(view.replicates, "posterior_predictive", names, wide=False)
    for name, each in found.items():
        values = drawn[name].values
        assert each.quantiles == pytest.approx(np.quantile(values, [0.05, 0.5, 0.95]))
        own = view.columns[name]
        inside = (values >= own.min()) & (values <= own.max())
        assert each.inside == pytest.approx(inside.mean())
        assert each.observed.sum() == pytest.approx(1.0)
        flat = values.reshape(-1, own.size)
        first = (flat < each.edges[1]) & (flat >= each.edges[0])
        assert each.bounds[:, 0] == pytest.approx(np.quantile(first.mean(1), [0.05, 0.5, 0.95]))


def test_tables_of_many_rows_have_some_of_them_and_say_so(
    tree: xr.DataTree, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("jointmix.reporting.fitted._MOST_DRAWN", 100 * 120 * 5)
    view = FittedView(tree)
    assert (view.n_tables, view.table_rows) == (100, 120)
    assert view.replicates["posterior_predictive"].sizes["obs"] == 120
    assert view.prior_tables["prior_predictive"].sizes["obs"] == 120
    said = report(tree, tmp_path / "r.md").read_text("utf-8")
    told = "Each has 120 of the 150 rows, in equal steps, and is held to the observed entries"
    assert said.count(told) == 2


def test_calibration_and_scores_are_those_of_loo(
    four_cluster_fit: xr.DataTree, tmp_path: Path
) -> None:
    tables, scores = tables_of(four_cluster_fit, tmp_path), jm.loo(four_cluster_fit)
    pit = scores.pointwise["pit"].values
    rows = cells(tables["predictive"], "Coverage of central")
    for level in (0.5, 0.8, 0.9, 0.95):
        inside = ((pit >= (1 - level) / 2) & (pit <= (1 + level) / 2)).mean()
        assert value(rows[f"{level:.0%}"][0]) == pytest.approx(100 * inside, abs=0.06)
    counts = cells(tables["predictive"], "Rows by LOO-PIT")
    assert value(counts["0.3 and 0.4"][0]) == ((pit >= 0.3) & (pit < 0.4)).sum()
    shown = cells(tables["scores"], "Expected log predictive density")
    for kind, name in (("joint", "joint, p(x, y)"), ("feature", "features alone, p(x)")):
        line = scores.table.loc[kind]
        assert value(shown[name][0]) == pytest.approx(line["elpd"], abs=0.06)
        assert value(shown[name][1]) == pytest.approx(line["se"], abs=0.06)
    worst = scores.pointwise["row"].values[scores.pointwise["joint"].values.argmin()]
    assert next(iter(cells(tables["scores"], "The 10 rows"))) == str(worst)


def test_sensitivities_are_shown_the_largest_first(tree: xr.DataTree, tables: dict) -> None:
    found = jm.sensitivity(tree).sort_values("prior", ascending=False, kind="stable")
    rows = cells(tables["sensitivity"], "Sensitivities")
    assert list(rows) == list(found.index[: len(rows)])
    for name, texts in rows.items():
        assert value(texts[0]) == pytest.approx(found.loc[name, "prior"], abs=6e-4)
        assert value(texts[1]) == pytest.approx(found.loc[name, "likelihood"], abs=6e-4)
