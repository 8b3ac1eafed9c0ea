"""Chains sent from other modes: they join the fit, or stay and are weighed against it."""

import json
from pathlib import Path

import arviz_stats
import numpy as np
import pandas as pd
import pytest
import xarray as xr
from test_report_numbers import cells, tables_of, value

from jointmix import ModelSpec, SamplerSpec, diagnose, fit, load, save
from jointmix.base.errors import SpecError
from jointmix.fitting.scouts import nested_rhat


def two_solutions(n: int = 120, seed: int = 4) -> pd.DataFrame:
    """Four far corners: two clusters may pair them by rows or, a little worse, by columns."""
    rng = np.random.default_rng(seed)
    corner = np.resize([[0, 0], [0, 9], [10, 0], [10, 9]], (n, 2))
    return pd.DataFrame(corner + rng.normal(size=(n, 2)), columns=["a", "b"])


@pytest.fixture(scope="module")
def fitted() -> xr.DataTree:
    spec = ModelSpec(
        n_clusters=2, features=["a", "b"], sampler=SamplerSpec(draws=400, tune=400, scouts=1)
    )
    return fit(two_solutions(), spec, seed=2)


def test_scouts_that_stay_are_reported(fitted: xr.DataTree) -> None:
    modes, sent = fitted["modes"].to_dataset(), fitted["scouts"].to_dataset()
    assert sent.sizes["scout"] == 2
    assert (sent["start_mode"] == 2).all()
    assert (sent["scout_mode"] == 2).all()
    assert (modes["chain_mode"] == 1).all()
    assert (sent["scout_group"] != 1).all()
    weights = modes["stacking_weight"]
    assert float(weights.sum()) == pytest.approx(1, abs=1e-9)
    # The better pairing predicts better by far: EM says by how much.
    gap = float(modes["log_likelihood"][0] - modes["log_likelihood"][1])
    assert gap > 5
    assert float(weights[0]) > 0.5
    means = fitted["invariant"]["log_likelihood"].mean()
    assert (sent["log_likelihood"] < float(means)).all()
    assert float(sent.attrs["rhat_nested"]) > 1.1
    assert "nested R-hat" in str(diagnose(fitted).findings)
    assert fitted["posterior"].sizes["chain"] == 4


def test_the_report_lists_chains_that_sit_apart(fitted: xr.DataTree, tmp_path: Path) -> None:
    modes = fitted["modes"].to_dataset()
    rows = cells(tables_of(fitted, tmp_path)["convergence"], "Chains that sit apart")
    assert list(rows) == [str(label) for label in modes["group"].values]
    members = [row[0] for row in rows.values()]
    assert members[0] == "0, 1, 2, 3"
    assert sum(text.count("scout from mode 2") for text in members) == 2
    shown = [value(row[1]) / 100 for row in rows.values()]
    np.testing.assert_allclose(shown, modes["stacking_weight"].values, atol=6e-4)


def test_scouts_are_stored(fitted: xr.DataTree, tmp_path) -> None:
    again = load(save(fitted, tmp_path / "fit.nc"))
    xr.testing.assert_identical(again["scouts"].to_dataset(), fitted["scouts"].to_dataset())
    assert json.loads(again.attrs["spec"])["sampler"]["scouts"] == 1


def test_scouts_that_cannot_be_sent_are_explained() -> None:
    rng = np.random.default_rng(3)
    table = pd.DataFrame({"a": np.r_[rng.normal(size=60), rng.normal(50, 1, 60)]})
    spec = ModelSpec(
        n_clusters=2, features=["a"], sampler=SamplerSpec(draws=50, tune=50, starts=2, scouts=9)
    )
    tree = fit(table, spec, seed=1)
    sent = tree["scouts"].to_dataset()
    assert "further optima only" in sent.attrs["text"]
    found = [each for each in diagnose(tree).findings if each.code == "scouts"]
    assert "further optima only" in found[0].message


def test_nested_rhat_grows_with_the_distance_of_starts() -> None:
    rng = np.random.default_rng(5)
    draws = rng.normal(size=(6, 200))
    near = nested_rhat(draws)
    assert near == pytest.approx(
        arviz_stats.rhat_nested(draws, superchain_ids=[0, 0, 1, 1, 2, 2], method="rank")
    )
    assert near < 1.02
    assert nested_rhat(draws + np.repeat([0, 0, 5.0], 2)[:, None]) > 1.5
    # Two chains apart that share a start are no matter of the start.
    assert nested_rhat(draws + np.array([0, 5.0, 0, 5.0, 0, 5.0])[:, None]) < 1.1


@pytest.mark.parametrize("count", [-1, 1.5, True, "2"])
def test_the_number_of_scouts_is_a_count(count: object) -> None:
    with pytest.raises(SpecError, match="scouts"):
        SamplerSpec(scouts=count)
