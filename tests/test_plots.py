"""Pictures draw what was computed elsewhere: ellipses, lines, bars, intervals."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest
import xarray as xr
from matplotlib import pyplot
from matplotlib.axes import Axes
from matplotlib.colors import to_rgba
from matplotlib.path import Path as Outline
from scipy import stats

import jointmix as jm
from jointmix.base.errors import DataError, SchemaError, SpecError
from jointmix.fitting.selection import Comparison
from jointmix.plots.along import along_columns
from jointmix.plots.geometry import discriminants
from jointmix.plots.reading import Reading
from jointmix.plots.style import COLOURS

mpl.use("Agg")

QUICK = jm.SamplerSpec(sampler="laplace", draws=60, chains=2)
LONG = "a name of forty signs, as tables have it"


@pytest.fixture(autouse=True)
def closed() -> Any:
    """Figures go, and nobody's settings changed."""
    before = dict(mpl.rcParams)
    yield
    pyplot.close("all")
    assert dict(mpl.rcParams) == before


@pytest.fixture(scope="module")
def table() -> pd.DataFrame:
    rng = np.random.default_rng(24)
    z = np.repeat([0, 1], [90, 60])
    frame = pd.DataFrame({"a": 4.0 * z + rng.normal(size=150), "u": rng.normal(size=150)})
    frame["b"] = 0.6 * frame["a"] + rng.normal(size=150)
    frame["c"] = 1e4 * rng.normal(size=150)
    frame["y"] = np.where(z, 3 - 2 * frame["u"], 1 + frame["u"]) + 0.4 * rng.normal(size=150)
    frame["n"] = rng.poisson(np.where(z, 9.0, 2.0))
    frame["s"] = np.where(rng.random(150) < 0.15 + 0.7 * z, "yes", "no")
    return frame


def quick(table: pd.DataFrame, **model: Any) -> xr.DataTree:
    return jm.fit(table, jm.ModelSpec(**{"sampler": QUICK} | model), seed=1, progress=False)


@pytest.fixture(scope="module")
def fits(table: pd.DataFrame) -> dict[str, xr.DataTree]:
    two = {"n_clusters": 2, "predictors": ["u"], "response": "y"}
    rng = np.random.default_rng(3)
    names = [f"{LONG} {j}" for j in range(10)]
    z = rng.integers(0, 8, 240)
    wide = pd.DataFrame(rng.normal(0, 6, (8, 10))[z] + rng.normal(size=(240, 10)), columns=names)
    return {
        "three": quick(table, features=["a", "b", "c"], **two),
        "one cluster": quick(table, n_clusters=1, features=["a", "b"], predictors=["u"],
                             response="y"),
        "one feature": quick(table, n_clusters=2, features=["a"]),
        "no response": quick(table, n_clusters=2, features=["a", "b"]),
        "no features": quick(table, **two),
        "only a response": quick(table, n_clusters=2, response="y"),
        "counts": quick(table, n_clusters=2, response="n", family="poisson"),
        "levels": quick(table, n_clusters=2, features={"s": "categorical", "n": "poisson"}),
        "mixed": quick(table, n_clusters=2, features=["a", "s"], predictors=["u", "s"],
                       response="y"),
        "wide": quick(wide, n_clusters=8, features=names),
    }  # fmt: skip


def moments(tree: xr.DataTree, cluster: int) -> tuple[np.ndarray, np.ndarray]:
    point = tree["posterior"].to_dataset().mean(("chain", "draw")).isel(cluster=cluster)
    sd = point["sd"].values
    return point["mean"].values, point["correlation"].values * np.outer(sd, sd)


def curves(axes: Axes, colour: str, points: int) -> list[np.ndarray]:
    """Curves of a colour with so many points, (points, 2)."""
    return [line.get_xydata() for line in axes.lines
            if line.get_color() == colour and len(line.get_xdata()) == points]  # fmt: skip


def rings(axes: Axes, colour: str) -> list[np.ndarray]:
    """Points (point, 2), nine a curve, of the closed curves in a colour."""
    return [
        np.concatenate([
            curve(np.linspace(0, 1, 9, endpoint=False))
            for curve, code in patch.get_path().iter_bezier()
            if code == Outline.CURVE4
        ])
        for patch in axes.patches
        if patch.get_edgecolor() == to_rgba(colour)
    ]  # fmt: skip


