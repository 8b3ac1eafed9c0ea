"""Two fits side by side: clusters find their counterparts, and changes are told from errors."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from scipy import stats
from typer.testing import CliRunner

import jointmix as jm
from jointmix.base.errors import SchemaError, SpecError
from jointmix.cli.commands import app
from jointmix.fitting.counterparts import _distances, _parameter_distances, common_rows
from jointmix.fitting.differing import in_common
from jointmix.posterior.draws import fitted_spec

QUICK = jm.SamplerSpec(sampler="laplace", draws=150, chains=2)
MODEL: dict[str, Any] = {"n_clusters": 2, "features": ["a", "b"], "predictors": ["u"]}


def made(n: int = 240, seed: int = 3, shift: float = 0.0) -> pd.DataFrame:
    """Clusters of 40% and 60%; ``shift`` moves a in the second, and its slope's sign."""
    rng = np.random.default_rng(seed)
    z = rng.random(n) < 0.6
    frame = pd.DataFrame({"a": 5.0 * z + shift * z + rng.normal(size=n)})
    frame["b"] = rng.normal(size=n) - 3 * z
    frame["u"] = rng.normal(size=n)
    slope = np.where(z, 2.0 if not shift else -2.0, 1.0)
    frame["y"] = slope * frame["u"] + 0.5 * rng.normal(size=n)
    frame.index = [f"row {i}" for i in range(n)]
    return frame


def quick(table: pd.DataFrame, seed: int = 1, **changes: Any) -> xr.DataTree:
    spec = jm.ModelSpec(**{"sampler": QUICK, "response": "y"} | MODEL | changes)
    return jm.fit(table, spec, seed=seed, progress=False)


@pytest.fixture(scope="module")
def fits() -> dict[str, xr.DataTree]:
    table = made()
    return {
        "first": quick(table),
        "again": quick(table, seed=2),
        "other rows": quick(made(seed=8).set_axis(range(1000, 1240), axis=0)),
        "moved": quick(made(shift=2.0)),
        "three": quick(table, n_clusters=3),
        "no response": quick(table, response=None, predictors=[]),
    }


def swapped(tree: xr.DataTree) -> xr.DataTree:
    """The same fit with its clusters in the other order."""
    found = tree.copy()
    for group in ("posterior", "allocation"):
        data = tree[group].to_dataset().isel(cluster=[1, 0]).assign_coords(cluster=[1, 2])
        if group == "allocation":
            data["allocation"] = 3 - data["allocation"]
        found[group] = xr.DataTree(data)
    return found


def test_a_fit_and_itself_differ_in_nothing(fits: dict[str, xr.DataTree]) -> None:
    found = jm.diff(fits["first"], fits["first"])
    assert found.same
    assert not found.changed
    assert found.matching == {1: 1, 2: 2}
    assert (found.table["difference"] == 0).all()
    assert found.rand == 1
    assert found.n_common == 240


def test_the_same_posterior_differs_by_monte_carlo_errors(fits: dict[str, xr.DataTree]) -> None:
    first, again = fits["first"], fits["again"]
    # At a level of 5% one pair of fits in twenty would be called changed: draws differ in their
    # last bits between processors, and then altogether.
    found = jm.diff(first, again, level=1e-6)
    assert found.same
    one, other = (jm.summary(tree) for tree in (first, again))
    for name, line in found.table.iterrows():
        assert line["first"] == pytest.approx(one.loc[name, "mean"])
        assert line["second"] == pytest.approx(other.loc[name, "mean"])
        error = np.hypot(one.loc[name, "mcse_mean"], other.loc[name, "mcse_mean"])
        assert line["error"] == pytest.approx(error)
        assert line["z"] == pytest.approx((other.loc[name, "mean"] - one.loc[name, "mean"]) / error)
    # Independent draws of one distribution: z has mean square one, give or take three standard
    # errors of chi-squared (quantities are correlated, so twice as wide).
    n = len(found.table)
    assert np.mean(found.table["z"] ** 2) == pytest.approx(1, abs=6 * np.sqrt(2 / n))
    assert not found.table["changed"].any()


