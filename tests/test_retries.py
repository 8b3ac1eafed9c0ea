"""Fits whose draws fall short are sampled again within a budget, and say so."""

import json
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import xarray as xr

import jointmix as jm
from jointmix.base.errors import SamplingError, SpecError
from jointmix.checks import diagnose, judge, stored_diagnosis
from jointmix.cli.output import put_estimates
from jointmix.fitting import retries, workflow
from jointmix.fitting.retries import Retrying, interrupted
from jointmix.model.settings import SamplerSpec

USUAL = SamplerSpec(sampler="nutpie")


def drawn(seed: int) -> pd.DataFrame:
    """Two clusters that overlap."""
    rng = np.random.default_rng(seed)
    z = rng.integers(2, size=60)
    return pd.DataFrame({"x": rng.normal(size=60) + (1.6, 2.0, 2.5)[seed % 3] * z})


def spec(**changes: object) -> jm.ModelSpec:
    sampler = replace(USUAL, **changes)  # type: ignore[arg-type]
    return jm.ModelSpec(n_clusters=2, features=["x"], sampler=sampler)


def tried(tree: xr.DataTree) -> list[dict]:
    return json.loads(tree.attrs.get("retries", "[]"))


def concerns(tree: xr.DataTree) -> set[str]:
    return {f"{each.code}:{each.subject}" for each in stored_diagnosis(tree).concerns}


@cache
def short() -> tuple[pd.DataFrame, xr.DataTree]:
    """A table, and a fit of it that falls short both ways, by less than a retry may mend.

    Which table that is, the rounding of the processor decides.
    """
    for seed in range(5, 60):
        tree = jm.fit(drawn(seed), spec(retry_budget=0), progress=False)
        few = [each.value for each in stored_diagnosis(tree).concerns if each.code == "ess"]
        if concerns(tree) >= {"ess:bulk", "divergences:draws"} and min(few) > 150:
            return drawn(seed), tree
    raise AssertionError("no fit falls short")


def table() -> pd.DataFrame:
    return short()[0]


@pytest.fixture(scope="module")
def once() -> xr.DataTree:
    return short()[1]


@pytest.fixture(scope="module")
def mended() -> xr.DataTree:
    return jm.fit(table(), spec(), progress=False)


def test_a_fit_that_falls_short_mends_itself(mended: xr.DataTree) -> None:
    assert not {"ess:bulk", "ess:tail", "divergences:draws"} & concerns(mended)
    (attempt,) = tried(mended)
    assert attempt["outcome"] == "kept"
    assert "ESS was" in attempt["reason"]
    assert "diverged" in attempt["reason"]
    assert attempt["target_accept"] == 0.95
    assert attempt["draws"] == mended["posterior"].sizes["draw"]
    found = json.loads(mended.attrs["spec"])["sampler"]
    assert (found["draws"], found["target_accept"]) == (attempt["draws"], 0.95)