def test_ellipses_have_the_axes_of_the_eigenvectors(fits: dict[str, xr.DataTree]) -> None:
    tree = fits["no response"]
    axes = jm.plot_clusters(tree)
    for k in range(2):
        mean, covariance = moments(tree, k)
        values, vectors = np.linalg.eigh(covariance)
        found = rings(axes, COLOURS[k])
        assert len(found) == 2
        for outline, inside in zip(found, (0.5, 0.9), strict=True):
            apart = (outline - mean) @ vectors
            # Every point is at the Mahalanobis distance of the chi-squared quantile.
            distance = (apart**2 / values).sum(axis=1)
            # Eight cubic curves are nowhere further from a circle than 5e-6 of its radius.
            np.testing.assert_allclose(distance, stats.chi2(2).ppf(inside), rtol=1e-5)
            # Of 72 points one lies within 2.5 degrees of each axis: cos(2.5°) = 0.999.
            reach = np.abs(apart).max(axis=0)
            np.testing.assert_allclose(
                reach, np.sqrt(values * stats.chi2(2).ppf(inside)), rtol=2e-3
            )


def test_best_two_of_three_features_are_drawn(fits: dict[str, xr.DataTree]) -> None:
    """c says nothing of the clusters: the other two are drawn."""
    axes = jm.plot_clusters(fits["three"])
    assert {axes.get_xlabel(), axes.get_ylabel()} == {"a", "b"}
    assert [text.get_text() for text in axes.get_legend().get_texts()] == ["Cluster 1", "Cluster 2"]


def test_rows_stand_where_the_table_has_them(
    fits: dict[str, xr.DataTree], table: pd.DataFrame
) -> None:
    tree = fits["no response"]
    axes = jm.plot_clusters(tree)
    share = tree["allocation"]["responsibility"].values
    for k, points in enumerate(axes.collections):
        own = share.argmax(axis=1) == k
        np.testing.assert_array_equal(points.get_offsets(), table.loc[own, ["a", "b"]])
        order = np.argsort(share[own].max(axis=1))
        assert (np.diff(points.get_facecolor()[order, 3]) >= 0).all()


def test_discriminants_against_scikit_learn() -> None:
    from sklearn.discriminant_analysis import LinearDiscriminantAnalysis

    rng = np.random.default_rng(8)
    mean = rng.normal(0, 4, (3, 4)) * [1, 100, 1e-4, 1]
    z = np.repeat(np.arange(3), [200, 300, 250])
    x = mean[z] + rng.normal(size=(750, 4)) * [1, 100, 1e-4, 1]
    centres = np.stack([x[z == k].mean(axis=0) for k in range(3)])
    covariance = np.stack([np.cov(x[z == k].T, bias=True) for k in range(3)])
    weight = np.bincount(z) / z.size
    found = discriminants(weight, centres, covariance)
    within = np.einsum("k,kij->ij", weight, covariance)
    # Columns of units 1e6 apart.
    np.testing.assert_allclose(found @ within @ found.T, np.eye(2), atol=1e-8)
    theirs = LinearDiscriminantAnalysis(solver="svd").fit(x, z).transform(x)
    for ours, other in zip((x @ found.T).T, theirs.T, strict=True):
        assert abs(np.corrcoef(ours, other)[0, 1]) == pytest.approx(1, abs=1e-8)


def test_second_discriminant_of_two_clusters_is_where_covariances_differ() -> None:
    mean = np.array([[0.0, 0, 0], [5, 0, 0]])
    covariance = np.stack([np.eye(3), np.diag([1.0, 1, 9])])
    found = discriminants(np.array([0.5, 0.5]), mean, covariance)
    within = covariance.mean(axis=0)
    expected = np.array([[1.0, 0, 0], [0, 0, 1 / np.sqrt(within[2, 2])]])
    np.testing.assert_allclose(np.abs(found), expected, atol=1e-12)


def test_discriminant_plane_holds_the_projected_rows(
    fits: dict[str, xr.DataTree], table: pd.DataFrame
) -> None:
    tree = fits["three"]
    axes = jm.plot_clusters(tree, plane="discriminant")
    points = np.concatenate([np.asarray(each.get_offsets()) for each in axes.collections])
    order = np.argsort(tree["allocation"]["allocation"].values, kind="stable")
    x = table[["a", "b", "c"]].to_numpy()[order]
    design = np.column_stack([np.ones(len(x)), x])
    # An exact plane of the features; sizes of 1e4 leave twelve digits of them.
    fitted, *_ = np.linalg.lstsq(design, points, rcond=None)
    np.testing.assert_allclose(design @ fitted, points, atol=1e-8)


