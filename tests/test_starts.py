"""Starts that are given to a fit, and those that a comparison makes of smaller models."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from synthetic import screened_models

import jointmix as jm
from jointmix.base.errors import DataError, SpecError
from jointmix.fitting.candidates import make_grid
from jointmix.fitting.clock import Clock
from jointmix.fitting.recipe import parse_recipe, recipe_text
from jointmix.fitting.screening import _is_within
from jointmix.fitting.stages import search
from jointmix.modes.starts import splits

QUICK = jm.SamplerSpec(sampler="laplace", draws=60, chains=2, starts=8)
SPEC = jm.ModelSpec(n_clusters=2, features=["a", "b"], sampler=QUICK)


def crossed(seed: int, n: int = 60) -> pd.DataFrame:
    """Four clouds at the corners of a square; the groups are not the halves that lie farther."""
    rng = np.random.default_rng(seed)
    upper, right = rng.integers(2, size=(2, n))
    frame = pd.DataFrame(
        {
            "a": 6.0 * right + rng.normal(size=n),
            "b": 5.0 * upper + rng.normal(size=n),
            "half": np.where(upper == 1, "upper", "lower"),
        }
    )
    return frame.set_index(pd.Index([f"r{i}" for i in range(n)]))


TABLE = crossed(1)


def sent_to_halves(tree: xr.DataTree) -> bool:
    """Whether the chains are where the clusters are the upper and the lower half."""
    return jm.crosstab(tree, TABLE["half"]).rand > 0.9


@pytest.fixture(scope="module")
def started() -> xr.DataTree:
    return jm.fit(TABLE, SPEC, start="half")


def test_chains_start_where_they_are_told_though_more_mass_is_elsewhere(
    started: xr.DataTree,
) -> None:
    left_alone = jm.fit(TABLE, SPEC)
    assert not sent_to_halves(left_alone)
    assert sent_to_halves(started)
    home = started["modes"].attrs["start_mode"]
    assert home > 1
    assert (started["modes"]["chain_mode"] == home).all()
    # What lies elsewhere is said.
    checks = started["checks"].to_dataset()
    status = dict(zip(checks["code"].values, checks["status"].values, strict=True))
    assert status["mass"] == "caution"


@pytest.mark.parametrize("kind", ["labels", "a Series in another order", "a fit", "parameters"])
def test_a_start_may_be_said_in_several_ways(started: xr.DataTree, kind: str) -> None:
    if kind == "labels":
        start: object = (TABLE["half"] == "upper").to_numpy()
    elif kind == "a fit":
        start = started
    elif kind == "parameters":
        census = jm.fit_em(TABLE, SPEC)
        start = census.modes[started["modes"].attrs["start_mode"] - 1]
    else:
        start = TABLE["half"].iloc[::-1]
    searched = search(TABLE, SPEC, 1, Clock(None), start)
    mode = searched.census.start
    expected = started["modes"].isel(mode=started["modes"].attrs["start_mode"] - 1)
    # Runs of EM end within 0.01 of an optimum.
    assert mode.log_likelihood == pytest.approx(float(expected["log_likelihood"]), abs=0.01)


def test_rows_whose_group_is_not_known_follow_the_others() -> None:
    some = TABLE["half"].where(np.arange(len(TABLE)) % 3 == 0)
    assert sent_to_halves(jm.fit(TABLE, SPEC, start=some))


@pytest.mark.parametrize(
    ("start", "kind", "words"),
    [
        ("nothing", DataError, "The table has no column 'nothing' to start from"),
        (np.arange(60) % 3, SpecError, "as many groups as the model has clusters, 2; 'group' nam"),
        (np.zeros(7), DataError, "has 7 entries; the table had 60 rows"),
        (3.5, DataError, "must be a column, one entry a row; got 3.5"),
    ],
)
def test_what_is_no_start_is_refused(start: object, kind: type[Exception], words: str) -> None:
    with pytest.raises(kind, match=words):
        jm.fit(TABLE, SPEC, start=start)


def test_a_fit_or_parameters_of_another_model_are_refused(started: xr.DataTree) -> None:
    three = jm.ModelSpec(n_clusters=3, features=["a", "b"], sampler=QUICK)
    with pytest.raises(SpecError, match="as many clusters as the model, 3; it has 2"):
        jm.fit(TABLE, three, start=started)
    with pytest.raises(SpecError, match=r"start must hold \w+ of shape"):
        jm.fit(TABLE, three, start=jm.fit_em(TABLE, SPEC).best)


def test_a_start_that_leads_to_a_spike_is_said_and_left() -> None:
    table = pd.concat([TABLE, TABLE.iloc[[0] * 6].set_axis([f"t{i}" for i in range(6)])])
    spike = np.r_[np.zeros(60), np.ones(6)]
    tree = jm.fit(table, SPEC, start=spike)
    assert tree["modes"].attrs["start_mode"] == 1
    assert "to a spike of the likelihood, so that the chains start from" in tree.attrs["notes"]


def test_a_recipe_says_where_to_start(tmp_path: Path) -> None:
    TABLE.to_csv(tmp_path / "t.csv", index=False)
    text = """