def test_it_says_so(
    mended: xr.DataTree, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    (attempt,) = tried(mended)
    put_estimates(mended)
    assert attempt["text"] in capsys.readouterr().err
    (finding,) = (each for each in diagnose(mended).findings if each.code == "partial")
    assert attempt["text"] in finding.message
    assert finding.status == "ok"
    jm.report(mended, tmp_path / "fit.html", sections=["computation"])
    assert attempt["text"] in (tmp_path / "fit.html").read_text(encoding="utf-8")


def test_it_is_the_fit_that_asks_for_as_much_at_once(mended: xr.DataTree) -> None:
    (attempt,) = tried(mended)
    asked = spec(draws=attempt["draws"], target_accept=0.95)
    found = jm.fit(table(), asked, progress=False)
    assert not tried(found)
    for name, values in found["posterior"].data_vars.items():
        np.testing.assert_array_equal(values.values, mended["posterior"][name].values)


def test_the_seconds_of_all_runs_add_up(mended: xr.DataTree) -> None:
    seconds = json.loads(mended.attrs["seconds"])
    assert min(seconds.values()) >= 0
    assert list(seconds)[:3] == ["data", "em", "sample"]


def test_beyond_the_budget_it_says_what_to_do() -> None:
    tree = jm.fit(table(), spec(retry_budget=1_000_000), progress=False)
    (attempt,) = tried(tree)
    assert attempt["cost"] > 1_000_000
    assert "retry_budget leaves 1.0e+06" in attempt["text"]
    assert tree["posterior"].sizes["draw"] == 1000
    remedies = " ".join(each.remedy for each in stored_diagnosis(tree).concerns)
    assert f"draws = {attempt['draws']}" in remedies
    assert "target_accept to 0.95" in remedies


@pytest.mark.parametrize("changes", [{"draws": 999}, {"tune": 500}, {"chains": 3}])
def test_short_runs_and_approximations_are_left_as_they_are(
    once: xr.DataTree, changes: dict[str, object]
) -> None:
    settings = replace(USUAL, **changes)  # type: ignore[arg-type]
    others = [once.copy(), once.copy()]
    for tree, (name, value) in zip(
        others, (("partial", 1), ("backend", "nutpie on jax")), strict=True
    ):
        tree.attrs = once.attrs | {name: value}
    for tree, given in ((once.copy(), settings), *((each, USUAL) for each in others)):
        left = Retrying(tree, given, 60)
        assert left.settings is None
        assert "retries" not in left.ended().attrs


def test_what_is_no_better_is_not_kept(once: xr.DataTree) -> None:
    retrying, asked = Retrying(once.copy(), USUAL, 60), []
    while (settings := retrying.settings) is not None:
        asked.append(settings)
        worse = once.copy(deep=True)
        worse["sample_stats"]["diverging"].values[:] = True
        retrying.take(judge(worse))
    found = retrying.ended()
    assert [each.target_accept for each in asked] == [0.95, 0.99]
    assert [each["outcome"] for each in tried(found)] == [retries._WORSE] * 2
    assert int(found["sample_stats"]["diverging"].sum()) == int(
        once["sample_stats"]["diverging"].sum()
    )


def test_a_run_that_fails_leaves_the_fit_before_it(once: xr.DataTree) -> None:
    retrying = Retrying(once.copy(), USUAL, 60)
    retrying.take(SamplingError("No chain could start."))
    assert retrying.settings is None
    (attempt,) = tried(retrying.ended())
    assert attempt["outcome"] == "failed (No chain could start)"


@pytest.mark.parametrize("early", [True, False])
def test_ctrl_c_keeps_the_draws_that_were_there(
    once: xr.DataTree, monkeypatch: pytest.MonkeyPatch, early: bool
) -> None:
    runs: list[int] = []

    def stopped(*_: object) -> xr.DataTree:
        runs.append(1)
        tree = once.copy()
        if len(runs) > 1:
            if early:
                raise KeyboardInterrupt
            tree.attrs["partial"] = 1
        return tree

    monkeypatch.setattr(workflow, "_begun", stopped)
    tree = jm.fit(table(), spec(), progress=False)
    assert tree["posterior"].sizes["draw"] == 1000
    assert not tree.attrs["partial"]
    assert "was interrupted" in tried(tree)[0]["text"]
    assert interrupted(tree)
    assert not interrupted(once)


def test_a_stream_holds_the_first_run(tmp_path: Path, mended: xr.DataTree) -> None:
    folder = tmp_path / "stream"
    tree = jm.fit(table(), spec(), progress=False, stream=folder)
    assert tree["posterior"].sizes == mended["posterior"].sizes
    found = jm.recover(table(), spec(), 1, folder)
    assert found["posterior"].sizes["draw"] == 1000


def test_the_budget_is_a_whole_number() -> None:
    for wrong in (-1, 1.5, True):
        with pytest.raises(SpecError, match="retry_budget"):
            SamplerSpec(retry_budget=wrong)  # type: ignore[arg-type]