def test_the_limit_is_bonferronis(fits: dict[str, xr.DataTree]) -> None:
    found = jm.diff(fits["first"], fits["again"], level=0.01)
    n = len(found.table)
    # Weight, two means, two sds, correlation, intercept, slope and noise of two clusters.
    assert n == 18
    assert 2 * stats.norm.sf(found.limit) * n == pytest.approx(0.01)


def test_clusters_in_another_order_find_each_other(fits: dict[str, xr.DataTree]) -> None:
    found = jm.diff(fits["first"], swapped(fits["first"]))
    assert found.by == "rows"
    assert found.matching == {1: 2, 2: 1}
    # Sums of draws in another order.
    assert found.table["difference"].abs().max() < 1e-12


def test_without_common_rows_by_columns(fits: dict[str, xr.DataTree]) -> None:
    first, other = fits["first"], fits["other rows"]
    for tree, matching in ((other, {1: 1, 2: 2}), (swapped(other), {1: 2, 2: 1})):
        found = jm.diff(first, tree)
        assert (found.by, found.n_common, found.same) == ("columns", 0, False)
        assert found.matching == matching
    line = jm.diff(first, other).table.loc["slope[cluster 1, u]"]
    one, two = (jm.summary(tree).loc["slope[cluster 1, u]"] for tree in (first, other))
    assert line["error"] == pytest.approx(np.hypot(one["sd"], two["sd"]))
    # Two tables of one truth.
    assert not jm.diff(first, other, level=1e-6).table["changed"].any()


def test_distances_are_bhattacharyyas(fits: dict[str, xr.DataTree]) -> None:
    first, other = fits["first"], fits["no response"]
    found = _distances(first, other)
    assert found is not None

    def moments(tree: xr.DataTree, k: int) -> tuple[np.ndarray, np.ndarray]:
        point = tree["posterior"].to_dataset().mean(("chain", "draw")).isel(cluster=k)
        sd = point["sd"].values
        return point["mean"].values, point["correlation"].values * np.outer(sd, sd)

    for i, j in np.ndindex(2, 2):
        (mean, one), (center, two) = moments(first, i), moments(other, j)
        pooled = (one + two) / 2
        gap = mean - center
        dets = [np.linalg.det(matrix) for matrix in (pooled, one, two)]
        expected = gap @ np.linalg.solve(pooled, gap) / 8
        expected += np.log(dets[0] / np.sqrt(dets[1] * dets[2])) / 2
        assert found[i, j] == pytest.approx(expected, rel=1e-9)


def test_counts_without_features_are_matched_by_parameters() -> None:
    rng = np.random.default_rng(2)
    trees = []
    for start in (0, 1000):
        z = rng.random(300) < 0.5
        table = pd.DataFrame({"n": rng.poisson(np.where(z, 20.0, 2.0))})
        table.index = range(start, start + 300)
        trees.append(quick(table, features=[], predictors=[], response="n", family="poisson"))
    found = jm.diff(*trees)
    assert found.by == "parameters"
    rates = [tree["posterior"]["intercept"].mean(("chain", "draw")).values for tree in trees]
    for one, other in found.matching.items():
        assert rates[0][one - 1] == pytest.approx(rates[1][other - 1], abs=0.5)
    gap = (rates[0][:, None] - rates[1]) ** 2
    spread = [tree["posterior"]["intercept"].var(("chain", "draw")).values for tree in trees]
    expected = gap / (spread[0][:, None] + spread[1])
    np.testing.assert_allclose(_parameter_distances(*trees), expected)