def test_lines_are_those_that_predict_has(fits: dict[str, xr.DataTree]) -> None:
    tree = fits["no features"]
    axes = jm.plot_clusters(tree)
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("u", "y")
    draws = tree["posterior"].to_dataset()
    for k in range(2):
        *_, line = curves(axes, COLOURS[k], 25)
        own = draws.isel(cluster=k)
        mean = own["intercept"].mean().item() + own["slope"].mean().item() * line[:, 0]
        np.testing.assert_allclose(line[:, 1], mean, rtol=1e-10)
    # With equal shares of the clusters, their mean is what is predicted.
    at = np.linspace(-1, 1, 5)
    found = jm.predict(tree, {"u": at})
    lines = draws["intercept"] + draws["slope"].isel(predictor=0) * xr.DataArray(at, dims="at")
    expected = (draws["weight"] * lines).sum("cluster").mean(("chain", "draw"))
    np.testing.assert_allclose(found["mean"], expected, rtol=1e-10)


@pytest.mark.parametrize("name", ["one feature", "only a response", "counts"])
def test_densities_of_one_column_have_the_mass_of_the_clusters(
    name: str, fits: dict[str, xr.DataTree]
) -> None:
    tree = fits[name]
    axes = jm.plot_clusters(tree)
    point = tree["posterior"].to_dataset().mean(("chain", "draw"))
    for k in range(2):
        (line,) = [line for line in axes.lines if line.get_color() == COLOURS[k]]
        x, density = line.get_data()
        own, weight = point.isel(cluster=k), float(point["weight"][k])
        law = {
            "one feature": lambda own=own: stats.norm(own["mean"].item(), own["sd"].item()).pdf,
            "only a response": lambda own=own: (
                stats.norm(own["intercept"].item(), own["sigma"].item()).pdf
            ),
            "counts": lambda own=own: stats.poisson(np.exp(own["intercept"].item())).pmf,
        }[name]()
        np.testing.assert_allclose(density, weight * law(x), rtol=1e-8, atol=1e-300)
    # Bars hold every row once.
    area = sum(
        float(((part.get_data().values - part.get_data().baseline)
               * np.diff(part.get_data().edges)).sum())
        for part in axes.patches
    )  # fmt: skip
    assert area == pytest.approx(1)


def test_profiles_are_means_and_probabilities(
    fits: dict[str, xr.DataTree], table: pd.DataFrame
) -> None:
    tree = fits["levels"]
    numbers, levels = jm.plot_profiles(tree)
    draws = tree["posterior"].to_dataset()
    rate = (draws["rate_n"] - table["n"].mean()) / table["n"].std(ddof=0)
    chance = draws["probability_s"]
    for axes, expected in ((numbers, [rate]), (levels, [chance[..., 0], chance[..., 1]])):
        for k in range(2):
            colour = mpl.colors.to_rgba(COLOURS[k])
            own_lines = [line for line in axes.lines if line.get_color() == COLOURS[k]]
            (marked,) = [line for line in own_lines if line.get_marker() != "None"]
            (bars,) = [own for own in axes.collections if np.allclose(own.get_color(), colour)]
            for entry, values in enumerate(expected):
                own = values.isel(cluster=k).values.ravel()
                assert marked.get_xdata()[entry] == pytest.approx(own.mean(), rel=1e-12)
                ends = bars.get_segments()[entry][:, 0]
                np.testing.assert_allclose(ends, np.quantile(own, [0.055, 0.945]), rtol=1e-12)
    assert [tick.get_text() for tick in levels.get_yticklabels()] == ["s = no", "s = yes"]


def test_long_names_stay_apart(fits: dict[str, xr.DataTree]) -> None:
    (axes,) = jm.plot_profiles(fits["wide"], features=[f"{LONG} 7", f"{LONG} 2"])
    labels = [tick.get_text() for tick in axes.get_yticklabels()]
    assert labels == [f"{LONG[:34]}… (8)", f"{LONG[:34]}… (3)"]


def test_regressions_of_terms_are_those_of_the_report(fits: dict[str, xr.DataTree]) -> None:
    tree = fits["mixed"]
    panels = jm.plot_regressions(tree)
    found = along_columns(Reading(tree))
    assert [axes.get_xlabel() for axes in panels] == [each.name for each in found] == ["u", "s"]
    line = curves(panels[0], COLOURS[0], 40)[-1]
    np.testing.assert_array_equal(
        line, np.column_stack([found[0].lines[0].at, found[0].lines[0].mean])
    )
    (only,) = jm.plot_regressions(tree, predictors=["s"])
    assert [tick.get_text() for tick in only.get_xticklabels()] == ["no", "yes"]