[data]
path = "t.csv"
features = ["a", "b"]
start = "half"
[model]
clusters = 2
"""
    recipe = parse_recipe(text, tmp_path)
    assert recipe.start == "half"
    assert parse_recipe(recipe_text(recipe), tmp_path) == recipe
    with pytest.raises(SpecError, match=r"start of \[data\] must be a column that is not in the"):
        parse_recipe(text.replace('"half"', '"a"'), tmp_path)
    with pytest.raises(DataError, match="no column 'third' to start from"):
        parse_recipe(text.replace('"half"', '"third"'), tmp_path).table()


def test_the_report_repeats_the_start(started: xr.DataTree, tmp_path: Path) -> None:
    page = jm.report(started, tmp_path / "r.md", sections=["convergence", "reproduce"])
    text = Path(page).read_text(encoding="utf-8")
    home = started["modes"].attrs["start_mode"]
    said = f"asked to start from the groups of 'half': chains set out from mode {home}."
    assert said in text.replace("\\", "")
    assert 'start = "half"' in text
    assert "start=recipe.start" in text


def test_splits_have_one_cluster_more_and_move_no_row_elsewhere() -> None:
    rng = np.random.default_rng(1)
    x, share = rng.normal(size=(40, 2)), np.zeros((2, 40))
    share[0, :25] = share[1, 25:] = 1.0
    found = splits(x, x[:, :0], None, share, rng)
    assert found.shape[1:] == (3, 40)
    np.testing.assert_allclose(found.sum(axis=1), 1.0)
    for more in found:
        new = more[2] == 1
        # Rows of one cluster only go into the new one.
        assert len({*share[:, new].argmax(axis=0)}) == 1
        np.testing.assert_array_equal(more[:2][:, ~new], share[:, ~new])


def test_a_likelihood_never_falls_where_models_are_nested() -> None:
    rng = np.random.default_rng(5)
    table = pd.DataFrame(rng.normal(size=(80, 3)), columns=["a", "b", "c"])
    # One start a model: without help from the smaller ones it would be lost.
    few = jm.SamplerSpec(sampler="laplace", starts=1)
    spec = jm.ModelSpec(n_clusters=1, features=["a", "b", "c"], sampler=few)
    grid = make_grid(spec, range(1, 4), ["full", "tied"], None)
    found = screened_models(table, grid)
    level = {key: each.census.log_likelihood for key, (each, _) in found.items()}
    for k in (2, 3):
        # EM's optima are within 0.01.
        assert level[k, "tied"] >= level.get((k - 1, "tied"), level[1, "full"]) - 0.01
        assert level[k, "full"] >= max(level[k - 1, "full"], level[k, "tied"]) - 0.01


@pytest.mark.parametrize(
    ("inner", "outer", "expected"),
    [
        ((2, "full", "cluster"), (3, "full", "cluster"), True),
        ((3, "tied", "cluster"), (3, "full", "cluster"), True),
        ((3, "spherical", "cluster"), (3, "diagonal", "cluster"), True),
        ((1, "full", "cluster"), (2, "tied", "cluster"), True),
        ((1, "full", "cluster"), (2, "full", "shared"), True),
        ((3, "full", "shared"), (3, "full", "cluster"), True),
        ((3, "tied", "cluster"), (3, "diagonal", "cluster"), False),
        ((2, "tied", "cluster"), (3, "full", "cluster"), False),
        ((3, "tied", "shared"), (3, "full", "cluster"), False),
        ((3, "full", "cluster"), (2, "full", "cluster"), False),
    ],
)
def test_which_models_are_within_others(
    inner: tuple[int, str, str], outer: tuple[int, str, str], expected: bool
) -> None:
    one, other = (
        jm.ModelSpec(
            n_clusters=k, features=["a", "b"], predictors=["a"], response="y",
            covariance=covariance, noise=noise,
        )
        for k, covariance, noise in (inner, outer)
    )  # fmt: skip
    assert _is_within(one, other) is expected