def test_what_moved_is_found_and_what_did_not_is_not(fits: dict[str, xr.DataTree]) -> None:
    found = jm.diff(fits["first"], fits["moved"])
    assert found.by == "rows"
    assert found.n_common == 240
    moved = list(found.moved.index)
    # The larger cluster is the first.
    assert set(moved) == {"mean[cluster 1, a]", "slope[cluster 1, u]"}
    assert found.table.loc["mean[cluster 1, a]", "difference"] == pytest.approx(2, abs=0.05)
    assert found.changed
    assert "2 of 18 quantities differ" in found.text
    slope = found.table.loc["slope[cluster 1, u]"]
    assert (slope["parameter"], slope["cluster"], slope["entry"]) == ("slope", 1, "u")
    draws = fits["moved"]["posterior"]["slope"].sel(cluster=1, predictor="u")
    ends = np.quantile(draws, [0.055, 0.945])
    assert [slope["second_lower"], slope["second_upper"]] == pytest.approx(list(ends))
    said = f"slope[cluster 1, u]: {slope['first']:.4g} → {slope['second']:.4g}, "
    assert any(line.startswith(said) for line in found.lines())
    assert slope["first"] == pytest.approx(2, abs=0.15)


def test_numbers_of_clusters_that_differ(fits: dict[str, xr.DataTree]) -> None:
    found = jm.diff(fits["first"], fits["three"])
    assert len(found.matching) == 2
    assert found.only_first == ()
    (alone,) = found.only_second
    assert "The first has 2 clusters, the second 3." in found.differing
    assert f"Of the second, cluster {alone} has no counterpart." in found.differing
    back = jm.diff(fits["three"], fits["first"])
    assert back.only_first == (alone,)
    assert {other: one for one, other in back.matching.items()} == found.matching


def test_columns_that_differ(fits: dict[str, xr.DataTree]) -> None:
    found = jm.diff(fits["first"], fits["no response"])
    assert "Only the first has the predictors 'u'." in found.differing
    assert "The response is 'y' in the first, none in the second." in found.differing
    assert not any(name.startswith(("slope", "intercept", "sigma")) for name in found.table.index)
    assert "mean[cluster 1, b]" in found.table.index


def two_predictors(z_of_both: bool, seed: int = 1, **changes: Any) -> xr.DataTree:
    table = made().assign(z=np.random.default_rng(5).normal(size=240))
    return quick(table, seed, predictors=["u", "z"] if z_of_both else ["u"], **changes)


def test_slopes_beside_other_predictors_are_refused_by_name(
    fits: dict[str, xr.DataTree],
) -> None:
    found = jm.diff(fits["first"], two_predictors(True))
    assert not any(name.startswith(("slope", "intercept")) for name in found.table.index)
    # What does not rest on the other predictors stays.
    assert {"mean[cluster 1, a]", "sigma[cluster 1]"} <= set(found.table.index)
    (said,) = found.refused
    assert said == (
        "Slopes and intercepts are not compared: each holds while the other predictors stay as "
        "they are, and 'z' is a predictor of one fit only."
    )
    assert said in found.text
    assert found.as_dict()["not_compared"] == [said]
    assert jm.diff(fits["first"], fits["again"]).refused == ()


def formula_spec(formula: str, shift: float = 0.0) -> jm.ModelSpec:
    """What a formula learns of a table whose column u lies ``shift`` higher."""
    table = made()
    table["u"] += shift
    table["w"] = np.random.default_rng(1).normal(size=240)
    table["g"] = np.resize(["p", "q", "r"], 240)
    return fitted_spec(quick(table, formula=formula, response=None, predictors=[]))


def test_terms_that_learned_other_things_are_refused() -> None:
    one, other = (formula_spec("y ~ center(u) * g + w", shift) for shift in (0.0, 1.0))
    found = in_common(one, other)
    # The product is centred elsewhere, so that the slopes of its parts are others: not w's.
    assert found.predictors == {"w"}
    assert "intercept" not in found.parameters
    assert "slope" in found.parameters
    assert "slopes of 'center(u)', 'g', 'center(u):g' and the intercepts" in found.refused[0]
    assert in_common(one, one).refused == ()
    assert in_common(one, one).predictors == set(one.predictors)