def test_rootograms_count_the_rows(fits: dict[str, xr.DataTree]) -> None:
    tree = fits["no response"]
    share = tree["allocation"]["responsibility"].values
    for k, axes in enumerate(jm.plot_assignment(tree)):
        own = share[:, k]
        heights = [bar.get_height() for bar in axes.patches]
        edges = np.linspace(0, 1, 21)
        assert heights[:20] == np.histogram(own[own >= 1e-4], edges)[0].tolist()
        assert heights[20:] == np.histogram(own[share.argmax(axis=1) == k], edges)[0].tolist()
        small = (own < 1e-4).sum()
        assert [text.get_text() for text in axes.texts] == ([f"{small} rows at 0"] if small else [])


def test_predictions_against_what_is_observed(
    fits: dict[str, xr.DataTree], table: pd.DataFrame
) -> None:
    tree = fits["mixed"]
    axes = jm.plot_prediction(tree, interval=0.5)
    found = jm.predict(tree, None, (0.25, 0.5, 0.75))["quantiles"].values
    segments = np.concatenate([lines.get_segments() for lines in axes.collections])
    order = np.argsort(segments[:, 0, 0])
    by_y = np.argsort(table["y"].to_numpy())
    np.testing.assert_array_equal(segments[order, 0, 0], table["y"].to_numpy()[by_y])
    np.testing.assert_allclose(segments[order, :, 1], found[by_y][:, [0, 2]], rtol=1e-12)
    inside = np.mean((found[:, 0] <= table["y"]) & (table["y"] <= found[:, 2]))
    assert axes.texts[0].get_text() == f"50% intervals hold {inside:.0%} of rows"
    same = jm.plot_prediction(tree, table.iloc[:40], interval=0.5)
    assert len(np.concatenate([lines.get_segments() for lines in same.collections])) == 40
    with pytest.raises(DataError, match="lacks the response"):
        jm.plot_prediction(tree, table.drop(columns="y"))


def test_calibration_draws_the_scores(fits: dict[str, xr.DataTree]) -> None:
    scores = jm.loo(fits["mixed"])
    pit = scores.pointwise["pit"].values
    axes = jm.plot_calibration(scores, what="coverage")
    x, share = axes.lines[-1].get_data()
    expected = [np.mean(np.abs(pit - 0.5) <= level / 2) for level in x]
    np.testing.assert_allclose(share, expected)
    curve = jm.plot_calibration(scores).lines[0]
    at, difference = curve.get_data()
    np.testing.assert_allclose(difference + at, [np.mean(pit <= each) for each in at], atol=1e-9)
    with pytest.raises(SpecError, match="no response"):
        jm.plot_calibration(fits["no response"])
    with pytest.raises(SchemaError, match="Scores or a Calibration"):
        jm.plot_calibration("fit.nc")


def test_calibrations_of_fits() -> None:
    at = np.array([0.25, 0.5, 0.75])
    plain = {
        "curves": {"mean[1]": [0.0, 0.1, 0.0], "sd[1]": [0.2, 0.3, 0.1]},
        "band": {"at": at.tolist(), "lower": [0.1, 0.3, 0.6], "upper": [0.4, 0.7, 0.9]},
        "quantities": [
            {"quantity": "mean[1]", "p_holm": 0.5, "p_coverage": 0.9, "coverage90": 0.9},
            {"quantity": "sd[1]", "p_holm": 0.01, "p_coverage": 0.9, "coverage90": 0.7},
        ],
        "replicates": 52,
        "failed": 2,
    }
    result = SimpleNamespace(kind="calibration", plain=lambda: plain)
    axes = jm.plot_calibration(result)
    assert axes.get_title() == "sd[1]"
    np.testing.assert_array_equal(axes.lines[1].get_ydata(), [0.2, 0.3, 0.1])
    low, high = axes.collections[0].get_paths()[0].get_extents().get_points()[:, 1]
    assert (low, high) == (pytest.approx(-0.2), pytest.approx(0.2))
    axes = jm.plot_calibration(result, what="coverage")
    # Three errors of 50 tables are .127: .7 is beyond.
    assert axes.lines[1].get_xdata().tolist() == [0.9]
    assert axes.lines[2].get_xdata().tolist() == [0.7]


def test_modes_are_those_of_the_census(fits: dict[str, xr.DataTree]) -> None:
    tree = fits["no features"]
    modes = tree["modes"].to_dataset()
    sound = modes.isel(mode=~modes["collapsed"].values.astype(bool) | (modes["visits"].values > 0))
    axes = jm.plot_modes(tree)
    widths = [bar.get_width() for bar in axes.patches]
    n = min(12, sound.sizes["mode"])
    np.testing.assert_allclose(widths[:n], np.nan_to_num(sound["mass"].values)[:n])
    np.testing.assert_allclose(widths[n:], sound["visits"].values[:n])
    assert axes.get_yticklabels()[0].get_text().startswith("▸ mode 1\n0 nats, ")


def test_comparisons_over_numbers_and_structures(fits: dict[str, xr.DataTree]) -> None:
    index = pd.MultiIndex.from_product(
        [[1, 2], ["full", "tied"]], names=["n_clusters", "covariance"]
    )
    frame = pd.DataFrame(
        {
            "elpd": [-9.0, np.nan, -4.0, -6.0],
            "elpd_diff": [-5.0, np.nan, 0.0, -2.0],
            "diff_se": [1.0, np.nan, 0.0, 0.5],
            "conditional_diff": np.nan,
            "conditional_diff_se": np.nan,
            "bic": [10.0, 12.0, 4.0, 6.0],
            "icl": [10.0, 12.0, 4.0, 6.0],
            "collapsed": [False, False, False, True],
            "n_parameters": [4, 3, 8, 6],
        },
        index=index,
    )
    comparison = Comparison(frame, {(2, "full"): fits["no response"]}, (2, "full"), "")
    axes = jm.plot_comparison(comparison)
    full, tied = (container for container in axes.containers)
    np.testing.assert_array_equal(full.lines[0].get_ydata(), [-5, 0])
    np.testing.assert_array_equal(tied.lines[0].get_ydata(), [-2])
    # Two standard errors on each side.
    assert full.lines[2][0].get_segments()[0][:, 1].tolist() == [-7, -3]
    ring = axes.lines[-1]
    assert ring.get_ydata().tolist() == [0]
    assert ring.get_xdata()[0] == full.lines[0].get_xdata()[1]
    assert axes.texts[0].get_text() == "3 of 4 models were sampled"
    below = jm.plot_comparison(comparison, criterion="bic").containers
    np.testing.assert_array_equal(below[0].lines[0].get_ydata(), [-3, 0])
    np.testing.assert_array_equal(below[1].lines[0].get_ydata(), [-4, np.nan])
    with pytest.raises(SpecError, match="no response"):
        jm.plot_comparison(comparison, criterion="conditional")
    with pytest.raises(SchemaError, match="Comparison is required"):
        jm.plot_comparison(fits["levels"])  # type: ignore[arg-type]


def test_every_picture_of_every_model(fits: dict[str, xr.DataTree], tmp_path: Path) -> None:
    for tree in fits.values():
        own = jm.plot_clusters(tree)
        own.figure.savefig(tmp_path / "clusters.png", dpi=30)
        for axes in jm.plot_assignment(tree):
            assert axes.figure is not None
        jm.plot_modes(tree)
        pyplot.close("all")
    with pytest.raises(SpecError, match="no predictors"):
        jm.plot_regressions(fits["one feature"])
    with pytest.raises(SpecError, match="no features"):
        jm.plot_profiles(fits["no features"])
    with pytest.raises(SpecError, match="no response"):
        jm.plot_prediction(fits["levels"])


def test_they_draw_on_axes_that_are_given(fits: dict[str, xr.DataTree]) -> None:
    figure, (left, right) = pyplot.subplots(1, 2)
    assert jm.plot_clusters(fits["three"], left) is left
    assert jm.plot_modes(fits["three"], right) is right
    assert figure.axes == [left, right]
    _, grid = pyplot.subplots(2, 2)
    given = jm.plot_assignment(fits["three"], grid[0])
    assert given.tolist() == grid[0].tolist()
    with pytest.raises(SpecError, match="2 axes, one a picture, or None; got 4"):
        jm.plot_assignment(fits["three"], grid)
    with pytest.raises(SpecError, match="ax must be axes"):
        jm.plot_clusters(fits["three"], "left")  # type: ignore[arg-type]


@pytest.mark.parametrize("plane", ["best", ("a", "a"), ("y", "a"), ("a",), ("a", "u"), 3])
def test_unknown_planes_are_refused(plane: Any, fits: dict[str, xr.DataTree]) -> None:
    with pytest.raises(SpecError, match="plane must be"):
        jm.plot_clusters(fits["three"], plane=plane)


def test_many_rows_are_thinned_and_the_picture_says_so() -> None:
    big = jm.simulate(jm.four_clusters(2), 100_000, seed=1)
    sampler = jm.SamplerSpec(sampler="laplace", draws=10, chains=1)
    tree = quick(big, n_clusters=2, features=["x1", "x2"], sampler=sampler)
    axes = jm.plot_clusters(tree)
    assert sum(len(each.get_offsets()) for each in axes.collections) == 5_000
    assert all(each.get_rasterized() for each in axes.collections)
    assert [text.get_text() for text in axes.texts] == ["5,000 of 100,000 rows"]