def test_lines_about_other_offsets_are_refused() -> None:
    one, other = (
        jm.ModelSpec(n_clusters=2, predictors=["u"], response="y", family="poisson", offset=offset)
        for offset in ("log_hours", None)
    )
    found = in_common(one, other)
    assert found.refused == ("Slopes and intercepts are not compared: the offsets differ.",)
    assert not found.parameters & {"slope", "intercept"}


@pytest.mark.parametrize(("coding", "same"), [("", True), (", contr.sum", False)])
def test_levels_that_one_table_lacks(coding: str, same: bool) -> None:
    """A contrast with the reference is the same; one with the mean of all levels is not."""
    one, other = (
        fitted_spec(quick(made().assign(g=np.resize(levels, 240)), formula=f"y ~ C(g{coding})",
                          response=None, predictors=[]))
        for levels in (["p", "q", "r"], ["p", "q"])
    )  # fmt: skip
    found = in_common(one, other)
    assert (found.refused == ()) is same
    assert (len(found.predictors) > 0) is same


def test_what_all_clusters_share_is_compared_once() -> None:
    table = made()
    found = jm.diff(*(quick(table, seed, covariance="tied", noise="shared") for seed in (1, 2)))
    # Weight, two means, intercept and slope of two clusters; two sds, correlation and noise once.
    assert len(found.table) == 2 * 5 + 4
    once = found.table[found.table["cluster"] == 0]
    assert list(once.index) == ["sd[a]", "sd[b]", "correlation[b, a]", "sigma"]


def test_labels_that_mean_other_rows_are_not_common() -> None:
    one, other = quick(made().reset_index(drop=True)), quick(made(seed=8).reset_index(drop=True))
    assert common_rows(one, other)[0].size == 0
    some = quick(made().reset_index(drop=True).iloc[50:])
    here, there = common_rows(one, some)
    np.testing.assert_array_equal(here, np.arange(50, 240))
    np.testing.assert_array_equal(there, np.arange(190))


def test_names_and_notebooks(fits: dict[str, xr.DataTree]) -> None:
    named = jm.with_names(fits["first"], {1: "<low>"})
    found = jm.diff(named, fits["moved"])
    assert "slope[<low>, u]" in found.table.index
    shown = found._repr_html_()
    assert "&lt;low&gt;" in shown
    assert "<low>" not in shown
    assert "Clusters: <low> → cluster 1; cluster 2 → cluster 2." in found.lines()
    assert all(len(line) <= 80 for line in str(found).splitlines())


def test_what_is_no_fit_is_refused(fits: dict[str, xr.DataTree]) -> None:
    with pytest.raises(SchemaError, match=r"two fitted DataTrees; got 'fit\.nc'"):
        jm.diff("fit.nc", fits["first"])  # type: ignore[arg-type]
    with pytest.raises(SchemaError, match="no group 'posterior'"):
        jm.diff(fits["first"], xr.DataTree())
    with pytest.raises(SpecError, match="level must lie in"):
        jm.diff(fits["first"], fits["first"], level=2.0)


def test_on_the_command_line(fits: dict[str, xr.DataTree], tmp_path: Path) -> None:
    places = [str(jm.save(fits[name], tmp_path / f"{name}.nc")) for name in ("first", "moved")]
    runner = CliRunner()
    found = runner.invoke(app, ["diff", *places])
    assert found.exit_code == 0
    assert found.stdout.startswith("2 of 18 quantities differ")
    assert runner.invoke(app, ["diff", *places, "--strict"]).exit_code == 1
    assert runner.invoke(app, ["diff", places[0], places[0], "--strict"]).exit_code == 0
    content = json.loads(runner.invoke(app, ["diff", *places, "--json"]).stdout)
    assert content["matching"] == {"1": 1, "2": 2}
    assert sum(line["changed"] for line in content["quantities"]) == 2
    missing = runner.invoke(app, ["diff", places[0], str(tmp_path / "none.nc")])
    assert missing.exit_code == 2
